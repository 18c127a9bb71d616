"""The history for other programs: one CSV table, MLflow's file format, or scalars for TensorBoard.

MLflow's files are written as its file store reads them; nothing of it needs to be installed here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from faceworkbook import files, spreadsheet
from faceworkbook.reports.run_records import RunRecord

USUAL = {"csv": "runs.csv", "mlflow": "mlruns", "tensorboard": "runs_tensorboard"}
READERS = {
    "csv": "",
    # Of late MLflow (3.17) reads its own files only where it is asked to.
    "mlflow": "; look at them by: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {out} (or mlflow migrate-filestore)",
    "tensorboard": "; look at them by: tensorboard --logdir {out}",
}
BOUNDS = ("value", "low", "high", "n")
HISTORY = "history.csv"
_FACTS = (
    "status",
    "started",
    "seconds",
    "dataset",
    "label",
    "network",
    "answer",
    "question",
    "commit",
    "seed",
    "data",
)
_EXPERIMENT = "faceworkbook"
_STATES = {"finished": 3, "failed": 4}  # mlflow.entities.RunStatus; what is unfinished was killed: 5
_UNNAMED = re.compile(r"[^\w.\- /]", re.ASCII)  # what MLflow allows in no name


def write(records: Sequence[RunRecord], results: Path, kind: str, out: Path) -> Path:
    """Write the runs `records` of the folder `results` as `kind`, a key of `USUAL`, to `out`; returns it."""
    if kind == "csv":
        return files.write_beside(out, spreadsheet.to_csv(to_table(records)))
    for record in records:
        if kind == "mlflow":
            _write_mlflow(record, results / record.name, out / _number(_EXPERIMENT))
        else:
            _write_tensorboard(record, results / record.name, out / record.name)
    if kind == "mlflow":
        _write_yaml(out / _number(_EXPERIMENT) / "meta.yaml", _describe_experiment(out, records))
    return out


def to_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return a row a run: facts, notes, the figures with their bounds, and the parameters ``STEP.NAME``."""
    rows = []
    for record in records:
        row: dict = {"run": record.name} | {name: getattr(record, name) for name in _FACTS}
        row |= {"notes": "; ".join(record.notes), "pages": "; ".join(link for _, link in record.pages)}
        for key, figure in record.figures.items():
            row |= {key if name == "value" else f"{key} {name}": figure[name] for name in BOUNDS}
        rows.append(row | record.params)
    return pd.DataFrame(rows, columns=None if rows else ["run", *_FACTS])


