"""Model cards in Markdown and HTML, filled from a run's own files (Mitchell et al. 2019)."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from nbconvert.filters import markdown2html

from faceworkbook import datasets, project
from faceworkbook.evaluation import calibration, groups, metrics, predictions
from faceworkbook.reports import sections
from faceworkbook.reports.html import TEMPLATES
from faceworkbook.reports.runs import Run
from faceworkbook.reports.sections import ReportData

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


def write(told: ReportData) -> str:
    """Write ``model_card.md`` and ``model_card.html`` beside the model; returns the short path of the first."""
    return _save(told.run.folder.parent / "03_classifier", to_markdown(told))


def write_networks(
    run: Run,
    said: Mapping[str, pd.DataFrame],
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
    said : mapping of str to pandas.DataFrame
        Predictions by the name of the network or of its task.
    faces : pandas.DataFrame
        The face table of these predictions; its gender, race and age make the groups.
    network : str
        Where the pre-trained part comes from, or that there is none.
    model, data : sequence of str
        What is to be said of the networks, and of the faces they learned from; one sentence each.

    Returns
    -------
    str
        Short path of ``model_card.md``.
    """
    experiment = sections.experiment_of(run)
    figures = metrics.summaries(dict(said), n_boot=N_BOOT)
    title = experiment["title"] or run.step
    parts = {
        "Model": _list([*model, f"Network: {network}"]),
        **_uses(),
        "Data": _list(data),
        "Figures on test rows (95 % intervals)": [_table(figures, _FIGURE_COLUMNS)],
        "By group (95 % intervals)": [_group_table(said, faces)],
        "Calibration": _calibration(said),
        "Limits": _list([sections.LABELS, sections.trained_on(network)]),
        "Made by": _made_by(run.folder, experiment),
    }
    return _save(run.folder, _compose(title, "", parts))


def to_markdown(told: ReportData) -> str:
    """The card's text."""
    d, c = told.descriptors, told.classifier
    said = {sections.MODEL: predictions.read(told.run.other("03_classifier", "predictions.parquet"))}
    parts = {
        "Model": [
            f"- Reads: {told.label} ({c['task']['kind']}"
            + (f": {', '.join(c['classes'][:12])}" if c["classes"] else "")
            + ")",
            f"- Input: {d['dim']}-d descriptor of {d['network']}, tap {d['tap']}, weights {d['weights_sha256'][:16]}...",
            f"- Preprocessing: {d['preprocessing']}",
            f"- Network: {d['source']}",
            f"- Settings: {c['settings']}",
            "- File: model.keras (Keras, safe mode; standardisation inside)",
        ],
        **_uses(),
        "Data": [
            f"- {told.faces['title']}; {told.faces['source']}",
            f"- Terms of use: {told.faces['terms']}. The model was made from it and inherits what they demand.",
            f"- {told.faces['used']:,} faces, {sections.people(told)}; "
            f"train {c['n_train']:,}, validation {c['n_validation']:,}, test {c['n_test']:,}",
            f"- Split: {told.faces['scheme']}, seed {told.params['seed']}; test rows that leak: {told.faces['leakage'].get('leaked', 0)}",
        ],
        "Figures on test rows (95 % intervals)": [_table(told.figures, _FIGURE_COLUMNS)],
        **_repeated(told),
        f"By group ({told.measure})": [
            _table(told.groups, ["attribute", "group", "value", "low", "high", "n"])
        ],
        "Calibration": _calibration(said),
        "Limits": [f"- {_plain(text)}" for text in sections.list_caveats(told)],
        "Made by": _made_by(told.run.folder.parent / "03_classifier", told.experiment),
    }
    return _compose(told.experiment["title"] or told.label, _plain(sections.answer(told)), parts)


def say_sets(names: Sequence[str]) -> list[str]:
    """Title, source and terms of data sets, one sentence each."""
    known = [datasets.describe(name) for name in names]
    return [
        f"{info.title}; {info.source}. Terms of use: {info.terms}. The model inherits what they demand."
        for info in known
    ]


_FIGURE_COLUMNS = ["model", "metric", "value", "low", "high", "n"]


