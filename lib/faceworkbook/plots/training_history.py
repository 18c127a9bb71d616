"""Loss and accuracy (or error) of each epoch, and the epoch that was kept."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style

MEANINGS = {"loss": "loss", "accuracy": "accuracy (share of faces)", "mae": "mean absolute error"}


@dataclass
class TrainingHistoryDisplay:
    """Training and validation figures against epochs.

    Attributes
    ----------
    history : pandas.DataFrame
        Columns epoch, loss, val_loss, and accuracy, val_accuracy or mae, val_mae. Training figures are
        means over the epoch, with dropout on; validation figures are without.
    metric : str
        'accuracy' or 'mae'.
    best_epoch : int or None
        The epoch with the least validation loss; None where there was no validation.
    unit : str
        Of 'mae', such as 'years'.
    """

    history: pd.DataFrame
    metric: str
    best_epoch: int | None
    unit: str = ""

    @classmethod
    def from_history(cls, history: pd.DataFrame, *, unit: str = "") -> TrainingHistoryDisplay:
        """Take the history of an MLP (`faceworkbook.training.Fitted.history`)."""
        lacking = {"epoch", "loss", "val_loss"} - set(history)
        if lacking:
            raise ValueError(
                f"the history lacks {sorted(lacking)}, it has {list(history)}; give the `history` of a fitted network"
            )
        metric = "mae" if "mae" in history else "accuracy"
        known = history["val_loss"].notna().any()
        best = int(history["epoch"][history["val_loss"].idxmin()]) if known else None
        return cls(history, metric, best, unit)

    def plot(self, *, title: str = "") -> TrainingHistoryDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        self.figure_, self.axes_ = style.panels(2, columns=2, size=(9.6, 3.6), title=title)
        for ax, name in zip(self.axes_, ("loss", self.metric), strict=True):
            self._draw(ax, name)
        self.axes_[0].legend()
        return self

    def describe(self) -> str:
        """Return the alt text."""
        last = self.history.iloc[-1]
        if self.best_epoch is None:
            return f"Loss and {self.metric} over {len(self.history)} epochs of training, without validation rows."
        best = self.history[self.history["epoch"] == self.best_epoch].iloc[0]
        return (
            f"Loss and {self.metric} over {len(self.history)} epochs; the least validation loss is "
            f"{best['val_loss']:.3f} in epoch {self.best_epoch}, with a validation {self.metric} of "
            f"{best['val_' + self.metric]:.3f}; the last training loss is {last['loss']:.3f}."
        )

    def _draw(self, ax, name: str) -> None:
        epochs = self.history["epoch"]
        marker = "o" if len(epochs) == 1 else ""  # one epoch is no line
        named = ((name, "training (dropout on)"), ("val_" + name, "validation"))
        for color, (column, label) in zip(style.COLORS, named, strict=False):
            ax.plot(epochs, self.history[column], color=color, marker=marker, label=label)
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch, color=style.GREY, ls=":", label=f"kept: epoch {self.best_epoch}")
        unit = f" ({self.unit})" if name == "mae" and self.unit else ""
        ax.set(
            xlabel="epoch",
            ylabel=MEANINGS[name] + unit,
            title=f"{name}, {len(epochs)} epoch{'s' if len(epochs) > 1 else ''}",
        )
        ax.xaxis.get_major_locator().set_params(integer=True)
