"""The card of a predictor: what it is for and what not, how good it is for whom, and on what terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from faceworkbook.mesh_detector import MESH
from faceworkbook.reports import model_card, pages
from faceworkbook.reports.pages import escape_markdown as md
from faceworkbook.serving.answers import Answering, Cell

LIMITS = (
    "Classes are the words of annotators (or of a file) for what a picture shows; they are not who people are, how they see "
    "themselves, or what they may be treated as.",
    "No answer says who somebody is.",
    "A probability is calibrated on faces like those of the data set below; on other photos (another camera, other light, "
    "other people) it may not hold. The flag `unlike_training` marks faces far from the training faces, not every face on "
    "which the answer is wrong.",
    "A set holds the truth in the given share of faces on average, over draws of validation and new faces alike.",
)


def write(record: Mapping, answering: Sequence[Answering]) -> dict[str, str]:
    """Return ``card.md`` and ``card.html`` by name."""
    text = to_markdown(record, answering)
    title = text.partition("\n")[0].removeprefix("# ")
    return {"card.md": text, "card.html": pages.page(title, pages.render_markdown(text))}


def to_markdown(record: Mapping, answering: Sequence[Answering]) -> str:
    """Return the card's text; everything from outside is escaped."""
    made = record["made"]
    chapters = {
        "What it answers": [_describe_task(one) for one in answering],
        "Intended use": _list(made.get("intended", model_card.INTENDED)),
        "Ruled out": _list(model_card.RULED_OUT),
        "Data and terms": _list(made.get("data", ["not written down"])),
        "Network": _list([line for network in record["networks"] for line in _describe_network(network)]),
        "How it sees a photo": _list([_describe_framing(record["framing"]), _describe_cut(record)]),
        "How good its answers were (test faces, 95 % intervals)": [_table(answering)],
        "Calibration and coverage (test faces, 95 % intervals)": _list(
            [line for lines in made.get("judged", {}).values() for line in lines]
        ),
        "Further figures": _list(made.get("more", [])),
        "Limits": _list([*made.get("limits", []), *LIMITS]),
        "Made by": _list(made.get("made_by", [])),
    }
    body = [f"## {md(name)}\n\n" + "\n".join(lines) for name, lines in chapters.items() if lines]
    return "\n\n".join([f"# Predictor card: {md(record['title'])}", *body]) + "\n"


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"- {md(text)}" for text in sentences]


def _describe_task(one: Answering) -> str:
    if one.is_value:
        unit = f" in {one.task.unit}" if one.task.unit else ""
        sure = f", with an interval that is to hold it in {one.coverage:.0%} of faces" if one.bands else ""
        return f"- {md(one.task.title)}: a number{md(unit)}{sure}"
    shown = ", ".join(one.task.classes[:20])
    sure = f"; temperature {one.temperature:.2f}" if one.temperature != 1 else ""
    if one.label_temperatures:
        sure += "; temperatures " + ", ".join(f"{n} {t:.2f}" for n, t in one.label_temperatures.items())
    if one.limits:
        sure += f"; sets that are to hold the class in {one.coverage:.0%} of the faces of each class"
    small = [name for name in one.task.classes if not np.isfinite(one.limits.get(name, np.inf))]
    if one.limits and small:
        sure += f" (too few validation faces, so in every set: {', '.join(small)})"
    return f"- {md(one.task.title)}: {md(shown)}{md(sure)}"


def _describe_network(network: Mapping) -> list[str]:
    both = {"mean": ", mean of the picture and its mirror image", "only": ", of the mirror image"}
    return [
        f"{network['name']} at {network['tap']}, {network['dim']} numbers a face{both.get(network['mirror'], '')}; "
        f"{network['source']}",
        f"weights: {network['weights'] or 'in this folder'}, SHA-256 {network['sha256']}",
        *([f"cut out otherwise: {_describe_framing(network['framing'])}"] if "framing" in network else []),
    ]


def _describe_framing(framed: Mapping) -> str:
    return (
        f"Measured on {framed['n']} training pictures, {framed['detected']} with a detected face: the face's box takes "
        f"{framed['share']:.2f} of a picture's side (quartiles {framed['share_low']:.2f} to {framed['share_high']:.2f}), its "
        f"middle lies at {framed['centre_y']:.2f} of the height and {framed['centre_x']:.2f} of the width."
    )


def _points_of(record: Mapping) -> str:
    return " of the face mesh" if record["detection"].get("landmarks") == MESH else ""


def _describe_cut(record: Mapping) -> str:
    if any(network["preprocessing"].get("align", "none") != "none" for network in record["networks"]):
        unsure = "has no answer" if record["detection"]["no_face"] == "leave_out" else "is cut out unaligned"
        return (
            f"A photo's face is detected by YuNet and aligned as in training, by points{_points_of(record)} that are looked "
            "for where training did; "
            f"one of a score below {record['detection']['align_score']:g} {unsure}, as in training."
        )
    turned = "turned until the eyes are level, as in training" if record["framing"]["level"] else "not turned"
    return f"A photo's face is detected by YuNet, {turned}, and cut out with the same margin."


def _table(answering: Sequence[Answering]) -> str:
    lines = ["| task | faces | figure | low | high | n | people |", "|:---|:---|---:|---:|---:|---:|---:|"]
    for one in answering:
        figure = "error" if one.is_value else "accuracy"
        lines += [_row(f"{one.task.title} ({figure})", cell) for cell in one.cells if len(cell.like) <= 1]
    return "\n".join(lines) if len(lines) > 2 else "No test faces were measured."


def _row(title: str, cell: Cell) -> str:
    ends = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in (cell.value, cell.low, cell.high))
    return f"| {md(title)} | {md(cell.describe())} | {ends} | {cell.n} | {cell.people or 'unknown'} |"
