"""The fast engine for any network, and for int8: ONNX Runtime on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from faceworkbook.backbones import Backbone, BackboneError
from faceworkbook.descriptors.engines.base import describe_version
from faceworkbook.descriptors.engines.onnx_graph import INPUT
from faceworkbook.images import Preprocessing, network_input
from faceworkbook.threads import count_cores

BATCH, CHUNK = 32, 4  # faces a call, and faces that one thread takes at a time: they stay in its cache


class OnnxEngine:
    """Runs an ONNX graph. See `Engine`.

    Parameters
    ----------
    path : pathlib.Path
        The graph, written by `onnx_graph.write` or `quantise`.
    preprocessing : Preprocessing
    precision : {'float32', 'int8'}
        Written into `settings`.
    threads : int, optional
        All cores that this process may use, where None.
    """

    name = "onnx"

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        precision: str = "float32",
        threads: int | None = None,
    ):
        import onnxruntime

        threads = threads or count_cores()
        version = f"onnxruntime {describe_version('onnxruntime')}"
        self.batch_size = BATCH
        self.settings = {"name": self.name, "version": version, "precision": precision, "threads": threads}
        self._preprocessing = preprocessing
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a face a thread is quicker than threads that share a face
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        return np.concatenate(list(self._threads.map(self._run_chunk, chunks)))

    def _run_chunk(self, pixels: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: planes(pixels, self._preprocessing)})[0]


class OwnGraphEngine:
    """Runs the graph of an ONNX network of one's own. See `Engine`.

    Parameters
    ----------
    backbone : faceworkbook.backbones.Backbone
        Has a `graph`.
    threads : int, optional
        All cores that this process may use, where None.
    """

    name = "onnx"

    def __init__(self, backbone: Backbone, *, threads: int | None = None):
        from faceworkbook.backbones import onnx_file

        if backbone.graph is None:
            raise BackboneError(
                f"{backbone.name} has no ONNX graph of its own; this engine runs networks that were loaded from .onnx, "
                "others run with engine='auto'"
            )
        onnx_file.import_runtime()
        threads = threads or count_cores()
        version = f"onnxruntime {describe_version('onnxruntime')}"
        self.batch_size = BATCH
        self.settings = {
            "name": self.name,
            "version": version,
            "precision": "as the file",
            "threads": threads,
        }
        self._graph, self._preprocessing = backbone.graph, backbone.preprocessing
        self._taps = [backbone.tap_table[tap] for tap in backbone.read]
        layers = [tap.layer for tap in self._taps]
        self._session = onnx_file.open_session(self._graph.path, *layers, threads=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        size = self._graph.batch or CHUNK
        chunks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate(list(self._threads.map(self._run_chunk, chunks)))

    def _run_chunk(self, pixels: np.ndarray) -> np.ndarray:
        pictures = network_input(pixels, self._preprocessing)
        return self._graph.run(self._session, self._taps, pictures)


def planes(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Apply a preprocessing and return (n, channels, height, width) float32; see `network_input`."""
    if preprocessing.channels == "GRAY" or preprocessing.scale != 1.0 or preprocessing.prewhiten:
        return np.ascontiguousarray(network_input(pixels, preprocessing).transpose(0, 3, 1, 2))
    # OpenCV needs one pass. It subtracts the mean in the order of the result.
    swap = preprocessing.channels == "BGR"
    return cv2.dnn.blobFromImages(list(pixels), 1.0, None, preprocessing.mean, swapRB=swap)


def quantise(graph: Path, target: Path, pixels: np.ndarray, preprocessing: Preprocessing) -> None:
    """Quantise a graph to int8 weights (one scale for each channel) and uint8 activations.

    Parameters
    ----------
    graph, target : pathlib.Path
        The float32 graph, and the file to write.
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB
        Real faces, from which the ranges of the activations are estimated.
    """
    from onnxruntime import quantization

    class Faces(quantization.CalibrationDataReader):
        def __init__(self):
            self._batches = iter(np.array_split(pixels, max(len(pixels) // 8, 1)))

        def get_next(self):
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: planes(batch, preprocessing)}

    quantization.quantize_static(
        graph,
        target,
        Faces(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm", "Clip", "Relu", "MaxPool", "Add", "GlobalAveragePool"],
    )
