"""DeLong's test of two areas under the ROC curve."""

from __future__ import annotations

import numpy as np

from faceworkbook.evaluation.ranks import auc_components
from faceworkbook.evaluation.significance import Result, alike_figures, need_finite, need_units, t_figures


def delong(
    positive: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, *, units: np.ndarray | None = None
) -> Result:
    """Test two areas under the ROC curve on the same rows (DeLong et al. 1988).

    Parameters
    ----------
    positive : boolean ndarray of shape (n,)
    score_a, score_b : ndarray of shape (n,)
        Probability (or any score) of the positive class under each model.
    units : ndarray of shape (n,), int, optional
        Person of each row: then the components are added up by person (Obuchowski 1997).

    Returns
    -------
    Result
        Components by mid-ranks in O(n log n) (Sun and Xu 2014). Few people bear many of the rows: a person's share
        is divided by sqrt(1 - share of the rows of that class), as CR2 does (Bell and McCaffrey 2002), which for
        one face a person is DeLong's variance; t has the degrees of freedom of Welch and Satterthwaite over the
        effective people, 1 / sum of squared shares, of each class. Effect: difference of the areas.

    Raises
    ------
    ValueError
        Rows of one class alone, NaN scores, a class of a single unit.
    """
    positive = np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        raise ValueError(
            "all rows are of one class: an area under the ROC curve needs both; give rows of both classes"
        )
    need_finite("scores", score_a, score_b)
    counted = "faces" if units is None else "identities"
    who = np.arange(len(positive)) if units is None else np.unique(units, return_inverse=True)[1]
    area_a, share_a = auc_components(positive, score_a)
    area_b, share_b = auc_components(positive, score_b)
    difference, n = area_a - area_b, int(who.max()) + 1
    shares = np.array([np.bincount(who[rows], minlength=n) / rows.sum() for rows in (positive, ~positive)])
    need_units(int((shares > 0).sum(axis=1).min()), f"{counted} of one class")
    scaled = np.array(
        [
            np.bincount(who[rows], weights=(share_a - share_b)[rows], minlength=n) / np.sqrt(1 - share)
            for rows, share in zip((positive, ~positive), shares, strict=True)
        ]
    )
    error, by_class = float(np.sqrt((scaled.sum(axis=0) ** 2).sum())), (scaled**2).sum(axis=1)
    if error < 1e-12:
        figures = alike_figures(difference, int((shares > 0).sum(axis=1).min()), bounds=(-1, 1))
    else:
        effective = 1 / (shares**2).sum(axis=1)
        freedom = by_class.sum() ** 2 / (by_class**2 / np.maximum(effective - 1, 1)).sum()
        figures = t_figures(difference, error, freedom)
    return Result(
        test="DeLong",
        difference=difference,
        **figures,
        effect=difference,
        effect_name="difference of AUC",
        n=n,
        counted=counted,
        assumes=f"{counted} are independent",
    ).within((-1, 1))
