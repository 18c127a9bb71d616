"""Any classifier: by name, from a function that makes one, or an unfitted model as it is.

``register("knn", lambda task, seed: KNeighborsClassifier(5))`` makes a name known to every step that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FunctionType

import keras
import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from faceworkbook import tasks
from faceworkbook.files import hash_values
from faceworkbook.models import residual_mlp
from faceworkbook.training import balancing, batched, estimators, registry, starting
from faceworkbook.training.batched import TrainingError
from faceworkbook.training.checkpoint import fingerprint_rows
from faceworkbook.training.fitted import (
    Fitted,
    ModelFileError,
    RecipeError,
    estimator_outputs,
    figures,
    read_record,
    wrap,
)
from faceworkbook.training.kernel import Choices, fit_kernel
from faceworkbook.training.registry import names
from faceworkbook.training.single import fit_linear, fit_mlp


def fit(
    classifier,
    matrix: np.ndarray,
    labels: tasks.Labels,
    split,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    **options,
) -> Fitted:
    """Fit any classifier on the training rows of a split.

    Parameters
    ----------
    classifier : str, callable, estimator or keras.Model
        A name ('mlp', 'linear', 'kernel', 'residual_mlp', or one of `register`), ``make(task, seed)``, an
        unfitted scikit-learn estimator, or a compiled Keras model. What is given is copied, not changed. Or one of
        `networks`, whose pictures stand for the matrix.
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
    labels : Labels of n faces
    split : Split
        Any object with index arrays ``train`` and ``validation``.
    seed : int
    folder : path, optional
        The model and its logs are saved there.
    **options
        Of `fit_mlp`, `fit_linear`, `fit_kernel`, or of `fit_estimator`.

    Raises
    ------
    TrainingError
        Rows, labels and split do not fit together.
    """
    return resolve(classifier)(matrix, labels, split, seed=seed, folder=folder, **options)


def resolve(classifier) -> Callable:
    """Return the function that fits `classifier`: ``(matrix, labels, split, *, seed, folder, **options)``."""
    if isinstance(classifier, str):
        if classifier not in names():
            raise ValueError(
                f"classifier={classifier!r}; allowed are {names()}, or what training.register has named in this "
                "process, or a model itself"
            )
        if classifier in registry.MAKERS:
            return _Maker(registry.MAKERS[classifier], classifier)
        return _BUILT_IN[classifier]
    if hasattr(classifier, "fit_split"):
        return classifier.fit_split
    if hasattr(classifier, "fit"):
        return _Maker(lambda task, seed: classifier)
    if not callable(classifier):
        raise ValueError(
            f"classifier is a {type(classifier).__name__}; allowed are a name of {names()}, a function "
            "make(task, seed), an unfitted scikit-learn estimator or a compiled Keras model"
        )
    return _Maker(classifier)


def describe(classifier, task: tasks.Task) -> str:
    """Return what fits of a classifier are known by: its name and parameters, or its layers."""
    if isinstance(classifier, str) and classifier not in registry.MAKERS:
        return classifier
    made = resolve(classifier).make(task, 0)
    shape = f"{made.name} {hash_values(made.to_json())}" if isinstance(made, keras.Model) else repr(made)
    return f"{classifier}: {shape}" if isinstance(classifier, str) else shape


def options_for(classifier, settings: Mapping, further: Mapping | None = None) -> dict:
    """Return those of an MLP's settings that `classifier` takes too, by the same names, and further options of its own.

    Parameters
    ----------
    classifier : str, callable, estimator or keras.Model
        See `fit`. A registered name or a function takes none: what it makes is compiled by its maker.
    settings : mapping
        Fields of `batched.Settings`, ``start``, ``members`` of `fit_mlp`, ``blocks`` of `fit_kernel`.
    further : mapping, optional
        Options of the classifier, which hold before `settings`.

    Raises
    ------
    ValueError
        A further option that the classifier does not have.

    Returns
    -------
    dict
        All for 'mlp', the fields of `NetworkOptions` for a Keras model, when to stop for 'residual_mlp', and for all
        how training rows are evened out.
    """
    allowed = options_of(classifier)
    wrong = sorted(set(further or {}) - allowed)
    if wrong:
        raise ValueError(f"{classifier} has no option {wrong}; allowed are {sorted(allowed)}")
    taken = {
        "mlp": set(settings) - {"blocks"},
        "kernel": {"balance", "blocks"},
        "residual_mlp": {"epochs", "patience", "balance", "start"},
    }
    names = taken.get(classifier, {"balance"}) if isinstance(classifier, str) else allowed
    return {name: value for name, value in settings.items() if name in names} | dict(further or {})


def options_of(classifier) -> set[str]:
    """Return the names of all options of a classifier's fit."""
    own: dict[object, set[str]] = {
        "mlp": {field.name for field in fields(batched.Settings)} | {"members"},
        "residual_mlp": {field.name for field in (*fields(residual_mlp.Recipe), *fields(NetworkOptions))},
        "linear": {"strengths", "balance"},
        "kernel": {field.name for field in fields(Choices)} | {"balance"},
    }
    if isinstance(classifier, keras.Model):
        return {field.name for field in fields(NetworkOptions)}
    return own.get(classifier, {"balance"}) if isinstance(classifier, str) else {"balance"}


