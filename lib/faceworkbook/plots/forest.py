"""Forest plots: one row an estimate, a point with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw(ax, value, low, high, *, places: Sequence[float], color: str, marker="o", hollow=None, label=None):
    """Draw points with horizontal intervals into `ax`; what is not known (NaN) is left empty.

    Parameters
    ----------
    value, low, high : array-like of shape (n,)
    places : sequence of float
        Heights of the rows.
    hollow : array-like of shape (n,), bool, optional
        Points to be drawn hollow, such as those of few faces.
    label : str, optional
        In the legend.
    """
    value, low, high, places = (np.asarray(one, dtype=float) for one in (value, low, high, places))
    hollow = np.zeros(len(value), bool) if hollow is None else np.asarray(hollow, dtype=bool)
    known = ~np.isnan(value)
    reach = np.vstack([value - low, high - value]).clip(min=0)
    for chosen, face in ((known & ~hollow, color), (known & hollow, "white")):
        if chosen.any():
            ax.errorbar(
                value[chosen], places[chosen], xerr=reach[:, chosen], fmt=marker, ms=5, capsize=3, color=color,
                mfc=face, label=label,
            )  # fmt: skip
            label = None


def name_rows(ax, places: Sequence[float], names: Sequence[str]) -> None:
    """Name the rows, the first one on top."""
    ax.set_yticks(places, names, fontsize=8.5)
    ax.set_ylim(max(places) + 0.7, min(places) - 0.7)
    ax.grid(axis="x", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
