"""What lies in a folder or a table: which reader fits, with which options, and what it makes of it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import datasets, faces, files, images, project
from faceworkbook.datasets import columns as guessing
from faceworkbook.datasets import paths, words
from faceworkbook.datasets.base import NOT_STATED, Dataset, DatasetError, Reasons, list_pictures
from faceworkbook.datasets.columns import Column

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".json")
TRIED = 50  # pictures that are decoded, drawn at random
_LOOKED_AT = 300  # rows whose path is looked up to pick the picture column
_FIRST = 3  # examples of each reason
_FIELDS = re.compile(r"[_\-\s]+")


class NotUnderstoodError(ValueError):
    """Nothing that the workbook can read; the text says what was seen and what would do."""


@dataclass
class Inspection:
    """What lies at a place.

    Attributes
    ----------
    taken_for : str
        In words.
    dataset, root, settings : str, str, dict
        The reader, the folder and the options that read it.
    label : str
        The label of the command; `labels` has all.
    label_is_number : bool
    counts : dict of str to int or str
    columns : list of Column
        Of a table of one's own.
    odd : list of dict
        reason, count and the first rows of what is left out or repaired.
    pictures : dict
        How many were decoded, how many of them could not be, and their sizes.
    remarks : list of str
        What a person should decide, or know first.
    """

    taken_for: str
    dataset: str
    root: str
    settings: dict = field(default_factory=dict)
    label: str = ""
    label_is_number: bool = False
    labels: list[str] = field(default_factory=list)
    counts: dict = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    odd: list[dict] = field(default_factory=list)
    pictures: dict = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def to_record(self) -> dict:
        """Return all of it in plain types."""
        return asdict(self)


def inspect(place: str | Path, *, label: str = "", seed: int = 0) -> Inspection:
    """Look at a folder or a table with pictures, and read it as a run would.

    Parameters
    ----------
    place : str or Path
    label : str
        What shall be learned; the likeliest label where it is empty.
    seed : int
        Of the draw of pictures that are decoded.

    Raises
    ------
    NotUnderstoodError
        No such place, no pictures, or nothing that a reader makes faces of.
    """
    place = Path(place).expanduser().resolve()
    if not place.exists():
        raise NotUnderstoodError(f"there is nothing at {place}")
    attempts = (
        [_read_table] if place.is_file() else [_read_published, _read_tables, _read_folders, _read_names]
    )
    reasons = []
    for attempt in attempts:
        try:
            inspection, dataset = attempt(place, label)
        except DatasetError as error:
            reasons.append(str(error).split("\n")[0])
            continue
        return _finish(inspection, dataset, label, seed)
    raise NotUnderstoodError(
        f"{place} holds nothing that can be read as faces:\n"
        + "\n".join(f"- {reason}" for reason in dict.fromkeys(reasons))
        + "\nExpected: a published set as distributed, one folder a class, or a table with a column of picture paths"
    )


# --------------------------------------------------------------------------- what it may be


def _read_published(root: Path, label: str) -> tuple[Inspection, Dataset]:
    there = {
        name: folder for name, folder in datasets.recognise(root).items() if name not in datasets.GENERAL
    }
    if not there:
        raise DatasetError("no published set: its files have other names")
    name, folder = next(iter(there.items()))
    dataset = datasets.load(name, folder).need_faces()
    inspection = Inspection(f"{dataset.info.title}, as distributed", name, str(folder))
    others = [f"{other} in {where}" for other, where in there.items() if where != folder]
    if others:
        inspection.remarks.append(
            f"other sets lie here too: {', '.join(others)}; inspect one folder at a time"
        )
    return inspection, dataset


def _read_tables(root: Path, label: str) -> tuple[Inspection, Dataset]:
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in TABLES and path.is_file())
    best: tuple[float, Path | None] = (0.0, None)
    pictures, _ = _list(root) if tables else ([], {})
    reasons = [] if tables else ["no table (CSV, TSV, parquet, JSON lines) in it"]
    for path in tables:
        try:
            share = _picture_column(read_any(path), pictures)[1]
        except DatasetError as error:
            reasons.append(str(error))
            continue
        if share > best[0]:
            best = (share, path)
    if best[1] is None:
        raise DatasetError("; ".join(reasons) or "no table in it names the pictures")
    return _read_table(best[1], label)


def _read_table(path: Path, label: str) -> tuple[Inspection, Dataset]:
    table, root = read_any(path), path.parent
    pictures, links = _list(root)
    picture, share = _picture_column(table, pictures)
    if not share:
        raise DatasetError(f"{path.name}: no column holds paths of pictures below {root}")
    columns = guessing.guess(table, picture=picture)
    settings = {"table": _table_for_csv(path, table), **_delimiter(path)}
    if settings["table"] == datasets.options("csv")["table"]:
        del settings["table"]
    settings |= guessing.settings_of(columns, table) | links
    kind = f"a table of {len(table):,} rows ({path.name}) and pictures"
    return _read_own(Inspection(kind, "csv", str(root), settings, columns=columns))


def _read_folders(root: Path, label: str) -> tuple[Inspection, Dataset]:
    label, links = label or "category", _list(root)[1]
    dataset = datasets.load("image_folder", root, label=label, **links)
    kinds = sorted(set(map(str, dataset.faces[label].dropna())))
    label = next((name for name in faces.KNOWN_VOCABULARIES if _are_classes(name, kinds)), label)
    if len(kinds) < 2:
        raise DatasetError(f"one folder with pictures ({', '.join(kinds)}): a label needs two classes")
    if not _speaks(kinds) and len(kinds) > faces.MAX_CLASSES:
        raise DatasetError(f"{len(kinds):,} folders: too many for the classes of a label; are they people?")
    has_splits = dataset.faces["split"].notna().any()
    kind = f"one folder a class{', below split folders' if has_splits else ''}: {', '.join(kinds[:8])}"
    inspection, dataset = _read_own(Inspection(kind, "image_folder", str(root), links, label=label))
    if label == "category":
        inspection.remarks.append(
            "the folders' names do not say what the label is called: give its name with --label"
        )
    return inspection, dataset


def _read_names(root: Path, label: str) -> tuple[Inspection, Dataset]:
    """Read labels out of the names of pictures: fields between _, - or blanks."""
    pictures, links = _list(root)
    pictures = [name for name in pictures if "/" not in name]
    if not pictures:
        raise DatasetError("no pictures lie in it")
    fields = [_FIELDS.split(Path(name).stem) for name in pictures]
    n_fields = int(np.median([len(row) for row in fields]))
    usual = [row if len(row) == n_fields else [""] * n_fields for row in fields]
    table = pd.DataFrame(usual, columns=[f"field_{i}" for i in range(1, n_fields + 1)], dtype=str)
    table = pd.concat([pd.Series(pictures, name="image"), table], axis=1)
    columns = guessing.guess(table, picture="image")
    if not any(column.is_label and 1 < column.different <= column.known / 2 for column in columns):
        raise DatasetError(f"{len(pictures):,} pictures, and their names hold no label that repeats")
    settings = {"table": _write_table(root, table), **guessing.settings_of(columns, table), **links}
    kind = f"{len(pictures):,} pictures with labels in their names, such as {pictures[0]}"
    inspection, dataset = _read_own(Inspection(kind, "csv", str(root), settings, columns=columns))
    odd = sum(len(row) != n_fields for row in fields)
    inspection.remarks.append(
        f"the fields of the names were written to {settings['table']}; name its columns there, and give labels and people"
        + (f"; {odd:,} names have another number of fields" if odd else "")
    )
    return inspection, dataset


def _read_own(inspection: Inspection) -> tuple[Inspection, Dataset]:
    root = Path(inspection.root)
    given = {
        "title": paths.name_folder(root) or "Faces of a folder",
        "source": "not stated",
        "terms": NOT_STATED,
    }
    inspection.settings |= given
    settings = datasets.with_label(inspection.dataset, inspection.settings, inspection.label)
    inspection.remarks.append(
        "title, source and terms stand on the page and the model card: state them, terms above all"
    )
    return inspection, datasets.load(inspection.dataset, root, **settings).need_faces()


def _list(root: Path) -> tuple[list[str], dict[str, str]]:
    """Return the pictures below a folder, and the option that follows links out of it where most are such links."""
    left_out = Reasons()
    pictures = list_pictures(root, left_out)
    outside = sum(reason == "link out of the root" for _, reason, _ in left_out.rows)
    if outside <= len(pictures):
        return pictures, {}
    return list_pictures(root, Reasons(), links="anywhere"), {"links": "anywhere"}


# --------------------------------------------------------------------------- tables


def read_any(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV, parquet or JSON (lines) table as texts; `DatasetError` where it is none."""
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            table = files.read_parquet(path)
        elif kind in (".jsonl", ".json"):
            table = _read_json(path)
        else:
            table = pd.read_csv(
                path, sep=_separator(path), dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    except (OSError, ValueError, ImportError, pd.errors.ParserError) as error:
        raise DatasetError(
            f"{path.name} is no table that can be read ({str(error).splitlines()[0]})"
        ) from error
    if table.shape[1] < 2 or table.empty:
        raise DatasetError(
            f"{path.name} is no table: it has {table.shape[0]} rows of {table.shape[1]} columns"
        )
    table.columns = [str(name).strip() for name in table.columns]
    return table.astype(object).where(table.notna(), "").astype(str)


def _read_json(path: Path) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8-sig")
    records = (
        files.parse_json(text)
        if text.lstrip().startswith("[")
        else [files.parse_json(line) for line in text.splitlines() if line.strip()]
    )
    return pd.DataFrame(records)


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline()
    return max(",;\t|", key=header.count)


def _delimiter(path: Path) -> dict[str, str]:
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return {}
    sign = _separator(path)
    return {} if sign == "," else {"delimiter": "tab" if sign == "\t" else sign}


def _table_for_csv(path: Path, table: pd.DataFrame) -> str:
    return path.name if path.suffix.lower() in (".csv", ".tsv", ".txt") else _write_table(path.parent, table)


def _write_table(root: Path, table: pd.DataFrame) -> str:
    """Write a table that the reader ``csv`` can read; the user's own folder stays as it is."""
    name = re.sub(r"\W+", "_", root.name) or "faces"
    target = project.resolve("results") / "inspected" / f"{name}-{files.hash_values(str(root))[:8]}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_beside(target, table.to_csv(index=False, lineterminator="\n"))
    return str(target)


def _picture_column(table: pd.DataFrame, pictures: list[str]) -> tuple[str, float]:
    sample = table.iloc[np.linspace(0, len(table) - 1, min(len(table), _LOOKED_AT)).astype(int)]
    known = set(pictures)

    def fits(values: pd.Series) -> float:
        written = [text.replace("\\", "/").removeprefix("./") for text in values]
        absent = [text for text in written if text not in known]
        matches = paths.match_paths(absent, pictures) if absent else {}
        return sum(text in known or text in matches for text in written) / len(written)

    return guessing.best_picture_column(sample, fits)


def _are_classes(name: str, kinds: list[str]) -> bool:
    known = [kind for kind in kinds if not words.is_missing(kind)]
    return any(
        all(words.classes_of(name, known, classes).values()) for classes in faces.KNOWN_VOCABULARIES[name]
    )


def _speaks(kinds: list[str]) -> bool:
    return any(_are_classes(name, kinds) for name in faces.KNOWN_VOCABULARIES)


# --------------------------------------------------------------------------- what is in it


def _finish(inspection: Inspection, dataset: Dataset, label: str, seed: int) -> Inspection:
    table = dataset.faces
    inspection.labels = faces.label_columns(table)
    usable = [name for name in inspection.labels if table[name].nunique() > 1]
    if label and label not in usable and not set(label.split("+")) <= set(usable):
        raise NotUnderstoodError(f"label={label!r}: labels of this set are {', '.join(usable) or 'none'}")
    if not usable:
        raise NotUnderstoodError(
            f"{inspection.taken_for}: no column of it can be learned; a label needs two values"
        )
    inspection.label = label or inspection.label or _likeliest(table, usable)
    inspection.label_is_number = inspection.label in table and not faces.is_class_label(
        table[inspection.label]
    )
    inspection.counts = _count(dataset)
    inspection.odd = [*_list_odd(dataset.left_out, "left out"), *_list_odd(dataset.notices, "noticed")]
    inspection.pictures = decode_some(dataset, n=TRIED, seed=seed)
    inspection.remarks = [
        *dataset.warnings,
        *(c.remark for c in inspection.columns if c.remark),
        *inspection.remarks,
    ]
    return inspection


def _likeliest(table: pd.DataFrame, usable: list[str]) -> str:
    classes = [name for name in usable if faces.is_class_label(table[name]) and table[name].nunique() <= 20]
    return next(iter([*classes, *usable]))


def _count(dataset: Dataset) -> dict:
    table = dataset.faces
    counts: dict = {"faces": len(table), "pictures": int(table["image"].nunique())}
    if table["identity"].notna().any():
        counts["people"] = int(table["identity"].nunique())
    for name in ("split", "fold"):
        if table[name].notna().any():
            counts[name] = ", ".join(
                f"{key} {n:,}" for key, n in table[name].value_counts(sort=False).items()
            )
    for row in faces.count_labels(table).itertuples():
        counts[row.label] = row.values + (f" (unknown: {row.unknown:,})" if row.unknown else "")
    counts["left out"] = len(dataset.left_out)
    return counts


def _list_odd(rows: pd.DataFrame, what: str) -> list[dict]:
    odd = []
    for reason, count in rows["reason"].value_counts().items():
        first = rows[rows["reason"] == reason].head(_FIRST)
        shown = [f"{row.image}: {row.detail}" if row.detail else row.image for row in first.itertuples()]
        odd.append({"what": what, "reason": reason, "count": int(count), "first": shown})
    return odd


def decode_some(dataset: Dataset, *, n: int, seed: int) -> dict:
    """Decode some pictures of a data set, drawn at random: how many are good, of which sizes, and what is wrong."""
    drawn = dataset.faces["image"].drop_duplicates()
    drawn = drawn.sample(min(n, len(drawn)), random_state=seed)
    sizes, bad = [], []
    for image in drawn:
        try:
            sizes.append(images.read(dataset.root / image).shape[:2])
        except images.UnreadableImage as error:
            bad.append(f"{image}: {error}")
    record: dict = {"decoded": len(drawn), "unreadable": len(bad), "first unreadable": bad[:_FIRST]}
    if sizes:
        heights, widths = np.array(sizes).T
        record["size"] = (
            f"{int(np.median(widths))} x {int(np.median(heights))} in the median, {widths.min()} to {widths.max()} wide"
        )
    return record
