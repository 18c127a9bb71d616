"""Chunks of faces out of picture files: pixels at the network's size, and what each file was.

Whoever needs more than threads read starts processes that run `main`: little is imported here, so that they soon read.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from faceworkbook import images
from faceworkbook.preprocessing import Preprocessing


class Stamp(NamedTuple):
    """What a file was when it was read; `detail` says why where it could not be."""

    content_hash: str
    size: int
    mtime_ns: int
    ctime_ns: int
    detail: str = ""


class Chunk(NamedTuple):
    """Faces to be read: rows of the plan, names of the pictures, boxes (n, 4) with NaN for the whole picture.

    And points (n, 5, 2), with NaN where a face is cut out unaligned; None where all are.
    """

    rows: np.ndarray
    images: list[str]
    boxes: np.ndarray
    points: np.ndarray | None = None


def _keep() -> None:
    """Pixels of one batch alone need not be released."""


@dataclass
class Batch:
    """Faces that were read: their rows, pixels (n, h, w, 3) uint8 RGB, and the files' stamps.

    Whoever is done with the pixels calls `release`: their memory may be written anew then.
    """

    rows: np.ndarray
    pixels: np.ndarray
    stamps: list[Stamp]
    release: Callable[[], None] = _keep


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


def main() -> None:
    """Read the chunks that are asked for in lines of JSON until there are no more.

    The first argument says, in JSON, where pixels go: ``memory``, a file descriptor, and its ``shape``.
    """
    given, answers = json.loads(sys.argv[1]), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else a library prints
    cv2.setNumThreads(1)
    root, preprocessing = Path(given["root"]), Preprocessing.from_dict(given["preprocessing"])
    pixels = np.frombuffer(mmap.mmap(given["memory"], 0), np.uint8).reshape(given["shape"])
    for line in sys.stdin:
        asked = json.loads(line)
        n = len(asked["images"])
        boxes = np.full((n, 4), np.nan) if asked["boxes"] is None else np.array(asked["boxes"], float)
        points = None if asked["points"] is None else np.array(asked["points"], float)
        chunk = Chunk(np.arange(n), asked["images"], boxes, points)
        batch = read_batch(chunk, root, preprocessing, into=pixels[asked["block"]])
        answers.write(json.dumps({"good": len(batch.pixels), "stamps": batch.stamps}) + "\n")
        answers.flush()
    os._exit(0)  # nothing is left to do, and the parent waits
