"""Convert a backbone for the fast engines, and check each on a few faces against the Keras reference.

Each step runs in a process of its own: the memory of a conversion is released, libraries that cannot share a
process are kept apart, and the caller need not import TensorFlow.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceworkbook import backbones, files, memory
from faceworkbook.backbones import Backbone
from faceworkbook.descriptors.engines import onnx_graph, own_kernels
from faceworkbook.descriptors.engines.base import FLOAT32, Engine, agrees, compare
from faceworkbook.descriptors.engines.compiled.graphs import UnsuitedGraph
from faceworkbook.descriptors.engines.devices import CUDA, TENSORRT
from faceworkbook.images import Preprocessing

VERDICT, FORMAT = "verdict.json", 8
GRAPH, QUANTISED = "model.onnx", "int8.onnx"
PIXELS, REFERENCE = "pixels.npy", "reference.npy"


class PreparationError(RuntimeError):
    """A step failed; the text is the last line that it printed."""


class OutOfMemoryError(PreparationError):
    """A step had too little memory: nothing that is true of the network, so that it is no part of a verdict."""


def prepared(
    backbone: Backbone,
    pixels: np.ndarray,
    folder: Path,
    *,
    engines: tuple[str, ...],
    made_for: dict,
) -> dict:
    """Return the verdict on each engine, from `folder` where it was reached before.

    Parameters
    ----------
    backbone : Backbone
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB
        The faces on which descriptors are compared.
    folder : pathlib.Path
        Holds the converted models and the verdict afterwards.
    engines : tuple of str
        Those to try in turn until one gives the descriptors, of 'gpu', 'tensorrt', 'winograd', 'separable', 'onnx'.
    made_for : dict
        What the verdict depends on: precision, weights, versions, processor. That of something else is none.

    Returns
    -------
    dict of str to dict
        For 'keras' and each engine that was tried: ``cosine`` and ``relative_error`` (see `compare`), or
        ``error``, or ``unsuited`` with the reason why the engine is not made for this network.
    """
    # The lock needs a folder that may be written; what is finished needs none.
    if not is_current(folder, made_for):
        with files.hold(f"{folder}.lock", f"{backbone.name}: another process converts it"):
            if not is_current(folder, made_for):
                _prepare(backbone, pixels, folder, engines, made_for)
    return files.parse_json((folder / VERDICT).read_text())


def is_current(folder: Path, made_for: dict) -> bool:
    """Return whether a folder holds a verdict that was reached for the same, and whole models beside it.

    One that an earlier version wrote, that was cut short or copied from elsewhere, is none.
    """
    try:
        record = files.parse_json((folder / VERDICT).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in record["models"].items())
        return whole and record["format"] == FORMAT and record["made_for"] == made_for
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _prepare(
    backbone: Backbone, pixels: np.ndarray, folder: Path, engines: tuple[str, ...], made_for: dict
) -> None:
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        np.save(beside / PIXELS, pixels)
        verdict = {"format": FORMAT, "made_for": made_for, "keras": _export(backbone, beside)}
        for engine in engines:
            verdict[engine] = tried = _try(engine, beside, backbone, made_for["precision"])
            if "cosine" in tried and agrees(tried, made_for["precision"]):
                break
        for name in (PIXELS, REFERENCE):
            (beside / name).unlink()
        verdict["models"] = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
        (beside / VERDICT).write_text(json.dumps(verdict, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _export(backbone: Backbone, folder: Path) -> dict:
    if not backbone.weights.is_file():  # a model in this process's memory, which no other can open
        return write_graph(backbone, folder)
    address = {"name": backbone.name, "weights": str(backbone.weights), "taps": backbone.read}
    return _step("export", folder, {**address, "resolution": backbone.resolution})


def _try(engine: str, folder: Path, backbone: Backbone, precision: str) -> dict:
    try:
        if engine in own_kernels.SPLITS:
            own_kernels.check_graph(engine, folder / GRAPH)
        tried = {"preprocessing": backbone.preprocessing.to_dict(), "dims": backbone.dims}
        return _step("try", folder, {"engine": engine, "precision": precision, **tried})
    except UnsuitedGraph as error:
        return {"unsuited": str(error)}
    except OutOfMemoryError:
        raise
    except PreparationError as error:
        return {"error": str(error)}


def _step(step: str, folder: Path, options: dict) -> dict:
    """Run one of `STEPS` in a fresh process and return its result."""
    command = [sys.executable, "-P", "-m", __name__, step, str(folder), json.dumps(options)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if step == "export":  # the reference is computed on the CPU, whatever device is there
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    answer = folder / f"{step}.json"
    if done.returncode or not answer.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = f"{step} ended with status {done.returncode}: {lines[-1][:300]}"
        if done.returncode == -signal.SIGKILL:
            raise OutOfMemoryError(f"{step} was killed; often {memory.USED_UP}: {memory.ADVICE}")
        if memory.is_exhausted(done.stderr):
            raise OutOfMemoryError(memory.describe(reason))
        raise PreparationError(reason)
    result = files.parse_json(answer.read_text())
    answer.unlink()
    return result


def export(folder: Path, *, name: str, weights: str, taps: list[str], resolution: int = 0) -> dict:
    """Open a backbone and write its ONNX graph; see `write_graph`."""
    backbone = backbones.load(name, weights=weights, tap=taps[0]).adjusted(resolution=resolution)
    return write_graph(backbone.together(taps), folder)


def write_graph(backbone: Backbone, folder: Path) -> dict:
    """Write the ONNX graph and the reference descriptors of the faces; return their difference to themselves."""
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    onnx_graph.write(backbone.model, folder)
    np.save(folder / REFERENCE, KerasEngine(backbone, device="cpu").run(np.load(folder / PIXELS)))
    return {"cosine": 1.0, "relative_error": 0.0}


def try_engine(folder: Path, *, engine: str, precision: str, preprocessing: dict, dims: list[int]) -> dict:
    """Convert what an engine needs and compare its descriptors with the reference's."""
    runner = make(engine, folder, Preprocessing.from_dict(preprocessing), precision=precision)
    return compare(runner.run(np.load(folder / PIXELS)), np.load(folder / REFERENCE), dims=dims)


