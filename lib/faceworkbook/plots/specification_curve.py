"""The specification curve: every combination, from the worst figure to the best, and what each was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class SpecificationCurveDisplay:
    """Figures in order above, the levels of each combination below (Simonsohn, Simmons and Nelson 2020).

    Attributes
    ----------
    table : pandas.DataFrame
        One row a combination: factors, then ``value``.
    metric, unit : str
    n : float
        Mean number of test faces.
    """

    table: pd.DataFrame
    metric: str
    unit: str
    n: float

    @classmethod
    def from_specifications(cls, made, *, unit: str = "") -> SpecificationCurveDisplay:
        """Take ``faceworkbook.experiments.specifications.Specifications``; factors of one level are left out."""
        table = made.table()
        alone = [factor for factor, levels in made.levels.items() if len(levels) < 2]
        return cls(table.drop(columns=alone), made.metric, unit, made.n_test)

    def plot(self) -> SpecificationCurveDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        ordered = self.table.sort_values("value", ignore_index=True)
        factors = list(ordered.columns.drop("value"))
        rows = [(factor, level) for factor in factors for level in dict.fromkeys(self.table[factor])]
        self.figure_, self.axes_ = style.panels(
            2, columns=1, size=(7.5, 2.6 + 0.24 * len(rows)), sharex=True,
            gridspec_kw={"height_ratios": [2.2, 0.24 * len(rows) + 0.3]},
        )  # fmt: skip
        above, below = self.axes_
        above.plot(ordered["value"], ".", ms=3, color=style.color(0))
        axis = style.words(self.metric) + (f" ({self.unit})" if self.unit else "")
        title = f"{len(ordered):,} combinations (n = {self.n:,.0f} test faces each)"
        above.set(ylabel=axis, title=title)
        for place, (factor, level) in enumerate(rows):
            at = np.flatnonzero((ordered[factor] == level).to_numpy())
            color = style.color(factors.index(factor))
            below.plot(at, np.full(len(at), place), "|", ms=6, mew=0.8, color=color)
        below.set_yticks(range(len(rows)), [f"{factor}: {level}" for factor, level in rows])
        below.set(xlabel="combinations, ordered by their figure")
        below.invert_yaxis()
        return self

    def describe(self) -> str:
        """Return the alt text."""
        best, worst = (self.table.loc[self.table["value"].agg(f)] for f in ("idxmax", "idxmin"))
        texts = [
            f"{name} {row['value']:.3f} with " + ", ".join(f"{f} {row[f]}" for f in row.index.drop("value"))
            for name, row in (("highest", best), ("lowest", worst))
        ]
        return f"{self.metric} of every combination in order, with its levels below: {'; '.join(texts)}."
