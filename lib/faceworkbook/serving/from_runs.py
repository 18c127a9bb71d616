"""What the notebooks call to write ``predictor/`` into their run's folder.

Where there can be none (an estimator that only a pickle could hold, descriptors that were read from a file), the sentence
that is returned says why; the notebook goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from faceworkbook import backbones, project, splits
from faceworkbook.data_record import DataError
from faceworkbook.descriptors.engines.base import FLOAT32
from faceworkbook.descriptors.engines.onnx_graph import UnsupportedLayer
from faceworkbook.evaluation import predictions
from faceworkbook.experiments import multi_dataset, strategies
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.landmarks import AlignOptions
from faceworkbook.reports import described, model_card, report_data
from faceworkbook.reports.runs import DESCRIPTORS, FACES, Run, RunError
from faceworkbook.serving import making
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import Network
from faceworkbook.serving.head import Head, HeadError, join
from faceworkbook.serving.making import Ingredients, Options
from faceworkbook.serving.predictor import FOLDER

SMOKE_PICTURES = 24
# Parameters that name folders of one machine.
_PLACES = ("out", "root", "weights", "store", "corrections", "sets", "descriptors", "ids")
DESCRIBED = (
    2000  # training (and validation) faces at most that a fine-tuned network describes for their spread
)


def in_a_sentence(write: Callable[..., str]) -> Callable[..., str]:
    """Return why no predictor is written, where it cannot be."""

    @functools.wraps(write)
    def wrapped(*arguments, **options) -> str:
        try:
            return write(*arguments, **options)
        except (HeadError, PredictorError, DataError, UnsupportedLayer) as error:
            return f"no predictor is written: {error}"

    return wrapped


def fit_further(
    run: Run, names: Sequence[str], classifier, options: Mapping, *, seed: int
) -> tuple[dict[str, object], dict[str, pd.DataFrame]]:
    """Fit the same classifier for further labels on the same split, so that one predictor answers them all.

    Parameters
    ----------
    run : Run
        Of 03_classifier; the predictions are saved as ``predictions_LABEL.parquet``.
    names : sequence of str
    classifier, options
        See `training.fit`.

    Returns
    -------
    dict of str to Fitted, dict of str to pandas.DataFrame
        The models, and their predictions of validation and test rows that bear the label.
    """
    from faceworkbook import training

    fitted, predicted = {}, {}
    for name in names:
        data = run.prepared_data(name)
        split = _with_label(data)
        own = _options_of(name, options)
        fitted[name] = training.fit(classifier, data.matrix, data.labels, split, seed=seed, **own)
        predicted[name] = predictions.predict(fitted[name], data.matrix, data.faces, data.labels, split)
        run.save_predictions(predicted[name], data.made_from, f"predictions_{name}")
    return fitted, predicted


def _options_of(name: str, options: Mapping) -> dict:
    """Leave out the learning rates of other labels' output layers."""
    if "lr_multipliers" not in options:
        return dict(options)
    groups = dict(options["lr_multipliers"])
    return {**options, "lr_multipliers": {group: groups[group] for group in groups.keys() & {"shared", name}}}


def _with_label(data: PreparedData) -> splits.Split:
    known = data.labels.known
    rows = {name: getattr(data.split, name) for name in (*splits.SUBSETS, "contradicting")}
    return replace(data.split, **{name: of[known[of]] for name, of in rows.items()})


