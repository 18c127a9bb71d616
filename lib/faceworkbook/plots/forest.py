"""Forest plots: one row an estimate, a point with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd


def draw(
    ax, rows: pd.DataFrame, *, places: Sequence[float], color: str, marker="o", name="value", label=None
) -> None:
    """Draw points with horizontal intervals into `ax`; what is not known (NaN) is left empty.

    Parameters
    ----------
    rows : pandas.DataFrame
        The columns `name`, and ``NAME_low`` and ``NAME_high`` or else ``low`` and ``high``; rows whose column
        ``small`` is true are drawn hollow.
    places : sequence of float
        Heights of the rows.
    label : str, optional
        In the legend.
    """
    ends = [f"{name}_{end}" if f"{name}_{end}" in rows else end for end in ("low", "high")]
    value, low, high = rows[[name, *ends]].to_numpy(dtype=float).T
    reach, places = np.vstack([value - low, high - value]).clip(min=0), np.asarray(places, dtype=float)
    hollow = rows["small"].to_numpy(dtype=bool) if "small" in rows else np.zeros(len(rows), bool)
    look = {"fmt": marker, "ms": 5, "capsize": 3, "color": color}
    for chosen, face in ((~hollow, color), (hollow, "white")):
        chosen = chosen & ~np.isnan(value)
        if chosen.any():
            ax.errorbar(value[chosen], places[chosen], xerr=reach[:, chosen], mfc=face, label=label, **look)
            label = None


def wrap(name: str, *, width: int = 44) -> str:
    """Break a row's name between words, so that names leave the larger share of a picture to its intervals."""
    return "\n".join(textwrap.fill(line, width) for line in name.splitlines())


def name_rows(ax, places: Sequence[float], names: Sequence[str]) -> None:
    """Name the rows, the first one on top."""
    ax.set_yticks(places, names, fontsize=8.5)
    ax.set_ylim(max(places) + 0.7, min(places) - 0.7)
    ax.grid(axis="x", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
