"""Tables as a reader wants them: rounded, estimates with their interval, HTML that a page can style."""

from __future__ import annotations

import numbers
import re
from html import escape

import pandas as pd


def show(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> None:
    """Show `table` in a notebook, without its index; numbers with `digits` decimals, NA as a dash."""
    from IPython.display import HTML, display

    display(HTML(to_html(table, caption=caption, digits=digits)))


def show_record(record: dict, *, caption: str = "") -> None:
    """Show names and values as a table of two columns."""
    rows = [
        (name, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value))
        for name, value in record.items()
    ]
    show(pd.DataFrame(rows, columns=["", " "]), caption=caption)


def show_long(parts: list[pd.DataFrame], *, caption: str = "", open_rows: int = 12) -> None:
    """Show tables below each other; past `open_rows` rows they are folded, and past 500 cut with the number left."""
    from IPython.display import HTML, display

    table = pd.concat([part for part in parts if len(part)]) if any(len(part) for part in parts) else parts[0]
    if not len(table):
        print(f"{caption}: none")
        return
    body = to_html(table.head(500), caption=caption)
    more = f"<p>{len(table) - 500:,} more rows are in the run's files.</p>" if len(table) > 500 else ""
    if len(table) > open_rows:
        body = f"<details><summary>{len(table):,} rows</summary>{body}{more}</details>"
    display(HTML(body))


def to_html(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> str:
    """`table` as HTML: numbers to the right, texts to the left and escaped, NA as a dash.

    No p value is 0: columns p, p_holm, gap_p and the like say '< 0.001' where three decimals would say so.
    """
    kinds = [
        "number" if pd.api.types.is_numeric_dtype(table.dtypes.iloc[i]) else "text"
        for i in range(table.shape[1])
    ]
    chances = [
        kind == "number" and re.search(r"(^|_)p(_|$)", str(c)) is not None
        for c, kind in zip(table.columns, kinds, strict=True)
    ]
    head = "".join(
        f'<th class="{kind}" scope="col">{escape(str(c).replace("_", " "))}</th>'
        for c, kind in zip(table.columns, kinds, strict=True)
    )
    rows = [
        "<tr>"
        + "".join(
            f'<td class="{k}">{_p_value(v) if is_p else _cell(v, digits)}</td>'
            for v, k, is_p in zip(row, kinds, chances, strict=True)
        )
        + "</tr>"
        for row in table.itertuples(index=False, name=None)
    ]
    titled = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{titled}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(value, digits: int) -> str:
    if not isinstance(value, list | tuple | dict) and pd.isna(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(value, digits) if isinstance(value, numbers.Number) else escape(str(value))


def _p_value(value: float) -> str:
    return "&lt;&nbsp;0.001" if value < 0.001 else _cell(value, 3)


def _number(value: float, digits: int) -> str:
    whole = isinstance(value, numbers.Integral) or (float(value).is_integer() and abs(value) >= 10)
    return f"{value:,.0f}" if whole else f"{value:,.{digits}f}"


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """``0.942 [0.931, 0.951]``."""
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
    """One row a metric, one column a model: ``value [interval]``, then n and how the interval was made.

    Parameters
    ----------
    figures : pandas.DataFrame
        model, metric, meaning, value, low, high, n, method (see ``evaluation.metrics.summaries``).
    """
    cells = figures.assign(cell=[_estimate(r.value, r.low, r.high, digits) for r in figures.itertuples()])
    wide = cells.pivot(index="metric", columns="model", values="cell").reindex(figures["metric"].unique())
    rest = figures.drop_duplicates("metric").set_index("metric")[["meaning", "n", "method"]]
    joined = wide[figures["model"].unique()].join(rest).reset_index()
    joined["metric"] = joined["metric"].str.replace("_", " ")
    return joined.rename(columns={"method": "interval by"})


def _estimate(value: float, low: float, high: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.{digits}f}" if pd.isna(low) else interval(value, low, high, digits=digits)