@in_a_sentence
def of_classifier(
    run: Run,
    fitted: Mapping[str, object],
    predicted: Mapping[str, pd.DataFrame],
    data: PreparedData,
    *,
    seed: int = 0,
    smoke: bool = False,
) -> str:
    """Write the predictor of models on the descriptors of 02_descriptors.

    Parameters
    ----------
    run : Run
    fitted : mapping of task to Fitted
    predicted : mapping of task to pandas.DataFrame
        Predictions of validation and test rows.
    data : PreparedData
        Faces, split and descriptors.
    seed : int
        Of the draw of pictures that are looked at.
    smoke : bool
        Look at few pictures.

    Returns
    -------
    str
        Where it is, or why there is none.
    """
    held = data.split.validation
    heads = {name: _translate(one, name, data) for name, one in fitted.items()}
    given = Ingredients(
        networks=[Network.of(net) for net in _networks(run)],
        head=join(heads) if len(heads) > 1 else next(iter(heads.values())),
        predicted=predicted,
        faces=data.faces,
        root=project.resolve(run.data().root),
        training=data.matrix[data.split.train],
        validation=data.matrix[held if len(held) else data.split.train],
        trained_on=data.faces["face_id"].iloc[data.split.train].tolist(),
        keras={_file_name(name, len(fitted)): one.model for name, one in fitted.items() if one.is_network},
        made=describe_run(run, made_from=data.made_from) | {"limits": limits_of_precision(run)},
        align=align_options(run.values(DESCRIPTORS, "params")),
    )
    return " ".join([write(run, given, seed=seed, smoke=smoke), *given.made["limits"]])


def limits_of_precision(run: Run) -> list[str]:
    """Say that a predictor computes descriptors in another precision than training did, where that is so."""
    computed = {record.get("precision", FLOAT32) for record in described.records_of(run.values(DESCRIPTORS))}
    return [
        f"The model was fitted on descriptors in {precision}; the predictor computes them in {FLOAT32}, so that its "
        "answers may differ a little from the run's predictions."
        for precision in sorted(computed - {FLOAT32})
    ]


def _translate(fitted, name: str, data: PreparedData) -> Head:
    """Return a model as steps that numpy evaluates; an estimator's are checked on a few faces."""
    from faceworkbook.serving import estimator_head, keras_head

    if fitted.is_network:
        return keras_head.translate(fitted.model, name)
    few = np.asarray(data.matrix[data.split.train[: estimator_head.CHECKED]])
    return estimator_head.translate(fitted.model, fitted.task, few, fitted.predict(few))


def write(run: Run, given: Ingredients, *, seed: int, smoke: bool) -> str:
    """Write a predictor into the folder of a run; returns where it is."""
    options = Options(seed=seed, **({"pictures": SMOKE_PICTURES} if smoke else {}))
    place = making.write(run.path(FOLDER), given, options)
    return f"the predictor is in {project.shorten(place)}: workbook predict PHOTO --model {project.shorten(run.folder)}"


def _networks(run: Run) -> list:
    return run.networks() if hasattr(run, "networks") else [run.network()]


def align_options(parameters: Mapping) -> AlignOptions:
    """Return which detected faces count, from a notebook's parameters."""
    lacking = [name for name in ("align_min_score", "no_face") if name not in parameters]
    if lacking:
        raise PredictorError(
            f"{DESCRIPTORS} was run by an earlier version, which did not write {' and '.join(lacking)} into its "
            f"params.json; run {DESCRIPTORS} again with the same parameters, then this notebook"
        )
    return AlignOptions.from_parameters(parameters)


def _file_name(task: str, n_tasks: int) -> str:
    return "head.keras" if n_tasks == 1 else f"head-{task}.keras"


def describe_run(run: Run, *, made_from: Mapping | None = None, data: Sequence[str] = ()) -> dict:
    """Return what a card says about where a model comes from.

    Parameters
    ----------
    run : Run
    made_from : mapping, optional
        Fingerprints.
    data : sequence of str, optional
        Sentences about the data; those of 01_faces by default.
    """
    experiment = report_data.experiment_of(run)
    return {
        "title": experiment["title"] or f"{run.folder.parent.name}, {run.step}",
        "data": list(data) or _describe_faces(run),
        "made_from": dict(made_from or {}),
        "made_by": [
            f"experiment {run.folder.parent.name}, step {run.step}, code {project.commit() or 'not a checkout'}, seed "
            f"{run.parameters.get('seed')}",
            *(f"{name}: {value}" for name, value in (made_from or {}).items()),
        ],
        "parameters": {name: value for name, value in run.parameters.items() if name not in _PLACES},
    }


