"""How accuracy grows with the number of training faces, and with the number of people they show."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation import predictions as tables

FACES, PEOPLE = "faces", "identities"
Z = 1.959964
SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


def draw_parts(
    train: np.ndarray,
    identity: pd.Series,
    *,
    shares: Sequence[float] = SHARES,
    repeats: int = 5,
    by: str = FACES,
    seed: int = 0,
) -> list[SimpleNamespace]:
    """Random parts of the training rows, growing: within a repeat each part holds the smaller ones.

    Parameters
    ----------
    train : ndarray of training rows
    identity : pandas.Series
        Of all faces; each face of an unknown person counts as a person of its own.
    shares : sequence of float, 0..1
        Of the faces, or of the people.
    by : {'faces', 'identities'}
        'identities' takes all training faces of the people it draws.

    Returns
    -------
    list of objects with ``rows``, ``share``, ``repeat``, ``n_identities``
    """
    if by not in (FACES, PEOPLE):
        raise ValueError(f"by={by!r}; allowed are {[FACES, PEOPLE]}")
    if not shares or min(shares) <= 0 or max(shares) > 1:
        raise ValueError(f"shares={tuple(shares)}; allowed are numbers above 0 and up to 1")
    names = identity.astype("string").fillna(
        pd.Series(np.arange(len(identity)), identity.index).astype("string") + "?"
    )
    person = pd.factorize(names.iloc[train])[0]
    parts = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        rank = rng.permutation(len(train) if by == FACES else person.max() + 1)
        rank = rank if by == FACES else rank[person]
        for share in sorted(shares):
            chosen = rank < max(round(share * (rank.max() + 1)), 1)
            count = len(np.unique(person[chosen]))
            parts.append(SimpleNamespace(rows=train[chosen], share=share, repeat=repeat, n_identities=count))
    return parts


def measure(
    matrix: np.ndarray,
    target,
    faces: pd.DataFrame,
    split,
    *,
    shares: Sequence[float] = SHARES,
    repeats: int = 5,
    by: str = FACES,
    metric: str | None = None,
    seed: int = 0,
    classifier="mlp",
    progress: bool = False,
    n_boot: int = intervals.N_BOOT,
    **settings,
) -> pd.DataFrame:
    """Train on growing parts of the training rows, always with the same validation and test rows.

    Parts of which some class is missing altogether (one class left) are passed over.

    Returns
    -------
    pandas.DataFrame
        by, share, repeat, n_train, n_identities (NA where people are not known), n_test, metric, value,
        and error, short, short_error: one row a fit. `metric` is accuracy, or mae for numbers, where it
        is not given; error is the standard error of the share's mean over draws (test people drawn
        anew, and the spread of draws), short the mean less that of the largest share, with its error.
    """
    from faceworkbook.training.folds import fit_folds

    parts = draw_parts(split.train, faces["identity"], shares=shares, repeats=repeats, by=by, seed=seed)
    parts = [part for part in parts if _can_teach(target, part.rows)]
    splits = [
        SimpleNamespace(train=p.rows, validation=split.validation, test=split.test, repeat=p.repeat, fold=i)
        for i, p in enumerate(parts)
    ]
    fits = fit_folds(matrix, target, splits, classifier=classifier, seed=seed, progress=progress, **settings)
    name = metric or target.task.headline
    tested = target.take(split.test), faces.iloc[split.test]
    scored = [score(output[split.test], *tested, name=name) for output in fits.outputs]
    known = faces["identity"].iloc[split.train].notna().any()
    records = [
        {
            "by": by,
            "share": part.share,
            "repeat": part.repeat,
            "n_train": len(part.rows),
            "n_identities": part.n_identities if known else np.nan,
            "n_test": len(split.test),
            "metric": name,
            "value": value,
        }
        for part, (_, value) in zip(parts, scored, strict=True)
    ]
    found = pd.DataFrame(records)
    errors = _errors(found, [table for table, _ in scored], name, seed=seed, n_boot=n_boot)
    return found.merge(errors, on="share")


def _errors(
    found: pd.DataFrame, scored: list[pd.DataFrame], name: str, *, seed: int, n_boot: int
) -> pd.DataFrame:
    """Standard errors of the mean of each share, and of what it is short of the largest, by the same draws."""
    rows = [metrics.rows_of(table) for table in scored]
    each = [metrics.pick(name, r.task).statistic(r) for r in rows]
    drawn = intervals.resample(
        lambda weights: np.column_stack([statistic(weights) for statistic in each]),
        rows[0].n_units, n_boot=n_boot, seed=seed,
    )  # fmt: skip
    at = found.groupby("share").indices
    full = at[max(at)]
    records = []
    for share, fits in at.items():
        value, draws = found["value"].to_numpy()[fits], drawn[:, fits].mean(axis=1)
        # Draws of a share overlap, so that their spread says a little less than it should.
        between = value.std(ddof=1) / np.sqrt(len(value)) if len(value) > 1 else 0.0
        between_full = found["value"].iloc[full].sem() if len(full) > 1 else 0.0
        records.append(
            {
                "share": share,
                "error": np.hypot(draws.std(ddof=1), between),
                "short": value.mean() - found["value"].iloc[full].mean(),
                "short_error": np.sqrt(
                    (draws - drawn[:, full].mean(axis=1)).var(ddof=1) + between**2 + between_full**2
                ),
            }
        )
    return pd.DataFrame(records)


def summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean over draws, its 95 % interval, and what it is short of the largest share, one row a size.

    Returns
    -------
    pandas.DataFrame
        by, share, metric, n_train, n_identities, mean, low, high, short, short_low, short_high (NaN for
        the largest share), sd (between draws), draws, n_test.
    """
    grouped = measured.groupby(["by", "share", "metric"])
    found = grouped.agg(
        n_train=("n_train", "mean"),
        n_identities=("n_identities", "mean"),
        mean=("value", "mean"),
        error=("error", "first"),
        short=("short", "first"),
        short_error=("short_error", "first"),
        sd=("value", "std"),
        draws=("value", "size"),
        n_test=("n_test", "first"),
    ).reset_index()
    for name, error, low, high in (
        ("mean", "error", "low", "high"),
        ("short", "short_error", "short_low", "short_high"),
    ):
        found[low], found[high] = found[name] - Z * found[error], found[name] + Z * found[error]
    # A normal interval knows nothing of a metric's range.
    least, most = np.array([metrics.bounds(name) for name in found["metric"]]).T
    found["low"], found["high"] = found["low"].clip(least), found["high"].clip(upper=most)
    largest = found["share"] == found.groupby("by")["share"].transform("max")
    found.loc[largest, ["short", "short_low", "short_high"]] = np.nan
    first = ["by", "share", "metric", "n_train", "n_identities", "mean", "low", "high"]
    return found[[*first, "short", "short_low", "short_high", "sd", "draws", "n_test"]]


def score(output: np.ndarray, target, faces: pd.DataFrame, *, name: str) -> tuple[pd.DataFrame, float]:
    """The table of predictions of some faces (part 'test'), and one metric of it."""
    table = tables.build(faces, target.task, truth=target.truth, output=output, split="test")
    rows = metrics.rows_of(table)
    return table, metrics.pick(name, rows.task).value(rows)


def _can_teach(target, rows: np.ndarray) -> bool:
    return target.task.is_number or len(np.unique(target.codes[rows])) > 1
