"""How many people and faces show a difference, a gap between groups, or a figure with an interval so wide?

Asked before there are data. Everything follows from the noise of one face's value (right or wrong, or an error in
years), how alike the values of one person's faces are (the intra-person correlation), and how faces are spread over
people. Sums over people with n_i faces have the variance of independent faces times the design effect
1 + (sum n_i^2 / sum n_i - 1) rho (Kish 1965; Eldridge, Ashby and Kerry 2006 for unequal clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import optimize, stats

from faceworkbook.evaluation.significance import ALPHA, FEWEST_UNITS

DIFFERENCE, GAP, WIDTH = "difference", "gap", "width"
GOALS = (DIFFERENCE, GAP, WIDTH)
POWER = 0.8
A_PERSON = (1, 2, 5, 10, 20, 50)
# More people than this are no plan.
MOST_PEOPLE = 10**9


class PlanError(ValueError):
    """What cannot be planned, and why."""


@dataclass(frozen=True)
class FacesOfPeople:
    """How faces are spread over people, and how alike the values of one person's faces are.

    Attributes
    ----------
    mean : float
        Faces a person, 1 or more.
    variation : float
        Their standard deviation over their mean: 0 where all people have as many, 1.5 to 2 in sets from the web.
    correlation : float, range 0..1
        Of the values of two faces of one person.
    """

    mean: float = 1.0
    variation: float = 0.0
    correlation: float = 0.0

    def __post_init__(self):
        known = np.isfinite([self.mean, self.variation, self.correlation]).all()
        if not known or self.mean < 1 or self.variation < 0 or not 0 <= self.correlation <= 1:
            raise PlanError(
                f"{self.mean:g} faces a person, variation {self.variation:g}, correlation {self.correlation:g}; "
                "allowed are 1 face or more, a variation of 0 or more, a correlation in 0..1"
            )

    @property
    def design_effect(self) -> float:
        """Variance of a mean over these faces, over that of as many independent ones."""
        return 1 + ((1 + self._spread**2) * self.mean - 1) * self.correlation

    def effective_people(self, people: float) -> float:
        """Return (sum n_i)^2 / sum n_i^2 of so many people."""
        return people / (1 + self._spread**2)

    @property
    def _spread(self) -> float:
        # One face a person leaves no room for unequal numbers.
        return self.variation if self.mean > 1 else 0.0


@dataclass(frozen=True)
class Goal:
    """What the data are to show.

    Attributes
    ----------
    kind : {'difference', 'gap', 'width'}
    size : float
        The difference or gap that matters, or half the width of the interval, in the metric's unit.
    noise : tuple of float
        Standard deviation of one face's value, one for each group; for two models, of the difference of their values
        on one face.
    shares : tuple of float
        Share of the people that each group holds; they add up to 1.
    power : float, range 0..1
        Share of trials in which a difference of `size` is to be significant at 5 %, two-sided.
    """

    kind: str
    size: float
    noise: tuple[float, ...]
    shares: tuple[float, ...] = (1.0,)
    power: float = POWER

    def __post_init__(self):
        if self.kind not in GOALS:
            raise PlanError(f"goal {self.kind!r}; allowed are {list(GOALS)}")
        _check_size(self.size)
        if not all(0 < noise < np.inf for noise in self.noise):
            raise PlanError(
                f"noise {min(self.noise):.4g}; the standard deviation of one face's value is above 0"
            )
        if not ALPHA < self.power < 1:
            raise PlanError(
                f"power {self.power:g}; it is the share of trials that show the difference, above {ALPHA:g} (what shows "
                "without any difference) and below 1, such as .8"
            )


def _check_size(size: float) -> None:
    if not 0 < size < np.inf:
        raise PlanError(f"size {size:g}; it is a number above 0, such as .02 for two points of accuracy")


def difference_of_models(
    size: float, *, discordant: float | None = None, noise: float | None = None, power: float = POWER
) -> Goal:
    """Return the goal to show that two models differ by `size` on the same faces.

    Parameters
    ----------
    size : float
        Difference of accuracies (or of mean errors).
    discordant : float, range 0..1
        Share of faces that only one of both models gets right: the noise is sqrt(discordant - size^2).
    noise : float
        Standard deviation of the difference of the two values of one face, in place of `discordant`.
    """
    _check_size(size)
    if noise is None:
        if discordant is None or not size <= discordant <= 1:
            raise PlanError(
                f"discordant={discordant}; the share of faces that only one model gets right is at least the difference "
                f"({size:g}) and at most 1; or give noise"
            )
        noise = float(np.sqrt(discordant - size**2))
    return Goal(DIFFERENCE, size, (noise,), power=power)


def gap_of_groups(
    size: float,
    *,
    share: float,
    accuracy: float | None = None,
    noise: float | None = None,
    power: float = POWER,
) -> Goal:
    """Return the goal to show that one group of people is served worse than the others by `size`.

    Parameters
    ----------
    share : float, range 0..1
        Share of the people who are of the group.
    accuracy : float, range 0..1
        Of the others; the group's is lower by `size`.
    noise : float
        Standard deviation of one face's value, in place of `accuracy`.
    """
    if not 0 < share < 1:
        raise PlanError(f"share={share}; the share of people who are of the group lies between 0 and 1")
    if noise is not None:
        return Goal(GAP, size, (noise, noise), (share, 1 - share), power=power)
    if accuracy is None:
        raise PlanError(
            "a gap between groups needs the accuracy of the others, or the noise of one face's value"
        )
    noises = (_noise_of(accuracy - size), _noise_of(accuracy))
    return Goal(GAP, size, noises, (share, 1 - share), power=power)


def width_of_interval(half: float, *, accuracy: float | None = None, noise: float | None = None) -> Goal:
    """Return the goal to know a figure to within `half`: its 95 % interval reaches so far to either side."""
    if noise is not None:
        return Goal(WIDTH, half, (noise,))
    if accuracy is None:
        raise PlanError("the width of an interval needs the accuracy, or the noise of one face's value")
    if half >= 0.5:
        raise PlanError(
            f"size {half:g}; an interval of an accuracy that reaches so far to either side holds nearly all values; give "
            "a size below .5, or the noise of one face's value"
        )
    return Goal(WIDTH, half, (_noise_of(accuracy),))


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted of one face's value.

    Attributes
    ----------
    accuracy : float, range 0..1
        Of the model; of the others where a gap is planned for.
    discordant : float, range 0..1
        Share of faces that only one of two models gets right.
    share : float, range 0..1
        Share of people who are of the group.
    noise : float
        Standard deviation of one face's value (of the difference of two models' values), in place of accuracy or
        discordant; 0 for none.
    """

    accuracy: float = 0.9
    discordant: float = 0.08
    share: float = 0.2
    noise: float = 0.0


