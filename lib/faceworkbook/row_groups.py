"""Which rows belong together: groups of rows as integer arrays, joined, compared, held against a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ALONE = -1
MIN_PAIRS = 20  # differences between copies, fewer show no noise
LEAST_TOLERANCE = 1.0  # whole years, or degrees: 25 and 26 are one age, rounded
MOST_TOLERANCE = 0.5  # of the labels' standard deviation
_TWO_SIDED = 1.96 * 1.4826  # 95 % of normal differences lie within so many of their median size


def people(identity: pd.Series) -> np.ndarray:
    """Group of each row by person, ndarray of shape (n,), int64; -1 where the person is unknown."""
    return pd.factorize(identity)[0].astype(np.int64)


def join(*groupings: np.ndarray) -> np.ndarray:
    """Groups of rows that any of `groupings` ties, directly or through other rows.

    Parameters
    ----------
    *groupings : ndarray of shape (n,), int
        -1 where a row is alone; or anything with such an array as ``groups``.

    Returns
    -------
    ndarray of shape (n,), int64
        Numbered from 0; -1 where a row is tied to no other.
    """
    arrays = [np.asarray(getattr(grouping, "groups", grouping)) for grouping in groupings]
    n = len(arrays[0])
    rows, nodes, n_nodes = [], [], n
    for groups in arrays:
        tied = np.flatnonzero(groups != ALONE)
        rows.append(tied)
        nodes.append(n_nodes + groups[tied])
        n_nodes += int(groups.max(initial=ALONE)) + 1
    return renumber(components(np.concatenate(rows), np.concatenate(nodes), n_nodes)[:n])


def components(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Connected components of `n` nodes tied by the pairs (first, second), numbered from 0."""
    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    return connected_components(edges, directed=False)[1]


def renumber(groups: np.ndarray) -> np.ndarray:
    """Number groups of two rows or more from 0, in order; rows that are alone become -1."""
    values, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    several = (sizes > 1) & (values != ALONE)
    numbers = np.where(several, np.cumsum(several) - 1, ALONE)
    return numbers[codes].astype(np.int64)


def whole(groups: np.ndarray) -> np.ndarray:
    """The same groups with a number of its own for each row that is alone."""
    groups = np.asarray(groups)
    alone = groups == ALONE
    return np.where(alone, groups.max(initial=ALONE) + np.cumsum(alone), groups)


def name_groups(face_id: pd.Series, groups: np.ndarray) -> pd.Series:
    """Name each group by its first face, so that tables of other rows of the same faces agree.

    Returns
    -------
    pandas.Series of shape (n,), string
        NA where a row is alone.
    """
    ids = pd.Series(face_id, dtype="string").reset_index(drop=True)
    groups = np.asarray(groups)
    names = ids.groupby(groups).transform("min")
    return names.where(groups != ALONE, pd.NA).astype("string")


def tolerance(values: pd.Series, groups: np.ndarray) -> float:
    """Return up to which difference two copies of a picture agree in a label; 0 for classes.

    Two people who judge one picture, or two files that date it, differ by some years. The limit of
    agreement (Bland and Altman 1986) of the set's own copies, taken from the median difference so that
    gross errors do not widen it, is the noise that a contradiction has to exceed.

    Parameters
    ----------
    values : pandas.Series of shape (n,)
        Numbers in years or degrees (or classes), NA where unknown.
    groups : ndarray of shape (n,), int
        Groups of copies, -1 where a row is alone.

    Returns
    -------
    float
        In the label's unit: at least `LEAST_TOLERANCE` (also where there are fewer than `MIN_PAIRS`
        differences to learn from), at most `MOST_TOLERANCE` of the labels' standard deviation.
    """
    if not pd.api.types.is_numeric_dtype(values):
        return 0.0
    differences = np.abs(copy_differences(values, groups))
    if len(differences) < MIN_PAIRS:
        return LEAST_TOLERANCE
    most = MOST_TOLERANCE * float(values.astype("Float64").std())
    return max(LEAST_TOLERANCE, min(_TWO_SIDED * float(np.median(differences)), most))


