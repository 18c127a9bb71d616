"""Quantise an exported graph to int8 and measure what that costs, on faces like those that it is meant for.

Weights are quantised per channel, activations by ranges that are seen on calibration faces (static quantisation). Head and
calibration stay in float32. Agreement and figures are measured on other faces than those.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, images, tasks
from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.figures import figure_of_mean
from faceworkbook.serving import export_graph, exporting
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.photos import WHOLE
from faceworkbook.serving.predictor import Predictor

INT8 = "model_int8.onnx"
CALIBRATION, MEASURED = 128, 1000  # faces at most
LEAST = 8
BATCH = 16
OPERATIONS = ("Conv", "Gemm", "MatMul", "Clip", "Relu", "MaxPool", "Add", "GlobalAveragePool")
_BOX = ["top", "left", "bottom", "right"]


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces to calibrate and to measure on.

    Attributes
    ----------
    table : pandas.DataFrame
        Rows of a face table, one a picture that was read.
    pixels : list of ndarray of shape (n, height, width, 3), uint8, RGB
        One for each of the describer's preprocessings.
    """

    table: pd.DataFrame
    pixels: list[np.ndarray]

    def take(self, rows: slice) -> Faces:
        """Return some of the faces."""
        return Faces(self.table.iloc[rows], [each[rows] for each in self.pixels])


