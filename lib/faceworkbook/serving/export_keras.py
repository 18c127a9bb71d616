"""A predictor as one Keras model: pictures in, calibrated probabilities and numbers out.

Layers and operations that Keras has itself, so that the file is read in safe mode and without this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from faceworkbook import backbones
from faceworkbook.images import Preprocessing
from faceworkbook.preprocessing import GREY_WEIGHTS
from faceworkbook.serving.answers import SMALLEST, Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import Network
from faceworkbook.serving.export_graph import VALUE, input_names
from faceworkbook.serving.head import INPUT, Head
from faceworkbook.serving.predictor import Predictor


def build(predictor: Predictor):
    """Return the model.

    Parameters
    ----------
    predictor : Predictor

    Returns
    -------
    keras.Model
        Inputs and outputs are named as in `export_graph.build`; the outputs are a dict.

    Raises
    ------
    PredictorError
        A network that is an ONNX graph.
    """
    keras = backbones.import_keras()
    names, preprocessings = input_names(predictor), predictor.describer.preprocessings
    pictures = {
        each: keras.Input((*each.size, 3), dtype="uint8", name=name)
        for name, each in zip(names, preprocessings, strict=True)
    }
    columns = [
        _add_network(network, path, pictures[network.preprocessing], number)
        for number, (network, path) in enumerate(
            zip(predictor.describer.networks, predictor.describer.weights, strict=True)
        )
    ]
    descriptor = columns[0] if len(columns) == 1 else keras.ops.concatenate(columns, axis=1)
    answered = _add_head(predictor.head, descriptor)
    outputs = {}
    for one in predictor.answering:
        outputs |= _make_answer(one, answered[one.task.name])
    return keras.Model(list(pictures.values()), outputs, name="faceworkbook")


def _add_network(network: Network, path: Path, picture, number: int):
    if network.is_graph:
        raise PredictorError(
            f"{network.name} is in the predictor as an ONNX graph, of which no Keras model is made; export it with --to onnx"
        )
    backbone = backbones.load(network.name, weights=path, tap=network.tap).mirrored(network.mirror)
    if backbone.graph is not None:
        raise PredictorError(
            f"{network.name} is an ONNX network, of which no Keras model is made; export it with --to onnx"
        )
    return backbone.model(_prepare(picture, network.preprocessing, number))


def _prepare(picture, preprocessing: Preprocessing, number: int):
    """Do what `preprocessing.network_input` does; order, mean and scale are one linear layer."""
    layers = backbones.import_keras().layers
    x = layers.Rescaling(1.0, name=f"pixels_{number}")(picture)
    kernel = np.eye(3)[:, ::-1] if preprocessing.channels == "BGR" else np.eye(3)
    if preprocessing.channels == "GRAY":
        kernel = np.array(GREY_WEIGHTS)[:, None]
    scale, mean = np.ravel(preprocessing.scale), np.array(preprocessing.mean)
    x = _linear(x, kernel * scale, -mean * scale, name=f"preprocessing_{number}")
    if preprocessing.prewhiten:
        normalise = layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False, epsilon=1e-12)
        return normalise(x)
    return x


def _linear(x, kernel: np.ndarray, bias: np.ndarray, *, name: str | None = None):
    layer = backbones.import_keras().layers.Dense(kernel.shape[1], trainable=False, name=name)
    made = layer(x)
    layer.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])
    return made


def _add_head(head: Head, descriptor) -> dict:
    tensors = {INPUT: descriptor}
    for step in head.steps:
        inputs = [tensors[name] for name in step["inputs"]]
        arrays = [head.arrays[name] for name in step["arrays"]]
        tensors |= dict(zip(step["outputs"], STEPS[step["operation"]](inputs, arrays, step), strict=True))
    return {task: tensors[name] for task, name in head.outputs.items()}


def _scale(inputs: list, arrays: list, step: Mapping) -> list:
    width = inputs[0].shape[-1]
    factor, shift = (np.broadcast_to(array, width) for array in arrays)
    layer = backbones.import_keras().layers.BatchNormalization(epsilon=0.0, trainable=False)
    made = layer(inputs[0])
    layer.set_weights([factor, shift, np.zeros(width), np.ones(width)])
    return [made]


def _activation(inputs: list, arrays: list, step: Mapping) -> list:
    return [backbones.import_keras().layers.Activation(step["activation"])(inputs[0])]


def _add(inputs: list, arrays: list, step: Mapping) -> list:
    return [backbones.import_keras().layers.Add()(inputs) if len(inputs) > 1 else inputs[0]]


def _concatenate(inputs: list, arrays: list, step: Mapping) -> list:
    return [backbones.import_keras().ops.concatenate(inputs, axis=1)]


def _columns(inputs: list, arrays: list, step: Mapping) -> list:
    return [inputs[0][:, step["first"] : step["last"]]]


def _mix(inputs: list, arrays: list, step: Mapping) -> list:
    return [sum(x * float(a) for x, a in zip(inputs, row, strict=True)) for row in arrays[0]]


def _root(inputs: list, arrays: list, step: Mapping) -> list:
    ops = backbones.import_keras().ops
    size = ops.abs(inputs[0])
    total = ops.sum(size, axis=1, keepdims=True)
    return [ops.sign(inputs[0]) * ops.sqrt((size + 1e-12) / (total + 1e-12))]


def _gaussian(inputs: list, arrays: list, step: Mapping) -> list:
    ops, (landmarks, gamma) = backbones.import_keras().ops, arrays
    own = ops.sum(ops.square(inputs[0]), axis=1, keepdims=True)
    other = _linear(inputs[0], -2 * landmarks.T, np.square(landmarks).sum(axis=1))
    return [ops.exp(ops.relu(own + other) * -float(gamma[0]))]


def _clip(inputs: list, arrays: list, step: Mapping) -> list:
    return [backbones.import_keras().ops.clip(inputs[0], *(float(bound[0]) for bound in arrays))]


STEPS: dict[str, Callable[[list, list, Mapping], list]] = {
    "scale": _scale,
    "dense": lambda inputs, arrays, step: [_linear(inputs[0], *arrays)],
    "activation": _activation,
    "add": _add,
    "concatenate": _concatenate,
    "columns": _columns,
    "mix": _mix,
    "root": _root,
    "gaussian": _gaussian,
    "clip": _clip,
    "sort": lambda inputs, arrays, step: [backbones.import_keras().ops.sort(inputs[0], axis=-1)],
}


def _make_answer(one: Answering, output) -> dict:
    ops, task = backbones.import_keras().ops, one.task
    if task.is_number:
        return {task.name: ops.squeeze(output, axis=1)}
    if task.is_binary and output.shape[1] == 1:
        output = _linear(output, np.array([[-1, 1]]), np.array([1, 0]))
    shares = ops.clip(output, 0.0, 1.0)
    if task.is_exclusive:
        # The soft-max of logarithms divides by the sum, whatever the temperature.
        shares = ops.softmax(ops.log(ops.maximum(shares, SMALLEST)) / one.temperature, axis=1)
    elif one.label_temperatures:
        logs = [ops.log(ops.maximum(each, SMALLEST)) for each in (shares, 1.0 - shares)]
        shares = ops.sigmoid((logs[0] - logs[1]) / one.temperatures.astype(np.float32))
    made = {task.name: shares}
    if task.class_values:
        values = np.array(task.class_values)[:, None]
        made[VALUE.format(task.name)] = ops.squeeze(_linear(shares, values, np.zeros(1)), axis=1)
    return made
