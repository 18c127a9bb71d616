"""A step that starts from another run's model: what it has seen and what it reads are compared by content."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faceworkbook import faces
from faceworkbook.reports import runs, starts
from faceworkbook.reports.starts import StartError

BLOCK = {
    **{
        "kind": "network",
        "network": "net",
        "tap": "pool",
        "mirror": "",
        "weights_sha256": "abc",
        "precision": "float32",
    },
    **{"preprocessing": {"size": [224, 224], "crop_margin": 0.2}, "dim": 1024},
}


def draw(folder, names, seed):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        noise = np.random.default_rng(seed + i).integers(0, 255, (12, 12, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC))


def table(n, *, name, people=None):
    columns = {
        "image": [f"{i}.png" for i in range(n)],
        "identity": people or [f"{name}{i}" for i in range(n)],
    }
    return faces.build(columns, dataset=name)


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """A run that learned from six faces, row 5 of its table not among them."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    draw(tmp_path / "a", [f"{i}.png" for i in range(6)], seed=0)
    run = runs.Run(tmp_path / "results" / "a" / "03_classifier", "03_classifier")
    run.folder.mkdir(parents=True)
    nothing = starts.open_start("", [BLOCK])
    nothing.write(run, table(6, name="a"), np.arange(5), root=tmp_path / "a")
    draw(tmp_path / "b", [f"{i}.png" for i in range(4)], seed=50)
    return run


def check(earlier, here, tested=(0, 1, 2, 3)):
    start = starts.open_start("results/a/03_classifier", [BLOCK])
    return starts.check(start, here, earlier.folder.parents[2] / "b", tested=np.array(tested))


def test_a_model_that_has_seen_nobody_is_started_from(earlier):
    start = check(earlier, table(4, name="b"))
    assert (
        "None of the 4 tested faces shares a picture (bytes, near copies) or a person with the 5 faces"
        in start.checked
    )
    inside = starts.open_start("results/a/03_classifier/predictor", [BLOCK])
    assert inside.folder == earlier.folder, "the predictor's folder leads to its run"
    assert starts.open_start("", []).checked == "The weights begin at random."


def plant_bytes(a, b):
    (b / "2.png").write_bytes((a / "1.png").read_bytes())


def plant_near_copy(a, b):
    small = cv2.resize(cv2.imread(str(a / "1.png")), (60, 60), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(b / "2.png"), small, [cv2.IMWRITE_PNG_COMPRESSION, 0])


@pytest.mark.parametrize("plant", [plant_bytes, plant_near_copy])
def test_a_planted_copy_among_the_tested_faces_is_refused(earlier, plant):
    home = earlier.folder.parents[2]
    plant(home / "a", home / "b")
    with pytest.raises(
        StartError, match=r"1 of the 4 faces .*\(1 on the picture itself or a copy\), the first is 'b:2.png'"
    ):
        check(earlier, table(4, name="b"))
    check(earlier, table(4, name="b"), tested=(0, 1, 3))  # a copy that is not tested does no harm


def test_a_planted_person_is_refused(earlier):
    here = table(4, name="b", people=["a1", "b1", "b2", "b3"])
    with pytest.raises(
        StartError, match=r"1 of the 4 faces .*\(0 on the picture itself or a copy\), the first is 'b:0.png'"
    ):
        check(earlier, here)
    check(earlier, table(4, name="b", people=["a5", "b1", "b2", "b3"]))  # of whom it has seen nothing


def test_what_the_start_of_a_start_has_seen_counts_too(earlier):
    home = earlier.folder.parents[2]
    second = runs.Run(home / "results" / "b" / "03_classifier", "03_classifier")
    second.folder.mkdir(parents=True)
    check(earlier, table(4, name="b"), tested=(3,)).write(
        second, table(4, name="b"), np.arange(3), root=home / "b"
    )
    start = starts.open_start("results/b/03_classifier", [BLOCK])
    assert len(start.faces) == 5 + 3
    with pytest.raises(StartError, match="1 of the 1 faces that are tested"):
        starts.check(start, table(6, name="a"), home / "a", tested=np.array([0]))
    starts.check(start, table(6, name="a"), home / "a", tested=np.array([5]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tap": "other"}, "tap 'pool' there, 'other' here"),
        ({"weights_sha256": "other"}, "weights_sha256 'abc' there, 'other' here"),
        (
            {"preprocessing": {"size": [112, 112], "crop_margin": 0.2}},
            "preprocessing .*224.* there, .*112.* here",
        ),
        ({"dim": 512}, "dim 1024 there, 512 here"),
        ({"kind": "file"}, "read from a file name no network"),
    ],
)
def test_other_inputs_are_refused(earlier, changed, words):
    with pytest.raises(StartError, match=words):
        starts.open_start("results/a/03_classifier", [{**BLOCK, **changed}])
    with pytest.raises(StartError, match="reads 1 blocks of descriptors, this run has 2"):
        starts.open_start("results/a/03_classifier", [BLOCK, BLOCK])


def test_a_folder_that_is_no_run_and_pictures_that_are_gone_are_refused(earlier):
    home = earlier.folder.parents[2]
    with pytest.raises(
        StartError, match=r"start=results/a: results/a lacks trained_on.json and trained_on.parquet"
    ):
        starts.open_start("results/a", [BLOCK])
    (home / "a" / "2.png").unlink()
    with pytest.raises(StartError, match="1 of the 5 pictures that it was trained on are not there any more"):
        check(earlier, table(4, name="b"))


@pytest.mark.parametrize("classifier", ["linear", "kernel", SimpleNamespace(name="own")])
def test_only_networks_of_this_workbook_start(earlier, classifier):
    start = starts.open_start("results/a/03_classifier", [BLOCK])
    with pytest.raises(StartError, match=r"allowed are \['mlp', 'residual_mlp'\]"):
        start.options(classifier)
    with pytest.raises(StartError, match="holds no classifier on descriptors"):
        start.options("mlp")
    assert starts.open_start("", [BLOCK]).options(classifier) == {}


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_the_model_is_read_where_it_is_the_classifier_that_was_asked_for(earlier):
    from faceworkbook import tasks, training

    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    labels = tasks.labels_of_classes(np.where(x[:, 0] > 0, "a", "b"), name="letter")
    split = SimpleNamespace(train=np.arange(30), validation=np.arange(30, 40))
    training.fit_mlp(x, labels, split, folder=earlier.folder, widths=(4,), epochs=1)
    with pytest.raises(StartError, match=r"is not the one that trained_on.json speaks of"):
        starts.open_start("results/a/03_classifier", [BLOCK])
    nothing, place = starts.open_start("", [BLOCK]), earlier.folder.parents[2] / "a"
    nothing.write(earlier, table(6, name="a"), np.arange(5), root=place)
    start = starts.open_start("results/a/03_classifier", [BLOCK])
    assert start.options("mlp")["start"].task == labels.task
    with pytest.raises(StartError, match="its model is mlp of letter, and classifier='residual_mlp'"):
        start.options("residual_mlp")
