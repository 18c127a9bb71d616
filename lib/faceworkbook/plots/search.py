"""A search of hyper-parameters: the trials in turn, and what mattered."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style


@dataclass
class SearchDisplay:
    """The trials' figures in turn, the best so far, and the importance of each hyper-parameter.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a trial: number, state, value.
    column : str
        The figure of validation rows that `value` is.
    higher : bool
        Whether higher values are better.
    importance : pandas.DataFrame
        hyper-parameter, importance (shares of 1); may be empty.
    """

    table: pd.DataFrame
    column: str
    higher: bool
    importance: pd.DataFrame

    @classmethod
    def from_search(cls, searched) -> SearchDisplay:
        """Take ``faceworkbook.training.search.Searched``."""
        return cls(searched.table, searched.column, searched.column == "val_accuracy", searched.importance)

    def plot(self) -> SearchDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        self.figure_, self.axes_ = style.panels(
            2, columns=2, size=(9.0, 3.4), gridspec_kw={"width_ratios": [3, 2]}
        )
        trials, shares = self.axes_
        for i, (state, marker) in enumerate((("pruned", "x"), ("complete", "o"))):
            own = self.table[self.table["state"] == state]
            color = style.GREY if i == 0 else style.COLORS[0]
            trials.plot(own["number"], own["value"], marker, ms=4, color=color, label=f"{state} ({len(own)})")
        whole = self.table["value"].where(self.table["state"] == "complete")
        best = whole.cummax() if self.higher else whole.cummin()
        trials.step(
            self.table["number"], best.ffill(), where="post", color=style.COLORS[1], label="best so far"
        )
        trials.set(xlabel="trial", ylabel=words(self.column), title=f"{len(self.table)} trials")
        trials.legend(fontsize=8)
        self._plot_importance(shares)
        return self

    def _plot_importance(self, ax) -> None:
        ordered = self.importance.sort_values("importance")
        ax.barh(ordered["hyper-parameter"], ordered["importance"], color=style.COLORS[2])
        ax.set(title="importance", xlabel="share")
        if self.importance.empty:
            ax.text(0.5, 0.5, "too few trials", ha="center", transform=ax.transAxes, color=style.GREY)

    def describe(self) -> str:
        """Return the alt text."""
        whole = self.table[self.table["state"] == "complete"]["value"]
        first = self.importance.sort_values("importance", ascending=False).head(1)
        matters = "".join(
            f" What mattered most is {name} ({share:.0%})." for name, share in first.itertuples(index=False)
        )
        best = whole.max() if self.higher else whole.min()
        return (
            f"{words(self.column).capitalize()} of {len(self.table)} trials, of which {len(whole)} were trained to "
            f"their end; the best reached {best:.3f}.{matters}"
        )


def words(column: str) -> str:
    """Return the column of a history as a reader says it."""
    return column.replace("val_", "validation ").replace("mae", "MAE")
