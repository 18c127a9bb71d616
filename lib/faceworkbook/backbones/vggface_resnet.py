"""ResNet-50 and SE-ResNet-50 trained on VGGFace2 (Cao et al. 2018), from keras-vggface's weights files."""

from __future__ import annotations

import functools
from pathlib import Path

from faceworkbook.backbones import h5_weights
from faceworkbook.backbones.assign import Assignment
from faceworkbook.backbones.base import (
    Backbone,
    Tap,
    WeightsError,
    existing_file,
    import_keras,
    remember,
    sha256,
)
from faceworkbook.images import Preprocessing

FILES = {
    f"vggface_{kind}": (f"rcmalli_vggface_tf_{kind}.h5", f"rcmalli_vggface_tf_notop_{kind}.h5")
    for kind in ("resnet50", "senet50")
}
SOURCE = "{} trained on VGGFace2 (Cao et al. 2018), weights of keras-vggface"
PREPROCESSING = Preprocessing((224, 224), "BGR", (91.4953, 103.8827, 131.0912))
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # of each stage
STEM = "conv1_7x7_s2"
NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")
EPSILON = {"vggface_resnet50": 1e-3, "vggface_senet50": 1e-4}
DEFAULT_TAP, TOP = "avg_pool", "classifier"


def load(name: str, weights: str | Path, tap: str | None = None) -> Backbone:
    """Open a network, or a narrower one of the same layers.

    Parameters
    ----------
    name : {'vggface_resnet50', 'vggface_senet50'}
    weights : path
        ``rcmalli_vggface_tf_resnet50.h5``, ``..._senet50.h5``, or those without top (``..._notop_...``).
    tap : str, optional
        'avg_pool' (2048-d, the default), the last block of a stage ('conv2_3', 'conv3_4', 'conv4_6', 'conv5_3',
        averaged over the picture), 'classifier' (8,631 probabilities, where the file has it).

    Raises
    ------
    WeightsError
        Missing, damaged or of another network.
    """
    weights = existing_file(weights, expected=" or ".join(FILES[name]))
    facts = remember(weights, weights.parent / "cache", functools.partial(_facts, name, weights))
    return Backbone(
        name=name,
        tap=tap or DEFAULT_TAP,
        tap_table={key: Tap(**values) for key, values in facts["taps"].items()},
        preprocessing=PREPROCESSING,
        fingerprint=facts["sha256"],
        builder=functools.partial(build, name, weights),
        weights=weights,
        cache=weights.parent / "cache",
        source=SOURCE.format("ResNet-50" if name.endswith("resnet50") else "SE-ResNet-50"),
    )


def _facts(name: str, weights: Path) -> dict:
    arrays = _read(name, weights)
    taps = {}
    for stage, n in BLOCKS.items():
        width = arrays[f"conv{stage}_{n}_1x1_increase", "kernel"].shape[-1]
        taps[f"conv{stage}_{n}"] = {"layer": f"conv{stage}_{n}", "dim": width, "pool": True}
    taps[DEFAULT_TAP] = {"layer": DEFAULT_TAP, "dim": width}
    if (TOP, "kernel") in arrays:
        taps[TOP] = {"layer": TOP, "dim": arrays[TOP, "kernel"].shape[-1]}
    return {"sha256": sha256(weights), "taps": taps}


def _read(name: str, weights: Path) -> dict:
    layers = h5_weights.read(weights)
    arrays = h5_weights.flatten(layers)
    present = {layer for layer, _ in arrays}
    expected = _layers(with_squeeze=name.endswith("senet50"))
    missing = [layer for layer in expected if layer not in present]
    foreign = present - {*expected, TOP}
    if missing or foreign:
        what = f"has no layer {missing[0]}" if missing else f"has a layer {min(foreign)} too many"
        raise WeightsError(f"{weights}: is no {name}: it {what}; {h5_weights.describe(layers)}")
    return arrays


