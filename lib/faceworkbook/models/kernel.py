"""A Gaussian kernel on descriptors by Nystroem's map, then ridge: layers, the network, and how its weights are solved.

Source: Williams and Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000; Rudi, Camoriano and
Rosasco, "Less is more: Nystroem computational regularization", NIPS 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from scipy import linalg

from faceworkbook.tasks import Task

# Far below any descriptor; without it the root has no gradient at 0, and an empty descriptor no direction.
TINY = 1e-12
# Of the landmarks' own kernel: keeps equal landmarks from making it singular.
NUGGET = 1e-6


@keras.saving.register_keras_serializable(package="faceworkbook")
class Root(keras.layers.Layer):
    """Take the signed square root of every direction, and bring each row to length 1 (Hellinger's kernel)."""

    def call(self, x):
        size = keras.ops.abs(x)
        total = keras.ops.sum(size, axis=-1, keepdims=True)
        return keras.ops.sign(x) * keras.ops.sqrt((size + TINY) / (total + TINY))


@keras.saving.register_keras_serializable(package="faceworkbook")
class Columns(keras.layers.Layer):
    """Take columns ``first`` up to ``last`` (not itself) of each row."""

    def __init__(self, first: int, last: int, **options):
        super().__init__(**options)
        self.first, self.last = first, last

    def call(self, x):
        return x[:, self.first : self.last]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.last - self.first)

    def get_config(self):
        return {**super().get_config(), "first": self.first, "last": self.last}


@keras.saving.register_keras_serializable(package="faceworkbook")
class GaussianKernel(keras.layers.Layer):
    """Compare rows with landmarks: ``exp(-gamma * squared distance)``, (batch, d) -> (batch, n_landmarks).

    Parameters
    ----------
    n_landmarks : int
    """

    def __init__(self, n_landmarks: int, **options):
        super().__init__(**options)
        self.n_landmarks = n_landmarks

    def build(self, input_shape):
        shape = (self.n_landmarks, input_shape[-1])
        self.landmarks = self.add_weight(shape=shape, name="landmarks", trainable=False)
        self.gamma = self.add_weight(shape=(1,), name="gamma", trainable=False)

    def call(self, x):
        ops, landmarks = keras.ops, self.landmarks
        lengths = ops.sum(x * x, axis=-1, keepdims=True) + ops.sum(landmarks * landmarks, axis=-1)
        squared = ops.maximum(lengths - 2 * ops.matmul(x, ops.transpose(landmarks)), 0.0)
        return ops.exp(-self.gamma * squared)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.n_landmarks)

    def get_config(self):
        return {**super().get_config(), "n_landmarks": self.n_landmarks}


def root(x: np.ndarray) -> np.ndarray:
    """Return what the layer `Root` gives, (n, d), float32."""
    size = np.abs(np.asarray(x, np.float32))
    return np.sign(x) * np.sqrt((size + TINY) / (size.sum(axis=1, keepdims=True) + TINY))


@dataclass(frozen=True)
class Block:
    """Columns of a descriptor that are compared by themselves.

    Attributes
    ----------
    first, last : int
        Columns ``first`` up to ``last`` (not itself).
    weight : float
        What their squared distance counts, above 0.
    """

    first: int
    last: int
    weight: float = 1.0


