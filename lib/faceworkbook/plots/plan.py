"""People needed against the difference that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from faceworkbook.evaluation import planning
from faceworkbook.evaluation.planning import FacesOfPeople, Goal
from faceworkbook.plots import style

X_LABELS = {
    planning.DIFFERENCE: "difference between two models on the same faces",
    planning.GAP: "gap between the group and the others",
    planning.WIDTH: "reach of the 95 % interval to either side",
}


@dataclass
class PlanDisplay:
    """One line a number of faces a person; the goal is marked.

    Attributes
    ----------
    curves : pandas.DataFrame
        faces_a_person, people, size (the smallest difference or gap that is shown, or half the width).
    goal : Goal
    people : int
        Needed for the goal.
    faces : FacesOfPeople
        Of the goal.
    """

    curves: pd.DataFrame
    goal: Goal
    people: int
    faces: FacesOfPeople

    @classmethod
    def from_goal(
        cls, goal: Goal, faces: FacesOfPeople, *, a_person: Sequence[float] = (1, 2, 5, 20), points: int = 40
    ) -> PlanDisplay:
        """Compute the lines, of so many points, round the number of people that the goal needs."""
        people = planning.people_needed(goal, faces)
        least = planning.FEWEST_UNITS / min(goal.shares)
        numbers = np.unique(
            np.geomspace(max(people / 30, least), max(people * 30, 30 * least), points).round()
        )
        records = [
            {"faces_a_person": mean, "people": int(number), "size": planning.smallest(goal, own, int(number))}
            for mean in sorted({*a_person, faces.mean})
            for own in [replace(faces, mean=mean, variation=faces.variation if mean > 1 else 0.0)]
            for number in numbers
        ]
        return cls(pd.DataFrame(records), goal, people, faces)

    def plot(self, ax=None, *, title: str = "") -> PlanDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.8, 4.2))
        self.figure_ = self.ax_.figure
        for number, (mean, own) in enumerate(self.curves.groupby("faces_a_person")):
            label = f"{mean:g} face{'s' if mean != 1 else ''} a person"
            width = 2.4 if mean == self.faces.mean else 1.2
            self.ax_.plot(own["size"], own["people"], color=style.color(number), lw=width, label=label)
        self.ax_.plot(self.goal.size, self.people, "o", color="black", ms=6, zorder=5)
        self.ax_.annotate(
            f"{self.people:,} people",
            (self.goal.size, self.people),
            xytext=(8, 6),
            textcoords="offset points",
        )
        self.ax_.axvline(self.goal.size, color=style.GREY, lw=0.8, ls=":")
        shown = (
            f"shown in {self.goal.power:.0%} of trials" if self.goal.kind != planning.WIDTH else "expected"
        )
        self.ax_.set(
            xscale="log",
            yscale="log",
            xlabel=f"{X_LABELS[self.goal.kind]}, {shown}",
            ylabel="people needed",
            title=title or f"intra-person correlation {self.faces.correlation:.2f}",
        )
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter("")
        self.ax_.grid(color="#dddddd", lw=0.6)
        self.ax_.legend(fontsize=8.5)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        return (
            "People needed against the size that they show, one line for each number of faces a person. "
            + planning.describe(self.goal, self.faces, self.people)
        )
