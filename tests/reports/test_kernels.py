"""Forked kernels show what cold ones show, know nothing of each other, and take nobody with them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest

from faceworkbook import cli
from faceworkbook.reports import experiments, jobs, kernels, runner, sweeps
from faceworkbook.reports.experiments import Step
from faceworkbook.reports.runner import RunFailed

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="kernels are started cold here"
    ),
]

SHOWS = """
import os, sys, warnings
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from faceworkbook.evaluation import metrics
names = [name for name in globals() if not name.startswith("_")]
print(sorted(set(names) - {"In", "Out", "exit", "quit", "get_ipython", "open"}))
print(os.getcwd(), sys.argv[0].endswith(".py") or sys.argv[0], sys.path, __name__)
print(os.environ["MPLBACKEND"], plt.get_backend(), os.environ["OF_THE_RUN"])
print(np.random.default_rng(0).random(), np.random.RandomState(0).rand())
warnings.warn("heard", stacklevel=1)
warnings.warn("heard too", DeprecationWarning, stacklevel=1)
fig, ax = plt.subplots()
ax.plot([1, 2])
plt.show()
pd.DataFrame({"a": [1.5, 2]})
"""
SPOILS = """
import os, random, warnings
import matplotlib, numpy as np
matplotlib.rcParams["axes.facecolor"] = "red"
np.random.seed(1), random.seed(1)
np.set_printoptions(precision=1)
warnings.simplefilter("error")
os.environ["OF_THE_RUN"] = "spoilt"
os.chdir("/")
"""


def step(folder: Path, name: str, source: str) -> Step:
    cell = nbformat.v4.new_code_cell(source.strip())
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), path)
    return Step(name, path, {})


def outputs(folder: Path, each: Step, **options) -> list:
    place = folder / "results" / "toy" / each.name
    runner.run_step(each, place, "any", each.name, **options)
    (cell,) = nbformat.read(place / "notebook.ipynb", 4).cells[-1:]
    return json.loads(json.dumps(cell.outputs))


def test_a_forked_kernel_shows_what_a_cold_one_shows_whatever_ran_before(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THE_RUN", "first")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    shows = step(tmp_path, "shows", SHOWS)
    cold = outputs(tmp_path, shows, cold=True)
    assert len(cold) >= 4 and "image/png" in cold[-2]["data"]
    outputs(tmp_path, step(tmp_path, "spoils", SPOILS))
    warm = outputs(tmp_path, shows)
    assert any("heard" in output.get("text", "") for output in cold)
    # The launcher's own path, and the file that a cell is taken to be, after the number of its process.
    shown = [re.sub(r"ipykernel_launcher|/ipykernel_\d+/", "True", json.dumps(each)) for each in (cold, warm)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("cold", [True, False])
def test_what_is_printed_is_one_output_however_it_was_sent(cold, tmp_path):
    source = "import sys\nprint('one', flush=True)\nprint('two', flush=True)\nprint('other', file=sys.stderr)"
    shown = outputs(tmp_path, step(tmp_path, "prints", source), cold=cold)
    assert [(each["name"], each["text"]) for each in shown] == [
        ("stdout", "one\ntwo\n"),
        ("stderr", "other\n"),
    ]


def test_a_folder_that_a_command_is_given_in_takes_no_librarys_place(tmp_path, folder_of_namesakes, capfd):
    template = kernels.Template()
    template.prepare({"numpy": [], "faceworkbook.evaluation": ["metrics"]})
    kernel = template.fork([], str(folder_of_namesakes), dict(os.environ))
    assert kernel is not None and template.alive
    kernel.kill()
    template.close()
    assert "working folder" not in capfd.readouterr().err


def test_what_a_kernel_writes_itself_goes_where_its_process_writes_then(capfd):
    with capfd.disabled():
        template = kernels.Template()
        template.prepare({"json": []})
    for i in (1, 2):
        kernel = template.fork([f"--no-such-option={i}", "--debug"], "/", dict(os.environ))
        kernel.wait()
        assert f"no-such-option={i}" in capfd.readouterr().err
    template.close()


def test_two_forked_kernels_draw_different_numbers(tmp_path):
    draws = step(
        tmp_path,
        "draws",
        "import os, random, numpy as np\nprint(np.random.rand(), random.random(), os.getppid())",
    )
    first, second = (outputs(tmp_path, draws)[0]["text"].split() for _ in range(2))
    assert first[0] != second[0] and first[1] != second[1]
    # Both are children of the same process: they were forked.
    assert first[2] == second[2] != str(os.getpid())


LEAVES = """
import atexit, os, threading, time, weakref
from pathlib import Path
where = Path(os.environ["OF_THE_RUN"])
left_open = (where / "open").open("w")
left_open.write("written by its end")
import sqlite3, sys, types
sys.modules["of_a_module"] = held_there = types.ModuleType("of_a_module")
held_there.file = (where / "module").open("w")
held_there.file.write("written too")
atexit.register((where / "registered").write_text, "called")
class Held: pass
held = Held()
weakref.finalize(held, (where / "finalized").write_text, "called")
def finish():
    threading.main_thread().join()
    (where / "thread").write_text("ended")
