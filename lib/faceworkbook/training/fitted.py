"""A fitted classifier: a model on raw descriptors, with the task that its outputs are of."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from faceworkbook import hdf5, tasks
from faceworkbook.evaluation.predictions import outputs_of
from faceworkbook.files import open_beside, read_json, write_json
from faceworkbook.models import kernel  # noqa: F401  its layers are known to Keras by the import
from faceworkbook.training import estimators, logs

MODEL, META = "model.keras", "model.json"
BLOCK = 4096
# Keras' names of what the figures call accuracy and mae.
_METRICS = {
    "mean_absolute_error": "mae",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
}


class ModelFileError(ValueError):
    """A folder that holds no model of this workbook, or a damaged one."""


class RecipeError(ModelFileError):
    """A saved model whose making is not known in this process, so that it cannot be fitted again."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted classifier.

    Attributes
    ----------
    model : keras.Model or scikit-learn estimator
        (batch, d) raw float32 descriptors -> probabilities or a number; standardisation inside.
    task : Task
    history : pandas.DataFrame
        ``epoch, loss, val_loss, accuracy, val_accuracy`` (or mae), one row for what has no epochs; the linear
        reference: ``strength, loss, val_loss``.
    settings : dict
        How it was fitted, plain types: ``classifier`` (a name, where there is one), ``seed``, ``options`` (what
        `training.fit` takes), best epoch, counts of rows.
    not_refitted : str
        Why a network that was read from a file cannot be fitted again as it was, else empty.
    """

    model: object
    task: tasks.Task
    history: pd.DataFrame
    settings: dict = field(default_factory=dict)
    not_refitted: str = ""

    @property
    def classifier(self):
        """What `training.fit` takes to fit such a model on other rows: a name, or the model itself."""
        return self.settings.get("classifier") or self.model

    @property
    def options(self) -> dict:
        """What `training.fit` takes beside the classifier."""
        saved = self.settings.get("options", {})
        return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}

    def describe(self) -> str:
        """Return what it is in a few words, for a model that begins with its weights."""
        return f"{self.settings.get('classifier') or getattr(self.model, 'name', type(self.model).__name__)} of {self.task.name}"

    @property
    def is_network(self) -> bool:
        """Whether the model is one of Keras, with layers to look into."""
        return isinstance(self.model, keras.Model)

    @property
    def has_dropout(self) -> bool:
        """Whether `sample` has something to draw."""
        return bool(self._dropouts())

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict faces from their descriptors.

        Parameters
        ----------
        matrix : ndarray of shape (n, d), may be memory-mapped

        Returns
        -------
        ndarray of shape (n, n_classes) of probabilities in the order of the task's classes, or (n,) of
        numbers in its unit; float64
        """
        return self.task.decode(self._outputs(matrix))

    def expected(self, matrix: np.ndarray) -> np.ndarray:
        """Predict a number, (n,): for classes that stand for numbers their mean under the probabilities."""
        if not (self.task.is_number or self.task.class_values):
            raise ValueError(
                f"'{self.task.name}' has named classes {self.task.classes}; a mean of them says nothing"
            )
        predicted = self.predict(matrix)
        return predicted if self.task.is_number else predicted @ np.array(self.task.class_values)

    def sample(self, matrix: np.ndarray, n: int = 50, *, seed: int = 0) -> np.ndarray:
        """Predict `n` times with dropout on (Monte-Carlo dropout, Gal and Ghahramani 2016).

        Returns
        -------
        ndarray of shape (n_samples, n, n_classes), or (n_samples, n) for numbers; float64

        Raises
        ------
        ValueError
            The model has no dropout, so that all samples would agree.
        """
        dropouts = self._dropouts()
        if not dropouts:
            raise ValueError(
                f"this model ({type(self.model).__name__}) has no dropout, so that every sample would be the same; "
                "fit one with dropout above 0"
            )
        for number, layer in enumerate(dropouts):
            layer.seed_generator.state.assign([np.uint32(seed), np.uint32(number)])
        return np.stack([self.task.decode(self._outputs(matrix, training=True)) for _ in range(n)])

    def save(self, folder: str | Path) -> Path:
        """Write ``model.json``, the logs, and ``model.keras`` for a Keras model, into `folder`; return it.

        An estimator of scikit-learn is written as its class and parameters: nothing is pickled. Of a network
        that was compiled, optimizer, loss and metrics are written too, for later fits.
        """
        folder, estimator, compiled = Path(folder), None, None
        if self.is_network:
            compiled = self.model.get_compile_config() or None
            with open_beside(folder / MODEL) as beside:
                self.model.save(beside)
            hdf5.trust(folder / MODEL)
        else:
            (folder / MODEL).unlink(missing_ok=True)  # of an earlier fit
            estimator = _record_of(self.model)
        record = {"task": self.task.to_record(), "settings": self.settings, "estimator": estimator}
        if compiled:
            record["compiled"] = compiled
        write_json(folder / META, record)
        logs.write(folder, self.history)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Fitted:
        """Read a Keras model that `save` wrote; no code of the file is run. See `training.load`.

        Raises
        ------
        ModelFileError
            A file is missing or damaged.
        """
        folder, record = Path(folder), read_record(folder)
        lacking = [name for name in (MODEL, logs.HISTORY) if not (folder / name).is_file()]
        if lacking:
            raise ModelFileError(f"{folder} lacks {lacking}; give a folder that a fitted model was saved to")
        hdf5.check(folder / MODEL, error=ModelFileError)
        try:
            model = keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True)
            history, task = pd.read_csv(folder / logs.HISTORY), tasks.Task.from_record(record["task"])
            problem = _compile(model, record.get("compiled"))
            if record["settings"].get("start"):
                problem = f"it began with the weights of another run's model ({record['settings']['start']})"
            return cls(model, task, history, dict(record["settings"]), problem)
        except (ValueError, KeyError, OSError, TypeError, zipfile.BadZipFile) as error:
            raise ModelFileError(
                f"{folder}: the saved model cannot be read ({error}); fit it again"
            ) from error

    def _dropouts(self) -> list:
        layers = self.model.layers if self.is_network else []
        return [layer for layer in layers if isinstance(layer, keras.layers.Dropout) and layer.rate]

    def _outputs(self, matrix: np.ndarray, *, training: bool = False) -> np.ndarray:
        width = self.model.input_shape[1] if self.is_network else self.model.n_features_in_
        if matrix.ndim != 2 or matrix.shape[1] != width:
            raise ValueError(
                f"descriptors have shape {tuple(matrix.shape)}, this model wants (n, {width}): "
                "use the network and tap that it was fitted on"
            )
        starts = range(0, max(len(matrix), 1), BLOCK)
        blocks = (np.asarray(matrix[start : start + BLOCK], dtype=np.float32) for start in starts)
        if self.is_network:
            return np.concatenate(
                [keras.ops.convert_to_numpy(self.model(block, training=training)) for block in blocks]
            )
        return np.concatenate([estimator_outputs(self.model, block, self.task) for block in blocks])


