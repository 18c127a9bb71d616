"""The fast engine for networks that begin with 3 x 3 convolutions, such as VGG-Face: see `winograd`.

Each thread takes some faces through the convolutions on its own; the rest of the network, from the first
layer that is none of them, runs for the whole batch in ONNX Runtime.
"""

from __future__ import annotations

import importlib.metadata
import queue
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from faceworkbook.descriptors.engines import winograd
from faceworkbook.descriptors.engines.base import available_cores
from faceworkbook.descriptors.engines.leading import Convolution, split
from faceworkbook.descriptors.engines.onnx_graph import INPUT
from faceworkbook.images import Preprocessing, network_input

GROUP = 8  # faces that a thread takes at a time: small pictures together fill a matrix product
BATCH_A_THREAD = 2 * GROUP
BLOCK = 224  # tiles a matrix product: fewer waste its start, more fall out of the cache
ROWS = 16  # of a picture, that such a product takes at a time


class WinogradEngine:
    """Runs an ONNX graph. See `Engine`.

    Parameters
    ----------
    path : pathlib.Path
        The graph, written by `onnx_graph.write`.
    preprocessing : Preprocessing
    threads : int, optional
        All cores that this process may use, where None.

    Raises
    ------
    UnsuitedGraph
    """

    name = "winograd"

    def __init__(self, path: Path, preprocessing: Preprocessing, *, threads: int | None = None):
        threads = threads or available_cores()
        self.batch_size = BATCH_A_THREAD * max(threads, 2)
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "numpy"))
        self.settings = {
            "name": self.name,
            "version": versions,
            "precision": "float32",
            "threads": threads,
        }
        self._preprocessing = preprocessing
        layers, rest = split(path)
        self._rest = _session(rest, path.parent, threads)
        layers = [_Layer(layer, first=i == 0) for i, layer in enumerate(layers)]
        self._fronts = queue.SimpleQueue()
        for _ in range(threads):
            self._fronts.put(_Front(layers))
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="winograd")
        self._libraries = ThreadpoolController()

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        size = min(GROUP, -(-len(pixels) // self._count))
        chunks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        with self._libraries.limit(limits=1, user_api="blas"):  # a thread each is what our threads have
            maps = np.concatenate(list(self._threads.map(self._through_front, chunks)))
        return self._rest.run(None, {INPUT: maps})[0]

    def _through_front(self, pixels: np.ndarray) -> np.ndarray:
        front = self._fronts.get()
        try:
            return front.run(network_input(pixels, self._preprocessing))
        finally:
            self._fronts.put(front)


class _Layer:
    """A convolution, and its weights as the products want them."""

    def __init__(self, of: Convolution, *, first: bool):
        self.of, self.bias = of, np.ascontiguousarray(of.bias)
        # A picture's three channels are too few for the transforms to pay.
        transformed = np.ascontiguousarray if first else winograd.transformed_kernel
        self.kernel = transformed(of.kernel)
        self.down, self.across = winograd.tiles(of.height), winograd.tiles(of.width)

    @property
    def tiles(self) -> int:
        return self.down * self.across


class _Front:
    """One thread's scratch memory, and the convolutions in turn."""

    def __init__(self, layers: list[_Layer]):
        self._layers = layers
        # Large pictures go one by one, so that they stay in the cache; small ones together.
        self._alone = next((i for i, layer in enumerate(layers) if layer.tiles < BLOCK), len(layers))
        sizes = [(layer.of.height, layer.of.width, layer.of.inputs) for layer in layers[1:]]
        sizes.append((*layers[-1].of.output_size, layers[-1].of.outputs))
        self._results = [
            winograd.activations(1 if i < self._alone else GROUP, *size)
            for i, size in enumerate(sizes, start=1)
        ]
        self._surroundings = _Surroundings(layers[0])
        self._strips = [_Strips(layer.of) for layer in layers[1:]]
        widest = max(max(layer.of.inputs, layer.of.outputs) for layer in layers[1:])
        self._given = np.empty(winograd.PATCH * _plane(widest), np.float32)
        self._products = np.empty_like(self._given)

    def run(self, x: np.ndarray) -> np.ndarray:
        """(n, height, width, channels) float32 -> (n, channels, height, width) float32, n at most `GROUP`."""
        for face, picture in enumerate(x):
            self._enter(picture, self._target(0, face)[0])
            for i in range(1, self._alone):
                self._convolve(i, 1, self._target(i, face))
        for i in range(max(self._alone, 1), len(self._layers)):
            self._convolve(i, len(x), self._target(i, 0))
        height, width = self._layers[-1].of.output_size
        plain = winograd.pictures(self._results[-1][: len(x)], height, width)
        return np.ascontiguousarray(plain.transpose(0, 3, 1, 2))

    def _target(self, i: int, face: int) -> np.ndarray:
        """Where layer `i` writes: from this face on, where that holds several."""
        result = self._results[i]
        return result[face:] if len(result) > 1 else result

    def _enter(self, picture: np.ndarray, target: np.ndarray) -> None:
        layer, scratch = self._layers[0], self._surroundings
        bordered = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
        for top in range(0, layer.of.height, ROWS):
            rows = min(ROWS, layer.of.height - top)
            winograd.unfold(bordered, top, scratch.patches[:rows])
            products = scratch.products[: rows * 4 * (layer.across + 1)]
            np.matmul(scratch.patches[:rows].reshape(len(products), -1), scratch.kernel, out=products)
            shaped = products.reshape(rows, 4, layer.across + 1, -1)
            winograd.place_rows(shaped, top, layer.of.width, layer.bias, target)

    def _convolve(self, i: int, faces: int, target: np.ndarray) -> None:
        layer, strips, x = self._layers[i], self._strips[i - 1], self._results[i - 1]
        given, products = _planes(self._given, layer.of.inputs), _planes(self._products, layer.of.outputs)
        for first in range(0, faces * layer.tiles, BLOCK):
            last = min(first + BLOCK, faces * layer.tiles)
            winograd.transform_input(
                x, first, last, layer.down, layer.across, layer.of.inputs, given, strips.rows
            )
            result = _by_tile(products, last - first, layer.of.outputs)
            np.matmul(_by_tile(given, last - first, layer.of.inputs), layer.kernel, out=result)
            strips.transform(
                products, first, last, layer.of.height, layer.of.width, strips.bias, target, *strips.back
            )


class _Surroundings:
    """What the first layer's products are made of."""

    def __init__(self, layer: _Layer):
        self.patches = np.zeros((ROWS, 4, layer.across + 1, 9 * layer.of.inputs), np.float32)
        self.kernel = layer.kernel.reshape(-1, layer.of.outputs)
        self.products = np.empty((ROWS * 4 * (layer.across + 1), layer.of.outputs), np.float32)


class _Strips:
    """What the transforms of one layer keep between their steps."""

    def __init__(self, of: Convolution):
        strip = max(1, winograd.STRETCH // of.inputs)
        self.rows = np.empty((6, 4, (strip + 1) * of.inputs), np.float32)
        strip = max(1, winograd.STRETCH // of.outputs)
        self.bias = np.tile(of.bias, (strip, 1))
        self.back = (
            np.empty((4, 6, strip * of.outputs), np.float32),
            np.empty((4, 4, strip * of.outputs), np.float32),
        )
        self.transform = winograd.transform_output_and_pool if of.pools else winograd.transform_output


def _plane(channels: int) -> int:
    # A few floats more keep the 36 planes from falling on the same lines of a cache.
    return BLOCK * channels + 48


def _planes(memory: np.ndarray, channels: int) -> np.ndarray:
    return memory[: winograd.PATCH * _plane(channels)].reshape(winograd.PATCH, -1)


def _by_tile(planes: np.ndarray, tiles: int, channels: int) -> np.ndarray:
    return planes[:, : tiles * channels].reshape(winograd.PATCH, tiles, channels)


def _session(model, folder: Path, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # our threads want the cores
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
