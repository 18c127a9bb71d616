"""Strategies for training several tasks, side by side."""

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import faces  # noqa: E402
from faceworkbook.evaluation import significance  # noqa: E402
from faceworkbook.experiments import (  # noqa: E402
    multi_dataset,
    strategies,
    strategy_comparison,
)
from faceworkbook.experiments.strategies import Options  # noqa: E402
from faceworkbook.plots.strategies import StrategiesDisplay  # noqa: E402
from faceworkbook.training.multitask import Settings  # noqa: E402
from faceworkbook.training.pseudo_labels import Fill  # noqa: E402
from tests.experiments.multi_toys import make_multi  # noqa: E402


@pytest.fixture(scope="module")
def repeats():
    multi = make_multi(n=400)
    chosen = [
        strategies.parse(text, Fill(first_epoch=1)) for text in ("single", "joint", "alternating-distilled")
    ]
    return multi, strategy_comparison.repeat(
        chosen,
        multi,
        Options(Settings(epochs=10, learning_rate=0.02, progress=False), {"head": "linear"}, batch_size=32),
        seeds=[0, 1],
    )


def test_every_strategy_is_tested_on_the_same_faces_with_labels(repeats):
    multi, made = repeats
    assert set(made.tables) == {
        (strategy, task)
        for strategy in ("single", "joint-naive", "alternating-distilled")
        for task in ("gender", "yaw")
    }
    for seed in (0, 1):
        test = multi_dataset.split(multi, seed=seed).test
        expected = set(multi.faces["face_id"].iloc[test[multi.labels["gender"].known[test]]])
        for strategy in ("single", "joint-naive", "alternating-distilled"):
            table = made.tables[strategy, "gender"]
            assert set(table["face_id"][table["repeat"] == seed]) == expected
    figures = strategy_comparison.summarise(made, n_boot=200).set_index(["task", "strategy"])
    assert figures.loc[("gender", "single"), "value"] > 0.9
    assert (figures["low"] < figures["value"]).all() and (figures["value"] < figures["high"]).all()
    assert figures["labels"].between(235, 245).all() and figures["n"].between(95, 105).all()
    assert (figures["seconds"] > 0).all()
    rows = [multi_dataset.split(multi, seed=seed) for seed in (0, 1)]
    yaw = multi.labels["yaw"]
    expected = [
        np.abs(yaw.values[r.test] - np.nanmedian(yaw.values[r.train]))[yaw.known[r.test]].mean() for r in rows
    ]
    assert figures.loc[("yaw", "single"), "constant"] == pytest.approx(np.mean(expected))
    assert 0.4 < figures.loc[("gender", "single"), "constant"] < 0.65


def test_figures_are_those_of_the_predictions(repeats):
    _, made = repeats
    for row in made.values.itertuples():
        table = made.tables[row.strategy, row.task]
        table = table[table["repeat"] == row.repeat]
        if row.task == "gender":
            assert row.metric == "accuracy" and row.value == pytest.approx(
                (table["truth"] == table["predicted"]).mean()
            )
        else:
            assert row.metric == "mae" and row.value == pytest.approx(
                (table["truth"] - table["predicted"]).abs().mean()
            )


def test_the_picture_of_the_strategies_bears_units_and_the_means(repeats):
    _, made = repeats
    display = StrategiesDisplay.from_values(made.values).plot()
    assert [ax.get_xlabel() for ax in display.axes_] == ["accuracy", "mean absolute error (degrees)"]
    mean = made.values[(made.values["task"] == "yaw") & (made.values["strategy"] == "single")]["value"].mean()
    assert f"yaw single {mean:.3f}" in display.describe()


def test_differences_use_the_corrected_test(repeats):
    _, made = repeats
    compared = strategy_comparison.compare(made.values)
    assert len(compared) == 2 * 3
    row = compared[(compared["task"] == "yaw")].iloc[0]
    own = made.values[made.values["task"] == "yaw"].pivot(index="repeat", columns="strategy", values="value")
    sizes = made.values[made.values["task"] == "yaw"]
    expected = significance.nadeau_bengio(
        (own[row["first"]] - own[row["second"]]).to_numpy(),
        n_train=round(sizes["n_train"].mean()),
        n_test=round(sizes["n"].mean()),
    )
    assert (row["difference"], row["low"], row["high"]) == (expected.difference, expected.low, expected.high)
    assert (compared["p_holm"] >= compared["p"]).all()
    assert strategy_comparison.compare(made.values[made.values["repeat"] == 0]).empty, (
        "one seed compares nothing"
    )