def estimator_outputs(estimator, matrix: np.ndarray, task: tasks.Task) -> np.ndarray:
    """Return probabilities (or numbers) of a fitted estimator; of yes/no labels that of yes, label by label."""
    if not task.is_multilabel:
        return outputs_of(estimator, matrix, task)
    shares = estimator.predict_proba(matrix)
    if isinstance(shares, np.ndarray):
        return shares
    # One array (n, 2) a label, or (n, 1) where the training rows had one value alone.
    columns = [
        s[:, list(classes).index(1)] if 1 in classes else np.zeros(len(s))
        for s, classes in zip(shares, estimator.classes_, strict=True)
    ]
    return np.column_stack(columns)


def figures_of(fitted: Fitted, matrix, labels: tasks.Labels, split) -> pd.DataFrame:
    """Return losses and accuracy (or mae) of training and validation rows as a history of one epoch."""
    row = {"epoch": 1}
    for prefix, rows in (("", split.train), ("val_", split.validation)):
        if len(rows):
            row |= figures(prefix, labels.take(rows), fitted.predict(matrix[rows]))
    return pd.DataFrame([row])


def figures(prefix: str, labels: tasks.Labels, output: np.ndarray) -> dict:
    """Return loss and accuracy (or mae) of outputs, as a network's history has them, named with `prefix`."""
    decoded, task = labels.task.decode(output), labels.task
    if task.is_number:
        missed = decoded - labels.values
        return {f"{prefix}loss": np.mean(missed**2), f"{prefix}mae": np.mean(np.abs(missed))}
    p = np.clip(decoded, 1e-7, 1 - 1e-7)
    if task.is_multilabel:
        right = p, (p >= 0.5) == labels.codes
        chosen = np.where(labels.codes == 1, right[0], 1 - right[0])
        return {f"{prefix}loss": -np.log(chosen).mean(), f"{prefix}accuracy": right[1].mean()}
    chosen = p[np.arange(len(p)), labels.codes]
    return {
        f"{prefix}loss": -np.log(chosen).mean(),
        f"{prefix}accuracy": (p.argmax(1) == labels.codes).mean(),
    }


def wrap(model, task: tasks.Task, history, settings: Mapping | None = None) -> Fitted:
    """Make a `Fitted` of a model that was trained in plain sight, such as by ``model.fit``.

    Parameters
    ----------
    model : keras.Model or estimator
        On raw descriptors, with the task's outputs.
    task : Task
    history : keras.callbacks.History or pandas.DataFrame
        Of Keras: epochs count from 1 here.
    settings : mapping, optional
        See `Fitted`. Without ``classifier`` later steps train a copy of `model` itself, from fresh weights.
    """
    settings = dict(settings or {})
    if not isinstance(history, pd.DataFrame):
        history = pd.DataFrame(history.history)
        history.insert(0, "epoch", np.arange(1, len(history) + 1))
    history = history.rename(columns=_METRICS | {f"val_{old}": f"val_{new}" for old, new in _METRICS.items()})
    wanted = ["loss", "mae" if task.is_number else "accuracy"]
    for column in [*wanted, *(f"val_{name}" for name in wanted)]:
        if column not in history:
            history[column] = np.nan
    if "epoch" in history and history["val_loss"].notna().any():
        best = history.loc[history["val_loss"].idxmin(), "epoch"]
        settings.setdefault("best_epoch", int(best))
    return Fitted(model, task, history, settings)


def read_record(folder: str | Path) -> dict:
    """Read ``model.json`` of a saved model, or raise ModelFileError."""
    path = Path(folder) / META
    if not path.is_file():
        raise ModelFileError(f"{folder} lacks {META}; give a folder that a fitted model was saved to")
    return read_json(path, ModelFileError, advice="fit the model again")


def _compile(model: keras.Model, config: dict | None) -> str:
    """Compile a network as it was; return why that cannot be done, else ''."""
    try:
        if config:
            model.compile_from_config(config)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return f"its optimizer, loss or metrics cannot be made in this process ({str(error).splitlines()[0]})"
    return ""


def _record_of(estimator) -> dict | None:
    try:
        return estimators.to_record(estimator)
    except estimators.RecordError:
        return None
