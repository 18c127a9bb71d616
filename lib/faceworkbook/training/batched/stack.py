"""Trained MLPs with a leading axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import tensorflow as tf

from faceworkbook import tasks
from faceworkbook.models import mlp
from faceworkbook.training.batched.settings import Settings

BLOCK = 4096


@dataclass(frozen=True)
class Stack:
    """Trained models with a leading axis of length m.

    Attributes
    ----------
    kernels, biases : list of ndarray, (m, inputs, outputs) and (m, 1, outputs), float32
        Best epoch of each model, on its standardised descriptors.
    mean, variance : ndarray of shape (m, d)
        Of each model's training rows.
    offset, scale : ndarray of shape (m,)
        Of a number: value = offset + scale * output; 0 and 1 for classes.
    best_epoch : ndarray of shape (m,), int
        From 1.
    history : pandas.DataFrame
        Columns model, epoch, loss, val_loss and accuracy, val_accuracy (numbers: mae, val_mae).
    task, settings, seeds
        Settings and seeds have an entry a model.
    """

    kernels: list[np.ndarray]
    biases: list[np.ndarray]
    mean: np.ndarray
    variance: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    best_epoch: np.ndarray
    history: pd.DataFrame
    task: tasks.Task
    settings: tuple[Settings, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.mean)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict the same faces with every model.

        Parameters
        ----------
        matrix : ndarray of shape (n, d), raw descriptors

        Returns
        -------
        ndarray of shape (m, n, n_classes) of probabilities, or (m, n) of numbers; float32
        """
        centre = self.mean.mean(axis=0)
        spread = np.sqrt(self.variance)
        kernels, biases = list(self.kernels), list(self.biases)
        biases[0] = biases[0] + np.matmul(((centre - self.mean) / spread)[:, None, :], kernels[0])
        kernels[0] = kernels[0] / spread[:, :, None]
        blocks = [
            _outputs(tf.constant(_block(matrix, start) - centre), kernels, biases, self.task)
            for start in range(0, max(len(matrix), 1), BLOCK)
        ]
        out = np.concatenate(blocks, axis=1)
        if self.task.is_number:
            return (
                self.offset[:, None].astype(np.float32) + self.scale[:, None].astype(np.float32) * out[..., 0]
            )
        return out

    def model(self, i: int):
        """Return model number `i` as a Keras model, standardisation inside."""
        made = mlp.build(
            self.task,
            mean=self.mean[i],
            variance=self.variance[i],
            widths=self.settings[i].widths,
            dropout=self.settings[i].dropout,
            unit=(float(self.offset[i]), float(self.scale[i])),
            seed=self.seeds[i],
        )
        mlp.set_weights(made, [k[i] for k in self.kernels], [b[i, 0] for b in self.biases])
        return made


def _block(matrix: np.ndarray, start: int) -> np.ndarray:
    return np.asarray(matrix[start : start + BLOCK], dtype=np.float32)


def _outputs(x, kernels, biases, task: tasks.Task) -> np.ndarray:
    z = x[None]
    for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        z = tf.matmul(tf.nn.relu(z) if layer else z, kernel) + bias
    if task.activation == "linear":
        return z.numpy()
    if task.activation == "softmax":
        return tf.nn.softmax(z).numpy()
    p = tf.sigmoid(z).numpy()
    return np.concatenate([1 - p, p], axis=-1) if task.is_binary else p
