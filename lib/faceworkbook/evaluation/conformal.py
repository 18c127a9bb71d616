"""Conformal prediction sets: classes for each face that hold the truth in a given share of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import figures, groups, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import estimate_share, rows_with_classes

# A coverage that is further below its target than this is counted.
TOO_LOW = 0.05


@dataclass(frozen=True)
class Conformal:
    """Prediction sets that hold the truth in a given share of cases (split conformal).

    Attributes
    ----------
    target : float
        Share of faces whose set is to hold the truth, such as .9.
    limits : mapping of str to float
        Largest 1 - p that still enters the set, by group; the key '' holds for groups that are not
        named.
    attribute : str or None
        Column of the groups.
    small : tuple of str
        Groups with too few validation rows for a limit of their own: every class enters their set.
    sizes : mapping of str to int
        Validation faces behind each limit, as many independent ones as they are worth (`effective_size`).
    """

    target: float
    limits: Mapping[str, float]
    attribute: str | None
    small: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        predictions: pd.DataFrame,
        *,
        coverage: float = 0.9,
        attribute: str | None = None,
        subset: str = "validation",
    ) -> Conformal:
        """Choose limits on validation rows, one a group where `attribute` is given (Vovk 2012).

        The coverage holds on average over validation and test faces that are exchangeable: people must
        not stand in both, and nothing may have been fitted or chosen on the validation rows.
        """
        if not 0 < coverage < 1:
            raise PredictionsError(f"coverage={coverage}; allowed is between 0 and 1, such as 0.9")
        rows = rows_with_classes(predictions, subset)
        score = 1 - rows.probabilities[np.arange(len(rows.truth)), rows.truth]
        masks = {"": np.full(len(score), True)}
        if attribute is not None:
            labels = predictions.loc[predictions["split"] == subset, attribute]
            masks |= {n: (labels.astype(str) == n).to_numpy() for n in groups.levels(labels.dropna())}
        limits = {name: _conformal_limit(score[mask], coverage) for name, mask in masks.items()}
        small = tuple(name for name, limit in limits.items() if np.isinf(limit))
        sizes = {n: effective_size(score[m] <= limits[n], rows.units[m]) for n, m in masks.items()}
        return cls(coverage, limits, attribute, small, sizes)

    def sets(self, predictions: pd.DataFrame) -> np.ndarray:
        """Which classes are in the set of each row: boolean ndarray of shape (n, n_classes)."""
        limit = np.full(len(predictions), self.limits[""])
        if self.attribute is not None:
            names = predictions[self.attribute].astype(str)
            limit = names.map(lambda name: self.limits.get(name, self.limits[""])).to_numpy(dtype=float)
        return 1 - tables.probabilities(predictions) <= limit[:, None] + 1e-12

    def check(
        self, predictions: pd.DataFrame, *, attribute: str | None = None, subset: str = "test", seed: int = 0
    ) -> pd.DataFrame:
        """Compare the coverage on other rows with the target, by group and with intervals.

        Returns
        -------
        pandas.DataFrame
            group, target, coverage, low, high (of these test rows), expected_low, expected_high (95 % of draws of
            validation and test faces have a coverage between them where the target is kept on average), below
            (share of such draws more than .05 under the target), mean_size (classes in a set) and singletons (share
            of sets with one class) with their intervals, n, p (how often a kept target looks as bad by the luck of
            validation and test faces; NaN where it cannot be known), p_holm (adjusted over the groups), kept ('yes'
            where p_holm is at least .05, 'no', or 'unknown': a group without validation rows, or with too few for a
            limit, whose sets hold every class).
        """
        attribute = attribute or self.attribute
        chosen = predictions[predictions["split"] == subset]
        masks = {"all": np.full(len(chosen), True)}
        if attribute is not None:
            labels = chosen[attribute]
            masks |= {n: (labels.astype(str) == n).to_numpy() for n in groups.levels(labels.dropna())}
        rows, inside = rows_with_classes(chosen, None), self.sets(chosen)
        holds = inside[np.arange(len(rows.truth)), rows.truth]
        records = []
        for name, mask in masks.items():
            if mask.any():
                behind = self._size_of(name, attribute)
                judged = self._judge(
                    rows.take(mask), holds[mask], inside[mask].sum(axis=1), behind, seed=seed
                )
                records.append({"group": name, **judged})
        table = pd.DataFrame(records)
        adjusted, known = table["p"].copy(), table["p"].notna() & (table.index > 0)
        adjusted[known] = significance.holm(table["p"][known])
        kept = np.select([adjusted.isna(), adjusted >= significance.ALPHA], ["unknown", "yes"], "no")
        return table.assign(p_holm=adjusted, kept=kept)

    def _size_of(self, group: str, attribute: str | None) -> int:
        """Count the validation faces behind the limit of a group; 0 for one that the groups' limits do not know."""
        if attribute != self.attribute or group == "all":
            return self.sizes[""]
        return self.sizes.get(group, 0)

    def _judge(self, rows: Rows, holds: np.ndarray, size: np.ndarray, behind: int, *, seed: int) -> dict:
        rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
        coverage, low, high = estimate_share(rows, holds, seed=seed)
        mean_size = self._mean_size(rows, size, seed=seed)
        singletons, single_low, single_high = estimate_share(rows, size == 1, seed=seed)
        n = effective_size(holds, rows.units)
        draws = self._expected(n, behind)
        return {
            "target": self.target,
            "coverage": coverage,
            "low": low,
            "high": high,
            "expected_low": draws.ppf(0.025) / n if draws else np.nan,
            "expected_high": draws.ppf(0.975) / n if draws else np.nan,
            "below": draws.cdf(np.ceil((self.target - TOO_LOW) * n) - 1) if draws else np.nan,
            "mean_size": mean_size[0],
            "mean_size_low": mean_size[1],
            "mean_size_high": mean_size[2],
            "singletons": singletons,
            "singletons_low": single_low,
            "singletons_high": single_high,
            "n": len(holds),
            "p": float(draws.cdf(np.floor(coverage * n + 1e-9))) if draws else np.nan,
        }

    @staticmethod
    def _mean_size(rows: Rows, size: np.ndarray, *, seed: int) -> tuple[float, float, float]:
        made = figures.figure_of_mean(size, rows.units, rows.pictures, bounds=(0.0, float(len(rows.classes))))
        if np.ptp(size):
            return made.value, *made.interval()
        # Sets of one size show nothing of others: as many may differ as an interval of their share allows.
        least = estimate_share(rows, size == size[0], seed=seed)[1]
        return made.value, least * size[0], least * size[0] + (1 - least) * len(rows.classes)

    def _expected(self, n_test: int, n_validation: int):
        """Return the distribution of how many of `n_test` sets hold the truth where the target is kept.

        None where there are too few validation faces for a limit. Over draws of validation and test cases their number is beta-binomial (Angelopoulos and Bates 2023).
        """
        rank = int(np.ceil((n_validation + 1) * self.target))
        if rank > n_validation:
            return None
        return stats.betabinom(n_test, rank, n_validation + 1 - rank)


def effective_size(holds: np.ndarray, units: np.ndarray) -> int:
    """Return how many independent faces these are worth, by how far the faces of one person agree (Kish's effect).

    Between the number of faces and (sum of m)^2 / (sum of m^2) for people with m faces each, at least 1.
    """
    units = np.unique(units, return_inverse=True)[1]
    faces_of, n = np.bincount(units), len(units)
    if not n or len(faces_of) == n:
        return n
    residual = holds - np.mean(holds)
    apart, together = np.sum(residual**2), np.sum(np.bincount(units, weights=residual) ** 2)
    least = n**2 / np.sum(faces_of**2)
    worth = n * apart / together * (len(faces_of) - 1) / len(faces_of) if together > 0 else least
    return max(int(np.clip(worth, least, n)), 1)


def _conformal_limit(score: np.ndarray, coverage: float) -> float:
    rank = int(np.ceil((len(score) + 1) * coverage))
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else np.inf
