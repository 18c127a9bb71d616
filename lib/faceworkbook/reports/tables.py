"""Tables as a reader wants them: rounded, estimates with their interval, HTML that a page can style."""

from __future__ import annotations

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
