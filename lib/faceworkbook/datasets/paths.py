"""Which picture a path in a table means: as written, in another spelling, or below another folder."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import NO_PICTURE, NO_ROW, Reasons, exclude, list_pictures, where

_MOSTLY = 0.5  # of the paths must lie below the folder that all of them lack


def locate(
    rows: pd.DataFrame,
    root: Path,
    left_out: Reasons,
    notices: Reasons,
    *,
    folders: Sequence[str] = ("",),
    links: str = "inside",
) -> pd.DataFrame:
    """Return the rows whose ``image`` is a picture in `folders`, each with its path as it is on disk.

    A path that differs in case, Unicode form, percent signs or extension only, and absolute paths that all begin
    with the same foreign folder, are repaired and listed in `notices`. Rows without a picture and pictures without
    a row go to `left_out`.
    """
    rows = exclude(
        rows, rows["image"].isna(), left_out, "no picture named", lambda row: f"{where(row)} has no image"
    )
    before = len(left_out.rows)
    pictures = _list(root, folders, links, left_out)
    listed = {row[0]: row for row in left_out.rows[before:]}
    rows = rows.assign(image=rows["image"].map(_tidy))
    absent = rows["image"][~rows["image"].isin(pictures)]
    places = match_paths(absent.unique(), pictures)
    if len(absent):
        places |= _match_stems([*rows["image"].map(lambda path: places.get(path, path)).unique()], pictures)
    if not places and len(absent) == len(rows):
        places = _match_folder([*absent.unique()], pictures)
    repaired = rows[rows["image"].isin([*places])]
    details = [
        f"{where(row)}: {row['image']!r} is read as {places[row['image']]}" for _, row in repaired.iterrows()
    ]
    notices.add_all([places[path] for path in repaired["image"]], "path repaired", details)
    rows = rows.assign(image=rows["image"].map(lambda path: places.get(path, path)))
    lost = ~rows["image"].isin(pictures)
    away = lost & rows["image"].map(_leaves_root).astype(bool)
    rows = exclude(rows, away, left_out, "path leaves the root", "paths are relative to the root")
    rows = _exclude_listed(rows, lost[rows.index], listed, left_out)
    by_name = {_fold(path.rpartition("/")[2]): path for path in pictures}
    losses = rows["image"][lost[rows.index]].map(lambda path: _describe_loss(path, by_name))
    rows = exclude(rows, lost[rows.index], left_out, "no picture", losses.reindex(rows.index))
    mentioned = {image for image, _, _ in left_out.rows}
    left_out.add_all(sorted(set(pictures) - set(rows["image"]) - mentioned), "no row", NO_ROW)
    return rows


def _exclude_listed(
    rows: pd.DataFrame, lost: pd.Series, listed: dict[str, tuple], left_out: Reasons
) -> pd.DataFrame:
    """Return the rows whose file, or a folder of it, is not `listed` as no picture; the others keep that reason."""
    if not listed:
        return rows
    places = rows["image"].where(lost).map(lambda path: _first_listed(path, listed), na_action="ignore")
    named = places.notna()
    gone = set(places[named])
    left_out.rows[:] = [row for row in left_out.rows if row[0] not in gone or row != listed.get(row[0])]
    for place, (_, row) in zip(places[named], rows[named].iterrows(), strict=True):
        _, reason, detail = listed[place]
        left_out.add(row["image"], reason, f"{where(row)}: {detail}" if detail else where(row))
    return rows[~named]


def _first_listed(path: str, listed: dict[str, tuple]) -> str | None:
    steps = path.split("/")
    places = ("/".join(steps[:n]) for n in range(len(steps), 0, -1))
    return next((place for place in places if place in listed), None)


def _list(root: Path, folders: Sequence[str], links: str, left_out: Reasons) -> list[str]:
    listed = Reasons()
    there = [folder for folder in folders if (root / folder).is_dir()]
    pictures = [
        picture for folder in there for picture in list_pictures(root, listed, folder=folder, links=links)
    ]
    own = [*folders] == [""]  # files of one's own of any kind may lie beside the table
    left_out.rows.extend(row for row in listed.rows if not own or row[1] != "not a picture")
    return pictures


def _tidy(path: str) -> str:
    path = path.removeprefix("file://").replace("\\", "/")
    return posixpath.normpath(path) if path else path


def _match_stems(paths: list[str], pictures: list[str]) -> dict[str, str]:
    """Return the picture that differs from a path in its extension only, where there is one that no path names."""
    stems: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        stems[_fold(picture.rpartition(".")[0])].append(picture)
    named, matches = set(paths), {}
    for path in named.difference(pictures):
        stem, dot, extension = path.rpartition(".")
        written = stems.get(_fold(stem if dot and "/" not in extension else path), [])
        if len(written) == 1 and written[0] not in named:
            matches[path] = written[0]
    twice = Counter(matches.values())
    return {path: picture for path, picture in matches.items() if twice[picture] == 1}


def _match_folder(paths: list[str], pictures: list[str]) -> dict[str, str]:
    """Return the pictures of paths that all lack the same folder in front, that of most of them."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        by_name[picture.rpartition("/")[2]].append(picture)
    ends = {path: [p for p in by_name[path.rpartition("/")[2]] if p.endswith(f"/{path}")] for path in paths}
    folders = Counter(p.removesuffix(path) for path, written in ends.items() for p in written)
    folder, n = folders.most_common(1)[0] if folders else ("", 0)
    if n <= _MOSTLY * len(paths) or [*folders.values()].count(n) > 1:
        return {}
    return {path: folder + path for path, written in ends.items() if folder + path in written}


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
        if ".." in path.split("/"):
            continue
        steps = _fold(path).split("/")
        if "/".join(steps) not in single and "%" in path:
            steps = _fold(unquote(path)).split("/")
        ends = ("/".join(steps[start:]) for start in range(len(steps)))
        start, end = next(((i, end) for i, end in enumerate(ends) if end in single), (None, ""))
        if start is not None:
            matches[path], prefixes[path] = single[end], tuple(steps[:start])
    foreign = Counter(prefix for prefix in prefixes.values() if prefix)
    common = foreign.most_common(1)[0][0] if foreign else ()
    return {path: picture for path, picture in matches.items() if prefixes[path] in ((), common)}


def _fold(path: str) -> str:
    return unicodedata.normalize("NFKC", path.translate(faces.UNSEEN)).casefold()


def _leaves_root(path: str) -> bool:
    return path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")


def _describe_loss(path: str, by_name: dict[str, str]) -> str:
    other = by_name.get(_fold(path.rpartition("/")[2]))
    return NO_PICTURE + (f"; {other} has the same name: write that path" if other else "")


def name_folder(root: Path) -> str:
    """Return a title for a set of one's own, after its folder; empty where that has no name."""
    name = " ".join(re.split(r"[\W_]+", root.resolve().name)).strip()
    return f"Faces of {name}" if name else ""


def first_there(root: Path, names: Iterable[str]) -> str | None:
    """Return the first of `names` (files or folders) that lies under `root`; None where there is none."""
    return next((name for name in names if (root / name).exists()), None)
