"""How far a network keeps people apart who it may have been trained on: similarity within and between people.

A network that was trained to identify somebody pulls that person's pictures together and pushes strangers away, more
than it does for a person it never saw. So people of its training set stand out beside people that no network can
have seen. The comparison is of data sets, not of persons: it never says who was in the training set, and whatever
else makes the pictures of one set more alike (one photographer, one session, better pictures) raises it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.evaluation.figures import Figure, difference_interval, figure_of_mean, p_of_difference

FEWEST_PEOPLE = 10
MOST_PICTURES = 8  # of one person: more would add pairs and hardly certainty
MOST_PEOPLE = 500
MEASURES = {
    "separation": "P(a picture of the same person is nearer than one of another person)",
    "within": "cosine of two pictures of one person",
    "nearest_stranger": "cosine to the most alike picture of another person",
}
_BOUNDS = {"separation": (0.0, 1.0), "within": (-1.0, 1.0), "nearest_stranger": (-1.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities of one data set, one value a person.

    Attributes
    ----------
    by_person : pandas.DataFrame
        Indexed by person; columns of `MEASURES` and ``null``: the separation with the people's names exchanged
        at random between pictures.
    n_pictures : int
        Pictures that were compared.
    """

    by_person: pd.DataFrame
    n_pictures: int

    @property
    def n_people(self) -> int:
        """People with two different pictures or more."""
        return len(self.by_person)

    def figure(self, measure: str) -> Figure:
        """Return the mean over people of one of `MEASURES`, or of ``null``, every person counted once."""
        values = self.by_person[measure].to_numpy()
        people = np.arange(len(values))
        bounds = _BOUNDS.get(measure, _BOUNDS["separation"])
        return figure_of_mean(values, people, people, bounds=bounds)


def measure(
    matrix: np.ndarray, identity: pd.Series, *, copies: pd.Series | None = None, seed: int = 0
) -> Similarities | None:
    """Measure how alike pictures of one person and of different people are.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32
        Descriptors.
    identity : pandas.Series of length n
        Names of people; NA where unknown.
    copies : pandas.Series of length n, optional
        Group of each picture among copies: one of each group is compared, else a copy would be a second picture
        of its person.
    seed : int
        Draws at most `MOST_PEOPLE` people, `MOST_PICTURES` pictures of each, and the exchange of names.

    Returns
    -------
    Similarities or None
        None where fewer than `FEWEST_PEOPLE` people have two different pictures.
    """
    rng = np.random.default_rng(seed)
    rows = _draw(identity.reset_index(drop=True), copies, rng)
    if not len(rows):
        return None
    names = identity.iloc[rows].astype(str).to_numpy()
    unit = np.asarray(matrix[np.sort(rows)], dtype=np.float32)[np.argsort(np.argsort(rows))]
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    table = _by_picture(similar, names)
    table["null"] = _by_picture(similar, rng.permutation(names))["separation"]
    return Similarities(table.groupby(names).mean(), len(rows))


def _draw(identity: pd.Series, copies: pd.Series | None, rng: np.random.Generator) -> np.ndarray:
    """Rows of the people with two different pictures or more, as many of each as are compared."""
    rows = identity.dropna().index.to_numpy()
    rows = rng.permutation(np.array(rows))
    if copies is not None:
        group = copies.reset_index(drop=True).iloc[rows]
        rows = rows[(~group.duplicated() | group.isna()).to_numpy()]
    order = identity.iloc[rows].groupby(identity.iloc[rows].to_numpy()).cumcount().to_numpy()
    rows = rows[order < MOST_PICTURES]
    counts = identity.iloc[rows].value_counts()
    people = counts[counts >= 2].index
    if len(people) < FEWEST_PEOPLE:
        return np.zeros(0, int)
    if len(people) > MOST_PEOPLE:
        people = rng.choice(np.array(sorted(people), dtype=object), MOST_PEOPLE, replace=False)
    return np.sort(rows[identity.iloc[rows].isin(people).to_numpy()])


def _by_picture(similar: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    """One row a picture: its separation, its mean similarity within the person, its most alike stranger."""
    records = []
    for row, values in enumerate(similar):
        own = names == names[row]
        strangers = np.sort(values[~own])
        own[row] = False
        same = values[own]
        below = np.searchsorted(strangers, same) + np.searchsorted(strangers, same, side="right")
        records.append((below.mean() / (2 * len(strangers)), same.mean(), strangers[-1]))
    return pd.DataFrame(records, columns=list(MEASURES))


def compare(measured: dict[str, Similarities], *, unseen: str = "") -> pd.DataFrame:
    """Return one row a data set and measure, beside names exchanged at random and beside people never published.

    Parameters
    ----------
    measured : dict of str to Similarities
        By data set.
    unseen : str, optional
        The data set whose people no network can have seen; '' where there is none.

    Returns
    -------
    pandas.DataFrame
        dataset, measure, value, low, high (95 %, by people), people, pictures, null_mean (names exchanged; .5 for
        a separation), difference, difference_low, difference_high, p (to `unseen`; NaN without).
    """
    rows = []
    for name, own in measured.items():
        for what in MEASURES:
            figure = own.figure(what)
            low, high = figure.interval()
            null = own.figure("null").value if what == "separation" else np.nan
            row = {"dataset": name, "measure": what, "value": figure.value, "low": low, "high": high}
            row |= {"people": own.n_people, "pictures": own.n_pictures, "null_mean": null}
            rows.append(row | _difference(figure, measured.get(unseen) if name != unseen else None, what))
    return pd.DataFrame(rows)


def _difference(figure: Figure, other: Similarities | None, what: str) -> dict:
    names = ("difference", "difference_low", "difference_high", "p")
    if other is None:
        return dict.fromkeys(names, np.nan)
    reference = other.figure(what)
    # People of two sets are different people: their figures are independent.
    first, second = (Figure(f.value, f.error, f.freedom, f.effective, f.bounds) for f in (figure, reference))
    ends = difference_interval(first, second)
    return dict(zip(names, (first.value - second.value, *ends, p_of_difference(first, second)), strict=True))
