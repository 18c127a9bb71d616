"""The ledger of looks: who has read the figures of which test rows, with which model, when.

``results/looks.jsonl``, one line a look, only ever appended to. Test rows are known by the fingerprint of their
data (``data.json``), so that experiments on the same rows are counted together. Whoever looks at many models on
the same test rows and keeps the best reads a figure that flatters it: `flattery` bounds by how much.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock
from scipy import integrate, stats

from faceworkbook import files
from faceworkbook.evaluation import metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.rows import rows_of

NAME, LOCK = "looks.jsonl", ".looks.lock"
TEST_ROWS = "test_rows"  # in a record of data: what its test rows are known by, where not by its fingerprint
_DIGITS = 6  # outputs that agree so far are those of one model


@dataclass(frozen=True)
class Look:
    """One reading of test rows.

    Attributes
    ----------
    data, label : str
        Fingerprint of the data, and what is predicted.
    outputs : str
        Hash of what the model puts out on these rows: two runs of one model are one model.
    model, experiment, step : str
    metric : str
    value : float
        The figure that was read first; a reader of the page has seen all others.
    n : int
        Test faces.
    plan : str
        Hash of the plan that was written before, for a final experiment; else empty.
    user, when : str
    """

    data: str
    label: str
    outputs: str
    model: str
    experiment: str
    step: str
    metric: str
    value: float
    n: int
    plan: str = ""
    user: str = ""
    when: str = ""


@dataclass(frozen=True)
class Looks:
    """How often test rows were looked at: readings, different models, and the first one's time; damaged lines."""

    readings: int
    models: int
    first: str
    damaged: int


def make(table: pd.DataFrame, *, data: str, model: str, place: Path, plan: str = "") -> Look | None:
    """Return the look that reading a table of predictions is; None where it has no test rows.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions.
    data : str
        Fingerprint of the data; empty: that of the test rows themselves, their faces and truth.
    place : Path
        Folder of the step that reads them, ``results/EXPERIMENT/STEP``.
    """
    tested = table[table["split"] == "test"]
    if tested.empty:
        return None
    rows = rows_of(table)
    own = tested.drop_duplicates("face_id")[["face_id", "truth"]]
    columns = [
        "face_id",
        "repeat",
        "fold",
        "predicted",
        *(c for c in tested if c.startswith(tables.PROBABILITY)),
    ]
    outputs = tested[columns].sort_values(columns[:3]).round(_DIGITS)
    return Look(
        data=data or files.hash_rows(own, ["truth"], key="face_id"),
        label=rows.task.name,
        outputs=files.hash_values(*(outputs[column].astype(str).to_numpy(object) for column in columns)),
        model=model,
        experiment=place.parent.name,
        step=place.name,
        metric=rows.task.headline,
        value=metrics.pick(rows.task.headline, rows.task).value(rows),
        n=rows.n_faces,
        plan=plan,
        user=_user(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return ""


def append(look: Look, results: str | Path) -> None:
    """Append a look to the ledger; safe with several runs at once, and after one that was killed while writing."""
    path = Path(results) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(look), default=files.plain).encode() + b"\n"
    with FileLock(path.with_name(LOCK)), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(results: str | Path) -> tuple[list[Look], int]:
    """Return all looks in the order in which they were written, and the number of lines that cannot be read."""
    path, looks, damaged = Path(results) / NAME, [], 0
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for line in filter(None, lines):
        try:
            looks.append(Look(**files.parse_json(line)))
        except (ValueError, TypeError):
            damaged += 1
    return looks, damaged


def count(results: str | Path, *, data: str, label: str, without_plan: str = "") -> Looks:
    """Count the looks at the test rows of `data` for `label`, all of them or those outside of a plan."""
    every, damaged = read(results)
    own = [look for look in every if look.data == data and look.label == label]
    own = [look for look in own if not without_plan or look.plan != without_plan]
    return Looks(len(own), len({look.outputs for look in own}), own[0].when if own else "", damaged)


def flattery(models: int, low: float, high: float) -> float:
    """Return how much the best of several equally good models looks better than it is, at most and on average.

    The standard error times the expected maximum of as many independent normal draws: models that are right and
    wrong on the same faces differ less (Slepian 1962), so it is an upper bound.

    Parameters
    ----------
    models : int
    low, high : float
        95 % interval of the figure.
    """
    return expected_maximum(models) * (high - low) / (2 * stats.norm.ppf(0.975))


def expected_maximum(n: int) -> float:
    """Return the expected maximum of `n` independent standard normal draws."""
    if n < 2:
        return 0.0
    return float(
        integrate.quad(lambda x: x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), -10, 10)[0]
    )


def describe(looks: Looks, figure: pd.Series, *, unit: str = "") -> str:
    """Return in words how often test rows were looked at, and by how much that may flatter.

    Parameters
    ----------
    figure : pandas.Series
        metric, low, high of the headline.
    """
    lost = f" ({looks.damaged} lines of the ledger cannot be read)" if looks.damaged else ""
    often = "once" if looks.readings == 1 else f"{looks.readings:,} times"
    start = f"Looks: the figures of these test rows were read {often}{lost}, of "
    if looks.models < 2:
        return f"{start}one model; nothing was chosen by them."
    most = flattery(looks.models, figure["low"], figure["high"])
    if not most >= 0:
        return (
            f"{start}{looks.models:,} different models since {looks.first[:10]}. Whoever keeps the best of so many by these "
            "rows reads it too well; by how much is not known, as the figure has no interval."
        )
    amount = f"{most:.2f} {unit}" if unit else f"{most:.3f}"
    return (
        f"{start}{looks.models:,} different models since {looks.first[:10]}. Whoever keeps the best of so many by these "
        f"rows reads it too well: were all equally good, by up to {amount} of {figure['metric'].replace('_', ' ')} on "
        "average (standard error times the expected maximum of as many independent normal draws, an upper bound)."
    )
