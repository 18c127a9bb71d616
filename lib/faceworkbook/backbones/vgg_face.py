"""VGG-Face (Parkhi, Vedaldi, Zisserman 2015) from the user's own file: MatConvNet's, Torch's or Keras weights."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path

import numpy as np

from faceworkbook.backbones import chain, matconvnet, torch_vgg, vgg_h5
from faceworkbook.backbones.base import Backbone, Tap, WeightsError, existing_file, remember, sha256
from faceworkbook.backbones.chain import Chain
from faceworkbook.images import Preprocessing

NAME = "vgg_face"
FILES = (
    *("vgg_face.mat", "vgg-face.mat", "VGG_FACE.t7", "vgg_face_weights.h5"),
    *("rcmalli_vggface_tf_vgg16.h5", "rcmalli_vggface_tf_notop_vgg16.h5"),
)
TAPS = ("pool5", "fc6", "fc7", "fc8", "prob")
DEFAULT_TAP = "fc8"
SOURCE = "VGG-Face descriptor network (Parkhi et al. 2015), Visual Geometry Group, Oxford"
EXPECTED = (
    "vgg_face.mat (Oxford archive), vgg-face.mat (MatConvNet), VGG_FACE.t7 (Torch), vgg_face_weights.h5 (DeepFace) or "
    "rcmalli_vggface_tf_vgg16.h5 (keras-vggface)"
)


def load(weights: str | Path, tap: str | None = None) -> Backbone:
    """Open VGG-Face, or a narrower network in the same format: the architecture is read from the file.

    Parameters
    ----------
    weights : path
        ``vgg_face.mat``, ``vgg-face.mat`` (MATLAB v5, either layout), ``VGG_FACE.t7`` (binary Torch7),
        ``vgg_face_weights.h5`` (DeepFace) or ``rcmalli_vggface_tf_vgg16.h5`` (keras-vggface).
    tap : {'fc8', 'pool5', 'fc6', 'fc7', 'prob'}, optional
        'fc8': the 2622 identity logits, no ReLU (the default). 'fc6' and 'fc7': 4096-d after their ReLU;
        'fc7' is the descriptor of the paper. 'pool5': 25088-d, flattened height first, and all that
        keras-vggface's file without top has. 'prob': soft-max.

    Raises
    ------
    WeightsError
        Missing, damaged, MATLAB v7.3, or another network.
    """
    weights = existing_file(weights, expected=EXPECTED)
    cache = weights.parent / "cache"
    facts = remember(weights, cache, functools.partial(_facts, weights))
    return Backbone(
        name=NAME,
        tap=tap or (DEFAULT_TAP if DEFAULT_TAP in facts["taps"] else [*facts["taps"]][-1]),
        tap_table={name: Tap(**values) for name, values in facts["taps"].items()},
        preprocessing=Preprocessing.from_dict(facts["preprocessing"]),
        fingerprint=facts["sha256"],
        builder=functools.partial(build, weights),
        weights=weights,
        classes=tuple(facts["classes"]),
        cache=cache,
        source=SOURCE,
    )


def build(weights: Path):
    """Build the full Keras model, its layers named as in the file (VGG's names for Torch's nameless ones)."""
    return chain.build(functools.partial(read, weights), name=NAME, file=str(weights))


def read(weights: Path) -> Chain:
    """Read the network that the file describes, and check that its layers fit and that all of `TAPS` are there."""
    network = _reader(weights)(weights)
    _tap_table(network, weights)
    return network


def _reader(weights: Path):
    with weights.open("rb") as file:
        head = file.read(520)
    if head[:10] == b"MATLAB 7.3":
        raise WeightsError(
            f"{weights} is a MATLAB v7.3 (HDF5) file; expected v5: save it in MATLAB with save(..., '-v7')"
        )
    if b"\x89HDF\r\n" in head:
        return vgg_h5.read
    if head[:10] == b"MATLAB 5.0":
        return matconvnet.read
    # A Torch7 file starts with the type of its root object, 4 bytes: a Torch class or a table.
    if head[:4] in (b"\x04\0\0\0", b"\x03\0\0\0"):
        return torch_vgg.read
    raise WeightsError(
        f"{weights} is neither a MATLAB v5 nor a binary Torch7 nor an HDF5 file; expected {EXPECTED}"
    )


def _facts(weights: Path) -> dict:
    network = read(weights)
    return {
        "sha256": sha256(weights),
        "taps": {name: asdict(tap) for name, tap in _tap_table(network, weights).items()},
        "preprocessing": network.preprocessing.to_dict(),
        "classes": [*network.classes],
    }


def _tap_table(network: Chain, weights: Path) -> dict[str, Tap]:
    shapes = chain.shapes(network, file=str(weights))
    if not any(layer.startswith("fc") for layer in shapes) and "pool5" in shapes:
        return {"pool5": Tap("pool5", int(np.prod(shapes["pool5"])))}
    missing = [name for name in TAPS if name not in shapes]
    if missing:
        raise WeightsError(
            f"{weights} is another network: it has no layer {' or '.join(missing)}; VGG-Face has {', '.join(TAPS)}"
        )
    outputs = {name: _rectified(network, name) if name in ("fc6", "fc7") else name for name in TAPS}
    sizes = {name: shapes[layer] for name, layer in outputs.items()}
    if any(sizes[name][:2] != (1, 1) for name in TAPS[1:]):
        raise WeightsError(f"{weights} is another network: fc6 leaves a map of {sizes['fc6'][:2]}, not 1 x 1")
    return {name: Tap(outputs[name], h * w * c) for name, (h, w, c) in sizes.items()}


def _rectified(network: Chain, name: str) -> str:
    """Return the ReLU that follows layer `name`, where the paper reads the descriptor; `name` where none follows."""
    names = [layer.name for layer in network.layers]
    after = network.layers[names.index(name) + 1 :][:1]
    return after[0].name if after and after[0].kind == "relu" else name
