"""Wilson's interval of a proportion, the units that intervals count, and the bootstrap over them.

Faces of one person are not independent, nor are copies of one picture, so a resample draws people (different
pictures where people are unknown) with replacement and takes all of their faces each time. A resample is a row of
weights (how often each unit was drawn); statistics are computed from weights, many resamples at once, never by
copying rows. Metrics need none: their intervals are made in `standard_errors` and `figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook import row_groups
from faceworkbook.faces import COPY_GROUP

CONFIDENCE = 0.95
N_BOOT = 2000
# Blocks of the delete-a-group jackknife that estimates the acceleration of BCa.
JACKKNIFE_BLOCKS = 200
# Weights that are held at once, 128 MB.
_CHUNK_VALUES = 2**25

Method = Literal["bca", "percentile"]
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """Values with their intervals; arrays of shape (n_statistics,)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def wilson(successes, n, *, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a proportion (Wilson 1927); NaN where `n` is 0.

    Parameters
    ----------
    successes, n : array-like of shape (m,) or number
        Counts.

    Returns
    -------
    low, high : ndarray of shape (m,), range 0..1
    """
    successes, n = np.broadcast_arrays(np.asarray(successes, dtype=float), np.asarray(n, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return score_interval(successes / n, n, float(stats.norm.ppf((1 + confidence) / 2)))


def score_interval(share, n, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares that lie within `z` of their own standard errors of `share` of `n` (Wilson 1927)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def resampling_units(rows: pd.DataFrame) -> np.ndarray:
    """Number the units that a resample draws: people, and where they are unknown different pictures.

    People who share a copy of a picture are one unit, as they are for a split.

    Parameters
    ----------
    rows : pandas.DataFrame
        With ``face_id``, ``identity`` (NA where unknown), and ``copy_group`` (NA where a picture has no
        copy; tables written before copies were known lack it). A face that stands in several rows
        (repeats of a cross-validation) is one unit.

    Returns
    -------
    ndarray of shape (n_rows,), int
        Codes from 0 to the number of units - 1, in order of appearance.
    """
    return _join_columns(rows, ["identity", COPY_GROUP, "face_id"])


def number_pictures(rows: pd.DataFrame) -> np.ndarray:
    """Number the different pictures among `rows`: copies of one picture count once; see `resampling_units`."""
    return _join_columns(rows, [COPY_GROUP, "face_id"])


def _join_columns(rows: pd.DataFrame, columns: list[str]) -> np.ndarray:
    groupings = [row_groups.people(rows[column]) for column in columns if column in rows]
    return pd.factorize(row_groups.whole(row_groups.join(*groupings)))[0]


def draw_weights(
    n_units: int, *, n_boot: int = N_BOOT, seed: int = 0, strata: np.ndarray | None = None
) -> np.ndarray:
    """Draw resamples of the units with replacement.

    Parameters
    ----------
    strata : ndarray of shape (n_units,), optional
        Stratum of each unit; each resample keeps the number of units of every stratum.

    Returns
    -------
    ndarray of shape (n_boot, n_units), float32
        How often each unit was drawn; every row adds up to `n_units`.
    """
    return np.concatenate(list(_draw_in_chunks(n_units, n_boot=n_boot, seed=seed, strata=strata)))


def resample(
    statistic: Statistic,
    n_units: int,
    *,
    n_boot: int = N_BOOT,
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Values of `statistic` on the resamples of `draw_weights`, in memory that does not grow with `n_boot`.

    Returns
    -------
    ndarray of shape (n_boot,) or (n_boot, n_statistics)
    """
    chunks = _draw_in_chunks(n_units, n_boot=n_boot, seed=seed, strata=strata)
    return np.concatenate([statistic(weights) for weights in chunks])


def _draw_in_chunks(
    n_units: int, *, n_boot: int, seed: int, strata: np.ndarray | None
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(n_units, dtype=int) if strata is None else np.asarray(strata)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    size = max(1, _CHUNK_VALUES // max(n_units, 1))
    for start in range(0, n_boot, size):
        weights = np.zeros((min(size, n_boot - start), n_units), dtype=np.float32)
        for row in weights:
            for of in members:
                row[of] = np.bincount(rng.integers(0, len(of), len(of)), minlength=len(of))
        yield weights


def bootstrap(
    statistic: Statistic,
    n_units: int,
    *,
    n_boot: int = N_BOOT,
    seed: int = 0,
    method: Method = "bca",
    strata: np.ndarray | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Bootstrap interval of one or more statistics that share their resamples.

    Parameters
    ----------
    statistic : callable
        From weights of shape (b, n_units) to values of shape (b,) or (b, n_statistics).
    n_units : int
        Number of people (or faces) to draw from.
    method : {'bca', 'percentile'}
        Bias-corrected and accelerated (Efron 1987), or plain quantiles; both widened for few units
        as a t quantile is (Hesterberg 2015, "expanded percentile").

    Returns
    -------
    Estimate
        NaN bounds where a statistic is undefined, where all resamples agree, or where there are fewer
        than two units.
    """
    value = _columns(statistic(np.ones((1, n_units))))[0]
    if n_units < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    resampled = _columns(resample(statistic, n_units, n_boot=n_boot, seed=seed, strata=strata))
    left_out = _columns(statistic(jackknife_weights(n_units, seed=seed))) if method == "bca" else None
    return from_resamples(
        value, resampled, n_units=n_units, left_out=left_out, method=method, confidence=confidence
    )


def from_resamples(
    value: np.ndarray,
    resampled: np.ndarray,
    *,
    n_units: int,
    left_out: np.ndarray | None = None,
    method: Method = "bca",
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Turn resampled values into intervals.

    Parameters
    ----------
    value : ndarray of shape (m,)
        On the whole sample.
    resampled : ndarray of shape (n_boot, m)
        On each resample; NaN (a class that was not drawn) is passed over.
    left_out : ndarray of shape (n_blocks, m)
        On each jackknife sample; needed by 'bca'.
    """
    if method not in ("bca", "percentile"):
        raise ValueError(f"method={method!r}; allowed are 'bca' and 'percentile'")
    value, resampled = np.atleast_1d(value).astype(float), _columns(resampled)
    tail = _expanded_tail((1 - confidence) / 2, n_units)
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    for j in range(len(value)):
        drawn = resampled[:, j][np.isfinite(resampled[:, j])]
        # Resamples that all agree (everybody right) show nothing about people who were not seen.
        if len(drawn) < 2 or np.ptp(drawn) == 0 or not np.isfinite(value[j]):
            continue
        shares = (tail, 1 - tail)
        if method == "bca":
            shares = _bca_shares(value[j], drawn, np.asarray(left_out)[:, j], tail)
        low[j], high[j] = np.quantile(drawn, shares)
    return Estimate(value, low, high)


def jackknife_weights(n_units: int, *, seed: int = 0) -> np.ndarray:
    """Weights that leave out one block of units at a time, ndarray of shape (n_blocks, n_units)."""
    blocks = min(n_units, JACKKNIFE_BLOCKS)
    order = np.random.default_rng(seed).permutation(n_units) % blocks
    return (order[None, :] != np.arange(blocks)[:, None]).astype(np.float64)


def _columns(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return values[:, None] if values.ndim == 1 else values


def _expanded_tail(tail: float, n_units: int) -> float:
    n = max(n_units, 2)
    # Two units put a t quantile beyond every resample: then the extremes are the bounds.
    return max(float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1))), 1e-9)


def _bca_shares(value: float, drawn: np.ndarray, left_out: np.ndarray, tail: float) -> tuple[float, float]:
    bias, acceleration = _bias_and_acceleration(value, drawn, left_out)
    z = stats.norm.ppf([tail, 1 - tail])
    shifted = bias + (bias + z) / (1 - acceleration * (bias + z))
    return tuple(np.clip(stats.norm.cdf(shifted), 0, 1))


def _bias_and_acceleration(value: float, drawn: np.ndarray, left_out: np.ndarray) -> tuple[float, float]:
    left_out = left_out[np.isfinite(left_out)]
    influence = left_out.sum() / max(len(left_out), 1) - left_out
    spread = np.sum(influence**2)
    # The value hardly moves when a unit is left out: no skew to correct.
    acceleration = np.sum(influence**3) / (6 * spread**1.5) if spread > 1e-20 else 0.0
    return _normal_score(drawn, value), float(acceleration)


def _normal_score(drawn: np.ndarray, value: float) -> float:
    # Half of the ties, or a statistic with few distinct values would look biased.
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    return float(stats.norm.ppf(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
