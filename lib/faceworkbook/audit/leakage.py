"""Identity leakage of a split: how much of the test set is known, and what that is worth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook import linear, row_groups
from faceworkbook.row_groups import ALONE

N_BOOT = 2000
N_DRAWS = 5
MIN_ROWS = 20
MEASURES = {True: "mean absolute error", False: "accuracy"}


def leakage(faces: pd.DataFrame, split, *, copies: np.ndarray | None = None) -> pd.DataFrame:
    """How many test rows show a person, or are a copy of a picture, that the model is fitted on.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    split : faceworkbook.splits.Split
        Or anything with ``train``, ``validation`` and ``test`` (positions) and ``name``.
    copies : ndarray of shape (n,), int, optional
        Groups of copies, -1 where a row is alone.

    Returns
    -------
    pandas.DataFrame
        One row a kind of leak (same person, same picture, either): ``split, leak, leaked, test_rows,
        share, low, high`` (95 % Wilson interval, ranges 0..1).
    """
    from statsmodels.stats.proportion import proportion_confint

    fitted, test = _masks(split, len(faces))
    copies = _or_alone(copies, len(faces))
    counts = row_groups.measure_leakage(faces["identity"], copies, fitted=fitted, test=test)
    texts = {"same_person": "same person", "same_picture": "copy of a picture", "leaked": "either"}
    table = pd.DataFrame(
        [(split.name, text, counts[key], counts["test_rows"]) for key, text in texts.items()],
        columns=["split", "leak", "leaked", "test_rows"],
    )
    low, high = proportion_confint(table["leaked"], table["test_rows"].clip(lower=1), method="wilson")
    return table.assign(share=table["leaked"] / table["test_rows"].clip(lower=1), low=low, high=high)


def leakage_worth(
    faces: pd.DataFrame,
    descriptors: np.ndarray,
    split,
    *,
    label: str,
    copies: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What the leak is worth: one classifier scored on leaked and on clean test rows.

    Leaked and clean rows differ in more than the leak (famous people have more pictures). So a
    second classifier is fitted on the training rows that show nobody and nothing of the test rows,
    and the first on as many rows drawn from all of them (mean of five draws). Their difference on the
    same leaked rows is what knowing these people is worth; where the people of the test rows are of
    one kind (children, say), it also holds what other pictures of that kind would have taught.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    descriptors : ndarray of shape (n, d), float
        In the order of `faces`; rows of NaN are passed over.
    split : faceworkbook.splits.Split
        One that leaks: official, or random.
    label : str
        Column of classes (accuracy), or of numbers (mean absolute error).
    copies : ndarray of shape (n,), int, optional
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``rows`` ('leaked', 'clean', 'difference'), ``trained`` ('with' or 'without' the people of the
        test rows, 'with less without'), ``measure, n, people, value, low, high``. Intervals are 95 %
        bootstrap over people (rows where the person is unknown count as a person each).

    Raises
    ------
    ValueError
        Too few leaked or clean rows to compare (20 of each are needed).
    """
    fitted, test = _masks(split, len(faces))
    known = faces[label].notna().to_numpy() & np.isfinite(descriptors).all(axis=1)
    fitted, test = fitted & known, test & known
    people, copies = row_groups.people(faces["identity"]), _or_alone(copies, len(faces))
    groups = row_groups.join(people, copies)
    leaked = row_groups.leaked_rows(people, fitted=fitted, test=test)
    leaked |= row_groups.leaked_rows(copies, fitted=fitted, test=test)
    free = fitted & ~np.isin(groups, groups[test & (groups != ALONE)])
    _check_counts(leaked.sum(), (test & ~leaked).sum(), free.sum())
    rng = np.random.default_rng(seed)
    labels, numbers = _labels(faces[label])
    rows = np.flatnonzero(test)
    without = _scores(descriptors, labels, np.flatnonzero(free), rows, numbers)
    draws = [rng.choice(np.flatnonzero(fitted), free.sum(), replace=False) for _ in range(N_DRAWS)]
    with_people = np.mean([_scores(descriptors, labels, d, rows, numbers) for d in draws], axis=0)
    return _table(with_people, without, leaked[rows], row_groups.whole(groups)[rows], MEASURES[numbers], rng)


def _table(with_people, without, leaked, people, measure: str, rng) -> pd.DataFrame:
    table = []
    for name, inside in (("leaked", leaked), ("clean", ~leaked)):
        given = {"with": with_people, "without": without, "with less without": with_people - without}
        for trained, scores in given.items():
            value, low, high = _bootstrap_mean(scores[inside], people[inside], rng)
            table.append(
                (name, trained, measure, int(inside.sum()), len(set(people[inside])), value, low, high)
            )
    return pd.DataFrame(table, columns=["rows", "trained", "measure", "n", "people", "value", "low", "high"])


def _masks(split, n: int) -> tuple[np.ndarray, np.ndarray]:
    fitted, test = np.zeros(n, bool), np.zeros(n, bool)
    fitted[split.train] = fitted[split.validation] = True
    test[split.test] = True
    return fitted, test


def _or_alone(copies: np.ndarray | None, n: int) -> np.ndarray:
    return np.full(n, ALONE) if copies is None else np.asarray(copies)


def _labels(values: pd.Series) -> tuple[np.ndarray, bool]:
    numbers = pd.api.types.is_numeric_dtype(values.dtype)
    if numbers:
        return values.to_numpy(dtype=float, na_value=np.nan), True
    return values.astype(object).to_numpy(), False


def _scores(x, labels, train: np.ndarray, rows: np.ndarray, numbers: bool) -> np.ndarray:
    model = linear.fit(x[train], labels[train] if numbers else labels[train].astype(str))
    predicted = model.predict(x[rows])
    return np.abs(predicted - labels[rows]) if numbers else (predicted == labels[rows]).astype(float)


def _bootstrap_mean(scores: np.ndarray, people: np.ndarray, rng) -> tuple[float, float, float]:
    codes = np.unique(people, return_inverse=True)[1]
    totals, sizes = np.bincount(codes, scores), np.bincount(codes)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=N_BOOT)
    means = (drawn @ totals) / (drawn @ sizes)
    return float(scores.mean()), *(float(v) for v in np.quantile(means, [0.025, 0.975]))


def _check_counts(leaked: int, clean: int, free: int) -> None:
    if min(leaked, clean, free) < MIN_ROWS:
        raise ValueError(
            f"{leaked} leaked and {clean} clean test rows, {free} training rows without people of the test "
            f"rows: at least {MIN_ROWS} of each are needed to measure what the leak is worth"
        )
