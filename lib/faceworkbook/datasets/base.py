"""What every data set reader hands on, and the helpers they share."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Literal

import pandas as pd

PICTURES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".jp2", ".png", ".bmp", ".webp", ".avif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".gif"),
)
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir")  # systems leave them behind
_MANY_LEFT_OUT = 0.1  # of all files or rows
_ONE_PERSON = 1 / 3  # share of the faces
_PLACEHOLDER, _FEW = 20, 4  # faces of one person, and where nobody else has half as many
NO_PICTURE = "the table names it, no file is there"
NO_ROW = "no row of the table names the picture"
NOT_STATED = "not stated; ask whoever made the set"
_REMARKS = {
    "name not UTF-8": "rename the file or its folder",
    "link out of the root": "copy the files below the root; csv, image_folder and identity_folder have the option "
    "'links: anywhere'",
}


class DatasetError(ValueError):
    """A data set that cannot be read; the text says what was received, what is expected, what to do."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, for the table in docs/datasets.md and for error texts.

    ``put`` says in one line what must be put where; ``layout`` shows it as a tree. ``sign`` is a regular
    expression for paths that the set has and others lack (see ``faceworkbook.datasets.signs``). ``columns`` are what
    can be a label beyond the columns of every face table.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    identities: str
    official_split: str
    size: str
    terms: str
    source: str
    layout: str
    put: str = ""
    sign: str = ""
    columns: tuple[str, ...] = ()

    def row(self) -> dict[str, str]:
        """The facts as one table row (all but the layout)."""
        return {
            "name": self.name,
            "title": self.title,
            "labels": ", ".join(self.labels),
            "identities": self.identities,
            "official split": self.official_split,
            "size": self.size,
            "terms": self.terms,
            "source": self.source,
            "put": self.put or " ".join(self.layout.split()),
        }

    def describe_own(self, *, title: str, source: str, terms: str) -> DatasetInfo:
        """Return the facts with what the user has given about a set of their own; empty texts change nothing."""
        texts = {"title": title, "source": source, "terms": terms}
        return replace(self, **{name: text for name, text in texts.items() if text})


@dataclass(frozen=True)
class Dataset:
    """What a reader of a data set returns.

    Attributes
    ----------
    faces : pandas.DataFrame
        The face table (see ``faceworkbook.faces``).
    left_out : pandas.DataFrame
        Files or rows that are not in it: columns ``image``, ``reason``, ``detail``.
    notices : pandas.DataFrame
        Rows that are in it but were repaired or need a look: same columns.
    root : Path
        Folder that the table's ``image`` paths are relative to.
    info : DatasetInfo
    reader : dict
        Name and options of the reader, and a hash of its code; `faceworkbook.datasets.load` fills it in.
    likely : str
        Which other data sets the folder looks like, where that is in doubt.
    corrections : pandas.DataFrame, optional
        What became of every row of a corrections file (see ``faceworkbook.datasets.corrections``).
    """

    faces: pd.DataFrame
    left_out: pd.DataFrame
    notices: pd.DataFrame
    root: Path
    info: DatasetInfo
    reader: dict = field(default_factory=dict)
    likely: str = ""
    corrections: pd.DataFrame | None = None

    def counts(self) -> pd.DataFrame:
        """Rows read and rows left out by reason: columns ``what``, ``count``."""
        rows = [("faces read", len(self.faces))]
        rows += [(f"left out: {reason}", n) for reason, n in self.left_out["reason"].value_counts().items()]
        rows += [(f"noticed: {reason}", n) for reason, n in self.notices["reason"].value_counts().items()]
        return pd.DataFrame(rows, columns=["what", "count"])

    @property
    def warnings(self) -> list[str]:
        """Sentences about what must be known before anything is trained; empty where nothing stands out."""
        n, gone = len(self.faces), len(self.left_out)
        sentences, remark = [], ""
        if gone > _MANY_LEFT_OUT * (n + gone):
            reasons = self.left_out["reason"].value_counts()
            remark = _REMARKS.get(reasons.index[0], "")
            sentences.append(
                f"{gone:,} of {n + gone:,} files or rows were left out ({gone / (n + gone):.0%}), most of them "
                f"({reasons.iloc[0]:,}) for the reason {reasons.index[0]!r}{remark and f': {remark}'}"
            )
        bad = self.notices["reason"][self.notices["reason"].str.startswith("bad value in")].value_counts()
        sentences += [
            f"{count:,} of {n:,} faces lost a label for the reason {reason!r}: see the table of what was noticed"
            for reason, count in bad.items()
            if count > _MANY_LEFT_OUT * n
        ]
        if not n and remark and not self.likely:
            sentences.append("0 faces")
        elif not n:
            title = self.info.title if self.info else "the data set that was named"
            sentences.append(f"0 faces: {self.likely or f'is this {title}, laid out as distributed?'}")
        elif self.likely:
            sentences.append(f"the files have the names of another data set: {self.likely}")
        people = self.faces["identity"].value_counts()
        if len(people) and people.iloc[0] > _ONE_PERSON * people.sum() and _may_stand_for_many(people):
            sentences.append(
                f"the person {people.index[0]!r} has {people.iloc[0]:,} of {people.sum():,} faces; if this stands for "
                "an unknown person, leave it empty"
            )
        misfits = 0 if self.corrections is None else int((self.corrections["status"] == "not applied").sum())
        if misfits:
            sentences.append(
                f"{misfits:,} of {len(self.corrections):,} corrections were not applied: their face is not here, or "
                "has another label by now than the file names; see the list"
            )
        return sentences

    def need_faces(self) -> Dataset:
        """Return the data set; `DatasetError` with the reasons if nothing in it became a face."""
        if self.faces.empty:
            text, first = "; ".join(reversed(self.warnings)), self.left_out.head(1)
            if len(first):
                detail = "" if first["reason"].item() in _REMARKS else f": {first['detail'].item()}"
                text += f". The first: {first['image'].item()}{detail}"
            raise DatasetError(f"data set '{self.reader.get('name', '')}' under {self.root}: {text}")
        return self


