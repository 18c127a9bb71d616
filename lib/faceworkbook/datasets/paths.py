"""Which picture a path in a table means: as written, in another case or Unicode form, or below another folder."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from faceworkbook.datasets.base import NO_PICTURE, NO_ROW, Reasons, exclude, list_pictures


def locate(
    rows: pd.DataFrame, root: Path, left_out: Reasons, notices: Reasons, *, links: str = "inside"
) -> pd.DataFrame:
    """Return the rows whose ``image`` is a picture below `root`, each with its path as it is on disk.

    A path that differs in case or Unicode form only, and absolute paths that all begin with the same foreign
    folder, are repaired and listed in `notices`. Rows without a picture and pictures without a row go to
    `left_out`.
    """
    rows = exclude(rows, rows["image"].isna(), left_out, "no picture named", "the row has no image")
    listed = Reasons()
    pictures = list_pictures(root, listed, links=links)
    left_out.rows.extend(row for row in listed.rows if row[1] != "not a picture")
    rows = rows.assign(image=rows["image"].str.replace("\\", "/").str.removeprefix("./"))
    absent = rows["image"][~rows["image"].isin(pictures)]
    places = match_paths(absent.unique(), pictures)
    details = [
        f"line {line}: {path!r} is read as {places[path]}" for line, path in absent.items() if path in places
    ]
    notices.add_all([places[path] for path in absent if path in places], "path repaired", details)
    rows = rows.assign(image=rows["image"].map(lambda path: places.get(path, path)))
    lost = ~rows["image"].isin(pictures)
    away = lost & rows["image"].map(_leaves_root)
    rows = exclude(rows, away, left_out, "path leaves the root", "paths are relative to the root")
    by_name = {_fold(path.rpartition("/")[2]): path for path in pictures}
    rows = exclude(
        rows, lost[rows.index], left_out, "no picture", lambda row: _describe_loss(row["image"], by_name)
    )
    left_out.add_all(
        sorted(set(pictures) - set(rows["image"]) - {row[0] for row in left_out.rows}), "no row", NO_ROW
    )
    return rows


def match_paths(paths: Iterable[str], pictures: list[str]) -> dict[str, str]:
    """Return the picture that each path means, where there is exactly one.

    Folders in front that the pictures lack are dropped: the same ones from every path, those that most paths
    begin with.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        spellings[_fold(picture)].append(picture)
    single = {word: written[0] for word, written in spellings.items() if len(written) == 1}
    matches, prefixes = {}, {}
    for path in paths:
        steps = _fold(path).split("/")
        if ".." in steps:
            continue
        ends = ("/".join(steps[start:]) for start in range(len(steps)))
        start, end = next(((i, end) for i, end in enumerate(ends) if end in single), (None, ""))
        if start is not None:
            matches[path], prefixes[path] = single[end], tuple(steps[:start])
    foreign = Counter(prefix for prefix in prefixes.values() if prefix)
    common = foreign.most_common(1)[0][0] if foreign else ()
    return {path: picture for path, picture in matches.items() if prefixes[path] in ((), common)}


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _leaves_root(path: str) -> bool:
    return path.startswith("/") or path[1:2] == ":" or ".." in PurePosixPath(path).parts


def _describe_loss(path: str, by_name: dict[str, str]) -> str:
    other = by_name.get(_fold(path.rpartition("/")[2]))
    return NO_PICTURE + (f"; {other} has the same name: write that path" if other else "")
