"""Figures of several ways of training, seed by seed, a panel a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook import faces
from faceworkbook.plots import style


@dataclass
class StrategiesDisplay:
    """One dot a seed, one bar at the mean, for each way; a panel a task.

    Attributes
    ----------
    values : pandas.DataFrame
        Columns task, way, repeat, metric, value, n.
    """

    values: pd.DataFrame

    @classmethod
    def from_values(cls, values: pd.DataFrame) -> StrategiesDisplay:
        """From ``faceworkbook.experiments.strategy_comparison.Repeats.values``."""
        return cls(values)

    def plot(self) -> StrategiesDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        tasks = list(self.values["task"].unique())
        height = 1.4 + 0.35 * self.values["way"].nunique()
        with plt.rc_context(style.SETTINGS):
            self.figure_, axes = plt.subplots(
                1, len(tasks), figsize=(2.2 + 3.2 * len(tasks), height), sharey=True, squeeze=False
            )
        self.axes_ = axes[0]
        for ax, task in zip(self.axes_, tasks, strict=True):
            self._draw(ax, self.values[self.values["task"] == task], task)
        self.axes_[0].invert_yaxis()
        return self

    def _draw(self, ax, own: pd.DataFrame, task: str) -> None:
        ways = list(self.values["way"].unique())
        for place, way in enumerate(ways):
            value = own["value"][own["way"] == way].to_numpy()
            color = style.COLORS[place % len(style.COLORS)]
            ax.plot(value, np.full(len(value), place), "o", ms=5, alpha=0.6, color=color)
            if len(value):
                ax.plot([value.mean()] * 2, [place - 0.3, place + 0.3], lw=2, color=color)
        ax.set_yticks(range(len(ways)), ways)
        ax.set(
            xlabel=_axis(own["metric"].iloc[0], task),
            title=f"{task} (n = {own['n'].mean():,.0f} test faces, {own['repeat'].nunique()} seeds)",
        )

    def describe(self) -> str:
        """Alt text."""
        means = self.values.groupby(["task", "way"], sort=False)["value"].mean()
        told = "; ".join(f"{task} {way} {value:.3f}" for (task, way), value in means.items())
        return f"A dot for every seed and a bar at the mean of each way of training. Means: {told}."


def _axis(metric: str, task: str) -> str:
    if not metric.endswith("mae"):
        return metric.replace("_", " ")
    return f"mean absolute error ({'degrees' if task in faces.POSE else 'years'})"
