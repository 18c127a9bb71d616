"""One look for all figures: colour-blind-safe colours (Okabe and Ito 2008), sizes, alt text."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib import pyplot as plt

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"
GREY = "#6b6b6b"
# Texts are names of classes and files, never formulas: a dollar sign is a dollar sign.
mpl.rcParams["text.parse_math"] = False

SETTINGS = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": mpl.cycler(color=COLORS[:7]),
    "legend.frameon": False,
    "image.cmap": SEQUENTIAL,
    "figure.facecolor": "white",
}

# Class names and paths may hold dollar signs, and no figure writes a formula.
mpl.rcParams["text.parse_math"] = False


def use() -> None:
    """Apply the style to every figure drawn from here on."""
    mpl.rcParams.update(SETTINGS)


def axes(ax=None, *, figsize: tuple[float, float] | None = None):
    """The given axes, or those of a new figure in this style."""
    if ax is not None:
        return ax
    with mpl.rc_context(SETTINGS):
        return plt.subplots(figsize=figsize)[1]


def describe(figure, text: str):
    """Give `figure` its alt text: what it shows and what to see in it; returns the figure."""
    figure.set_label(text)
    figure.alt_text = text
    return figure
