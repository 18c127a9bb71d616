"""Face networks with named taps: VGG-Face from the user's file, the embedded default, and trainable ones.

Nothing here imports TensorFlow until a `Backbone`'s `model` or `full` is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from faceworkbook.backbones import faceres_deep, trainable, vgg_face
from faceworkbook.backbones.base import Backbone, Tap, WeightsError, import_keras, mirrored

__all__ = [
    "Backbone",
    "Tap",
    "WeightsError",
    "default",
    "import_keras",
    "list",
    "load",
    "mirrored",
    "register",
]

WEIGHTS = Path(__file__).resolve().parents[3] / "weights"

_openers: dict[str, tuple[Callable[..., Backbone], tuple[str, ...]]] = {}


def register(name: str, describe: Callable[..., Backbone], *, files: tuple[str, ...] = ()) -> None:
    """Add a backbone to the registry.

    Parameters
    ----------
    name : str
        What `load` will know it by.
    describe : callable
        ``describe(weights, tap) -> Backbone``, without importing TensorFlow.
    files : tuple of str
        Where `load` looks in the weights folder when no `weights` are given, in this order.
    """
    _openers[name] = (describe, files)


def load(name: str, *, weights: str | Path | None = None, tap: str | None = None) -> Backbone:
    """Open a backbone.

    Parameters
    ----------
    name : str
        One of `list`.
    weights : path, optional
        The weights file; without it, the backbone's usual file in the project's ``weights`` folder.
    tap : str, optional
        Where the descriptor is read; without it, the backbone's default.

    Returns
    -------
    Backbone
        Its ``model`` and ``full`` are built at first use, so that work with cached descriptors does not
        wait for TensorFlow.

    Raises
    ------
    ValueError
        Unknown name or tap.
    WeightsError
        The file is missing, damaged or of another network.
    """
    if name not in _openers:
        raise ValueError(f"backbone {name!r} is unknown; expected one of {', '.join(list())}")
    describe, files = _openers[name]
    return describe(weights if weights is not None else _usual_file(name, files, WEIGHTS), tap)


def default(weights_dir: str | Path | None = None, *, tap: str | None = None) -> Backbone:
    """VGG-Face where its file is in `weights_dir` (the project's ``weights`` folder), else `faceres_deep`.

    Its `name`, `tap` and `source` say in a report which one it was.
    """
    folder = Path(weights_dir) if weights_dir is not None else WEIGHTS
    found = [folder / file for file in vgg_face.FILES if (folder / file).is_file()]
    if found:
        return load("vgg_face", weights=found[0], tap=tap)
    embedded = folder / faceres_deep.FILE
    return load("faceres_deep", weights=embedded if embedded.is_file() else None, tap=tap)


def list() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(_openers)


def _usual_file(name: str, files: tuple[str, ...], folder: Path) -> Path | None:
    if not files:
        return None
    for file in files:
        if (folder / file).is_file():
            return folder / file
    raise WeightsError(
        f"{name} needs weights: put {' or '.join(files)} into {folder}, or give the file's path as weights"
    )


register("vgg_face", vgg_face.describe, files=vgg_face.FILES)
register("faceres_deep", faceres_deep.describe, files=(faceres_deep.FILE,))
for _name in trainable.ARCHITECTURES:
    register(_name, functools.partial(trainable.describe, _name))
