"""Split an ONNX graph into the separable convolutions that it begins with, and the rest."""

from __future__ import annotations

import math
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

MIN_BLOCKS = 2  # fewer save no time


@dataclass(frozen=True)
class Window:
    """Where the taps of a 3 x 3 kernel lie, which is applied at every `stride`-th pixel.

    Attributes
    ----------
    height, width : int
        Size of the picture in pixels.
    stride : int
    above, left, below, right : int
        Zeros around the picture, 0 or 1.
    """

    height: int
    width: int
    stride: int
    above: int
    left: int
    below: int
    right: int

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the result in pixels."""
        rows, columns = self.height + self.above + self.below, self.width + self.left + self.right
        return (rows - 3) // self.stride + 1, (columns - 3) // self.stride + 1


@dataclass(frozen=True)
class Weights:
    """A kernel, its bias, and the limits within which results are kept: ReLU's are (0, infinity).

    Attributes
    ----------
    kernel : ndarray, float32
        (3, 3, inputs, outputs), (3, 3, channels) of a depthwise and (inputs, outputs) of a pointwise one.
    bias : ndarray of shape (outputs,), float32
    limits : pair of float
    """

    kernel: np.ndarray
    bias: np.ndarray
    limits: tuple[float, float]


@dataclass(frozen=True)
class Block:
    """A depthwise 3 x 3 convolution and a pointwise one (1 x 1), each with its limits."""

    window: Window
    depthwise: Weights
    pointwise: Weights


@dataclass(frozen=True)
class Leading:
    """A 3 x 3 convolution, and the blocks that follow it."""

    window: Window
    first: Weights
    blocks: list[Block]


def split_graph(path: Path) -> tuple[Leading, onnx.ModelProto]:
    """Split a graph into its first convolutions and the rest.

    Parameters
    ----------
    path : pathlib.Path
        Written by `onnx_graph.write`.

    Returns
    -------
    Leading
    onnx.ModelProto
        The rest; its 'input' is the last block's output, (n, channels, height, width) float32.

    Raises
    ------
    UnsuitedGraph
        The network does not begin with a 3 x 3 convolution and at least two blocks.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    reader = _Reader(list(model.graph.node), model.graph.initializer, path.parent)
    size = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    opening = reader.read_first(size)
    blocks: list[Block] = []
    while opening is not None and (block := reader.read_block(_size_after(opening[0], blocks))) is not None:
        blocks.append(block)
    if opening is None or len(blocks) < MIN_BLOCKS:
        raise UnsuitedGraph(
            f"{path.name} begins with {len(blocks)} depthwise-separable convolutions after one of 3 x 3, each with ReLU or a "
            f"clip; at least {MIN_BLOCKS} are expected"
        )
    shape = (len(blocks[-1].pointwise.bias), *blocks[-1].window.output_size)
    rest = make_rest(model, reader.nodes[reader.used :], reader.nodes[reader.used - 1].output[0], shape)
    return Leading(*opening, blocks), rest


def _size_after(first: Window, blocks: list[Block]) -> tuple[int, int]:
    return blocks[-1].window.output_size if blocks else first.output_size


class _Reader:
    """Reads a graph's nodes from its start on; `used` of them have been read."""

    def __init__(self, nodes: list, weights, folder: Path):
        self.nodes, self.used = nodes, 0
        self._weights, self._folder = {proto.name: proto for proto in weights}, folder

    def read_first(self, size: tuple[int, int]) -> tuple[Window, Weights] | None:
        """Read a 3 x 3 convolution of a picture of `size`."""
        window, limits = self._window(0, size), self._limits(1)
        if window is None or limits is None:
            return None
        self.used = 2
        kernel, bias = self._arrays(0)
        return window, Weights(kernel.transpose(2, 3, 1, 0), bias, limits)

    def read_block(self, size: tuple[int, int]) -> Block | None:
        """Read a depthwise convolution and the pointwise one after it."""
        start = self.used
        if start + 4 > len(self.nodes) or not self._is_pointwise(start + 2):
            return None
        kernel, bias = self._arrays(start + 2)
        window, within, limits = (
            self._window(start, size, depthwise=kernel.shape[1]), self._limits(start + 1), self._limits(start + 3),
        )  # fmt: skip
        if window is None or within is None or limits is None:
            return None
        self.used += 4
        depthwise, shift = self._arrays(start)
        return Block(
            window,
            Weights(depthwise[:, 0].transpose(1, 2, 0), shift, within),
            Weights(kernel[:, :, 0, 0].T, bias, limits),
        )

    def _arrays(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = (self._array(name) for name in self.nodes[i].input[1:])
        return kernel, bias

    def _array(self, name: str) -> np.ndarray:
        return read_array(self._weights[name], self._folder)

    def _window(self, i: int, size: tuple[int, int], *, depthwise: int = 0) -> Window | None:
        """Return the window of node `i`, a 3 x 3 convolution, of so many channels each by itself where `depthwise`.

        None where it is none.
        """
        if i >= len(self.nodes) or not self._is_convolution(i):
            return None
        usual = {"strides": [1, 1], "pads": [0, 0, 0, 0], "group": 1, "dilations": [1, 1]}
        given = {**usual, **attributes(self.nodes[i])}
        (stride, other), pads = given.pop("strides"), given.pop("pads")
        inputs = [depthwise, 1] if depthwise else []
        expected = {"kernel_shape": [3, 3], "dilations": [1, 1], "group": depthwise or 1}
        if given != expected or list(self._weights[self.nodes[i].input[1]].dims)[: len(inputs)] != inputs:
            return None
        window = Window(*size, stride, *pads)
        regular = stride == other and stride in (1, 2) and max(pads) <= 1
        return window if regular and min(window.output_size) > 0 else None

    def _is_pointwise(self, i: int) -> bool:
        expected = {
            "kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1,
        }  # fmt: skip
        return self._is_convolution(i) and {**expected, **attributes(self.nodes[i])} == expected

    def _is_convolution(self, i: int) -> bool:
        node = self.nodes[i]
        return (
            node.op_type == "Conv"
            and len(node.input) == 3
            and all(n in self._weights for n in node.input[1:])
        )

    def _limits(self, i: int) -> tuple[float, float] | None:
        """Return the limits of node `i`; None where it is no ReLU or clip, or not the only one to read what is before it."""
        if i >= len(self.nodes) or not (is_chain(self.nodes, i) and is_chain(self.nodes, i + 1)):
            return None
        node = self.nodes[i]
        if node.op_type == "Relu":
            return 0.0, math.inf
        if node.op_type != "Clip" or not all(name in self._weights for name in node.input[1:] if name):
            return None
        ends = [self._array(name) if name else None for name in [*node.input[1:], "", ""][:2]]
        least, largest = (None if end is None else float(end.item()) for end in ends)
        return (-math.inf if least is None else least), (math.inf if largest is None else largest)
