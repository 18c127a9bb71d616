"""The compiled epoch of many MLPs: one gather and a few batched matrix products a step for all of them.

Optimiser: Adam (Kingma and Ba 2015) with decoupled weight decay of kernels (Loshchilov and Hutter
2019), with Keras's defaults.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import tensorflow as tf

from faceworkbook.models import mlp
from faceworkbook.models.multitask import Head
from faceworkbook.training import ordinal_losses

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class Program:
    train: tf.types.experimental.PolymorphicFunction
    score: tf.types.experimental.PolymorphicFunction


@functools.lru_cache(maxsize=32)
def compile_program(
    loss: str,
    n_outputs: int,
    n_hidden: int,
    dropping: tuple[bool, bool],
    multipliers: tuple[float, ...] = (),
    *,
    head: Head | None = None,
    dtype_policy: str = "float32",
) -> Program:
    """Return the compiled epoch for nets of this depth; all sizes are free, so it is traced once.

    `dropping` says whether input and hidden units are dropped at all: what is not, is not in the program.
    `multipliers` are those of the learning rate, one a layer; none means 1 for each. `head` has a loss that knows the
    order of its classes, in place of `loss`. `dtype_policy` is that of the matrix products, see `Settings`. XLA would
    compile the program anew whenever a model stops.
    """
    multiply = tf.matmul if dtype_policy == "float32" else _multiply_in_bfloat16
    losses = _row_losses(loss, n_outputs) if head is None else _ordinal_losses(head)
    hits = _row_metric(loss, n_outputs)
    multipliers = multipliers or (1.0,) * (n_hidden + 1)
    of = tf.TensorSpec
    params = [of((None, None, None)) for _ in range(2 * (n_hidden + 1))]
    labels = of((None, None, None) if _is_multilabel(loss, n_outputs) else (None, None))
    data = (of((None, None)), labels, of((None, None)), of((None, None, 1)), of((None, 1, None)))
    chosen = (of((None, None, None), tf.int32), of((None, None, None)))
    draws = (of((None,), tf.int64), of((), tf.int64), of((2, None)))
    state = (params, params, params, of((None,)))

    # Loops are written out: converting Python's took longer than training a small net.
    @tf.function(input_signature=[data, chosen, draws, of((2, None)), state], autograph=False)
    def train(data, chosen, draws, rates, state):
        x, y, weights, inverse, shift = data
        (rows, mask), (seeds, step0, drops) = chosen, draws
        drops = [rate if used else None for rate, used in zip(tf.unstack(drops), dropping, strict=True)]

        def step(i, state, sums):
            params, m, v, steps = state
            truth = tf.gather(y, rows[i], batch_dims=1)
            weight = tf.gather(weights, rows[i], batch_dims=1) * mask[i]
            count = tf.reduce_sum(mask[i], axis=1)
            with tf.GradientTape() as tape:
                tape.watch(params)
                drawn = drops, seeds, step0 + tf.cast(i, tf.int64)
                z = _forward(multiply, tf.gather(x, rows[i]), params, (inverse, shift), drawn)
                each = losses(truth, z) * weight
                loss = tf.reduce_sum(each, axis=1) / tf.maximum(count, 1.0)
            gradients = tape.gradient(loss, params)
            moved = count > 0
            steps = steps + tf.cast(moved, tf.float32)
            params, m, v = _adam((params, gradients, m, v), steps, moved, rates, multipliers)
            sums += tf.stack([loss * count, tf.reduce_sum(hits(truth, z) * mask[i], axis=1), count])
            return i + 1, (params, m, v, steps), sums

        state, sums = _repeat(step, rows, (state, tf.zeros((3, tf.shape(seeds)[0]))))
        return *state, sums[0] / sums[2], sums[1] / sums[2]

    @tf.function(input_signature=[data, chosen, params], autograph=False)
    def score(data, chosen, params):
        (x, y, weights, inverse, shift), (rows, mask) = data, chosen

        def step(i, sums):
            truth = tf.gather(y, rows[i], batch_dims=1)
            z = _forward(multiply, tf.gather(x, rows[i]), params, (inverse, shift))
            weight = tf.gather(weights, rows[i], batch_dims=1) * mask[i]
            sums += tf.stack(
                [
                    tf.reduce_sum(losses(truth, z) * weight, axis=1),
                    tf.reduce_sum(hits(truth, z) * mask[i], axis=1),
                    tf.reduce_sum(mask[i], axis=1),
                ]
            )
            return i + 1, sums

        (sums,) = _repeat(step, rows, (tf.zeros((3, tf.shape(y)[0])),))
        return sums[0] / sums[2], sums[1] / sums[2]

    return Program(train, score)


def _repeat(step, rows, values: tuple) -> tuple:
    """Call ``step(i, *values)``, which returns ``i + 1`` and the new values, once for each of the `rows`' batches."""
    n, shapes = tf.shape(rows)[0], tf.nest.map_structure(lambda value: value.shape, values)
    return tf.while_loop(
        lambda i, *_: i < n, step, (0, *values), shape_invariants=(tf.TensorShape([]), *shapes)
    )[1:]


def _multiply_in_bfloat16(a, b):
    return tf.cast(tf.matmul(tf.cast(a, tf.bfloat16), tf.cast(b, tf.bfloat16)), tf.float32)


