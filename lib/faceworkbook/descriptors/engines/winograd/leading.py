"""Split an ONNX graph into the 3 x 3 convolutions that it begins with, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceworkbook.descriptors.engines.onnx_graph import INPUT, OUTPUT

if TYPE_CHECKING:
    import onnx

MIN_CONVOLUTIONS = 2  # fewer save no time


class UnsuitedGraph(ValueError):
    """A network that does not begin with 3 x 3 convolutions; the text says what it begins with."""


@dataclass(frozen=True)
class Convolution:
    """A 3 x 3 convolution of stride 1 that keeps the size, with ReLU, optionally with 2 x 2 max-pooling.

    Attributes
    ----------
    kernel : ndarray of shape (3, 3, inputs, outputs), float32
    bias : ndarray of shape (outputs,), float32
    height, width : int
        Size of its input in pixels.
    pools : bool
        Whether 2 x 2 max-pooling follows.
    """

    kernel: np.ndarray
    bias: np.ndarray
    height: int
    width: int
    pools: bool

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.kernel.shape[2]

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.kernel.shape[3]

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of its output in pixels."""
        return (self.height // 2, self.width // 2) if self.pools else (self.height, self.width)


def split_graph(path: Path) -> tuple[list[Convolution], onnx.ModelProto]:
    """Split a graph into its first convolutions and the rest.

    Parameters
    ----------
    path : pathlib.Path
        Written by `onnx_graph.write`.

    Returns
    -------
    list of Convolution
        Kernels and biases are memory-mapped from the weights file.
    onnx.ModelProto
        The rest; its 'input' is the last convolution's output, (n, channels, height, width) float32.

    Raises
    ------
    UnsuitedGraph
        Fewer than two such convolutions, or pooling after the first.
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
    if len(layers) < MIN_CONVOLUTIONS or layers[0].pools:
        raise UnsuitedGraph(
            f"{path.name} begins with {len(layers)} 3 x 3 convolutions of stride 1 with ReLU; at least {MIN_CONVOLUTIONS} "
            "are expected, without pooling after the first"
        )
    return layers, _make_rest(
        model, nodes[used:], nodes[used - 1].output[0], (layers[-1].outputs, height, width)
    )


def _leading(nodes: list) -> Iterator[tuple[int, onnx.NodeProto, bool]]:
    """Yield, for each convolution at the start: the number of nodes up to its end, its node, whether it pools."""
    i = 0
    while (
        i + 1 < len(nodes)
        and _is_convolution(nodes[i])
        and nodes[i + 1].op_type == "Relu"
        and _is_chain(nodes, i + 2)
    ):
        pools = i + 2 < len(nodes) and _is_pooling(nodes[i + 2]) and _is_chain(nodes, i + 3)
        i, node = i + 2 + pools, nodes[i]
        yield i, node, pools


def _is_chain(nodes: list, end: int) -> bool:
    """Return whether the nodes from `end` on read nothing of those before it but the last one's output."""
    before = {name for node in nodes[: end - 1] for name in node.output} | {INPUT}
    return not any(name in before for node in nodes[end:] for name in node.input)


def _attributes(node) -> dict:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _is_convolution(node) -> bool:
    if node.op_type != "Conv" or len(node.input) != 3:
        return False
    expected = {
        "kernel_shape": [3, 3],
        "strides": [1, 1],
        "dilations": [1, 1],
        "pads": [1, 1, 1, 1],
        "group": 1,
    }
    return {**expected, **_attributes(node)} == expected


def _is_pooling(node) -> bool:
    expected = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    return node.op_type == "MaxPool" and _attributes(node) == expected


def _array(proto, folder: Path) -> np.ndarray:
    """Return a weight; one that lies in the weights file is memory-mapped."""
    from onnx import numpy_helper

    if not proto.external_data:
        return numpy_helper.to_array(proto)
    entry = {e.key: e.value for e in proto.external_data}
    file, start = folder / entry["location"], int(entry["offset"])
    return np.memmap(file, np.float32, "r", offset=start, shape=tuple(proto.dims))


def _make_rest(model, nodes: list, last: str, shape: tuple[int, int, int]):
    """Make a model of `nodes`; the tensor `last`, of `shape` for each face, becomes its input."""
    from onnx import TensorProto, helper

    for node in nodes:
        node.input[:] = [INPUT if name == last else name for name in node.input]
    used = {name for node in nodes for name in node.input}
    weights = [proto for proto in model.graph.initializer if proto.name in used]
    start = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])
    graph = helper.make_graph(nodes, OUTPUT, [start], model.graph.output, weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
