"""Train on one data set, test on others: on toys."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from faceworkbook import tasks
from faceworkbook.experiments import cross_dataset, overlap
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.training import balancing
from tests.experiments.toys import LINEAR, prepare

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def measure(sets, copies=None, **options):
    n = sum(len(data.faces) for data in sets.values())
    copies = np.full(n, -1) if copies is None else copies
    tied = overlap.join({name: data.faces for name, data in sets.items()}, copies)
    options = {"classifier": LINEAR, "n_boot": 100} | options
    return cross_dataset.measure(sets, tied, **options).set_index(["trained_on", "tested_on"])


def test_every_pair_is_tested_and_a_shifted_set_is_read_badly():
    sets = {
        name: prepare(seed=i, name=name, shift=4.0 * (name == "far"))
        for i, name in enumerate(["A", "B", "far"])
    }
    table = measure(sets)
    assert len(table) == 9
    assert table.loc[("A", "B"), "value"] > 0.85
    assert table.loc[("A", "far"), "value"] < 0.65
    assert table.loc[("far", "far"), "value"] > 0.85
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert (table["excluded_train"] == 0).all() and (table["reason"] == "").all()


@pytest.mark.parametrize(
    "own",
    [
        Classifier("mlp", {"widths": (4,), "epochs": 4, "learning_rate": 0.01, "dropout": 0.1}),
        Classifier(KNeighborsClassifier(5)),
    ],
)
def test_on_its_own_faces_it_is_the_experiments_own_classifier(own):
    """Not a net of default settings; whichever order the other set's classes have."""
    sets = {"A": prepare(seed=1, noise=2.0, name="A"), "B": prepare(seed=2, noise=2.0, name="B")}
    turned = sets["B"].labels
    sets["B"] = replace(
        sets["B"], labels=tasks.labels_of_classes(turned.truth, name="letter", classes=("b", "a"))
    )
    table = measure(sets, classifier=own, seed=5)
    for name, data in sets.items():
        fitted, rows = own.fit(data.matrix, data.labels, data.split, seed=5), data.split.test
        accuracy = (fitted.predict(data.matrix[rows]).argmax(axis=1) == data.labels.codes[rows]).mean()
        assert table.loc[(name, name), "value"] == accuracy


def write_pictures(folder, data, pictures):
    folder.mkdir()
    for image, picture in zip(data.faces["image"], pictures, strict=True):
        cv2.imwrite(str(folder / image.replace(".jpg", ".png")), picture)
    return replace(data, faces=data.faces.assign(image=data.faces["image"].str.replace(".jpg", ".png")))


