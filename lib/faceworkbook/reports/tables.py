"""Tables as a reader wants them: rounded, estimates with their interval, HTML that a page can style."""

from __future__ import annotations

import functools
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from faceworkbook.reports.pages import escape

# Where no page's own style reaches (JupyterLab), captions and alignment still hold.
STYLE = (
    "<style>.workbook{font-variant-numeric:tabular-nums}.workbook caption{caption-side:top;text-align:left}"
    ".workbook .text{text-align:left}.workbook .number{text-align:right}"
    ".workbook td{vertical-align:top}</style>"
)

_LONG = re.compile(
    r"[^\s\u00a0]{25,}"
)  # words that may be broken where a table would be wider than the paper


def show(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> None:
    """Show `table` in a notebook, without its index; numbers with `digits` decimals, NA as a dash."""
    show_html(to_html(table, caption=caption, digits=digits))


def show_html(body: str) -> None:
    """Show HTML, whose texts are escaped already, in a notebook."""
    from IPython.display import HTML, display

    display(HTML((STYLE if "<table" in body else "") + body))


def show_record(record: dict, *, caption: str = "") -> None:
    """Show names and values as a table of two columns; values as `describe` puts them."""
    rows = [(name, describe(value)) for name, value in record.items()]
    show(pd.DataFrame(rows, columns=["", " "]), caption=caption)


def describe(value) -> str:
    """Return a setting as a reader says it: lists by comma, names before values, no brackets."""
    if isinstance(value, dict):
        pairs = (f"{name.replace('_', ' ')} {describe(v)}" for name, v in value.items())
        return ", ".join(pairs) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(describe(v) for v in value) or "none"
    if value is None or isinstance(value, str):
        return value or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, numbers.Integral) else f"{value:g}"


def describe_preprocessing(record: dict) -> str:
    """Return what is done to a picture before a network sees it (``Preprocessing.to_dict``), in words.

    Keys that this does not know are named with their value, so that none is lost.
    """
    rest = dict(record)
    height, width = rest.pop("size", (None, None))
    words = [f"{width} x {height} pixels, {rest.pop('channels', 'RGB')}"] if height else []
    mean, scale = rest.pop("mean", None), rest.pop("scale", 1.0)
    if mean is not None and any(mean):
        words.append(f"mean {describe(mean)} subtracted")
    if scale != 1.0:
        words.append(f"times {describe(scale)}")
    if rest.pop("prewhiten", False):
        words.append("each picture brought to mean 0 and deviation 1")
    if "interpolation" in rest:
        words.append(f"{rest.pop('interpolation')} interpolation")
    align = rest.pop("align", "none")
    place = f"{rest.pop('template', 'arcface')} template" if align == "five_points" else "box"
    words += {"five_points": ["aligned by five points"], "upright": ["eye line level"]}.get(align, [])
    margin = rest.pop("crop_margin", None)
    if margin is not None:
        words.append(f"margin around the {place} {margin:.0%}" if margin else f"no margin around the {place}")
    return "; ".join([*words, *(f"{name.replace('_', ' ')} {describe(v)}" for name, v in rest.items())])


def show_long(tables: list[pd.DataFrame], *, caption: str = "", open_rows: int = 12) -> None:
    """Show tables below each other; past `open_rows` rows they are folded, and past 500 cut with the number left."""
    filled = [table for table in tables if len(table)]
    if not filled:
        print(f"{caption}: none")
        return
    table = pd.concat(filled)
    body = to_html(table.head(500), caption=caption)
    if len(table) > 500:
        body += f"<p>{len(table) - 500:,} more rows are in the run's files.</p>"
    if len(table) > open_rows:
        title = f"{escape(caption)}: " if caption else ""
        body = f"<details><summary>{title}{len(table):,} rows</summary>{body}</details>"
    show_html(body)


