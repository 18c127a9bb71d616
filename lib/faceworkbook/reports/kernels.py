"""Kernels that are forked from a process which has made the imports: a second each instead of ten.

A kernel has a process, a namespace and a random state of its own, as one that is started cold: what a notebook does,
and its crash, reach no other. Where forking is not safe (another system than Linux, threads that a fork would lose,
an interpreter of the kernel's own), kernels are started cold.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

from faceworkbook.reports import finished, parameters

# Imported ahead: packages that begin no thread of their own by that. Others are left to the notebook.
PACKAGES = (
    "faceworkbook",
    "fairlearn",
    "keras",
    "matplotlib",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "statsmodels",
    "tensorflow",
)
# A module in the folder that a command was given in takes no library's place; the kernel adds its own folder at the end.
START = "import sys; sys.path[:] = filter(None, sys.path); from faceworkbook.reports.kernel_template import main; main()"
ALWAYS = {"ipykernel.kernelapp": [], "ipykernel.debugger": []}
# Their values differ from run to run and are read by no library when it is imported.
_OWN_VARIABLES = ("FACEWORKBOOK_HOME", "PYTEST_CURRENT_TEST", "PWD", "OLDPWD", "COLUMNS", "LINES")
SECONDS = 300  # that an answer of the template may take: imports on a busy machine


def find_imports(notebook: Path) -> dict[str, list[str]]:
    """Return the modules that a notebook imports, of those in `PACKAGES`, and the names that it takes from each."""
    modules: dict[str, list[str]] = {}
    for kind, source, _ in parameters.read_cells(notebook):
        if kind != "code":
            continue
        for node in _parse(source):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    modules.setdefault(alias.name, [])
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return {name: taken for name, taken in modules.items() if name.partition(".")[0] in PACKAGES}


def _parse(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:  # of the notebook's own, or a magic of IPython
        return []


class Template:
    """The process that kernels are forked from, see `faceworkbook.reports.kernel_template`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        # Frozen modules off as ipykernel has it.
        command = [sys.executable, "-Xfrozen_modules=off", "-c", START, str(theirs.fileno())]
        with theirs:
            # In a session of its own a key pressed to stop the run does not reach it first.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        self._socket.settimeout(SECONDS)
        self._answers = self._socket.makefile("rb")
        self.close = weakref.finalize(self, _end, self._socket, self._answers, self._process)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.close.alive and self._process.poll() is None

    def prepare(self, modules: dict[str, list[str]]) -> None:
        """Let it import modules, without waiting for that."""
        self._send({"modules": modules})

    def fork(self, argv: Sequence[str], cwd: str, env: dict[str, str]) -> Kernel | None:
        """Return a new kernel's process, which writes where this one does; None where there can be none."""
        self._send({"argv": list(argv), "cwd": cwd, "env": env}, files=(1, 2))
        try:
            answer = json.loads(self._answers.readline() or b"{}")
        except (OSError, ValueError):
            answer = {}
        if not answer:
            self.close()
        return Kernel(answer["pid"]) if "pid" in answer else None

    def _send(self, command: dict, files: Sequence[int] = ()) -> None:
        line = json.dumps(command).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [line], files)
            self._socket.sendall(line[sent:])
        except OSError:
            self.close()


def _end(channel: socket.socket, answers, process: subprocess.Popen) -> None:
    answers.close()
    channel.close()
    process.terminate()
    process.wait()


class Kernel:
    """A forked process, with what `jupyter_client` asks of a ``subprocess.Popen``.

    It is a child of the template: its end is seen, its exit code is not.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = -1
        else:
            weakref.finalize(self, os.close, self._handle)

    def poll(self) -> int | None:
        """Return None while it runs, then 0."""
        if self._handle < 0:
            return 0
        waiting = select.poll()
        waiting.register(self._handle, select.POLLIN)
        return 0 if waiting.poll(0) else None

    def wait(self) -> int:
        """Wait for its end."""
        if self._handle >= 0:
            select.select([self._handle], [], [])
        return 0

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


def open_template(notebook: Path) -> Template | None:
    """Return this process's template, which imports what a notebook does; None where forking is not safe.

    There is another one as soon as the library or the environment has changed.
    """
    if not (sys.platform == "linux" and hasattr(os, "pidfd_open") and Path("/proc/self/task").is_dir()):
        return None
    variables = tuple(sorted((k, v) for k, v in os.environ.items() if k not in _OWN_VARIABLES))
    code = finished.hash_code()
    template = _open(code, variables)
    if not template.alive:
        _open.cache_clear()
        template = _open(code, variables)
    template.prepare(find_imports(notebook))
    return template


@functools.lru_cache(maxsize=1)
def _open(code: str, variables: tuple) -> Template:
    template = Template()
    template.prepare(ALWAYS)
    return template
