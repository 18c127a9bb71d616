"""Planned numbers of people agree with other libraries, with hand computation, and with simulated trials."""

import made_predictions as made
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from faceworkbook.evaluation import intervals, pilot, planning, predictions, significance
from faceworkbook.evaluation.planning import FacesOfPeople, PlanError
from faceworkbook.evaluation.standard_errors import error_of_sum


@pytest.mark.parametrize(("size", "discordant"), [(0.02, 0.08), (0.01, 0.05), (0.1, 0.3)])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_a_difference_of_one_face_a_person_agrees_with_statsmodels(size, discordant, power):
    goal = planning.difference_of_models(size, discordant=discordant, power=power)
    expected = TTestPower().solve_power(size / np.sqrt(discordant - size**2), power=power, alpha=0.05)
    assert planning.people_needed(goal, FacesOfPeople()) == np.ceil(expected)
    assert planning.power(goal, FacesOfPeople(), 300) == pytest.approx(
        TTestPower().power(size / np.sqrt(discordant - size**2), 300, 0.05)
    )


def test_a_gap_between_two_halves_agrees_with_statsmodels():
    goal = planning.gap_of_groups(0.1, share=0.5, noise=0.3)
    expected = 2 * TTestIndPower().solve_power(0.1 / 0.3, power=0.8, alpha=0.05)
    assert planning.people_needed(goal, FacesOfPeople()) == pytest.approx(expected, abs=2)


def test_the_noise_of_a_gap_is_that_of_both_groups():
    goal = planning.gap_of_groups(0.05, share=0.2, accuracy=0.9)
    error, _ = planning.standard_error(goal, FacesOfPeople(), 1000)
    assert error == pytest.approx(np.sqrt(0.85 * 0.15 / 200 + 0.9 * 0.1 / 800))


def test_the_width_of_an_interval_by_hand():
    # .9 right, 867 faces: 1.9627 sqrt(.09 / 867) = .019997, with 866 a little more than .02.
    goal = planning.width_of_interval(0.02, accuracy=0.9)
    assert planning.people_needed(goal, FacesOfPeople()) == 867
    assert planning.half_width(goal, FacesOfPeople(), 867) == pytest.approx(
        stats.t.ppf(0.975, 866) * np.sqrt(0.09 / 867)
    )
    assert planning.half_width(goal, FacesOfPeople(), 866) > 0.02


def test_the_design_effect_of_unequal_numbers_of_faces():
    sizes = np.array([1, 1, 2, 4, 12])
    faces = FacesOfPeople(sizes.mean(), sizes.std() / sizes.mean(), 0.3)
    # Kish: 1 + (sum n^2 / sum n - 1) rho = 1 + (166 / 20 - 1) .3.
    assert faces.design_effect == pytest.approx(3.19)
    assert faces.effective_people(5) == pytest.approx(20**2 / 166)
    assert FacesOfPeople(4, 0, 0.5).design_effect == pytest.approx(2.5)
    # The variance of the mean of such faces, from their covariance matrix.
    who = np.repeat(np.arange(5), sizes)
    covariance = np.where(who[:, None] == who[None, :], 0.3, 0.0) + 0.7 * np.eye(20)
    assert covariance.mean() * 20 == pytest.approx(3.19)


def test_one_face_a_person_leaves_no_room_for_unequal_numbers():
    goal = planning.width_of_interval(0.02, accuracy=0.9)
    assert planning.people_needed(goal, FacesOfPeople(1, 1.0, 0.2)) == 867
    assert FacesOfPeople(1, 1.0, 0.2).design_effect == 1


def test_what_is_smallest_is_what_is_planned_for():
    faces = FacesOfPeople(5, 1.0, 0.2)
    for goal in (
        planning.difference_of_models(0.02, noise=0.3),
        planning.gap_of_groups(0.05, share=0.2, noise=0.3),
        planning.width_of_interval(0.02, accuracy=0.9),
    ):
        people = planning.people_needed(goal, faces)
        assert planning.smallest(goal, faces, people) <= goal.size
        assert planning.smallest(goal, faces, people - 1) > goal.size