def _describe_faces(run: Run) -> list[str]:
    faces = run.values(FACES)
    people = f"{faces['people']:,} known people" if faces["people"] else "people unknown"
    return [
        f"{faces['title']}; {faces['source']}",
        f"Terms of use: {faces['terms']}. The predictor was made from it and inherits what they demand.",
        f"{faces['used']:,} faces, {people}; split: {faces['scheme']}; test rows that leak: "
        f"{faces['leakage'].get('leaked', 'not counted')}",
        report_data.LABELS,
    ]


@in_a_sentence
def of_confidence(
    run: Run, predicted: pd.DataFrame, *, coverage: float, by: str = "", faces: pd.DataFrame | None = None
) -> str:
    """Write the predictor of 03_classifier again, with the coverage and the groups of 11_confidence.

    Parameters
    ----------
    run : Run
        Of 11_confidence.
    predicted : pandas.DataFrame
        Predictions of 03_classifier.
    coverage : float in 0..1
    by : str
        Attribute whose groups have limits of their own; empty for none.
    faces : pandas.DataFrame, optional
        Face table with that attribute.
    """
    try:
        source = run.other("03_classifier", f"{FOLDER}/predictor.json").parent
    except RunError as error:
        raise PredictorError("03_classifier has written none") from error
    tables = {predictions.task_of(predicted).name: predicted}
    for path in sorted(source.parent.glob("predictions_*.parquet")):
        table = predictions.read(path)
        tables.setdefault(predictions.task_of(table).name, table)
    groups = {}
    if by and faces is not None:
        of_face = faces.set_index("face_id")[by]
        groups = {
            name: {by: table["face_id"].map(of_face).set_axis(table.index)}
            for name, table in tables.items()
            if name != by
        }
    place = making.recalibrate(source, run.path(FOLDER), tables, coverage=coverage, groups=groups)
    return f"the predictor with this coverage is in {project.shorten(place)}"


@in_a_sentence
def of_folds(
    run: Run, data: PreparedData, plan: Sequence, predicted: pd.DataFrame, *, classifier, options: Mapping
) -> str:
    """Write the predictor of repeated folds: one model on all faces, whose figures are those of the folds.

    The folds' models judge: each face was tested by one that had not seen it. What is put to use is one more model of the
    same settings, fitted on all faces but the first fold's validation faces, which choose its epoch. It has seen more
    faces than any fold's, so that its figures are no worse on average.

    Parameters
    ----------
    run : Run
        Of 06_cross_validation.
    data : PreparedData
    plan : sequence of Split
        The folds.
    predicted : pandas.DataFrame
        Predictions over all folds; those of the first repeat calibrate and measure.
    classifier, options
        What the folds were fitted with, see `training.fit`.
    """
    from faceworkbook import training

    first = plan[0]
    everyone = replace(first, train=np.sort(np.concatenate([first.train, first.test])))
    seed, name = run.parameters.get("seed", 0), data.labels.name
    kept = {"seed": seed, "folder": run.path("model")}
    fitted = training.fit(classifier, data.matrix, data.labels, everyone, **kept, **options)
    table = predicted[predicted["repeat"] == predicted["repeat"].min()]
    table.attrs = predicted.attrs
    whole = replace(data, split=everyone)
    return of_classifier.__wrapped__(
        run, {name: fitted}, {name: table}, whole, seed=seed, smoke=bool(run.parameters.get("smoke"))
    )


