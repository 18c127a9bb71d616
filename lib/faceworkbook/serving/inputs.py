"""What is to be answered: a photo, a folder, a list in a CSV file, or a video; one after the other."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.predictor import Photo, name_photo

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".jfif")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
COLUMNS = ("image", "path", "file", "filename", "img", "photo")
FRAMES_A_SECOND = 5.0


@dataclass(frozen=True)
class Video:
    """A video file and which of its frames are answered.

    Attributes
    ----------
    path : pathlib.Path
    rate : float
        Frames a second of the file.
    every : int
        Each so-many-th frame is answered.
    n : int
        Frames that are answered, as far as the file says.
    """

    path: Path
    rate: float
    every: int
    n: int

    @classmethod
    def open(cls, path: Path, *, frames_a_second: float = FRAMES_A_SECOND) -> Video:
        """Read a video's header.

        Raises
        ------
        PredictorError
            OpenCV cannot read it.
        """
        capture = cv2.VideoCapture(str(path))
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) if capture.isOpened() else 0.0
            if not 0 < rate < 1000:
                raise PredictorError(f"{path} cannot be read as a video; convert it to MP4 (H.264)")
            every = max(1, round(rate / frames_a_second))
            return cls(path, rate, every, max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) // every)
        finally:
            capture.release()

    def photos(self) -> Iterator[Photo]:
        """Yield the frames that are answered, named FILE#FRAME."""
        capture = cv2.VideoCapture(str(self.path))
        number = 0
        try:
            while capture.grab():
                if number % self.every == 0:
                    is_whole, frame = capture.retrieve()
                    if is_whole:
                        yield Photo(f"{name_photo(self.path.name)}#{number}", frame[..., ::-1].copy())
                number += 1
        finally:
            capture.release()


def is_video(path: str | Path) -> bool:
    """Whether a path is named like a video."""
    return Path(path).suffix.lower() in VIDEOS


def list_photos(source: str | Path) -> Iterator[Photo]:
    """Yield the photos of a file, a folder with its folders, or a list.

    Parameters
    ----------
    source : path
        A picture; a folder, whose pictures are named by their path in it, in alphabetical order; or a CSV file
        with a column of `COLUMNS` (or a single column), whose paths are relative to it.

    Raises
    ------
    PredictorError
        Nothing is there, no picture in a folder, no such column.
    """
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise PredictorError(f"{path} is not there; give a photo, a folder, a CSV file or a video")
    return (
        _of_list(path)
        if path.suffix.lower() in (".csv", ".txt", ".tsv")
        else iter([Photo(name_photo(path), path)])
    )


def _of_folder(folder: Path) -> Iterator[Photo]:
    # Links to folders are not followed: they may lead round in a circle.
    for place, inner, names in os.walk(folder):
        inner.sort()
        for name in sorted(names):
            if name.lower().endswith(PICTURES):
                path = Path(place) / name
                yield Photo(name_photo(path.relative_to(folder).as_posix()), path)


def _of_list(path: Path) -> Iterator[Photo]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter=max(",;\t", key=first.count))
        header = next(rows, [])
        named = [i for i, name in enumerate(header) if name.strip().lower() in COLUMNS]
        if not named and len(header) == 1 and header[0].lower().endswith(PICTURES):
            named = [0]
            yield Photo(header[0], path.parent / header[0])
        if not named:
            raise PredictorError(
                f"{path} has the columns {header[:8]}; give the paths of the photos in a column {' or '.join(COLUMNS[:3])}"
            )
        for row in rows:
            if len(row) > named[0] and row[named[0]].strip():
                name = row[named[0]].strip()
                yield Photo(name, path.parent / name)
