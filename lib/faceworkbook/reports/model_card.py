"""Model cards in Markdown and HTML, filled from a run's own files (Mitchell et al. 2019).

Everything that comes from outside, such as class names and titles, is escaped; see `pages.escape_markdown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from faceworkbook import files, project
from faceworkbook.evaluation import calibration, groups, metrics, predictions
from faceworkbook.reports import answers, described, pages, private, report_data, tables
from faceworkbook.reports.pages import escape_markdown as md
from faceworkbook.reports.report_data import ReportData
from faceworkbook.reports.runs import Run, RunError

ATTRIBUTES = ("gender", "race", "age")
N_BOOT = 500
INTENDED = (
    "Research and teaching: how much of an annotated label a frozen face network's descriptor holds, how sure that figure "
    "is, and for which groups it is worse.",
)
RULED_OUT = (
    "Deciding anything about a person: access, hiring, policing, insurance, health, advertising.",
    "Saying who somebody is, or what they are: the labels are annotators' impressions.",
    "Faces unlike those of the data set named below, without measuring again.",
    "Watching people, or sorting pictures of people without their consent.",
)


def write(data: ReportData) -> str:
    """Write ``model_card.md`` and ``model_card.html`` beside the model; returns the short path of the first."""
    return _save(data.run.folder.parent / "03_classifier", to_markdown(data))


def write_networks(
    run: Run,
    predicted: Mapping[str, pd.DataFrame],
    faces: pd.DataFrame,
    *,
    network: str,
    model: Sequence[str],
    data: Sequence[str],
) -> str:
    """Write the card of networks that `run` has trained and saved in its own folder.

    Parameters
    ----------
    run : Run
    predicted : mapping of str to pandas.DataFrame
        Predictions by the name of the network or of its task.
    faces : pandas.DataFrame
        The face table of these predictions; its gender, race and age make the groups.
    network : str
        Where the pre-trained layers come from, or that there are none.
    model, data : sequence of str
        What is to be known of the networks, and of the faces they learned from; one plain sentence each.

    Returns
    -------
    str
        Short path of ``model_card.md``.
    """
    experiment = report_data.experiment_of(run)
    figures = metrics.summaries(dict(predicted), n_boot=N_BOOT)
    chapters = {
        "Model": _list([*model, f"Network: {network}"]),
        **_uses(),
        "Data": _list(data),
        "Figures on test rows (95 % intervals)": [_table(figures, _FIGURE_COLUMNS)],
        "By group (95 % intervals)": [_group_table(predicted, faces)],
        "Calibration": _list(_calibration(predicted)),
        "Limits": _list([report_data.LABELS, report_data.describe_pretraining(network)]),
        "Made by": _made_by(run.folder, experiment),
    }
    return _save(run.folder, _compose(experiment["title"] or run.step, "", chapters))


def to_markdown(data: ReportData) -> str:
    """Return the card's text."""
    c, leaked = data.classifier, data.faces["leakage"].get("leaked", 0)
    predicted = {data.model: data.run.predictions()}
    chapters = {
        "Model": _list(_describe_model(data)),
        **_uses(),
        "Data": _list(
            [
                f"{data.faces['title']}; {data.faces['source']}",
                f"Terms of use: {data.faces['terms']}. The model was made from it and inherits what they demand.",
                f"{data.faces['used']:,} faces, {report_data.describe_people(data)}; "
                f"train {c['n_train']:,}, validation {c['n_validation']:,}, test {c['n_test']:,}",
                f"Split: {data.faces['scheme']}, seed {data.params['seed']}; test rows that leak: {leaked}",
            ]
        ),
        "Figures on test rows (95 % intervals)": [_table(data.figures, _FIGURE_COLUMNS)],
        **_repeated(data),
        f"By group ({data.measure})": [
            _table(data.groups, ["attribute", "group", "value", "low", "high", "n"])
        ],
        "Calibration": _list(_calibration(predicted)),
        "Limits": _list(
            [*filter(None, [data.run.describe_plan(data.task.name)]), *report_data.list_caveats(data)]
        ),
        "Made by": _made_by(data.run.folder.parent / "03_classifier", data.experiment),
    }
    return _compose(data.title, answers.of_headline(data.task, data.figure(data.task.headline)), chapters)


def _describe_model(data: ReportData) -> list[str]:
    d, classes = data.descriptors, data.task.classes
    settings = report_data.settings_of(data)
    more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
    return [
        f"Reads: {data.task.title} ({data.task.kind}"
        + (f": {', '.join(classes[:12])}{more}" if classes else "")
        + ")",
        f"Input: {d['dim']}-d descriptor from {d['described_by']}",
        *(_describe_block(record) for record in described.records_of(d)),
        f"Settings: {'; '.join(f'{name}: {tables.describe(value)}' for name, value in settings.items())}",
        _describe_file(data.run),
    ]


def _describe_block(record: Mapping) -> str:
    """Return where some of the descriptor's columns come from, as one item of the list."""
    rows = {name: tables.describe(value) for name, value in described.to_rows(record).items() if value}
    return "; ".join(f"{name}: {value}" for name, value in rows.items())


