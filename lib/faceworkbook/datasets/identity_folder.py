"""One folder a person, as CASIA-WebFace, VGGFace2 and LFW lie; labels of the people in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import (
    NOT_STATED,
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
    need_files,
)
from faceworkbook.datasets.image_folder import place
from faceworkbook.datasets.paths import name_folder
from faceworkbook.datasets.text_tables import read_rows

INFO = DatasetInfo(
    name="identity_folder",
    title="One folder a person",
    labels=("any, of the people, from a table",),
    identities="the folders' names",
    official_split="train/validation/test folders, where there are any",
    size="yours, such as CASIA-WebFace (494,414 faces of 10,575 people)",
    terms=NOT_STATED,
    source="your own pictures",
    layout="""  ROOT/
    0000045/001.jpg ...   (one folder a person; any names; train/ and test/ above them, if you like)
    0000099/001.jpg ...
    people.csv            (option people=: folder,gender,... with a header; may be missing)""",
    put="one folder a person, with its pictures",
)


def read(
    root: Path,
    *,
    people: str = "",
    links: Literal["inside", "anywhere"] = "inside",
    title: str = "",
    source: str = "",
    terms: str = "",
) -> Dataset:
    """Read a folder of people's folders.

    Parameters
    ----------
    root : Path
    people : str
        A CSV file relative to the root with a header: the folder's name in the first column, labels of the person
        in the others (gender, race, or any of your own). VGGFace2's identity_meta.csv is one.
    links : {'inside', 'anywhere'}
        Whether links to files and folders are followed below `root` only.
    title, source, terms : str
        What the report and the model card print about the set.

    Returns
    -------
    Dataset
        ``identity`` is the folder's name. Pictures outside any person's folder are in ``left_out``; people without a
        row of the table, and bad values in it, are in ``notices``.

    Raises
    ------
    DatasetError
        No picture in a folder, or a table that cannot be read.
    """
    left_out, notices = Reasons(), Reasons()
    listed = Reasons()
    pictures = list_pictures(root, listed, links=links)
    left_out.rows.extend(row for row in listed.rows if row[0] != people)
    rows = pd.DataFrame(place(pictures, "identity"), columns=["image", "split", "identity"])
    stray = rows["identity"].isna()
    left_out.add_all(rows.loc[stray, "image"], "not in a person's folder", "expected PERSON/ above it")
    rows = rows[~stray].reset_index(drop=True)
    if rows.empty:
        raise DatasetError(layout_error(root, INFO, "no picture in a person's folder", listed))
    labels, vocabularies = (
        _read_people(root, people, rows["identity"], left_out, notices) if people else ({}, {})
    )
    columns = {"image": rows["image"], "split": rows["split"], "identity": rows["identity"]}
    for name, by_person in labels.items():
        columns[name] = rows["identity"].map(by_person).astype(object)
    table = faces.build(columns, dataset="identity_folder", vocabularies=vocabularies)
    info = INFO.describe_own(title=title or name_folder(root) or INFO.title, source=source, terms=terms)
    return Dataset(table, left_out.table(), notices.table(), root, info)


def _read_people(
    root: Path, people: str, identities: pd.Series, left_out: Reasons, notices: Reasons
) -> tuple[dict[str, dict], dict]:
    """Return each label by person, and the class names of those that the face table knows."""
    need_files(root, (people,), INFO)
    rows = read_rows(root / people, left_out, notices, header=())
    key, *others = rows.columns
    clash = rows.drop_duplicates()[key]
    contradicted = set(clash[clash.duplicated()])
    notices.add_all(
        sorted(contradicted), "rows contradict", f"{people} has several rows, so its labels are unknown"
    )
    rows = rows[~rows[key].isin(contradicted)].drop_duplicates().set_index(key)
    unknown = sorted(set(identities) - set(rows.index) - contradicted)
    notices.add_all(unknown, "no row", f"{people} does not name the person")
    labels, vocabularies = {}, {}
    for written in others:
        name = words.fold(written).replace(" ", "_")
        name = name if name in faces.KNOWN_VOCABULARIES else written.replace(" ", "_")
        if not name.isidentifier() or name in set(faces.COLUMNS) - set(faces.KNOWN_VOCABULARIES):
            notices.add(people, "column not read", f"column {written!r} is no label of people")
            continue
        cells = rows[written][~rows[written].map(words.is_missing)]
        if name in faces.KNOWN_VOCABULARIES:
            vocabularies[name] = words.fitting_vocabulary(name, cells.unique())
            cells = _read_words(cells, name, vocabularies[name], notices)
        labels[name] = cells.to_dict()
    return labels, vocabularies


def _read_words(cells: pd.Series, name: str, classes: tuple[str, ...], notices: Reasons) -> pd.Series:
    meant = words.classes_of(name, cells.unique(), classes)
    values = cells.map(meant)
    bad = values.isna()
    details = [f"{text!r} is taken as unknown; allowed are {list(classes)}" for text in cells[bad]]
    notices.add_all(cells.index[bad], f"bad value in {name}", details)
    return values[~bad]
