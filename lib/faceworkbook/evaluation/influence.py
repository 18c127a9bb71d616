"""Who bears the errors: figures by source, and the people (or copied pictures) that weigh most in a figure.

A mean over faces moves with each unit u (a person, or a picture and its copies) by what its faces add beyond
the mean, ``e_u = sum of (x_i - mean)`` over the faces i of u. The linearised variance of the mean over drawn
units is in proportion to ``sum of e_u ** 2`` (Binder 1983), so ``e_u ** 2`` as a share of that sum says how much
of the interval's width a unit makes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.figures import COLUMNS
from faceworkbook.evaluation.rows import Rows

LEAST_SHARE = 0.02  # of errors, or of the variance: lighter units make no figure
MOST_SOURCES = 12  # more prefixes of identities than these are no collections
SOURCE_COLUMNS = ["source", *COLUMNS, "errors", "of_faces", "of_errors"]
UNIT_COLUMNS = ["unit", "n", "of_faces", "errors", "of_errors", "of_variance", "without", "low", "high"]


def name_sources(predictions: pd.DataFrame, faces: pd.DataFrame) -> pd.Series:
    """Return the source of each predicted face: the collection that its identity names, or its data set.

    Readers of sets that are made of others put the collection before the person ("adience:911").
    """
    dataset = faces.set_index("face_id")["dataset"].reindex(predictions["face_id"]).astype("string")
    dataset.index = predictions.index
    collection = predictions["identity"].astype("string").str.extract(r"^([^:]+):", expand=False)
    sources = collection.fillna(dataset)
    return sources if sources.nunique() <= MOST_SOURCES else dataset


def by_source(
    predictions: pd.DataFrame,
    faces: pd.DataFrame,
    *,
    metric: str,
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Figures of the test faces of each source; empty where there is one source.

    Parameters
    ----------
    predictions : pandas.DataFrame
    faces : pandas.DataFrame
        The face table of these faces.
    metric : {'accuracy', 'mae'}

    Returns
    -------
    pandas.DataFrame
        source, value, low, high (95 %), n (faces), n_pictures, n_identities, errors (faces read wrongly, or the
        sum of absolute errors), of_faces and of_errors (the source's shares of all test faces and errors, 0..1);
        the source with most errors first.
    """
    tested = predictions[predictions["split"] == "test"]
    sources = name_sources(tested, faces)
    if sources.nunique() < 2:
        return pd.DataFrame(columns=SOURCE_COLUMNS)
    rows, total = [], errors_of(metrics.rows_of(tested)).sum()
    for source, own in tested.groupby(sources.to_numpy(), sort=False):
        own.attrs = dict(predictions.attrs)
        figure = metrics.summary(own, names=[metric], n_boot=n_boot, seed=seed).iloc[0].to_dict()
        errors = errors_of(metrics.rows_of(own)).sum()
        shares = {"of_faces": len(own) / len(tested), "of_errors": errors / max(total, 1e-12)}
        rows.append({**figure, "source": source, "errors": errors, **shares})
    table = pd.DataFrame(rows)[SOURCE_COLUMNS].astype({"n_identities": "Int64"})
    return _whole_errors(table).sort_values("errors", ascending=False, ignore_index=True)


