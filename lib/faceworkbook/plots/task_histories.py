"""How well each task is known after each epoch: what alternating training learns, keeps and forgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style
from faceworkbook.tasks import Labels


@dataclass
class TaskHistoriesDisplay:
    """Validation figure of each task against epochs, a line a strategy, a panel a task.

    Attributes
    ----------
    histories : dict of str to DataFrame
        History by strategy; columns epoch and validation_TASK_rate.
    tasks : list of str
    units : dict of str to str
        Of tasks whose rate is an error, such as 'years'; the others' is an accuracy.
    """

    histories: dict[str, pd.DataFrame]
    tasks: list[str]
    units: dict[str, str]

    @classmethod
    def from_fitted(cls, fitted: Mapping[str, list], labels: Mapping[str, Labels]) -> TaskHistoriesDisplay:
        """Take ``Repeats.fitted`` and the labels of the `MultiDataset`."""
        histories = {}
        for strategy, nets in fitted.items():
            merged = nets[0].history
            for other in nets[1:]:
                columns = ["epoch", *(c for c in other.history if c not in merged)]
                merged = merged.merge(other.history[columns], on="epoch", how="outer")
            histories[strategy] = merged
        units = {name: own.task.unit for name, own in labels.items() if own.task.is_number}
        return cls(histories, list(labels), units)

    def plot(self) -> TaskHistoriesDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        n = len(self.tasks)
        self.figure_, self.axes_ = style.panels(n, columns=n, size=(1.5 + 3.6 * n, 3.4))
        for ax, task in zip(self.axes_, self.tasks, strict=True):
            for place, (strategy, history) in enumerate(self.histories.items()):
                rates = history[f"validation_{task}_rate"]
                ax.plot(history["epoch"], rates, color=style.color(place), label=strategy)
            measure = f"mean error ({self.units[task]})" if task in self.units else "accuracy"
            ax.set(xlabel="epoch", ylabel=f"{measure}, validation faces", title=task)
            ax.xaxis.get_major_locator().set_params(integer=True)
        self.axes_[0].legend(fontsize=8)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        last = [
            f"{task} {strategy} {history[f'validation_{task}_rate'].dropna().iloc[-1]:.3f}"
            for task in self.tasks
            for strategy, history in self.histories.items()
        ]
        return f"Validation figure of each task against epochs. At the last epoch: {'; '.join(last)}."
