"""The fast engine on CPUs: MNN, whose 3 x 3 convolutions are Winograd's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from faceworkbook.images import Preprocessing, network_input

BATCH = 32


class MnnEngine:
    """Runs a converted model. See `Engine`.

    Parameters
    ----------
    path : pathlib.Path
        The converted model, written by `convert`.
    preprocessing : Preprocessing
    precision : {'float32', 'int8'}
        Written into `settings`.
    threads : int, optional
        All cores that this process may use, where None.
    """

    name = "mnn"

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        precision: str = "float32",
        threads: int | None = None,
    ):
        threads = threads or available_cores()
        self.batch_size = BATCH
        self.settings = {"name": self.name, "version": version(), "precision": precision, "threads": threads}
        self._preprocessing = preprocessing
        self._interpreter, self._session = _load(path, threads)
        self._given = self._interpreter.getSessionInput(self._session)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        import MNN

        x = planes(pixels, self._preprocessing)
        if tuple(self._given.getShape()) != x.shape:
            self._interpreter.resizeTensor(self._given, x.shape)
            self._interpreter.resizeSession(self._session)
        caffe = MNN.Tensor_DimensionType_Caffe
        self._given.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, caffe))
        # MNN's newer `Module` would keep every other Python thread waiting here, a session does not.
        self._interpreter.runSession(self._session)
        result = self._interpreter.getSessionOutput(self._session)
        shape = result.getShape()
        found = np.zeros(shape, np.float32)
        host = MNN.Tensor(shape, MNN.Halide_Type_Float, found, caffe)
        result.copyToHostTensor(host)
        return np.array(host.getNumpyData(), np.float32).reshape(len(pixels), -1)


def planes(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What `network_input` gives, channels first: (n, channels, height, width) float32."""
    if preprocessing.channels == "GRAY" or preprocessing.scale != 1.0:
        return np.ascontiguousarray(network_input(pixels, preprocessing).transpose(0, 3, 1, 2))
    # OpenCV does it in one pass. It subtracts the mean in the order of the result.
    swap = preprocessing.channels == "BGR"
    return cv2.dnn.blobFromImages(list(pixels), 1.0, None, preprocessing.mean, swapRB=swap)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version() -> str:
    """The installed MNN's version; '' where it is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.version("MNN")
    except importlib.metadata.PackageNotFoundError:
        return ""


def convert(graph: Path, target: Path) -> None:
    """Turn an ONNX graph into MNN's format.

    The converter runs in a process of its own, since its protobuf and TensorFlow's cannot share one. MNN's
    command ``mnnconvert`` reports each use over the network, so the function under it is called.
    """
    code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    options = [
        "-f",
        "ONNX",
        "--modelFile",
        str(graph),
        "--MNNModel",
        str(target),
        "--bizCode",
        "faceworkbook",
    ]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    if done.returncode or not target.is_file():
        raise RuntimeError(
            f"MNN's converter failed on {graph.name}: {done.stdout[-300:]}{done.stderr[-300:]}"
        )


def _load(path: Path, threads: int):
    with silence():
        import MNN

        interpreter = MNN.Interpreter(str(path))
        session = interpreter.createSession({"numThread": threads, "precision": "high", "backend": "CPU"})
        return interpreter, session


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what a C library prints away from the notebook."""
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            for target, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, target)
                os.close(saved)
