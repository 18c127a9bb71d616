"""What one experiment's steps wrote, read for its report; nothing is computed anew."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from faceworkbook import files, project
from faceworkbook.evaluation import excluded_copies, groups
from faceworkbook.reports import answers, corrected_runs, parameters
from faceworkbook.reports.runs import Run, RunError
from faceworkbook.tasks import Task

REFERENCE = "linear"
CORRECTED = ".corrected"  # what is added to the name of a run with corrected labels
LABELS = "Labels are what annotators saw or what a file says, not who people are."
OF_CELEBRITIES = {"agegender_cleaned": "IMDB and WIKI", "imdb_wiki": "IMDB and Wikipedia"}
_BLANK_EXPERIMENT = {
    **{"name": "", "title": "", "question": "", "expected": {}, "given": {}},
    **{"file": "", "swept": {}, "sweep": ""},
}


@dataclass(frozen=True)
class ReportData:
    """Everything that an experiment's steps wrote.

    Attributes
    ----------
    run : Run
        The report's own.
    experiment : dict
        name, title, question, expected, given; empty texts for notebooks that were run by hand.
    params : dict
        Parameters of all steps.
    faces, descriptors, classifier : dict
        The figures of the steps 01 to 03.
    environment : dict
    figures, groups : pandas.DataFrame
        The table of figures of 03, of groups of 04.
    measure : str
        The metric of `groups`.
    former : Former, optional
        What corrected labels changed beside the run of before.
    """

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
    former: corrected_runs.Former | None = None

    @property
    def task(self) -> Task:
        """What was learned."""
        return Task.from_record(self.classifier["task"])

    @property
    def title(self) -> str:
        """The experiment's title, or what its data and label make of it."""
        return self.experiment["title"] or f"{self.task.title} from faces, {self.faces['title']}".capitalize()

    @property
    def model(self) -> str:
        """Name of the classifier in `figures`: the first, its reference is the other one."""
        return str(self.figures["model"].iloc[0])

    @property
    def is_synthetic(self) -> bool:
        """Whether the faces are rendered ones."""
        return self.params["dataset"] == "synthetic"

    def figure(self, metric: str) -> pd.Series:
        """Return the classifier's row of one metric.

        Raises
        ------
        KeyError
            There is no such metric; the text lists those that there are.
        """
        rows = self.figures[(self.figures["metric"] == metric) & (self.figures["model"] == self.model)]
        if rows.empty:
            raise KeyError(f"no metric {metric!r}; there are {sorted(self.figures['metric'].unique())}")
        return rows.iloc[0]


def read(run: Run) -> ReportData:
    """Read the steps that `run` (the report's own) follows."""
    params: dict = {}
    for step in ("04_errors", "03_classifier", "02_descriptors", "01_faces"):
        params.update(run.values(step, "params"))
    return ReportData(
        run=run,
        experiment=experiment_of(run),
        params=params,
        faces=run.values("01_faces"),
        descriptors=run.values("02_descriptors"),
        classifier=run.values("03_classifier"),
        environment=run.values("03_classifier", "environment"),
        figures=run.table("03_classifier", "figures"),
        groups=run.table("04_errors", "groups"),
        measure=run.values("04_errors")["measure"],
        former=corrected_runs.beside(run.folder.parent),
    )


def experiment_of(run: Run) -> dict:
    """Return name, title, question, expected and given of the experiment that `run` belongs to.

    Texts and mappings are empty where the notebooks were run by hand.
    """
    path = run.folder.parent / "experiment.json"
    if not path.exists():
        return dict(_BLANK_EXPERIMENT)
    return _BLANK_EXPERIMENT | files.read_json(path, RunError, advice="run the experiment again")


def reference_title(task: Task) -> str:
    """Return which linear model is the reference of this task."""
    return f"linear reference ({'ridge' if task.is_number else 'logistic'} regression)"


def name_of(model) -> str:
    """Return the name that a classifier has beside its reference: a name, or the class of a model."""
    name = model if isinstance(model, str) else type(model).__name__
    return f"{name} classifier" if name == REFERENCE else name


def settings_of(data: ReportData) -> dict:
    """Return how the classifier was fitted, by name as a reader says it; counts of faces stand elsewhere."""
    settings = dict(data.classifier["settings"])
    settings |= settings.pop("options", {})
    shown = {
        name: value for name, value in settings.items() if not name.startswith("n_") and name != "made_from"
    }
    return {name.replace("_", " "): value for name, value in shown.items() if value is not None}


def describe_split(data: ReportData) -> str:
    """Return by what the faces were split, in words."""
    people = data.faces["people"]
    if data.faces["scheme"] != "identity":
        return f"the scheme '{data.faces['scheme']}'"
    if people:
        return f"identity ({people:,} known people)"
    return "rows, copies kept together (the set knows no identities)"


def describe_people(data: ReportData) -> str:
    """Return how many people are known to be in the data, in words."""
    return f"{data.faces['people']:,} known people" if data.faces["people"] else "people not known"


def describe_leakage(leakage: Mapping[str, int]) -> str:
    """Return how many test rows are copies of pictures, or show people, of the rows before (`Split.leakage`)."""
    rows, seen = leakage["test_rows"], "that the model was fitted or chosen on"
    people = f"{leakage['same_person']:,} show a person {seen}"
    if leakage["unknown_person"] == rows:
        people = "whom they show is not known"
    return f"{leakage['same_picture']:,} of {rows:,} test rows are copies of pictures {seen}; {people}."


