"""Whether the people of some data sets stand out in a network's descriptors, beside people who were never published."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from faceworkbook.evaluation import same_person
from faceworkbook.experiments.prepared import PreparedData


def measure(
    sets: Mapping[str, PreparedData], *, never_published: str = "", seed: int = 0
) -> tuple[pd.DataFrame, list[str]]:
    """Measure how alike the pictures of one person are, in each data set.

    Parameters
    ----------
    sets : mapping of str to PreparedData
        By name; descriptors of one network.
    never_published : str, optional
        The set whose people no network can have seen: the yardstick of the others.
    seed : int

    Returns
    -------
    pandas.DataFrame
        See `same_person.compare`; empty where no set has enough people.
    list of str
        Sets with fewer than `same_person.FEWEST_PEOPLE` people with two different pictures.

    Raises
    ------
    ValueError
        `never_published` is none of the sets, or has too few people.
    """
    if never_published and never_published not in sets:
        raise ValueError(
            f"never_published={never_published!r}; allowed are the experiments {', '.join(sets)}"
        )
    measured = {
        name: same_person.measure(
            data.matrix_for_cosines, data.faces["identity"], copies=data.faces["copy_group"], seed=seed
        )
        for name, data in sets.items()
    }
    few = [name for name, similar in measured.items() if similar is None]
    if never_published in few:
        raise ValueError(
            f"never_published={never_published!r} has fewer than {same_person.FEWEST_PEOPLE} people with two different "
            "pictures; name a set with more, or leave the parameter empty"
        )
    enough = {name: similar for name, similar in measured.items() if similar is not None}
    return same_person.compare(enough, unseen=never_published), few
