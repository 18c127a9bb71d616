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
    network = {"kind": starts.PICTURES, "network": "faceres_deep", "weights_sha256": "f81b"}
    assert starts.open_start("", [network]).checked == (
        "The network begins with the weights of faceres_deep, its heads at random."
    )
    fresh = network | {"weights_sha256": "untrained"}
    assert starts.open_start("", [fresh]).checked == "The weights begin at random."


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


# --------------------------------------------------------------------------- networks with heads

PICTURES = {
    **{"kind": "pictures", "network": "net", "cut": "conv_3", "weights_sha256": "abc"},
    **{"preprocessing": {"size": [224, 224], "align": "five_points"}, "alignment": {"landmarks": "mesh"}},
}


@pytest.mark.parametrize(
    ("theirs", "own", "words"),
    [
        (PICTURES, BLOCK, "its model reads pictures, this one descriptors"),
        (PICTURES, {**PICTURES, "cut": "conv_2"}, "cut 'conv_3' there, 'conv_2' here"),
        (
            PICTURES,
            {**PICTURES, "alignment": {"landmarks": "yunet"}},
            "alignment .*mesh.* there, .*yunet.* here",
        ),
        (BLOCK, {**BLOCK, "alignment": {"landmarks": "mesh"}}, "alignment None there, .*mesh.* here"),
        ({"kind": "mesh"}, {"kind": "mesh"}, r"here \['mesh'\]"),
    ],
)
def test_pictures_cut_or_aligned_otherwise_are_refused(earlier, theirs, own, words):
    starts.open_start("", [theirs]).write(
        earlier, table(6, name="a"), np.arange(5), root=earlier.folder.parents[2] / "a"
    )
    with pytest.raises(StartError, match=words):
        starts.open_start("results/a/03_classifier", [own])


def test_points_that_align_faces_are_part_of_the_inputs():
    from faceworkbook.landmarks import AlignOptions

    net = SimpleNamespace(
        **{"name": "net", "fingerprint": "abc", "tap": "pool"},
        tap_table={"pool": SimpleNamespace(layer="conv_3")},
        preprocessing=SimpleNamespace(to_dict=lambda: PICTURES["preprocessing"]),
    )
    made = [
        starts.inputs_of_pictures(net, AlignOptions(landmarks=points), cut="")[0]
        for points in ("mesh", "yunet")
    ]
    assert made[0] != made[1] and made[0]["cut"] == "conv_3"
    plain = SimpleNamespace(
        **{**vars(net), "preprocessing": SimpleNamespace(to_dict=lambda: {"size": [9, 9]})}
    )
    assert starts.inputs_of_pictures(plain, AlignOptions(), cut="x")[0]["alignment"] is None


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_one_of_several_saved_nets_is_named_by_its_file(earlier):
    from faceworkbook import tasks
    from faceworkbook.models import multitask

    own = tasks.labels_of_classes(["a", "b"] * 3, name="letter")
    nets = {}
    for name in ("model_single_letter.keras", "model_joint_letter.keras"):
        nets[name] = multitask.build(3, [multitask.make_head(own, rows=np.arange(6))], seed=len(nets))
        multitask.serving_model(nets[name]).save(earlier.path(name))
    place = earlier.folder.parents[2] / "a"
    starts.open_start("", [BLOCK]).write(earlier, table(6, name="a"), np.arange(5), root=place, nets=nets)
    with pytest.raises(
        StartError, match=r"it holds 2 networks, .*; name the file of one, such as results/a/"
    ):
        starts.open_start("results/a/03_classifier", [BLOCK]).net()
    with pytest.raises(StartError, match=r"model_pair\.keras is none of its networks"):
        starts.open_start("results/a/03_classifier/model_pair.keras", [BLOCK]).net()
    named = starts.open_start("results/a/03_classifier/model_single_letter.keras", [BLOCK]).net()
    kernel = named.model.get_layer("letter__logits").get_weights()[0]
    expected = nets["model_single_letter.keras"].model.get_layer("letter__logits").get_weights()[0]
    np.testing.assert_array_equal(kernel, expected)
    assert starts.open_start("", [BLOCK]).net() is None


def test_a_person_whom_several_sets_share_is_known_by_either_name(earlier):
    """Face b:0 bears the name of set c's person here; the start has seen its own set's."""
    home = earlier.folder.parents[2]
    faces_ = table(4, name="b", people=["c9", "b1", "b2", "b3"])
    multi = SimpleNamespace(
        faces=faces_,
        people=table(4, name="b", people=["a1", "b1", "b2", "b3"])["identity"].astype("string"),
        pictures=lambda: [str(home / "b" / f"{i}.png") for i in range(4)],
    )
    begun = {"run": SimpleNamespace(folder=home / "new"), "given": "results/a/03_classifier", "multi": multi}
    with pytest.raises(StartError, match=r"1 of the 4 faces that are tested .*the first is 'b:0.png'"):
        starts.begin_several(**begun, inputs=[BLOCK], tested=np.arange(4))
    allowed = starts.begin_several(**begun, inputs=[BLOCK], tested=np.arange(1, 4))
    assert "None of the 3 tested faces" in allowed.checked
    second = runs.Run(home / "results" / "b" / "09_multitask", "09_multitask")
    second.folder.mkdir(parents=True)
    starts.open_start("", [BLOCK]).write_several(second, multi, np.array([0]), nets={})
    seen = starts.open_start("results/b/09_multitask", [BLOCK]).faces
    assert set(seen["identity"]) == {"a1", "c9"}
