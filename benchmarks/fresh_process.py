"""Measure something in a process of its own, so that memory and first-use times are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def peak_memory() -> float:
    """The most memory in GB that this process has had; `getrusage` would count that of the process it came from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def call(module: str, function: str, *arguments, environment: dict[str, str] | None = None) -> dict:
    """What ``module.function(*arguments)`` returns (a dict of plain types), computed in a fresh process.

    `environment` is added to this process's.
    """
    code = (
        f"import importlib, json; result = importlib.import_module({module!r}).{function}(*{arguments!r}); "
        "print(json.dumps(result))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env=os.environ | (environment or {}),
    )
    if done.returncode:
        raise RuntimeError(f"{module}.{function}{arguments} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
