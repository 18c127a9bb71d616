"""Translate a small Keras model on descriptors into a `Head`, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceworkbook.serving.head import ACTIVATIONS, INPUT, Head, HeadError


def translate(model, task: str = "", *, start=None) -> Head:
    """Return the steps of a Keras functional model.

    Parameters
    ----------
    model : keras.Model
        Outputs by task, or one output.
    task : str
        What the one output is of.
    start : keras tensor, optional
        Where the descriptor is read, (batch, d); the model's input where None. What comes before is left out.

    Raises
    ------
    HeadError
        A layer that has no translation; the text names it.
    """
    if not hasattr(model, "_nodes_by_depth"):
        raise HeadError(
            f"a {type(model).__name__} cannot be written down without pickling it; a predictor is written of Keras "
            "models, such as classifier='mlp', 'linear' or 'kernel'"
        )
    start = model.inputs[0] if start is None else start
    steps = Steps({id(start): INPUT})
    wanted = model.output if isinstance(model.output, dict) else {task: model.outputs[0]}
    for node in _nodes(model, list(wanted.values()), start):
        _translate_node(steps, node)
    outputs = {name: steps.names[id(tensor)] for name, tensor in wanted.items()}
    return Head(int(start.shape[-1]), tuple(steps.made), outputs, steps.arrays)


def _nodes(model, outputs: list, start) -> list:
    """Return the nodes between `start` and `outputs`, in the order in which they are computed."""
    every = [n for depth in sorted(model._nodes_by_depth, reverse=True) for n in model._nodes_by_depth[depth]]
    needed, wanted = [], {id(tensor) for tensor in outputs}
    for node in reversed(every):
        made = {id(tensor) for tensor in node.outputs}
        if id(start) in made or node.is_input or not made & wanted:
            continue
        needed.append(node)
        wanted |= {id(tensor) for tensor in node.input_tensors}
    return needed[::-1]


class Steps:
    """Steps of a head that are added one by one; `names` has what each tensor is called."""

    def __init__(self, names: dict[int, str]):
        self.names, self.made, self.arrays = names, [], {}

    def add(
        self, operation: str, inputs: list[str], arrays: tuple = (), *, n_outputs: int = 1, **more
    ) -> list[str]:
        """Add a step; return the names of its outputs."""
        outputs = [f"t{len(self.made)}" + (f".{i}" if n_outputs > 1 else "") for i in range(n_outputs)]
        names = [f"a{len(self.arrays) + i}" for i in range(len(arrays))]
        self.arrays.update({n: np.asarray(a, np.float32) for n, a in zip(names, arrays, strict=True)})
        step = {"operation": operation, "inputs": inputs, "outputs": outputs, "arrays": names, **more}
        self.made.append(step)
        return outputs


def _translate_node(steps: Steps, node) -> None:
    layer, kind = node.operation, type(node.operation).__name__
    if kind not in _TRANSLATIONS:
        raise HeadError(f"layer {layer.name} is a {kind}, which has no translation to numpy here")
    lacking = [tensor for tensor in node.input_tensors if id(tensor) not in steps.names]
    if lacking:
        raise HeadError(f"layer {layer.name} reads more than the descriptor")
    outputs = _TRANSLATIONS[kind](steps, layer, [steps.names[id(tensor)] for tensor in node.input_tensors])
    for tensor, name in zip(node.outputs, outputs, strict=True):
        steps.names[id(tensor)] = name


def _activate(steps: Steps, name: str, x: list[str], layer) -> list[str]:
    if name not in ACTIVATIONS:
        raise HeadError(f"layer {layer.name} has the activation {name}; translated are {sorted(ACTIVATIONS)}")
    return x if name == "linear" else steps.add("activation", x, activation=name)


def _dense(steps: Steps, layer, inputs: list[str]) -> list[str]:
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(kernel.shape[-1])
    return _activate(steps, layer.activation.__name__, steps.add("dense", inputs, (kernel, bias)), layer)


def _normalization(steps: Steps, layer, inputs: list[str]) -> list[str]:
    mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in (layer.mean, layer.variance))
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    factor, shift = (factor, -mean * factor) if not layer.invert else (1 / factor, mean)
    return steps.add("scale", inputs, (factor, shift))


def _batch_normalization(steps: Steps, layer, inputs: list[str]) -> list[str]:
    mean, variance = (np.asarray(v.numpy(), np.float64) for v in (layer.moving_mean, layer.moving_variance))
    gamma = layer.gamma.numpy() if layer.scale else 1.0
    beta = layer.beta.numpy() if layer.center else 0.0
    factor = gamma / np.sqrt(variance + layer.epsilon)
    return steps.add("scale", inputs, (factor, beta - mean * factor))


def _rescaling(steps: Steps, layer, inputs: list[str]) -> list[str]:
    return steps.add("scale", inputs, (np.atleast_1d(layer.scale), np.atleast_1d(layer.offset)))


def _gaussian(steps: Steps, layer, inputs: list[str]) -> list[str]:
    return steps.add("gaussian", inputs, (layer.landmarks.numpy(), layer.gamma.numpy()))


def _clip(steps: Steps, operation, inputs: list[str]) -> list[str]:
    return steps.add("clip", inputs, tuple(np.atleast_1d(v) for v in (operation.x_min, operation.x_max)))


def _sort(steps: Steps, operation, inputs: list[str]) -> list[str]:
    if operation.axis not in (1, -1):
        raise HeadError(
            f"a sort along axis {operation.axis} has no translation; translated is that of columns, -1"
        )
    return steps.add("sort", inputs)


def _columns(steps: Steps, layer, inputs: list[str]) -> list[str]:
    return steps.add("columns", inputs, first=layer.first, last=layer.last)


def _cross_stitch(steps: Steps, layer, inputs: list[str]) -> list[str]:
    return steps.add("mix", inputs, (layer.alpha.numpy(),), n_outputs=len(inputs))


_TRANSLATIONS: dict[str, Callable] = {
    "Dense": _dense,
    "Normalization": _normalization,
    "BatchNormalization": _batch_normalization,
    "Rescaling": _rescaling,
    "CrossStitch": _cross_stitch,
    "Columns": _columns,
    "Root": lambda steps, layer, inputs: steps.add("root", inputs),
    "GaussianKernel": _gaussian,
    "Clip": _clip,
    "Sort": _sort,
    "Dropout": lambda steps, layer, inputs: inputs,
    "Identity": lambda steps, layer, inputs: inputs,
    "Activation": lambda steps, layer, inputs: _activate(steps, layer.activation.__name__, inputs, layer),
    "ReLU": lambda steps, layer, inputs: _activate(steps, "relu", inputs, layer),
    "Softmax": lambda steps, layer, inputs: _activate(steps, "softmax", inputs, layer),
    "Add": lambda steps, layer, inputs: steps.add("add", inputs),
    "Concatenate": lambda steps, layer, inputs: steps.add("concatenate", inputs),
}
