"""Several tasks on one trunk: heads that share a descriptor, or any Keras network.

Parameter groups of a net, each with a learning rate of its own: ``trunk`` (a given network), ``shared`` (the
layers that all tasks share), and one a task, named like the task.  A layer's group stands in its name, before
the double underscore; a layer without one belongs to the trunk.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np

from faceworkbook.models import ordinal
from faceworkbook.models.cross_stitch import CrossStitch
from faceworkbook.tasks import ORDERED, PLUS, Labels, Task

HEADS = ("linear", "bottleneck", "stitch")
DTYPE_POLICIES = ("float32", "mixed_bfloat16")
MOST_FLOATS = 2**22  # that are predicted at a time: 27 pictures of 224 x 224
POOLS = ("average", "flatten")
TRUNK, SHARED = "trunk", "shared"
MARK = "__"
MOMENT_ROWS = 2048  # rows that are in memory at once while their mean and deviation are taken


@dataclass(frozen=True)
class Head:
    """What one head of a net predicts.

    Attributes
    ----------
    task : Task
    mean, scale : float
        Of a number over the training rows, in its unit: the head learns (value - mean) / scale.
    loss : {'cross_entropy', 'dldl_v2', 'sord', 'mean_variance', 'coral', 'or_cnn'}
        Of ordered classes, see `faceworkbook.training.ordinal_losses`; other tasks have one loss each.
    """

    task: Task
    mean: float = 0.0
    scale: float = 1.0
    loss: str = ordinal.CROSS_ENTROPY

    def __post_init__(self):
        plain = self.name.replace(PLUS, "_")
        if not plain.isidentifier() or MARK in self.name or self.name in (TRUNK, SHARED):
            raise ValueError(
                f"task name {self.name!r}; allowed are letters, digits and single underscores, "
                f"such names joined by '{PLUS}', and neither '{TRUNK}' nor '{SHARED}'"
            )
        if len(self.classes) == 1 and not self.task.is_multilabel:
            raise ValueError(
                f"task '{self.name}' has one class, {self.classes[0]!r}; it needs two or more, or none "
                "for a number"
            )
        if not self.scale > 0:
            raise ValueError(f"task '{self.name}' has scale {self.scale}; it must be above 0")
        if self.loss not in ordinal.LOSSES:
            raise ValueError(f"ordinal_loss={self.loss!r}; allowed are {list(ordinal.LOSSES)}")
        if self.loss != ordinal.CROSS_ENTROPY and self.task.kind != ORDERED:
            raise ValueError(
                f"ordinal_loss={self.loss!r} is for ordered classes, such as age_years or age_group; task "
                f"'{self.name}' is of kind {self.task.kind!r}"
            )

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def prefix(self) -> str:
        """What the names of the task's own layers begin with."""
        # TensorFlow's scopes allow no plus sign.
        return self.name.replace(PLUS, "-")

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes, in the order of the outputs; empty for a number."""
        return self.task.classes

    @property
    def is_number(self) -> bool:
        """Whether the head itself puts out a number."""
        return self.task.is_number

    @property
    def width(self) -> int:
        """Number of outputs of the head."""
        return len(self.classes) or 1

    def to_record(self) -> dict:
        """Return plain values that JSON knows."""
        record = {"task": self.task.to_record(), "mean": self.mean, "scale": self.scale}
        return record if self.loss == ordinal.CROSS_ENTROPY else {**record, "loss": self.loss}


def make_head(labels: Labels, *, rows: np.ndarray, ordinal_loss: str = ordinal.CROSS_ENTROPY) -> Head:
    """Make the head that learns `labels`; a number's mean and scale come from `rows` (training rows) alone.

    `ordinal_loss` is that of ordered classes; other tasks keep theirs.
    """
    if not labels.task.is_number:
        return Head(labels.task, loss=ordinal_loss if labels.task.kind == ORDERED else ordinal.CROSS_ENTROPY)
    values = labels.values[rows]
    known = values[~np.isnan(values)]
    if not len(known) or known.std() == 0:
        raise ValueError(
            f"target '{labels.name}' has {len(known)} known training values and no two that differ; "
            "there is nothing to learn: leave the target out, or train on rows where it is known and differs"
        )
    return Head(labels.task, float(known.mean()), float(known.std()))


@dataclass(frozen=True)
class MultitaskNet:
    """A network with one head a task.

    Attributes
    ----------
    model : keras.Model
        Input -> dict of task name to logits of shape (batch, n_classes), see `ordinal.class_logits`, or to the
        standardised number, shape (batch, 1).
    features : keras.Model
        Input -> dict of task name to what enters that task's last layer, shape (batch, width).
    heads : tuple of Head
    """

    model: keras.Model
    features: keras.Model
    heads: tuple[Head, ...]

    def head(self, name: str) -> Head:
        """Return the head of that task."""
        for head in self.heads:
            if head.name == name:
                return head
        raise ValueError(f"no task '{name}'; this net has {[t.name for t in self.heads]}")

    def layers_by_group(self) -> dict[str, list[keras.layers.Layer]]:
        """Return the layers that hold weights by parameter group: 'trunk', 'shared', then the tasks."""
        groups = {name: [] for name in (TRUNK, SHARED, *(t.name for t in self.heads))}
        of_prefix = {SHARED: SHARED, **{head.prefix: head.name for head in self.heads}}
        for layer in self.model.layers:
            prefix = layer.name.partition(MARK)[0] if MARK in layer.name else TRUNK
            if layer.weights:
                groups[of_prefix.get(prefix, TRUNK)].append(layer)
        return groups


@dataclass(frozen=True)
class HeadOptions:
    """What stands between a trunk and the outputs.

    Attributes
    ----------
    head : {'linear', 'bottleneck', 'stitch'}
        'linear': [batch norm] and a linear layer (the UTKFace multi-task system of 2018, first version).
        'bottleneck': [batch norm], Dense 16 tanh, dropout, linear (its second version); each task has its own
        sixteen, so that the learning rate of a head reaches all of it.  'stitch': shared Dense 1024 relu,
        Dense 128 relu a task, a cross-stitch unit with identity start, linear (arXiv 2003.06746).
    hidden : tuple of int
        Widths of further shared Dense relu layers, before the heads.
    batch_norm : bool
        Batch norm before each head (before the shared layers' relu for 'stitch').
    momentum : float, 0..1
        Share of the stored statistics that a batch leaves as they are. Over a trunk that changes they lag
        behind by about 1 / (1 - momentum) steps.
    dropout : float, 0..1
        After each hidden layer and after the sixteen of a bottleneck.
    stitch_widths : (int, int)
        Widths of the shared and of each task's layer in 'stitch'.
    pool : {'average', 'flatten'}
        How a trunk's (h, w, d) becomes a vector.
    dtype_policy : {'float32', 'mixed_bfloat16'}
        What the layers between trunk and outputs compute in; weights, standardisation, outputs and losses stay in float32.
    """

    head: str = "linear"
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    momentum: float = 0.99
    dropout: float = 0.5
    stitch_widths: tuple[int, int] = (1024, 128)
    pool: str = "average"
    dtype_policy: str = "float32"

    def __post_init__(self):
        if self.dtype_policy not in DTYPE_POLICIES:
            raise ValueError(f"dtype_policy={self.dtype_policy!r}; allowed are {list(DTYPE_POLICIES)}")
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r}; allowed are {list(HEADS)}")
        if self.pool not in POOLS:
            raise ValueError(f"pool={self.pool!r}; allowed are {list(POOLS)}")


def build(
    trunk: keras.Model | int,
    heads: list[Head],
    *,
    standardise: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    **options,
) -> MultitaskNet:
    """Put one head a task on a trunk.

    Parameters
    ----------
    trunk : keras.Model or int
        A network whose output is (batch, d) or (batch, h, w, d); or d, the width of descriptors that are
        fed as they are.
    heads : list of Head
    standardise : (mean, standard deviation), ndarrays of shape (d,), optional
        Of the trunk's output (of the descriptors, for an identity trunk) over the training rows; stored in
        the net, so that inference sees the same numbers.
    seed : int
        Of the initial weights and of dropout.
    **options
        Fields of `HeadOptions`.
    """
    chosen = HeadOptions(**options)
    names = [task.name for task in heads]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"tasks are named {names}; give at least one, each name once")
    hidden = chosen.hidden
    seeds = iter(np.random.default_rng(seed).integers(2**31, size=4 * len(heads) + 2 * len(hidden) + 4))
    make_norm = functools.partial(keras.layers.BatchNormalization, momentum=chosen.momentum)
    norm = make_norm if chosen.batch_norm else None
    options = {"norm": norm, "dropout": chosen.dropout, "seeds": seeds}
    inputs, x = _enter(trunk, chosen.pool)
    if standardise is not None:
        x = _standardiser(*standardise)(x)
    makers = {"linear": _linear_features, "bottleneck": _bottleneck_features, "stitch": _stitch_features}
    widths = {"widths": chosen.stitch_widths} if chosen.head == "stitch" else {}
    with _computing_in(chosen.dtype_policy):
        for position, width in enumerate(hidden):
            x = _hidden(x, width, f"{SHARED}{MARK}hidden{position + 1}", **options)
        features = makers[chosen.head](x, heads, **widths, **options)
    if chosen.dtype_policy != "float32":
        features = {t.name: _as_float32(features[t.name], t.prefix) for t in heads}
    outputs = {t.name: _logits(t, features[t.name], seeds) for t in heads}
    return MultitaskNet(keras.Model(inputs, outputs), keras.Model(inputs, features), tuple(heads))


@contextlib.contextmanager
def _computing_in(policy: str) -> Iterator[None]:
    """Let layers that are made within a ``with`` compute under a policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _as_float32(x, prefix: str):
    return keras.layers.Activation("linear", dtype="float32", name=f"{prefix}{MARK}float32")(x)


def _enter(trunk: keras.Model | int, pool: str):
    if isinstance(trunk, int):
        inputs = keras.Input((trunk,), name="descriptor")
        return inputs, inputs
    inputs, x = trunk.inputs[0], trunk.outputs[0]
    if len(x.shape) == 2:
        return inputs, x
    layer = keras.layers.GlobalAveragePooling2D if pool == "average" else keras.layers.Flatten
    return inputs, layer(name=f"{SHARED}{MARK}pool")(x)


def _standardiser(mean: np.ndarray, deviation: np.ndarray) -> keras.layers.Layer:
    # A constant column says nothing; dividing by a tiny number would let it shout on new faces.
    scale = np.where(deviation > 1e-6, deviation, 1.0)
    return keras.layers.Normalization(mean=mean, variance=scale**2, name=f"{SHARED}{MARK}standardise")


def standardiser(matrix: np.ndarray, *, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the columns of `matrix` over `rows` (training rows), float32."""
    return _moments(
        matrix[block] for block in np.array_split(np.sort(rows), max(1, -(-len(rows) // MOMENT_ROWS)))
    )


def _moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # Block by block (Chan, Golub and LeVeque 1983), so that a memory-mapped matrix is never loaded.
    n, mean, squares = 0, 0.0, 0.0
    for block in blocks:
        here = np.asarray(block, dtype=np.float64)
        step = here.mean(axis=0) - mean
        both = n + len(here)
        squares = squares + here.var(axis=0) * len(here) + step**2 * (n * len(here) / both)
        mean, n = mean + step * (len(here) / both), both
    return mean.astype(np.float32), np.sqrt(squares / n).astype(np.float32)


def _dense(width: int, name: str, seeds, activation=None) -> keras.layers.Dense:
    start = keras.initializers.GlorotUniform(seed=int(next(seeds)))
    return keras.layers.Dense(width, activation=activation, kernel_initializer=start, name=name)


def _logits(head: Head, features, seeds):
    if head.loss == ordinal.OR_CNN:
        return _dense(head.width - 1, f"{head.prefix}{MARK}logits", seeds)(features)
    if head.loss != ordinal.CORAL:
        return _dense(head.width, f"{head.prefix}{MARK}logits", seeds)(features)
    score = _dense(1, f"{head.prefix}{MARK}score", seeds)(features)
    return ordinal.OrderedLogits(head.width, name=f"{head.prefix}{MARK}logits")(score)


def _hidden(x, width: int, name: str, *, norm, dropout: float, seeds):
    x = _dense(width, name, seeds)(x)
    if norm:
        x = norm(name=f"{name}_norm")(x)
    x = keras.layers.Activation("relu", name=f"{name}_relu")(x)
    return _dropped(x, dropout, f"{name}_dropout", seeds)


def _dropped(x, dropout: float, name: str, seeds):
    seed = int(next(seeds))
    return keras.layers.Dropout(dropout, seed=seed, name=name)(x) if dropout else x


def _linear_features(x, heads, *, norm, dropout: float, seeds) -> dict:
    if not norm:
        return {t.name: keras.layers.Identity(name=f"{t.prefix}{MARK}features")(x) for t in heads}
    return {t.name: norm(name=f"{t.prefix}{MARK}norm")(x) for t in heads}


def _bottleneck_features(x, heads, *, norm, dropout: float, seeds) -> dict:
    entered = _linear_features(x, heads, norm=norm, dropout=0.0, seeds=seeds)
    narrow = {t.name: _dense(16, f"{t.prefix}{MARK}narrow", seeds, "tanh")(entered[t.name]) for t in heads}
    return {t.name: _dropped(narrow[t.name], dropout, f"{t.prefix}{MARK}dropout", seeds) for t in heads}


def _stitch_features(x, heads, *, widths, norm, dropout: float, seeds) -> dict:
    x = _hidden(x, widths[0], f"{SHARED}{MARK}wide", norm=norm, dropout=dropout, seeds=seeds)
    own = [_dense(widths[1], f"{t.prefix}{MARK}own", seeds, "relu")(x) for t in heads]
    if len(heads) == 1:
        return {heads[0].name: own[0]}
    stitched = CrossStitch(name=f"{SHARED}{MARK}stitch")(own)
    return {t.name: features for t, features in zip(heads, stitched, strict=True)}


def start_from(net: MultitaskNet, other: MultitaskNet) -> None:
    """Give a net the weights of another one in all layers that both have, such as those of a net with one of its tasks.

    What the other does not have, further heads or a cross-stitch unit, stays as it is.
    """
    names = {layer.name for layer in other.model.layers}
    for layer in net.model.layers:
        if layer.weights and layer.name in names:
            layer.set_weights(other.model.get_layer(layer.name).get_weights())


def predict(net: MultitaskNet, x, *, rows: np.ndarray | None = None, batch_size: int = 512) -> dict:
    """Predict rows with the net.

    Parameters
    ----------
    x : ndarray, first axis = faces
        What the trunk takes; sliced in batches, so a memory-mapped matrix is not loaded whole.
    rows : ndarray of int, optional
        Which rows; all of them by default.

    Returns
    -------
    dict of str to ndarray
        Classes: probabilities of shape (n, n_classes) in the order of the task's classes; rows of exclusive
        classes add up to 1.  Numbers: shape (n,), in the task's unit.
    """
    raw = forward(net.model, x, rows=rows, batch_size=batch_size)
    return {task.name: _readable(task, raw[task.name]) for task in net.heads}


def forward(model: keras.Model, x, *, rows: np.ndarray | None = None, batch_size: int = 512) -> dict:
    """Return the outputs of a model with named outputs, in inference mode; dict of str to float32 ndarray.

    Pictures go in smaller batches: what the layers of a network make of one is kept until the last has run.
    """
    rows = np.arange(len(x)) if rows is None else np.asarray(rows)
    floats = math.prod(size or 1 for size in model.inputs[0].shape[1:])
    batch_size = max(1, min(batch_size, MOST_FLOATS // floats))
    starts = range(0, max(len(rows), 1), batch_size)
    blocks = [model(np.asarray(x[rows[s : s + batch_size]]), training=False) for s in starts]
    return {
        name: np.concatenate([keras.ops.convert_to_numpy(block[name]) for block in blocks])
        for name in blocks[0]
    }


def _readable(task: Head, raw: np.ndarray) -> np.ndarray:
    if task.is_number:
        return raw[:, 0].astype(np.float64) * task.scale + task.mean
    if task.task.is_multilabel:
        return 1 / (1 + np.exp(-raw.astype(np.float64)))
    raw = np.asarray(ordinal.class_logits(task.loss, raw))
    shifted = np.exp(raw.astype(np.float64) - raw.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def serving_model(net: MultitaskNet) -> keras.Model:
    """Make the model to save: its outputs are probabilities, and numbers in their units, by task name."""
    outputs = {task.name: _readable_output(task, net.model) for task in net.heads}
    return keras.Model(net.model.input, outputs)


def _readable_output(task: Head, model: keras.Model):
    if task.loss == ordinal.OR_CNN:
        return ordinal.rank_probabilities(model.output[task.name], f"{task.prefix}{MARK}probabilities")
    if task.loss != ordinal.CORAL:
        return _readable_layer(task)(model.output[task.name])
    layer = model.get_layer(f"{task.prefix}{MARK}logits")
    above, classes = layer.probabilities(f"{task.prefix}{MARK}probabilities")
    return classes(above(layer.input))


def _readable_layer(task: Head) -> keras.layers.Layer:
    if task.is_number:
        return keras.layers.Rescaling(task.scale, offset=task.mean, name=f"{task.prefix}{MARK}unit")
    if task.task.is_multilabel:
        return keras.layers.Activation("sigmoid", name=f"{task.prefix}{MARK}probabilities")
    return keras.layers.Softmax(axis=-1, name=f"{task.prefix}{MARK}probabilities")