def roots_of(x: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
    """Return `root` of each block of columns times the root of its weight, side by side: (n, d), float32."""
    return np.hstack(
        [root(x[:, block.first : block.last]) * np.float32(np.sqrt(block.weight)) for block in blocks]
    )


def squared_distances(x: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the squared distances of rows (n, d) to landmarks (m, d): (n, m), of their dtype."""
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(landmarks).sum(axis=1)
    return np.maximum(lengths - 2 * (x @ landmarks.T), 0)


def read_blocks(blocks: Sequence[Block], width: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input of descriptors (batch, width) and what `roots_of` makes of them."""
    inputs = keras.Input((width,), name="descriptor")
    if (*blocks,) == (Block(0, width),):
        return inputs, Root(name="root")(inputs)
    rooted = []
    for block in blocks:
        name = f"columns_{block.first}_{block.last}"
        x = Root(name=f"{name}_root")(Columns(block.first, block.last, name=name)(inputs))
        rooted.append(keras.layers.Rescaling(float(np.sqrt(block.weight)), name=f"{name}_weight")(x))
    return inputs, keras.layers.Concatenate(name="blocks")(rooted) if len(rooted) > 1 else rooted[0]


def build(
    task: Task,
    features: tuple[keras.KerasTensor, keras.KerasTensor],
    *,
    landmarks: np.ndarray,
    gamma: float,
    kernel: np.ndarray,
    bias: np.ndarray,
    bounds: tuple[float, float] | None = None,
) -> keras.Model:
    """Build the network of a fitted kernel classifier.

    Parameters
    ----------
    task : Task
    features : tuple of keras tensors
        See `read_blocks`.
    landmarks : ndarray of shape (m, d)
        Rows as `roots_of` gives them.
    gamma : float
        Above 0.
    kernel, bias : ndarray of shape (m, n_outputs), (n_outputs,)
        Of the last layer, on the comparisons with the landmarks: logits, or a number in its unit.
    bounds : (low, high), optional
        A number stays within them.

    Returns
    -------
    keras.Model
        (batch, d) raw descriptors -> (batch, n_outputs), float32.
    """
    inputs, x = features
    compare = GaussianKernel(len(landmarks), name="kernel")
    x = compare(x)
    last = keras.layers.Dense(task.n_outputs, task.activation, name="output")
    x = last(x)
    if bounds is not None:
        x = keras.ops.clip(x, *bounds)
    compare.set_weights([landmarks, np.array([gamma])])
    last.set_weights([kernel, bias])
    return keras.Model(inputs, x, name="kernel")


@dataclass(frozen=True, eq=False)
class Ridge:
    """Normal equations of ridge regression on Nystroem's map, which any number of landmarks and alpha are solved from.

    With K the comparisons of n rows with m landmarks and M the landmarks' own, the map is ``K M^(-1/2)``, so that
    ridge on it minimises ``|K b - y|^2 + alpha b' M b``. The map itself is never computed.

    Attributes
    ----------
    gram : ndarray of shape (m, m)
        K'K about the mean, each row by its weight.
    cross : ndarray of shape (m, n_outputs)
        K'y about the means.
    own : ndarray of shape (m, m)
        M, with `NUGGET` on its diagonal.
    mean, target : ndarray of shape (m,), (n_outputs,)
        Means of K and of y.
    """

    gram: np.ndarray
    cross: np.ndarray
    own: np.ndarray
    mean: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, comparisons: np.ndarray, own: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Ridge:
        """Take the comparisons of rows (n, m), those of the landmarks (m, m), targets (n, n_outputs), weights (n,)."""
        share = weight / weight.sum()
        mean, target = share @ comparisons, share @ y
        # float64: with few landmarks alike, the equations lose half of their digits.
        centred = (comparisons - mean).astype(np.float64)
        centred *= np.sqrt(weight)[:, None]
        gram = centred.T @ centred
        cross = centred.T @ ((y - target) * np.sqrt(weight)[:, None])
        own = own.astype(np.float64)
        own[np.diag_indices_from(own)] += NUGGET
        return cls(gram, cross, own, np.asarray(mean, np.float64), np.asarray(target, np.float64))

    def solve(self, n_landmarks: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel (m, n_outputs) and bias (n_outputs,) for the first landmarks alone."""
        m = slice(0, n_landmarks)
        equations = self.gram[m, m] + alpha * self.own[m, m]
        kernel = linalg.cho_solve(linalg.cho_factor(equations, overwrite_a=True), self.cross[m])
        return kernel, self.target - self.mean[m] @ kernel
