"""Growing training sets, damaged pictures, directions that matter, other data sets: on toys."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from faceworkbook import faces, tasks
from faceworkbook.experiments import corruptions, cross_dataset, importance, learning_curve
from faceworkbook.experiments.prepared import PreparedData

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def toy(n=400, d=8, *, seed=0, noise=1.0, shift=0.0, people=80):
    """Two classes that differ in direction 0 strongly and in direction 1 weakly."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    x = rng.normal(0, noise, (n, d))
    x[:, 0] += 3.0 * codes + shift
    x[:, 1] += 0.8 * codes
    table = faces.build(
        {"image": [f"{i}.jpg" for i in range(n)], "identity": [f"p{i % people}" for i in range(n)]},
        dataset="toy",
    )
    target = tasks.labels_of_classes(np.array(["a", "b"])[codes], name="letter")
    part = rng.permutation(people)[np.arange(n) % people] / people
    split = SimpleNamespace(
        train=np.flatnonzero(part < 0.6),
        validation=np.flatnonzero((part >= 0.6) & (part < 0.75)),
        test=np.flatnonzero(part >= 0.75),
    )
    return x.astype(np.float32), target, table, split


def fit_quickly(x, target, split, *, seed=0):
    from faceworkbook.training.single import fit_linear

    return fit_linear(x, target, split, seed=seed, strengths=(0.01, 0.1))


# ---- growing training sets


def test_parts_grow_and_hold_whole_people():
    _, _, table, split = toy()
    parts = learning_curve.draw_parts(
        split.train, table["identity"], shares=(0.25, 0.5, 1.0), repeats=2, by="identities"
    )
    assert [p.share for p in parts] == [0.25, 0.5, 1.0] * 2
    for part in parts:
        people = set(table["identity"].iloc[part.rows])
        assert part.n_identities == len(people)
        everything = table["identity"].iloc[split.train].isin(people).sum()
        assert everything == len(part.rows)
    assert set(parts[0].rows) < set(parts[1].rows) < set(parts[2].rows) == set(split.train)


def test_parts_by_face_have_the_share_of_faces():
    _, _, table, split = toy()
    parts = learning_curve.draw_parts(split.train, table["identity"], shares=(0.5,), repeats=3, by="faces")
    assert {len(p.rows) for p in parts} == {round(0.5 * len(split.train))}
    assert len({tuple(p.rows) for p in parts}) == 3


def test_unknown_people_count_one_a_face():
    _, _, table, split = toy()
    table["identity"] = pd.NA
    part = learning_curve.draw_parts(
        split.train, table["identity"].astype("string"), shares=(1.0,), repeats=1
    )[0]
    assert part.n_identities == len(split.train)


def test_more_faces_help():
    x, target, table, split = toy(noise=2.5)
    measured = learning_curve.measure(
        x, target, table, split, shares=(0.02, 1.0), repeats=4, learning_rate=0.01, epochs=20
    )
    curve = learning_curve.summary(measured).set_index("share")
    few = curve.loc[0.02]
    assert curve.loc[1.0, "mean"] > few["mean"] + 0.03
    assert few["short"] == pytest.approx(few["mean"] - curve.loc[1.0, "mean"]) and few["short_high"] < 0
    assert few["low"] < few["mean"] < few["high"] and np.isnan(curve.loc[1.0, "short"])
    # The test faces add to the spread of draws.
    assert (measured["error"] > measured.groupby("share")["value"].transform("sem")).all()
    assert (measured["n_test"] == len(split.test)).all()


@pytest.mark.parametrize("wrong", [{"by": "person"}, {"shares": (0.0, 1.0)}, {"shares": ()}])
def test_curve_settings_are_checked(wrong):
    _, _, table, split = toy()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        learning_curve.draw_parts(split.train, table["identity"], **wrong)


# ---- damaged pictures


