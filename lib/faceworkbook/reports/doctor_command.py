"""``workbook doctor``: what is installed, which weights are there, which engine runs, and whether it computes what it should."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faceworkbook import project
from faceworkbook.backbones import faceres_deep

LOCK = project.CHECKOUT / "requirements.lock"
NETWORK, FACE = "faceres_deep", "data/synthetic/images/person0000_0.jpg"
# The first numbers of that face's descriptor by Keras in float32; other engines may differ in the last digits.
KNOWN = (
    *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0108, 0.4287, 0.03569, 0.16702, 0.0, 0.00856),
    *(0.02293, 0.04332, 0.0, 0.006, 0.02285, 0.0, 0.0, 0.32372, 0.0863, 0.04457, 0.66551, 0.0),
)
LARGEST_DIFFERENCE = 0.01
# Files whose SHA-256 is known for certain; of VGG-Face's no publisher has given one.
PUBLISHED = {
    faceres_deep.FILE: faceres_deep.SHA256,
    "yunet/face_detection_yunet_2023mar_int8bq.onnx": "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    "facemesh/facemesh.onnx": "42b6e2ce7ef4f81e132ae51c9f8770d4c0de7db95ecc7cf3090ff9beffd65fdb",
    "facemesh/points.json": "268982904e42e6309d28952fbdf5df3f8f308cb56bf6db85e330368520701e01",
    "facemesh/pose.npz": "79c76936bc47d594ede9c0da6438d632acadd866f1c6eaf8cdd300c4ff661c2a",
}
WEIGHTS = (".mat", ".t7", ".h5", ".keras", ".onnx")
FREE_BYTES = 2 * 10**9
OK, NOTE, WRONG = "ok", "note", "WRONG"
Line = tuple[str, str]


def add(commands) -> None:
    """Add the command to the sub-parsers of ``workbook``."""
    doctor = commands.add_parser(
        "doctor", help="check versions, weights, disk, GPU, and compute a known descriptor"
    )
    doctor.set_defaults(command=run)


def run(_options: argparse.Namespace) -> int:
    """Print one line a finding; returns 1 where something is wrong."""
    wrong = False
    for check in (check_versions, check_weights, check_disk, check_gpu, check_network):
        for state, text in check():
            print(f"{state:5}  {text}")
            wrong |= state == WRONG
    return int(wrong)


def check_versions(lock: Path = LOCK) -> Iterator[Line]:
    """Yield how the installed packages differ from the lock file."""
    if not lock.is_file():
        yield NOTE, "versions: no lock file here, as in a package that was installed from a wheel"
        return
    locked: dict[str, list[str]] = {}  # several versions where Python's versions need different ones
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE):
        locked.setdefault(name, []).append(version)
    installed = {name: version for name in locked if (version := _version(name))}
    other = [
        f"{name} {version} (lock: {' or '.join(locked[name])})"
        for name, version in installed.items()
        if version not in locked[name]
    ]
    same = len(installed) - len(other)
    yield OK, f"versions: {same} packages as in {project.shorten(lock)}"
    if other:
        yield NOTE, f"versions: {len(other)} differ from the lock: {', '.join(other[:8])}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_weights(folder: str | Path = "weights") -> Iterator[Line]:
    """Yield which weights files are there, and whether they are the published ones."""
    from faceworkbook.backbones.base import sha256

    place = project.resolve(folder)
    for name, expected in PUBLISHED.items():
        path = place / name
        if not path.is_file():
            yield WRONG, f"weights: {name} is missing; get the project's files again"
        elif sha256(path) != expected:
            yield WRONG, f"weights: {name} is another file than the published one; get it again"
        else:
            yield OK, f"weights: {name}, the published file"
    own = [path for path in sorted(place.glob("*")) if path.suffix.lower() in WEIGHTS and path.is_file()]
    for path in own:
        yield (
            NOTE,
            f"weights: {path.name}, {path.stat().st_size / 1e6:,.0f} MB; no SHA-256 is published to compare with",
        )


def check_disk() -> Iterator[Line]:
    """Yield whether results can be written, and how much space is left."""
    place = project.resolve("results")
    try:
        tempfile.TemporaryFile(dir=place if place.is_dir() else project.root()).close()
    except OSError as error:
        yield (
            WRONG,
            f"disk: nothing can be written to {place} ({error.strerror}); mend that, or use --results",
        )
    free = shutil.disk_usage(project.root()).free
    state = OK if free >= FREE_BYTES else WRONG
    yield (
        state,
        f"disk: {free / 1e9:,.1f} GB free where results are written; {FREE_BYTES / 1e9:.0f} GB are needed at the least",
    )


def check_gpu() -> Iterator[Line]:
    """Yield whether an NVIDIA GPU is there; TensorFlow, which would use it, is not loaded."""
    from faceworkbook.descriptors.engines import devices

    gpu, cores = devices.find_gpu(), f"{os.cpu_count()} cores"
    card = ""
    if gpu is not None:
        lacks = (
            ""
            if devices.CUDA in devices.providers()
            else ": pip install 'faceworkbook[gpu]' in place of [fast]"
        )
        card = f"{gpu.name} ({gpu.memory / 1024:.0f} GB, driver {gpu.driver}{lacks}) and "
    yield OK, f"computes on: {card}{cores}"


def check_network() -> Iterator[Line]:
    """Yield which engine runs the embedded network, and whether a known face gives the known descriptor."""
    from faceworkbook import backbones, images
    from faceworkbook.descriptors import engines

    try:
        backbone = backbones.load(NETWORK)
        pixels = images.face_pixels(project.resolve(FACE).read_bytes(), backbone.preprocessing)[None]
        engine = engines.choose(backbone)
        begun = time.perf_counter()
        vector = np.asarray(engine.run(pixels))[0]
        seconds = time.perf_counter() - begun
    except (ValueError, OSError, ImportError) as error:
        yield WRONG, f"network: {NETWORK} does not run: {error}"
        return
    difference = compare(vector)
    state = OK if difference <= LARGEST_DIFFERENCE else WRONG
    yield (
        state,
        f"network: {NETWORK} by {engine.name}, {seconds:.2f} s a face; a known descriptor differs by {difference:.1e}",
    )


def compare(vector: np.ndarray) -> float:
    """Return the relative difference between the first numbers of a descriptor and those of `KNOWN`."""
    known = np.asarray(KNOWN)
    return float(np.linalg.norm(vector[: len(known)] - known) / np.linalg.norm(known))
