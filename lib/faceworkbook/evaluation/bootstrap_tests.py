"""Tests of a difference by a bootstrap over the units: for metrics of one's own, and for three models together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.significance import (
    UNBOUNDED,
    Result,
    alike_figures,
    need_finite,
    need_units,
    result_of_all,
    result_of_units,
    t_figures,
    without_spread,
)
from faceworkbook.evaluation.standard_errors import SumError

PAIRED_BOOTSTRAP = "paired bootstrap"


def paired_bootstrap(
    difference: intervals.Statistic,
    n_units: int,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    counted: str = "identities",
    bounds: tuple[float, float] = UNBOUNDED,
) -> Result:
    """Bootstrap test of a difference of any metric, over the units that repeat.

    Parameters
    ----------
    difference : callable
        From weights of shape (b, n_units) to differences of shape (b,); both models share the weights.
    bounds : (float, float)
        Least and largest difference that there can be.

    Returns
    -------
    Result
        Bootstrap standard error (corrected by n / (n - 1) for few units) and a t quantile with
        n_units - 1 degrees of freedom. Differences are near symmetric, and where few faces are
        discordant this keeps its 5 %, which BCa does not. Where no resample differs, see `without_spread`.
        Effect: the difference in standard deviations of a unit.

    Raises
    ------
    ValueError
        A single unit, or a difference that is not defined on these rows.
    """
    need_units(n_units, counted)
    value = float(difference(np.ones((1, n_units)))[0])
    drawn = intervals.resample(difference, n_units, n_boot=n_boot, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < 2:
        raise ValueError(
            "the metric is not defined on these rows (a class without rows?); choose another metric"
        )
    error = float(drawn.std(ddof=1) * np.sqrt(n_units / (n_units - 1)))
    # Resamples are computed in single precision.
    if error <= 1e-6 * max(abs(value), 1e-3):
        figures = alike_figures(value, n_units, bounds=bounds)
    else:
        figures = t_figures(value, error, n_units - 1)
    return result_of_units(PAIRED_BOOTSTRAP, value, figures, n=n_units, counted=counted).within(bounds)


def joint_bootstrap(
    values: intervals.Statistic,
    n_units: int,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    counted: str = "identities",
    errors: Sequence[SumError] = (),
) -> Result:
    """Do three or more models differ at all, by any metric? Hotelling's T2 with a bootstrap covariance.

    Parameters
    ----------
    values : callable
        From weights of shape (b, n_units) to the metric of each model, shape (b, n_models).
    errors : sequence of SumError, n_models - 1
        Of each further model less the first, where units have unequal numbers of faces: the covariance is scaled to
        them, and as many units count as are effective.

    Returns
    -------
    Result
        Effect: T2 / number of units.

    Raises
    ------
    ValueError
        No more units than models, or a metric that is not defined on these rows.
    """
    each = values(np.ones((1, n_units)))[0]
    if n_units <= len(each):
        raise ValueError(
            f"{n_units} {counted} for {len(each)} models: a test of all together needs more {counted} than models"
        )
    need_finite("values of the metric on these rows", each)
    drawn = intervals.resample(values, n_units, n_boot=n_boot, seed=seed)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    gap, cloud = each[1:] - each[0], drawn[:, 1:] - drawn[:, [0]]
    covariance, units = np.atleast_2d(np.cov(cloud, rowvar=False)), float(n_units)
    if errors:
        spread = np.sqrt(np.maximum(np.diag(covariance), 1e-24))
        scale = np.array([made.error for made in errors]) / spread
        covariance, units = covariance * np.outer(scale, scale), min(made.effective for made in errors)
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    inverse = np.linalg.pinv(covariance, hermitian=True)
    t2 = float(gap @ inverse @ gap)
    p = (
        float(stats.f.sf(t2 * (units - rank) / (rank * (units - 1)), rank, units - rank))
        if 0 < rank < units
        else 1.0
    )
    # A difference in a direction in which no resample varies: every unit shows it.
    unvaried = float(np.abs(gap - covariance @ inverse @ gap).max())
    if unvaried > 1e-6:
        p = min(p, without_spread(unvaried, n_units)[2])
    return result_of_all(
        "Hotelling's T2 (bootstrap)",
        t2,
        p,
        effect=t2 / n_units,
        effect_name=f"T2 / {counted}",
        n=n_units,
        counted=counted,
    )
