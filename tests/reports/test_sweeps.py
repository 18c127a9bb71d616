"""Sweeps: their points, what is shared, what is kept, what fails, and what is resumed after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from faceworkbook import cli
from faceworkbook.reports import experiments, finished, jobs, keeping, progress, report_data, sharing, sweeps
from faceworkbook.reports.experiments import ExperimentError, ParameterError
from tests.reports import sweep_toys


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    return sweep_toys.make(tmp_path)


def write(home, **content):
    path = home / "notebooks" / "experiments" / "toy.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | content))


def parameters_of(point, step):
    return next(s.parameters for s in point.experiment.steps if s.name == step)


# --------------------------------------------------------------------------- points


def test_a_grid_crosses_zip_goes_side_by_side_and_seeds_repeat(home):
    write(
        home,
        sweep={"grid": {"net": ["a", "b"]}, "zip": {"dropout": [0.1, 0.2], "seconds": [0, 1]}, "seeds": 3},
    )
    sweep = sweeps.read("toy")
    assert len(sweep.points) == 2 * 2 * 3 and sweep.folder == "toy.sweep"
    assert sweep.points[0].swept == {"dropout": 0.1, "seconds": 0, "net": "a", "seed": 0}
    assert sweep.points[0].name == "toy.dropout-0.1.seconds-0.net-a.seed-0"
    assert {(p.swept["dropout"], p.swept["seconds"]) for p in sweep.points} == {(0.1, 0), (0.2, 1)}
    first = parameters_of(sweep.points[0], "03_classifier")
    assert first["dropout"] == 0.1 and first["out"] == f"results/{sweep.points[0].name}"


def test_a_list_names_points_one_by_one(home):
    write(home, sweep={"list": [{"net": "a", "dropout": 0.1}, {"net": "b"}]})
    points = sweeps.read("toy").points
    assert [parameters_of(p, "03_classifier")["dropout"] for p in points] == [0.1, 0.4]


def test_an_empty_value_has_a_word():
    assert sweeps.describe({"features": "", "members": 1}) == "features none, members 1"


def test_the_command_line_adds_axes_and_overrules_the_files(home):
    write(home, sweep={"grid": {"net": ["a", "b"]}, "seeds": 2})
    axes = [sweeps.parse_axis("net=b"), sweeps.parse_axis("03_classifier.dropout=0.1,0.3")]
    points = sweeps.read("toy", axes).points
    assert [p.name for p in points][:2] == ["toy.net-b.dropout-0.1.seed-0", "toy.net-b.dropout-0.1.seed-1"]
    assert len(points) == 4
    assert sweeps.parse_axis("widths=[64, 32],[16]") == ("widths", [[64, 32], [16]])


def test_an_experiment_without_a_sweep_has_none(home):
    assert sweeps.read("toy") is None


def test_a_swept_seed_trains_and_leaves_the_split_alone(home):
    (point,) = sweeps.read("toy", [("seed", [7])]).points
    seeds = [parameters_of(point, step.name)["seed"] for step in point.experiment.steps]
    assert seeds == [0, 0, 7]
    (point,) = sweeps.read("toy", [("01_faces.seed", [7])]).points
    assert parameters_of(point, "01_faces")["seed"] == 7


@pytest.mark.parametrize(
    ("sweep", "axes", "message"),
    [
        ({"cross": {}}, [], "unknown keys.*grid"),
        ({"grid": {"net": "a"}}, [], r"grid got .*NAME: \[VALUE, VALUE\]"),
        ({"zip": {"net": ["a", "b"], "dropout": [0.1]}}, [], "lists of one length"),
        ({"list": [{}]}, [], "list got"),
        ({"seeds": 0}, [], "a number of seeds"),
        ({"seeds": [1, 1]}, [], "the point seed 1 stands there twice"),
        ({}, [("seed", list(range(1001)))], "1,001 points; at most 1,000"),
        ({}, [("seed", [1]), ("seed", [2])], "one parameter twice"),
        ("seed", [], "'sweep' got 'seed'"),
    ],
)
def test_sweeps_that_cannot_be_run_are_refused(home, sweep, axes, message):
    write(home, sweep=sweep)
    with pytest.raises(ExperimentError, match=message):
        sweeps.read("toy", axes)


@pytest.mark.parametrize(
    ("key", "listed", "message"),
    [
        ("drop", [1], "did you mean 'dropout'"),
        ("dropout", ["much"], "'dropout' got 'much'"),
        ("04_errors.seed", [1], "no step '04_errors'; there are 01_faces"),
        ("01_faces.net", ["a"], "no parameter 'net'"),
    ],
)
def test_wrong_names_and_values_stop_before_anything_runs(home, key, listed, message):
    with pytest.raises(ParameterError, match=message):
        sweeps.read("toy", [(key, listed)])
    assert not (home / "results").exists()


def test_a_parameter_that_is_given_and_swept_is_refused(home):
    """The swept values would have been used without a word."""
    with pytest.raises(ExperimentError, match=r"-p net is swept too.*--set net=VALUE,VALUE"):
        sweeps.read("toy", [("net", ["a", "b"])], given={"net": "a"})
    (point,) = sweeps.read("toy", [("seed", [7])], given={"seed": 3}).points  # the split's, and training's
    assert [parameters_of(point, step.name)["seed"] for step in point.experiment.steps] == [3, 3, 7]


@pytest.mark.parametrize("text", ["seed", "=1", "seed=", "../x=1"])
def test_an_axis_without_name_or_values_is_refused(text):
    with pytest.raises(ParameterError, match="expected NAME=VALUE,VALUE"):
        sweeps.parse_axis(text)


def test_names_of_points_are_folders_that_differ(home):
    long = ["x" * 120 + "1", "x" * 120 + "2"]
    names = [p.name for p in sweeps.read("toy", [("net", long)]).points]
    assert len(set(names)) == 2 and all(len(name) <= 100 for name in names)
    names = [p.name for p in sweeps.read("toy", [("net", ["a/b", "a b"])]).points]
    assert len(set(names)) == 2 and all("/" not in name and " " not in name for name in names)
    names = [p.name for p in sweeps.read("toy", [("net", ["Mine", "mine"])]).points]
    assert len({name.casefold() for name in names}) == 2


def test_two_points_that_run_the_same_are_one(home):
    """0 and 0.0 of a share were two settings, and no difference was seen between them."""
    with pytest.raises(ExperimentError, match=r"points dropout 0 and dropout 0\.0 run the same steps"):
        sweeps.read("toy", [("dropout", [0, 0.0])])


def test_the_command_of_a_point_is_that_point_alone(home):
    point = sweeps.read("toy", [("net", ["a", "b"]), ("seed", [3])], name="mine").points[1]
    record = {
        "name": point.name,
        "given": {},
        "file": "toy",
        "swept": point.swept,
        "sweep": point.experiment.sweep,
    }
    command = report_data.command_of(home, record)
    assert command == "workbook run toy --name mine --set net=b --set seed=3"
    words = command.split()
    axes = [sweeps.parse_axis(words[at + 1]) for at, word in enumerate(words) if word == "--set"]
    (again,) = sweeps.read("toy", axes, name="mine").points
    assert (again.name, again.experiment.steps) == (point.name, point.experiment.steps)


# --------------------------------------------------------------------------- what is shared, and who waits


def test_points_share_what_they_agree_in_and_say_so_before_they_run(home, capsys):
    assert cli.main(["run", "toy", "--set", "net=a,b", "--set", "seed=0,1,2", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "6 points, 9 steps would run, 9 would not; nothing was run" in printed
    assert not (home / "results" / "toy.sweep").exists() and not sweep_toys.ran(home)


def test_a_step_that_says_its_experiment_s_name_is_each_run_s_own(home):
    step = experiments.read("toy").steps[0]
    assert sharing.is_shared(step)
    notebook = nbformat.read(step.notebook, 4)
    notebook.cells.append(nbformat.v4.new_code_cell("print(experiment)"))
    nbformat.write(notebook, step.notebook)
    assert not sharing.is_shared(step)


def test_the_next_point_is_one_that_waits_for_nobody(home):
    points = sweeps.read("toy", [("net", ["a", "b"]), ("seed", [0, 1])]).points
    plan = jobs.plan(points, "results")
    assert len(plan.steps) == 4 and not plan.settled
    plan.running[points[0].name] = plan.left(points[0].name)
    assert plan.next(points[1:]) is points[2]  # the other net: only 01_faces is the same


def test_threads_are_shared_out_among_jobs():
    assert jobs.limit_threads(8, 1) == {}
    assert set(jobs.limit_threads(8, 3).values()) == {"2"}
    assert jobs.limit_threads(2, 4)["OMP_NUM_THREADS"] == "1"


def test_time_left_is_that_of_the_steps_ahead(home):
    points = sweeps.read("toy", [("net", ["a", "b"]), ("seed", [0, 1])]).points
    plan, lines = jobs.plan(points, "results"), []
    shown = progress.Progress(plan, 2, home / "results", write=lines.append)
    assert shown.seconds_left() is None and shown.describe() == "0 of 7 steps are settled"
    first = points[0].name
    for step, key in plan.steps[first]:
        plan.settled.add(key)
        shown(first, {"step": step, "state": "finished", "seconds": 10.0})
    assert shown.seconds_left() == 4 * 10 / 2
    shown(first, jobs.Outcome(first, steps=[{"step": "x", "state": "finished", "seconds": 30.0}]))
    assert lines == [f"[1/4] {first}: finished in 30 s; 3 of 7 steps are settled, about 20 s left"]
    assert [progress.format_seconds(s) for s in (40, 400, 9000)] == ["40 s", "7 min", "2.5 h"]


@pytest.fixture
def opened(monkeypatch):
    """The processes that were opened for points."""
    processes, popen = [], subprocess.Popen

    def start(*given, **options):
        processes.append(popen(*given, **options))
        return processes[-1]

    monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(Popen=start, PIPE=subprocess.PIPE))
    return processes


def test_a_process_of_points_that_ends_is_named_and_replaced(home, opened):
    (point,) = sweeps.read("toy", [("seed", [0])]).points
    spec = {**jobs.specify(point, "results", 0.0), "file": "gone.yaml"}
    machine = jobs.Local(1)
    assert "gone.yaml" in machine.run(spec, lambda event: None).error
    assert "gone.yaml" in machine.run(spec, lambda event: None).error and len(opened) == 1
    worker = jobs.Worker({})
    opened[1].kill()
    ended = worker.run(spec, lambda event: None)
    assert ended.state == "failed" and "its process ended with code -9" in ended.error and not worker.alive
    opened[0].kill()
    opened[0].wait()
    assert "gone.yaml" in machine.run(spec, lambda event: None).error and len(opened) == 3
    (home / "results" / "taken").write_text("")
    assert "taken" in machine.run({**spec, "name": "taken"}, lambda event: None).error and len(opened) == 3
    machine.close()
    worker.close()
    assert all(process.returncode for process in opened)


class Fails:
    """Stands for a machine on which 02_descriptors of net a fails."""

    jobs = 1

    def __init__(self):
        self.began = []

    def run(self, spec, notice):
        self.began.append(spec["name"])
        notice({"step": "01_faces", "state": "finished", "seconds": 1.0})
        if "net-a" in spec["name"]:
            return jobs.Outcome(spec["name"], jobs.FAILED, [], "no weights")
        return jobs.Outcome(spec["name"])

    def close(self):
        pass


def test_a_shared_step_that_failed_is_not_tried_by_every_point(home):
    points = sweeps.read("toy", [("net", ["a", "b"]), ("seed", [0, 1])]).points
    runner, plan = Fails(), jobs.plan(points, "results")
    specs = {point.name: jobs.specify(point, "results", 0.0) for point in points}
    outcomes = jobs.run(points, plan, runner, specs=specs, notice=lambda name, event: None)
    assert [o.state for o in outcomes] == ["failed", "failed", "finished", "finished"]
    assert outcomes[1].error == "02_descriptors failed in toy.net-a.seed-0, and this point needs the same"
    assert runner.began == [points[0].name, points[2].name, points[3].name]


def test_whoever_needs_a_step_that_another_runs_waits_for_it(home, capsys):
    step, order = experiments.read("toy").steps[0], []

    def second():
        with sharing.lock(home, step, "abc"):
            order.append("second")

    thread = threading.Thread(target=second)
    with sharing.lock(home, step, "abc"):
        thread.start()
        while "waiting" not in capsys.readouterr().out:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_an_error_while_progress_is_written_ends_the_sweep(home):
    points = sweeps.read("toy", [("seed", [0, 1])]).points
    runner, plan = Fails(), jobs.plan(points, "results")
    specs = {point.name: jobs.specify(point, "results", 0.0) for point in points}

    def broken(name, event):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        jobs.run(
            points,
            plan,
            runner,
            specs=specs,
            notice=lambda n, e: broken(n, e) if isinstance(e, jobs.Outcome) else None,
        )
    assert len(runner.began) == 1


class Stops(Fails):
    """Stands for a machine whose second point runs until the sweep is ended."""

    jobs = 2

    def __init__(self):
        super().__init__()
        self.begun, self.closed, self.thread = threading.Event(), threading.Event(), None

    def run(self, spec, notice):
        if spec["name"].endswith("seed-0"):
            self.begun.wait()
            return jobs.Outcome(spec["name"])
        self.thread = threading.current_thread()
        self.begun.set()
        self.closed.wait()
        return jobs.Outcome(spec["name"], jobs.FAILED, [], "its process ended with code -15")

    def close(self):
        self.closed.set()
        self.thread.join()


def test_a_point_that_the_end_of_the_sweep_stops_has_not_failed(home):
    points, noticed = sweeps.read("toy", [("seed", [0, 1])]).points, []
    plan, specs = jobs.plan(points, "results"), {p.name: jobs.specify(p, "results", 0.0) for p in points}

    def notice(name, event):
        noticed.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(points, plan, Stops(), specs=specs, notice=notice)
    assert noticed == ["toy.seed-0"]


# --------------------------------------------------------------------------- what is kept


def pretend_finished(home, experiment):
    for step in experiment.steps:
        place = home / "results" / experiment.name / step.name
        place.mkdir(parents=True)
        (place / finished.DONE).write_text("{}")
        record = {"cells": [], "metadata": {"papermill": {"parameters": step.parameters}}}
        (place / finished.NOTEBOOK).write_text(json.dumps(record))


def test_a_finished_run_is_not_replaced_by_other_parameters_without_being_asked(home, capsys):
    pretend_finished(home, experiments.read("toy"))
    assert cli.main(["run", "toy", "-p", "dropout=0.2"]) == 2
    refused = capsys.readouterr().err
    assert "results/toy holds a finished run with dropout=0.4, not 0.2" in refused
    assert "--name toy.dropout-0.2" in refused and "--replace" in refused
    assert not sweep_toys.ran(home)
    keeping.check([experiments.read("toy")], "results")  # the same again
    keeping.check([experiments.read("toy", given={"dropout": 0.2}, name="toy.dropout-0.2")], "results")


def test_a_smoke_run_is_there_to_be_replaced(home):
    pretend_finished(home, experiments.read("toy", given={"smoke": True}))
    keeping.check([experiments.read("toy")], "results")


def test_a_comparison_of_other_points_is_kept(home, capsys):
    folder = home / "results" / "toy.sweep"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(
        json.dumps({"points": [{"point": "toy.seed-0"}, {"point": "toy.seed-9"}]})
    )
    assert cli.main(["run", "toy", "--set", "seed=0,1", "--dry-run"]) == 2
    assert "toy.seed-9 is none of this sweep" in capsys.readouterr().err
    assert cli.main(["run", "toy", "--set", "seed=0,1,9", "--dry-run"]) == 0


def test_jobs_without_a_sweep_are_refused(home, capsys):
    assert cli.main(["run", "toy", "--jobs", "2"]) == 2
    assert "--jobs is for a sweep" in capsys.readouterr().err


# --------------------------------------------------------------------------- whole sweeps


@pytest.mark.notebooks
def test_a_sweep_finishes_what_it_can_and_the_same_command_the_rest(
    home, capsys, opened, folder_of_namesakes
):
    (home / "trouble.txt").write_text("1")
    command = ["run", "toy", "--set", "net=a,b", "--set", "seed=0,1", "--jobs", "2"]
    assert cli.main(command) == 1
    assert len(opened) == 2, "a process a job"
    printed = capsys.readouterr()
    assert "2 of 4 points failed: toy.net-a.seed-1, toy.net-b.seed-1" in printed.err.replace(
        "toy.net-b.seed-1, toy.net-a.seed-1", "toy.net-a.seed-1, toy.net-b.seed-1"
    )
    assert "the picture is upside down" in printed.out and "\r" not in printed.out + printed.err
    ran = sweep_toys.ran(home)
    assert ran.count("01_faces 0") == 1
    assert sorted(line for line in ran if "02" in line) == ["02_descriptors a", "02_descriptors b"]
    page = (home / "results" / "toy.sweep" / "report.html").read_text()
    assert "2 of 4 points failed" in page and "toy.net-a.seed-1/03_classifier/failed.html#error" in page
    assert "exact McNemar" in page

    (home / "trouble.txt").unlink()
    assert cli.main(command) == 0
    assert sorted(sweep_toys.ran(home)[len(ran) :]) == ["03_classifier 1 a 0.4", "03_classifier 1 b 0.4"]
    printed = capsys.readouterr().out
    assert "answer: All 4 points are finished." in printed and "file:///" in printed
    record = json.loads((home / "results" / "toy.sweep" / "sweep.json").read_text())
    assert {p["state"] for p in record["points"]} == {"finished", "unchanged"}
    assert all(0 < p["value"] < 1 for p in record["points"])
    assert "toy.sweep" in (home / "results" / "index.html").read_text()
    logs = [path.read_text() for path in (home / "results").glob("toy.net-?.seed-?/run.log")]
    assert len(logs) == 4 and all("03_classifier: finished in" in log for log in logs)
    assert sum("the picture is upside down" in log for log in logs) == 2
    assert sum("01_faces: copied from" in log for log in logs) == 3, "whichever point came first ran it"

    # A run of its own takes the shared steps from there too.
    assert cli.main(["run", "toy", "--name", "alone", "-p", "dropout=0.1"]) == 0
    assert sweep_toys.ran(home)[len(ran) + 2 :] == ["03_classifier 0 a 0.1"]


@pytest.mark.notebooks
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_sweep_that_is_killed_goes_on_where_it_stopped(home):
    command = [sys.executable, "-m", "faceworkbook.cli", "run", "toy", "--set", "seed=0,1,2", "--jobs", "2"]
    done = home / "results" / "toy.seed-0" / "03_classifier" / "done.json"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not done.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    settled = {p.parent.relative_to(home) for p in home.glob("results/*/*/done.json")}
    ran = len(sweep_toys.ran(home))
    resumed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    again = sweep_toys.ran(home)[ran:]
    assert all(line.startswith("03_classifier") and " 0 " not in line for line in again)
    assert sweep_toys.ran(home).count("01_faces 0") == 1 and len(settled) >= 3
    assert re.search(r"All 3 points are finished\. Over 3 fits: accuracy 0\.\d+ \[", resumed.stdout)


def test_points_of_both_kinds_come_along_where_a_step_is_copied(home, tmp_path):
    source, target = tmp_path / "a" / "01_faces", tmp_path / "b" / "01_faces"
    source.mkdir(parents=True)
    for name in ("landmarks.parquet", "landmarks-mesh.parquet"):
        (source / name).write_text(name)
    (source / finished.DONE).write_text(json.dumps({"outputs": {}}))
    target.mkdir(parents=True)
    (target / "landmarks.parquet").write_text("its own")
    sharing.copy(source, target)
    assert (target / "landmarks-mesh.parquet").read_text() == "landmarks-mesh.parquet"
    assert (target / "landmarks.parquet").read_text() == "its own"


def test_a_step_that_is_begun_anew_while_it_is_copied_is_no_copy(tmp_path):
    source, target = tmp_path / "a" / "01_faces", tmp_path / "b" / "01_faces"
    for place in (source, target):
        place.mkdir(parents=True)
        (place / finished.DONE).write_text(json.dumps({"outputs": {"gone.json": "1"}}))
    with pytest.raises(sharing.TwinGone, match=r"gone\.json is gone"):
        sharing.copy(source, target)
    assert not list(target.iterdir())
