"""A CSV file of one's own beside the pictures: any of the face table's columns, under any header."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_pictured,
    need_files,
    numbers,
    read_rows,
)

INFO = DatasetInfo(
    name="csv",
    title="A CSV file and pictures",
    labels=("any: age, age_group, gender, race, emotion, yaw, pitch, roll, and further columns of your own",),
    identities="column identity, where there is one",
    official_split="columns split and fold, where there are any",
    size="yours",
    terms="yours",
    source="your own table",
    layout="""  ROOT/
    faces.csv      (header: image,gender,age,identity,... ; paths relative to ROOT; option table=)
    any/folders/of/pictures.jpg""",
    put="faces.csv with a header, and the pictures that its column image names",
)

UNKNOWN = ("", "NA", "NaN", "nan", "None", "<NA>")
_NUMBERS = (*faces.BOX, "age", *faces.POSE, "fold")
_YES_NO = {"yes": True, "no": False, "true": True, "false": False}
_FLOATS = (faces.VOTES_PREFIX, faces.TARGET_PREFIX)


def read(
    root: Path,
    *,
    table: str = "faces.csv",
    delimiter: str = ",",
    columns: list[str] | tuple[str, ...] = (),
    values: list[str] | tuple[str, ...] = (),
    free: list[str] | tuple[str, ...] = (),
    dataset: str = "csv",
) -> Dataset:
    """Read ``ROOT/table``.

    Parameters
    ----------
    root : Path
    table : str
        The CSV file, relative to `root`. UTF-8, with a header.
    delimiter : str
        One character.
    columns : list of str
        ``"gender=Sex"``: the face table's column `gender` stands under the header `Sex`. Columns of
        the same name need no entry.
    values : list of str
        ``"gender:0=male"``: what the file writes as 0 is the class `male`.
    free : list of str
        Label columns whose class names are yours; they are taken as they are, in alphabetical order.
        The others must hold names of one of the project's vocabularies.
    dataset : str
        Name of the data set in the face table.

    Returns
    -------
    Dataset
        A row with a value that is not allowed, or without its picture, is in ``left_out`` with the
        line and the value; so is a picture under `root` that no row names. Empty, NA, NaN and None mean unknown.

    Raises
    ------
    DatasetError
        No such file, no text, a header without ``image``, an option that names an unknown column.
    """
    need_files(root, (table,), INFO)
    if len(delimiter) != 1:
        raise DatasetError(f"delimiter={delimiter!r}; it must be one character, such as ',' or ';'")
    left_out, notices = Reasons(), Reasons()
    header = {"image": "image", **_pairs(columns, "columns", faces.COLUMNS)}
    rows = read_rows(root / table, left_out, header=(*header.values(),), delimiter=delimiter)
    rows = _take_columns(rows, header, table, notices)
    rows = _translate(rows, values).mask(lambda cells: cells.isin(UNKNOWN), None)
    rows = _check_images(rows, root, left_out)
    vocabularies = {name: _vocabulary(rows[name], name, free) for name in faces.CLASS_LABELS if name in rows}
    rows = _check_values(rows, vocabularies, left_out)
    rows = _name_faces(rows, dataset, left_out)
    own = [
        name
        for name in rows
        if name not in faces.COLUMNS and not name.startswith((*_FLOATS, faces.EXTRA_PREFIX))
    ]
    rows = rows.assign(**{name: read_own_label(rows[name]) for name in own})
    built = faces.build(
        dict(rows.drop(columns="dataset", errors="ignore")), dataset=dataset, vocabularies=vocabularies
    )
    return Dataset(built, left_out.table(), notices.table(), root, INFO)


def read_own_label(values: pd.Series) -> pd.Series:
    """Read a column of one's own: yes/no words as booleans, numbers as numbers, else texts; None where unknown."""
    known = values.dropna().str.strip().str.lower()
    if len(known) and known.isin(_YES_NO).all():
        return values.str.strip().str.lower().map(_YES_NO).astype(object)
    parsed = numbers(values.fillna(""))
    return parsed if len(known) and parsed[values.notna()].notna().all() else values


def _pairs(entries, option: str, allowed) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        name, sign, written = str(entry).partition("=")
        if not sign or not (name in allowed or name.isidentifier()) or not written:
            raise DatasetError(
                f"{option}: {entry!r} is not NAME=TEXT with a NAME of {sorted(allowed)} or your own"
            )
        pairs[name] = written
    return pairs


def _is_read(name: str) -> bool:
    return str(name).isidentifier()