def make(
    engine: str,
    folder: Path,
    preprocessing: Preprocessing,
    *,
    precision: str = FLOAT32,
    threads: int | None = None,
) -> Engine:
    """Make an engine on the models in `folder`; convert a model that it needs first."""
    if engine in own_kernels.SPLITS:
        return own_kernels.make_engine(engine, folder / GRAPH, preprocessing, threads=threads)
    if engine in ("gpu", "tensorrt"):
        from faceworkbook.descriptors.engines.gpu_engine import GpuEngine

        provider = TENSORRT if engine == "tensorrt" else CUDA
        return GpuEngine(folder / GRAPH, preprocessing, precision=precision, provider=provider)
    from faceworkbook.descriptors.engines import onnx_engine

    if precision == FLOAT32:
        return onnx_engine.OnnxEngine(folder / GRAPH, preprocessing, threads=threads)
    if not (folder / QUANTISED).is_file():
        pixels = np.load(folder / PIXELS)
        onnx_engine.quantise(folder / GRAPH, folder / QUANTISED, pixels, preprocessing)
    return onnx_engine.OnnxEngine(folder / QUANTISED, preprocessing, precision=precision, threads=threads)


STEPS: dict[str, Callable[..., dict]] = {"export": export, "try": try_engine}


def main() -> None:
    """Run the step that the command line names and write its result beside the models."""
    step, folder, options = sys.argv[1:]
    result = STEPS[step](Path(folder), **json.loads(options))
    (Path(folder) / f"{step}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
