"""What the report says: read from the run folders of one experiment, nothing computed anew."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import project
from faceworkbook.evaluation.predictions import task_of
from faceworkbook.reports import tables
from faceworkbook.reports.runs import Run
from faceworkbook.tasks import Task

MODEL, REFERENCE = "mlp", "linear"
TITLES = {
    "errors": "Errors, the most confident first: true &gt; predicted, probability (for numbers: error), file",
    "error_matrix": "Which class is taken for which",
    "sample": "Faces drawn at random",
}
LABELS = "Labels are what annotators saw or what a file says, not who people are."
OF_CELEBRITIES = {"agegender_cleaned": "IMDB and WIKI", "imdb_wiki": "IMDB and Wikipedia"}


@dataclass(frozen=True)
class ReportData:
    """Everything that an experiment's steps wrote, by step."""

    run: Run
    experiment: dict
    params: dict
    faces: dict
    descriptors: dict
    classifier: dict
    environment: dict
    figures: pd.DataFrame
    groups: pd.DataFrame
    measure: str

    @property
    def label(self) -> str:
        """Name of the label, as a reader says it."""
        return {"age_years": "age", "age_group": "age group"}.get(self.params["label"], self.params["label"])

    @property
    def difference(self) -> str:
        """The sentence on dense classifier against reference."""
        return self.classifier["difference"]

    @property
    def caption(self) -> str:
        """Caption of the table of figures."""
        return f"{self.classifier['n_test']:,} test faces; 95 % intervals; '{REFERENCE}' is the reference"

    @property
    def synthetic(self) -> bool:
        """Whether the faces are rendered ones."""
        return self.params["dataset"] == "synthetic"

    def figure(self, metric: str, model: str = MODEL) -> pd.Series:
        """The row of one metric of one model."""
        found = self.figures[(self.figures["metric"] == metric) & (self.figures["model"] == model)]
        if found.empty:
            raise KeyError(f"no metric {metric!r}; there are {sorted(self.figures['metric'].unique())}")
        return found.iloc[0]


def read(run: Run) -> ReportData:
    """Read the steps that `run` (the report's own) follows."""
    merged: dict = {}
    for step in ("04_errors", "03_classifier", "02_descriptors", "01_faces"):
        merged.update(run.values(step, "params"))
    return ReportData(
        run=run,
        experiment=experiment_of(run),
        params=merged,
        faces=run.values("01_faces"),
        descriptors=run.values("02_descriptors"),
        classifier=run.values("03_classifier"),
        environment=run.values("03_classifier", "environment"),
        figures=run.table("03_classifier", "figures"),
        groups=run.table("04_errors", "groups"),
        measure=run.values("04_errors")["measure"],
    )


def experiment_of(run: Run) -> dict:
    """Name, title, question, expected and given of the experiment that `run` belongs to; empty for one run by hand."""
    where = run.folder.parent / "experiment.json"
    empty = {"name": "", "title": "", "question": "", "expected": {}, "given": {}}
    return empty | (json.loads(where.read_text()) if where.exists() else {})


def _html(text: str) -> None:
    from IPython.display import HTML, display

    display(HTML(text))


def headline(told: ReportData) -> None:
    """The first screen: the question, the answer in one sentence, the data and the network."""
    title = told.experiment["title"] or f"{told.label} from faces, {told.faces['title']}"
    _html(f"<h1>{escape(title)}</h1>")
    if told.synthetic:
        _html(
            "<blockquote><p><strong>These faces are rendered, not photographed.</strong> Their labels are exact because "
            "they were chosen. The figures below show that the workbook works; they say nothing about real people.</p></blockquote>"
        )
    if told.params["smoke"]:
        _html(
            "<blockquote><p><strong>A smoke run:</strong> few faces, few epochs. The figures mean nothing.</p></blockquote>"
        )
    if told.experiment["question"]:
        _html(f"<p>{escape(told.experiment['question'])}</p>")
    _html(f'<p class="answer">{answer(told)}</p>{_verdict(told)}')
    d = told.descriptors
    _html(
        f"<p>{told.faces['used']:,} faces of {escape(told.faces['title'])}, described by <strong>{escape(d['network'])}</strong> "
        f"read at <strong>{escape(d['tap'])}</strong> ({d['dim']}-d). Test rows: {told.classifier['n_test']:,}, split by "
        f"{escape(_scheme(told))}.</p>"
    )


