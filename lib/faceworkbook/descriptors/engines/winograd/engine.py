"""The Winograd engine: leading 3 x 3 convolutions in own kernels, the rest of the network in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.compiled.engine import CompiledEngine
from faceworkbook.descriptors.engines.compiled.graphs import open_rest
from faceworkbook.descriptors.engines.compiled.products import ROWS, padded, panels, zeros
from faceworkbook.descriptors.engines.winograd import kernels
from faceworkbook.descriptors.engines.winograd.leading import Convolution, split_graph
from faceworkbook.images import Preprocessing, network_input
from faceworkbook.threads import count_cores

GROUP = 8  # faces that a thread takes at a time: small pictures together fill a matrix product
BATCH = 64  # at least so many faces share one reading of the dense layers' weights
GROUPS_A_THREAD = 2
TILES = 56 // ROWS * ROWS  # that go through a layer together: more fall out of the cache
LARGE = 400  # tiles of a picture from which on it goes alone, so that its activations stay in the cache
# A few floats more keep the 36 planes from the same lines of a cache: their distance would be a power of two.
PLANE_GAP = 48


def make(path: Path, preprocessing: Preprocessing, *, threads: int | None = None) -> CompiledEngine:
    """Make the engine; see `own_kernels.make_engine`."""
    threads = threads or count_cores()
    convolutions, rest = split_graph(path)
    layers = [_Layer(convolution, first=i == 0) for i, convolution in enumerate(convolutions)]
    workspaces = [_Workspace(layers, preprocessing) for _ in range(threads)]
    opened = open_rest(rest, path.parent, threads)
    batch_size = max(BATCH, GROUPS_A_THREAD * GROUP * threads)
    return CompiledEngine("winograd", workspaces, opened, group=GROUP, batch_size=batch_size)


class _Layer:
    """A convolution with its weights laid out for the kernels, shared by all threads."""

    def __init__(self, convolution: Convolution, *, first: bool):
        self.convolution = convolution
        self.size = convolution.height, convolution.width
        self.bias = zeros(padded(convolution.outputs))
        self.bias[: convolution.outputs] = convolution.bias
        self.kernel = (
            panels(convolution.kernel.reshape(-1, convolution.outputs))
            if first
            else kernels.transformed_kernel(convolution.kernel)
        )
        self.tiles = kernels.tiles(convolution.height) * kernels.tiles(convolution.width)


class _Workspace:
    """One thread's activations and scratch memory for all convolutions in turn."""

    def __init__(self, layers: list[_Layer], preprocessing: Preprocessing):
        self._layers, self._preprocessing = layers, preprocessing
        # Layers before this one are computed face by face, later ones for a group of faces.
        self._n_alone = next((i for i, layer in enumerate(layers) if layer.tiles < LARGE), len(layers))
        self._results = [
            kernels.activations(
                1 if i < self._n_alone else GROUP, *layer.convolution.output_size, layer.convolution.outputs
            )
            for i, layer in enumerate(layers, start=1)
        ]
        widest = max(max(layer.convolution.inputs, layer.convolution.outputs) for layer in layers[1:])
        self._scratch = zeros(2, kernels.PATCH * _plane(widest))
        first = layers[0].convolution
        self._picture = zeros(first.height + 2, first.width + ROWS + 1, first.inputs)
        self._products = zeros(first.width + ROWS, padded(first.outputs))

    def convolve(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, channels, height, width) float32, n at most `GROUP`."""
        x = network_input(pixels, self._preprocessing)
        for face, picture in enumerate(x):
            self._run_first(picture, self._target(0, face)[0])
            for i in range(1, self._n_alone):
                self._run_layer(i, 1, self._target(i, face))
        for i in range(max(self._n_alone, 1), len(self._layers)):
            self._run_layer(i, len(x), self._target(i, 0))
        last = self._layers[-1].convolution
        height, width = last.output_size
        inner = self._results[-1][: len(x), 1 : height + 1, 1 : width + 1, : last.outputs]
        return np.ascontiguousarray(inner.transpose(0, 3, 1, 2))

    def _target(self, i: int, face: int) -> np.ndarray:
        """Return where layer `i` writes: the place of this face where results of a group are kept, else the only one."""
        result = self._results[i]
        return result[face:] if len(result) > 1 else result

    def _run_first(self, picture: np.ndarray, target: np.ndarray) -> None:
        layer = self._layers[0]
        height, width = layer.size
        self._picture[1 : height + 1, 1 : width + 1] = picture
        kernels.convolve_first(self._picture, layer.size, layer.kernel, layer.bias, target, self._products)

    def _run_layer(self, i: int, faces: int, target: np.ndarray) -> None:
        layer, x = self._layers[i], self._results[i - 1]
        widths = layer.convolution.inputs, layer.convolution.outputs
        scratch = _planes(self._scratch[0], widths[0]), _planes(self._scratch[1], widths[1])
        pools = layer.convolution.pools
        kernels.convolve(x[:faces], layer.size, layer.kernel, layer.bias, pools, target[:faces], scratch)


def _plane(channels: int) -> int:
    return TILES * padded(channels) + PLANE_GAP


def _planes(memory: np.ndarray, channels: int) -> np.ndarray:
    """Return a view of scratch memory as 36 planes, (36, tiles, channels) float32."""
    planes = memory[: kernels.PATCH * _plane(channels)].reshape(kernels.PATCH, -1)
    return planes[:, :-PLANE_GAP].reshape(kernels.PATCH, TILES, -1)
