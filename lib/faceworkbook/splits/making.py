"""Make splits: by identity, official, careless on purpose, repeated folds, or a data set left out."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd

from faceworkbook import row_groups
from faceworkbook.splits import allocation
from faceworkbook.splits.notices import list_notices
from faceworkbook.splits.saving import fingerprint
from faceworkbook.splits.split import CONTRADICTING, SUBSETS, Split, SplitError
from faceworkbook.splits.strata import Plan, make_plan, stratum_names, ungroup

SCHEMES = ("identity", "official", "random")
NO_LABEL = "label missing"
NO_OFFICIAL_SUBSET = "no official subset"
ALSO_IN_TEST = "the person or picture is in the test data set too"
REPEATED = "an earlier data set has the picture, with the same labels"


@dataclasses.dataclass(frozen=True)
class FoldSizes:
    """How many folds, how often drawn anew, and the share of the training rows that validates (0..1)."""

    n_folds: int = 5
    n_repeats: int = 5
    validation: float = 0.15


FIVE_TIMES_FIVE = FoldSizes()


def make(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    seed: int = 0,
    test: float = 0.25,
    validation: float = 0.15,
    scheme: str = "identity",
    keep_together=None,
) -> Split:
    """Split a face table into train, validation and test rows.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    label : str or list of str
        Label columns to stratify by; numbers are binned. Rows without any of them are left out.
    seed : int
    test, validation : float in 0..1
        Shares of the rows. With ``scheme='official'`` `test` is not used, and `validation` is the
        share of the official training rows that becomes validation where there is none. Of official
        folds the first is tested; `folds` tests each.
    scheme : {'identity', 'official', 'random'}
        'random' ignores identities and copies: the careless split, to show what it costs.
    keep_together : array-like of shape (n,), optional
        Group of each row (copies of a picture); -1 or NA where a row is alone.

    Returns
    -------
    Split
        Rows of a group of copies whose labels contradict each other are left out of the test rows
        (except by 'random').

    Raises
    ------
    SplitError
        Unknown scheme or column, shares that leave nothing, no official split, or too few groups.
    """
    _check_shares(test, validation)
    plan = make_plan(faces, label, keep_together)
    rng = np.random.default_rng(seed)
    if scheme == "official":
        subset = _official_subsets(plan, validation, rng)
    elif scheme in SCHEMES:
        plan = plan if scheme == "identity" else ungroup(plan)
        shares = {"train": 1 - test - validation, "validation": validation, "test": test}
        subset = _assign(plan, plan.rows, shares, rng)
    else:
        raise SplitError(f"scheme={scheme!r}; allowed are {list(SCHEMES)}")
    return _finish(plan, subset, name=scheme, seed=seed)


def split_as(plan: Plan, subset: np.ndarray, former: Split) -> Split:
    """Return the split of a plan's faces whose subsets are given, with the scheme and seed of another split."""
    return _finish(
        ungroup(plan) if former.name == "random" else plan, subset, name=former.name, seed=former.seed
    )


def folds(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    sizes: FoldSizes = FIVE_TIMES_FIVE,
    seed: int = 0,
    scheme: str = "identity",
    keep_together=None,
    **former,
) -> list[Split]:
    """Repeated k-fold: every labelled row is tested once a repeat.

    Parameters are those of `make`, and `sizes`; `n_folds`, `n_repeats` and `validation` given one by one,
    as version 0.1 took them, are accepted with a DeprecationWarning. With ``scheme='official'`` the table's ``fold`` column
    gives the folds, and a repeat changes the validation rows alone.

    Returns
    -------
    list of Split
        One a repeat and fold, ordered by repeat, then fold; both stand in each split.
    """
    if former:
        sizes = _read_former(sizes, former)
    _check_shares(1 / max(sizes.n_folds, 1), sizes.validation)
    plan = make_plan(faces, label, keep_together)
    made = []
    for repeat, rng in enumerate(np.random.default_rng(seed).spawn(sizes.n_repeats)):
        number = _fold_numbers(plan, scheme, sizes.n_folds, rng)
        for fold in np.unique(number[number >= 0]):
            subset = _subsets_by_fold(plan, number, fold, sizes.validation, rng)
            made.append(_finish(plan, subset, name=scheme, seed=seed, repeat=repeat, fold=int(fold)))
    return made


