"""Cross-stitch unit: each task's features become a learned mix of all tasks' features.

Source: Misra, Shrivastava, Gupta, Hebert, "Cross-stitch networks for multi-task learning", CVPR 2016.
"""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="faceworkbook")
class CrossStitch(keras.layers.Layer):
    """Mix the features of T tasks with a T x T matrix that starts as the identity.

    Call it with a list of T tensors of shape (batch, width), float32; it returns a list of the same shapes:
    ``out[i] = sum_j alpha[i, j] * in[j]``.  At the start each task keeps its own features.
    """

    def build(self, input_shape):
        widths = {tuple(shape)[-1] for shape in input_shape}
        if len(widths) != 1:
            raise ValueError(f"CrossStitch received widths {sorted(widths)}; all tasks need the same width")
        n_tasks = len(input_shape)
        self.alpha = self.add_weight(shape=(n_tasks, n_tasks), initializer="identity", name="alpha")

    def call(self, features):
        stacked = keras.ops.stack(features, axis=1)
        mixed = keras.ops.einsum("ij,bjw->biw", self.alpha, stacked)
        return keras.ops.unstack(mixed, num=len(features), axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape
