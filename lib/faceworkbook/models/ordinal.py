"""Heads of classes that have an order: which losses there are, and CORAL's last layer.

Source of the layer: Cao, Mirjalili, Raschka, "Rank consistent ordinal regression for neural networks with application
to age estimation", Pattern Recognition Letters 2020 (arXiv 1901.07884).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

CROSS_ENTROPY, DLDL_V2, SORD = "cross_entropy", "dldl_v2", "sord"
MEAN_VARIANCE, CORAL = "mean_variance", "coral"
LOSSES = (CROSS_ENTROPY, DLDL_V2, SORD, MEAN_VARIANCE, CORAL)


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
        difference = np.eye(n, n - 1, -1) - np.eye(n, n - 1)
        above = keras.layers.Dense(n - 1, "sigmoid", name=f"{name}_above")
        classes = keras.layers.Dense(n, name=name)
        above.build((None, 1))
        classes.build((None, n - 1))
        above.set_weights([np.ones((1, n - 1)), ops.convert_to_numpy(self.thresholds())])
        classes.set_weights([difference.T, np.eye(n)[0]])
        return [above, classes]