def _describe_file(run: Run) -> str:
    if run.has("03_classifier", "model.keras"):
        return "File: model.keras (Keras, safe mode; standardisation inside)"
    return "File: model.json (class and parameters of the estimator, which is fitted again from its rows when it is loaded)"


def describe_dataset(facts: Mapping) -> str:
    """Return ``title``, ``source`` and ``terms`` of a data set in a sentence."""
    return "{title}; {source}. Terms of use: {terms}. The model inherits what they demand.".format_map(facts)


_FIGURE_COLUMNS = ["model", "metric", "value", "low", "high", "n"]


def _save(folder: Path, text: str) -> str:
    text, title = private.scrub(text), text.partition("\n")[0].removeprefix("# ")
    files.write_beside(folder / "model_card.html", pages.page(title, pages.render_markdown(text)))
    return project.shorten(files.write_beside(folder / "model_card.md", text))


def _compose(title: str, answer: str, chapters: Mapping[str, list[str]]) -> str:
    body = [f"## {md(name)}\n\n" + "\n".join(lines) for name, lines in chapters.items()]
    return "\n\n".join([f"# Model card: {md(title)}", *filter(None, [md(answer)]), *body]) + "\n"


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"- {md(text)}" for text in sentences]


def _uses() -> dict[str, list[str]]:
    return {"Intended use": _list(INTENDED), "Ruled out": _list(RULED_OUT)}


def _repeated(data: ReportData) -> dict[str, list[str]]:
    """The figures over repeated folds, where 06_cross_validation has run."""
    if not data.run.has("06_cross_validation", "metrics.json"):
        return {}
    record = data.run.values("06_cross_validation")
    title = f"The same settings over {record['n_fits']} fits (scheme '{record['scheme']}', corrected 95 % intervals)"
    columns = ["metric", "mean", "low", "high", "sd_folds", "sd_seeds", "n_test"]
    return {title: [_table(pd.DataFrame(record["folds"]), columns)]}


def _group_table(predicted: Mapping[str, pd.DataFrame], faces: pd.DataFrame) -> str:
    rows = [
        groups.by_group(
            groups.attach(table, faces, [name]),
            name,
            names=[predictions.task_of(table).headline],
            n_boot=N_BOOT,
        ).assign(model=model)
        for model, table in predicted.items()
        for name in _known(table, faces)
    ]
    if not rows:
        return "no gender, race or age is known of these faces"
    return _table(pd.concat(rows), ["model", "attribute", "group", "metric", "value", "low", "high", "n"])


def _known(table: pd.DataFrame, faces: pd.DataFrame) -> list[str]:
    # Of several data sets, each knows other labels: what is asked is what these very test rows have.
    test = table.loc[table["split"] == "test", "face_id"]
    own = faces[faces["face_id"].isin(test)]
    return [name for name in ATTRIBUTES if own[name].nunique() > 1]


def _calibration(predicted: Mapping[str, pd.DataFrame]) -> list[str]:
    lines = [
        _calibration_of(name, table)
        for name, table in predicted.items()
        if predictions.task_of(table).is_exclusive
    ]
    return lines or ["not a classifier of exclusive classes: no probabilities to calibrate"]


def _calibration_of(name: str, table: pd.DataFrame) -> str:
    c = calibration.summary(table, n_boot=N_BOOT).iloc[0]
    return (
        f"{name}: calibration error (ECE) {c['ece']:.3f} on {int(c['n']):,} test faces, where a perfectly calibrated model "
        f"would show {c['ece_if_calibrated']:.3f} (p = {c['p_calibrated']:.3f}), in the population "
        f"{c['ece_corrected']:.3f} [{c['ece_corrected_low']:.3f}, {c['ece_corrected_high']:.3f}]; mean confidence less accuracy "
        f"{c['overconfidence']:+.3f} [{c['overconfidence_low']:+.3f}, {c['overconfidence_high']:+.3f}]; "
        + "; ".join(
            f"{metric.replace('_', ' ')} {c[metric]:.3f} [{c[f'{metric}_low']:.3f}, {c[f'{metric}_high']:.3f}]"
            for metric in ("brier", "log_loss")
        )
    )


def _made_by(folder: Path, experiment: dict) -> list[str]:
    made = files.read_json(folder / "environment.json", RunError, advice=f"run {folder.name} again")
    command = report_data.command_of(folder.parent, experiment)
    return [
        f"- `{command.replace('`', chr(39))}`",
        *_list(
            [
                f"code {made['commit'] or 'not a checkout'}, {made['started']}, Python {made['python']}, seed {made['seed']}"
            ]
        ),
    ]


def _table(table: pd.DataFrame, columns: list[str]) -> str:
    shown = table[[c for c in columns if c in table]]
    marks = ("---:" if is_numeric_dtype(kind) else ":---" for kind in shown.dtypes)
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "|".join(marks) + "|"]
    for row in shown.itertuples(index=False):
        lines.append("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else md(v) for v in row) + " |")
    return "\n".join(lines)