def _may_stand_for_many(people: pd.Series) -> bool:
    """Whether the commonest identity, 0 or anonymous say, has so many faces that it may be no person."""
    most, second = people.iloc[0], people.iloc[1] if len(people) > 1 else 0
    return most >= _PLACEHOLDER or (most >= _FEW and most > 2 * second)


@dataclass
class Reasons:
    """Collects what is left out or repaired while a reader runs."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, image: str, reason: str, detail: str = "") -> None:
        """Note `image` (path relative to the root) with a short `reason` and its `detail`."""
        self.rows.append((str(image), reason, detail))

    def add_all(self, images: Iterable, reason: str, details: Iterable | str = "") -> None:
        """Note every one of `images` with the same `reason`; one detail each, or one for all."""
        details = repeat(details) if isinstance(details, str) else details
        self.rows.extend((str(image), reason, detail) for image, detail in zip(images, details, strict=False))

    def table(self) -> pd.DataFrame:
        """Columns ``image``, ``reason``, ``detail``, in the order noted."""
        return pd.DataFrame(self.rows, columns=["image", "reason", "detail"], dtype="string")


def list_pictures(
    root: Path, left_out: Reasons, *, folder: str = "", links: Literal["inside", "anywhere"] = "inside"
) -> list[str]:
    """Return the pictures (by extension) below `root`, or below its `folder`, as sorted paths relative to `root`.

    Hidden files and folders, and what systems leave behind, are passed over. Other files are listed in
    `left_out`: those that are no pictures or no plain files, whose name is not UTF-8, and links that lead nowhere, in a
    circle, or out of `root` (unless `links` is 'anywhere').
    """
    pictures, others = [], []
    inside = None if links == "anywhere" else root.resolve()
    prefix = f"{folder}/" if folder else ""
    for relative, entry, problem in _walk(root / folder, prefix, inside, frozenset()):
        if not problem and not entry.name.lower().endswith(PICTURES):
            problem = "not a picture"
        elif not problem and not entry.is_file():
            problem = "not a plain file"
        if problem:
            others.append((_readable(relative), problem, _REMARKS.get(problem, "")))
        else:
            pictures.append(relative)
    left_out.rows.extend(sorted(others))
    return sorted(pictures)


def _walk(
    folder: Path | str, prefix: str, inside: Path | None, entered: frozenset
) -> Iterator[tuple[str, os.DirEntry, str]]:
    # os.scandir knows the kind of an entry without another call to the file system.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in JUNK:
                continue
            relative = prefix + entry.name
            target = Path(entry.path).resolve() if entry.is_symlink() else None
            problem = "" if target is None else _link_problem(target, Path(folder), inside, entered)
            if not entry.name.isascii() and _readable(entry.name) != entry.name:
                problem = "name not UTF-8"
            if problem or not entry.is_dir():
                yield relative, entry, problem
            else:
                deeper = entered if target is None else entered | {target}
                yield from _walk(entry.path, f"{relative}/", inside, deeper)


def _link_problem(target: Path, folder: Path, inside: Path | None, entered: frozenset) -> str:
    if not target.exists():
        return "link leads nowhere"
    if inside is not None and not target.is_relative_to(inside):
        return "link out of the root"
    circle = target.is_dir() and (target in entered or folder.resolve().is_relative_to(target))
    return "link in a circle" if circle else ""


def _readable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def exclude(rows: pd.DataFrame, bad: pd.Series, left_out: Reasons, reason: str, detail) -> pd.DataFrame:
    """Move the `bad` rows to `left_out` and return the others.

    `rows` has a column ``image``; `detail` is a text, a series of texts, or makes a text of a row.
    """
    bad = bad.fillna(True).astype(bool)
    if bad.any():
        gone = rows[bad]
        if isinstance(detail, pd.Series):
            detail = detail[bad]
        elif callable(detail):
            detail = [detail(row) for _, row in gone.iterrows()]
        left_out.add_all(gone["image"], reason, detail)
    return rows[~bad]


def where(row: pd.Series) -> str:
    """Where `row` stands: its column ``where`` if it has one, else its line."""
    return row.get("where", f"line {row.name}")


def keep_first(rows: pd.DataFrame, key: list[str], labels: Sequence[str], left_out: Reasons) -> pd.DataFrame:
    """One row for each `key`: repeated rows, and all rows whose `labels` contradict, go to `left_out`.

    Rows contradict where a label has two known values. Repeated rows fill each other's unknown labels; further
    columns are not compared.
    """
    several = rows.duplicated(subset=key, keep=False)
    if not several.any():
        return rows
    groups = rows[several].groupby([rows.loc[several, name] for name in key], sort=False, dropna=False)
    different = groups[[*labels]].transform("nunique").gt(1).any(axis=1).reindex(rows.index, fill_value=False)
    filled = groups[[*labels]].transform("first")
    rows = exclude(
        rows, different, left_out, "rows contradict", lambda row: f"{where(row)}: same face, other values"
    )
    same = filled.loc[filled.index.intersection(rows.index)]
    rows = rows.assign(**{name: rows[name].mask(rows.index.isin(same.index), same[name]) for name in labels})
    again = rows.duplicated(subset=key)
    return exclude(rows, again, left_out, "row repeated", lambda row: f"{where(row)} repeats another row")


def need_files(root: Path, names: tuple[str, ...], info: DatasetInfo) -> None:
    """Raise `DatasetError` with the expected layout beside what is there if a file is missing."""
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DatasetError(layout_error(root, info, f"missing: {', '.join(missing)}"))


def _describe(left_out: Reasons) -> str:
    """Return the reasons for which files were left out, with counts and what helps, in brackets; empty for none."""
    counts = Counter(reason for _, reason, _ in left_out.rows)
    texts = [
        f"{reason} {n:,}{f': {_REMARKS[reason]}' if reason in _REMARKS else ''}"
        for reason, n in counts.items()
    ]
    return f" ({', '.join(texts)})" if texts else ""


def layout_error(root: Path, info: DatasetInfo, problem: str, left_out: Reasons | None = None) -> str:
    """Text of an error about files that are not where they should be, and about what was left out before."""
    there = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())[:12] or ["(nothing)"]
    return (
        f"data set '{info.name}' under {root}: {problem}{_describe(left_out or Reasons())}.\nExpected layout:\n{info.layout}\n"
        f"There is: {', '.join(there)}"
    )
