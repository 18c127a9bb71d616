"""Is a difference larger, or smaller, than what matters? One margin, three answers.

That no difference is significant does not say that there is none. With a margin (a region of practical equivalence)
two models are equivalent where two one-sided tests at 5 % both see a difference inside the margin, that is, where
the 90 % interval lies inside it (Schuirmann 1987). Over repeated folds the posterior of the mean difference answers
(the correlated t test of Corani and Benavoli 2015, as in baycomp).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from faceworkbook.evaluation.metric_definitions import Metric
from faceworkbook.evaluation.significance import ALPHA, NADEAU_BENGIO, Result

POWER = 0.8
SHARE_MARGIN = 0.01
BEYOND, EQUIVALENT, UNDECIDED = "beyond the margin", "equivalent within the margin", "undecided"
NO_MARGIN = ""
ENOUGH = 0.95  # posterior probability that decides


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the first model's mean is lower, the same or higher, by the margin; they add up to 1."""

    lower: float
    within: float
    higher: float


def margin_of(metric: Metric, margin: float | None = None) -> float:
    """Return the margin to judge by: the one given, or 0.01 for figures in 0..1 and 0 (none) for others.

    Raises
    ------
    ValueError
        A negative or infinite margin.
    """
    if margin is None:
        return SHARE_MARGIN if tuple(metric.bounds) == (0.0, 1.0) else 0.0
    if not 0 <= margin < np.inf:
        raise ValueError(
            f"margin={margin}; allowed are 0 (none) and more, in the unit of {metric.name}, such as 0.01"
        )
    return float(margin)


def judge(result: Result, margin: float) -> str:
    """Return which of `BEYOND`, `EQUIVALENT` and `UNDECIDED` a test shows; `NO_MARGIN` where `margin` is 0.

    Beyond: the 95 % interval lies wholly beyond the margin, on one side. Equivalent: the 90 % interval lies wholly
    within. Over repeated folds a posterior probability of .95 decides instead.
    """
    if not margin:
        return NO_MARGIN
    if result.test == NADEAU_BENGIO:
        posterior = correlated_t(result, margin)
        if posterior.within >= ENOUGH:
            return EQUIVALENT
        is_clear = max(posterior.lower, posterior.higher) >= ENOUGH and result.p < ALPHA
        return BEYOND if is_clear else UNDECIDED
    if result.low >= margin or result.high <= -margin:
        return BEYOND
    return EQUIVALENT if -margin < result.low_90 <= result.high_90 < margin else UNDECIDED


def correlated_t(result: Result, margin: float) -> Posterior:
    """Return the posterior of the Bayesian correlated t test (Corani and Benavoli 2015) against a margin.

    With a prior that says nothing the mean difference is t distributed round the observed one, n - 1 degrees of
    freedom, with scale sqrt((1/n + rho / (1 - rho)) s^2). rho = n_test / (n_train + n_test) makes that the standard
    error of Nadeau and Bengio. NaN where the folds do not differ, for which it is not made.

    Parameters
    ----------
    result : Result
        Of `significance.nadeau_bengio`.
    margin : float
        More than 0, in the metric's unit.
    """
    if not result.error > 0:
        return Posterior(np.nan, np.nan, np.nan)
    of = stats.t(result.freedom, loc=result.difference, scale=result.error)
    lower, higher = float(of.cdf(-margin)), float(of.sf(margin))
    return Posterior(lower, 1 - lower - higher, higher)


def standard_error(result: Result) -> float:
    """Return the standard error of a difference, read off its 95 % interval where the test has none."""
    if np.isfinite(result.error):
        return result.error
    return (result.high - result.low) / (2 * float(stats.norm.ppf(1 - ALPHA / 2)))


def detectable(error: float, *, power: float = POWER) -> float:
    """Return the smallest true difference that a test at 5 % with this standard error sees in `power` of trials.

    It depends on the faces alone, not on the difference that was observed: what observed power says, p says already
    (Hoenig and Heisey 2001).
    """
    return float((stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(power)) * error)


def faces_needed(margin: float, error: float, *, n: int, power: float = POWER) -> float:
    """Count the faces that would decide between no difference and one of the margin.

    With so many the two one-sided tests find two equal models equivalent in `power` of trials, and a difference of
    the margin is significant at least as often.

    Parameters
    ----------
    margin : float
        More than 0.
    error : float
        Standard error of the difference on `n` faces; people who repeat are in it, so the answer assumes as many
        faces a person.

    Returns
    -------
    float
        n ((z_(1 - alpha) + z_((1 + power) / 2)) error / margin)^2, rounded up (Julious 2004, equation 15); NaN
        without an error.
    """
    if not np.isfinite(error):
        return np.nan
    z = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf((1 + power) / 2)
    return float(np.ceil(n * (z * error / margin) ** 2))