def test_pictures_that_two_sets_share_under_other_names_never_train_and_test(tmp_path):
    """Copies byte for byte under other names of people; with them all pictures of those people."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (120, 24, 24, 3), dtype=np.uint8) for name in "AB"}
    pictures["B"][:40] = pictures["A"][40:80]
    sets = {name: prepare(120, seed=i, people=60, name=name) for i, name in enumerate("AB")}
    sets = {name: write_pictures(tmp_path / name, data, pictures[name]) for name, data in sets.items()}
    faces = {name: data.faces for name, data in sets.items()}
    tied = overlap.find(faces, {name: tmp_path / name for name in sets})
    shared = tied.table().set_index(["dataset", "other"])
    assert shared["same_picture"].tolist() == [40, 40]
    table = cross_dataset.measure(sets, tied, classifier=LINEAR, n_boot=50).set_index(
        ["trained_on", "tested_on"]
    )
    twin = {("B", i): ("A", 40 + i) for i in range(40)}
    for source, aim in (("A", "B"), ("B", "A")):
        split, n_excluded = cross_dataset._exclude_shared(
            sets[source].split, source, aim, sets[aim].split.test, tied
        )
        trained = np.concatenate([split.train, split.validation])
        left = {(source, i) for i in trained}
        tested = {(aim, i) for i in sets[aim].split.test}
        assert not any((b in left and a in tested) or (a in left and b in tested) for b, a in twin.items())
        # Also no other picture of a person who shares one: each person has two pictures here.
        people = {(a[1] % 60, b[1] % 60) for b, a in twin.items()}
        names = {(i % 60) for _, i in left}, {(i % 60) for _, i in tested}
        a_side, b_side = names if source == "A" else names[::-1]
        assert not any(a in a_side and b in b_side for a, b in people)
        row = table.loc[(source, aim)]
        assert row["excluded_train"] == n_excluded > 0
        assert row["reason"].startswith(f"{n_excluded} training faces show a person or picture")
        assert row["n_train"] == len(split.train)
    assert (table.loc[[("A", "A"), ("B", "B")], "excluded_train"] == 0).all()


def test_near_twins_by_descriptor_never_train_and_test(tmp_path):
    """Pictures saved mirrored look like no copy, but their descriptors coincide."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (120, 24, 24, 3), dtype=np.uint8)
    sets = {name: prepare(120, 64, seed=i, people=120, name=name) for i, name in enumerate("AB")}
    shown = {
        "A": pictures,
        "B": np.concatenate([pictures[:40, :, ::-1], rng.permuted(pictures[40:], axis=1)]),
    }
    sets = {name: write_pictures(tmp_path / name, data, shown[name]) for name, data in sets.items()}
    sets["B"].matrix[:40] = sets["A"].matrix[:40] * 1.5
    faces = {name: data.faces for name, data in sets.items()}
    matrices = {name: data.matrix for name, data in sets.items()}
    tied = overlap.find(faces, {name: tmp_path / name for name in sets}, matrices=matrices)
    shared = tied.table()
    assert shared["same_picture"].tolist() == [0, 0] and shared["near_twin"].tolist() == [40, 40]
    for source, aim in (("A", "B"), ("B", "A")):
        split, n_excluded = cross_dataset._exclude_shared(
            sets[source].split, source, aim, sets[aim].split.test, tied
        )
        trained = np.concatenate([split.train, split.validation])
        assert not {i for i in trained if i < 40} & {i for i in sets[aim].split.test if i < 40}
        assert n_excluded > 0


def test_a_set_within_another_leaves_nothing_to_train_on_and_the_table_names_it():
    data = prepare(name="A")
    turned = replace(
        data,
        split=replace_rows(
            data.split, train=data.split.test, test=np.concatenate([data.split.train, data.split.validation])
        ),
    )
    table = measure({"A": data, "again": turned})
    row = table.loc[("A", "again")]
    assert np.isnan(row["value"]) and row["n_train"] == 0
    assert cross_dataset.NOTHING_LEFT in row["reason"]


def replace_rows(split, **rows):
    return type(split)(**{**vars(split), **rows})


def test_classes_that_only_one_set_has_are_excluded_and_counted():
    one, two = prepare(seed=1, name="A"), prepare(seed=2, name="B")
    truth = two.labels.truth.copy()
    truth[::4] = "c"
    two = replace(two, labels=tasks.labels_of_classes(truth, name="letter"))
    row = measure({"A": one, "B": two}).loc[("A", "B")]
    expected = int((truth[two.split.test] == "c").sum())
    assert row["excluded_test"] == expected > 0
    assert row["n_test"] == len(two.split.test) - expected
    assert row["reason"] == f"{expected} {cross_dataset.OTHER_CLASS}"


def test_sets_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        measure({"A": prepare()})
    with pytest.raises(ValueError, match="different widths"):
        measure({"A": prepare(name="A"), "B": prepare(d=9, name="B")})
    other = prepare(name="B")
    renamed = tasks.labels_of_classes(np.where(other.labels.codes, "x", "y"), name="letter")
    with pytest.raises(ValueError, match=r"fewer than two classes in common.*; choose another label"):
        measure({"A": prepare(name="A"), "B": replace(other, labels=renamed)})


def test_groups_that_are_evened_out_go_along_where_classes_are_brought_together():
    sets = {name: prepare(seed=i, name=name) for i, name in enumerate(["A", "B"])}
    for name, data in sets.items():
        groups = np.where(np.arange(len(data.labels)) % 5 == 0, "x", "y").astype(object)
        own = balancing.GroupedLabels(data.labels.task, data.labels.codes, data.labels.values, groups)
        sets[name] = replace(data, labels=own)
    even = Classifier("linear", {"strengths": (0.01,), "balance": "group_weights"})
    assert (measure(sets, classifier=even)["reason"] == "").all()