def draw_faces(
    predictor: Predictor, table: pd.DataFrame, root: str | Path, *, seed: int = 0, n: int = MEASURED
) -> tuple[Faces, Faces]:
    """Draw calibration faces of the training subset, and others to measure on.

    Parameters
    ----------
    predictor : Predictor
    table : pandas.DataFrame
        Face table. Where it has an official split, calibration takes training rows, the measurement the others.
    root : path
        Of its pictures.
    seed : int
    n : int
        Faces to measure on, at most.

    Raises
    ------
    PredictorError
        Too few faces that can be read.
    """
    mixed = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    is_train = (mixed["split"] == "train").fillna(False).to_numpy(bool)
    if not is_train.any() or is_train.all():
        is_train = np.arange(len(mixed)) < min(CALIBRATION, len(mixed) // 3)
    calibration = _read(predictor, mixed[is_train].head(CALIBRATION), Path(root))
    measured = _read(predictor, mixed[~is_train].head(n), Path(root))
    for faces, what in ((calibration, "calibrate"), (measured, "measure")):
        if len(faces.table) < LEAST:
            raise PredictorError(
                f"{root} has {len(faces.table)} faces to {what} int8 on; at least {LEAST} are needed"
            )
    return calibration, measured


def _read(predictor: Predictor, table: pd.DataFrame, root: Path) -> Faces:
    margin = predictor.describer.preprocessings[0].crop_margin
    cuts = []
    for row in table[["image", *_BOX]].itertuples(index=False):
        try:
            picture = images.read(root / row.image)
            if pd.notna(row.top):
                picture = images.crop(picture, (row.top, row.left, row.bottom, row.right), margin=margin)
            cuts.append(predictor.cutter.cut(picture, faces=WHOLE)[0].pixels)
        except images.UnreadableImage:
            cuts.append(None)
    kept = table[[cut is not None for cut in cuts]]
    return Faces(kept, exporting.stack(cuts))


def quantise(graph: Path, target: Path, pixels: Sequence[np.ndarray]) -> Path:
    """Quantise the networks inside an exported graph.

    Parameters
    ----------
    graph, target : pathlib.Path
    pixels : sequence of ndarray
        Calibration faces, one array for each input.
    """
    import onnx
    from onnxruntime import quantization

    model = onnx.load(str(graph), load_external_data=False)
    names = [value.name for value in model.graph.input]
    own = [node.name for node in model.graph.node if not node.name.startswith(export_graph.NETWORK)]

    class Calibration(quantization.CalibrationDataReader):
        def __init__(self):
            self._starts = iter(range(0, len(pixels[0]), BATCH))

        def get_next(self):
            start = next(self._starts, None)
            if start is None:
                return None
            return {name: each[start : start + BATCH] for name, each in zip(names, pixels, strict=True)}

    with files.open_beside(target) as beside:
        quantization.quantize_static(
            graph,
            beside,
            Calibration(),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(OPERATIONS),
            nodes_to_exclude=own,
        )
    return target


def add(predictor: Predictor, out: Path, rules: dict, faces: tuple[Faces, Faces], *, dataset: str) -> dict:
    """Write the int8 graph beside the float32 one and its cost into ``preprocessing.json`` and ``README.md``.

    Parameters
    ----------
    predictor : Predictor
    out : pathlib.Path
        Of the float32 export.
    rules : dict
        What `exporting.export` returned.
    faces : (Faces, Faces)
        To calibrate and to measure on.
    dataset : str
        What the faces are of, in words.

    Returns
    -------
    dict
        `rules` with ``int8``: ``model``, ``tasks`` (see `compare`), bytes and milliseconds a face, ``sentences``.
    """
    calibration, measured = faces
    quantise(out / exporting.ONNX, out / INT8, calibration.pixels)
    answers, ms = {}, {}
    for name in (exporting.ONNX, INT8):
        answers[name], ms[name] = _answer(out / name, measured.pixels)
    compared = [
        compare(one, measured.table, answers[exporting.ONNX], answers[INT8]) for one in predictor.answering
    ]
    cost = {
        "model": INT8,
        "dataset": dataset,
        "calibrated_on": len(calibration.table),
        "measured_on": len(measured.table),
        "bytes": {name: (out / name).stat().st_size for name in answers},
        "ms_a_face": {name: round(value, 2) for name, value in ms.items()},
        "tasks": compared,
    }
    rules = {**rules, "int8": {**cost, "sentences": make_sentences(cost)}}
    exporting.write_texts(predictor, out, rules)
    return rules


def _answer(graph: Path, pixels: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
    run, made = exporting.open_graph(graph), []
    run([each[:1] for each in pixels])
    begun = time.perf_counter()
    for start in range(0, len(pixels[0]), BATCH):
        made.append(run([each[start : start + BATCH] for each in pixels]))
    seconds = time.perf_counter() - begun
    return {name: np.concatenate([each[name] for each in made]) for name in made[0]}, 1000 * seconds / len(
        pixels[0]
    )


def compare(
    one: Answering, table: pd.DataFrame, float32: Mapping[str, np.ndarray], int8: Mapping[str, np.ndarray]
) -> dict:
    """Return what int8 changes in one task's answers.

    Returns
    -------
    dict
        ``task``; of classes ``same_class`` (share, with ``low`` and ``high``) and ``mean_change`` of a probability, of numbers
        ``mean_change``; and ``figure`` where the table bears the label: its name, value in ``float32`` and ``int8``,
        ``difference`` with 95 % interval ``low`` and ``high``, ``n``.
    """
    name = one.task.name
    before, after = float32[name], int8[name]
    made = {"task": name, "mean_change": float(np.abs(after - before).mean())}
    if not one.task.is_number:
        same = np.array(one.predicted(before)) == np.array(one.predicted(after))
        low, high = intervals.wilson(int(same.sum()), len(same))
        made["same_class"] = {"value": float(same.mean()), "low": float(low), "high": float(high)}
    return {**made, "figure": _figure(one, table, before, after)}


def _figure(one: Answering, table: pd.DataFrame, before: np.ndarray, after: np.ndarray) -> dict | None:
    try:
        labels = tasks.read_labels(table.reset_index(drop=True), one.task.name)
    except tasks.TaskError:
        return None
    if labels.task.is_number != one.task.is_number:
        return None
    truth, known = labels.truth, np.array(labels.known)
    if one.task.is_number:
        scores = [-np.abs(answer - truth) for answer in (before, after)]
    else:
        known &= one.task.is_multilabel | np.isin(truth.astype(str), one.task.classes)
        scores = [(np.array(one.predicted(answer)) == truth).astype(float) for answer in (before, after)]
    if known.sum() < LEAST:
        return None
    rows = table[known]
    first, second = (score[known] for score in scores)
    bounds = (-np.inf, np.inf) if one.task.is_number else (-1.0, 1.0)
    units, pictures = intervals.resampling_units(rows), intervals.number_pictures(rows)
    change = figure_of_mean(second - first, units, pictures, bounds=bounds)
    low, high = (None if np.isnan(end) else float(end) for end in change.interval())
    sign = -1 if one.task.is_number else 1
    return {
        "name": "mean absolute error" if one.task.is_number else "accuracy",
        "float32": float(sign * first.mean()),
        "int8": float(sign * second.mean()),
        "difference": sign * change.value,
        "low": low if sign > 0 or low is None else -high,
        "high": high if sign > 0 or high is None else -low,
        "n": int(known.sum()),
    }


def make_sentences(cost: Mapping) -> list[str]:
    """Return the cost in words."""
    size, speed = cost["bytes"], cost["ms_a_face"]
    lines = [
        f"`{INT8}` has {size[INT8] / 1e6:.1f} MB in place of {size[exporting.ONNX] / 1e6:.1f}, and takes {speed[INT8]:.1f} ms a face "
        f"in place of {speed[exporting.ONNX]:.1f} on the machine that wrote it.",
        f"Calibrated on {cost['calibrated_on']:,} faces of {cost['dataset']}, measured on {cost['measured_on']:,} others.",
    ]
    return [*lines, *map(_describe_task, cost["tasks"])]


def _describe_task(each: Mapping) -> str:
    same, figure = each.get("same_class"), each["figure"]
    text = f"{each['task']}: "
    if same:
        text += (
            f"the same class for {same['value']:.1%} of the faces [{same['low']:.1%}, {same['high']:.1%}], "
        )
    text += f"mean change {each['mean_change']:.3g}"
    if figure is None:
        return f"{text}; these faces bear no such label, so that no figure is compared."
    ends = (
        "no interval, nothing varies"
        if figure["low"] is None
        else f"{figure['low']:+.4f}, {figure['high']:+.4f}"
    )
    return (
        f"{text}; {figure['name']} {figure['int8']:.4f} in place of {figure['float32']:.4f}, difference "
        f"{figure['difference']:+.4f} [{ends}] (n = {figure['n']:,})."
    )