class _Maker:
    """Fits what ``make(task, seed)`` returns."""

    def __init__(self, make: Callable, name: str | None = None):
        self.make, self._name = make, name

    def __call__(self, matrix, labels, split, *, seed: int = 0, folder=None, **options) -> Fitted:
        model = self.make(labels.task, seed)
        return fit_estimator(
            model, matrix, labels, split, seed=seed, folder=folder, name=self._name, **options
        )


def fit_estimator(
    estimator, matrix, labels: tasks.Labels, split, *, seed: int = 0, folder=None, **options
) -> Fitted:
    """Fit a copy of a scikit-learn estimator or of a compiled Keras model; see `fit`.

    Parameters
    ----------
    **options
        ``name`` that the model is known by; ``balance`` (see `faceworkbook.training.balancing`); of a Keras model
        the other fields of `NetworkOptions`; ``start`` (`Fitted`), whose layers it begins with: all but the output layer,
        and that too where the task is the same; and ``watch``, which says after each epoch from the history so far
        whether training goes on.

    Notes
    -----
    Only the estimator standardises: give a Pipeline, or a network with a Normalization layer, whose mean and
    variance become those of the training rows.
    """
    batched.check_rows(matrix, labels, [split])
    name = options.pop("name", None)
    is_network = isinstance(estimator, keras.Model)
    if set(options) - {"balance"} and not is_network:
        raise TypeError(f"{type(estimator).__name__} takes the option 'balance' alone, got {sorted(options)}")
    fit_one = _fit_network if is_network else _fit_sklearn
    model, history = fit_one(estimator, matrix, labels, split, seed=seed, **options)
    options.pop("watch", None)
    start = options.pop("start", None)
    settings = {
        "classifier": name,
        "model": repr(model) if not is_network else model.name,
        "seed": int(seed),
        "options": options,
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "made_from": _made_from(matrix, labels, split),
    }
    if start is not None:
        settings["start"] = start.describe()
    fitted = wrap(model, labels.task, history, settings)
    if folder is not None:
        fitted.save(folder)
    return fitted


def targets_of(labels: tasks.Labels) -> np.ndarray:
    """Return what models learn: codes of classes (n,), yes/no labels (n, n_labels), or numbers (n,)."""
    return labels.values if labels.task.is_number else labels.codes


