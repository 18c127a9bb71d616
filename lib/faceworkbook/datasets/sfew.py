"""SFEW 2.0: film stills with seven emotions (Dhall et al. 2011)."""

from __future__ import annotations

import re
from pathlib import Path

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
)

INFO = DatasetInfo(
    name="sfew",
    title="SFEW 2.0",
    labels=("emotion (seven)",),
    identities="none; the film in the file name stands in for them",
    official_split="Train, Val (= validation), Test (unlabelled)",
    size="958 + 436 + 372 stills",
    terms="research, on registration",
    source="Dhall, Goecke, Lucey and Gedeon 2011, Static Facial Expressions in the Wild",
    layout="""  ROOT/
    Train/Angry/Airheads_000519240_00000005.png   (Angry Disgust Fear Happy Sad Surprise Neutral)
    Val/Angry/...
    Test/...                                      (no labels; may be missing)
  (folders such as Train_Aligned_Faces/ do as well)""",
    put="the folders Train/ and Val/, each with the seven emotion folders",
    sign=r"(?:.*/)?(?:train|val|test)\w*/(?:\w+/)?.+_\d{6,}_\d+\.\w+",
)

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_FOLDER = re.compile(r"(train|val|test)(?:_?aligned_?faces(?:_new)?)?", re.ASCII | re.IGNORECASE)
_EMOTIONS = tuple(name for name in faces.EMOTIONS if name != "contempt")
_FILM = re.compile(r"(.+?)_\d{6,}_\d+\.\w+", re.ASCII)


def read(root: Path) -> Dataset:
    """Read the folders ``Train``, ``Val`` and ``Test``.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``identity`` is the film (``sfew:Airheads``): nobody is named, but a person stays in a film.
        Faces of ``Test``, and of a folder that names no emotion, have none.

    Raises
    ------
    DatasetError
        No picture in ``Train/EMOTION`` or ``Val/EMOTION``.
    """
    left_out, notices = Reasons(), Reasons()
    pictures = list_pictures(root, left_out)
    rows = []
    for image in pictures:
        labels = parse_path(image)
        if labels is None:
            left_out.add(image, "folder malformed", "expected Train, Val or Test / emotion / picture")
            continue
        if labels[0] != "test" and labels[1] is None:
            folder = image.split("/")[-2]
            notices.add(
                image,
                "bad value in emotion",
                f"the folder {folder!r} is taken as unknown; allowed are {', '.join(_EMOTIONS)}",
            )
        rows.append((image, *labels))
    image, split, emotion, film = zip(*rows, strict=True) if rows else ((),) * 4
    if not any(emotion):
        raise DatasetError(layout_error(root, INFO, "no picture in Train/EMOTION or Val/EMOTION", left_out))
    nameless = [name for name, known in zip(image, film, strict=True) if known is None]
    notices.add_all(nameless, "film unknown", "the file name names no film")
    table = faces.build(
        {
            "image": image,
            "split": split,
            "emotion": emotion,
            "identity": [name and f"sfew:{name}" for name in film],
        },
        dataset="sfew",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def parse_path(image: str) -> tuple[str, str | None, str | None] | None:
    """Split, emotion and film of a path ``Train/Angry/FILM_TIME_FRAME.png``; None if it is another.

    The emotion is None in Test and where the folder names none.
    """
    *folders, name = image.split("/")
    matches = [_FOLDER.fullmatch(folder) for folder in folders]
    at = next((i for i, match in enumerate(matches) if match), None)
    if at is None:
        return None
    split = _SPLITS[matches[at][1].lower()]
    in_folder = at < len(folders) - 1
    if not in_folder and split != "test":
        return None
    emotion = words.classes_of("emotion", folders[-1:], _EMOTIONS)[folders[-1]] if in_folder else None
    film = _FILM.fullmatch(name)
    return split, emotion, film and film[1]
