"""Figures of every combination: shares of variance with known answers, and planted factors that must be seen."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from faceworkbook import splits
from faceworkbook.experiments import specifications as spec
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.plots.specification_curve import SpecificationCurveDisplay
from faceworkbook.tasks import read_labels


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = 400
    gender = rng.choice(["male", "female"], n)
    faces = pd.DataFrame(
        {
            "face_id": [f"f{i:03d}" for i in range(n)],
            "dataset": "made",
            "image": "a.jpg",
            "identity": pd.array([f"p{i // 2}" for i in range(n)], dtype="string"),
            "gender": pd.Categorical(gender),
        }
    )
    matrix = rng.normal(size=(n, 4)).astype(np.float32)
    matrix[:, 0] += 1.6 * (gender == "male")
    labels = read_labels(faces, "gender")
    split = splits.make(faces, label="gender", seed=0)
    return PreparedData(faces, labels, split, matrix, np.full(n, -1))


def factors(**given):
    return spec.Factors(
        **{
            "pictures": ["clear", "foggy"], "taps": ["one"], "split_seeds": range(4), "training_seeds": range(2),
            "classifiers": {"a": Classifier(LogisticRegression()), "b": Classifier(GaussianNB())},
        }
        | given
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(data):
    rng = np.random.default_rng(1)
    foggy = (data.matrix + 3 * rng.normal(size=data.matrix.shape)).astype(np.float32)
    return spec.measure(
        data, lambda pictures, tap: foggy if pictures == "foggy" else data.matrix, factors(), n_boot=100
    )


def test_shares_of_variance_are_those_of_an_additive_table():
    a, b = np.array([0.0, 1.0]), np.array([0.0, 2.0, 4.0])
    values = (a[:, None, None, None, None] + b[None, None, :, None, None]) + np.zeros((2, 1, 3, 4, 2))
    shares = spec.variance_shares(values)
    total = a.var() + b.var()
    assert shares == pytest.approx([a.var() / total, 0, b.var() / total, 0, 0, 0])
    together = np.multiply.outer([-1.0, 1.0], [-1.0, 1.0])[:, None, :, None, None]
    assert spec.variance_shares(together) == pytest.approx([0, 0, 0, 0, 0, 1])


def test_the_factor_that_was_planted_makes_the_spread(made):
    shares = spec.summarise(made).set_index("factor")
    assert list(shares.index) == ["pictures", "classifier", "split seed", "training seed", spec.TOGETHER]
    assert shares["share"].sum() == pytest.approx(1)
    assert shares["share"].idxmax() == "pictures" and shares.loc["pictures", "share_low"] > 0.5
    assert shares.loc["training seed", "share"] == pytest.approx(0, abs=1e-12)
    assert (shares["share_low"] <= shares["share_high"]).all()
    assert "most of their spread is that of the pictures" in spec.describe(made, shares.reset_index())


def test_how_often_one_level_is_better_agrees_with_a_count(made):
    often = spec.how_often_better(made).set_index("factor")
    table = made.table().pivot_table(
        index=["classifier", "split seed", "training seed"], columns="pictures", values="value"
    )
    gap = table["clear"] - table["foggy"]
    row = often.loc["pictures"]
    assert row["probability"] == pytest.approx((gap > 0).mean() + (gap == 0).mean() / 2)
    assert row["difference"] == pytest.approx(gap.mean())
    assert row["verdict"] == "meaningful" and often.loc["classifier", "verdict"] == ""


def test_figures_are_those_of_a_fit_by_hand(data, made):
    split = splits.make(data.faces, label="gender", seed=2)
    fitted = LogisticRegression().fit(data.matrix[split.train], data.labels.truth[split.train])
    right = fitted.predict(data.matrix[split.test]) == data.labels.truth[split.test]
    table = made.table()
    cell = table[(table["pictures"] == "clear") & (table["classifier"] == "a") & (table["split seed"] == 2)]
    assert cell["value"].to_numpy() == pytest.approx([right.mean()] * 2)


def test_one_split_and_strange_pictures_are_refused(data):
    with pytest.raises(spec.SpecificationsError, match="give two or more"):
        spec.measure(data, lambda pictures, tap: data.matrix, factors(split_seeds=[0]))
    for text in ("fog 3", "blur much", "blur"):
        with pytest.raises(
            spec.SpecificationsError, match="'as they are', none, five_points, upright, or one of"
        ):
            spec.read_change(text)
    picture = np.zeros((8, 8, 3), np.uint8)
    assert spec.read_change("as they are")(picture) is picture
    assert spec.read_change("down-scaling 4")(picture).dtype == np.uint8


def test_few_faces_are_drawn_with_their_rows(data):
    few = spec.draw(data, 50, seed=1)
    at = [int(name[1:]) for name in few.faces["face_id"]]
    assert len(at) == 50 and np.array_equal(few.matrix, data.matrix[at])
    assert list(few.labels.truth) == list(data.labels.truth[at])


def test_the_curve_shows_every_combination_and_says_which_is_best(made):
    display = SpecificationCurveDisplay.from_specifications(made).plot()
    above, below = display.axes_
    assert len(above.lines[0].get_ydata()) == made.values.size == 32
    assert np.all(np.diff(above.lines[0].get_ydata()) >= 0)
    names = [text.get_text() for text in below.get_yticklabels()]
    assert names[:2] == ["pictures: clear", "pictures: foggy"] and not any("tap" in name for name in names)
    titles = above.get_title() + above.get_title(loc="left")  # the style in use says where
    assert "highest" in display.describe() and "32 combinations" in titles


def test_alignments_are_levels_of_the_pictures():
    plain, aligned = (SimpleNamespace(preprocessing=SimpleNamespace(align=a)) for a in ("none", "upright"))
    assert spec.read_cut("five_points 0.3") == {"align": "five_points", "margin": 0.3}
    assert spec.read_cut("upright") == {"align": "upright"}
    assert spec.read_cut("crop margin 0.15") == {} == spec.read_cut("as they are")
    assert spec.needs_points([plain], ["as they are", "five_points"])
    assert spec.needs_points([aligned], ["as they are"])
    assert not spec.needs_points([plain], ["as they are", "none", "blur 0.02"])
    with pytest.raises(spec.SpecificationsError, match="'five_points wide'; expected an alignment"):
        spec.read_cut("five_points wide")