def test_more_faces_a_person_need_fewer_people_and_more_faces():
    goal = planning.difference_of_models(0.02, discordant=0.08)
    table = planning.alternatives(goal, FacesOfPeople(3, 1.0, 0.2), a_person=(1, 10))
    assert table["faces_a_person"].tolist() == [1, 3, 10]
    assert (np.diff(table["people"]) < 0).all() and (np.diff(table["faces"]) > 0).all()
    assert table["design_effect"][0] == 1
    group = planning.alternatives(planning.gap_of_groups(0.05, share=0.1, accuracy=0.9), FacesOfPeople())
    assert (group["people_of_the_smallest"] == np.ceil(group["people"] * 0.1)).all()


def test_no_plan_has_fewer_than_ten_people_in_a_group():
    assert planning.people_needed(planning.difference_of_models(0.5, noise=0.1), FacesOfPeople()) == 10
    goal = planning.gap_of_groups(0.5, share=0.1, noise=0.1)
    assert planning.people_needed(goal, FacesOfPeople()) == 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planning.difference_of_models(0.1, discordant=0.05), "is at least the difference"),
        (lambda: planning.difference_of_models(0.1), "or give noise"),
        (lambda: planning.gap_of_groups(0.1, share=0, accuracy=0.9), "between 0 and 1"),
        (lambda: planning.gap_of_groups(0.1, share=0.2, accuracy=0.05), "the gap taken off"),
        (lambda: planning.gap_of_groups(0.1, share=0.2), "needs the accuracy"),
        (lambda: planning.width_of_interval(0.1), "needs the accuracy"),
        (lambda: planning.width_of_interval(0.1, accuracy=1.0), "leaves nothing to plan with"),
        (lambda: planning.width_of_interval(0, accuracy=0.9), "size 0; it is a number above 0"),
        (lambda: planning.make_goal("ratio", 1, planning.Assumptions()), "goal 'ratio'; allowed are"),
        (lambda: planning.width_of_interval(0.6, accuracy=0.9), "a size below .5"),
        (lambda: planning.difference_of_models(np.nan, discordant=0.1), "size nan; it is a number above 0"),
        (lambda: planning.difference_of_models(-0.02, discordant=0.1), "size -0.02; it is a number above 0"),
        (lambda: planning.width_of_interval(1, noise=np.inf), "noise inf"),
        (lambda: planning.difference_of_models(0.02, discordant=0.1, power=0.01), "power 0.01.* above 0.05"),
        (
            lambda: planning.difference_of_models(0.02, discordant=0.1, power=80),
            "power 80.* below 1, such as .8",
        ),
        (lambda: FacesOfPeople(np.inf), "1 face or more"),
        (lambda: FacesOfPeople(5, np.inf), "a variation of 0 or more"),
        (lambda: FacesOfPeople(0.5), "1 face or more"),
        (lambda: FacesOfPeople(5, 1, 1.2), "a correlation in 0..1"),
        (
            lambda: planning.people_needed(planning.difference_of_models(1e-9, noise=1), FacesOfPeople()),
            "more than 1,000,000,000 people",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()


def draw_sizes(rng, people):
    """Faces a person as in sets from the web: 1 to 60, median 3."""
    return np.clip(np.exp(rng.normal(np.log(3), 1.0, people)).round(), 1, 60).astype(int)


def draw_values(rng, sizes, shares, correlation):
    """Values 1, -1, 0 with the given shares of 1 and -1; those of a person correlate."""
    who = np.repeat(np.arange(len(sizes)), sizes)
    p = [*shares, 1 - sum(shares)]
    people, own = rng.choice([1, -1, 0], len(sizes), p=p), rng.choice([1, -1, 0], len(who), p=p)
    return np.where(rng.random(len(who)) < np.sqrt(correlation), people[who], own), who


def of_drawn(correlation):
    sizes = draw_sizes(np.random.default_rng(0), 100_000)
    return FacesOfPeople(sizes.mean(), sizes.std() / sizes.mean(), correlation)


def test_the_planned_people_show_a_difference_in_80_percent_of_trials():
    """The workbook's own test by person, on people with 1 to 60 faces each."""
    rng, alarms, size = np.random.default_rng(1), 0, 0.03
    faces, goal = of_drawn(0.3), planning.difference_of_models(size, discordant=0.09)
    people = planning.people_needed(goal, faces)
    for _ in range(400):
        sizes = draw_sizes(rng, people)
        d, who = draw_values(rng, sizes, (0.06, 0.03), 0.3)
        made_of = error_of_sum((d - d.mean()) / len(d), who, np.arange(len(d)))
        result = significance.paired_t(float(d.mean()), made_of, people)
        alarms += result.p < 0.05
    # Standard error .02.
    assert alarms / 400 == pytest.approx(0.8, abs=0.05)


def test_the_planned_width_is_the_width_on_average():
    rng, widths = np.random.default_rng(2), []
    faces, goal = of_drawn(0.3), planning.width_of_interval(0.02, accuracy=0.9)
    people = planning.people_needed(goal, faces)
    for _ in range(200):
        sizes = draw_sizes(rng, people)
        right, who = draw_values(rng, sizes, (0.9, 0.0), 0.3)
        sums = np.bincount(who, right)
        rest = sums - sums.sum() / sizes.sum() * sizes
        error = np.sqrt((rest**2).sum() * people / (people - 1)) / sizes.sum()
        widths.append(stats.t.ppf(0.975, people - 1) * error)
    assert np.mean(widths) == pytest.approx(0.02, rel=0.05)


# ---- from a pilot


def test_the_correlation_within_people_is_that_of_the_analysis_of_variance():
    """Balanced: (MSB - MSW) / (MSB + (m - 1) MSW) with the mean squares of scipy's one-way analysis."""
    rng, k, m = np.random.default_rng(0), 30, 4
    values = rng.normal(size=(k, 1)) + rng.normal(size=(k, m))
    f = stats.f_oneway(*values).statistic
    expected = (f - 1) / (f + m - 1)
    got = pilot.correlation_within(np.full(k, m), values.sum(axis=1), (values**2).sum(axis=1))
    assert got[0] == pytest.approx(expected)
    twice = pilot.correlation_within(
        np.full(2 * k, m), np.tile(values.sum(axis=1), 2), np.tile((values**2).sum(axis=1), 2)
    )
    weighted = pilot.correlation_within(
        np.full(k, m), values.sum(axis=1), (values**2).sum(axis=1), np.full((1, k), 2)
    )
    assert weighted[0] == pytest.approx(twice[0])


def test_the_correlation_within_people_with_unequal_numbers_of_faces_is_the_one_drawn():
    rng, drawn = np.random.default_rng(3), []
    for _ in range(200):
        sizes = draw_sizes(rng, 150)
        d, who = draw_values(rng, sizes, (0.06, 0.03), 0.3)
        drawn.append(pilot.correlation_within(sizes, np.bincount(who, d), np.bincount(who, d**2))[0])
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.03)


