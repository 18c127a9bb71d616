"""The line under an answer that says which run it is of: when, seed, data, code, how often the test rows were read."""

from __future__ import annotations

from faceworkbook import data_record, files
from faceworkbook.reports import looks
from faceworkbook.reports.runs import EVALUATE, FACES, Run

_SHOWN = 8  # characters of a fingerprint


def describe(run: Run) -> str:
    """Return date, seed, fingerprint of the data, commit, and looks at the test rows, as far as the run has them.

    Nothing is noted as read: a page that names its data does not depend on it.
    """
    made = files.read_record(run.path("environment.json"))
    settings = files.read_record(run.path("params.json"))
    parts = [f"{str(made['started'])[:16].replace('T', ' ')} UTC"] if made.get("started") else []
    if made.get("seed") is not None:
        parts.append(f"seed {made['seed']}")
    record = _data(run)
    if record is not None:
        parts.append(f"data {record.fingerprint[:_SHOWN]} ({record.n:,} faces)")
    parts.append(f"code {str(made['commit'])[:_SHOWN]}" if made.get("commit") else "code without a commit")
    if record is not None and settings.get("label"):
        data = record.cleaning.get(looks.TEST_ROWS) or record.fingerprint
        of = looks.count(run.folder.parents[1], data=data, label=str(settings["label"]))
        if of.readings:
            often = "once" if of.readings == 1 else f"{of.readings:,} times"
            models = "one model" if of.models == 1 else f"{of.models:,} models"
            parts.append(f"test rows read {often}, of {models}")
    return " · ".join(parts)


def _data(run: Run) -> data_record.DataRecord | None:
    places = [run.folder.parent / step / data_record.NAME for step in (FACES, EVALUATE)]
    path = next((place for place in places if place.is_file()), None)
    try:
        return data_record.read(path) if path else None
    except data_record.DataError:
        return None