def copy_differences(values: pd.Series, groups: np.ndarray) -> np.ndarray:
    """Differences between each copy's number and that of its group's first, ndarray of float."""
    numbers = values.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    table = pd.DataFrame({"group": groups, "value": numbers})
    table = table[(table["group"] != ALONE) & np.isfinite(table["value"])]
    by_group = table.groupby("group")["value"]
    return (table["value"] - by_group.transform("first"))[by_group.cumcount() > 0].to_numpy()


def contradictions(values: pd.Series, groups: np.ndarray) -> np.ndarray:
    """Rows whose group holds two or more different known values; ndarray of shape (n,), bool.

    Numbers differ where they are farther apart than `tolerance`.
    """
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        table = pd.DataFrame({"group": groups, "value": numbers})
        by_group = table[table["group"] != ALONE].groupby("group")["value"]
        spans = by_group.max() - by_group.min()
        differing = spans.index[spans > tolerance(values, groups)]
        return np.isin(groups, differing.to_numpy())
    table = pd.DataFrame({"group": groups, "value": values.astype(object).to_numpy()})
    table = table[(table["group"] != ALONE) & table["value"].notna()]
    counts = table.groupby("group")["value"].nunique()
    return np.isin(groups, counts.index[counts > 1].to_numpy())


def repeated_rows(groups: np.ndarray, source: pd.Series, known: np.ndarray) -> np.ndarray:
    """Rows whose picture an earlier source has too, with every label that they bear; ndarray of shape (n,), bool.

    Two sets that share a picture would train on it twice.

    Parameters
    ----------
    groups : ndarray of shape (n,), int
        Groups of copies, -1 where a row is alone.
    source : pandas.Series of shape (n,)
        Data set of each row; those that appear first are the earlier ones.
    known : ndarray of shape (n, n_labels), bool
        Which labels each row bears.
    """
    table = pd.DataFrame(np.asarray(known, dtype=bool)).reset_index(drop=True)
    order = pd.Series(pd.factorize(source)[0])
    tied = pd.Series(np.asarray(groups))
    first = order.groupby(tied).transform("min")
    of_first = table.where(order == first, False).groupby(tied).transform("max").astype(bool)
    covered = (of_first | ~table).all(axis=1)
    return ((tied != ALONE) & (order > first) & covered).to_numpy()


def leaked_rows(groups: np.ndarray, *, fitted: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test rows whose group also has fitted rows; ndarray of shape (n,), bool.

    Parameters
    ----------
    groups : ndarray of shape (n,), int
        -1 where a row is alone.
    fitted, test : ndarray of shape (n,), bool
    """
    groups = np.asarray(groups)
    return test & (groups != ALONE) & np.isin(groups, groups[fitted])


def measure_leakage(
    identity: pd.Series, copies: np.ndarray, *, fitted: np.ndarray, test: np.ndarray
) -> dict[str, int]:
    """Count test rows that show a person, or are a copy of a picture, of the fitted rows.

    Parameters
    ----------
    identity : pandas.Series of shape (n,)
        NA where unknown.
    copies : ndarray of shape (n,), int
        Group of copies, -1 where a row is alone.
    fitted, test : ndarray of shape (n,), bool

    Returns
    -------
    dict
        ``test_rows, same_person, same_picture, leaked, unknown_person``, all counts of test rows.
    """
    by_person = leaked_rows(people(identity), fitted=fitted, test=test)
    by_picture = leaked_rows(copies, fitted=fitted, test=test)
    return {
        "test_rows": int(test.sum()),
        "same_person": int(by_person.sum()),
        "same_picture": int(by_picture.sum()),
        "leaked": int((by_person | by_picture).sum()),
        "unknown_person": int((test & identity.isna().to_numpy()).sum()),
    }


def align_rows(faces: pd.DataFrame, face_id: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Descriptors in the order of `faces`, with rows of NaN for faces that have none.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table, n rows.
    face_id : ndarray of shape (m,)
        Of the rows of `matrix`.
    matrix : ndarray of shape (m, d), float

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    at = pd.Index(face_id).get_indexer(faces["face_id"])
    aligned = np.full((len(faces), matrix.shape[1]), np.nan, np.float32)
    aligned[at >= 0] = matrix[at[at >= 0]]
    return aligned