def _forward(multiply, x, params, moments, drawn=((None, None), None, None)):
    """Return logits (m, batch, outputs) of rows (m, batch, d).

    `moments` are those of `data`; `drawn` has the rates (m,) by which input and hidden units are dropped, None where nothing
    is, the models' seeds and the step's number.
    """
    (inverse, shift), (drops, seeds, step) = moments, drawn
    kernels, biases = params[0::2], params[1::2]
    n_hidden = len(kernels) - 1
    # Standardisation by each model's own moments, folded into its first layer.
    kept = 1.0
    if drops[0] is not None:
        x, kept = _drop_input(x, -shift * tf.transpose(1.0 / inverse, [0, 2, 1]), drops[0], seeds, step)
    z = multiply(x, kernels[0] * (inverse / kept)) + biases[0] + tf.matmul(shift / kept, kernels[0])
    for layer in range(n_hidden):
        z = tf.nn.relu(z)
        if drops[1] is not None and mlp.has_dropout(layer, n_hidden):
            z = _drop(z, drops[1], seeds, step, layer + 1)
        z = multiply(z, kernels[layer + 1]) + biases[layer + 1]
    return z


def _drop_input(x, mean, rate, seeds, step):
    """Rows with some directions at their mean (zero once standardised), and the share that is kept."""
    stays, kept = _pattern(tf.shape(x)[1:], rate, seeds, step, 0)
    return tf.where(stays, x, mean), kept


def _drop(z, rate, seeds, step, layer: int):
    """Inverted dropout (Srivastava et al. 2014) of a hidden layer."""
    stays, kept = _pattern(tf.shape(z)[1:], rate, seeds, step, layer)
    return tf.where(stays, z, 0.0) / kept


def _pattern(shape, rate, seeds, step, layer: int):
    """What stays, bool (m, *shape), by each model's rate and seed, the step and the layer alone; and its share.

    One random byte a unit: a rate is rounded to a multiple of 1/256.
    """
    limits = tf.round(rate * 256.0)
    words = (tf.reduce_prod(shape) + 3) // 4

    def draw(own):
        seed, limit = own
        drawn = tf.random.stateless_uniform(
            (words,), tf.stack([seed * 64 + layer, step]), minval=None, maxval=None, dtype=tf.int32
        )
        octets = tf.reshape(tf.bitcast(drawn, tf.uint8), (-1,))[: tf.reduce_prod(shape)]
        return tf.reshape(octets >= tf.cast(limit, tf.uint8), shape)

    stays = tf.map_fn(draw, (seeds, limits), fn_output_signature=tf.bool)
    return stays, tf.reshape(1.0 - limits / 256.0, (-1, 1, 1))


def _adam(variables, steps, moved, rates, multipliers):
    params, _, m, v = variables
    at, rates = tf.reshape(steps, (-1, 1, 1)), tf.reshape(rates, (2, -1, 1, 1))
    size = rates[0] * tf.sqrt(1 - BETA2**at) / (1 - BETA1**at)
    new = [
        _adam_one(*own, size * k, rates[0] * rates[1] * k if number % 2 == 0 else 0.0)
        for number, (*own, k) in enumerate(zip(*variables, _twice(multipliers), strict=True))
    ]
    new = tuple([list(of_all) for of_all in zip(*new, strict=True)])
    # A model that has no rows left in this epoch stands still.
    which = tf.reshape(moved, (-1, 1, 1))
    old = (list(params), list(m), list(v))
    return tf.cond(
        tf.reduce_all(moved),
        lambda: new,
        lambda: tf.nest.map_structure(lambda n, o: tf.where(which, n, o), new, old),
    )


def _twice(multipliers):
    """One for the kernel and one for the bias of each layer."""
    return [k for k in multipliers for _ in range(2)]


def _adam_one(p, g, m, v, size, decay):
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * tf.square(g)
    return p - size * m / (tf.sqrt(v) + EPSILON) - decay * p, m, v


def _is_multilabel(loss: str, n_outputs: int) -> bool:
    # Two exclusive classes have one output.
    return loss == "binary_crossentropy" and n_outputs > 1


def _row_losses(loss: str, n_outputs: int):
    """Loss by row from logits: (m, batch[, labels]) truths and (m, batch, outputs) to (m, batch)."""
    if loss == "mean_squared_error":
        return lambda truth, z: tf.square(z[..., 0] - truth)
    if _is_multilabel(loss, n_outputs):
        return lambda truth, z: tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, z), axis=-1)
    if loss == "binary_crossentropy":
        return lambda truth, z: tf.nn.sigmoid_cross_entropy_with_logits(truth, z[..., 0])
    return lambda truth, z: tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(truth, tf.int32), z)


def _ordinal_losses(head: Head):
    """Return the same of a loss that knows an order, see `faceworkbook.training.ordinal_losses`."""
    measure = ordinal_losses.LOSSES[head.loss]
    return lambda truth, z: measure(head, tf.one_hot(tf.cast(truth, tf.int32), head.width), z)


def _row_metric(loss: str, n_outputs: int):
    """Hit (classes), share of right labels (yes/no) or absolute error (numbers) by row."""
    if loss == "mean_squared_error":
        return lambda truth, z: tf.abs(z[..., 0] - truth)
    if _is_multilabel(loss, n_outputs):
        return lambda truth, z: tf.reduce_mean(tf.cast((z > 0) == (truth > 0.5), tf.float32), axis=-1)
    if loss == "binary_crossentropy":
        return lambda truth, z: tf.cast((z[..., 0] > 0) == (truth > 0.5), tf.float32)
    return lambda truth, z: tf.cast(tf.argmax(z, axis=-1) == tf.cast(truth, tf.int64), tf.float32)
