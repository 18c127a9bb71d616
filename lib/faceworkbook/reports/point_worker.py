"""One point of a sweep in a process of its own: ``python -m faceworkbook.reports.point_worker``.

Its first line of input is the point as JSON; the input's end is that of whoever waits for it, and then it stops. Its
output is one JSON object a line: a step that is settled, or why the point failed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path


def main() -> int:
    """Run the point; return the exit code: 0 finished, 1 failed."""
    given = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    os.environ["FACEWORKBOOK_HOME"] = given["home"]
    events = _keep_events(Path(given["results"]) / given["name"])
    from faceworkbook.reports import experiments, runner

    def notice(result: runner.Result) -> None:
        state = "copied" if result.shared else "unchanged" if result.skipped else "finished"
        record = {"step": result.step.name, "state": state, "seconds": round(result.seconds, 1)}
        print(json.dumps(record), file=events, flush=True)

    try:
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
        print(json.dumps({"error": str(error)}), file=events, flush=True)
        return 1
    return 0


def _stop_with_parent() -> None:
    # A sweep that is killed takes its points along; the kernel notices that this process is gone.
    # Not by sys.stdin: its lock, held by a thread that waits, aborts the interpreter at its end.
    while os.read(0, 1):
        pass
    os._exit(130)


def _keep_events(folder: Path):
    """Return the stream that is read; what the point prints goes to its log."""
    from faceworkbook.reports.runner import LOG

    folder.mkdir(parents=True, exist_ok=True)
    events = os.fdopen(os.dup(1), "w")
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return events


if __name__ == "__main__":
    sys.exit(main())