def _layers(*, with_squeeze: bool) -> list[str]:
    """Return the names of the layers with weights, the classifier apart."""
    layers = [STEM, f"{STEM}_bn"]
    for stage, n in BLOCKS.items():
        for block in range(1, n + 1):
            kinds = ["1x1_reduce", "3x3", "1x1_increase", *(["1x1_proj"] if block == 1 else [])]
            layers += [f"conv{stage}_{block}_{kind}{end}" for kind in kinds for end in ("", "_bn")]
            layers += [f"conv{stage}_{block}_1x1_{kind}" for kind in ("down", "up") if with_squeeze]
    return layers


def build(name: str, weights: Path):
    """Build the Keras model, every variable set from the file's arrays."""
    arrays = _read(name, weights)
    widths = {layer: array.shape[-1] for (layer, variable), array in arrays.items() if variable == "kernel"}
    assignment = Assignment(arrays, file=str(weights))
    del arrays
    network = _Network(assignment, widths, EPSILON[name], with_squeeze=name.endswith("senet50"))
    model = network.assemble(name)
    assignment.finish(model)
    return model


class _Network:
    """Assembles the layers; their names are the file's, without slashes."""

    def __init__(self, assignment: Assignment, widths: dict[str, int], epsilon: float, *, with_squeeze: bool):
        self.keras, self.assignment, self.widths = import_keras(), assignment, widths
        self.epsilon, self.with_squeeze = epsilon, with_squeeze

    def assemble(self, name: str):
        layers = self.keras.layers
        inputs = self.keras.Input((*PREPROCESSING.size, 3), name="input")
        x = self.relu(self.normalised(inputs, STEM, 7, 2), f"{STEM}_relu")
        x = layers.MaxPooling2D(3, 2, name="pool1")(x)
        for stage, n in BLOCKS.items():
            for block in range(1, n + 1):
                x = self.block(x, f"conv{stage}_{block}", stride=2 if stage > 2 and block == 1 else 1)
        x = layers.Flatten(name=DEFAULT_TAP)(layers.AveragePooling2D(7, name="pool5")(x))
        if TOP in self.widths:
            weights = self.assignment.initializers(TOP, ("kernel", "bias"))
            x = layers.Dense(self.widths[TOP], "softmax", name=TOP, **weights)(x)
        return self.keras.Model(inputs, x, name=name)

    def block(self, x, name: str, *, stride: int):
        short = x
        if f"{name}_1x1_proj" in self.widths:
            short = self.normalised(x, f"{name}_1x1_proj", 1, stride)
        x = self.relu(self.normalised(x, f"{name}_1x1_reduce", 1, stride), f"{name}_1x1_reduce_relu")
        x = self.relu(self.normalised(x, f"{name}_3x3", 3, 1), f"{name}_3x3_relu")
        x = self.normalised(x, f"{name}_1x1_increase", 1, 1)
        if self.with_squeeze:
            x = self.squeezed(x, name)
        return self.relu(self.keras.layers.Add(name=f"{name}_sum")([x, short]), name)

    def squeezed(self, x, name: str):
        layers = self.keras.layers
        weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
        weight = self.relu(
            self.convolution(weight, f"{name}_1x1_down", 1, 1, ("kernel", "bias")), f"{name}_1x1_down_relu"
        )
        weight = self.convolution(weight, f"{name}_1x1_up", 1, 1, ("kernel", "bias"))
        weight = layers.Activation("sigmoid", name=f"{name}_1x1_up_sigmoid")(weight)
        return layers.Multiply(name=f"{name}_scaled")([x, weight])

    def normalised(self, x, name: str, size: int, stride: int):
        x = self.convolution(x, name, size, stride, ("kernel",))
        weights = self.assignment.initializers(f"{name}_bn", NORMALISATION)
        return self.keras.layers.BatchNormalization(epsilon=self.epsilon, name=f"{name}_bn", **weights)(x)

    def convolution(self, x, name: str, size: int, stride: int, variables: tuple[str, ...]):
        weights = self.assignment.initializers(name, variables)
        layer = self.keras.layers.Conv2D(
            self.widths[name], size, stride, "same", use_bias="bias" in variables, name=name, **weights
        )
        return layer(x)

    def relu(self, x, name: str):
        return self.keras.layers.ReLU(name=name)(x)