@in_a_sentence
def of_multitask(run: Run, repeats, multi, *, shares, backbone: str, tap: str) -> str:
    """Write the predictor of 09_multitask: the nets of the last seed, joint ones where there are any.

    Parameters
    ----------
    run : Run
    repeats : strategy_comparison.Repeats
    multi : MultiDataset
    shares : strategy_comparison.Shares
    backbone, tap : str
        What describes the faces.
    """
    from faceworkbook.models import multitask
    from faceworkbook.serving.keras_head import translate

    if (source := run.parameters["source"]) != "network":
        raise PredictorError(
            f"its faces are described by source={source}, and a predictor computes what a network puts out alone; "
            "run 09 with source=network"
        )
    names = list(repeats.fitted)
    strategy = next((name for name in names if name.startswith("joint")), names[0])
    models = {
        "+".join(h.name for h in one.net.heads): multitask.serving_model(one.net)
        for one in repeats.fitted[strategy]
    }
    heads = {name: translate(model, name) for name, model in models.items()}
    seed = run.parameters["seed"] + run.parameters["seeds"][: 2 if run.parameters["smoke"] else None][-1]
    split, predicted = predict_strategy(repeats.fitted[strategy], multi, seed=seed, shares=shares)
    net = (
        backbones.default(tap=tap or None)
        if backbone == "auto"
        else backbones.load(backbone, tap=tap or None)
    ).adjusted(**{name: run.parameters[name] for name in ("align", "margin", "resolution")})
    data = describe_strategy(multi, strategy, seed)
    given = Ingredients(
        networks=[Network.of(net)],
        head=join(heads) if len(heads) > 1 else next(iter(heads.values())),
        predicted=predicted,
        faces=multi.faces.assign(image=multi.pictures()),
        root="/",
        training=multi.matrix[split.train],
        validation=multi.matrix[split.validation if len(split.validation) else split.train],
        trained_on=multi.faces["face_id"].iloc[split.train].tolist(),
        keras={_file_name(name.replace("+", "-"), len(models)): model for name, model in models.items()},
        made=describe_run(run, data=data),
        align=align_options(run.parameters),
    )
    return write(run, given, seed=seed, smoke=run.parameters["smoke"])


def predict_strategy(fitted: Sequence, multi, *, seed: int, shares):
    """Return the split of the last seed, and the predictions of its validation and test rows by task."""
    split = multi_dataset.split(multi, seed=seed, test=shares.test, validation=shares.validation)
    tables = {
        subset: strategies.predict(fitted, multi, getattr(split, subset)) for subset in ("validation", "test")
    }
    return split, {
        task: predictions.join([each[task].assign(split=subset) for subset, each in tables.items()])
        for task in multi.labels
    }


def describe_strategy(multi, strategy: str, seed: int) -> list[str]:
    """Return what a card says about the data of a strategy's net."""
    counted = f"{len(multi.faces):,} faces; strategy {strategy}, seed {seed}"
    return [*map(model_card.describe_dataset, multi.facts()), counted, report_data.LABELS]


@in_a_sentence
def of_network(
    run: Run, network, source, predicted: Mapping[str, pd.DataFrame], *, faces: pd.DataFrame, split
) -> str:
    """Write the predictor of a fine-tuned network: its trunk as an ONNX graph in the folder, its heads as steps.

    Parameters
    ----------
    run : Run
        Of 10_fine_tune.
    network : training.cutting.Network
    source
        Pictures by row, see `training.pictures.open_faces`.
    predicted : mapping of str to pandas.DataFrame
    faces : pandas.DataFrame
        Row by row those of `source`.
    split : Split
    """
    from faceworkbook.models import multitask
    from faceworkbook.serving.trunk import write_trunk
    from faceworkbook.training import cutting

    model = multitask.serving_model(network.net)
    trunk = write_trunk(network, model, source.take(split.train[:16]))
    seed = run.parameters["seed"]
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.permutation(of)[:DESCRIBED]) for of in (split.train, split.validation)]
    training, held = (trunk.describe(source, of) for of in rows)
    given = Ingredients(
        networks=[trunk.network],
        head=trunk.head,
        predicted=predicted,
        faces=faces,
        root=project.resolve(run.data().root),
        training=training,
        validation=held if len(held) else training,
        trained_on=faces["face_id"].iloc[split.train].tolist(),
        keras={} if trunk.layer is None else {"head.keras": cutting.beyond(model, trunk.layer)},
        made=describe_run(run, made_from=run.made_from()),
        graph=trunk.graph,
        align=align_options(run.parameters),
    )
    return write(run, given, seed=seed, smoke=bool(run.parameters["smoke"]))
