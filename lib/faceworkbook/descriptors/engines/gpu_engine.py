"""The engine for an NVIDIA GPU: the ONNX graph in ONNX Runtime, by its CUDA or TensorRT provider.

Faces go up as bytes out of page-locked memory, in batches of a few fixed sizes; two batches are on their way at once,
each on a stream of its own, so that one is copied while the other is computed.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines import device_graph, devices
from faceworkbook.descriptors.engines.base import FLOAT32, describe_version
from faceworkbook.descriptors.engines.device_graph import PIXELS
from faceworkbook.descriptors.engines.devices import CUDA, TENSORRT
from faceworkbook.descriptors.engines.lanes import Lane, Lanes
from faceworkbook.descriptors.engines.onnx_graph import OUTPUT
from faceworkbook.preprocessing import Preprocessing

SIZES = (8, 32, 128)
LANES = 2


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
        self.batch_size = sizes[-1]
        half = precision == "float16" and provider != TENSORRT
        graph = device_graph.read(path, preprocessing, half=half)
        self._session = _open(graph, path.parent, provider, precision)
        dim = int(self._session.get_outputs()[0].shape[-1])
        on_gpu = provider in (CUDA, TENSORRT)
        self._lanes = Lanes(LANES, sizes, (*preprocessing.size, 3), dim, locked=on_gpu)
        gpu = devices.find_gpu()
        self.settings = {
            "name": self.name,
            "version": f"onnxruntime {describe_version('onnxruntime')}",
            "precision": precision,
            "provider": provider,
            "card": gpu.name if gpu else "",
            "batches": list(sizes),
            "page-locked": self._lanes.are_locked,
        }

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        return self._lanes.run(pixels, self._compute)

    def _compute(self, lane: Lane, size: int) -> np.ndarray:
        binding, result = self._session.io_binding(), lane.descriptors[:size]
        # Binding an input that lies in the host's memory is what copies it to the device.
        binding.bind_input(PIXELS, "cpu", 0, np.uint8, lane.pixels[:size].shape, lane.pixels.ctypes.data)
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, result.shape, result.ctypes.data)
        self._session.run_with_iobinding(binding)
        return result


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
