"""A predictor's table as plain nested values, for JSON: one record a photo, one a face in it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from faceworkbook.serving.answers import JOIN, Answering
from faceworkbook.serving.predictor import Predictor

ABOUT = (
    "Classes are the words of annotators for what a picture shows, not who people are. A probability is calibrated on faces like "
    "those of the training set. No answer says who somebody is."
)


def describe_predictor(predictor: Predictor) -> dict:
    """Return the title, fingerprint, network and tasks of a predictor."""
    return {
        "title": predictor.record.get("title", ""),
        "fingerprint": predictor.fingerprint,
        "network": predictor.describer.name,
        "dim": predictor.head.width,
        "tasks": [
            {
                "name": one.task.name,
                "kind": "number" if one.is_value else one.task.kind,
                "unit": one.task.unit,
                "classes": list(one.task.classes),
                "coverage": one.coverage or None,
            }
            for one in predictor.answering
        ],
    }


def photos_to_records(table: pd.DataFrame, predictor: Predictor, names: Sequence[str]) -> list[dict]:
    """Return one record a photo.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `Predictor.stream`, with the photos named '0', '1' ...
    predictor : Predictor
    names : sequence of str
        What the photos are called.

    Returns
    -------
    list of dict
        ``image`` (name), ``faces_detected``, and ``faces``: one record a row, see `faces_to_records`.
    """
    of_photo = {key: rows for key, rows in table.groupby("image", sort=False)}
    return [
        {
            "image": name,
            "faces_detected": int(of_photo[str(i)]["faces"].max()),
            "faces": faces_to_records(of_photo[str(i)], predictor.answering),
        }
        for i, name in enumerate(names)
    ]


def faces_to_records(table: pd.DataFrame, answering: Sequence[Answering]) -> list[dict]:
    """Return one record a row of a predictor's table; what is not known is None."""
    return [_face(row, answering) for row in table.to_dict("records")]


def _face(row: dict, answering: Sequence[Answering]) -> dict:
    record: dict = {}
    if "status" in row:
        box = {side: _plain(row[side]) for side in ("top", "left", "bottom", "right")}
        record = {
            "face": _plain(row["face"]),
            "status": row["status"],
            "detail": row["detail"],
            "box": None if box["top"] is None else box,
            "detector_score": _plain(row["detector_score"]),
        }
    answered = _plain(row["unlike_training"]) is not None
    record["answers"] = {one.task.name: _answer(row, one) for one in answering} if answered else {}
    record["unlike_training"] = _plain(row["unlike_training"])
    record["unlike_training_score"] = _plain(row["unlike_training_score"])
    return record


def _answer(row: dict, one: Answering) -> dict:
    name, task = one.task.name, one.task
    if one.is_value:
        known = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        answer = {key: _plain(row[column]) for key, column in known.items()} | {"unit": task.unit}
    else:
        shares = {c: _plain(row[f"p:{name}={c}"]) for c in task.classes if f"p:{name}={c}" in row}
        answer = {"probabilities": shares}
        if task.is_exclusive:
            inside = row[f"{name}_set"]
            answer |= {"class": row[name], "probability": _plain(row[f"{name}_probability"])}
            answer |= {"set": inside.split(JOIN) if inside else []}
        else:
            answer |= {"yes": [c for c, share in shares.items() if share >= 0.5]}
    return {**answer, "coverage": one.coverage or None, "measured": _measured(row, one)}


def _measured(row: dict, one: Answering) -> dict | None:
    figure = "error" if one.is_value else "accuracy"
    what = f"{one.task.name}_{figure}_here"
    if _plain(row[what]) is None:
        return None
    ends = {key: _plain(row[f"{what}_{key}"]) for key in ("low", "high", "n", "like")}
    return {figure: _plain(row[what]), **ends}


def _plain(value):
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