def _read_former(sizes: FoldSizes, former: dict) -> FoldSizes:
    unknown = sorted(set(former) - {field.name for field in dataclasses.fields(FoldSizes)})
    if unknown:
        raise TypeError(
            f"folds() got unexpected keywords {unknown}; it takes label, sizes, seed, scheme, keep_together"
        )
    warnings.warn(
        "n_folds, n_repeats and validation are now sizes=FoldSizes(...)", DeprecationWarning, stacklevel=3
    )
    return dataclasses.replace(sizes, **former)


def leave_one_dataset_out(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    seed: int = 0,
    validation: float = 0.15,
    keep_together=None,
) -> list[Split]:
    """One split a data set: tested on it, trained on the others.

    Training rows that show a person or picture of the tested set are left out and listed, and so are those whose
    picture an earlier training set has too. A data set whose people are all that the others hold cannot be left
    out: the splits' notices name it.

    Raises
    ------
    SplitError
        Fewer than two data sets, or none that can be left out.
    """
    plan = make_plan(faces, label, keep_together)
    names = faces["dataset"].iloc[plan.rows].unique()
    if len(names) < 2:
        raise SplitError(f"the labelled rows come from {list(names)}; give a table of two data sets or more")
    made, impossible = [], []
    for name in sorted(names):
        split = _leave_out(plan, name, seed=seed, validation=validation)
        if split is None:
            impossible.append(
                f"{name} cannot be left out: too few faces of other sets show none of its people"
            )
        else:
            made.append(split)
    if not made:
        raise SplitError(f"{'; '.join(impossible)}; these sets are made of each other")
    return [dataclasses.replace(split, notices=(*split.notices, *impossible)) for split in made]


def _leave_out(plan: Plan, name: str, *, seed: int, validation: float) -> Split | None:
    """Test on one data set; None where the others hold nobody else."""
    faces, rng = plan.faces, np.random.default_rng(seed)
    tested = plan.labelled & (faces["dataset"] == name).to_numpy()
    rest = plan.labelled & ~tested
    both = rest & np.isin(plan.groups, plan.groups[tested])
    left = np.flatnonzero(rest & ~both)
    if len(np.unique(plan.groups[left])) < 2:
        return None
    known = faces.iloc[left][list(plan.label)].notna().to_numpy()
    repeated = np.zeros(len(faces), bool)
    repeated[left] = row_groups.repeated_rows(plan.copies[left], faces["dataset"].iloc[left], known)
    subset = np.where(tested, "test", "").astype("<U10")
    subset = _carve_validation(plan, subset, left[~repeated[left]], validation, rng)
    excluded = [
        _exclude(faces, both, "train", ALSO_IN_TEST),
        _exclude(faces, repeated, "train", REPEATED),
    ]
    return _finish(plan, subset, name=f"without {name}", seed=seed, excluded=pd.concat(excluded))


def _assign(plan: Plan, rows: np.ndarray, shares: dict[str, float], rng) -> np.ndarray:
    subset = np.full(len(plan.faces), "", dtype="<U10")
    wanted = {name: share for name, share in shares.items() if share > 0}
    n_groups = len(np.unique(plan.groups[rows]))
    if n_groups < len(wanted):
        raise SplitError(
            f"{len(rows)} labelled rows fall into {n_groups} groups (people, copies), too few for "
            f"{len(wanted)} subsets; give more faces or fewer subsets"
        )
    number = allocation.assign_groups(plan.strata[rows], plan.groups[rows], np.array([*wanted.values()]), rng)
    subset[rows] = np.array([*wanted], dtype="<U10")[number]
    return subset


def _carve_validation(plan: Plan, subset: np.ndarray, rows: np.ndarray, validation: float, rng) -> np.ndarray:
    inner = _assign(plan, rows, {"train": 1 - validation, "validation": validation}, rng)
    return np.where(inner != "", inner, subset)


def _official_subsets(plan: Plan, validation: float, rng) -> np.ndarray:
    official = plan.faces["split"].astype(object)
    if official.isna().all():
        number = _fold_numbers(plan, "official", 0, rng)
        return _subsets_by_fold(plan, number, number[number >= 0].min(), validation, rng)
    subset = np.where(official.isna() | ~plan.labelled, "", official.fillna("")).astype("<U10")
    wrong = sorted(set(subset) - {"", *SUBSETS})
    if wrong:
        raise SplitError(f"column 'split' holds {wrong}; allowed are {list(SUBSETS)} or NA")
    if not (subset == "test").any():
        subset[subset == "validation"] = "test"
    if not (subset == "test").any() or not (subset == "train").any():
        raise SplitError("the official split has no labelled training or test rows; use scheme='identity'")
    if (subset == "validation").any():
        return subset
    return _carve_validation(plan, subset, np.flatnonzero(subset == "train"), validation, rng)