def make_goal(kind: str, size: float, assumed: Assumptions, *, power: float = POWER) -> Goal:
    """Return the goal of this kind ('difference', 'gap', 'width')."""
    if kind not in GOALS:
        raise PlanError(f"goal {kind!r}; allowed are {list(GOALS)}")
    noise = assumed.noise or None
    if kind == DIFFERENCE:
        return difference_of_models(size, discordant=assumed.discordant, noise=noise, power=power)
    if kind == GAP:
        return gap_of_groups(size, share=assumed.share, accuracy=assumed.accuracy, noise=noise, power=power)
    return width_of_interval(size, accuracy=assumed.accuracy, noise=noise)


def _noise_of(accuracy: float) -> float:
    if not 0 < accuracy < 1:
        raise PlanError(
            f"an accuracy of {accuracy:g} leaves nothing to plan with; it lies between 0 and 1, the gap taken off too"
        )
    return float(np.sqrt(accuracy * (1 - accuracy)))


def standard_error(goal: Goal, faces: FacesOfPeople, people: float) -> tuple[float, float]:
    """Return the standard error of the figure on so many people, and its degrees of freedom (Satterthwaite)."""
    shares = np.array(goal.shares)
    variances = np.square(goal.noise) * faces.design_effect / (faces.mean * shares * people)
    freedom = np.maximum(faces.effective_people(people) * shares - 1, 1)
    return float(np.sqrt(variances.sum())), float(variances.sum() ** 2 / (variances**2 / freedom).sum())


def power(goal: Goal, faces: FacesOfPeople, people: float) -> float:
    """Return the share of trials in which a t test at 5 % sees the difference (noncentral t)."""
    error, freedom = standard_error(goal, faces, people)
    reach, shift = stats.t.ppf(1 - ALPHA / 2, freedom), goal.size / error
    # Far from 0 the lower tail is 0, which scipy gives as NaN.
    return float(stats.nct.sf(reach, freedom, shift) + np.nan_to_num(stats.nct.cdf(-reach, freedom, shift)))