def _take_columns(rows: pd.DataFrame, header: dict[str, str], table: str, notices: Reasons) -> pd.DataFrame:
    shadowed = [name for name in header if name in rows and name not in header.values()]
    rows = rows.drop(columns=shadowed).rename(columns={written: name for name, written in header.items()})
    wanted = [name for name in rows if _is_read(name)]
    twice = sorted({name for name in wanted if wanted.count(name) > 1})
    if twice:
        raise DatasetError(f"{table}: the columns {twice} stand twice in the header")
    for name in rows.columns.difference(wanted, sort=False):
        notices.add(
            table,
            "column not read",
            f"column {name!r}: a label's name has letters, digits and underscores; rename it with columns=",
        )
    return rows[wanted]


def _translate(rows: pd.DataFrame, values) -> pd.DataFrame:
    meant: dict[str, dict[str, str]] = {}
    for entry in values:
        name, _, pair = str(entry).partition(":")
        written, sign, class_name = pair.partition("=")
        if name not in faces.CLASS_LABELS or name not in rows or not sign:
            known = [label for label in faces.CLASS_LABELS if label in rows]
            raise DatasetError(f"values: {entry!r} is not COLUMN:WRITTEN=CLASS with a COLUMN of {known}")
        meant.setdefault(name, {})[written] = class_name
    return rows.assign(**{name: rows[name].replace(pairs) for name, pairs in meant.items()})


def _check_images(rows: pd.DataFrame, root: Path, left_out: Reasons) -> pd.DataFrame:
    rows = rows.assign(image=rows["image"].str.replace("\\", "/").str.removeprefix("./"))
    rows = exclude(
        rows, rows["image"].isna(), left_out, "no picture named", lambda row: f"line {row.name} has no image"
    )
    away = rows["image"].map(lambda path: path.startswith("/") or ".." in PurePosixPath(path).parts)
    rows = exclude(rows, away, left_out, "path leaves the root", "paths are relative to the root")
    return keep_pictured(rows, root, left_out)


def _vocabulary(column: pd.Series, name: str, free) -> tuple[str, ...]:
    unknown = sorted(set(free) - set(faces.CLASS_LABELS))
    if unknown:
        raise DatasetError(f"free={[*free]}: {unknown} are no label columns; {list(faces.CLASS_LABELS)} are")
    known = column.dropna()
    if name in free:
        return tuple(sorted(set(known)))
    return max(faces.KNOWN_VOCABULARIES[name], key=lambda names: int(known.isin(names).sum()))


def _check_values(rows: pd.DataFrame, vocabularies: dict, left_out: Reasons) -> pd.DataFrame:
    for name, allowed in {**vocabularies, "split": faces.SPLITS}.items():
        if name in rows:
            rows = _keep(rows, name, rows[name].isna() | rows[name].isin(allowed), left_out, list(allowed))
    for name in [n for n in rows if n in _NUMBERS or n.startswith(_FLOATS)]:
        parsed = numbers(rows[name].fillna(""))
        low, high = faces.RANGES.get(name, (-float("inf"), float("inf")))
        good = rows[name].isna() | parsed.between(low, high)
        if name == "fold":
            good &= rows[name].isna() | (parsed % 1 == 0)
        rows = _keep(rows, name, good, left_out, f"a number in {low}..{high}")
        rows = rows.assign(**{name: parsed[rows.index]})
    return _check_boxes(rows, left_out)


def _keep(rows: pd.DataFrame, name: str, good: pd.Series, left_out: Reasons, allowed) -> pd.DataFrame:
    return exclude(
        rows,
        ~good,
        left_out,
        f"bad value in {name}",
        lambda row: f"line {row.name}: {row[name]!r}; allowed are {allowed} or nothing",
    )


def _check_boxes(rows: pd.DataFrame, left_out: Reasons) -> pd.DataFrame:
    sides = [name for name in faces.BOX if name in rows]
    if not sides:
        return rows
    if len(sides) < len(faces.BOX):
        raise DatasetError(f"the table has the box columns {sides} only; a box needs {list(faces.BOX)}")
    known = rows[sides].notna().sum(axis=1)
    good = (known == 0) | ((known == 4) & (rows["bottom"] > rows["top"]) & (rows["right"] > rows["left"]))
    return exclude(rows, ~good, left_out, "bad box", lambda row: f"line {row.name}: {row[sides].to_dict()}")


def _name_faces(rows: pd.DataFrame, dataset: str, left_out: Reasons) -> pd.DataFrame:
    if "face_id" not in rows:
        rows = rows.assign(face_id=dataset + ":" + rows["image"] + _box_text(rows))
    return exclude(
        rows,
        rows["face_id"].isna() | rows["face_id"].duplicated(),
        left_out,
        "face_id repeated or missing",
        lambda row: f"line {row.name}: {row['face_id']!r}",
    )


def _box_text(rows: pd.DataFrame) -> pd.Series | str:
    if "top" not in rows or rows.empty:
        return ""
    box = rows[[*faces.BOX]].map("{:g}".format).agg("_".join, axis=1)
    return ("#" + box).where(rows["top"].notna(), "")