def _fold_numbers(plan: Plan, scheme: str, n_folds: int, rng) -> np.ndarray:
    if scheme == "official":
        number = plan.faces["fold"].to_numpy(dtype=float, na_value=-1).astype(int)
        if (number < 0).all():
            raise SplitError("the data set has no official split or folds; use scheme='identity'")
        return np.where(plan.labelled, number, -1)
    if scheme != "identity":
        raise SplitError(f"scheme={scheme!r}; allowed for folds are ['identity', 'official']")
    named = _assign(plan, plan.rows, {str(k): 1.0 for k in range(n_folds)}, rng)
    return np.where(named == "", "-1", named).astype(int)


def _subsets_by_fold(plan: Plan, number: np.ndarray, fold: int, validation: float, rng) -> np.ndarray:
    subset = np.where(number == fold, "test", "").astype("<U10")
    return _carve_validation(plan, subset, np.flatnonzero((number >= 0) & (number != fold)), validation, rng)


def _check_shares(test: float, validation: float) -> None:
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise SplitError(
            f"test={test}, validation={validation}; allowed are shares 0..1 whose sum is below 1, test above 0"
        )


def _finish(
    plan: Plan, subset: np.ndarray, *, name: str, seed: int, repeat: int = 0, fold: int = 0, excluded=None
) -> Split:
    dropped = (subset == "test") & plan.contradicting
    unplaced = plan.labelled & (subset == "") if excluded is None else np.zeros(len(subset), bool)
    left_out = [
        _exclude(plan.faces, ~plan.labelled, "", NO_LABEL),
        _exclude(plan.faces, unplaced, "", NO_OFFICIAL_SUBSET),
        _exclude(plan.faces, dropped, "test", CONTRADICTING),
        *([] if excluded is None else [excluded]),
    ]
    subset = np.where(dropped, "", subset)
    _check_none_empty(subset, name=name, fold=fold, dropped=int(dropped.sum()))
    report = _report(plan, subset)
    fitted = np.isin(subset, ["train", "validation"])
    rows = {p: np.flatnonzero(subset == p).astype(np.int64) for p in SUBSETS}
    return Split(
        name=name,
        label=plan.label,
        seed=seed,
        **rows,
        fingerprint=fingerprint(plan.faces, plan.label),
        report=report,
        left_out=pd.concat(left_out, ignore_index=True),
        leakage=row_groups.measure_leakage(
            plan.faces["identity"], plan.copies, fitted=fitted, test=subset == "test"
        ),
        copies=plan.copies,
        contradicting=np.flatnonzero(dropped).astype(np.int64),
        notices=tuple(list_notices(plan, subset, report)),
        repeat=repeat,
        fold=fold,
    )


def _check_none_empty(subset: np.ndarray, *, name: str, fold: int, dropped: int) -> None:
    empty = [each for each in ("train", "test") if not (subset == each).any()]
    if empty:
        raise SplitError(
            f"scheme '{name}', fold {fold}: no rows are left in {empty} ({dropped:,} test rows are copies whose "
            "labels contradict each other); give more faces, or fewer folds"
        )


def _exclude(faces: pd.DataFrame, rows: np.ndarray, subset: str, reason: str) -> pd.DataFrame:
    ids = faces["face_id"].to_numpy()[rows]
    return pd.DataFrame({"face_id": ids, "subset": subset, "reason": reason}, dtype="string")


def _report(plan: Plan, subset: np.ndarray) -> pd.DataFrame:
    rows = []
    for name in SUBSETS:
        inside = subset == name
        people = plan.faces["identity"].to_numpy()[inside]
        row = {"subset": name, "rows": int(inside.sum()), "identities": pd.Series(people).nunique()}
        for column in plan.label:
            names = stratum_names(plan.faces[column])
            order = _class_order(plan.faces[column], names)
            row |= {f"{column}: {c}": int((names[inside] == c).sum()) for c in order}
        rows.append(row)
    return pd.DataFrame(rows).set_index("subset")


def _class_order(values: pd.Series, names: pd.Series) -> list[str]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if (names == c).any()]
    return sorted(names.dropna().unique(), key=lambda name: float(name.split("..")[0]))
