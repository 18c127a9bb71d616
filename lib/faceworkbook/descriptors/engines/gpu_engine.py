"""The engine for an NVIDIA GPU: the ONNX graph in ONNX Runtime, by its CUDA or TensorRT provider.

Faces go up as bytes out of page-locked memory, in batches of a few fixed sizes; two batches are on their way at once,
each on a stream of its own, so that one is copied while the other is computed.
"""

from __future__ import annotations

import ctypes
import queue
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines import device_graph, devices
from faceworkbook.descriptors.engines.base import FLOAT32, describe_version
from faceworkbook.descriptors.engines.device_graph import PIXELS
from faceworkbook.descriptors.engines.devices import CUDA, TENSORRT
from faceworkbook.descriptors.engines.fixed_sizes import Piece, divide
from faceworkbook.descriptors.engines.onnx_graph import OUTPUT
from faceworkbook.preprocessing import Preprocessing

SIZES = (8, 32, 128)
LANES = 2
RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")


class DeviceError(RuntimeError):
    """ONNX Runtime does not compute on the device; the text says on what instead."""


class GpuEngine:
    """Runs an ONNX graph on a device. See `Engine`.

    Parameters
    ----------
    path : pathlib.Path
        The graph, written by `onnx_graph.write`.
    preprocessing : Preprocessing
    precision : {'float32', 'tf32', 'float16', 'bfloat16'}
        'bfloat16' by TensorRT only.
    provider : str
        Of ONNX Runtime: CUDA, TENSORRT; any other runs the same graph, such as the CPU's in tests.
    sizes : tuple of int, rising
        Of batches; what is left over is padded to the smallest that holds it.

    Raises
    ------
    DeviceError
        ONNX Runtime runs the graph elsewhere.
    """

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        precision: str = FLOAT32,
        provider: str = CUDA,
        sizes: tuple[int, ...] = SIZES,
    ):
        self.name = "tensorrt" if provider == TENSORRT else "gpu"
        self.batch_size = LANES * sizes[-1]
        half = precision == "float16" and provider != TENSORRT
        graph = device_graph.read(path, preprocessing, half=half)
        self._session = _open(graph, path.parent, provider, precision)
        self._sizes, self._shape = sizes, (*preprocessing.size, 3)
        self._dim = int(self._session.get_outputs()[0].shape[-1])
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        lanes = [_Lane(sizes[-1], self._shape, self._dim, provider) for _ in range(LANES)]
        for lane in lanes:
            self._idle.put(lane)
        gpu = devices.find_gpu()
        self.settings = {
            "name": self.name,
            "version": f"onnxruntime {describe_version('onnxruntime')}",
            "precision": precision,
            "provider": provider,
            "card": gpu.name if gpu else "",
            "batches": list(sizes),
            "page-locked": all(lane.is_locked for lane in lanes),
        }
        self._threads = ThreadPoolExecutor(LANES, thread_name_prefix="gpu")

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        descriptors = np.empty((len(pixels), self._dim), np.float32)

        def compute(piece: Piece) -> None:
            lane = self._idle.get()
            try:
                descriptors[piece.start : piece.stop] = lane.compute(self._session, pixels, piece)
            finally:
                self._idle.put(lane)

        list(
            self._threads.map(compute, divide(len(pixels), self._sizes))
        )  # so that what one raises is raised here
        return descriptors


class _Lane:
    """Page-locked memory for one batch on its way to the device and back."""

    def __init__(self, n: int, shape: tuple[int, ...], dim: int, provider: str):
        self._pixels, self._descriptors = np.zeros((n, *shape), np.uint8), np.zeros((n, dim), np.float32)
        on_gpu = provider in (CUDA, TENSORRT)
        self.is_locked = on_gpu and all([_lock_pages(self, one) for one in (self._pixels, self._descriptors)])

    def compute(self, session, pixels: np.ndarray, piece: Piece) -> np.ndarray:
        start, stop, size = piece
        self._pixels[: stop - start] = pixels[start:stop]
        self._pixels[stop - start : size] = 0
        binding = session.io_binding()
        # Binding an input that lies in the host's memory is what copies it to the device.
        binding.bind_input(PIXELS, "cpu", 0, np.uint8, self._pixels[:size].shape, self._pixels.ctypes.data)
        shape = (size, self._descriptors.shape[1])
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, shape, self._descriptors.ctypes.data)
        session.run_with_iobinding(binding)
        return self._descriptors[: stop - start]


def _lock_pages(owner: _Lane, array: np.ndarray) -> bool:
    """Lock an array's pages, which CUDA then copies without a detour, while `owner` lives; False where CUDA does not."""
    runtime = _load_runtime()
    place = ctypes.c_void_p(array.ctypes.data)
    if runtime is None or runtime.cudaHostRegister(place, ctypes.c_size_t(array.nbytes), ctypes.c_uint(0)):
        if runtime is not None:
            runtime.cudaGetLastError()  # which ONNX Runtime takes for one of its own otherwise
        return False
    # Memory that is freed while it is locked cannot be locked again, and every later error is reported as that one.
    weakref.finalize(owner, runtime.cudaHostUnregister, place)
    return True


def _load_runtime() -> ctypes.CDLL | None:
    for name in RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def provider_options(provider: str, precision: str, cache: Path) -> list:
    """Return the providers that ONNX Runtime is to use, in order, with their options.

    Parameters
    ----------
    cache : pathlib.Path
        Folder where TensorRT keeps the engines that it has built, which takes it minutes.
    """
    cuda = (
        CUDA,
        {
            "device_id": 0,
            # Without this word float32 is computed in TF32.
            "use_tf32": int(precision == "tf32"),
            # Tensor cores read channels last, where a convolution can add its bias too.
            "prefer_nhwc": int(precision != FLOAT32),
            "fuse_conv_bias": int(precision != FLOAT32),
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": 1,
            "arena_extend_strategy": "kSameAsRequested",
        },
    )
    if provider != TENSORRT:
        return [cuda] if provider == CUDA else [provider]
    own = {
        "device_id": 0,
        "trt_fp16_enable": precision == "float16",
        "trt_bf16_enable": precision == "bfloat16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(cache),
    }
    return [(TENSORRT, own), cuda]


def _open(graph, folder: Path, provider: str, precision: str):
    import onnxruntime

    if provider in (CUDA, TENSORRT) and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # those that pip has installed
    # What cuDNN cannot do one way is done another, and written down as an error each time. True ones are raised.
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    # Not in the folder of the models, whose files are known by their sizes.
    cache = folder.with_name(f"{folder.name}-tensorrt-{precision}")
    with warnings.catch_warnings():  # the error below names what is missing
        warnings.filterwarnings("ignore", message="Specified provider")
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=provider_options(provider, precision, cache)
        )
    used = session.get_providers()
    if provider not in used:
        raise DeviceError(
            f"ONNX Runtime does not run on {provider} here but on {', '.join(used)}: its CUDA libraries or the driver are "
            "missing or of another version"
        )
    return session