def by_unit(
    predictions: pd.DataFrame,
    *,
    metric: str,
    most: int = 3,
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Show the people (or copied pictures) with most errors, and those that move figure and interval most.

    Parameters
    ----------
    metric : {'accuracy', 'mae'}
    most : int
        So many units by errors, by influence on the figure and on the interval; one unit can be all three.

    Returns
    -------
    pandas.DataFrame
        unit (identity, or the first face of copies), n (its test rows), errors (faces read wrongly, or the sum
        of absolute errors), of_faces, of_errors, of_variance (its shares of all test rows, errors and variance of
        the figure, 0..1), and without, low, high: the figure and its 95 % interval without it. The largest share
        of variance first; units of a single face, and those with less than `LEAST_SHARE` of errors and variance,
        are passed over.
    """
    tested = predictions[predictions["split"] == "test"].reset_index(drop=True)
    tested.attrs = dict(predictions.attrs)
    rows = metrics.rows_of(tested)
    table = _weigh(rows)
    heavy = (table["of_errors"] >= LEAST_SHARE) | (table["of_variance"] >= LEAST_SHARE)
    table = table[(table["n"] > 1) & heavy]
    chosen = {
        unit
        for column in ("errors", "moves", "of_variance")
        for unit in table[column].nlargest(most).index
        if table.loc[unit, "errors"] > 0
    }
    names = _name_units(tested, rows.units)
    records = []
    for unit in table.loc[sorted(chosen), "of_variance"].sort_values(ascending=False, kind="stable").index:
        left = tested[rows.units != unit]
        if left.empty:
            continue
        left.attrs = dict(tested.attrs)
        figure = metrics.summary(left, names=[metric], n_boot=n_boot, seed=seed).iloc[0]
        without = {"without": figure["value"], "low": figure["low"], "high": figure["high"]}
        records.append({"unit": names[unit], **table.loc[unit].to_dict(), **without})
    made = pd.DataFrame(records, columns=UNIT_COLUMNS)
    return _whole_errors(made.astype({"n": int}))


def errors_of(rows: Rows) -> np.ndarray:
    """Return 1 for each face read wrongly and 0 for each right one, or the absolute errors; float (n,)."""
    if rows.task.is_number:
        return np.abs(rows.predicted - rows.truth)
    return 1.0 - rows.right


def _weigh(rows: Rows) -> pd.DataFrame:
    errors = errors_of(rows)
    n, mean = len(errors), errors.mean()
    sizes = np.bincount(rows.units, minlength=rows.n_units)
    totals = np.bincount(rows.units, errors, minlength=rows.n_units)
    beyond = totals - sizes * mean
    return pd.DataFrame(
        {
            "n": sizes,
            "of_faces": sizes / n,
            "errors": totals,
            "of_errors": totals / max(totals.sum(), 1e-12),
            "of_variance": beyond**2 / max((beyond**2).sum(), 1e-12),
            "moves": np.abs(beyond) / np.maximum(n - sizes, 1),
        }
    )


def _name_units(tested: pd.DataFrame, units: np.ndarray) -> dict[int, str]:
    names = tested["identity"].astype("string").fillna("copies of " + tested["face_id"].astype("string"))
    return {
        unit: " = ".join(sorted(set(own))[:2]) + (" = ..." if own.nunique() > 2 else "")
        for unit, own in names.groupby(units)
    }


def _whole_errors(table: pd.DataFrame) -> pd.DataFrame:
    whole = len(table) and np.allclose(table["errors"].astype(float) % 1, 0)
    return table.assign(errors=table["errors"].round().astype(int)) if whole else table


# --------------------------------------------------------------------------- in words


def describe(
    predictions: pd.DataFrame, sources: pd.DataFrame, units: pd.DataFrame, overall: pd.Series
) -> list[str]:
    """Return in plain sentences which source and which unit bear most errors, and the figure without the latter.

    Parameters
    ----------
    sources, units : pandas.DataFrame
        Of `by_source` and `by_unit`.
    overall : pandas.Series
        The row of `metrics.summary` for the same metric: metric, value, low, high.
    """
    task, texts = tables.task_of(predictions), []
    unit = f" {task.unit}" if task.unit else ""
    name = overall["metric"].replace("_", " ")
    if len(sources):
        each = [
            f"{row.source} {row.value:.3f}{unit} [{row.low:.3f}, {row.high:.3f}] on {row.n:,} faces, with "
            f"{row.of_errors:.0%} of the errors"
            for row in sources.itertuples()
        ]
        texts.append(f"By source, {name}: {'; '.join(each)}.")
    if len(units):
        most = units.iloc[0]
        texts.append(
            f"The most weighty unit is {most['unit']}: {most['n']:,} of the test faces ({most['of_faces']:.1%}) bear "
            f"{most['of_errors']:.0%} of the errors and {most['of_variance']:.0%} of the figure's variance. Without "
            f"them {name} is {most['without']:.3f}{unit} [{most['low']:.3f}, {most['high']:.3f}] instead of "
            f"{overall['value']:.3f}{unit} [{overall['low']:.3f}, {overall['high']:.3f}]."
        )
    return texts
