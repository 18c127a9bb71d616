"""Several data sets below each other, and the ways of training them side by side."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import faces, images, project  # noqa: E402
from faceworkbook import tasks as task_room  # noqa: E402
from faceworkbook.descriptors import landmarks  # noqa: E402
from faceworkbook.evaluation import significance  # noqa: E402
from faceworkbook.experiments import (  # noqa: E402
    multi_dataset,
    strategies,
    strategy_comparison,
)
from faceworkbook.plots.strategies import StrategiesDisplay  # noqa: E402
from faceworkbook.training.multitask import Settings  # noqa: E402
from faceworkbook.training.pseudo_labels import Fill  # noqa: E402
from tests.training import toy_network  # noqa: E402


def make_pool(tasks=("gender", "yaw"), n=160, seed=0):
    """Two sets of `n` faces, two faces a person; the first has a gender, the second a yaw."""
    rng = np.random.default_rng(seed)
    parts, matrices = [], []
    for name in ("one", "two"):
        x = rng.normal(size=(n, 6)).astype(np.float32)
        columns = {"image": [f"{i}.jpg" for i in range(n)], "identity": [f"{name}{i // 2}" for i in range(n)]}
        if name == "one":
            columns["gender"] = np.where(x[:, 0] > 0, "male", "female")
        else:
            columns["yaw"] = 15 * x[:, 1]
        parts.append(faces.build(columns, dataset=name))
        matrices.append(x)
    return multi_dataset.build(parts, matrices, tasks)


def test_a_label_that_a_set_lacks_is_missing_not_a_class():
    pool = make_pool()
    counts = pool.counts().set_index("dataset")
    assert counts.loc["one"].tolist() == [160, 0] and counts.loc["two"].tolist() == [0, 160]
    assert pool.targets["gender"].classes == ("male", "female")


def test_class_names_of_several_sets_are_joined_by_name():
    a = faces.build({"image": ["a", "b"], "race": ["White", "Indian"]}, dataset="a")
    b = faces.build(
        {"image": ["c", "d"], "race": ["Latino", "White"]},
        dataset="b",
        vocabularies={"race": ("Latino", "White")},
    )
    pool = multi_dataset.build([a, b], [np.zeros((2, 3)), np.ones((2, 3))], ["race"])
    assert pool.targets["race"].truth.tolist() == ["White", "Indian", "Latino", "White"]


def test_copies_of_different_sets_stay_different_groups():
    one = faces.build({"image": ["a", "b", "c"], "gender": ["male", "male", "female"]}, dataset="a")
    two = one.assign(face_id=["x", "y", "z"], dataset="b")
    pool = multi_dataset.build(
        [one, two], [np.zeros((3, 2))] * 2, ["gender"], copies=[np.array([0, 0, -1]), np.array([-1, 0, 0])]
    )
    assert pool.copies.tolist() == [0, 0, -1, -1, 1, 1]


def test_no_person_and_no_row_stands_in_two_parts():
    """One fold must not be validation, test and early stopping at once, and no part may be empty."""
    pool = make_pool()
    parts = multi_dataset.split(pool, seed=3)
    rows = [parts.train, parts.validation, parts.test]
    assert sorted(np.concatenate(rows)) == list(range(320)) and min(map(len, rows)) > 0
    people = [set(pool.faces["identity"].iloc[r]) for r in rows]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    for r in rows:
        assert set(pool.faces["dataset"].iloc[r]) == {"one", "two"}


def test_data_sets_take_turns_and_tasks_do_in_a_single_set():
    pool = make_pool()
    made = multi_dataset.stages(pool, np.arange(320), ["gender", "yaw"])
    assert [(s.name, s.tasks, len(s.rows)) for s in made] == [
        ("one", ("gender",), 160),
        ("two", ("yaw",), 160),
    ]
    whole = faces.build(
        {"image": list("abcd"), "gender": ["male", "female"] * 2, "yaw": [1.0, 2, 3, 4]}, dataset="whole"
    )
    single = multi_dataset.build([whole], [np.zeros((4, 2))], ["gender", "yaw"])
    assert [(s.name, s.tasks) for s in multi_dataset.stages(single, np.arange(4), ["gender", "yaw"])] == [
        ("gender", ("gender",)),
        ("yaw", ("yaw",)),
    ]


def test_hidden_labels_are_hidden_from_those_rows_only():
    pool = make_pool()
    rows = np.arange(100)
    seen = multi_dataset.hide(pool, "gender", share=0.9, rows=rows, seed=0)
    assert seen.targets["gender"].known[:100].sum() == 10
    assert seen.targets["gender"].known[100:160].all()
    assert pool.targets["gender"].known[:160].all(), "the pool itself keeps its labels"
    assert (
        np.isnan(
            multi_dataset.hide(pool, "yaw", share=0.5, rows=np.arange(160, 320), seed=0).targets["yaw"].values
        ).sum()
        == 160 + 80
    )


def test_yaw_falls_into_system_c_s_bins():
    yaw = np.array([-90, -60, -59, -10, -9.9, 0, 9.9, 10, 59, 60, np.nan])
    names = [*["<= -60"] * 2, *["(-60, -10]"] * 2, *["(-10, 10)"] * 3, *["[10, 60)"] * 2, ">= 60", None]
    assert task_room.name_yaw_bins(yaw).tolist() == names
    mirrored = task_room.name_yaw_bins(-yaw[:-1])
    assert mirrored[0] == ">= 60" and mirrored[4] == "(-10, 10)"


@pytest.fixture(scope="module")
def repeats():
    pool = make_pool(n=400)
    chosen = [
        strategies.parse(text, Fill(first_epoch=1)) for text in ("single", "joint", "alternating-distilled")
    ]
    return pool, strategy_comparison.repeat(
        chosen,
        pool,
        seeds=[0, 1],
        settings=Settings(epochs=10, learning_rate=0.02),
        heads={"head": "linear"},
        batch_size=32,
        progress=False,
    )


def test_every_way_is_tested_on_the_same_faces_with_labels(repeats):
    pool, found = repeats
    assert set(found.tables) == {
        (way, task)
        for way in ("single", "joint-naive", "alternating-distilled")
        for task in ("gender", "yaw")
    }
    for seed in (0, 1):
        test = multi_dataset.split(pool, seed=seed).test
        expected = set(pool.faces["face_id"].iloc[test[pool.targets["gender"].known[test]]])
        for way in ("single", "joint-naive", "alternating-distilled"):
            table = found.tables[way, "gender"]
            assert set(table["face_id"][table["repeat"] == seed]) == expected
    figures = strategy_comparison.summarise(found, n_boot=200).set_index(["task", "way"])
    assert figures.loc[("gender", "single"), "value"] > 0.9
    assert (figures["low"] < figures["value"]).all() and (figures["value"] < figures["high"]).all()
    assert figures["labels"].between(235, 245).all() and figures["n"].between(95, 105).all()
    assert (figures["seconds"] > 0).all()
    rows = [multi_dataset.split(pool, seed=seed) for seed in (0, 1)]
    yaw = pool.targets["yaw"]
    expected = [
        np.abs(yaw.values[r.test] - np.nanmedian(yaw.values[r.train]))[yaw.known[r.test]].mean() for r in rows
    ]
    assert figures.loc[("yaw", "single"), "constant"] == pytest.approx(np.mean(expected))
    assert 0.4 < figures.loc[("gender", "single"), "constant"] < 0.65


def test_figures_are_what_the_predictions_say(repeats):
    _, found = repeats
    for row in found.values.itertuples():
        table = found.tables[row.way, row.task]
        table = table[table["repeat"] == row.repeat]
        if row.task == "gender":
            assert row.metric == "accuracy" and row.value == pytest.approx(
                (table["truth"] == table["predicted"]).mean()
            )
        else:
            assert row.metric == "mae" and row.value == pytest.approx(
                (table["truth"] - table["predicted"]).abs().mean()
            )


def test_the_picture_of_the_ways_bears_units_and_says_the_means(repeats):
    _, found = repeats
    display = StrategiesDisplay.from_values(found.values).plot()
    assert [ax.get_xlabel() for ax in display.axes_] == ["accuracy", "mean absolute error (degrees)"]
    mean = found.values[(found.values["task"] == "yaw") & (found.values["way"] == "single")]["value"].mean()
    assert f"yaw single {mean:.3f}" in display.describe()


def test_differences_use_the_corrected_test(repeats):
    _, found = repeats
    compared = strategy_comparison.compare(found.values)
    assert len(compared) == 2 * 3
    row = compared[(compared["task"] == "yaw")].iloc[0]
    own = found.values[found.values["task"] == "yaw"].pivot(index="repeat", columns="way", values="value")
    sizes = found.values[found.values["task"] == "yaw"]
    expected = significance.nadeau_bengio(
        (own[row["first"]] - own[row["second"]]).to_numpy(),
        n_train=round(sizes["n_train"].mean()),
        n_test=round(sizes["n"].mean()),
    )
    assert (row["difference"], row["low"], row["high"]) == (expected.difference, expected.low, expected.high)
    assert (compared["p_holm"] >= compared["p"]).all()
    assert strategy_comparison.compare(found.values[found.values["repeat"] == 0]).empty, (
        "one seed compares nothing"
    )


def test_hiding_labels_does_not_change_how_much_repeats_overlap():
    """The correction's share of test rows is the split's, however few labels were left to train on."""
    pool = make_pool(n=200)
    found = strategy_comparison.repeat(
        [strategies.parse("joint", Fill())], pool, seeds=[0], settings=Settings(epochs=1), heads={},
        hidden={"gender": 0.9}, progress=False,
    ).values.set_index("task")  # fmt: skip
    assert found.loc["gender", "labels"] < 0.2 * found.loc["gender", "n_train"]
    assert found.loc["gender", "n_train"] > 110 and found.loc["yaw", "n_train"] == found.loc["yaw", "labels"]


@pytest.mark.parametrize(
    ("metric", "figures", "end"),
    [
        ("accuracy", (0.03, 0.01, 0.05, 0.01), "joint is better, the interval excludes 0."),
        ("accuracy", (-0.03, -0.05, -0.01, 0.01), "single is better, the interval excludes 0."),
        ("mae", (-0.3, -0.5, -0.1, 0.01), "joint is better, the interval excludes 0."),
        ("mae", (-0.3, -0.7, 0.1, 0.2), "not told apart, the interval holds 0."),
        ("accuracy", (0.03, 0.01, 0.05, 0.09), "but not after Holm's adjustment (p = 0.09)."),
    ],
)
def test_differences_are_told_in_words(metric, figures, end):
    names = ["task", "metric", "first", "second", "difference", "low", "high", "p_holm"]
    [sentence] = strategy_comparison.tell(
        pd.DataFrame([("gender", metric, "joint", "single", *figures)], columns=names)
    )
    assert sentence.startswith(f"gender, {metric}: joint minus single {figures[0]:+.3f} (")
    assert sentence.endswith(end)


def test_a_mirrored_network_says_of_a_picture_what_the_network_says_of_its_mirror_image():
    from faceworkbook import backbones

    net = toy_network.backbone()
    x = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype(np.float32)
    turned = backbones.mirrored(net)
    np.testing.assert_allclose(turned.model(x), net.model(x[:, :, ::-1].copy()), atol=1e-5)
    assert turned.dim == net.dim and turned.fingerprint != net.fingerprint


def test_faces_described_by_both_hold_points_and_both_sides_of_the_detected_face(tmp_path):
    """The mirror image of a picture has the same even columns, and odd ones of the other sign."""
    root = project.resolve("data/synthetic")
    names = pd.read_csv(root / "labels.csv")["image"].iloc[:3].tolist()
    for name in names:
        pixels = images.read(root / name)
        for kind, picture in {"as": pixels, "turned": pixels[:, ::-1]}.items():
            cv2.imwrite(str(tmp_path / f"{kind}_{Path(name).stem}.png"), picture[..., ::-1])
    files = sorted(path.name for path in tmp_path.glob("*.png"))
    table = faces.build({"image": files, "yaw": [0.0] * 6}, dataset="mine")
    made = multi_dataset.by_both(toy_network.backbone(), tmp_path / "store")(table, "mine", tmp_path)
    n, points = 5, len(landmarks.NAMES)
    assert made.matrix.shape == (6, points + 2 * n) and list(made.face_id) == list(table["face_id"])
    even, odd = made.matrix[:, points : points + n], made.matrix[:, points + n :]
    scale = np.abs(even).max()
    # The detector's points differ by a pixel between a picture and its mirror image, so the squares do too.
    np.testing.assert_allclose(even[:3], even[3:], atol=0.1 * scale)
    np.testing.assert_allclose(odd[:3], -odd[3:], atol=0.1 * scale)


def test_many_pairs_that_are_not_told_apart_are_counted():
    names = ["task", "metric", "first", "second", "difference", "low", "high", "p_holm"]
    rows = [("gender", "accuracy", "a", "b", 0.03, 0.01, 0.05, 0.01)]
    rows += [("race", "accuracy", "a", str(i), 0.0, -0.1, 0.1, 1.0) for i in range(7)]
    said = strategy_comparison.tell(pd.DataFrame(rows, columns=names))
    assert len(said) == 2 and said[0].startswith("gender") and said[1].startswith("7 of 8 differences")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: strategies.parse("together", Fill()), "way 'together'; allowed are"),
        (lambda: strategies.parse("joint-guess", Fill()), "way 'joint-guess'; allowed are"),
        (lambda: multi_dataset.parse(["utkface"]), "expected a list of NAME=FOLDER"),
        (lambda: multi_dataset.parse([]), "expected a list of NAME=FOLDER"),
        (
            lambda: multi_dataset.hide(make_pool(), "gender", share=1.0, rows=np.arange(4), seed=0),
            "share=1.0 of the labels",
        ),
        (
            lambda: multi_dataset.describer("eyes", backbone="auto", tap="", store=None),
            "source='eyes'; allowed are",
        ),
        (
            lambda: multi_dataset.build(
                [faces.build({"image": ["a"], "gender": ["male"]}, dataset=d) for d in "ab"],
                [np.zeros((1, 2)), np.zeros((1, 3))],
                ["gender"],
            ),
            r"widths \[2, 3\]; describe them with one network",
        ),
    ],
)
def test_wrong_pools_and_ways_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_set_without_any_of_the_labels_is_refused():
    table = faces.build({"image": ["a", "b"], "gender": ["male", "female"]}, dataset="mine")
    with pytest.raises(multi_dataset.MultiDatasetError, match="no face of mine has a label of"):
        multi_dataset._with_label(table, ["race"])
    assert isinstance(multi_dataset._with_label(table, ["race", "gender"]), pd.DataFrame)


def test_every_label_of_a_face_table_can_be_learned_at_once():
    """Gender, race, emotion, age three ways, pose two ways; three sets that hold other labels each."""
    rng = np.random.default_rng(0)
    n = 90
    labels = {
        "gender": rng.choice(faces.GENDERS, n),
        "race": rng.choice(faces.RACES_UTKFACE[:3], n),
        "emotion": rng.choice(faces.EMOTIONS[:3], n),
        "age": rng.choice([5.0, 20.0, 40.0, 70.0], n),
        **{name: rng.normal(0, 10, n) for name in faces.POSE},
    }
    held = [("gender", "race", "age"), ("emotion",), ("gender", *faces.POSE)]
    parts = [
        faces.build(
            {"image": [f"{i}" for i in range(n)], **{k: labels[k] for k in names}}, dataset=f"set{number}"
        )
        for number, names in enumerate(held)
    ]
    tasks = ["gender", "race", "emotion", "age", "age_group", "age_years", "yaw", "pitch", "roll", "pose"]
    pool = multi_dataset.build(parts, [rng.normal(size=(n, 5)) for _ in parts], tasks)
    found = strategy_comparison.repeat(
        [strategies.parse("alternating-pseudo", Fill(selectors=("confidence", "density"), first_epoch=0))],
        pool, seeds=[0], settings=Settings(epochs=2), heads={"head": "stitch", "stitch_widths": (8, 4)},
        batch_size=32, progress=False,
    )  # fmt: skip
    assert dict(found.values[["task", "metric"]].to_numpy()) == {
        **dict.fromkeys(("gender", "race", "emotion", "age_group", "pose"), "accuracy"),
        **dict.fromkeys(("age", "yaw", "pitch", "roll"), "mae"),
        "age_years": "expected_mae",
    }
    assert found.values["value"].notna().all() and (found.values["n"] > 0).all()
