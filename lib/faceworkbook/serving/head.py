"""A head that numpy evaluates: the layers of a small Keras model as a list of steps, its weights as arrays.

Nothing of it is code: a step names one of `OPERATIONS`, its inputs, its outputs and its arrays. Reading one
imports neither Keras nor TensorFlow.

Steps
-----
``scale``: x * array[0] + array[1], column by column (standardisation, batch norm, units of a number).
``dense``: x @ array[0] + array[1].
``activation``: one of `ACTIVATIONS`.
``add``, ``concatenate``: of several inputs.
``root``: signed square root of every column, rows of length 1 (see `faceworkbook.models.kernel`).
``gaussian``: exp(-array[1] * squared distance to the rows of array[0]).
``clip``: within array[0] and array[1].
``sort``: the columns of each row in rising order.
``mix``: the T inputs mixed by array[0] of shape (T, T), T outputs (cross-stitch).
``columns``: columns ``first`` up to ``last`` of x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

INPUT = "descriptor"
MAX_STEPS = 1000
_BLOCK = 4096
_TINY = np.float32(1e-12)  # keeps an empty descriptor from dividing by 0


class HeadError(ValueError):
    """A model that cannot be written as steps, or steps that make no head; the text says what is wrong."""


def _relu(x):
    return np.maximum(x, 0)


def _sigmoid(x):
    # Of the two forms each is exact where the other would overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _softmax(x):
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


ACTIVATIONS: dict[str, Callable] = {
    "linear": lambda x: x,
    "relu": _relu,
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softmax": _softmax,
    "silu": lambda x: x * _sigmoid(x),
}


@dataclass(frozen=True, eq=False)
class Head:
    """Steps from a descriptor to the outputs of one or more tasks.

    Attributes
    ----------
    width : int
        Of the descriptors.
    steps : tuple of dict
        ``operation``, ``inputs``, ``outputs``, ``arrays`` (names), and ``activation`` or ``first`` and ``last``.
    outputs : dict of str to str
        What a task's probabilities (or number) are called among the steps' outputs.
    arrays : dict of str to ndarray, float32
    """

    width: int
    steps: tuple[dict, ...]
    outputs: dict[str, str]
    arrays: Mapping[str, np.ndarray]

    def run(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        """Return each task's output for descriptors.

        Parameters
        ----------
        matrix : ndarray of shape (n, width)

        Returns
        -------
        dict of str to ndarray of shape (n, n_outputs), float32
            See `faceworkbook.tasks.Task.decode`.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise HeadError(
                f"descriptors have shape {matrix.shape}; this head takes (n, {self.width}), of the network and "
                "tap that it was fitted on"
            )
        starts = range(0, max(len(matrix), 1), _BLOCK)
        blocks = [self._run_block(np.asarray(matrix[s : s + _BLOCK], np.float32)) for s in starts]
        return {task: np.concatenate([block[task] for block in blocks]) for task in self.outputs}

    def _run_block(self, x: np.ndarray) -> dict[str, np.ndarray]:
        values = {INPUT: x}
        for step in self.steps:
            inputs = [values[name] for name in step["inputs"]]
            made = OPERATIONS[step["operation"]](inputs, [self.arrays[a] for a in step["arrays"]], step)
            values.update(zip(step["outputs"], made, strict=True))
        return {task: values[name] for task, name in self.outputs.items()}

    def to_record(self) -> dict:
        """Return all but the arrays, in plain types."""
        return {"width": self.width, "steps": list(self.steps), "outputs": self.outputs}

    @classmethod
    def from_record(cls, record: Mapping, arrays: Mapping[str, np.ndarray]) -> Head:
        """Read what `to_record` wrote; every name, operation and shape is checked by a run on zeros.

        Raises
        ------
        HeadError
            Steps that do not lead from a descriptor to the outputs.
        """
        try:
            steps, outputs = record["steps"], record["outputs"]
            width = _check_record(record["width"], steps, outputs)
            made = cls(
                width, tuple(map(_read_step, steps)), {str(t): str(o) for t, o in outputs.items()}, arrays
            )
            with np.errstate(all="ignore"):
                made.run(np.zeros((1, width), np.float32))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, MemoryError) as error:
            raise HeadError(f"the head's steps cannot be run ({type(error).__name__}: {error})") from error
        return made


