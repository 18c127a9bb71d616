"""A disk that fails at one operation: `shim.c`, compiled and loaded before libc by a process of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPO = HERE.parents[1]
COUNT, FREEZE, TEAR, ONCE, FULL = range(5)
# A kill, a kill in the midst of a write, a bad sector, a full disk.
KINDS = {"kill": FREEZE, "torn": TEAR, "EIO": ONCE, "ENOSPC": FULL}
NUMBERS = {ONCE: errno.EIO, FULL: errno.ENOSPC}
PRELOAD = "LD_PRELOAD"


def compiler() -> str:
    """Return the system's C compiler; empty where there is none, or another system than Linux."""
    return (shutil.which("cc") or shutil.which("gcc") or "") if sys.platform == "linux" else ""


def build(folder: Path) -> Path:
    """Compile the shim into `folder`."""
    library = folder / "shim.so"
    command = [compiler(), "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """Return the environment of a process whose disk can fail."""
    paths = os.pathsep.join([str(REPO / "lib"), str(REPO), str(REPO / "tests" / "training")])
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "FACEWORKBOOK_HOME": str(REPO)}
    return {**os.environ, **quiet, PRELOAD: str(library), "PYTHONPATH": paths}


@dataclass(frozen=True)
class Disk:
    """The shim of this process; see `environment`."""

    library: ctypes.CDLL

    @classmethod
    def here(cls) -> Disk:
        library = ctypes.CDLL(os.environ[PRELOAD])
        library.faults_last.restype = ctypes.c_char_p
        library.faults_disarm.restype = ctypes.c_long
        library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int]
        return cls(library)

    def arm(self, folder: Path, kind: int = COUNT, at: int = 0) -> None:
        """Count operations below `folder`, and fail at number `at`."""
        self.library.faults_arm(os.fsencode(folder), kind, at, NUMBERS.get(kind, 0))

    def disarm(self) -> int:
        """Let all through again; return how many operations there were."""
        return self.library.faults_disarm()

    @property
    def last(self) -> str:
        """The operation that failed, and its file."""
        return os.fsdecode(self.library.faults_last())