def test_a_pilot_says_what_its_predictions_hold():
    table = made.class_predictions(600, people=60, signal=1.5)
    other = made.class_predictions(600, people=60, signal=1.0, seed=1, truth=truth_of(table))
    one = pilot.read_pilot(table)
    right = (table["truth"] == table["predicted"]).to_numpy(float)
    assert (one.mean, one.noise) == pytest.approx((right.mean(), right.std(ddof=1)))
    assert (one.n, one.n_people, one.faces.mean, one.faces.variation) == (600, 60, 10, 0)
    assert one.correlation_low < one.correlation < one.correlation_high and np.isnan(one.discordant)
    two = pilot.read_pilot(table, other)
    also = (other["truth"] == other["predicted"]).to_numpy(float)
    assert two.discordant == pytest.approx((right != also).mean())
    assert two.noise == pytest.approx((right - also).std(ddof=1))
    assert "600 faces of 60 people (10.0 each, variation 0.00)" in pilot.describe(two)
    assumed = pilot.assume(two, "difference", planning.Assumptions())
    assert planning.make_goal("difference", 0.02, assumed).noise == (two.noise,)
    with pytest.raises(PlanError, match="needs a pilot of one model on the same faces, received two"):
        pilot.assume(two, "gap", planning.Assumptions())


