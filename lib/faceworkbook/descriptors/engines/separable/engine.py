"""The separable engine: leading separable convolutions in own kernels, the rest of the network in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.compiled.engine import CompiledEngine
from faceworkbook.descriptors.engines.compiled.graphs import open_rest
from faceworkbook.descriptors.engines.compiled.products import ROWS, padded, panels, zeros
from faceworkbook.descriptors.engines.separable import kernels
from faceworkbook.descriptors.engines.separable.leading import Block, Leading, Weights, split_graph
from faceworkbook.images import Preprocessing, network_input
from faceworkbook.threads import count_cores

GROUP = 4  # faces that a thread takes at a time: small pictures together fill a matrix product
BATCH = 32
GROUPS_A_THREAD = 2
LARGE = 400  # pixels of a result from which on a face goes alone, so that it stays in the cache
# Floats of depthwise results that go on to the product: beside few weights they stay in the first-level cache, beside
# many in the second, and the weights are read less often.
FEW_WEIGHTS, BESIDE_FEW, BESIDE_MANY = 75_000, 16_000, 65_000


def make(path: Path, preprocessing: Preprocessing, *, threads: int | None = None) -> CompiledEngine:
    """Make the engine; see `own_kernels.make_engine`."""
    threads = threads or count_cores()
    leading, rest = split_graph(path)
    layers = _Layers(leading, preprocessing)
    workspaces = [_Workspace(layers) for _ in range(threads)]
    opened = open_rest(rest, path.parent, threads)
    batch_size = max(BATCH, GROUPS_A_THREAD * GROUP * threads)
    return CompiledEngine("separable", workspaces, opened, group=GROUP, batch_size=batch_size)


class _Layers:
    """Weights laid out for the kernels, shared by all threads."""

    def __init__(self, leading: Leading, preprocessing: Preprocessing):
        self.window, self.preprocessing = leading.window, preprocessing
        kernel = leading.first.kernel
        self.converts = preprocessing.prewhiten or preprocessing.channels == "GRAY"
        if not self.converts:
            # The kernel takes the channels in the order of the pixels, which need not be sorted.
            order = [2, 1, 0] if preprocessing.channels == "BGR" else [0, 1, 2]
            kernel = kernel[:, :, order]
            rows = (
                np.resize(np.array(each, np.float32), 3)[order]
                for each in (preprocessing.mean, preprocessing.scale)
            )
            self.mean, self.scale = (np.tile(row, leading.window.width) for row in rows)
        self.first = panels(kernel.reshape(-1, kernel.shape[3])), *_ends(leading.first)
        self.blocks = [_Layer(block) for block in leading.blocks]
        # The first block whose results are kept for a whole group of faces.
        small = (i for i, layer in enumerate(self.blocks) if np.prod(layer.size) < LARGE)
        self.n_alone = next(small, len(self.blocks) - 1)
        widest = max(layer.depthwise[0].shape[0] * kernels.LANES for layer in self.blocks)
        self.nothing = zeros(3 * widest)  # a row of three taps


class _Layer:
    def __init__(self, block: Block):
        window = block.window
        self.size = window.output_size
        self.place = (window.height, window.width, window.stride, window.above, window.left), self.size
        inputs, self.outputs = block.pointwise.kernel.shape
        kernel = zeros(padded(inputs), self.outputs)
        kernel[:inputs] = block.pointwise.kernel
        self.pointwise = panels(kernel), *_ends(block.pointwise)
        limits = _ends(block.depthwise)[1]
        self.depthwise = kernels.depthwise_kernel(block.depthwise.kernel, block.depthwise.bias), limits
        floats = BESIDE_FEW if kernel.size < FEW_WEIGHTS else BESIDE_MANY
        self.span = max(1, floats // padded(inputs) // ROWS) * ROWS


def _ends(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Return the bias, padded with zeros, and the limits."""
    bias = zeros(padded(len(weights.bias)))
    bias[: len(weights.bias)] = weights.bias
    return bias, np.array(weights.limits, np.float32)


class _Workspace:
    """One thread's activations and scratch memory for all blocks in turn."""

    def __init__(self, layers: _Layers):
        self._layers = layers
        window, (height, width) = layers.window, layers.window.output_size
        channels = layers.first[0].shape[1] // kernels.TAPS
        # A row's last product begins at a multiple of `ROWS` and reads as many places.
        columns = max(window.width + 2, window.stride * (width + ROWS) + 3)
        self._picture = zeros(window.height + 3, columns, channels)
        self._results = [kernels.activations(height * width, layers.first[1].size)]
        for i, layer in enumerate(layers.blocks):
            faces = 1 if i < layers.n_alone else GROUP
            self._results.append(kernels.activations(faces * int(np.prod(layer.size)), layer.outputs))
        self._scratch = [
            zeros(layer.span, layer.depthwise[0].shape[0] * kernels.LANES) for layer in layers.blocks
        ]

    def convolve(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, channels, height, width) float32, n at most `GROUP`."""
        layers = self._layers
        for face, picture in enumerate(pixels):
            self._run_first(picture)
            for i in range(layers.n_alone + 1):
                self._run_block(i, 1, face if i == layers.n_alone else 0)
        for i in range(layers.n_alone + 1, len(layers.blocks)):
            self._run_block(i, len(pixels), 0)
        last = layers.blocks[-1]
        places = len(pixels) * int(np.prod(last.size))
        maps = self._results[-1][:places, : last.outputs].reshape(len(pixels), *last.size, last.outputs)
        return np.ascontiguousarray(maps.transpose(0, 3, 1, 2))

    def _run_first(self, pixels: np.ndarray) -> None:
        layers, window, x = self._layers, self._layers.window, self._picture
        height, width = pixels.shape[:2]
        if layers.converts:
            inner = x[window.above : window.above + height, window.left : window.left + width]
            inner[...] = network_input(pixels[None], layers.preprocessing)[0]
        else:
            place, rows = (window.above, window.left * x.shape[2]), x.reshape(len(x), -1)
            flat = np.ascontiguousarray(pixels).reshape(height, -1)
            kernels.load_picture(flat, layers.mean, layers.scale, place, rows)
        kernels.convolve_first(x, window.output_size, window.stride, *layers.first, self._results[0])

    def _run_block(self, i: int, faces: int, first: int) -> None:
        layer, (x, y) = self._layers.blocks[i], self._results[i : i + 2]
        target, scratch = y[first * int(np.prod(layer.size)) :], (self._scratch[i], self._layers.nothing)
        kernels.convolve(x, layer.place, faces, layer.depthwise, layer.pointwise, scratch, target)