threading.Thread(target=finish).start()
database = sqlite3.connect(where / "database")
database.execute("create table a (b)")
database.execute("insert into a values (1)")
"""


@pytest.mark.parametrize("cold", [True, False])
def test_what_a_notebook_leaves_open_is_finished_when_its_kernel_ends(cold, tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THE_RUN", str(tmp_path))
    outputs(tmp_path, step(tmp_path, "leaves", LEAVES), cold=cold)
    left = {
        name: (tmp_path / name).read_text()
        for name in ("open", "registered", "finalized", "thread", "module")
    }
    assert left == {
        "open": "written by its end", "registered": "called", "finalized": "called", "thread": "ended",
        "module": "written too",
    }  # fmt: skip
    # The last cell ends with a cursor, which holds its connection.
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith("-journal")]


def test_a_thread_of_ipykernel_that_does_not_end_loses_nothing(tmp_path, monkeypatch):
    """Its kernel waited for it, and was killed before what a module holds back was written."""
    monkeypatch.setenv("OF_THE_RUN", str(tmp_path))
    endless = """
from ipykernel.kernelapp import IPKernelApp
thread = IPKernelApp.instance().control_thread
thread.is_alive, thread.join = (lambda: True), (lambda timeout=None, wait=threading.Event().wait: wait(timeout))
"""
    outputs(tmp_path, step(tmp_path, "waits", LEAVES + endless))
    assert (tmp_path / "module").read_text() == "written too"


def test_a_kernel_that_is_killed_takes_nobody_with_it(tmp_path):
    dies = step(tmp_path, "dies", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(Exception, match="Kernel died"):
        outputs(tmp_path, dies)
    assert "alive" in outputs(tmp_path, step(tmp_path, "lives", "print('alive')"))[0]["text"]


def test_a_template_that_is_killed_is_replaced(tmp_path):
    speaks = step(tmp_path, "speaks", "import os\nprint(os.getppid())")
    before = int(outputs(tmp_path, speaks)[0]["text"])
    os.kill(before, signal.SIGKILL)
    outputs(tmp_path, speaks)  # cold, where the end of the template is not known yet
    after = int(outputs(tmp_path, speaks)[0]["text"])
    assert after not in (before, os.getpid())


def test_a_notebook_that_fails_says_so(tmp_path):
    with pytest.raises(RunFailed, match=r"fails.ipynb failed in cell 1: ZeroDivisionError"):
        outputs(tmp_path, step(tmp_path, "fails", "1 / 0"))


def test_where_threads_run_nothing_is_forked():
    program = textwrap.dedent(
        """
        import threading, time
        import numpy, scipy.linalg
        from faceworkbook.reports import kernel_template
        print(kernel_template._count_unsafe_threads())
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        print(kernel_template._count_unsafe_threads())
        """
    )
    for threads in ("1", "4"):
        made = subprocess.check_output(
            [sys.executable, "-c", program], text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": threads}
        )
        assert made.split() == ["0", "1"]


def test_a_template_that_is_gone_forks_nothing():
    template = kernels.Template()
    template.prepare({"no_such_module": [], "faceworkbook.evaluation": ["metrics", "no_such_name"]})
    assert template.alive
    os.kill(template._process.pid, signal.SIGKILL)
    template._process.wait()
    assert template.fork([], "/", {}) is None and not template.alive


def test_kernels_end_with_the_process_that_runs_them(tmp_path):
    sleeps = step(
        tmp_path, "sleeps", "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    program = (
        "import sys; from pathlib import Path; from faceworkbook.reports import runner; "
        "from faceworkbook.reports.experiments import Step; place = Path(sys.argv[1]); "
        "runner.run_step(Step('sleeps', place / 'sleeps.ipynb', {}), place / 'results' / 'toy' / 'sleeps', 'any', '')"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.DEVNULL)
    written = sleeps.notebook.parent / "pid"
    while not (written.exists() and written.read_text()):
        assert running.poll() is None
        time.sleep(0.05)
    kernel = os.pidfd_open(int(written.read_text()))
    running.kill()
    running.wait()
    while kernels.Kernel(int(written.read_text())).poll() is None:
        time.sleep(0.05)
    os.close(kernel)


def test_what_a_notebook_imports_is_read_from_its_cells(tmp_path):
    source = "%matplotlib inline\nimport keras"
    assert kernels.find_imports(step(tmp_path, "magic", source).notebook) == {}
    source = "import keras\nimport torch\nfrom . import x\nfrom faceworkbook import tasks, project\nif True:\n    import numpy"
    assert kernels.find_imports(step(tmp_path, "plain", source).notebook) == {
        "keras": [],
        "faceworkbook": ["tasks", "project"],
    }


@pytest.mark.parametrize("cold", [True, False])
def test_the_command_starts_kernels_cold_where_that_is_asked_for(cold, tmp_path, monkeypatch):
    asked = []

    def run(experiment, **options):
        asked.append(options["cold"])
        raise RunFailed("far enough")

    monkeypatch.setattr(runner, "run", run)
    command = ["run", "demo", "--smoke", "--results", str(tmp_path), *(["--cold"] if cold else [])]
    assert cli.main(command) == 1 and asked == [cold]


def test_the_points_of_a_sweep_start_their_kernels_cold_too(tmp_path):
    point = sweeps.Point({}, experiments.read("demo", given={"smoke": True}))
    assert (
        jobs.specify(point, tmp_path, 0.0, cold=True)["cold"]
        and not jobs.specify(point, tmp_path, 0.0)["cold"]
    )
