"""Split an ONNX graph into the 3 x 3 convolutions that it begins with, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceworkbook.descriptors.engines.compiled.graphs import (
    UnsuitedGraph,
    attributes,
    is_chain,
    make_rest,
    read_array,
)

if TYPE_CHECKING:
    import onnx

MIN_CONVOLUTIONS = 2  # fewer save no time


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
        kernel, bias = (read_array(weights[name], path.parent) for name in node.input[1:])
        layer = Convolution(kernel.transpose(2, 3, 1, 0), bias, height, width, pools)
        layers.append(layer)
        used, (height, width) = count, layer.output_size
    if len(layers) < MIN_CONVOLUTIONS or layers[0].pools:
        raise UnsuitedGraph(
            f"{path.name} begins with {len(layers)} 3 x 3 convolutions of stride 1 with ReLU; at least {MIN_CONVOLUTIONS} "
            "are expected, without pooling after the first"
        )
    return layers, make_rest(
        model, nodes[used:], nodes[used - 1].output[0], (layers[-1].outputs, height, width)
    )


def _leading(nodes: list) -> Iterator[tuple[int, onnx.NodeProto, bool]]:
    """Yield, for each convolution at the start: the number of nodes up to its end, its node, whether it pools."""
    i = 0
    while (
        i + 1 < len(nodes)
        and _is_convolution(nodes[i])
        and nodes[i + 1].op_type == "Relu"
        and is_chain(nodes, i + 2)
    ):
        pools = i + 2 < len(nodes) and _is_pooling(nodes[i + 2]) and is_chain(nodes, i + 3)
        i, node = i + 2 + pools, nodes[i]
        yield i, node, pools


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
    return {**expected, **attributes(node)} == expected


def _is_pooling(node) -> bool:
    expected = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    return node.op_type == "MaxPool" and attributes(node) == expected
