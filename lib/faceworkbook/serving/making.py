"""Write a predictor: what a notebook that has fitted a model hands over becomes a folder that is whole."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import alignment, landmarks, project
from faceworkbook.alignment import Detector
from faceworkbook.evaluation import predictions as tables
from faceworkbook.landmarks import AlignOptions
from faceworkbook.mesh_detector import MESH, make_detector
from faceworkbook.serving import card, folder, framing, measuring
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import GRAPH, Network
from faceworkbook.serving.head import Head
from faceworkbook.serving.photos import Detection
from faceworkbook.serving.spread import Spread

TEST_FACES = 1500  # at most, whose pose and size are measured
PACKAGES = ("faceworkbook", "numpy", "keras", "onnxruntime")


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What a predictor is made of.

    Attributes
    ----------
    networks : sequence of Network
        Side by side; the framing is measured for each crop margin.
    head : Head
    predicted : mapping of str to pandas.DataFrame
        Predictions by task: validation rows calibrate, test rows measure.
    faces : pandas.DataFrame
        Face table of training and test rows; ``image`` is relative to `root`.
    root : path
    training, validation : ndarray of shape (n, d)
        Descriptors of training and of validation faces.
    trained_on : sequence of str
        face_id of the training rows.
    keras : mapping of str to keras.Model
        Models that are kept beside for people, by file name.
    made : mapping
        Title, data, terms, figures: for the card.
    graph : bytes
        ONNX graph of a fine-tuned network; empty for one of the registry.
    align : AlignOptions
        Which faces training aligned, where the networks align.
    """

    networks: Sequence[Network]
    head: Head
    predicted: Mapping[str, pd.DataFrame]
    faces: pd.DataFrame
    root: str | Path
    training: np.ndarray
    validation: np.ndarray
    trained_on: Sequence[str]
    keras: Mapping[str, object] = field(default_factory=dict)
    made: Mapping = field(default_factory=dict)
    graph: bytes = b""
    align: AlignOptions = AlignOptions()  # noqa: RUF009


@dataclass(frozen=True)
class Options:
    """How a predictor is measured.

    Attributes
    ----------
    coverage : float in 0..1
        Share of faces whose set or interval is to hold the truth.
    pictures : int
        Training pictures that the framing is measured on, and at most so many test faces.
    seed : int
        Of their draw.
    """

    coverage: float = measuring.COVERAGE
    pictures: int = framing.MEASURED
    seed: int = 0


def write(place: str | Path, given: Ingredients, options: Options = Options()) -> Path:  # noqa: B008
    """Write the predictor's folder.

    Parameters
    ----------
    place : path
    given : Ingredients
    options : Options

    Returns
    -------
    pathlib.Path
        The folder.
    """
    detector = Detector()
    aligns = any(network.preprocessing.align != "none" for network in given.networks)
    detection = Detection.of(detector, given.align, search=_search(given), aligns=aligns)
    marker = make_detector(MESH) if detection.bands == MESH else None
    framed, bands, networks = _measure_pictures(given, options, detector, marker)
    answering = [measuring.calibrate(table, coverage=options.coverage) for table in given.predicted.values()]
    answering = measuring.with_cells(answering, given.predicted, bands)
    judged = _judge(answering, given.predicted, options.seed)
    spread = Spread.fit(given.training, given.validation)
    record = {
        "title": str(given.made.get("title", "predictor")),
        "networks": [network.to_record() for network in networks],
        "detection": detection.to_record(),
        "framing": framed.to_record(),
        "head": given.head.to_record(),
        "tasks": [one.to_record() for one in answering],
        "unlike": {"flagged": spread.flagged},
        "made": {**given.made, "judged": judged, **_versions()},
    }
    contents = {name: _keras_bytes(model) for name, model in given.keras.items()}
    contents |= {GRAPH: given.graph} if given.graph else {}
    contents |= card.write(record, answering)
    return folder.write(Path(place), record, {**given.head.arrays, **spread.to_arrays()}, contents)