def load(folder: str | Path, *, matrix=None, labels: tasks.Labels | None = None, split=None) -> Fitted:
    """Read a fitted classifier that was saved in `folder`.

    A Keras model is read. An estimator of scikit-learn is fitted again, on the rows that it was fitted on:
    nothing is un-pickled here.

    Parameters
    ----------
    matrix, labels, split
        Of the data that the model was fitted on; needed for estimators alone.

    Raises
    ------
    ModelFileError
        A file is missing or damaged, or an estimator cannot be fitted again from what is given.
    """
    record = read_record(folder)
    if "estimator" not in record or (Path(folder) / "model.keras").is_file():
        fitted = Fitted.load(folder)
        if fitted.settings.get("classifier") not in names():  # later fits take a copy of the network itself
            fitted.settings.pop("classifier", None)
        return fitted
    try:
        settings = record["settings"]
        seed, made_from = settings["seed"], settings["made_from"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{folder}: model.json lacks {error}; fit the model again") from error
    if matrix is None or labels is None or split is None:
        raise ModelFileError(
            f"{folder} holds {settings.get('model')}, which is fitted again from its rows; give load() matrix, "
            "labels and split"
        )
    if _made_from(matrix, labels, split) != made_from:
        raise ModelFileError(
            f"{folder}: {settings.get('model')} was fitted on other descriptors, labels or rows; fit it again"
        )
    recipe, options = _recipe_of(folder, record, labels.task), settings.get("options", {})
    return fit(recipe, matrix, labels, split, seed=seed, **options)


def _recipe_of(folder, record: dict, task: tasks.Task):
    """Return the estimator that was saved, or the name that it was registered by in this process too."""
    settings = record["settings"]
    name, title = settings.get("classifier"), settings.get("model")
    if record["estimator"] is not None:
        try:
            return estimators.from_record(record["estimator"])
        except estimators.RecordError as error:
            raise RecipeError(f"{folder}: {error}; fit the model again") from error
    if name not in registry.MAKERS:
        raise RecipeError(
            f"{folder} holds {title}, which this process cannot make; call training.register for "
            f"{name or 'it'!r} first"
        )
    made = repr(estimators.fresh(registry.MAKERS[name](task, settings["seed"]), settings["seed"]))
    if made != title:
        raise RecipeError(f"{folder} holds {title}, and {name!r} is {made} in this process; fit it again")
    return name


def _made_from(matrix, labels: tasks.Labels, split) -> str:
    rows = np.asarray(split.train)
    return hash_values(rows, fingerprint_rows(matrix, rows), targets_of(labels)[rows])


def _fit_sklearn(estimator, matrix, labels: tasks.Labels, split, *, seed: int, balance: str = "none"):
    if labels.task.is_number and is_classifier(estimator):
        raise TrainingError(
            f"'{labels.name}' is a number and {type(estimator).__name__} a classifier; give a regressor"
        )
    y = targets_of(labels)
    model = estimators.fresh(estimator, seed)
    weighed = {}
    if balance in balancing.WEIGHTS:
        weight = balancing.weights(labels, split.train, balance)[split.train]
        weighed = {estimators.weight_keyword(model): weight}
    split = balancing.repeat(labels, split, balance, seed=seed)
    model.fit(np.asarray(matrix[split.train]), y[split.train], **weighed)
    row = {"epoch": 1}
    for prefix, rows in (("", split.train), ("val_", split.validation)):
        if len(rows):
            row |= figures(prefix, labels.take(rows), estimator_outputs(model, matrix[rows], labels.task))
    return model, pd.DataFrame([row])


@dataclass(frozen=True)
class NetworkOptions:
    """How a compiled Keras model is fitted.

    Attributes
    ----------
    epochs, patience : int
        At most so many epochs; stop after `patience` epochs without a lower validation loss, and keep the best
        weights.
    batch_size : int
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        How training rows are evened out, see `faceworkbook.training.balancing`.
    """

    epochs: int = 60
    patience: int = 8
    batch_size: int = 128
    balance: str = "none"

    def __post_init__(self):
        balancing.check(self.balance)


class _Watched(keras.callbacks.Callback):
    """Ends training where ``watch`` says so of the history so far."""

    def __init__(self, watch: Callable[[pd.DataFrame], bool]):
        super().__init__()
        self._watch, self._rows = watch, []

    def on_epoch_end(self, epoch, logs=None):
        self._rows.append({"epoch": epoch + 1, **(logs or {})})
        if not self._watch(pd.DataFrame(self._rows)):
            self.model.stop_training = True


def _fit_network(model, matrix, labels: tasks.Labels, split, *, seed: int, watch=None, start=None, **options):
    options = NetworkOptions(**options)
    keras.utils.set_random_seed(seed)
    weight = balancing.weights(labels, split.train, options.balance)
    split = balancing.repeat(labels, split, options.balance, seed=seed)
    x, y = np.asarray(matrix[split.train], np.float32), targets_of(labels)
    model = _fresh_network(model, x, labels.task, start)
    held, callbacks = None, []
    if len(split.validation):
        held = (np.asarray(matrix[split.validation], np.float32), y[split.validation])
        callbacks = [keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)]
    callbacks += [] if watch is None else [_Watched(watch)]
    history = model.fit(
        x,
        y[split.train],
        sample_weight=weight[split.train] if options.balance in balancing.WEIGHTS else None,
        validation_data=held,
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=callbacks,
        verbose=0,
    )
    return model, history