def _check_record(width, steps, outputs) -> int:
    if not (isinstance(width, int) and 1 <= width <= 2**20):
        raise HeadError(f"width={width!r}; allowed are whole numbers of 1 to {2**20:,}")
    if not (isinstance(steps, list) and len(steps) <= MAX_STEPS and isinstance(outputs, dict) and outputs):
        raise HeadError(f"expected a list of at most {MAX_STEPS} steps, and outputs by task")
    return width


def _read_step(step: Mapping) -> dict:
    kept = {name: [str(v) for v in step[name]] for name in ("inputs", "outputs", "arrays")}
    if step["operation"] not in OPERATIONS:
        raise HeadError(f"operation {step['operation']!r}; allowed are {sorted(OPERATIONS)}")
    kept["operation"] = step["operation"]
    if kept["operation"] == "activation":
        if step["activation"] not in ACTIVATIONS:
            raise HeadError(f"activation {step['activation']!r}; allowed are {sorted(ACTIVATIONS)}")
        kept["activation"] = step["activation"]
    if kept["operation"] == "columns":
        kept |= {"first": int(step["first"]), "last": int(step["last"])}
    return kept


def _root(inputs: list, arrays: list, step: dict) -> list:
    size = np.abs(inputs[0])
    return [np.sign(inputs[0]) * np.sqrt((size + _TINY) / (size.sum(axis=1, keepdims=True) + _TINY))]


def _gaussian(inputs: list, arrays: list, step: dict) -> list:
    x, (landmarks, gamma) = inputs[0], arrays
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(landmarks).sum(axis=1)
    return [np.exp(-gamma * np.maximum(lengths - 2 * (x @ landmarks.T), 0))]


def _mix(inputs: list, arrays: list, step: dict) -> list:
    return list(np.einsum("ij,jbw->ibw", arrays[0], np.stack(inputs)))


OPERATIONS: dict[str, Callable[[list, list, dict], Sequence[np.ndarray]]] = {
    "scale": lambda inputs, arrays, step: [inputs[0] * arrays[0] + arrays[1]],
    "dense": lambda inputs, arrays, step: [inputs[0] @ arrays[0] + arrays[1]],
    "activation": lambda inputs, arrays, step: [ACTIVATIONS[step["activation"]](inputs[0])],
    "add": lambda inputs, arrays, step: [np.sum(inputs, axis=0)],
    "concatenate": lambda inputs, arrays, step: [np.concatenate(inputs, axis=1)],
    "columns": lambda inputs, arrays, step: [inputs[0][:, step["first"] : step["last"]]],
    "mix": _mix,
    "root": _root,
    "gaussian": _gaussian,
    "clip": lambda inputs, arrays, step: [np.clip(inputs[0], arrays[0], arrays[1])],
    "sort": lambda inputs, arrays, step: [np.sort(inputs[0], axis=1)],
}


def join(heads: Mapping[str, Head]) -> Head:
    """Return one head with the tasks of several that read the same descriptors.

    Parameters
    ----------
    heads : mapping of str to Head
        By a name that keeps their arrays apart.

    Raises
    ------
    HeadError
        Different widths, or a task that two heads have.
    """
    widths = {head.width for head in heads.values()}
    tasks = [task for head in heads.values() for task in head.outputs]
    if len(widths) != 1 or len(set(tasks)) != len(tasks):
        raise HeadError(f"heads of widths {sorted(widths)} and tasks {tasks}; give one width, each task once")
    steps, outputs, arrays = [], {}, {}
    for name, head in heads.items():
        steps += [_renamed(step, name) for step in head.steps]
        outputs |= {task: _rename(output, name) for task, output in head.outputs.items()}
        arrays |= {f"{name}/{array}": values for array, values in head.arrays.items()}
    return Head(widths.pop(), tuple(steps), outputs, arrays)


def _rename(value: str, name: str) -> str:
    return value if value == INPUT else f"{name}/{value}"


def _renamed(step: dict, name: str) -> dict:
    return step | {key: [_rename(v, name) for v in step[key]] for key in ("inputs", "outputs", "arrays")}
