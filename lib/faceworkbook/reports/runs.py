"""The run folder ``results/EXPERIMENT/STEP/``: what a notebook writes and the next one reads.

A step knows what it reads by content: faces, pictures, labels and split by ``data.json``, descriptors by
their fingerprint, predictions by what they were made from. What does not fit is refused in one sentence.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import data_record, files, landmarks, mesh_detector, project, row_groups, splits, tasks
from faceworkbook.backbones import Backbone
from faceworkbook.data_record import DataError, DataRecord
from faceworkbook.descriptors import Descriptors, Joined
from faceworkbook.evaluation import predictions as prediction_tables
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.faces import COPY_GROUP
from faceworkbook.reports import described, figures, inputs, looks, plans, values
from faceworkbook.reports import parameters as params
from faceworkbook.training import balancing

PACKAGES = (
    "faceworkbook",
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "opencv-python-headless",
)
FACES, DESCRIPTORS, CLASSIFIER = "01_faces", "02_descriptors", "03_classifier"
EVALUATE = "13_evaluate"  # reads faces and predictions of a model from elsewhere in one step
BLANK = ("", -1, [])  # a parameter that is left to what an earlier step settled
_PATHS = ("root", "corrections", "weights")


class RunError(ValueError):
    """A step that lacks or contradicts what an earlier one wrote; the text says what to run or change."""


@dataclass(frozen=True)
class Run:
    """One step of an experiment and its folder.

    Attributes
    ----------
    folder : Path
    step : str
    parameters : dict
        Of the notebook, as they were given; `settled` fills in what an earlier step settled.
    """

    folder: Path
    step: str
    parameters: dict = field(default_factory=dict)

    # ----------------------------------------------------------------- files

    def path(self, name: str) -> Path:
        """Return the path of the file `name` in this run's folder."""
        return self.folder / name

    def other(self, step: str, name: str) -> Path:
        """Return the path of the file `name` of another step of the same experiment.

        Raises
        ------
        RunError
            That step has not written it yet.
        StaleStep
            That step was run before one that it reads ran again.
        """
        path = self._place(step) / name
        if not path.exists():
            raise RunError(
                f"{project.shorten(path)} is missing: run the notebook {step} with the same `out` first"
            )
        inputs.check(self._place(step))
        inputs.add(self.folder, path)
        return path

    def has(self, step: str, name: str) -> bool:
        """Whether `step` has written the file `name`."""
        return (self._place(step) / name).exists()

    def _place(self, step: str) -> Path:
        """Return the folder of a step; where a model from elsewhere was judged, that of 13_evaluate."""
        own, judged = (self.folder.parent / name for name in (step, EVALUATE))
        return judged if step in (FACES, CLASSIFIER) and judged.exists() and not own.exists() else own

    def table(self, step: str, name: str) -> pd.DataFrame:
        """Read a parquet table that another step wrote."""
        path = self.other(step, f"{name}.parquet")
        try:
            return files.read_parquet(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{project.shorten(path)} is damaged ({error}); run {step} again") from error

    def values(self, step: str, name: str = "metrics") -> dict:
        """Read a JSON record that another step wrote."""
        return files.read_json(self.other(step, f"{name}.json"), RunError, advice=f"run {step} again")

    def save_table(self, table: pd.DataFrame, name: str) -> Path:
        """Write `table` as parquet, beside and renamed."""
        with files.open_beside(self.path(f"{name}.parquet")) as beside:
            table.to_parquet(beside, index=False)
        return self.path(f"{name}.parquet")

    def save_values(self, values: dict, name: str = "metrics") -> Path:
        """Write a JSON record, beside and renamed."""
        return files.write_json(self.path(f"{name}.json"), values, default=_plain)

    # ----------------------------------------------------------------- figures

    def show(self, figure, name: str, alt: str) -> None:
        """Save a figure to ``figures/NAME.png`` and show it with its alt text.

        Parameters
        ----------
        figure : matplotlib Figure, Display (has ``figure_``), or uint8 RGB array (h, w, 3)
        name : str
        alt : str
            What the picture shows, and what to see in it, for somebody who cannot see it.
        """
        data = figures.png_bytes(figure, alt)
        files.write_beside(self.path("figures") / f"{name}.png", data)
        figures.show_png(data, alt)

    def show_saved(self, step: str, name: str) -> None:
        """Show ``figures/NAME.png`` of another step, with the alt text that it carries."""
        data = self.other(step, f"figures/{name}.png").read_bytes()
        figures.show_png(data, figures.alt_text(data))

    # ----------------------------------------------------------------- what passes from step to step

    def settled(self, *names: str):
        """Return parameters that an earlier step settled: those of 01_faces, and of 02_descriptors where it ran.

        A parameter left blank ('', -1 for a seed) is read from there and noted in ``params.json``.

        Raises
        ------
        RunError
            A value was given that contradicts the earlier step's; another seed does not, it is the step's own.
        """
        earlier = self._settled_before()
        values = {name: _settle(self.step, name, self.parameters.get(name, ""), earlier) for name in names}
        self.parameters.update(values)
        self.save_values(self.parameters, "params")
        self.save_values(environment(self.parameters), "environment")
        return tuple(values[name] for name in names) if len(names) > 1 else values[names[0]]

    def _settled_before(self) -> dict:
        later = {}
        if self.step != DESCRIPTORS and self.has(DESCRIPTORS, "params.json"):
            later = self.values(DESCRIPTORS, "params")
        return {**later, **self.values(FACES, "params")}

    def data(self) -> DataRecord:
        """Return what the faces of this experiment are known by (``data.json`` of 01_faces)."""
        return data_record.read(self.other(FACES, data_record.NAME))

    def faces(self) -> pd.DataFrame:
        """Return the face table of 01_faces, which must be the one that ``data.json`` was made of."""
        table = self.table(FACES, "faces")
        data_record.check_faces(self.data(), table, f"{FACES}/faces.parquet")
        return table

    def split(self, faces: pd.DataFrame) -> splits.Split:
        """Return the split of 01_faces, which must be the one that ``data.json`` was made of."""
        split = splits.load(self.other(FACES, "split.json"), faces)
        if splits.hash_subsets(split, faces) != self.data().split:
            raise DataError(
                f"{FACES}/split.json is not the split that {data_record.NAME} names; run {FACES} again"
            )
        return split

    def described_faces(self) -> tuple[pd.DataFrame, Descriptors | Joined]:
        """Return the face table of 01_faces and the descriptors that 02_descriptors has of it.

        Raises
        ------
        DataError
            02_descriptors saw other faces or pictures, or the store holds other descriptors by now.
        """
        faces, values = self.faces(), self.values(DESCRIPTORS)
        self._check_data(values.get("made_from", {}), DESCRIPTORS)
        return faces, described.read(described.records_of(values), faces, project.resolve(self.data().root))

    def prepared_data(self, label: str, *, balance_by: str | None = None) -> PreparedData:
        """Return faces that have a descriptor, their labels, split, descriptors and copies.

        The one passage from the first two notebooks to all that learn from descriptors.

        Parameters
        ----------
        label : str
            See `faceworkbook.tasks.read_labels`.
        balance_by : str, optional
            Columns whose groups training evens out; those of `balance_by` where None.
        """
        everyone, own = self.described_faces()
        keep = everyone["face_id"].isin(own.face_id).to_numpy()
        faces = everyone[keep].reset_index(drop=True)
        split = splits.restrict(self.split(everyone), keep)
        faces[COPY_GROUP] = row_groups.name_groups(faces["face_id"], split.copies)
        made_from = {**self.made_from(), "label": label, "descriptors": own.fingerprint}
        by = self.balance_by() if balance_by is None else balance_by
        labels = balancing.group(tasks.read_labels(faces, label), faces, by)
        dims = tuple(block.dim for block in described.blocks_of(own))
        return PreparedData(faces, labels, split, own.matrix, split.copies, made_from, dims)

    def balance_by(self) -> str:
        """Return the columns whose groups this step evens out, or those that 03_classifier evened out."""
        if "balance_by" in self.parameters or not self.has(CLASSIFIER, "params.json"):
            return self.parameters.get("balance_by", "")
        return self.values(CLASSIFIER, "params").get("balance_by", "")

    @property
    def landmarks(self) -> Path:
        """Where the table of landmarks is kept: beside the face table."""
        return self._place(FACES) / landmarks.NAME

    def points(self, faces: pd.DataFrame, root: str | Path) -> np.ndarray:
        """Return the points at which 02_descriptors aligns these faces, ndarray of shape (n, 5, 2); NaN without a face."""
        earlier = self._settled_before()
        least = _settle(self.step, "align_min_score", "", earlier)
        detector = mesh_detector.make_detector(earlier.get("landmarks", mesh_detector.YUNET))
        kept = {"path": self.landmarks, "detector": detector}
        return landmarks.detect(faces, root, **kept, progress=False).points(min_score=least)

    def networks(self) -> list[Backbone]:
        """Return the networks that 02_descriptors used, in its order, at the same taps and with the same weights.

        Raises
        ------
        DataError
            Descriptors that were read from a file, or other weights by now.
        """
        return [described.open_network(record) for record in described.records_of(self.values(DESCRIPTORS))]

    def why_no_network(self) -> str:
        """Return in one sentence why pictures cannot be described anew; empty where they can."""
        return described.why_no_network(described.records_of(self.values(DESCRIPTORS)))

    def made_from(self) -> dict:
        """Return the fingerprints of faces, pictures, labels and split, for what is made from them."""
        record = self.data()
        return {"data": record.fingerprint, "n": record.n}

    def save_predictions(
        self, table: pd.DataFrame, made_from: dict, name: str = "predictions", *, model: str = ""
    ) -> Path:
        """Write a table of predictions that says what it was made from; its test rows are looked at."""
        path = prediction_tables.write(table, self.path(f"{name}.parquet"), made_from=made_from)
        self.look(table, made_from, model or f"{self.step}/{name}")
        return path

    def predictions(self, step: str = CLASSIFIER, name: str = "predictions") -> pd.DataFrame:
        """Read the predictions of another step of this experiment.

        Raises
        ------
        DataError
            They were made from other faces, pictures, labels or another split than 01_faces has now.
        """
        table = prediction_tables.read(self.other(step, f"{name}.parquet"))
        self._check_data(table.attrs.get(prediction_tables.MADE_FROM, {}), step)
        self.look(table, table.attrs[prediction_tables.MADE_FROM], f"{step}/{name}")
        return table

    # ----------------------------------------------------------------- how often test rows were looked at

    def look(self, table: pd.DataFrame, made_from: dict, model: str) -> None:
        """Append a reading of the test rows of `table` to the ledger in results/ (`faceworkbook.reports.looks`)."""
        plan = plans.read(self.folder.parent).get("plan", "")
        data = made_from.get(looks.TEST_ROWS) or made_from.get("data", "")
        look = looks.make(table, data=data, model=model, place=self.folder, plan=plan)
        if look:
            looks.append(look, self.folder.parents[1])

    def describe_looks(self, label: str, figure: pd.Series, *, unit: str = "") -> str:
        """Return how often the test rows of this experiment were looked at for `label`, and what that flatters.

        Parameters
        ----------
        figure : pandas.Series
            metric, low, high of the headline.
        """
        of = looks.count(self.folder.parents[1], data=self._test_rows(), label=label)
        return looks.describe(of, figure, unit=unit)

    def _test_rows(self) -> str:
        """Return what the test rows are known by in the ledger."""
        record = self.data()
        return record.cleaning.get(looks.TEST_ROWS) or record.fingerprint

    def describe_plan(self, label: str) -> str:
        """Return when the plan of a final experiment was written, and who had looked before; else an empty text."""
        plan = plans.read(self.folder.parent)
        if not plan:
            return ""
        results, own = self.folder.parents[1], plan["plan"]
        before = looks.count(results, data=self._test_rows(), label=label, without_plan=own)
        return plans.describe(plan, before)

    def _check_data(self, made_from: dict, step: str) -> None:
        record = self.data()
        if made_from.get("data") != record.fingerprint:
            raise DataError(
                f"{step} was run on other faces, pictures, labels or another split than {FACES} has now "
                f"({made_from.get('n', 'unknown')} faces then, {record.n} now); run {step} again"
            )


def start(out: str | Path, step: str, namespace: dict | None = None) -> Run:
    """Make the folder of `step` under the experiment's folder `out` and note what runs there.

    Where an experiment runs a notebook more than once, its parameter `step` names the folder of all but one.

    Names, types and values of the parameters are checked, see `faceworkbook.reports.values`. Figures that an earlier
    run left go: they belong to its parameters. Its page stays.

    Parameters
    ----------
    out : str or Path
        results/EXPERIMENT, relative to the project's root.
    step : str
        Name of the notebook.
    namespace : dict, optional
        The notebook's variables; those of the running notebook by default.

    Raises
    ------
    ParameterError
        A parameter that the notebook does not have, a value of another type, or one that is not allowed.
    """
    from faceworkbook.plots import style

    own, sources = _notebook()
    parameters = params.current(step, own if namespace is None else namespace, sources)
    own_name = parameters.get("step") or step
    run = Run(project.resolve(out) / own_name, own_name, parameters)
    # A label of one's own set stands in the table that an option of 01_faces names.
    earlier = run.values(FACES, "params") if step != FACES and run.has(FACES, "params.json") else {}
    settled = {name: earlier[name] for name in values.SETTLED if name in earlier}
    values.refuse(values.check_current(step, parameters, settled), step)
    style.use()
    plans.hold_to(project.resolve(out), step, parameters)
    run.folder.mkdir(parents=True, exist_ok=True)
    _forget_earlier(run)
    run.save_values(parameters, "params")
    run.save_values(environment(parameters), "environment")
    return run


def of(out: str | Path) -> Run:
    """Return a run that reads what the steps of the experiment in the folder `out` have written."""
    return Run(project.resolve(out) / "reader", "reader")


def _notebook() -> tuple[dict, list[str]]:
    """Variables of the running notebook, and the sources of its cells so far."""
    from IPython import get_ipython

    shell = get_ipython()
    return (shell.user_ns, list(shell.user_ns.get("In", []))) if shell else ({}, [])


def _forget_earlier(run: Run) -> None:
    inputs.forget(run.folder)
    for path in (run.path("metrics.json"), *run.path("figures").glob("*.png")):
        path.unlink(missing_ok=True)


def _settle(step: str, name: str, given, earlier: dict):
    if name not in earlier:
        raise RunError(f"{step}: '{name}' is settled by {FACES} or {DESCRIPTORS}; run them")
    settled = earlier[name]
    if given in BLANK or _same(name, given, settled):
        return settled
    if name == "seed":  # of what this step draws; the split has its own
        return given
    raise RunError(
        f"{step}: {name}={given!r} contradicts an earlier step of this experiment, which settled {settled!r}; "
        f"leave '{name}' out, run the earlier steps again with it, or give another `out`"
    )


def _same(name: str, given, settled) -> bool:
    if name in _PATHS and settled:
        return project.resolve(given) == project.resolve(settled)
    return given == settled


def environment(parameters: dict) -> dict:
    """Return versions, commit, machine and seed, as a record."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions,
        "commit": project.commit(),
        "seed": parameters.get("seed"),
    }


def _plain(value):
    return project.shorten(value) if isinstance(value, Path) else files.plain(value)
