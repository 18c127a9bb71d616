"""Part a graph into the 3 x 3 convolutions that it begins with, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.onnx_graph import INPUT, OUTPUT

LEAST = 2  # convolutions that make it worthwhile


class UnsuitedGraph(ValueError):
    """A network that does not begin with such convolutions."""


@dataclass(frozen=True)
class Convolution:
    """A 3 x 3 convolution of stride 1 that keeps the size, with ReLU, and perhaps 2 x 2 max-pooling.

    kernel : ndarray of shape (3, 3, inputs, outputs), float32
    bias : ndarray of shape (outputs,), float32
    height, width : int
        Of its input in pixels.
    """

    kernel: np.ndarray
    bias: np.ndarray
    height: int
    width: int
    pools: bool

    @property
    def inputs(self) -> int:
        return self.kernel.shape[2]

    @property
    def outputs(self) -> int:
        return self.kernel.shape[3]

    @property
    def output_size(self) -> tuple[int, int]:
        return (self.height // 2, self.width // 2) if self.pools else (self.height, self.width)


def split(path: Path) -> tuple[list[Convolution], object]:
    """Part a graph into its first convolutions and the rest.

    Parameters
    ----------
    path : pathlib.Path
        Written by `onnx_graph.write`.

    Returns
    -------
    list of Convolution
        Their kernels and biases lie in the weights file until they are read.
    onnx.ModelProto
        'input' is the last convolution's output, (n, channels, height, width).

    Raises
    ------
    UnsuitedGraph
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    weights = {proto.name: proto for proto in model.graph.initializer}
    nodes = list(model.graph.node)
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    layers, used = [], 0
    for count, node, pools in _leading(nodes):
        kernel, bias = (_array(weights[name], path.parent) for name in node.input[1:])
        layer = Convolution(kernel.transpose(2, 3, 1, 0), bias, height, width, pools)
        layers.append(layer)
        used, (height, width) = count, layer.output_size
    if len(layers) < LEAST or layers[0].pools:
        raise UnsuitedGraph(
            f"{path.name} begins with {len(layers)} 3 x 3 convolutions of stride 1 with ReLU; at least {LEAST} "
            "are expected, without pooling after the first"
        )
    return layers, _rest_of(model, nodes, used, (layers[-1].outputs, height, width))


def _leading(nodes: list) -> Iterator[tuple[int, object, bool]]:
    """Of each convolution at the graph's start: nodes up to its end, its node, and whether it pools."""
    i = 0
    while (
        i + 1 < len(nodes) and _fits(nodes[i]) and nodes[i + 1].op_type == "Relu" and _is_chain(nodes, i + 2)
    ):
        pools = i + 2 < len(nodes) and _halves(nodes[i + 2]) and _is_chain(nodes, i + 3)
        i, node = i + 2 + pools, nodes[i]
        yield i, node, pools


def _is_chain(nodes: list, end: int) -> bool:
    """Whether nothing after `end` reads what lies before it, other than the last result."""
    before = {name for node in nodes[: end - 1] for name in node.output} | {INPUT}
    return not any(name in before for node in nodes[end:] for name in node.input)


def _attributes(node) -> dict:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _fits(node) -> bool:
    if node.op_type != "Conv" or len(node.input) != 3:
        return False
    wanted = {
        "kernel_shape": [3, 3],
        "strides": [1, 1],
        "dilations": [1, 1],
        "pads": [1, 1, 1, 1],
        "group": 1,
    }
    return {**wanted, **_attributes(node)} == wanted


def _halves(node) -> bool:
    wanted = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    return node.op_type == "MaxPool" and _attributes(node) == wanted


def _array(proto, folder: Path) -> np.ndarray:
    """A weight, not read from its file before it is used."""
    from onnx import numpy_helper

    if not proto.external_data:
        return numpy_helper.to_array(proto)
    entry = {e.key: e.value for e in proto.external_data}
    file, start = folder / entry["location"], int(entry["offset"])
    return np.memmap(file, np.float32, "r", offset=start, shape=tuple(proto.dims))


def _rest_of(model, nodes: list, used: int, shape: tuple[int, int, int]):
    from onnx import TensorProto, helper

    rest, last = nodes[used:], nodes[used - 1].output[0]
    for node in rest:
        node.input[:] = [INPUT if name == last else name for name in node.input]
    named = {name for node in rest for name in node.input}
    weights = [proto for proto in model.graph.initializer if proto.name in named]
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])
    graph = helper.make_graph(rest, OUTPUT, [given], model.graph.output, weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
