"""One look for all figures: colour-blind-safe colours (Okabe and Ito 2008), sizes, alt text."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import pyplot as plt

from faceworkbook import faces as face_table

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"
GREY = "#6b6b6b"
MISSING = "(missing)"
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
    """Return the given axes, or those of a new figure in this style."""
    if ax is not None:
        return ax
    with mpl.rc_context(SETTINGS):
        return plt.subplots(figsize=figsize)[1]


def panels(n: int, *, columns: int, size: tuple[float, float], title: str = "", **options):
    """Return a new figure in this style and its `n` axes, at most `columns` side by side.

    Parameters
    ----------
    size : (width, height) in inches
        Of the whole figure.
    title : str
        Over all panels.
    **options
        Of ``matplotlib.pyplot.subplots``.
    """
    columns = min(columns, max(n, 1))
    with mpl.rc_context(SETTINGS):
        figure, grid = plt.subplots(-(-max(n, 1) // columns), columns, figsize=size, squeeze=False, **options)
    for ax in grid.ravel()[n:]:
        ax.set_visible(False)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure, grid.ravel()[:n]


def color(number: int) -> str:
    """Return the colour of the line or bar with this number; they repeat after eight."""
    return COLORS[number % len(COLORS)]


def class_colors(classes: Sequence[str]) -> dict[str, str]:
    """Return a colour a class, the same on every page, whichever of its label's classes occur there."""
    named = [name for name in classes if name != MISSING]
    known = [words for kinds in face_table.KNOWN_VOCABULARIES.values() for words in kinds]
    order = next((list(words) for words in known if set(named) <= set(words)), named)
    return {name: GREY if name == MISSING else color(order.index(name)) for name in classes}


def words(name: str) -> str:
    """Return the name of a metric, label or column in plain words."""
    return name.replace("_", " ")


def describe(figure, text: str):
    """Give `figure` its alt text: what it shows and what to see in it; return the figure."""
    figure.set_label(text)
    figure.alt_text = text
    return figure
