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

from faceworkbook.descriptors.engines import winograd
from faceworkbook.descriptors.engines.base import available_cores
from faceworkbook.descriptors.engines.leading import Convolution, split
from faceworkbook.descriptors.engines.onnx_graph import INPUT
from faceworkbook.images import Preprocessing, network_input

GROUP = 8  # faces that a thread takes at a time: small pictures together fill a matrix product
BATCH, GROUPS = (
    64,
    2,
)  # at least so many faces share one reading of the dense layers' weights; groups a thread
TILES = 56 // winograd.ROWS * winograd.ROWS  # that go through a layer together: more fall out of the cache
LARGE = 400  # tiles of a picture from which on it goes alone


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
        self.batch_size = max(BATCH, GROUPS * GROUP * threads)
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

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        size = min(GROUP, -(-len(pixels) // self._count))
        chunks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        maps = np.concatenate(list(self._threads.map(self._through_front, chunks)))
        return self._rest.run(None, {INPUT: maps})[0]

    def _through_front(self, pixels: np.ndarray) -> np.ndarray:
        front = self._fronts.get()
        try:
            return front.run(network_input(pixels, self._preprocessing))
        finally:
            self._fronts.put(front)


class _Layer:
    """A convolution, and its weights as the kernels want them."""

    def __init__(self, of: Convolution, *, first: bool):
        self.of = of
        self.bias = winograd.zeros(winograd.padded(of.outputs))
        self.bias[: of.outputs] = of.bias
        self.kernel = (
            winograd.panels(of.kernel.reshape(-1, of.outputs))
            if first
            else winograd.transformed_kernel(of.kernel)
        )
        self.tiles = winograd.tiles(of.height) * winograd.tiles(of.width)


class _Front:
    """One thread's scratch memory, and the convolutions in turn."""

    def __init__(self, layers: list[_Layer]):
        self._layers = layers
        # Large pictures go one by one, so that they stay in the cache; small ones together.
        self._alone = next((i for i, layer in enumerate(layers) if layer.tiles < LARGE), len(layers))
        self._results = [
            winograd.activations(1 if i < self._alone else GROUP, *layer.of.output_size, layer.of.outputs)
            for i, layer in enumerate(layers, start=1)
        ]
        widest = max(max(layer.of.inputs, layer.of.outputs) for layer in layers[1:])
        self._scratch = winograd.zeros(2, winograd.PATCH * _plane(widest))
        first = layers[0].of
        self._picture = winograd.zeros(first.height + 2, first.width + winograd.ROWS + 1, first.inputs)
        self._rows = winograd.zeros(first.width + winograd.ROWS, winograd.padded(first.outputs))

    def run(self, x: np.ndarray) -> np.ndarray:
        """(n, height, width, channels) float32 -> (n, channels, height, width) float32, n at most `GROUP`."""
        for face, picture in enumerate(x):
            self._enter(picture, self._target(0, face)[0])
            for i in range(1, self._alone):
                self._convolve(i, 1, self._target(i, face))
        for i in range(max(self._alone, 1), len(self._layers)):
            self._convolve(i, len(x), self._target(i, 0))
        last = self._layers[-1].of
        height, width = last.output_size
        plain = self._results[-1][: len(x), 1 : height + 1, 1 : width + 1, : last.outputs]
        return np.ascontiguousarray(plain.transpose(0, 3, 1, 2))

    def _target(self, i: int, face: int) -> np.ndarray:
        """Where layer `i` writes: from this face on, where that holds several."""
        result = self._results[i]
        return result[face:] if len(result) > 1 else result

    def _enter(self, picture: np.ndarray, target: np.ndarray) -> None:
        layer = self._layers[0]
        height, width = layer.of.height, layer.of.width
        self._picture[1 : height + 1, 1 : width + 1] = picture
        winograd.convolve_first(self._picture, height, width, layer.kernel, layer.bias, target, self._rows)

    def _convolve(self, i: int, faces: int, target: np.ndarray) -> None:
        layer, x = self._layers[i], self._results[i - 1]
        winograd.convolve(
            x[:faces],
            layer.of.height,
            layer.of.width,
            layer.kernel,
            layer.bias,
            layer.of.pools,
            target[:faces],
            _planes(self._scratch[0], layer.of.inputs),
            _planes(self._scratch[1], layer.of.outputs),
        )


def _plane(channels: int) -> int:
    # A few floats more keep the 36 planes from falling on the same lines of a cache.
    return TILES * winograd.padded(channels) + 48


def _planes(memory: np.ndarray, channels: int) -> np.ndarray:
    """(36, tiles, channels) float32."""
    planes = memory[: winograd.PATCH * _plane(channels)].reshape(winograd.PATCH, -1)
    return planes[:, :-48].reshape(winograd.PATCH, TILES, -1)


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