def answer(told: ReportData) -> str:
    """The headline figure in one sentence."""
    task = Task.from_record(told.classifier["task"])
    is_accuracy = task.headline == "accuracy"
    row = told.figure(task.headline)
    estimate = f"{row['value']:.3f}" if is_accuracy else f"{row['value']:.2f} {_unit(told)}"
    spread = f"95 % interval {row['low']:.3f} to {row['high']:.3f}"
    size = f"n = {int(row['n']):,}"
    if pd.notna(row["n_identities"]):
        size += f" faces of {int(row['n_identities']):,} people"
    if is_accuracy:
        return f"The {escape(told.label)} is read right in <strong>{100 * row['value']:.1f} %</strong> of the test faces (accuracy {estimate}, {spread}, {size})."
    return f"The {escape(told.label)} is off by <strong>{estimate}</strong> on average (mean absolute error, {spread}, {size})."


def _unit(told: ReportData) -> str:
    return "years" if told.label == "age" else "degrees"


def _scheme(told: ReportData) -> str:
    people = told.faces["people"]
    if told.faces["scheme"] != "identity":
        return f"the scheme '{told.faces['scheme']}'"
    return (
        f"identity ({people:,} known people)"
        if people
        else "rows, copies kept together (the set knows no identities)"
    )


def _verdict(told: ReportData) -> str:
    expected = told.experiment["expected"]
    if "low" not in expected or told.params["smoke"]:
        return ""
    return _judge(told.figure(expected["metric"])["value"], expected, expected["metric"])


def expectation(run: Run, figures: pd.DataFrame, *, smoke: bool = False) -> None:
    """Say whether the figure that the experiment names lies in its expected range; nothing where it names none.

    Parameters
    ----------
    figures : pandas.DataFrame
        Columns metric, value and others, such as task and way: the row that agrees with the experiment's
        ``expected`` in all that both have is judged.
    """
    expected = experiment_of(run)["expected"]
    if smoke or "low" not in expected:
        return
    named = {key: value for key, value in expected.items() if key in figures and key not in ("low", "high")}
    rows = figures[np.logical_and.reduce([figures[key] == value for key, value in named.items()])]
    if len(rows):
        others = ", ".join(value for key, value in named.items() if key != "metric")
        what = f"{expected['metric']} ({others})" if others else expected["metric"]
        _html(_judge(float(rows["value"].iloc[0]), expected, what))


def _judge(value: float, expected: dict, what: str) -> str:
    inside = expected["low"] <= value <= expected["high"]
    mark, text = ("pass", "inside") if inside else ("miss", "OUTSIDE")
    return (
        f'<p class="{mark}">{value:.3f} lies {text} the expected range {expected["low"]} to {expected["high"]} of '
        f"{escape(what)}. {escape(str(expected.get('note', '')))}</p>"
    )


def caveats(told: ReportData) -> None:
    """What the data and the split do not allow one to conclude."""
    _html("<ul>" + "".join(f"<li>{text}</li>" for text in list_caveats(told)) + "</ul>")