def _histories(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the curves of each step that trained: its name, and a row an epoch."""
    for path in sorted(folder.glob(f"*/{HISTORY}")):
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError):  # torn, or of another program: the figures do not need it
            continue
        if "epoch" in table and pd.api.types.is_integer_dtype(table["epoch"]) and table["epoch"].is_unique:
            yield path.parent.name, table.select_dtypes("number")


def _figures(record: RunRecord) -> Iterator[tuple[str, float]]:
    """Yield each figure and its bounds by 'STEP/MODEL METRIC', 'STEP/MODEL METRIC low' and so on."""
    for key, figure in record.figures.items():
        for name in BOUNDS:
            if figure[name] is not None:
                yield key.replace(" ", "/", 1) + ("" if name == "value" else f" {name}"), float(figure[name])


# --------------------------------------------------------------------------- TensorBoard


def _write_tensorboard(record: RunRecord, folder: Path, out: Path) -> None:
    from faceworkbook.training import logs

    figures = dict(_figures(record))
    if figures:
        logs.write_tensorboard(out / "figures", [{"epoch": 0} | figures])
    for step, table in _histories(folder):
        logs.write_tensorboard(out / step, table.to_dict("records"))


# --------------------------------------------------------------------------- MLflow's file store


def _write_mlflow(record: RunRecord, folder: Path, out: Path) -> None:
    moment = _milliseconds(record.started)
    run = hashlib.sha256(f"{record.name} {record.started}".encode()).hexdigest()[:32]
    place, ended = out / run, moment + round(1000 * record.seconds)
    for name in ("metrics", "params", "tags", "artifacts"):  # by which MLflow knows a run's folder
        (place / name).mkdir(parents=True, exist_ok=True)
    for name, lines in _metrics(record, folder, ended).items():
        files.write_beside(place / "metrics" / name, "".join(lines))
    for name, value in record.params.items():
        files.write_beside(place / "params" / _name(name), " ".join(value.split()) if value else "")
    for name, value in _tags(record).items():
        files.write_beside(place / "tags" / name, value)
    state = record.status.split()[0]
    meta = {
        "artifact_uri": folder.resolve().as_uri(), "end_time": ended, "entry_point_name": "",
        "experiment_id": _number(_EXPERIMENT), "lifecycle_stage": "active", "run_id": run, "run_name": record.name,
        "run_uuid": run, "source_name": "", "source_type": 4, "source_version": record.commit, "start_time": moment,
        "status": _STATES.get(state, 5), "tags": [], "user_id": "",
    }  # fmt: skip
    _write_yaml(place / "meta.yaml", meta)  # last: a run without it is none


def _metrics(record: RunRecord, folder: Path, moment: int) -> dict[str, list[str]]:
    """Return the lines 'MOMENT VALUE STEP' of each metric."""
    out = {_name(key): [f"{moment} {value!r} 0\n"] for key, value in _figures(record)}
    for step, table in _histories(folder):
        for column in table.columns.drop("epoch"):
            pairs = zip(table["epoch"], table[column], strict=True)
            lines = [f"{moment} {float(value)!r} {int(epoch)}\n" for epoch, value in pairs if pd.notna(value)]
            out.setdefault(_name(f"{step}/epoch {column}"), lines)
    return out


def _tags(record: RunRecord) -> dict[str, str]:
    facts = {name: str(getattr(record, name)) for name in ("dataset", "label", "network", "answer", "status")}
    tags = {"mlflow.runName": record.name, "mlflow.note.content": "\n\n".join([record.answer, *record.notes])}
    return tags | {name: value for name, value in facts.items() if value} | dict.fromkeys(record.tags, "true")


def _describe_experiment(out: Path, records: Sequence[RunRecord]) -> dict:
    moments = [_milliseconds(record.started) for record in records]
    return {
        "artifact_location": (out / _number(_EXPERIMENT)).resolve().as_uri(),
        "creation_time": min(moments, default=0), "experiment_id": _number(_EXPERIMENT),
        "last_update_time": max(moments, default=0), "lifecycle_stage": "active", "name": _EXPERIMENT,
    }  # fmt: skip


def _write_yaml(path: Path, record: dict) -> None:
    # JSON's texts and numbers are YAML's, and an identifier of digits stays a text in quotes.
    files.write_beside(path, "".join(f"{name}: {json.dumps(value)}\n" for name, value in record.items()))


def _number(name: str) -> str:
    """Return the digits by which MLflow knows an experiment, always the same for its name."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:14], 16))


def _name(text: str) -> str:
    """Return a name that MLflow allows and no path leads out of: '..' and what else means a folder is written out."""
    pieces = [_UNNAMED.sub("_", piece).strip(". ") or "_" for piece in text.split("/")]
    return "/".join(piece[:120] for piece in pieces)


def _milliseconds(started: str) -> int:
    try:
        return round(1000 * datetime.fromisoformat(started).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return 0


def choose(records: Sequence[RunRecord], names: Sequence[str]) -> list[RunRecord]:
    """Return the records of the runs that are named, or all.

    Raises
    ------
    ValueError
        A name that no run has; the text names some that there are.
    """
    known = {record.name: record for record in records}
    for name in names:
        if name not in known:
            raise ValueError(f"no run {name!r}; there are {', '.join([*known][:8]) or 'none'}")
    return [known[name] for name in names] if names else list(records)
