"""How well each task is known after each epoch: what training in turn learns, keeps and forgets."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook.plots import style


@dataclass
class TaskHistoriesDisplay:
    """Validation figure of each task against epochs, a line a way, a panel a task.

    Attributes
    ----------
    histories : dict of str to DataFrame
        History by way; columns epoch and validation_TASK_rate.
    tasks : list of str
    units : dict of str to str
        Of tasks whose rate is an error, such as 'years'; the others' is an accuracy.
    """

    histories: dict[str, pd.DataFrame]
    tasks: list[str]
    units: dict[str, str]

    @classmethod
    def from_fitted(cls, fitted: dict, targets: dict) -> TaskHistoriesDisplay:
        """From ``Repeats.fitted`` and the pool's targets."""
        histories = {}
        for way, nets in fitted.items():
            merged = nets[0].history
            for other in nets[1:]:
                columns = ["epoch", *(c for c in other.history if c not in merged)]
                merged = merged.merge(other.history[columns], on="epoch", how="outer")
            histories[way] = merged
        units = {name: target.task.unit for name, target in targets.items() if target.task.is_number}
        return cls(histories, list(targets), units)

    def plot(self) -> TaskHistoriesDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        n = len(self.tasks)
        with plt.rc_context(style.SETTINGS):
            self.figure_, axes = plt.subplots(1, n, figsize=(1.5 + 3.6 * n, 3.4), squeeze=False)
        self.axes_ = axes[0]
        for ax, task in zip(self.axes_, self.tasks, strict=True):
            for place, (way, history) in enumerate(self.histories.items()):
                color = style.COLORS[place % len(style.COLORS)]
                ax.plot(history["epoch"], history[f"validation_{task}_rate"], color=color, label=way)
            measure = f"mean error ({self.units[task]})" if task in self.units else "accuracy"
            ax.set(xlabel="epoch", ylabel=f"{measure}, validation faces", title=task)
        self.axes_[0].legend(fontsize=8)
        return self

    def describe(self) -> str:
        """Alt text."""
        told = [
            f"{task} {way} {history[f'validation_{task}_rate'].dropna().iloc[-1]:.3f}"
            for task in self.tasks
            for way, history in self.histories.items()
        ]
        return f"Validation figure of each task against epochs. At the last epoch: {'; '.join(told)}."
