"""Running notebooks: skipped when finished, run again when anything changed, readable when they fail."""

from __future__ import annotations

import errno
import json

import cv2
import nbformat
import pytest
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError

from faceworkbook import cli, project
from faceworkbook.reports import experiments, finished, index, runner
from faceworkbook.reports.runner import RunFailed

pytestmark = pytest.mark.notebooks

WRITES = """
import json, pathlib
from faceworkbook.reports import runs
run = runs.start(out, "first")
if fail:
    raise ValueError("the picture is upside down")
run.save_values({"figures": [{"model": "m", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10}]})
print("made with", seed)
"""
PARAMETERS = "seed = 0  # any\nfail = False  # true: fail\nroot = ''  # folder\nout = ''  # folder\nstep = ''  # own folder\nsmoke = False  # quick"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project of one small notebook."""
    folder = tmp_path / "notebooks" / "experiments"
    folder.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "notebooks" / "index.ipynb")
    tagged = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    title = nbformat.v4.new_markdown_cell("# First\n\n## Part")
    cells = [title, tagged, nbformat.v4.new_code_cell(WRITES.strip())]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, tmp_path / "notebooks" / "first.ipynb")
    (folder / "small.yaml").write_text("name: small\ntitle: Small\nsteps: [first]\n")
    (tmp_path / "faces").mkdir()
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(finished, "hash_code", lambda: "this code")
    return tmp_path


def run(**given):
    return runner.run(experiments.read("small", given=given))


def test_finished_steps_are_skipped_until_something_changes(home, monkeypatch):
    (first,), report = run(root="faces")
    assert not first.skipped and "made with 0" in report.read_text()
    (second,), _ = run(root="faces")
    assert second.skipped
    (home / "faces" / "a.jpg").write_bytes(b"x")
    assert not run(root="faces")[0][0].skipped
    monkeypatch.setattr(finished, "hash_code", lambda: "other code")
    assert not run(root="faces", seed=1)[0][0].skipped
    assert "made with 1" in report.read_text()


def test_failed_notebook_leaves_a_readable_page_and_runs_again(home, capsys):
    with pytest.raises(
        RunFailed, match=r"first.ipynb failed in cell \d+: ValueError: the picture is upside down"
    ):
        run(fail=True)
    page = (home / "results" / "small" / "first" / "failed.html").read_text()
    assert "upside down" in page and 'id="error"' in page
    assert nbformat.read(home / "results" / "small" / "first" / "failed.ipynb", 4).cells
    assert cli.main(["run", "small", "-p", "fail=true"]) == 1
    assert "failed.html#error" in (home / "results" / "index.html").read_text()
    assert "upside down" in capsys.readouterr().err
    assert cli.main(["run", "small"]) == 0
    out = capsys.readouterr().out
    assert "report: results/small/report.html" in out


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (
            RuntimeError("Kernel died"),
            "first.ipynb: Kernel died; often the memory is used up: end other programs",
        ),
        (
            PapermillExecutionError(0, 3, "", "MemoryError", "Unable to allocate 9 GiB", []),
            "failed in cell 3: MemoryError: Unable to allocate 9 GiB; the memory is used up: end other programs",
        ),
        (
            PapermillExecutionError(
                0,
                8,
                "",
                "ResourceExhaustedError",
                "{{function_node __wrapped__Mul_device_/job:localhost/device:CPU:0}} OOM when allocating tensor with "
                "shape[4096,4096] and type float on /job:localhost/device:CPU:0 by allocator mklcpu [Op:Mul] name: ",
                [],
            ),
            "failed in cell 8: ResourceExhaustedError: OOM when allocating tensor with shape[4096,4096] and type float; the "
            "memory is used up: end other programs, or take fewer faces, smaller pictures, narrower layers or",
        ),
    ],
)
def test_a_kernel_without_memory_ends_in_a_sentence_with_advice(home, monkeypatch, capsys, raised, words):
    def execute(source, output, **options):
        nbformat.write(nbformat.read(source, 4), output)
        raise raised

    monkeypatch.setattr("papermill.execute_notebook", execute)
    assert cli.main(["run", "small", "--cold"]) == 1
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message and "failed.html" in message
    assert (home / "results" / "small" / "first" / "failed.html").is_file()


@pytest.mark.parametrize(
    "error", [MemoryError(), cv2.error("(-4:Insufficient memory) Failed to allocate 5952432 bytes")]
)
def test_a_command_without_memory_ends_in_a_sentence_with_advice(monkeypatch, capsys, error):
    def raise_it(*_):
        raise error

    monkeypatch.setattr("faceworkbook.serving.command.run", raise_it)
    assert cli.main(["predict", "photo.jpg"]) == 1
    assert capsys.readouterr().err.startswith("workbook: the memory is used up; end other programs")


def test_a_failure_leaves_an_earlier_page_alone(home):
    run(seed=3)
    folder = home / "results" / "small" / "first"
    with pytest.raises(RunFailed, match=r"failed.html#error"):
        run(seed=4, fail=True)
    assert "made with 3" in (folder / "report.html").read_text()
    page = index.write(home / "results").read_text()
    assert 'href="small/first/failed.html#error">first failed: the error<' in page
    # Figures of seed 3 do not stand under seed 4.
    assert json.loads((folder / "params.json").read_text())["seed"] == 4 and "[0.400, 0.600]" not in page
    run(seed=4)
    page = index.write(home / "results").read_text()
    assert "failed" not in page and "[0.400, 0.600]" in page
    assert "made with 4" in (folder / "report.html").read_text()
    assert not [*folder.glob("failed*"), *folder.glob("running*")]


def test_a_notebook_that_runs_twice_keeps_the_results_of_both(home):
    twice = home / "notebooks/experiments/twice.yaml"
    steps = "[{notebook: first, name: seed_5, parameters: {seed: 5}}, first]"
    twice.write_text(f"name: twice\ntitle: Twice\nsteps: {steps}\n")
    results, _ = runner.run(experiments.read("twice"))
    assert [result.folder.name for result in results] == ["seed_5", "first"]
    folders = [result.folder for result in results]
    assert [json.loads((f / "params.json").read_text())["seed"] for f in folders] == [5, 0]
    assert all((f / "metrics.json").exists() for f in folders)
    # What a step has lost is made again, and only that.
    (folders[0] / "metrics.json").unlink()
    again, _ = runner.run(experiments.read("twice"))
    assert (folders[0] / "metrics.json").exists() and not again[0].skipped


def test_unknown_parameter_stops_before_anything_runs(home, capsys):
    assert cli.main(["run", "small", "-p", "sead=1"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err
    assert not (home / "results").exists()


def test_results_that_cannot_be_written_are_named(home, capsys):
    (home / "taken").write_text("a file")
    assert cli.main(["run", "small", "--results", "taken"]) == 2
    predicted = capsys.readouterr().err
    assert "taken/small" in predicted and "--results" in predicted and "Errno" not in predicted


def test_two_runs_at_once_do_not_meet(home):
    folder = home / "results" / "small"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(RunFailed, match="another run"):
        run()


def test_run_folder_and_index(home):
    assert cli.main(["run", "small", "-p", "seed=3"]) == 0
    folder = home / "results" / "small" / "first"
    assert json.loads((folder / "params.json").read_text())["seed"] == 3
    assert json.loads((folder / "environment.json").read_text())["seed"] == 3
    index = (home / "results" / "index.html").read_text()
    assert "[0.400, 0.600]" in index and 'href="small/first/report.html"' in index
    assert 'href="small/report.html">report<' in index


def test_paths_are_read_from_the_project(home, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert project.resolve("faces") == home / "faces"
    assert project.shorten(home / "faces") == "faces"


def test_index_lists_repeated_folds_and_survives_a_broken_record(tmp_path):
    for step, text in {
        "01_faces": "{}",
        "06_cross_validation": json.dumps(
            {
                "folds": [
                    {"metric": "accuracy", "mean": 0.9, "low": 0.8, "high": 1.0, "n_fits": 25, "n_test": 40}
                ]
            }
        ),
        "07_compare": '{"figures": [',
    }.items():
        (tmp_path / "toy" / step).mkdir(parents=True)
        (tmp_path / "toy" / step / "metrics.json").write_text(text)
        (tmp_path / "toy" / step / "environment.json").write_text('{"started": "2026-01-02T03:04:05+00:00"}')
    (tmp_path / "toy" / "01_faces" / "params.json").write_text(
        '{"dataset": "set of toys", "label": "gender"}'
    )
    page = index.write(tmp_path).read_text()
    assert "folds (25 fits)" in page and "[0.800, 1.000]" in page and "set of toys" in page
    assert "2026-01-02 03:04" in page


def test_braces_in_a_folder_s_name_are_no_fields(home):
    assert cli.main(["run", "small", "--results", "results {seed} {x}"]) == 0
    assert (home / "results {seed} {x}" / "small" / "first" / "report.html").exists()


def test_a_misspelt_parameter_through_plain_papermill_is_refused_by_the_notebook(home):
    import papermill

    notebook = str(home / "notebooks" / "first.ipynb")
    with pytest.raises(
        papermill.exceptions.PapermillExecutionError, match="no parameter 'sead'; did you mean 'seed'"
    ):
        papermill.execute_notebook(
            notebook,
            str(home / "o.ipynb"),
            parameters={"sead": 1, "out": str(home / "out")},
            progress_bar=False,
        )
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="parameter 'fail' got 'false'"):
        papermill.execute_notebook(
            notebook,
            str(home / "o.ipynb"),
            parameters={"fail": "false", "out": str(home / "out")},
            progress_bar=False,
        )
    assert not (home / "out").exists()


def test_other_weights_behind_a_network_s_name_are_another_step(tmp_path, monkeypatch):
    """Files in the weights folder stand in no parameter: a step was taken for finished after they were exchanged."""
    from faceworkbook import backbones
    from faceworkbook.images import Preprocessing

    notebook = tmp_path / "02_descriptors.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    made = {"weights": "0" * 64, "size": (12, 12)}

    def open_mine(weights, tap):
        tap_table = {"last": backbones.Tap("last", 5)}
        look = Preprocessing(made["size"], "RGB", (127.5,) * 3, 1 / 127.5)
        return backbones.Backbone("mine", "last", tap_table, look, made["weights"], lambda: None)

    monkeypatch.setattr(backbones, "_registry", {**backbones._registry, "mine": (open_mine, ())})
    step = experiments.Step("02_descriptors", notebook, {"backbone": ["mine"], "weights": []})
    known = [finished.fingerprint(step, "code", "")]
    made["weights"] = "1" * 64
    known.append(finished.fingerprint(step, "code", ""))
    made["size"] = (24, 24)
    known.append(finished.fingerprint(step, "code", ""))
    assert len(set(known)) == 3
    assert finished.fingerprint(step, "code", "") == known[-1]
    other = experiments.Step("02_descriptors", notebook, {"backbone": "nowhere_to_be_seen"})
    assert finished.fingerprint(other, "code", "") != known[-1]


def test_a_folder_that_cannot_be_written_is_named_in_a_sentence(capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system", "/media/a.csv")

    monkeypatch.setattr("faceworkbook.serving.command.run", refuse)
    assert cli.main(["predict", "photo.jpg"]) == 2
    text = (
        "workbook: /media/a.csv cannot be opened or written: Read-only file system; check the folder and its"
    )
    assert capsys.readouterr().err.startswith(text)


def test_a_sweep_into_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    home, monkeypatch, capsys
):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr(runner.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr("faceworkbook.reports.jobs.run", lambda *_, **__: pytest.fail("began"))
    assert cli.main(["run", "small", "--set", "seed=1,2"]) == 2
    assert (
        "results cannot be written to results/small.sweep (Read-only file system)" in capsys.readouterr().err
    )