def test_hiding_labels_does_not_change_how_much_repeats_overlap():
    """The correction's share of test rows is the split's, however few labels were left to train on."""
    multi = make_multi(n=200)
    made = strategy_comparison.repeat(
        [strategies.parse("joint", Fill())],
        multi,
        Options(Settings(epochs=1, progress=False)),
        seeds=[0],
        shares=strategy_comparison.Shares(hidden={"gender": 0.9}),
    ).values.set_index("task")
    assert made.loc["gender", "labels"] < 0.2 * made.loc["gender", "n_train"]
    assert made.loc["gender", "n_train"] > 110 and made.loc["yaw", "n_train"] == made.loc["yaw", "labels"]


@pytest.mark.parametrize(
    ("metric", "figures", "end"),
    [
        ("accuracy", (0.03, 0.01, 0.05, 0.01), "joint is better (95 % interval +0.010 to +0.050)."),
        ("accuracy", (-0.03, -0.05, -0.01, 0.01), "single is better (95 % interval -0.050 to -0.010)."),
        ("mae", (-0.3, -0.5, -0.1, 0.01), "joint is better (95 % interval -0.500 to -0.100)."),
        ("mae", (-0.3, -0.7, 0.1, 0.2), "no significant difference (95 % interval -0.700 to +0.100)."),
        (
            "accuracy",
            (0.03, 0.01, 0.05, 0.09),
            "no significant difference (95 % interval +0.010 to +0.050; after Holm's adjustment p = 0.09).",
        ),
    ],
)
def test_differences_are_described_in_words(metric, figures, end):
    names = ["task", "metric", "first", "second", "difference", "low", "high", "p_holm"]
    [sentence] = strategy_comparison.describe_differences(
        pd.DataFrame([("gender", metric, "joint", "single", *figures)], columns=names)
    )
    assert sentence.startswith(f"gender, {metric}: joint minus single {figures[0]:+.3f}, ")
    assert sentence.endswith(end)


def test_many_pairs_without_a_significant_difference_are_counted():
    names = ["task", "metric", "first", "second", "difference", "low", "high", "p_holm"]
    rows = [("gender", "accuracy", "a", "b", 0.03, 0.01, 0.05, 0.01)]
    rows += [("race", "accuracy", "a", str(i), 0.0, -0.1, 0.1, 1.0) for i in range(7)]
    listed = strategy_comparison.describe_differences(pd.DataFrame(rows, columns=names))
    assert len(listed) == 2 and listed[0].startswith("gender") and listed[1].startswith("7 of 8 differences")


def test_every_label_of_a_face_table_can_be_learned_at_once():
    """Gender, race, emotion, age in three kinds, pose in two; three sets that hold other labels each."""
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
    tables = {
        f"set{number}": faces.build(
            {"image": [f"{i}" for i in range(n)], **{k: labels[k] for k in names}}, dataset=f"set{number}"
        )
        for number, names in enumerate(held)
    }
    tasks = ["gender", "race", "emotion", "age", "age_group", "age_years", "yaw", "pitch", "roll", "pose"]
    multi = multi_dataset.build(tables, [rng.normal(size=(n, 5)) for _ in tables], tasks)
    made = strategy_comparison.repeat(
        [strategies.parse("alternating-pseudo", Fill(selectors=("confidence", "density"), first_epoch=0))],
        multi,
        Options(Settings(epochs=2, progress=False), {"head": "stitch", "stitch_widths": (8, 4)}, batch_size=32),
        seeds=[0],
    )  # fmt: skip
    assert dict(made.values[["task", "metric"]].to_numpy()) == {
        **dict.fromkeys(("gender", "race", "emotion", "age_group", "pose"), "accuracy"),
        **dict.fromkeys(("age", "yaw", "pitch", "roll"), "mae"),
        "age_years": "expected_mae",
    }
    assert made.values["value"].notna().all() and (made.values["n"] > 0).all()


@pytest.mark.parametrize("text", ["together", "joint-guess"])
def test_unknown_strategies_are_refused(text):
    with pytest.raises(ValueError, match=f"strategy '{text}'; allowed are"):
        strategies.parse(text, Fill())
