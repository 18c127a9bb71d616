"""Judge a file of predictions, or a saved model, on a data set: what 13_evaluate and ``workbook evaluate`` share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from faceworkbook import data_record, datasets, descriptors, files, project, row_groups, tasks
from faceworkbook import faces as face_table
from faceworkbook.data_record import DataRecord
from faceworkbook.evaluation import comparison, groups, metrics, significance
from faceworkbook.evaluation.rows import rows_of
from faceworkbook.experiments import external_predictions as external
from faceworkbook.experiments.external_predictions import ExternalError, Judged, Reading, Source
from faceworkbook.reports import answers, described, looks, runs, tables
from faceworkbook.reports.pages import escape
from faceworkbook.reports.parameters import parse_options

MODEL = "model.json"
UNKNOWN_TRAINING = (
    "What {name} was trained on is not known here. If it has seen these faces, or these people, its figures are too "
    "good; no test on public data can rule that out."
)
NO_PROBABILITIES = (
    "{name} gives classes without probabilities: log loss, Brier score, AUC and calibration cannot be computed, and "
    "none are made up."
)


def read_source(dataset: str, root: str | Path, *, settings: dict) -> tuple[Source, datasets.Dataset]:
    """Read a data set with its reader's `settings`."""
    loaded = datasets.load(dataset, project.resolve(root), **settings).need_faces()
    return Source(dataset, loaded.root, loaded.faces), loaded


def name_of(given: Mapping) -> str:
    """Return the experiment's name for the parameters of 13_evaluate: file (or run), data set and label."""
    place = project.resolve(given["predictions"])
    own = place.parent.name if place.is_dir() and place.name[:2].isdigit() else place.stem
    words = [own, given["dataset"], given["label"]]
    return re.sub(r"[^\w.-]+", "_", "-".join(filter(None, words)), flags=re.ASCII).strip("_.-")[:100]


def check(given: Mapping) -> None:
    """Read data set and files as 13_evaluate will, so that what is wrong with them ends it before it starts.

    Parameters
    ----------
    given : mapping
        Parameters of 13_evaluate.

    Raises
    ------
    ValueError
        See `datasets.load` and `external_predictions.read`.
    """
    settings = datasets.with_label(given["dataset"], parse_options(given["options"]), given["label"])
    source, _ = read_source(given["dataset"], given["root"], settings=settings)
    label = given["label"]
    for place, columns in (
        (given["predictions"], given["columns"]),
        (given["against"], given["against_columns"]),
    ):
        if place and _model_folder(project.resolve(place)) is None:
            reading = Reading(label, columns or given["columns"], given["values"])
            label = judge(place, source, reading).task.name


def read_verdict(folder: Path) -> list[str]:
    """Return the sentences that 13_evaluate wrote."""
    record = files.read_json(folder / "metrics.json", ExternalError, advice="run it again with --force")
    return list(record["verdict"])


def _model_folder(place: Path) -> Path | None:
    return next((f for f in (place, place / runs.CLASSIFIER) if (f / MODEL).is_file()), None)


def judge(place: str | Path, source: Source, reading: Reading, *, limit: int = 0) -> Judged:
    """Judge a file of predictions, a run folder's predictions, or a run's saved model.

    Parameters
    ----------
    place : str or Path
        A file; or a folder: of a step with ``model.json``, whose saved model predicts the data set without the
        faces, copies and people that it was fitted or chosen on; else with ``predictions.parquet``.
    limit : int
        Faces that a saved model predicts at most, drawn at random; 0 for all.
    """
    path = project.resolve(place).resolve()
    folder = _model_folder(path)
    if folder is not None:
        faces = face_table.draw(source.faces, limit=limit, seed=0)
        return _judge_model(folder, Source(source.name, source.root, faces), reading)
    return external.read(path / "predictions.parquet" if path.is_dir() else path, source, reading)


def _judge_model(folder: Path, source: Source, reading: Reading) -> Judged:
    from faceworkbook import training

    run = runs.of(folder.parent)
    label, records = run.values(runs.FACES, "params")["label"], run.values(runs.DESCRIPTORS)[described.BLOCKS]
    if reading.label not in ("", label):
        raise ExternalError(
            f"the model in {project.shorten(folder)} reads '{label}', not '{reading.label}'; name it with --label"
        )
    data, nets = run.prepared_data(label), run.networks()
    fitted = training.load(folder, matrix=data.matrix, labels=data.labels, split=data.split)

    def describe(faces: pd.DataFrame):
        given = {"dataset": source.name, "root": source.root, "precision": records[0]["precision"]}
        return descriptors.join(described.extract(faces, nets, **given))

    judged = external.predict(fitted, describe, source, data, project.resolve(run.data().root))
    return replace(judged, name=f"{folder.parent.name} {folder.name}")


def record_of(judged: Judged, source: Source, reader: dict) -> tuple[pd.DataFrame, DataRecord]:
    """Return the judged faces with the hashes of their files, and what they are known by; all of them test.

    In the ledger of looks they are known by the whole data set: files of other programs, which answer other faces of
    it, are looks at the same rows.
    """
    columns = ["image", *face_table.BOX, "identity", *tasks.source_columns(source.faces, judged.task.name)]
    whole = files.hash_rows(source.faces, columns, key="face_id")
    table = judged.faces.assign(content_hash=data_record.hash_pictures(judged.faces, source.root))
    nothing = np.array([], dtype=int)
    split = SimpleNamespace(train=nothing, validation=nothing, test=np.arange(len(table)))
    cleaning = {"judged": judged.name, looks.TEST_ROWS: whole}
    return table, data_record.make(table, split, reader=reader, root=source.root, cleaning=cleaning)


