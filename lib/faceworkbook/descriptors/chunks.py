"""Chunks of faces out of picture files: pixels at the network's size, and what each file was."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceworkbook import images
from faceworkbook.descriptors.journal import Stamp


class Chunk(NamedTuple):
    """Faces to be read: rows of the plan, names of the pictures, boxes (n, 4) with NaN for the whole picture.

    And points (n, 5, 2), with NaN where a face is cut out unaligned; None where all are.
    """

    rows: np.ndarray
    images: list[str]
    boxes: np.ndarray
    points: np.ndarray | None = None


@dataclass
class Batch:
    """Faces that were read: their rows, pixels (n, h, w, 3) uint8 RGB, and the files' stamps."""

    rows: np.ndarray
    pixels: np.ndarray
    stamps: list[Stamp]


def read_batch(chunk: Chunk, root: Path, preprocessing, *, into: np.ndarray | None = None) -> Batch:
    """Read the faces of `chunk` from disk; see `Batch`. Pixels are written to the front of `into` where it is given."""
    pixels = np.empty((len(chunk.rows), *preprocessing.size, 3), np.uint8) if into is None else into
    stamps, good = [], 0
    points = chunk.points if chunk.points is not None else [None] * len(chunk.rows)
    for image, box, five in zip(chunk.images, chunk.boxes.tolist(), points, strict=True):
        edges = None if math.isnan(box[0]) else tuple(box)
        stamp, face = _read_face(root, image, preprocessing, box=edges, points=five)
        stamps.append(stamp)
        if face is not None:
            pixels[good] = face
            good += 1
    return Batch(chunk.rows, pixels[:good], stamps)


def _read_face(root: Path, image: str, preprocessing, *, box, points) -> tuple[Stamp, np.ndarray | None]:
    try:
        # Paths are text here: for a small picture a Path takes longer than the file.
        data, stat = images.read_file(os.path.join(root, image))  # noqa: PTH118
    except FileNotFoundError:
        return Stamp("", 0, 0, 0, f"{image}: the file is missing"), None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", "") or error
        return Stamp("", 0, 0, 0, f"{image}: cannot be opened ({reason})"), None
    stamp = Stamp(images.content_hash(data), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    try:
        return stamp, images.face_pixels(data, preprocessing, box=box, points=points, name=image)
    except images.UnreadableImage as error:
        return stamp._replace(detail=str(error)), None