def half_width(goal: Goal, faces: FacesOfPeople, people: float) -> float:
    """Return half the width of the 95 % interval that is to be expected."""
    error, freedom = standard_error(goal, faces, people)
    return float(stats.t.ppf(1 - ALPHA / 2, freedom) * error)


def least_people(goal: Goal) -> int:
    """Return the least people that a plan has: as many in each group as a test is made on."""
    return int(np.ceil(FEWEST_UNITS / min(goal.shares)))


def people_needed(goal: Goal, faces: FacesOfPeople) -> int:
    """Return the smallest number of people that reaches the goal; ten in each group are the least.

    Raises
    ------
    PlanError
        More than a thousand million people.
    """

    def reaches(people: int) -> bool:
        if goal.kind == WIDTH:
            return half_width(goal, faces, people) <= goal.size
        return power(goal, faces, people) >= goal.power

    low = least_people(goal)
    if reaches(low):
        return low
    high = 2 * low
    while not reaches(high):
        low, high = high, 2 * high
        if high > MOST_PEOPLE:
            raise PlanError(
                f"more than {MOST_PEOPLE:,} people would be needed for {goal.size:g}; give a larger size"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def smallest(goal: Goal, faces: FacesOfPeople, people: int) -> float:
    """Return the smallest difference or gap that so many people show with the goal's power, or the half width.

    The noise is taken as it is, also where it would change with the size.
    """
    if goal.kind == WIDTH:
        return half_width(goal, faces, people)

    def short_of_power(size: float) -> float:
        return power(replace(goal, size=size), faces, people) - goal.power

    low = high = standard_error(goal, faces, people)[0]
    while short_of_power(high) < 0:
        high *= 2
    while short_of_power(low) > 0:
        low /= 2
    return float(optimize.brentq(short_of_power, low, high))


def alternatives(goal: Goal, faces: FacesOfPeople, *, a_person: Sequence[float] = A_PERSON) -> pd.DataFrame:
    """Plan the same goal with other numbers of faces a person.

    Returns
    -------
    pandas.DataFrame
        faces_a_person, design_effect, people, faces, and with more than one group people_of_the_smallest.
    """
    records = []
    for mean in sorted({*a_person, faces.mean}):
        own = replace(faces, mean=mean)
        people = people_needed(goal, own)
        record = {"faces_a_person": mean, "design_effect": own.design_effect, "people": people}
        record["faces"] = int(np.ceil(people * mean))
        if len(goal.shares) > 1:
            record["people_of_the_smallest"] = int(np.ceil(people * min(goal.shares)))
        records.append(record)
    return pd.DataFrame(records)


def by_correlation(goal: Goal, faces: FacesOfPeople, *, correlations: Sequence[float]) -> pd.DataFrame:
    """Plan the same goal with other intra-person correlations, cut to 0..1: correlation, design_effect, people, faces."""
    records = []
    for correlation in np.unique(np.clip([*correlations, faces.correlation], 0, 1)):
        own = replace(faces, correlation=float(correlation))
        people = people_needed(goal, own)
        records.append(
            {"correlation": correlation, "design_effect": own.design_effect, "people": people}
            | {"faces": int(np.ceil(people * faces.mean))}
        )
    return pd.DataFrame(records)


def describe(goal: Goal, faces: FacesOfPeople, people: int) -> str:
    """Return the plan in one sentence."""
    spread = f"{faces.mean:.3g} faces each" if faces.mean > 1 else "one face each"
    many = f"About {people:,} people with {spread} ({int(np.ceil(people * faces.mean)):,} faces)"
    if people == least_people(goal):
        many = f"The least that is tested, {FEWEST_UNITS} people in each group, is enough: {many[0].lower()}{many[1:]}"
    noise = f"intra-person correlation {faces.correlation:.2f}, design effect {faces.design_effect:.2f}"
    if goal.kind == WIDTH:
        return f"{many} give a 95 % interval of {goal.size:g} to either side ({noise})."
    if goal.kind == GAP:
        own = int(np.ceil(people * goal.shares[0]))
        return (
            f"{many}, {own:,} of them of the group, show a gap of {goal.size:g} in {goal.power:.0%} of trials "
            f"({noise})."
        )
    return f"{many} show a difference of {goal.size:g} between two models in {goal.power:.0%} of trials ({noise})."