def recalibrate(
    source: str | Path,
    place: str | Path,
    predicted: Mapping[str, pd.DataFrame],
    *,
    coverage: float,
    groups: Mapping[str, Mapping[str, pd.Series]] | None = None,
    made: Mapping | None = None,
) -> Path:
    """Write the predictor in `source` again, with limits for another coverage and by group.

    Parameters
    ----------
    source, place : path
        The folder that is read, and the one that is written.
    predicted : mapping of str to pandas.DataFrame
        Predictions by task; those of a task that is not named stay as they were.
    coverage : float in 0..1
    groups : mapping of task to mapping of attribute to Series, optional
        Group of each row of its predictions.
    made : mapping, optional
        Replaces or adds to what the card says.
    """
    record, arrays = folder.read(source)
    answering, judged = [], dict(record["made"].get("judged", {}))
    for each in record["tasks"]:
        was = Answering.from_record(each)
        table = predicted.get(was.task.name)
        if table is None or tables.task_of(table).to_record() != was.task.to_record():
            answering.append(was)
            continue
        own = (groups or {}).get(was.task.name)
        now = measuring.calibrate(table, coverage=coverage, groups=own)
        answering.append(Answering(**{**_fields(now), "cells": was.cells}))
        judged |= _judge([now], predicted, 0)
    record = {name: value for name, value in record.items() if name not in ("format", "files", "checksum")}
    record |= {
        "tasks": [one.to_record() for one in answering],
        "made": {**record["made"], "judged": judged, **(made or {})},
    }
    kept = [name for name in folder.read_names(Path(source)) if name not in (folder.RECORD, folder.ARRAYS)]
    contents = {name: (Path(source) / name).read_bytes() for name in kept}
    return folder.write(Path(place), record, arrays, {**contents, **card.write(record, answering)})


def _fields(one: Answering) -> dict:
    return {name: getattr(one, name) for name in one.__dataclass_fields__ if not name.startswith("_")}


def _judge(
    answering: Sequence[Answering], predicted: Mapping[str, pd.DataFrame], seed: int
) -> dict[str, list[str]]:
    return {one.task.name: measuring.judge(predicted[one.task.name], one, seed=seed) for one in answering}


def _measure_pictures(
    given: Ingredients, options: Options, detector: Detector, marker: Detector | None = None
):
    """Measure the framing on training faces, and pose and size of test faces; return these and the networks, framed."""
    rng, ids = np.random.default_rng(options.seed), given.faces["face_id"]
    tested = {
        face for table in given.predicted.values() for face in table.loc[table["split"] == "test", "face_id"]
    }
    draws = []
    for chosen, most in (
        (given.trained_on, options.pictures),
        (tested, min(TEST_FACES, 4 * options.pictures)),
    ):
        rows = np.flatnonzero(ids.isin(list(chosen)))
        draws.append(given.faces.iloc[np.sort(rng.permutation(rows)[:most])])
    if not len(draws[0]):
        raise PredictorError(
            "none of the training faces stands in the face table: their framing cannot be measured"
        )
    first, margins = given.networks[0].preprocessing, {}
    for network in given.networks:
        own = network.preprocessing
        if own.crop_margin not in margins:
            margins[own.crop_margin], _ = framing.measure(draws[0], given.root, own, detector=detector)
    framed = margins[first.crop_margin]
    networks = [
        replace(network, framing=None if own == framed else own)
        for network in given.networks
        for own in [margins[network.preprocessing.crop_margin]]
    ]
    _, bands = framing.measure(draws[1], given.root, first, detector=detector, marker=marker)
    return framed, bands, networks


def _search(given: Ingredients) -> float:
    """Return how much larger what training searches for a face's points is than what it cuts out unaligned."""
    trained = given.faces["face_id"].isin(list(given.trained_on))
    if given.faces.loc[trained, "top"].notna().mean() < 0.5:
        return 1.0  # both are the whole picture
    return (1 + 2 * landmarks.CUT) / (1 + 2 * given.networks[0].preprocessing.crop_margin)


def _keras_bytes(model) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "head.keras"
        model.save(path)
        return path.read_bytes()


def _versions() -> dict:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"versions": versions, "commit": project.commit(), "written": now, "detector": alignment.WEIGHTS}
