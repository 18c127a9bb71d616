"""Heads of classes that have an order: which losses there are, CORAL's last layer, and what OR-CNN's outputs mean.

Source of CORAL's layer: Cao, Mirjalili, Raschka, "Rank consistent ordinal regression for neural networks with application
to age estimation", Pattern Recognition Letters 2020 (arXiv 1901.07884).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

CROSS_ENTROPY, DLDL_V2, SORD = "cross_entropy", "dldl_v2", "sord"
MEAN_VARIANCE, CORAL, OR_CNN = "mean_variance", "coral", "or_cnn"
LOSSES = (CROSS_ENTROPY, DLDL_V2, SORD, MEAN_VARIANCE, CORAL, OR_CNN)
_TINY = 1e-7


@keras.saving.register_keras_serializable(package="faceworkbook")
class OrderedLogits(keras.layers.Layer):
    """Turn one score a face, shape (batch, 1), into the logarithms of class probabilities, (batch, n_classes).

    P(y > k) = sigmoid(score + b_k) with one b a threshold, as in CORAL. The b fall from threshold to threshold by
    construction, which the paper proves of its optimum: so P(y > k) never rises with k, and each class has a
    probability above 0. At the start a score of 0 means that all classes are as likely.

    Parameters
    ----------
    n_classes : int, 2 or more
    """

    def __init__(self, n_classes: int, **options):
        super().__init__(**options)
        self.n_classes = n_classes

    def build(self, input_shape):
        above = 1 - np.arange(1, self.n_classes) / self.n_classes
        thresholds = np.log(above / (1 - above))
        gaps = np.log(np.expm1(-np.diff(thresholds)))
        self.first = self._weight("bias_first", thresholds[:1])
        self.gaps = self._weight("bias_gaps", gaps)

    def _weight(self, name: str, start: np.ndarray):
        return self.add_weight(
            shape=start.shape, initializer=lambda shape, dtype=None: ops.cast(start, dtype), name=name
        )

    def thresholds(self):
        """Return b, shape (n_classes - 1,), falling."""
        return ops.concatenate([self.first, self.first - ops.cumsum(ops.softplus(self.gaps))])

    def set_thresholds(self, thresholds: np.ndarray) -> None:
        """Take over b of another such layer, ndarray of shape (n_classes - 1,), falling."""
        falls = np.maximum(-np.diff(thresholds.astype(np.float64)), 1e-12)
        self.first.assign(thresholds[:1])
        self.gaps.assign(falls + np.log(-np.expm1(-falls)))

    def call(self, score):
        z = score + self.thresholds()
        above, below = ops.log_sigmoid(z), ops.log_sigmoid(-z)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): no difference of near numbers.
        between = above[:, :-1] + below[:, 1:] + ops.log(-ops.expm1(-ops.softplus(self.gaps)))
        return ops.concatenate([below[:, :1], between, above[:, -1:]], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.n_classes)

    def get_config(self):
        return {**super().get_config(), "n_classes": self.n_classes}

    def probabilities(self, name: str) -> list[keras.layers.Layer]:
        """Return plain dense layers that make class probabilities of the score, for a model to be put to use."""
        n = self.n_classes
        above = keras.layers.Dense(n - 1, "sigmoid", name=f"{name}_above")
        above.build((None, 1))
        above.set_weights([np.ones((1, n - 1)), ops.convert_to_numpy(self.thresholds())])
        return [above, _differences(n, name)]


def _differences(n: int, name: str, *, rising: bool = False) -> keras.layers.Dense:
    """Return the layer from P(y > k), falling (or rising) with k, to the n class probabilities."""
    kernel = (np.eye(n, n - 1, -1) - np.eye(n, n - 1)).T
    classes = keras.layers.Dense(n, name=name)
    classes.build((None, n - 1))
    classes.set_weights([kernel[::-1] if rising else kernel, np.eye(n)[0]])
    return classes


def class_logits(loss: str, outputs):
    """Return logarithms of class probabilities, up to a constant, from what a head puts out that learns by `loss`.

    OR-CNN puts out the logits of n - 1 answers 'y > k', (batch, n - 1), which need not fall with k. Put in falling order
    (Chernozhukov, Fernandez-Val, Galichon 2010) they are probabilities of an order, as many above one half as before
    (the paper's answer) and of the same sum (the expected place).
    """
    if loss != OR_CNN:
        return outputs
    z = -ops.sort(-ops.cast(outputs, "float32"), axis=-1)
    above, below = ops.log_sigmoid(z), ops.log_sigmoid(-z)
    # As in `OrderedLogits`; two answers alike leave a class between them nothing.
    between = above[:, :-1] + below[:, 1:] + ops.log(ops.maximum(-ops.expm1(z[:, 1:] - z[:, :-1]), _TINY))
    return ops.concatenate([below[:, :1], between, above[:, -1:]], axis=1)


def rank_probabilities(outputs, name: str):
    """Return the class probabilities of OR-CNN's outputs, a Keras tensor, in operations that Keras has itself."""
    rising = ops.sort(keras.layers.Activation("sigmoid", name=f"{name}_above")(outputs), axis=-1)
    return _differences(outputs.shape[-1] + 1, name, rising=True)(rising)