def texture(n=100):
    return np.random.default_rng(0).integers(0, 256, (n, n, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("damage", "level"), [(d, level) for d, s in corruptions.LEVELS.items() for level in s]
)
def test_a_damage_gives_a_picture_and_leaves_the_original(damage, level):
    picture = texture()
    before = picture.copy()
    out = corruptions.CORRUPTIONS[damage](picture, level, np.random.default_rng(0))
    assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[2] == 3
    np.testing.assert_array_equal(picture, before)
    if damage != "crop margin":
        assert out.shape == picture.shape and (out != picture).any()


def test_occlusion_covers_the_share_it_says():
    white = np.full((100, 100, 3), 255, np.uint8)
    assert (corruptions.occlude(white, 0.25) == 128).mean() == pytest.approx(0.25, abs=0.01)


def test_brightness_multiplies_and_cuts():
    out = corruptions.brightness(np.array([[[10, 100, 200]]], np.uint8), 2.0)
    assert out.tolist() == [[[20, 200, 255]]]


def test_crop_margin_adds_on_each_side():
    assert corruptions.crop_margin(texture(40), 0.25).shape == (60, 60, 3)
    assert corruptions.crop_margin(texture(40), -0.1).shape == (32, 32, 3)


def test_colours_stay_in_order_through_jpeg():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert corruptions.jpeg(red, 80)[16, 16].argmax() == 0


def test_what_depends_on_brightness_fails_in_the_dark_and_only_there():
    n = 60
    codes = np.arange(n) % 2
    pictures = [np.full((20, 20, 3), 60 + 100 * c, np.uint8) for c in codes]
    target = tasks.labels_of_classes(np.array(["dark", "light"])[codes], name="tone")
    table = faces.build({"image": [f"{i}.png" for i in range(n)]}, dataset="toy")
    light = SimpleNamespace(predict=lambda m: np.hstack([1 - (m > 110) * 0.9 - 0.05, (m > 110) * 0.9 + 0.05]))
    measured = corruptions.measure(
        light,
        lambda batch: np.array([[p.mean()] for p in batch]),
        lambda: iter(pictures),
        target,
        table,
        levels={"brightness": (0.3,), "blur": (0.05,)},
        n_boot=200,
    ).set_index("damage")
    assert measured.loc["none", "value"] == 1.0
    assert measured.loc["brightness", "value"] == 0.5
    assert measured.loc["brightness", "change"] == -0.5
    assert measured.loc["brightness", "change_high"] < -0.3
    assert measured.loc["blur", "change"] == 0


def test_an_unknown_damage_is_named():
    with pytest.raises(ValueError, match="fog"):
        corruptions.measure(None, None, None, None, None, levels={"fog": (1,)})


# ---- directions


def test_the_planted_direction_is_found():
    x, target, table, split = toy()
    fitted = fit_quickly(x, target, split)
    assert importance.weights(fitted)["direction"][:2].tolist() == [0, 1]
    test = split.test
    shuffled = importance.permutation(
        fitted, x[test], target.take(test), table.iloc[test], directions=range(8), repeats=3
    )
    assert shuffled["direction"][0] == 0
    assert shuffled["change"][0] > 5 * shuffled["change"][2:].abs().max()


def test_one_direction_is_almost_enough_where_one_was_planted():
    x, target, table, split = toy()
    kept = importance.keep_best(
        fit_quickly(x, target, split), x[split.test], target.take(split.test), table.iloc[split.test]
    )
    assert kept["n_directions"].tolist() == [1, 2, 4, 8]
    assert kept["value"][0] > kept["value"].iloc[-1] - 0.1


# ---- other data sets


def prepared(**settings):
    x, labels, table, split = toy(**settings)
    return PreparedData(table, labels, split, x, np.full(len(x), -1))


def test_every_pair_is_tested_and_a_shifted_set_transfers_badly():
    sets = {"A": prepared(seed=1), "B": prepared(seed=2), "far": prepared(seed=3, shift=4.0)}
    table = cross_dataset.measure(sets, fit=fit_quickly, n_boot=200).set_index(["trained_on", "tested_on"])
    assert len(table) == 9
    assert table.loc[("A", "B"), "value"] > 0.85
    assert table.loc[("A", "far"), "value"] < 0.65
    assert table.loc[("far", "far"), "value"] > 0.85
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_classes_that_only_one_set_has_are_left_out_and_counted():
    one, two = prepared(seed=1), prepared(seed=2)
    labels = two.labels.truth.copy()
    labels[::4] = "c"
    two = replace(two, labels=tasks.labels_of_classes(labels, name="letter"))
    table = cross_dataset.measure({"A": one, "B": two}, fit=fit_quickly, n_boot=100).set_index(
        ["trained_on", "tested_on"]
    )
    expected = int((labels[two.split.test] == "c").sum())
    assert expected > 0
    assert table.loc[("A", "B"), "left_out"] == expected
    assert table.loc[("A", "B"), "n_test"] == len(two.split.test) - expected


def test_sets_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        cross_dataset.measure({"A": prepared()})
    with pytest.raises(ValueError, match="different widths"):
        cross_dataset.measure({"A": prepared(), "B": prepared(d=9)})
    other = prepared()
    renamed = tasks.labels_of_classes(np.where(other.labels.codes, "x", "y"), name="letter")
    with pytest.raises(ValueError, match="fewer than two classes in common"):
        cross_dataset.measure({"A": prepared(), "B": replace(other, labels=renamed)})
