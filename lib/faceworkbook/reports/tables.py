"""Tables as a reader wants them: rounded, estimates with their interval, HTML that a page can style."""

from __future__ import annotations

import pandas as pd


def show(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> None:
    """Show `table` in a notebook, without its index; numbers with `digits` decimals, NA as a dash."""
    from IPython.display import HTML, display

    display(HTML(to_html(table, caption=caption, digits=digits)))


def to_html(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> str:
    """`table` as HTML; cell texts are escaped."""
    shown = table.copy()
    for position, column in enumerate(shown.columns):
        values = shown.iloc[:, position]
        if pd.api.types.is_float_dtype(values):
            shown[column] = [_number(v, digits) for v in values]
    body = shown.to_html(index=False, border=0, na_rep="–", escape=True)
    return body.replace("<thead>", f"<caption>{caption}</caption><thead>", 1) if caption else body


def _number(value: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 10 else f"{value:.{digits}f}"


def interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """``0.942 [0.931, 0.951]``."""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def with_intervals(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Merge the columns value, low and high into one column ``value [95 % interval]``."""
    merged = [
        f"{value:.{digits}f}" if pd.isna(low) else interval(value, low, high, digits=digits)
        for value, low, high in table[["value", "low", "high"]].itertuples(index=False)
    ]
    out = table.drop(columns=["low", "high", "value"])
    out.insert(1, "value [95 % interval]", merged)
    return out