def describe_pretraining(network: str, celebrities: str = "") -> str:
    """Return what no split can cure: the people whom the network itself was trained on before."""
    if "VGG" not in network:
        return f"Network: {network}. Whoever stood among the faces that it was trained on before may stand among the test faces."
    made_of = f" This set is made of well-known people ({celebrities})." if celebrities else ""
    return (
        f"The network itself ({network}) was trained on photographs of well-known people (the sets VGGFace and VGGFace2 are "
        f"made of celebrities).{made_of} People whom it has seen may stand among the test faces: no split can cure that, and "
        "the figures may be too good for faces that it has never seen."
    )


def list_changes(faces: Mapping) -> list[str]:
    """Return what corrections and a cleaning pass changed in the set, from the record of 01_faces."""
    texts, corrected = [], faces.get("corrections") or {}
    if corrected:
        counts = ", ".join(f"{n:,} {status}" for status, n in corrected.items())
        texts.append(
            f"Labels were corrected by a file (rows: {counts}), in test rows too: set the figures beside others on the "
            "same corrected labels."
        )
    removed = next((row["removed"] for row in faces.get("cleaning") or [] if row["reason"] == "SUM"), 0)
    if removed:
        texts.append(
            f"{removed:,} faces were removed by a detector's thresholds, from the test rows too: the figures are those of "
            "faces that pass, which are read more easily than all."
        )
    return texts


def list_findings(data: ReportData) -> list[str]:
    """Return what the first screen says beside the answer: better than what, and for whom worst."""
    beside, unit = data.classifier.get("beside") or {}, data.task.unit
    findings = [f"{_capitalise(text)}." for text in beside.values()]
    gaps = data.run.table("04_errors", "gaps")
    changed = data.former.describe() if data.former else []
    return [*findings, answers.of_gaps(groups.adjust(gaps), metric=data.measure, unit=unit), *changed]


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_of_these_faces(run: Run, expected: Mapping) -> bool:
    """Whether an expected range was measured on the pictures that this run has; it names them, or none in particular."""
    named = str(expected.get("pictures", ""))
    if not named:
        return True
    return (
        run.has("01_faces", "data.json")
        and run.data().pictures.startswith(named)
        and not run.data().corrections
    )


def list_caveats(data: ReportData) -> list[str]:
    """Return what data and split do not allow one to conclude: plain sentences, the gravest first."""
    caveats = []
    leaked = data.faces["leakage"].get("leaked", 0)
    if leaked:
        caveats.append(
            f"{leaked:,} of {data.faces['leakage']['test_rows']:,} test rows leak: they show a person or a copy of a "
            "picture that the model was fitted or chosen on."
        )
    contradicting = pd.DataFrame(data.classifier.get("excluded_copies", []))
    if len(contradicting):
        caveats.append(excluded_copies.describe(contradicting, unit=data.task.unit))
    excluded = sum(row["count"] for row in data.faces["left_out"] if row["what"].startswith("left out"))
    if excluded > data.faces["read"] / 10:
        caveats.append(
            f"A subset: {data.faces['read']:,} faces could be read, {excluded:,} rows of the set were left out "
            "(listed under The data). Set the figures beside each other, not beside those of the whole set."
        )
    caveats += list_changes(data.faces)
    if not data.faces["people"]:
        caveats.append(
            "The set knows no identities. Copies of a picture are kept on one side, but other pictures of the same person may "
            "stand in training and test; the figures may be too good."
        )
    caveats.append(f"{LABELS} '{data.task.title}' here means that label.")
    if data.is_synthetic:
        caveats += [
            "Rendered faces differ from photographs in skin, hair, light and variety. Nothing follows for people of any group.",
            "The network was trained on photographs; rendered faces are outside of what it knows.",
        ]
    else:
        celebrities = OF_CELEBRITIES.get(data.params["dataset"], "")
        caveats.append(describe_pretraining(data.descriptors["source"], celebrities))
    if data.descriptors["unreadable"]:
        caveats.append(
            f"{data.descriptors['unreadable']:,} pictures could not be read; they are in no figure."
        )
    if data.descriptors["lacking"]:
        caveats.append(f"{data.descriptors['lacking']:,} faces have no descriptor; they are in no figure.")
    headline = data.figure(data.task.headline)
    caveats.append(data.run.describe_looks(data.task.name, headline, unit=data.task.unit))
    small = data.groups[data.groups["small"]] if "small" in data.groups else data.groups.iloc[:0]
    if len(small):
        caveats.append(f"Groups too small to judge: {', '.join(str(name) for name in small['group'])}.")
    return caveats


def command_of(folder: Path, experiment: dict) -> str:
    """Return the command that computes the experiment in `folder` again, with what was given on its command line."""
    if not experiment["name"]:
        return f"the notebooks by hand, with the parameters in {project.shorten(folder)}/*/params.json"
    name, swept = experiment.get("sweep") or experiment["name"], experiment.get("swept") or {}
    file = experiment.get("file") or name
    words = [f"workbook run {shlex.quote(file)}", *([f"--name {name}"] if name != Path(file).stem else [])]
    for option, values in (("--set", swept), ("-p", experiment["given"])):
        words += [
            f"{option} {shlex.quote(f'{key}={parameters.format_value(value)}')}"
            for key, value in values.items()
        ]
    return " ".join(words)


def corrected_command(folder: Path, experiment: dict) -> str:
    """Return the command that runs the experiment in `folder` with corrected labels beside it; empty where there is none."""
    if not experiment["name"] or experiment.get("sweep"):
        return ""
    given = {**experiment["given"], "corrections": "corrections.csv"}
    return command_of(folder, {**experiment, "name": experiment["name"] + CORRECTED, "given": given})
