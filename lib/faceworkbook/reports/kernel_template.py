"""The process that kernels are forked from, started by `faceworkbook.reports.kernels.Template`.

It imports libraries and runs nothing, so that each kernel begins as a fresh one does, with its imports made. Commands
come as JSON, one a line, through the socket whose number is its argument; its end is the end of the kernels too.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 0.5  # seconds that the end of a kernel waits for a thread of ipykernel
_TASKS = Path("/proc/self/task")
# jemalloc begins its own thread anew after a fork.
_SAFE = "jemalloc_bg_thd"
_WRITING = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def main() -> None:
    """Serve commands; in a forked process return from there and be a kernel."""
    atexit.register(_leave, os.getpid())  # the first to be registered, so the last to run
    # Read when matplotlib is imported; a kernel sets it before its first cell.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        job = _serve(channel)
    if job is not None:
        _become_kernel(job)


def _serve(channel: socket.socket) -> dict | None:
    """Return the job of a kernel in the process forked for it, None at the end of the commands."""
    kernels: set[int] = set()
    for command, files in _read(channel):
        kernels -= {pid for pid in kernels if os.waitpid(pid, os.WNOHANG)[0]}
        if "modules" in command:
            _import(command["modules"])
            continue
        threads = _count_unsafe_threads()
        if threads:
            answer = {"error": f"{threads} threads run that a fork would lose"}
        elif (pid := _fork()) == 0:
            _write_to(files)
            return command
        else:
            kernels.add(pid)
            answer = {"pid": pid}
        for file in files:
            os.close(file)
        channel.sendall(json.dumps(answer).encode() + b"\n")
    for pid in kernels:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return None


def _read(channel: socket.socket) -> Iterator[tuple[dict, list[int]]]:
    """Yield commands, that for a kernel with the files that were sent with it."""
    begun, files = b"", []
    while True:
        received, more, *_ = socket.recv_fds(channel, 1 << 16, 2)
        if not received:
            return
        files += more
        *lines, begun = (begun + received).split(b"\n")
        for command in map(json.loads, lines):
            yield command, files if "argv" in command else []
            if "argv" in command:  # what is received at once can begin with a command that had no files
                files = []


def _write_to(files: list[int]) -> None:
    """Let standard output and error be those of the process that asked for the kernel."""
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)


def _fork() -> int:
    gc.freeze()  # no kernel looks through what was imported, so that its memory stays shared
    return os.fork()


def _import(modules: dict[str, list[str]]) -> None:
    """Import modules, and those of their names that are modules; what fails, fails again in the notebook."""
    for name, members in modules.items():
        with contextlib.suppress(Exception):
            module = importlib.import_module(name)
            for member in members:
                if not hasattr(module, member):
                    importlib.import_module(f"{name}.{member}")


def _count_unsafe_threads() -> int:
    """Return the threads beside this one and those of OpenBLAS, which begins its own anew after a fork."""
    from threadpoolctl import threadpool_info

    names = []
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text().strip())
    pools = sum(pool["num_threads"] - 1 for pool in threadpool_info() if pool["internal_api"] == "openblas")
    return max(0, len([name for name in names if name != _SAFE]) - 1 - pools)


def _become_kernel(job: dict) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(job["env"] | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(job["cwd"])
    _draw_new_random_state()
    # What a cell raises is a message; the log would only say that an idle kernel was interrupted to be ended.
    quiet = "--IPKernelApp.log_level=CRITICAL"
    sys.argv = ["ipykernel_launcher", *job["argv"], f"--IPKernelApp.parent_handle={os.getppid()}", quiet]
    _kernel_application().launch_instance()


def _kernel_application() -> type:
    from ipykernel.kernelapp import IPKernelApp

    class Application(IPKernelApp):
        """Ends in time: who has asked a kernel to end kills it after some seconds, and what it holds back is lost."""

        def start(self) -> None:
            super().start()
            for number in (signal.SIGINT, signal.SIGTERM):  # it is about to end
                signal.signal(number, signal.SIG_IGN)

        def close(self) -> None:
            # Now and then one of them does not end.
            for thread in (self.control_thread, self.shell_channel_thread):
                if thread is not None:
                    thread.join = functools.partial(thread.join, PATIENCE)
            super().close()

    return Application


def _leave(template: int) -> None:
    """End a kernel once its variables are gone, without taking apart what was imported: that takes two seconds."""
    if os.getpid() == template:
        return
    from IPython.core.interactiveshell import InteractiveShell

    if InteractiveShell.initialized():
        shell = InteractiveShell.instance()
        with contextlib.suppress(Exception):
            shell.displayhook.flush()  # what cells ended with
        shell.user_ns.clear()
        gc.collect()  # files that a cell left open are written by this
    _write_open_files()
    os._exit(0)


def _write_open_files() -> None:
    """Write what modules hold back in files that are open still: the interpreter's own end would do so."""
    # By its type: to ask some libraries' objects for their class imports what they stand for.
    files = [one for one in gc.get_objects() if issubclass(type(one), _WRITING)]
    for file in sorted(files, key=lambda one: not issubclass(type(one), io.TextIOWrapper)):
        with contextlib.suppress(Exception):
            file.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _draw_new_random_state() -> None:
    # A fork copies the states that both drew when they were imported.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
