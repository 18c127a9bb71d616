"""Points of a sweep in a process of their own: ``python -m faceworkbook.reports.point_worker``.

Each line of its input is a point as JSON; the input's end is that of whoever waits for it, and then it stops. Its output
is one JSON object a line: a step that is settled, and at the end of a point why it failed, or nothing.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from dataclasses import replace
from pathlib import Path


def main() -> None:
    """Run points as they come."""
    points, events = queue.SimpleQueue(), os.fdopen(os.dup(1), "w")
    threading.Thread(target=_read, args=(points,), daemon=True).start()
    while True:
        error = _run(points.get(), events)
        print(json.dumps({"error": error}), file=events, flush=True)


def _run(given: dict, events) -> str:
    """Run one point; return why it failed."""
    os.environ["FACEWORKBOOK_HOME"] = given["home"]
    from faceworkbook.reports import experiments, runner

    def notice(result: runner.Result) -> None:
        state = "copied" if result.shared else "unchanged" if result.skipped else "finished"
        record = {"step": result.step.name, "state": state, "seconds": round(result.seconds, 1)}
        print(json.dumps(record), file=events, flush=True)

    try:
        _log_to(Path(given["results"]) / given["name"])
        options = {name: given[name] for name in ("given", "results", "name", "swept")}
        experiment = replace(experiments.read(given["file"], **options), sweep=given["sweep"])
        runner.run(
            experiment,
            results=given["results"],
            since=given["since"],
            cold=given.get("cold", False),
            wait=True,
            notice=notice,
        )
    except (RuntimeError, ValueError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def _read(points: queue.SimpleQueue) -> None:
    # A sweep that is killed takes its points along; the kernel notices that this process is gone.
    # Not by sys.stdin: its lock, held by a thread that waits, aborts the interpreter at its end.
    with open(0, "rb", closefd=False) as given:
        for line in given:
            points.put(json.loads(line))
    os._exit(130)


def _log_to(folder: Path) -> None:
    """Write what is printed from now on to a point's log."""
    from faceworkbook.reports.runner import LOG

    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
        os.dup2(log, stream.fileno())
    os.close(log)


if __name__ == "__main__":
    main()