def _save(folder: Path, text: str) -> str:
    (folder / "model_card.md").write_text(text)
    (folder / "model_card.html").write_text(_page(text, text.partition("\n")[0].removeprefix("# ")))
    return project.shorten(folder / "model_card.md")


def _compose(title: str, answer: str, sections: Mapping[str, list[str]]) -> str:
    body = [f"## {name}\n\n" + "\n".join(lines) for name, lines in sections.items()]
    return "\n\n".join([f"# Model card: {title}", *filter(None, [answer]), *body]) + "\n"


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"- {text}" for text in sentences]


def _uses() -> dict[str, list[str]]:
    return {"Intended use": _list(INTENDED), "Ruled out": _list(RULED_OUT)}


def _repeated(told: ReportData) -> dict[str, list[str]]:
    """The figures over repeated folds, where 06_cross_validation has run."""
    if not told.run.has("06_cross_validation", "metrics.json"):
        return {}
    found = told.run.values("06_cross_validation")
    table = pd.DataFrame(found["folds"])
    title = f"The same settings over {found['n_fits']} fits (scheme '{found['scheme']}', corrected 95 % intervals)"
    return {title: [_table(table, ["metric", "mean", "low", "high", "sd_folds", "sd_seeds", "n_test"])]}


def _group_table(said: Mapping[str, pd.DataFrame], faces: pd.DataFrame) -> str:
    found = [
        groups.by_group(
            groups.attach(table, faces, [name]), name, names=[sections.headline_metric(table)], n_boot=N_BOOT
        ).assign(model=model)
        for model, table in said.items()
        for name in _known(table, faces)
    ]
    if not found:
        return "no gender, race or age is known of these faces"
    return _table(pd.concat(found), ["model", "attribute", "group", "metric", "value", "low", "high", "n"])


def _known(table: pd.DataFrame, faces: pd.DataFrame) -> list[str]:
    # Of several data sets, each knows other labels: what is asked is what these very test rows have.
    test = table.loc[table["split"] == "test", "face_id"]
    own = faces[faces["face_id"].isin(test)]
    return [name for name in ATTRIBUTES if own[name].nunique() > 1]


def _calibration(said: Mapping[str, pd.DataFrame]) -> list[str]:
    lines = [_calibration_of(name, table) for name, table in said.items() if predictions.class_names(table)]
    return lines or ["- not a classifier of classes: no probabilities to calibrate"]


def _calibration_of(name: str, table: pd.DataFrame) -> str:
    c = calibration.summary(table, n_boot=N_BOOT).iloc[0]
    return (
        f"- {name}: calibration error (ECE) {c['ece']:.3f} on {int(c['n']):,} test faces, where a perfectly calibrated model "
        f"would show {c['ece_if_calibrated']:.3f} (p = {c['p_calibrated']:.3f}); mean confidence less accuracy "
        f"{c['overconfidence']:+.3f} [{c['overconfidence_low']:+.3f}, {c['overconfidence_high']:+.3f}]; "
        + "; ".join(
            f"{metric.replace('_', ' ')} {c[metric]:.3f} [{c[f'{metric}_low']:.3f}, {c[f'{metric}_high']:.3f}]"
            for metric in ("brier", "log_loss")
        )
    )


def _made_by(folder: Path, experiment: dict) -> list[str]:
    made = json.loads((folder / "environment.json").read_text())
    return [
        f"- `{sections.command_of(folder.parent, experiment)}`",
        f"- code {made['commit'] or 'not a checkout'}, {made['started']}, Python {made['python']}, seed {made['seed']}",
    ]


def _table(table: pd.DataFrame, columns: list[str]) -> str:
    shown = table[[c for c in columns if c in table]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for row in shown.itertuples(index=False):
        lines.append("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    for tag in ("<strong>", "</strong>"):
        text = text.replace(tag, "")
    return html.unescape(text)


def _page(markdown: str, title: str) -> str:
    css = (Path(TEMPLATES) / "report" / "style.css").read_text()
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{css}</style></head><body><main>{markdown2html(markdown)}</main></body></html>"
    )
