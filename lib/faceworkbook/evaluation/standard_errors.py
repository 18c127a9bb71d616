"""Standard errors over people with unequal numbers of pictures.

A figure is linearised: it misses the truth by about the sum of what each row contributes. Faces of one
person are not independent, so contributions are added up by person (by face where people are unknown) before
they are squared. Two estimates of the variance of the sum are averaged. The jackknife that leaves out a person
at a time (CR3) holds whatever ties the faces of a person together, but hangs on the few people who own most
pictures. The exchangeable model gives all people one correlation, estimated from each person's pairs of faces,
and is steadier. Their mean, with a t quantile of the effective number of people, is what covered its 95 % where
either alone did not: see docs/how_intervals_were_checked.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

# The correlation of a person's faces that is taken for granted before any is seen, and how much it counts: as
# many of the people with most pictures. Few errors show no correlation, which does not mean that there is none.
PRIOR_CORRELATION = 0.15
PRIOR_PEOPLE = 2.0
# Degrees of freedom that the fourth moment of people's sums shows, times this; the gate's simulations chose it.
# An area under the curve near 1 hangs on the few faces that others outrank.
MOMENT_FACTOR, MOMENT_FACTOR_OF_RANKS = 1.5, 1.0


@dataclass(frozen=True, eq=False)
class SumError:
    """Standard error of a sum of contributions.

    Attributes
    ----------
    error : float
        NaN for fewer than two units.
    freedom : float
        Degrees of freedom of its t quantile.
    effective : float
        Effective number of units, (sum n)^2 / sum n^2 with n faces a unit, or fewer where one class of faces
        hangs on fewer.
    by_unit : ndarray of shape (n_units,)
        What each unit adds.
    """

    error: float
    freedom: float
    effective: float
    by_unit: np.ndarray


def error_of_sum(
    contributions: np.ndarray,
    units: np.ndarray,
    faces: np.ndarray,
    *,
    strata: np.ndarray | None = None,
    n_units: int | None = None,
    moment_factor: float = MOMENT_FACTOR,
) -> SumError:
    """Return the standard error of the sum of contributions whose units (people) are independent.

    Parameters
    ----------
    contributions : ndarray of shape (n,)
        Linearised values, adding up to about 0: value - truth is near their sum.
    units, faces : ndarray of shape (n,), int
        Person and face of each row; a face of several rows (repeats of folds) counts once.
    strata : ndarray of shape (n,), int, optional
        Class of each row, where rows of a rare class weigh more than others: then the freedom is that of the
        people who have such rows.
    n_units : int, optional
        Length of `by_unit`; units that have no row add 0.

    Notes
    -----
    Freedom: Satterthwaite's, (sum v)^2 / sum v^2 - 1 for expected variances v of the units, at most
    `moment_factor` times what the fourth moment of the units' sums allows.
    """
    length = int(units.max()) + 1 if n_units is None else n_units
    by_unit = np.bincount(units, contributions, minlength=length)
    face, first = np.unique(faces, return_index=True)
    of_face = np.bincount(np.searchsorted(face, faces), contributions, minlength=len(face))
    present, owner = np.unique(units[first], return_inverse=True)
    sizes = np.bincount(owner).astype(float)
    squares = np.bincount(owner, of_face**2)
    classes = np.zeros(len(face), int) if strata is None else np.unique(strata[first], return_inverse=True)[1]
    effective = _satterthwaite(_expected(of_face, owner, classes))
    sums = by_unit[present]
    if len(present) < 2:
        return SumError(np.nan, np.nan, effective, by_unit)
    variance = (_jackknife(sums, sizes) + _exchangeable(sums, squares, sizes)) / 2
    fourth = (sums**4).sum()
    moment = 3 * (sums**2).sum() ** 2 / fourth if fourth > 0 else np.inf
    freedom = max(min(effective, moment_factor * moment) - 1, 1.0)
    return SumError(float(np.sqrt(variance)), freedom, effective, by_unit)


def effective_units(units: np.ndarray, faces: np.ndarray, *, strata: np.ndarray | None = None) -> float:
    """Return the effective number of units, (sum n)^2 / sum n^2; with strata, of the class that has the fewest."""
    if strata is None:
        _, first = np.unique(faces, return_index=True)
        return _satterthwaite(np.unique(units[first], return_counts=True)[1].astype(float))
    # Each face once a class, then the faces of each unit in each class.
    order = np.lexsort((faces, strata))
    once = order[_begins(strata[order], faces[order])]
    once = once[np.lexsort((units[once], strata[once]))]
    first = np.flatnonzero(_begins(strata[once], units[once]))
    sizes = np.diff([*first, len(once)]).astype(float)
    _, owner = np.unique(strata[once[first]], return_inverse=True)
    return float((np.bincount(owner, sizes) ** 2 / np.bincount(owner, sizes**2)).min())


def _begins(*sorted_columns: np.ndarray) -> np.ndarray:
    """Whether each row differs from the one before it."""
    differs = np.ones(len(sorted_columns[0]), bool)
    differs[1:] = np.any([column[1:] != column[:-1] for column in sorted_columns], axis=0)
    return differs


def _expected(of_face: np.ndarray, owner: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Variance that each unit is expected to add: the mean square of its faces' classes, added up."""
    mean_square = np.bincount(classes, of_face**2) / np.bincount(classes)
    each = mean_square[classes] if mean_square.any() else np.ones(len(of_face))
    return np.bincount(owner, each)


def _satterthwaite(variances: np.ndarray) -> float:
    return float(variances.sum() ** 2 / (variances**2).sum())


def _jackknife(sums: np.ndarray, sizes: np.ndarray) -> float:
    n, k = sizes.sum(), len(sizes)
    left_out = -sums * n / (n - sizes)
    return float((k - 1) / k * ((left_out - left_out.mean()) ** 2).sum())


def _exchangeable(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> float:
    """Variance of the sum where all pairs of faces of one person share one correlation."""
    n, pairs = sizes.sum(), (sizes**2).sum() - sizes.sum()
    one = squares.sum() / n
    if one == 0:
        return 0.0
    rho = shrunken_correlation(sums, squares, sizes, one)
    # Contributions are taken about the estimate, which hides as much correlation as the estimate has variance.
    hidden = (n + rho * pairs) / n**2
    return float(one * (n + min(rho + hidden, 0.95) * pairs))


def shrunken_correlation(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray, one: float) -> float:
    """Estimate the correlation of the faces of one person, drawn towards `PRIOR_CORRELATION`; 0 without pairs.

    Each person's mean product of pairs is weighted by how well it is known, so that who has a hundred pictures
    counts little more than who has ten.
    """
    several = sizes > 1
    if not several.any():
        return 0.0
    m = sizes[several]
    products = (sums[several] ** 2 - squares[several]) / (m * (m - 1)) / one
    rho = PRIOR_CORRELATION
    for _ in range(6):
        # Variance of the mean product of m normal values, all pairs of which correlate by rho.
        variance = 2 * ((1 + (m - 1) * rho) ** 2 + (1 - rho) ** 2 / (m - 1)) / m**2
        weight = variance.min() / variance
        rho = (weight @ products + PRIOR_PEOPLE * PRIOR_CORRELATION) / (weight.sum() + PRIOR_PEOPLE)
        rho = float(np.clip(rho, 0.0, 0.95))
    return rho


def t_quantile(confidence: float, freedom: float) -> float:
    """Return the two-sided t quantile."""
    return float(stats.t.ppf((1 + confidence) / 2, freedom))
