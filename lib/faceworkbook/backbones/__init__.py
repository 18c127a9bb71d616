"""Face networks with named taps: VGG-Face from the user's file, the embedded default, trainable ones, your own.

TensorFlow is imported when a `Backbone`'s `model` or `full` is first used, not before.

A network of your own needs no code: ``weights/mine.onnx`` (or .keras, .h5) with ``mine.yaml`` beside it, see
``weights/README.md``. A Keras model that a program makes is registered::

    def open_mine(weights, tap):
        model = keras.saving.load_model("weights/mine.keras")
        preprocessing = images.Preprocessing((96, 96), "RGB", (127.5,) * 3, 1 / 127.5)
        return backbones.from_keras(model, name="mine", preprocessing=preprocessing, tap=tap)

    backbones.register("mine", open_mine)
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from pathlib import Path

from faceworkbook import project
from faceworkbook.backbones import faceres_deep, own_files, trainable, vgg_face, vggface_resnet
from faceworkbook.backbones.base import (
    UNTRAINED,
    WEIGHTS,
    Backbone,
    BackboneError,
    Tap,
    WeightsError,
    check_kind,
    import_keras,
)
from faceworkbook.backbones.own import from_keras
from faceworkbook.backbones.own_files import describe as describe_own

__all__ = [
    "UNTRAINED",
    "Backbone",
    "BackboneError",
    "Tap",
    "WeightsError",
    "default",
    "describe_own",
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
        One of `list`: registered, or that of a weights file with its side-car.
    weights : path, optional
        The weights file; without it, the backbone's usual file in the project's ``weights`` folder. A file of one's
        own has its side-car beside it.
    tap : str, optional
        Where the descriptor is read; without it, the backbone's default.

    Returns
    -------
    Backbone
        Its ``model`` and ``full`` are built at first use, so that work with cached descriptors does not
        wait for TensorFlow.

    Raises
    ------
    BackboneError
        Unknown name or tap.
    WeightsError
        The file is missing, damaged or of another network.
    """
    if name in _registry:
        if weights is None and name in own_files.names():
            raise WeightsError(
                f"{name} is a network of the workbook and a file with its side-car in weights/; rename the two files"
            )
        open_backbone, files = _registry[name]
        file = weights if weights is not None else _usual_file(name, files)
        if file is not None:
            check_kind(Path(file))
        return open_backbone(file, tap)
    path = own_files.locate(name) if weights is None else Path(weights)
    if path is not None and path.suffix in own_files.WEIGHTS_SUFFIXES:
        check_kind(path)
        return own_files.open_file(path, name=name, tap=tap)
    close = difflib.get_close_matches(name, list(), n=1)
    raise BackboneError(
        f"backbone {name!r} is unknown; expected one of {', '.join(list())}, a file weights/{name}.onnx with "
        f"{name}.yaml beside it, or one that you add with backbones.register"
        f"{f'. Did you mean {close[0]}?' if close else ''}"
    )


def default(weights_dir: str | Path | None = None, *, tap: str | None = None) -> Backbone:
    """Open VGG-Face where its file is in `weights_dir` (the project's ``weights`` folder), else `faceres_deep`.

    Its `name`, `tap` and `source` record in a report which one it was.
    """
    folder = project.resolve(weights_dir if weights_dir is not None else WEIGHTS)
    files = [folder / file for file in vgg_face.FILES if (folder / file).is_file()]
    if files:
        return load("vgg_face", weights=files[0], tap=tap)
    embedded = folder / faceres_deep.FILE
    return load("faceres_deep", weights=embedded if embedded.is_file() else None, tap=tap)


def list() -> tuple[str, ...]:
    """Return the names that `load` knows: the registered ones, then files of one's own with their side-car."""
    return tuple(dict.fromkeys([*_registry, *own_files.names()]))


def _usual_file(name: str, files: tuple[str, ...]) -> Path | None:
    if not files:
        return None
    folder = project.resolve(WEIGHTS)
    for file in files:
        if (folder / file).is_file():
            return folder / file
    raise WeightsError(
        f"{name} needs weights: put {' or '.join(files)} into {folder}, or give the file's path as weights"
    )


register("vgg_face", vgg_face.load, files=vgg_face.FILES)
register("faceres_deep", faceres_deep.load, files=(faceres_deep.FILE,))
for _name, _files in vggface_resnet.FILES.items():
    register(_name, functools.partial(vggface_resnet.load, _name), files=_files)
for _name in trainable.ARCHITECTURES:
    register(_name, functools.partial(trainable.load, _name))
