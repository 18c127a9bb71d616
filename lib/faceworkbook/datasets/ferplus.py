"""FER+: the pictures of FER2013 with ten votes on the emotion of each (Barsoum et al. 2016)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import faces, files
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    need_files,
)
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import read_rows

INFO = DatasetInfo(
    name="ferplus",
    title="FER+",
    labels=("emotion (eight), with votes",),
    identities="none",
    official_split="Training, PublicTest (= validation), PrivateTest (= test)",
    size="35,887 rows, 35,714 of them with a picture of 48 x 48",
    terms="labels MIT; pictures of FER2013 for research",
    source="Barsoum, Zhang, Canton Ferrer and Zhang 2016, arXiv 1608.01041",
    layout="""  ROOT/
    fer2013new.csv                        (votes, from the FER+ project)
    data/FER2013Train/fer0000000.png ...
    data/FER2013Valid/fer0028638.png ...
    data/FER2013Test/fer0032220.png ...
  or fer2013.csv beside fer2013new.csv: write_pictures(ROOT) makes the folders out of it""",
    put="fer2013new.csv, and data/ with FER2013Train, FER2013Valid and FER2013Test (or fer2013.csv)",
    sign=r"fer2013(?:new)?\.csv",
)

VOTES = (*faces.EMOTIONS, "unknown", "NF")
MODES = ("majority", "probability", "crossentropy", "multi_target")
_UNKNOWN = len(faces.EMOTIONS)
_TARGETS = [f"{faces.TARGET_PREFIX}{name}" for name in faces.EMOTIONS]
_HEADER = ("Usage", "Image name", *VOTES)
_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_FOLDERS = {
    "Training": "data/FER2013Train",
    "PublicTest": "data/FER2013Valid",
    "PrivateTest": "data/FER2013Test",
}
_NAME = re.compile(r"fer\d{7}\.png", re.ASCII)
_SIDE = 48
# A row-by-row join of shuffled files agrees on one row in six; the true one on most rows.
_LEAST_AGREEMENT = 0.5
_FER_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def read(
    root: Path,
    *,
    mode: Literal["majority", "probability", "crossentropy", "multi_target"] = "majority",
    undecided: Literal["leave_out", "keep"] = "leave_out",
) -> Dataset:
    """Read the votes of ``fer2013new.csv`` and make labels of them by the official rules.

    Parameters
    ----------
    root : Path
    mode : {'majority', 'probability', 'crossentropy', 'multi_target'}
        How votes become a label; see `targets`.
    undecided : {'leave_out', 'keep'}
        Faces for which 'unknown' or 'no face' leads are left out, as the official reader does, or kept without an
        emotion.

    Returns
    -------
    Dataset
        ``emotion`` is the class with the largest target, ``votes_*`` are the ten counts as they stand,
        ``target_*`` the eight probabilities to train on. Votes that are not ten (or nine) are unknown, and so is the
        emotion.

    Raises
    ------
    DatasetError
        Missing files.
    """
    need_files(root, ("fer2013new.csv",), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = _read_votes(root, left_out, notices)
    _need_pictures(root)
    rows = keep_first(rows, ["image"], VOTES, left_out)
    rows = locate(rows, root, left_out, notices, folders=[*_FOLDERS.values()])
    made = targets(rows[[*VOTES]].to_numpy(), mode=mode)
    decided = made.any(axis=1)
    if undecided == "leave_out":
        lost = pd.Series(~decided, index=rows.index) & rows[[*VOTES]].notna().all(axis=1)
        rows = exclude(rows, lost, left_out, "undecided", _describe_votes)
        made, decided = made[~lost], decided[~lost]
    emotion = np.array(faces.EMOTIONS, dtype=object)[made.argmax(axis=1)]
    table = faces.build(
        {
            "image": rows["image"],
            "emotion": np.where(decided, emotion, None),
            "split": rows["Usage"].map(_SPLITS),
            **{f"{faces.VOTES_PREFIX}{name}": rows[name] for name in VOTES},
            **dict(zip(_TARGETS, np.where(decided[:, None], made, np.nan).T, strict=True)),
        },
        dataset="ferplus",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _read_votes(root: Path, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    rows = read_rows(root / "fer2013new.csv", left_out, notices, header=_HEADER)
    usages = words.classes_of("Usage", rows["Usage"].unique(), [*_FOLDERS])
    rows = rows.assign(Usage=[usages[text] or text for text in rows["Usage"]])
    rows = rows.assign(image=rows["Usage"].map(_FOLDERS).fillna("?") + "/" + rows["Image name"])
    rows = exclude(
        rows,
        ~rows["Usage"].isin(list(_FOLDERS)),
        left_out,
        "bad value in Usage",
        lambda row: repr(row["Usage"]),
    )
    nameless = rows["Image name"] == ""
    rows = exclude(rows, nameless, left_out, "no picture named", lambda row: f"line {row.name}")
    odd = ~rows["Image name"].str.fullmatch(_NAME)
    rows = exclude(
        rows, odd, left_out, "name malformed", lambda row: f"line {row.name}: expected fer0000000.png"
    )
    rows = rows.assign(**{name: words.numbers(rows[name]) for name in VOTES})
    votes = rows[[*VOTES]]
    wrong = (
        votes.isna().any(axis=1)
        | (votes < 0).any(axis=1)
        | (votes % 1 != 0).any(axis=1)
        | ~votes.sum(axis=1).isin((9, 10))
    )
    details = [f"line {line}: not ten votes, so they are taken as unknown" for line in rows.index[wrong]]
    notices.add_all(rows["image"][wrong], "bad value in votes", details)
    return rows.assign(**rows[[*VOTES]].mask(wrong))


def _describe_votes(row: pd.Series) -> str:
    votes = ", ".join(f"{name} {row[name]:g}" for name in VOTES if row[name])
    return f"{votes}; the official reader leaves it out"


def _need_pictures(root: Path) -> None:
    if not any((root / folder).is_dir() for folder in _FOLDERS.values()) and (root / "fer2013.csv").is_file():
        raise DatasetError(
            f"data set 'ferplus' under {root}: fer2013.csv is there, its pictures are not written out yet.\n"
            "Call faceworkbook.datasets.ferplus.write_pictures(root) once."
        )
    need_files(root, tuple(_FOLDERS.values())[:1], INFO)


def targets(votes: np.ndarray, *, mode: str) -> np.ndarray:
    """Training targets out of votes, by the official reader's rules.

    Single votes count as none. 'majority': the class with more than half of the votes.
    'probability' and 'crossentropy': the leading classes until three quarters of the votes are
    covered, at most three of them and more than half of the votes. 'multi_target': every class with
    30 % of the votes or more, if together they have more than half.

    Parameters
    ----------
    votes : ndarray of shape (n, 10)
        Counts in the order of `VOTES`.
    mode : str
        One of `MODES`.

    Returns
    -------
    ndarray of shape (n, 8), float64
        Rows sum to 1; a row of zeros where the votes decide nothing, or 'unknown' or 'no face' leads.

    Notes
    -----
    Source: `FERPlusReader` in github.com/microsoft/FERPlus. Its 'probability' draws one class from
    these targets for each batch, its 'multi_target' trains on which of them are above 0.
    """
    counts = np.where(np.asarray(votes, dtype=float) > 1, votes, 0.0)
    make = {"majority": _majority, "multi_target": _multi_target}.get(mode, _leading)
    made = make(counts, counts.sum(axis=1, keepdims=True))
    made[made.argmax(axis=1) >= _UNKNOWN] = 0
    made = made[:, :_UNKNOWN]
    total = made.sum(axis=1, keepdims=True)
    return np.divide(made, total, out=np.zeros_like(made), where=total > 0)


def _majority(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(counts > 0.5 * total, counts, 0.0)


def _multi_target(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    kept = np.where(counts >= 0.3 * total, counts, 0.0)
    return np.where(kept.sum(axis=1, keepdims=True) > 0.5 * total, kept, 0.0)


def _leading(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.array([_leading_of_one(row, whole) for row, whole in zip(counts, total[:, 0], strict=True)])


def _leading_of_one(counts: np.ndarray, total: float) -> np.ndarray:
    left, kept = counts.copy(), np.zeros_like(counts)
    classes, covered, stop = 0, 0.0, False
    while covered < 0.75 * total and classes < 3 and not stop:
        top = left.max()
        for i in np.flatnonzero(left == top):
            kept[i], left[i] = top, 0.0
            covered, classes = covered + top, classes + 1
            if i >= _UNKNOWN:
                # Emotions that led before "unknown" or "no face" stand without it.
                stop = True
                if kept.sum() > top:
                    kept[i], classes = 0.0, classes - 1
                break
    return kept if kept.sum() > 0.5 * total and classes <= 3 else np.zeros_like(counts)


def write_pictures(root: Path) -> int:
    """Write the pictures of ``fer2013.csv`` to ``data/FER2013Train``, ``...Valid`` and ``...Test``.

    Row n of ``fer2013.csv`` is the picture of row n of ``fer2013new.csv``. Pictures that are there
    already stay. A picture is written whole or not at all.

    Parameters
    ----------
    root : Path
        Folder with both files.

    Returns
    -------
    int
        Pictures written.

    Raises
    ------
    DatasetError
        A missing file, two files that do not belong together row by row, or pixels that are not
        2,304 numbers in 0..255.
    """
    root = Path(root)
    need_files(root, ("fer2013.csv", "fer2013new.csv"), INFO)
    pixels, votes = _joined(root)
    todo = []
    for (line, row), (_, named) in zip(pixels.iterrows(), votes.iterrows(), strict=True):
        path = root / _FOLDERS[row["Usage"]] / named["Image name"]
        if _NAME.fullmatch(named["Image name"]) and not path.exists():
            todo.append((line, row["pixels"], path))
    for line, text, path in tqdm(todo, unit="picture", desc="FER2013 pictures"):
        picture = _picture(text, root / "fer2013.csv", line)
        files.write_beside(path, cv2.imencode(".png", picture)[1].tobytes())
    return len(todo)


def _joined(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    malformed = Reasons()
    votes = read_rows(root / "fer2013new.csv", malformed, malformed, header=_HEADER)
    pixels = read_rows(root / "fer2013.csv", malformed, malformed, header=("emotion", "pixels", "Usage"))
    if malformed.rows:
        raise DatasetError(
            f"{root}: {malformed.rows[0][0]}: {malformed.rows[0][2]}; the files are joined row by row"
        )
    for table in (votes, pixels):
        table["Usage"] = table["Usage"].map(words.classes_of("Usage", table["Usage"].unique(), [*_FOLDERS]))
    if len(votes) != len(pixels) or (votes["Usage"].to_numpy() != pixels["Usage"].to_numpy()).any():
        raise DatasetError(
            f"{root}: fer2013.csv ({len(pixels)} rows) and fer2013new.csv ({len(votes)} rows) differ in rows or "
            "in Usage; they are joined row by row, so both must be as distributed"
        )
    _check_agreement(root, pixels, votes)
    return pixels, votes


def _check_agreement(root: Path, pixels: pd.DataFrame, votes: pd.DataFrame) -> None:
    counts = votes.assign(**{name: words.numbers(votes[name]) for name in VOTES}).dropna(subset=[*VOTES])
    made = targets(counts[[*VOTES]].to_numpy(), mode="majority")
    codes = {str(i): name for i, name in enumerate(_FER_EMOTIONS)}
    old = values.read_codes(pixels.assign(image=pixels.index), "emotion", codes, Reasons())[
        "emotion"
    ].dropna()
    new = pd.Series(np.array(faces.EMOTIONS, dtype=object)[made.argmax(axis=1)], index=counts.index)
    both = new[made.any(axis=1)].index.intersection(old.index)
    agreement = (new[both] == old[both]).mean() if len(both) else 1.0
    if agreement < _LEAST_AGREEMENT:
        raise DatasetError(
            f"{root}: the emotions of fer2013.csv and fer2013new.csv agree on {agreement:.0%} of {len(both)} rows; "
            "they are joined row by row, so one of them is not in its order"
        )


def _picture(text: str, path: Path, line: int) -> np.ndarray:
    pixels = text.split()
    if len(pixels) != _SIDE * _SIDE or not all(p.isascii() and p.isdigit() and int(p) < 256 for p in pixels):
        raise DatasetError(
            f"{path} line {line}: expected {_SIDE * _SIDE} pixels in 0..255, received {len(pixels)}"
        )
    return np.array(pixels, dtype=int).astype(np.uint8).reshape(_SIDE, _SIDE)
