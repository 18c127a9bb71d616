"""MLPs that begin with the weights of others: what is taken, what is exchanged, what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from faceworkbook import tasks
from faceworkbook.files import hash_values
from faceworkbook.training.batched.data import Data
from faceworkbook.training.batched.settings import Settings, TrainingError
from faceworkbook.training.batched.stack import Stack


@dataclass(frozen=True, eq=False)
class Start:
    """Trained MLPs, one for each model that begins with them.

    Standardisation is taken with the weights, which mean nothing without it. The output layer is taken where
    the task is the same, with the same classes in the same order, and drawn anew elsewhere.

    Attributes
    ----------
    kernels, biases : list of ndarray, (m, inputs, outputs) and (m, 1, outputs), float32
    mean, variance : ndarray of shape (m, d)
    offset, scale : ndarray of shape (m,)
        Of a number, see `Stack`.
    task : Task
    """

    kernels: list[np.ndarray]
    biases: list[np.ndarray]
    mean: np.ndarray
    variance: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    task: tasks.Task

    @classmethod
    def of_stack(cls, stack: Stack, models: Sequence[int] | None = None) -> Start:
        """Take some models of a stack, in this order and as often as they are named; all where None."""
        rows = np.arange(len(stack)) if models is None else np.asarray(models)
        arrays = (stack.mean[rows], stack.variance[rows], stack.offset[rows], stack.scale[rows])
        return cls([k[rows] for k in stack.kernels], [b[rows] for b in stack.biases], *arrays, stack.task)

    @classmethod
    def of_model(cls, model: keras.Model, task: tasks.Task) -> Start:
        """Take one model of `faceworkbook.models.mlp`.

        Raises
        ------
        TrainingError
            The model has other layers.
        """
        dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
        (norm, *more) = [
            layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)
        ] or [None]
        if model.name != "mlp" or norm is None or more:
            raise TrainingError(
                f"the model to start from is called '{model.name}' and is no MLP of this workbook; start from a run "
                "with classifier='mlp'"
            )
        weights = [[np.asarray(value)[None] for value in layer.get_weights()] for layer in dense]
        units = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
        offset, scale = (units[0].offset, units[0].scale) if units else (0.0, 1.0)
        moments = (np.asarray(value, np.float32).reshape(1, -1) for value in (norm.mean, norm.variance))
        return cls(
            [kernel for kernel, _ in weights],
            [bias[:, None] for _, bias in weights],
            *moments,
            np.array([offset], float),
            np.array([scale], float),
            task,
        )

    def __len__(self) -> int:
        return len(self.mean)

    def repeat(self, n: int) -> Start:
        """Return one model for each of `n` that begin: itself where there are as many, else the only one."""
        if len(self) == n:
            return self
        if len(self) != 1:
            raise TrainingError(f"{len(self)} models to start from and {n} to train; give one, or one each")
        arrays = (np.repeat(a, n, axis=0) for a in (self.mean, self.variance, self.offset, self.scale))
        layers = ([np.repeat(a, n, axis=0) for a in of] for of in (self.kernels, self.biases))
        return Start(*layers, *arrays, self.task)

    def keeps_output(self, task: tasks.Task) -> bool:
        """Whether `task` is the one that the models were trained for, so that the output layer is taken too."""
        return task.to_record() == self.task.to_record()

    def check(self, settings: Settings, task: tasks.Task, width: int) -> None:
        """Raise `TrainingError` where nets of these settings, on descriptors of this width, have other layers."""
        if self.mean.shape[1] != width:
            raise TrainingError(
                f"the model to start from reads descriptors of width {self.mean.shape[1]}, these have {width}; "
                "describe the faces with the same network and tap"
            )
        own = tuple(kernel.shape[2] for kernel in self.kernels[:-1])
        if own != settings.widths:
            raise TrainingError(
                f"widths={list(settings.widths)}, and the model to start from has {list(own)}; give widths={list(own)}"
            )
        if self.keeps_output(task) and self.kernels[-1].shape[2] != task.n_outputs:
            raise TrainingError(
                f"the model to start from has {self.kernels[-1].shape[2]} outputs for '{task.name}', which needs "
                f"{task.n_outputs}; train it again"
            )

    def place(self, data: Data) -> Data:
        """Return `data` with these models to start from, and their standardisation; of a number also its unit."""
        spread = np.sqrt(self.variance)
        inverse, shift = data.spread / spread, (data.centre - self.mean) / spread
        moved = {
            "inverse": inverse[:, :, None].astype(np.float32),
            "shift": shift[:, None, :].astype(np.float32),
            "start": self,
            "fingerprint": hash_values(data.fingerprint, self.fingerprint),
        }
        if data.task.is_number and self.keeps_output(data.task):
            values = np.asarray(data.y) * data.scale[:, None] + data.offset[:, None]
            values = (values - self.offset[:, None]) / self.scale[:, None]
            moved |= {"y": tf.constant(values.astype(np.float32)), "offset": self.offset, "scale": self.scale}
        return replace(data, **moved)

    def put(self, drawn: Sequence[np.ndarray], task: tasks.Task) -> list[np.ndarray]:
        """Return the first weights, kernels and biases by turns; `drawn` ones where the output is exchanged."""
        taken = [a.astype(np.float32) for pair in zip(self.kernels, self.biases, strict=True) for a in pair]
        return taken if self.keeps_output(task) else [*taken[:-2], *drawn[-2:]]

    @property
    def fingerprint(self) -> str:
        """Hash of all weights and of the standardisation."""
        return hash_values(*self.kernels, *self.biases, self.mean, self.variance, self.offset, self.scale)
