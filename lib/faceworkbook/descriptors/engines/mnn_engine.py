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

from faceworkbook.descriptors.engines.onnx_graph import INPUT, OUTPUT
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
        self._module = _load(path, threads)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        import MNN.expr as expr

        x = planes(pixels, self._preprocessing)
        given = expr.const(x, list(x.shape), expr.NCHW)
        (result,) = self._module.forward([given])
        return np.array(expr.convert(result, expr.NCHW).read(), np.float32).reshape(len(pixels), -1)


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
        import MNN.expr as expr
        import MNN.nn

        return MNN.nn.load_module_from_file(
            str(path),
            [INPUT],
            [OUTPUT],
            thread_num=threads,
            precision_mode=expr.PrecisionMode.High,
            shape_mutable=False,
        )


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
