"""What corrections changed between two runs that differ in nothing else: one with the labels of before, one with those of after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from faceworkbook import data_record, splits
from faceworkbook.evaluation import predictions
from faceworkbook.evaluation.comparison import ComparisonError
from faceworkbook.experiments import correction_effect
from faceworkbook.experiments.correction_effect import CorrectionEffect
from faceworkbook.reports import finished, run_records
from faceworkbook.splits import SplitError

STEPS = ("01_faces", "02_descriptors", "03_classifier")
_OWN = ("out", "experiment", "corrections")
UNREADABLE = (OSError, ValueError, KeyError, ComparisonError, SplitError)


@dataclass(frozen=True, eq=False)
class Former:
    """The run of before a correction, by name, and what the correction changed beside it."""

    name: str
    effect: CorrectionEffect

    def describe(self) -> list[str]:
        """Return what the corrections changed in the model and in the labels, a sentence each."""
        first, *rest = self.effect.describe()
        return [
            f"Beside the run {self.name}, which has the labels of before: {first[0].lower()}{first[1:]}",
            *rest,
        ]


def beside(folder: Path) -> Former | None:
    """Return what the corrections of the run in `folder` changed; None where no run without them can be set beside it."""
    former = find_former(folder)
    if former is None:
        return None
    try:
        return Former(former.name, measure(former, folder))
    except UNREADABLE:
        return None  # its files are damaged, or of another version: this run's own page does not need them


def find_former(folder: Path) -> Path | None:
    """Return the latest finished run beside `folder` that differs from it in nothing but having no corrections."""
    own = _parameters(folder)
    if own is None or not corrections_of(folder):
        return None
    others = [
        other
        for other in sorted(folder.parent.iterdir())
        if other != folder and other.is_dir() and _parameters(other) == own and not corrections_of(other)
    ]
    return max(others, key=run_records.trained_at, default=None)


def differ_in_corrections_alone(before: Path, after: Path) -> bool:
    """Whether all other parameters of two runs are the same, up to their predictions."""
    return _parameters(before) is not None and _parameters(before) == _parameters(after)


def corrections_of(folder: Path) -> dict:
    """Return file and hash of the corrections that a run's labels were read with; empty for none."""
    record = run_records.read_record(folder / "01_faces" / data_record.NAME) or {}
    return record.get("corrections") or {}


def measure(before: Path, after: Path) -> CorrectionEffect:
    """Return what the corrections of the run in `after` changed beside the run in `before`, on the test faces of both.

    Raises
    ------
    PredictionsError, ComparisonError, KeyError, OSError
        The runs have no test face in common, other labels, or files that cannot be read.
    """
    faces = [pd.read_parquet(folder / "01_faces" / "faces.parquet") for folder in (before, after)]
    tables = [
        predictions.read(folder / "03_classifier" / "predictions.parquet") for folder in (before, after)
    ]
    label = predictions.task_of(tables[1]).name
    lost = faces[0].loc[~faces[0]["face_id"].isin(faces[1]["face_id"]), "face_id"]
    pair = correction_effect.relabel(faces[0], faces[1], label, gone=[*lost])
    split = splits.load(after / "01_faces" / "split.json", faces[1])
    subsets = pd.Series(split.subset_of(len(faces[1])), index=faces[1]["face_id"])
    return correction_effect.of_predictions(pair, *tables, subsets=subsets)


def _parameters(folder: Path) -> dict | None:
    """Return the parameters of the steps that lead to predictions; None where one of them is not finished."""
    out = {}
    for step in STEPS:
        if not (folder / step / finished.DONE).is_file():
            return None
        own = run_records.read_record(folder / step / "params.json") or {}
        out |= {f"{step}.{name}": value for name, value in own.items() if name not in _OWN}
    return out
