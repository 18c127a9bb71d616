"""A model card in Markdown and HTML, filled from a run's own files (Mitchell et al. 2019)."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
from nbconvert.filters import markdown2html

from faceworkbook import project
from faceworkbook.reports import story
from faceworkbook.reports.html import TEMPLATES
from faceworkbook.reports.story import Told

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


def write(told: Told) -> str:
    """Write ``model_card.md`` and ``model_card.html`` beside the model; returns the short path of the first."""
    folder = told.run.folder.parent / "03_classifier"
    text = to_markdown(told)
    (folder / "model_card.md").write_text(text)
    (folder / "model_card.html").write_text(
        _page(text, f"Model card: {told.experiment['title'] or told.label}")
    )
    return project.shorten(folder / "model_card.md")


def to_markdown(told: Told) -> str:
    """The card's text."""
    d, c, e = told.descriptors, told.classifier, told.environment
    sections = {
        "Model": [
            f"- Reads: {told.label} ({c['kind']}"
            + (f": {', '.join(c['classes'][:12])}" if c["classes"] else "")
            + ")",
            f"- Input: {d['dim']}-d descriptor of {d['network']}, tap {d['tap']}, weights {d['weights_sha256'][:16]}...",
            f"- Preprocessing: {d['preprocessing']}",
            f"- Network: {d['source']}",
            f"- Settings: {c['settings']}",
            "- File: model.keras (Keras, safe mode; standardisation inside)",
        ],
        "Intended use": [f"- {text}" for text in INTENDED],
        "Ruled out": [f"- {text}" for text in RULED_OUT],
        "Data": [
            f"- {told.faces['title']}; {told.faces['source']}",
            f"- Terms of use: {told.faces['terms']}. The model was made from it and inherits what they demand.",
            f"- {told.faces['used']:,} faces, {told.faces['people']:,} known people; "
            f"train {c['n_train']:,}, validation {c['n_validation']:,}, test {c['n_test']:,}",
            f"- Split: {told.faces['scheme']}, seed {told.params['seed']}; test rows that leak: {told.faces['leakage'].get('leaked', 0)}",
        ],
        "Figures on test rows (95 % intervals)": [
            _table(told.figures, ["model", "metric", "value", "low", "high", "n"])
        ],
        f"By group ({told.measure})": [
            _table(told.groups, ["attribute", "group", "value", "low", "high", "n"])
        ],
        "Calibration": _calibration(told),
        "Limits": [f"- {_plain(text)}" for text in story.list_caveats(told)],
        "Made by": [
            f"- `{story.command(told)}`",
            f"- code {e['commit'] or 'not a checkout'}, {e['started']}, Python {e['python']}",
        ],
    }
    body = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items())
    return (
        f"# Model card: {told.experiment['title'] or told.label}\n\n{_plain(story.answer(told))}\n\n{body}\n"
    )


def _calibration(told: Told) -> list[str]:
    wanted = ("log_loss", "brier")
    rows = told.figures[told.figures["metric"].isin(wanted) & (told.figures["model"] == story.MODEL)]
    lines = [f"- {r.metric}: {r.value:.4f} [{r.low:.4f}, {r.high:.4f}]" for r in rows.itertuples()]
    return lines or ["- not a classifier of classes: no probabilities to calibrate"]


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