def truth_of(table):
    return table["truth"].map({"male": 0, "female": 1}).to_numpy()


def test_a_pilot_of_numbers_has_the_noise_of_the_absolute_error():
    table = made.number_predictions(300, people=30)
    got = pilot.read_pilot(table)
    error = (table["predicted"] - table["truth"]).abs()
    assert (got.mean, got.noise) == pytest.approx((error.mean(), error.std()))


def test_a_pilot_without_people_or_without_errors():
    alone = pilot.read_pilot(made.class_predictions(100))
    assert np.isnan(alone.correlation) and alone.faces == FacesOfPeople(1.0, 0.0, 0.0)
    assert "nobody is known to have several faces" in pilot.describe(alone)
    with pytest.raises(PlanError, match="values that do not vary"):
        pilot.read_pilot(made.class_predictions(100, signal=50))


def test_the_interval_of_the_correlation_holds_the_one_drawn():
    rng, hits = np.random.default_rng(5), 0
    for seed in range(60):
        sizes = draw_sizes(rng, 200)
        d, who = draw_values(rng, sizes, (0.06, 0.03), 0.3)
        sums, squares = np.bincount(who, d), np.bincount(who, d**2)
        drawn = intervals.resample(
            lambda w, n=sizes, s=sums, q=squares: pilot.correlation_within(n, s, q, w),
            len(sizes), n_boot=300, seed=seed,
        )  # fmt: skip
        low, high = np.quantile(drawn, [0.025, 0.975])
        hits += low <= 0.3 <= high
    assert hits >= 49


def test_the_command_prints_the_plan(capsys, tmp_path):
    from faceworkbook import cli

    picture = tmp_path / "plan.png"
    assert (
        cli.main(
            ["plan", "width", "0.02", "--faces-a-person", "1", "--variation", "0", "--picture", str(picture)]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "About 867 people with one face each (867 faces) give a 95 % interval of 0.02" in text
    assert picture.stat().st_size > 5000
    assert cli.main(["plan", "difference", "0.5"]) == 2
    assert "is at least the difference" in capsys.readouterr().err
    assert cli.main(["plan", "width", ".02", "--pilot", __file__]) == 2
    assert f"{__file__} is no parquet file" in capsys.readouterr().err
    for name, signal in (("a", 2.0), ("b", 1.0)):
        table = made.class_predictions(400, people=50, signal=signal, truth=np.arange(400) % 2)
        predictions.write(table, tmp_path / name / "predictions.parquet")
    assert cli.main(["plan", "difference", "0.05", "--pilot", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "The pilot: 400 faces of 50 people (8.0 each" in capsys.readouterr().out


def test_a_plan_says_where_ten_people_are_only_the_least():
    large = planning.difference_of_models(0.5, discordant=0.5)
    people = planning.people_needed(large, FacesOfPeople())
    assert people == planning.least_people(large) == 10
    assert planning.describe(large, FacesOfPeople(), people).startswith(
        "The least that is tested, 10 people in each group, is enough: about 10 people with one face each"
    )
    small = planning.difference_of_models(0.02, discordant=0.08)
    assert planning.describe(
        small, FacesOfPeople(), planning.people_needed(small, FacesOfPeople())
    ).startswith("About ")
