"""The graphics card that this process may use, asked of the driver: no library that computes is imported for it."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

TF32_SINCE = 8.0  # compute capability: Ampere
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
SECONDS = 20  # that the driver may take to answer


class Gpu(NamedTuple):
    """An NVIDIA GPU: its name, compute capability, memory in MiB and the driver's version."""

    name: str
    capability: float
    memory: int
    driver: str


def find_gpu() -> Gpu | None:
    """Return the first GPU that ``CUDA_VISIBLE_DEVICES`` leaves to this process; None where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = (visible or "0").split(",")[0].strip()
    if visible is not None and (not visible.strip() or first.startswith("-")):
        return None
    if not Path("/dev/nvidiactl").exists():
        return None
    return _ask_driver(first)


@functools.cache
def _ask_driver(which: str) -> Gpu | None:
    fields = "name,compute_cap,memory.total,driver_version"
    command = ["nvidia-smi", f"--id={which}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse(done.stdout)


def parse(answer: str) -> Gpu | None:
    """Return what a line of the driver's answer says; None where it says something else."""
    values = [value.strip() for value in answer.strip().splitlines()[0].split(",")] if answer.strip() else []
    try:
        name, capability, memory, driver = values
        return Gpu(name, float(capability), int(memory), driver)
    except ValueError:
        return None


def providers() -> tuple[str, ...]:
    """Return what the installed ONNX Runtime computes on; nothing where there is none."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(onnxruntime.get_available_providers())
