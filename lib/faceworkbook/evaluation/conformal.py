"""Conformal prediction sets: classes for each face that hold the truth in a given share of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import groups, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import rows_with_classes


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
        Validation people (faces, where people are unknown) behind each limit.
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
        sizes = {name: len(np.unique(rows.units[mask])) for name, mask in masks.items()}
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
            group, target, coverage, low, high (of these test rows), mean_size (classes in a set),
            singletons (share of sets with one class), n, p (how often a kept target looks as bad by the
            luck of validation and test faces; NaN where it cannot be known), kept ('yes' where p, adjusted by
            Holm over the groups, is at least .05, 'no', or 'unknown': a group without validation rows, or with too
            few for a limit, whose sets hold every class).
        """
        attribute = attribute or self.attribute
        chosen = predictions[predictions["split"] == subset]
        masks = {"all": np.full(len(chosen), True)}
        if attribute is not None:
            labels = chosen[attribute]
            masks |= {n: (labels.astype(str) == n).to_numpy() for n in groups.levels(labels.dropna())}
        rows, inside = rows_with_classes(chosen, None), self.sets(chosen)
        holds = inside[np.arange(len(rows.truth)), rows.truth]
        # A share of rows like accuracy is: right where the set holds the truth.
        as_hits = Rows(**{**vars(rows), "truth": np.ones(len(holds)), "predicted": holds.astype(float)})
        records = []
        for name, mask in masks.items():
            value, low, high, _ = metrics.estimate(metrics.ACCURACY, as_hits.take(mask), seed=seed)
            size, n_cases = inside[mask].sum(axis=1), len(np.unique(rows.units[mask]))
            records.append(
                {"group": name, "target": self.target, "coverage": value, "low": low, "high": high,
                 "mean_size": size.mean(), "singletons": (size == 1).mean(), "n": int(mask.sum()),
                 "p": self._chance(value, n_cases, self._size_of(name, attribute))}
            )  # fmt: skip
        table = pd.DataFrame(records)
        adjusted, known = table["p"].copy(), table["p"].notna() & (table.index > 0)
        adjusted[known] = significance.holm(table["p"][known])
        kept = np.select([adjusted.isna(), adjusted >= significance.ALPHA], ["unknown", "yes"], "no")
        return table.assign(kept=kept)

    def _size_of(self, group: str, attribute: str | None) -> int:
        """Count the validation people behind the limit of a group; 0 for one that the groups' limits do not know."""
        if attribute != self.attribute or group == "all":
            return self.sizes[""]
        return self.sizes.get(group, 0)

    def _chance(self, coverage: float, n_test: int, n_validation: int) -> float:
        """How often so few sets hold the truth although the target is kept; NaN without a limit to check.

        Over draws of validation and test cases their number is beta-binomial (Angelopoulos and Bates 2023).
        """
        rank = int(np.ceil((n_validation + 1) * self.target))
        if rank > n_validation or not n_test:
            return np.nan
        return float(
            stats.betabinom.cdf(np.floor(coverage * n_test + 1e-9), n_test, rank, n_validation + 1 - rank)
        )


def _conformal_limit(score: np.ndarray, coverage: float) -> float:
    rank = int(np.ceil((len(score) + 1) * coverage))
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else np.inf
