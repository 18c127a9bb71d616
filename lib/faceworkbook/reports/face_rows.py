"""The test predictions as a record that a page's script reads: one value a face and column, and what may be corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook import tasks
from faceworkbook.datasets import corrections
from faceworkbook.evaluation import groups
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.rows import rows_of
from faceworkbook.plots import style
from faceworkbook.plots.montage import with_confidence

TRUTH, GROUP = "truth", "group:"
SCALE = 1000  # of the map's coordinates, whole numbers
_EARLIER = {corrections.CORRECTED: "change", corrections.GONE: "", corrections.CONFIRMED: "keep"}


@dataclass(frozen=True)
class FaceRows:
    """Test faces in the order in which a page first shows them: errors first, the most confident before others.

    Attributes
    ----------
    rows : pandas.DataFrame
        Test predictions with ``confidence`` and the attributes, one row a face.
    faces : pandas.DataFrame
        The face table's rows, in the same order.
    record : dict
        What the script reads, see `make`.
    """

    rows: pd.DataFrame
    faces: pd.DataFrame
    record: dict

    @property
    def is_error(self) -> np.ndarray:
        """Whether each face is predicted wrongly, bool (n,); of numbers all are."""
        return _is_error(self.rows)


def make(
    predictions: pd.DataFrame,
    faces: pd.DataFrame,
    *,
    attributes: Sequence[str] = (),
    points: pd.DataFrame | None = None,
    figures: pd.DataFrame | None = None,
    earlier: pd.DataFrame | None = None,
    key: str = "",
) -> FaceRows:
    """Put together what a page needs to know of every test face.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Classes that stand for numbers are read as one before (`metrics.expectation`).
    faces : pandas.DataFrame
        The face table.
    attributes : sequence of str
        Columns whose groups can be chosen.
    points : pandas.DataFrame, optional
        face_id, x, y: the map of the descriptors.
    figures : pandas.DataFrame, optional
        attribute ('' for all faces), group, value, low, high, method: figures that are known already, with intervals
        that count people.
    earlier : pandas.DataFrame, optional
        What became of the corrections that the data set was read with; they go into the file that is saved too.
    key : str
        Of the marks that a browser keeps: the data and the label.
    """
    task = tables.task_of(predictions)
    tested = predictions[predictions["split"] == "test"]
    repeated = bool(tested["face_id"].duplicated().any())
    tested = tested.drop_duplicates("face_id")
    tested.attrs = dict(predictions.attrs)
    attached = groups.attach(tested, faces, list(attributes)) if len(attributes) else tested
    ordered = _ordered(attached)
    own = faces.set_index("face_id", drop=False).loc[ordered["face_id"]].reset_index(drop=True)
    columns = _columns(ordered, own, task, attributes)
    known = rows_of(ordered)
    record = {
        "key": key,
        "rows": len(ordered),
        "task": {
            "number": task.is_number,
            "unit": task.unit,
            "figure": "" if repeated else "mean absolute error" if task.is_number else "accuracy",
        },
        "columns": columns,
        "attributes": [GROUP + name for name in attributes if GROUP + name in columns],
        "units": pd.factorize(known.units)[0],
        "counted": {"identities": "people", "pictures": "different pictures"}.get(known.counted, "faces"),
        "labels": _labels(own, task.name),
        "earlier": _earlier(earlier),
        "map": _map(ordered["face_id"], points),
        **_figures(None if repeated else figures, columns, own, task.name),
    }
    return FaceRows(ordered, own, record)


def _is_error(rows: pd.DataFrame) -> np.ndarray:
    if tables.task_of(rows).is_number:
        return np.ones(len(rows), bool)
    return (rows["truth"].astype(str) != rows["predicted"].astype(str)).to_numpy()


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    measured = with_confidence(rows)
    measured.attrs = dict(rows.attrs)
    keys = measured.assign(wrong=_is_error(measured))[["wrong", "confidence", "face_id"]]
    order = keys.sort_values(["wrong", "confidence", "face_id"], ascending=[False, False, True]).index
    ordered = measured.loc[order].reset_index(drop=True)
    ordered.attrs = dict(rows.attrs)
    return ordered


def _columns(rows: pd.DataFrame, own: pd.DataFrame, task: tasks.Task, attributes: Sequence[str]) -> dict:
    columns = {
        "face_id": {"title": "face", "values": rows["face_id"].astype(str)},
        "image": {"title": "file", "values": own["image"].astype(str)},
    }
    for name, title in ((TRUTH, "true"), ("predicted", "predicted")):
        columns[name] = _numbers(title, rows[name], 1) if task.is_number else _names(title, rows[name], task)
    if task.is_number:
        columns["error"] = _numbers("off by", rows["confidence"], 1)
    else:
        columns["right"] = {"title": "result", "values": (~_is_error(rows)).astype(int)}
        if rows["confidence"].notna().any():
            columns["confidence"] = _numbers("probability", rows["confidence"], 3)
        if task.is_exclusive and task.has_probabilities:
            codes = pd.Index(task.classes).get_indexer(rows["truth"].astype(str))
            given = tables.probabilities(rows)[np.arange(len(rows)), codes]
            columns["p_true"] = _numbers("probability of the true label", pd.Series(given), 3)
    for name in attributes:
        if name != task.name:
            values = rows[name] if name in rows else pd.Series(groups.EVERYONE, index=rows.index)
            columns[GROUP + name] = _names(name.replace("_", " "), values)
    return columns


def _numbers(title: str, values: pd.Series, digits: int) -> dict:
    numbers = values.astype(float).round(max(digits, 3)).to_numpy(object)
    whole = all(v == int(v) for v in numbers if pd.notna(v))
    plain = [None if pd.isna(v) else int(v) if whole else v for v in numbers]
    return {"title": title, "values": plain, "number": True, "digits": 0 if whole else digits}


def _names(title: str, values: pd.Series, task: tasks.Task | None = None) -> dict:
    # Class names and codes rather than a text a face: a tenth of the size.
    texts = values.astype(object).where(values.notna(), None).map(lambda v: v if v is None else str(v))
    present = set(texts.dropna())
    if task is not None and not task.is_multilabel:
        names = [name for name in task.classes if name in present]
    else:
        names = groups.levels(values.dropna())
    colors = style.class_colors(task.classes if task is not None and not task.is_multilabel else names)
    return {
        "title": title,
        "names": names,
        "values": pd.Index(names).get_indexer(texts),
        "colors": [colors[name] for name in names],
        "ordered": isinstance(values.dtype, pd.CategoricalDtype) and bool(values.cat.ordered),
    }


def _labels(own: pd.DataFrame, label: str) -> list[dict]:
    """Return the columns of the face table that a correction of this label is about, as the data set spells them."""
    known = [name for name in tasks.source_columns(own, label) if name in own]
    records = []
    for name in known:
        values = own[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            records.append({"column": name, "values": _numbers(name, values, 3)["values"]})
            continue
        if isinstance(values.dtype, pd.CategoricalDtype):
            classes = [str(c) for c in values.cat.categories]
        else:
            classes = sorted(values.dropna().astype(str).unique())
        codes = pd.Index(classes).get_indexer(values.astype(object).where(values.notna(), None))
        records.append({"column": name, "names": classes, "values": codes})
    return records


def _earlier(became: pd.DataFrame | None) -> list[dict]:
    if became is None:
        return []
    kept = became[became["status"].isin([*_EARLIER])]
    return [
        {
            "face_id": row.face_id,
            "column": row.column,
            "value": row.value,
            "was": row.was,
            "decision": _EARLIER[row.status],
            "image": row.image,
            "why": "of the corrections before",
        }
        for row in kept.itertuples()
    ]


def _map(face_ids: pd.Series, points: pd.DataFrame | None) -> dict | None:
    if points is None or points.empty:
        return None
    places = points.set_index("face_id")[["x", "y"]]
    scaled = (SCALE * (places - places.min()) / (places.max() - places.min()).replace(0, 1)).round()
    scaled["y"] = SCALE - scaled["y"]  # a screen counts downward
    rows = scaled.reindex(face_ids.astype(str))
    return {name: [None if pd.isna(v) else int(v) for v in rows[name]] for name in ("x", "y")}


def _figures(figures: pd.DataFrame | None, columns: Mapping, own: pd.DataFrame, label: str) -> dict:
    if figures is None:
        return {"overall": None, "groups": {}}
    known: dict = {}
    for row in figures.to_dict("records"):
        numbers = {
            name: None if pd.isna(row[name]) else float(row[name]) for name in ("value", "low", "high")
        }
        place = row["attribute"] if row["attribute"] == "" else GROUP + str(row["attribute"])
        if place.removeprefix(GROUP) == label and [label] == tasks.source_columns(own, label):
            place = TRUTH
        known.setdefault(place, {})[str(row["group"])] = {**numbers, "method": str(row["method"])}
    overall = known.pop("", {}).get("")
    return {"overall": overall, "groups": {name: own for name, own in known.items() if name in columns}}