def _fresh_network(model: keras.Model, x: np.ndarray, task: tasks.Task, start: Fitted | None) -> keras.Model:
    """Copy a network with fresh weights; Normalization layers take mean and variance of the training rows.

    With a `start` both are its own.
    """
    mean, spread = batched.moments(x)
    variance = spread**2
    if start is not None:
        mean, variance = starting.read_moments(start.model) or (mean, variance)

    def copy(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Normalization):
            return keras.layers.Normalization(mean=mean, variance=variance, name=config["name"])
        return type(layer).from_config(config)

    if not model.built:
        model.build((None, x.shape[1]))
    with keras.utils.custom_object_scope(_own_functions(model)):
        made = keras.models.clone_model(model, clone_function=copy)
        if start is not None:
            is_same = start.task.to_record() == task.to_record()
            output = [layer.name for layer in made.layers if layer.weights][-1:]
            starting.copy_layers(made, start.model, exchanged=[] if is_same else output)
        if model.compiled:
            made.compile_from_config(model.get_compile_config())
            return made
    metric = "mae" if task.is_number else "accuracy"
    made.compile(keras.optimizers.Adam(), task.loss, metrics=[metric])
    return made


def _own_functions(model: keras.Model) -> dict[str, Callable]:
    """Return the plain functions that a network was compiled with, which Keras looks up by name."""
    config = getattr(model, "_compile_config", None)
    given = keras.tree.flatten(list(config.config.values())) if config else []
    return {one.__name__: one for one in given if isinstance(one, FunctionType)}


def _fit_residual_mlp(matrix, labels, split, *, seed: int = 0, folder=None, **options) -> Fitted:
    """Fit the residual perceptron of arXiv 2108.08186; the recipe is the best for the label, see `Recipe`."""
    best = asdict(residual_mlp.recipe(labels.name))
    if (start := options.get("start")) is not None:
        best |= {name: value for name, value in start.options.items() if name in ("residuals", "groups")}
    chosen = {name: options.pop(name, value) for name, value in best.items()}
    recipe = residual_mlp.Recipe(**chosen)
    mean, spread = batched.moments(np.asarray(matrix[split.train], np.float32))
    model = residual_mlp.build(labels.task, recipe, mean=mean, variance=spread**2, seed=seed)
    rows = balancing.repeat(labels, split, options.get("balance", balancing.NONE), seed=seed).train
    steps = -(-len(rows) // recipe.batch_size)
    rate = keras.optimizers.schedules.ExponentialDecay(
        recipe.learning_rate, steps, recipe.gamma, staircase=True
    )
    metric = "mae" if labels.task.is_number else "accuracy"
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    model.compile(optimizer, labels.task.loss, metrics=[metric])
    options["batch_size"] = recipe.batch_size
    fitted = fit_estimator(model, matrix, labels, split, seed=seed, name="residual_mlp", **options)
    fitted.settings["options"] |= chosen
    if folder is not None:
        fitted.save(folder)
    return fitted


_BUILT_IN = {"mlp": fit_mlp, "linear": fit_linear, "kernel": fit_kernel, "residual_mlp": _fit_residual_mlp}