def list_caveats(told: ReportData) -> list[str]:
    """One sentence each."""
    notes = [
        f"{LABELS} '{escape(told.label)}' here means that label.",
    ]
    if told.synthetic:
        notes.append(
            "Rendered faces differ from photographs in skin, hair, light and variety. Nothing follows for people of any group."
        )
    lost = sum(row["count"] for row in told.faces["left_out"] if row["what"].startswith("left out"))
    if lost > told.faces["read"] / 10:
        notes.append(
            f"<strong>A subset:</strong> {told.faces['read']:,} faces could be read, {lost:,} rows of the set were left out "
            "(listed under The data). Set the figures beside each other, not beside those of the whole set."
        )
    if not told.faces["people"]:
        notes.append(
            "The set knows no identities. Copies of a picture are kept on one side, but other pictures of the same person may "
            "stand in training and test; the figures may be too good."
        )
    leaked = told.faces["leakage"].get("leaked", 0)
    if leaked:
        notes.append(
            f"<strong>{leaked:,} of {told.faces['leakage']['test_rows']:,} test rows leak</strong>: they show a person or a copy of a picture that the model was fitted or chosen on."
        )
    notes.append(
        trained_on(escape(told.descriptors["source"]), escape(OF_CELEBRITIES.get(told.params["dataset"], "")))
        if not told.synthetic
        else "The network was trained on photographs; rendered faces are outside of what it knows."
    )
    if told.descriptors["unreadable"]:
        notes.append(f"{told.descriptors['unreadable']:,} pictures could not be read; they are in no figure.")
    small = told.groups[told.groups["small"]] if "small" in told.groups else told.groups.iloc[:0]
    if len(small):
        names = ", ".join(escape(str(name)) for name in small["group"])
        notes.append(f"Groups too small to judge: {names}.")
    return notes


def say_leak(leakage: Mapping[str, int]) -> str:
    """How many test rows are copies of pictures, or show people, of the rows before (`Split.leakage`)."""
    rows, seen = leakage["test_rows"], "that the model was fitted or chosen on"
    people = f"{leakage['same_person']:,} show a person {seen}"
    if leakage["unknown_person"] == rows:
        people = "whom they show is not known"
    return f"{leakage['same_picture']:,} of {rows:,} test rows are copies of pictures {seen}; {people}."


def trained_on(network: str, celebrities: str = "") -> str:
    """What no split can cure: the people whom the network itself was trained on before."""
    if "VGG" not in network:
        return f"Network: {network}. Whoever stood among the faces that it was trained on before may stand among the test faces."
    made_of = f" This set is made of well-known people ({celebrities})." if celebrities else ""
    return (
        f"The network itself ({network}) was trained on photographs of well-known people (the sets VGGFace and VGGFace2 are "
        f"made of celebrities).{made_of} People whom it has seen may stand among the test faces: no split can cure that, and "
        "the figures may be too good for faces that it has never seen."
    )


def people(told: ReportData) -> str:
    """How many people are known to be in the data, in words."""
    return f"{told.faces['people']:,} known people" if told.faces["people"] else "people not known"


def headline_metric(predictions: pd.DataFrame) -> str:
    """The metric by which a table of predictions is judged first."""
    return task_of(predictions).headline


def group_table(told: ReportData) -> None:
    """Every group with its n and interval, and the largest gap of each attribute beside chance."""
    columns = ["attribute", "group", "value", "low", "high", "n", "small"]
    caption = f"{told.measure} of the test faces, by group; small: too few faces to judge"
    tables.show(tables.with_intervals(told.groups[columns]), caption=caption)
    gaps = told.run.table("04_errors", "gaps")
    shown = [
        "attribute",
        "worst",
        "worst_value",
        "best",
        "best_value",
        "gap",
        "low",
        "high",
        "null_mean",
        "p",
    ]
    tables.show(
        gaps[shown],
        caption="largest gap between groups that are not small; by chance: the gap of shuffled groups",
    )


def pictures(told: ReportData, step: str, names: list[str]) -> None:
    """Show those of a step's saved figures that it has, in the order of `names`."""
    for name in names:
        if told.run.has(step, f"figures/{name}.png"):
            if name in TITLES:
                _html(f"<h3>{TITLES[name]}</h3>")
            told.run.show_saved(step, name)