def save(run: runs.Run, table: pd.DataFrame, record: DataRecord, label: str) -> dict:
    """Write the judged faces as 01_faces does, so that later notebooks read them; return what is made from them."""
    run.save_table(table, "faces")
    data_record.write(record, run.path(data_record.NAME))
    run.parameters["label"] = label
    run.save_values(run.parameters, "params")
    whole = record.cleaning[looks.TEST_ROWS]
    return {"data": record.fingerprint, looks.TEST_ROWS: whole, "n": record.n, "label": label}


# --------------------------------------------------------------------------- the verdict


def describe_rows(judged: Judged, title: str, n_copies: int) -> str:
    """Return how many rows and faces were matched, what was not, and how many copies are among them."""
    sides = {side: rows["reason"].value_counts() for side, rows in judged.excluded.groupby("side")}
    listed = [
        f"{n:,} {'rows' if side == external.FILE else 'faces of the set'} not judged ({reason})"
        for side, counts in sides.items()
        for reason, n in counts.items()
    ]
    copies = f"; {n_copies:,} of them are copies of another one" if n_copies else ""
    return f"{judged.name}: {len(judged.table):,} faces of {title} are judged{copies}. " + (
        f"{'; '.join(listed)}." if listed else "Every row and every face is judged."
    )


def describe_unanswered(judged: Judged, accuracy: float | None) -> str:
    """Return what the faces without an answer cost where they count as wrong; empty where there are none."""
    n, answered = judged.count(external.NO_ANSWER), len(judged.table)
    if not n:
        return ""
    start = f"{judged.name} gives no answer for {n:,} rows; the figures hold for those that it answers."
    if accuracy is None:
        return start
    return f"{start} With these counted as wrong accuracy is {accuracy * answered / (n + answered):.3f}."


def describe_contradictions(judged: Judged, groups: np.ndarray, metric: str) -> str:
    """Return how many judged faces are copies whose labels contradict each other, and the figure without them."""
    differing = row_groups.contradictions(judged.table["truth"], groups)
    if not differing.any() or differing.all():
        return ""
    rows = rows_of(judged.table)
    value = metrics.pick(metric, rows.task).value(rows.take(~differing))
    return (
        f"{int(differing.sum()):,} judged faces are copies that bear contradicting labels, so that no model can be right "
        f"on all of them; without these {metric.replace('_', ' ')} is {value:.3f} {judged.task.unit}".rstrip()
        + "."
    )


def describe_gaps(gaps: pd.DataFrame, metric: str) -> str:
    """Return the clearest gap between groups."""
    known = gaps[gaps["p"].notna()]
    if known.empty:
        return "No two groups are large enough to be compared."
    row = known.sort_values("p").iloc[0]
    adjusted = float(groups.adjust(known)["p_holm"].min())
    start = "Clearest gap" if adjusted < significance.ALPHA else "No significant gap; the clearest"
    return (
        f"{start} between groups: {row['attribute']} {row['worst']} with {metric} {row['worst_value']:.3f} against "
        f"{row['best']} with {row['best_value']:.3f}, difference {row['gap']:.3f} (95 % interval {row['low']:.3f} to "
        f"{row['high']:.3f}; {row['null_mean']:.3f} on average between groups that are served equally, p {comparison.format_p(row['p'])}, "
        f"the smallest of {len(known)}, {comparison.format_p(adjusted)} by Holm)."
    )


def describe_calibration(judged: Judged, summary: Mapping | None) -> str:
    """Return how far probabilities can be relied on, or that there are none."""
    if summary is not None:
        return answers.of_calibration(summary)
    return NO_PROBABILITIES.format(name=judged.name) if not judged.task.has_probabilities else ""


def describe_training(judged: Judged) -> str:
    """Return what is known of the faces that the model was trained on."""
    n = judged.count(external.SHARED)
    if judged.is_own and not n:
        return "No face, and no person, of this set trained or chose the model."
    if judged.is_own:
        return f"{n:,} faces were excluded because their picture or person trained or chose the model."
    return UNKNOWN_TRAINING.format(name=judged.name)


def begin_verdict():
    """Show the place of the verdict here, still empty; `show_verdict` fills it."""
    from IPython.display import HTML, display

    return display(HTML(""), display_id=True)


def show_verdict(handle, sentences: Sequence[str]) -> list[str]:
    """Fill the place of the verdict and return the sentences that are not empty."""
    from IPython.display import HTML

    kept = [sentence for sentence in sentences if sentence]
    if handle is None:  # the cells run as a program, which has no page to fill
        print("\n".join(kept))
    else:
        handle.update(HTML(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in kept)}</ul>"))
    return kept


def show_excluded(judged: Judged) -> None:
    """Show every row of the file that is not judged, and how many faces of the data set have no row."""
    theirs = judged.excluded[judged.excluded["side"] == external.FILE]
    tables.show_long([theirs[["name", "reason"]]], caption="rows of the file that are not judged")
    for notice in judged.notices:
        print(notice)
