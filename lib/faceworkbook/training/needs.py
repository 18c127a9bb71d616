"""What fine-tuning will take of disk and memory: estimated before anything is decoded or computed, and bounded."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras

from faceworkbook.backbones import Backbone

GB = 1e9
FLOAT = 4  # bytes
COPIES = 5  # of the weights, at most: as they are, the best ones, Adam's m and v, and their average (ema)


class NeedError(ValueError):
    """A run that would take more disk or memory than it may, or than there is."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes, by what takes them.

    Attributes
    ----------
    disk, memory : dict of str to int
    """

    disk: dict[str, int]
    memory: dict[str, int]

    def describe(self) -> str:
        """Return both in a sentence."""
        both = [f"{_add_up(of, name)}" for name, of in (("disk", self.disk), ("memory", self.memory))]
        return f"This run will take about {' and about '.join(both)}."

    def check(self, max_gb: float, folder: str | Path) -> None:
        """Raise `NeedError` where disk or memory exceed `max_gb` (in 1e9 bytes), or disk what is free at `folder`."""
        for name, of in (("disk", self.disk), ("memory", self.memory)):
            if sum(of.values()) > max_gb * GB:
                raise NeedError(
                    f"the run needs about {_add_up(of, name)}, and max_gb={max_gb:g} allows {max_gb:g} GB; raise max_gb, "
                    "use fewer faces (limit of 01_faces), " + _spare(of)
                )
        free, needed = shutil.disk_usage(_existing(Path(folder))).free, sum(self.disk.values())
        if needed > free:
            raise NeedError(
                f"the run needs about {_add_up(self.disk, 'disk')}, and {folder} has {free / GB:.1f} GB free; make room, "
                "use fewer faces (limit of 01_faces), " + _spare(self.disk)
            )


def estimate(
    backbone: Backbone,
    *,
    faces: int,
    fitted: int,
    memory: str = "high",
    precompute: str = "",
    sides: int = 1,
    fits: int = 1,
) -> Needs:
    """Estimate what fine-tuning takes; a step's own memory, which grows with ``batch_size``, comes on top.

    Parameters
    ----------
    backbone : Backbone
        What is fine-tuned.
    faces, fitted : int
        All faces, and those that train or choose.
    memory : {'high', 'low', 'shards'}
        Where decoded pictures lie.
    precompute : str
        Layer whose output is kept for each fitted face; empty for none.
    sides : int
        2 where pictures are mirrored in training, else 1.
    fits : int
        Networks that are trained one after the other, such as one a fold; the checkpoint of each stays until the end.

    Raises
    ------
    NeedError
        The network has no such layer.
    """
    pictures = faces * math.prod(backbone.preprocessing.size) * 3
    full = backbone.builder()  # and not `full`, which would stay in memory beside the network that is trained
    weights = sum(math.prod(variable.shape) for variable in full.weights) * FLOAT
    disk, held = {"checkpoints": COPIES * weights * fits}, {"weights": COPIES * weights}
    if memory == "shards":
        disk["decoded pictures"] = pictures
    elif memory == "high":
        held["decoded pictures"] = pictures
    if precompute:
        disk[f"output of {precompute}"] = fitted * sides * _outputs(backbone, full, precompute) * FLOAT
    return Needs(disk, held)


def _outputs(backbone: Backbone, full: keras.Model, layer: str) -> int:
    named = {one.name: one for one in full.layers}
    if layer not in named:
        raise NeedError(f"precompute={layer!r}; {backbone.name} has {', '.join(named)}")
    shape = [size for size in named[layer].output.shape if size is not None]
    own, made_for = backbone.preprocessing.size, full.input.shape[1:3]
    # Maps grow with the picture, where the network takes others than it was made for.
    scale = math.prod(own) / math.prod(made_for) if len(shape) == 3 else 1
    return round(math.prod(shape) * scale)


def _add_up(of: dict[str, int], name: str) -> str:
    largest = max(of, key=lambda name: of[name])
    return f"{sum(of.values()) / GB:.1f} GB of {name} ({largest}: {of[largest] / GB:.1f})"


def _spare(of: dict[str, int]) -> str:
    largest = max(of, key=lambda name: of[name])
    if largest == "decoded pictures":
        return "or set memory to low, which decodes each batch anew"
    if largest == "checkpoints":
        return "or take fewer folds (n_folds, n_repeats) or a smaller network"
    if largest == "weights":
        return "or take a smaller network"
    return "or leave precompute empty, which computes the frozen layers in every epoch"


def _existing(folder: Path) -> Path:
    """Return the nearest folder above that is there already."""
    return next(place for place in (folder, *folder.resolve().parents) if place.exists())