def repeated_folds(told: ReportData) -> None:
    """The section on repeated folds, where 06_cross_validation has run."""
    step = "06_cross_validation"
    if not told.run.has(step, "metrics.json"):
        return
    found = told.run.values(step)
    _html('<h2 id="Repeated-folds">Repeated folds<a class="anchor-link" href="#Repeated-folds">#</a></h2>')
    caption = f"{found['n_fits']} fits, scheme '{found['scheme']}'; low, high: 95 %, corrected for overlapping training sets"
    tables.show(pd.DataFrame(found["folds"]), caption=caption)
    other = found["against"]
    if other:
        _html(
            f"<p>On the {other['n']:,} faces that both test, the scheme <strong>{escape(other['scheme'])}</strong> says "
            f"{other['metric']} {other['first']:.4f} and <strong>{escape(found['scheme'])}</strong> {other['second']:.4f}: a "
            f"difference of {other['difference']:+.4f} (95 % interval {other['low']:+.4f} to {other['high']:+.4f}; people drawn "
            "with replacement).</p>"
        )
    pictures(told, step, ["folds"])


def data(told: ReportData) -> None:
    """Source, terms, and what was left out."""
    tables.show_record(
        {"data set": told.faces["title"], "source": told.faces["source"], "terms of use": told.faces["terms"]}
    )
    tables.show(pd.DataFrame(told.faces["left_out"]), caption="rows by what became of them")
    tables.show_long([told.run.table("01_faces", "left_out")], caption="left out")
    tables.show_long([told.run.table("01_faces", "notices")], caption="noticed or repaired")
    tables.show_long([told.run.table("02_descriptors", "left_out")], caption="unreadable pictures")


def split(told: ReportData) -> None:
    """The split by part, and what leaks through it beside a careless one."""
    record = told.run.values("01_faces", "split")
    tables.show(
        pd.DataFrame(record["report"]), caption=f"scheme '{told.faces['scheme']}', seed {told.params['seed']}"
    )
    leak, careless = told.faces["leakage"], told.faces["careless_leakage"]
    rows = [(name.replace("_", " "), leak[name], careless.get(name)) for name in leak]
    tables.show(pd.DataFrame(rows, columns=["test rows that ...", "this split", "careless split"]))


def network(told: ReportData) -> None:
    """Network, tap, weights, preprocessing, engine."""
    names = (
        "network",
        "tap",
        "dim",
        "weights",
        "weights_sha256",
        "source",
        "preprocessing",
        "decoder",
        "n",
        "unreadable",
        "seconds",
    )
    record = {name.replace("_", " "): told.descriptors[name] for name in names}
    tables.show_record(
        {
            **record,
            "engines": "; ".join(str(engine.get("name", engine)) for engine in told.descriptors["engines"]),
        }
    )


def training(told: ReportData) -> None:
    """How the dense classifier was fitted."""
    counts = {
        f"faces: {part}": f"{told.classifier[f'n_{part}']:,}" for part in ("train", "validation", "test")
    }
    tables.show_record({**counts, **{k: str(v) for k, v in told.classifier["settings"].items()}})


def reproduce(told: ReportData) -> None:
    """Command, seed, versions, commit."""
    e = told.environment
    tables.show_record(
        {
            "command": command(told),
            "seed": told.params["seed"],
            "code": e["commit"] or "not a checkout",
            "python": e["python"],
            "platform": e["platform"],
            "packages": e["versions"],
            "files": project.shorten(told.run.folder.parent),
        }
    )


def command(told: ReportData) -> str:
    """The command that computes this experiment again."""
    return command_of(told.run.folder.parent, told.experiment)


def command_of(folder: Path, experiment: dict) -> str:
    """The command that computes the experiment in `folder` again, with what was given on its command line."""
    if not experiment["name"]:
        return f"the notebooks by hand, with the parameters in {project.shorten(folder)}/*/params.json"
    given = [shlex.quote(f"{name}={_assigned(value)}") for name, value in experiment["given"].items()]
    return " ".join([f"workbook run {experiment['name']}", *(f"-p {text}" for text in given)])


def _assigned(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
