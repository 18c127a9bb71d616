"""Face networks with named taps: VGG-Face from the user's file, the embedded default, trainable ones, your own.

TensorFlow is imported when a `Backbone`'s `model` or `full` is first used, not before.

A network of your own needs no file in this package::

    def open_mine(weights, tap):
        model = keras.saving.load_model("weights/mine.keras")
        preprocessing = images.Preprocessing((96, 96), "RGB", (127.5,) * 3, 1 / 127.5)
        return backbones.from_keras(model, name="mine", preprocessing=preprocessing, tap=tap)

    backbones.register("mine", open_mine)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from faceworkbook import project
from faceworkbook.backbones import faceres_deep, trainable, vgg_face
from faceworkbook.backbones.base import (
    UNTRAINED,
    WEIGHTS,
    Backbone,
    Tap,
    WeightsError,
    import_keras,
)
from faceworkbook.backbones.own import from_keras

__all__ = [
    "UNTRAINED",
    "Backbone",
    "Tap",
    "WeightsError",
    "default",
    "from_keras",
    "import_keras",
    "list",
    "load",
    "register",
]

_registry: dict[str, tuple[Callable[..., Backbone], tuple[str, ...]]] = {}


def register(name: str, open_backbone: Callable[..., Backbone], *, files: tuple[str, ...] = ()) -> None:
    """Add a backbone to the registry, or replace one.

    Parameters
    ----------
    name : str
        The name that `load` and the notebooks' parameter ``backbone`` take.
    open_backbone : callable
        ``open_backbone(weights, tap) -> Backbone``; `weights` is a path or None, `tap` a name or None for the
        default. `from_keras` makes a `Backbone` of any Keras model.
    files : tuple of str
        Weights files that `load` looks for in the weights folder, in this order, when it is given none.
    """
    _registry[name] = (open_backbone, files)


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
    if name not in _registry:
        raise ValueError(
            f"backbone {name!r} is unknown; expected one of {', '.join(list())}, or one that you add with "
            "backbones.register"
        )
    open_backbone, files = _registry[name]
    return open_backbone(weights if weights is not None else _usual_file(name, files, WEIGHTS), tap)


def default(weights_dir: str | Path | None = None, *, tap: str | None = None) -> Backbone:
    """Open VGG-Face where its file is in `weights_dir` (the project's ``weights`` folder), else `faceres_deep`.

    Its `name`, `tap` and `source` record in a report which one it was.
    """
    folder = Path(weights_dir) if weights_dir is not None else WEIGHTS
    files = [path for path in (project.resolve(folder / file) for file in vgg_face.FILES) if path.is_file()]
    if files:
        return load("vgg_face", weights=files[0], tap=tap)
    embedded = project.resolve(folder / faceres_deep.FILE)
    return load("faceres_deep", weights=embedded if embedded.is_file() else None, tap=tap)


def list() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return tuple(_registry)


def _usual_file(name: str, files: tuple[str, ...], folder: Path) -> Path | None:
    if not files:
        return None
    for path in (project.resolve(folder / file) for file in files):
        if path.is_file():
            return path
    raise WeightsError(
        f"{name} needs weights: put {' or '.join(files)} into {project.resolve(folder)}, or give the file's path as "
        "weights"
    )


register("vgg_face", vgg_face.load, files=vgg_face.FILES)
register("faceres_deep", faceres_deep.load, files=(faceres_deep.FILE,))
for _name in trainable.ARCHITECTURES:
    register(_name, functools.partial(trainable.load, _name))
