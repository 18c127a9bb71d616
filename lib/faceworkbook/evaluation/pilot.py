"""What a pilot's predictions say about noise: how alike the faces of a person are, how they are spread over people."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation.aligned_runs import require_same_rows
from faceworkbook.evaluation.planning import DIFFERENCE, Assumptions, FacesOfPeople, PlanError
from faceworkbook.evaluation.rows import Rows

N_BOOT = 1000


@dataclass(frozen=True)
class Pilot:
    """Noise of one face's value in a pilot.

    Attributes
    ----------
    mean, noise : float
        Mean and standard deviation of the values: right (1) or wrong (0), or the absolute error of a number; of two
        models the difference of their values.
    discordant : float
        Share of faces whose values differ between the two models; NaN for one model.
    correlation, correlation_low, correlation_high : float
        Intra-person correlation with its 95 % interval (people drawn with replacement); NaN where no person has
        several faces.
    faces : FacesOfPeople
        As the pilot has them; a correlation below 0, or one that is not known, is 0. One face each where people are
        unknown.
    n, n_people : int
        Faces and people (different pictures where people are unknown).
    counted : str
        'identities', 'pictures' or 'faces'.
    """

    mean: float
    noise: float
    discordant: float
    correlation: float
    correlation_low: float
    correlation_high: float
    faces: FacesOfPeople
    n: int
    n_people: int
    counted: str


def read_pilot(
    predictions: pd.DataFrame, other: pd.DataFrame | None = None, *, subset: str = "test", seed: int = 0
) -> Pilot:
    """Estimate the noise from a table of predictions, or from two models on the same faces.

    Raises
    ------
    PlanError
        Fewer than two people, or values that do not vary.
    """
    tables = [predictions[predictions["split"] == subset]]
    if other is not None:
        tables = list(require_same_rows({"first": predictions, "second": other}, subset=subset).values())
    rows = [metrics.rows_of(table, subset=None) for table in tables]
    values = [_values(own) for own in rows]
    value = values[0] if other is None else values[0] - values[1]
    if rows[0].n_units < 2 or np.ptp(value) == 0:
        raise PlanError(
            f"{rows[0].n_units} {rows[0].counted} with values that {'vary' if np.ptp(value) else 'do not vary'}: "
            "a pilot needs two people or more, and some faces that are wrong"
        )
    sizes = np.bincount(rows[0].units).astype(float)
    sums = np.bincount(rows[0].units, value)
    squares = np.bincount(rows[0].units, value**2)
    # Copies of a picture are alike, too; but they are no people, and no plan is made of them.
    known = rows[0].by_identity
    correlation = float(correlation_within(sizes, sums, squares)[0]) if known else np.nan
    drawn = intervals.resample(
        lambda weights: correlation_within(sizes, sums, squares, weights),
        len(sizes),
        n_boot=N_BOOT,
        seed=seed,
    )
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(correlation) else (np.nan, np.nan)
    return Pilot(
        mean=float(value.mean()),
        noise=float(value.std(ddof=1)),
        discordant=float((value != 0).mean()) if other is not None else np.nan,
        correlation=correlation,
        correlation_low=float(low),
        correlation_high=float(high),
        faces=FacesOfPeople(
            mean=float(sizes.mean()),
            variation=float(sizes.std() / sizes.mean()),
            correlation=float(np.clip(np.nan_to_num(correlation), 0, 1)),
        )
        if rows[0].by_identity
        else FacesOfPeople(),
        n=len(value),
        n_people=len(sizes),
        counted=rows[0].counted,
    )


def _values(rows: Rows) -> np.ndarray:
    if rows.task.is_number:
        return np.abs(rows.predicted - rows.truth)
    return rows.right.astype(float)


def correlation_within(
    sizes: np.ndarray, sums: np.ndarray, squares: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the intra-person correlation by the analysis of variance for unequal clusters (Donner 1986).

    (MSB - MSW) / (MSB + (n0 - 1) MSW) with n0 = (N - sum n_i^2 / N) / (k - 1); NaN where nobody has several faces.

    Parameters
    ----------
    sizes, sums, squares : ndarray of shape (n_people,)
        Faces of each person, the sum of their values, and of the squares of these.
    weights : ndarray of shape (b, n_people), optional
        How often each person counts.

    Returns
    -------
    ndarray of shape (b,)
    """
    w = np.ones((1, len(sizes))) if weights is None else np.asarray(weights, dtype=float)
    people, n = w.sum(axis=1), w @ sizes
    within = w @ (squares - sums**2 / sizes)
    between = w @ (sums**2 / sizes) - (w @ sums) ** 2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        n0 = (n - w @ sizes**2 / n) / (people - 1)
        msb, msw = between / (people - 1), within / (n - people)
        return (msb - msw) / (msb + (n0 - 1) * msw)


def assume(pilot: Pilot, kind: str, assumed: Assumptions) -> Assumptions:
    """Return the assumptions with the pilot's noise in place of what was guessed.

    Raises
    ------
    PlanError
        A difference between two models from a pilot of one, or a gap or width from the difference of two.
    """
    is_of_two = bool(np.isfinite(pilot.discordant))
    if is_of_two != (kind == DIFFERENCE):
        raise PlanError(
            f"a {kind} needs a pilot of {'two models' if kind == DIFFERENCE else 'one model'} on the same faces, "
            f"received {'two' if is_of_two else 'one'}"
        )
    return replace(assumed, noise=pilot.noise)


def describe(pilot: Pilot) -> str:
    """Return what the pilot shows, in one sentence."""
    known = (
        f"intra-person correlation {pilot.correlation:.2f} (95 % interval {pilot.correlation_low:.2f} to "
        f"{pilot.correlation_high:.2f})"
        if np.isfinite(pilot.correlation)
        else "nobody is known to have several faces, so the intra-person correlation is not known and one face a "
        "person is planned"
    )
    units = "people" if pilot.counted == "identities" else f"different {pilot.counted}"
    discordant = f", {pilot.discordant:.1%} of the faces discordant" if np.isfinite(pilot.discordant) else ""
    return (
        f"The pilot: {pilot.n:,} faces of {pilot.n_people:,} {units} ({pilot.n / pilot.n_people:.1f} each, variation "
        f"{pilot.faces.variation:.2f}); mean {pilot.mean:.3f}, noise of one face {pilot.noise:.3f}{discordant}; {known}."
    )