def to_html(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> str:
    """Return `table` as HTML: numbers to the right, texts to the left and escaped, NA as a dash.

    No p value is 0: columns p, p_holm, gap_p and the like say '< 0.001' where three decimals would say so. Seconds have
    one decimal.
    """
    kinds = [
        "number" if is_numeric_dtype(kind) and not is_bool_dtype(kind) else "text" for kind in table.dtypes
    ]
    cells = [_formatter(str(c), kind, digits) for c, kind in zip(table.columns, kinds, strict=True)]
    head = "".join(
        f'<th class="{kind}" scope="col">{escape(str(c).replace("_", " "))}</th>'
        for c, kind in zip(table.columns, kinds, strict=True)
    )
    rows = [
        "<tr>"
        + "".join(
            f'<td class="{kind}">{cell(value)}</td>'
            for value, kind, cell in zip(row, kinds, cells, strict=True)
        )
        + "</tr>"
        for row in table.itertuples(index=False, name=None)
    ]
    titled = f"<caption>{escape(caption)}</caption>" if caption else ""
    if any(str(c).strip() for c in table.columns):
        titled += f"<thead><tr>{head}</tr></thead>"
    return f'<table class="workbook">{titled}<tbody>{"".join(rows)}</tbody></table>'


def _formatter(column: str, kind: str, digits: int) -> Callable[[Any], str]:
    if kind == "number" and re.search(r"(^|_)p(_|$)", column):
        return _p_value
    return functools.partial(_cell, digits=1 if column == "seconds" else digits)


def _cell(value, digits: int) -> str:
    if isinstance(value, list | tuple | dict):
        return escape(describe(value))
    if pd.isna(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, numbers.Number):
        return _number(value, digits)
    return _LONG.sub(r'<span class="long">\g<0></span>', escape(value))


def _p_value(value: float) -> str:
    return "&lt;&nbsp;0.001" if value < 0.001 else _cell(value, 3)


def _number(value: float, digits: int) -> str:
    if abs(value) == float("inf"):
        return "∞" if value > 0 else "−∞"
    whole = isinstance(value, numbers.Integral) or (float(value).is_integer() and abs(value) >= 10)
    return f"{value:,.0f}" if whole else f"{value:,.{digits}f}"


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """Return ``0.942 [0.931, 0.951]``."""
    return f"{value:.{digits}f}\u00a0[{low:.{digits}f},\u00a0{high:.{digits}f}]"  # kept on one line


def with_intervals(table: pd.DataFrame, *, of: str = "value", digits: int = 3) -> pd.DataFrame:
    """Merge estimates and their bounds into columns ``NAME [95 % interval]``, where the estimates stood.

    Parameters
    ----------
    table : pandas.DataFrame
        Bounds are named low and high, or NAME_low and NAME_high.
    of : str
        The estimate that low and high belong to.
    digits : int
    """
    triples = [(name, f"{name}_low", f"{name}_high") for name in table]
    out = table
    for name, low, high in [(of, "low", "high"), *triples]:
        if low in out:
            merged = [_estimate(*row, digits) for row in out[[name, low, high]].itertuples(index=False)]
            title = f"{name} [95 % interval]"
            out = out.drop(columns=[low, high]).rename(columns={name: title}).assign(**{title: merged})
    return out


def side_by_side(figures: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """One row a metric, one column a model: ``value [interval]``, n faces and pictures, how the interval was made.

    Parameters
    ----------
    figures : pandas.DataFrame
        model, metric, meaning, value, low, high, n, method (see ``evaluation.metrics.summaries``).
    """
    cells = figures.assign(cell=[_estimate(r.value, r.low, r.high, digits) for r in figures.itertuples()])
    wide = cells.pivot(index="metric", columns="model", values="cell").reindex(figures["metric"].unique())
    columns = ["meaning", "n", *(["n_pictures"] if "n_pictures" in figures else []), "method"]
    rest = figures.drop_duplicates("metric").set_index("metric")[columns]
    joined = wide[figures["model"].unique()].join(rest).reset_index()
    joined["metric"] = joined["metric"].str.replace("_", " ")
    return joined.rename(columns={"method": "interval by"})


def _estimate(value: float, low: float, high: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.{digits}f}" if pd.isna(low) else interval(value, low, high, digits=digits)
