"""Figures of several training strategies, seed by seed, a panel a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.plots import style


@dataclass
class StrategiesDisplay:
    """One dot a seed, one bar at the mean, for each strategy; a panel a task.

    Attributes
    ----------
    values : pandas.DataFrame
        Columns task, strategy, repeat, metric, value, n.
    """

    values: pd.DataFrame

    @classmethod
    def from_values(cls, values: pd.DataFrame) -> StrategiesDisplay:
        """Take ``faceworkbook.experiments.strategy_comparison.Repeats.values``."""
        return cls(values)

    def plot(self) -> StrategiesDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        tasks = list(self.values["task"].unique())
        size = (2.2 + 3.2 * len(tasks), 1.4 + 0.35 * self.values["strategy"].nunique())
        self.figure_, self.axes_ = style.panels(len(tasks), columns=len(tasks), size=size, sharey=True)
        for ax, task in zip(self.axes_, tasks, strict=True):
            self._draw(ax, self.values[self.values["task"] == task], task)
        self.axes_[0].invert_yaxis()
        return self

    def _draw(self, ax, own: pd.DataFrame, task: str) -> None:
        strategies = list(self.values["strategy"].unique())
        for place, strategy in enumerate(strategies):
            value, color = own["value"][own["strategy"] == strategy].to_numpy(), style.color(place)
            ax.plot(value, np.full(len(value), place), "o", ms=5, alpha=0.6, color=color)
            if len(value):
                ax.plot([value.mean()] * 2, [place - 0.3, place + 0.3], lw=2, color=color)
        ax.set_yticks(range(len(strategies)), strategies)
        ax.set(
            xlabel=_name_axis(own["metric"].iloc[0], task),
            title=f"{task} (n = {own['n'].mean():,.0f} test faces, {own['repeat'].nunique()} seeds)",
        )

    def describe(self) -> str:
        """Return the alt text."""
        means = self.values.groupby(["task", "strategy"], sort=False)["value"].mean()
        listed = "; ".join(f"{task} {strategy} {value:.3f}" for (task, strategy), value in means.items())
        return f"A dot for every seed and a bar at the mean of each training strategy. Means: {listed}."


def _name_axis(metric: str, task: str) -> str:
    if not metric.endswith("mae"):
        return style.words(metric)
    return f"mean absolute error ({'degrees' if task in faces.POSE else 'years'})"
