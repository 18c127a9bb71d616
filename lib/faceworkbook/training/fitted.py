"""A fitted classifier: a Keras model on raw descriptors, with the names of what it says."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from faceworkbook import tasks

MODEL, META, HISTORY = "model.keras", "model.json", "history.csv"
BLOCK = 4096


class ModelFileError(ValueError):
    """A folder that holds no model of this workbook, or a damaged one."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted classifier.

    Attributes
    ----------
    model : keras.Model
        (batch, d) raw float32 descriptors -> probabilities or a number; standardisation inside.
    task : Task
    history : pandas.DataFrame
        Dense: ``epoch, loss, val_loss, accuracy, val_accuracy`` (or mae). Logistic: ``strength,
        loss, val_loss``.
    settings : dict
        How it was fitted, plain types: classifier, seed, hyper-parameters, best epoch.
    """

    model: keras.Model
    task: tasks.Task
    history: pd.DataFrame
    settings: dict = field(default_factory=dict)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict faces from their descriptors.

        Parameters
        ----------
        matrix : ndarray of shape (n, d), may be memory-mapped

        Returns
        -------
        ndarray of shape (n, n_classes) of probabilities in the order of `classes`, or (n,) of
        numbers in the target's unit; float64
        """
        return self._read(self._outputs(matrix))

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
        drops = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate
        ]
        if not drops:
            raise ValueError("this model has no dropout: every sample would be the same")
        for number, layer in enumerate(drops):
            layer.seed_generator.state.assign([np.uint32(seed), np.uint32(number)])
        return np.stack([self._read(self._outputs(matrix, training=True)) for _ in range(n)])

    def save(self, folder: str | Path) -> Path:
        """Write ``model.keras``, ``model.json`` and ``history.csv`` into `folder`; returns it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"part-{MODEL}"
        self.model.save(beside)
        beside.replace(folder / MODEL)
        meta = {
            "task": self.task.to_record(),
            "settings": self.settings,
        }
        _write_text(folder / META, json.dumps(meta, indent=1))
        _write_text(folder / HISTORY, self.history.to_csv(index=False))
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Fitted:
        """Read what `save` wrote; no code of the file is run.

        Raises
        ------
        ModelFileError
            A file is missing or damaged.
        """
        folder = Path(folder)
        missing = [name for name in (MODEL, META, HISTORY) if not (folder / name).is_file()]
        if missing:
            raise ModelFileError(f"{folder} lacks {missing}; give a folder that a fitted model was saved to")
        try:
            meta = json.loads((folder / META).read_text())
            model = keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True)
            history = pd.read_csv(folder / HISTORY)
            return cls(model, tasks.Task.from_record(meta["task"]), history, meta["settings"])
        except (ValueError, KeyError, OSError, TypeError, zipfile.BadZipFile) as error:
            raise ModelFileError(
                f"{folder}: the saved model cannot be read ({error}); fit it again"
            ) from error

    def _outputs(self, matrix: np.ndarray, *, training: bool = False) -> np.ndarray:
        width = self.model.input_shape[1]
        if matrix.ndim != 2 or matrix.shape[1] != width:
            raise ValueError(
                f"descriptors have shape {tuple(matrix.shape)}, this model wants (n, {width}): "
                "use the network and tap that it was fitted on"
            )
        parts = [
            keras.ops.convert_to_numpy(
                self.model(np.asarray(matrix[start : start + BLOCK], dtype=np.float32), training=training)
            )
            for start in range(0, max(len(matrix), 1), BLOCK)
        ]
        return np.concatenate(parts)

    def _read(self, output: np.ndarray) -> np.ndarray:
        return self.task.decode(output)


def load(folder: str | Path) -> Fitted:
    """Read a fitted classifier; see `Fitted.load`."""
    return Fitted.load(folder)


def _write_text(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    beside.replace(path)
