"""Train, validation and test rows: by identity, official, or careless on purpose.

A `Split` holds three index arrays into a face table, what was left out and why, and how many
test rows show a person (or a copy of a picture) that the model was fitted or chosen on. Groups
never cross a split: rows of one identity, and rows that `keep_together` ties (copies of a picture).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash

from faceworkbook import faces as face_table
from faceworkbook.audit import groups as grouping
from faceworkbook.audit.groups import ALONE

SCHEMES = ("identity", "official", "random")
SUBSETS = ("train", "validation", "test")
BALANCINGS = ("none", "oversample", "weights")
NUMBER_BINS = 10
MAX_DRAWS = 20
DRAWN_GROUPS = 4_000  # groups placed in all draws together, so that large sets do not wait

CONTRADICTING = "copies of one picture bear contradicting labels"
NO_LABEL = "label missing"
NO_OFFICIAL_SUBSET = "no official subset"
ALSO_IN_TEST = "the person or picture is in the test data set too"


class SplitError(ValueError):
    """A split that cannot be made or no longer fits; the text says why and what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a face table by subset.

    Attributes
    ----------
    name : str
        The scheme: 'identity', 'official', 'random', or 'without NAME' for a data set left out.
    label : tuple of str
        Columns that were stratified by.
    seed, repeat, fold : int
    train, validation, test : ndarray of int64
        Positions in the face table, ascending.
    fingerprint : str
        Of the table's face_id and label columns; see `fingerprint`.
    report : pandas.DataFrame
        One row a subset: rows, identities, and one column a class (or bin) with its count.
    left_out : pandas.DataFrame
        Columns face_id, subset ('' for all subsets), reason.
    leakage : dict
        ``test_rows``; how many of them show a person (``same_person``), a copy of a picture
        (``same_picture``) or either (``leaked``) of the training and validation rows;
        ``unknown_person``: test rows without identity, where persons cannot be compared.
    notices : tuple of str
        What a reader has to know, such as classes too rare for every subset.
    """

    name: str
    label: tuple[str, ...]
    seed: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    fingerprint: str
    report: pd.DataFrame
    left_out: pd.DataFrame
    leakage: dict
    notices: tuple[str, ...] = ()
    repeat: int = 0
    fold: int = 0

    def subset_of(self, n: int) -> np.ndarray:
        """Subset names by row, ndarray of shape (n,) of str; '' for rows in no subset."""
        names = np.full(n, "", dtype="<U10")
        for subset in SUBSETS:
            names[getattr(self, subset)] = subset
        return names

    def summary(self) -> pd.DataFrame:
        """What was left out (by reason) and what leaks: columns ``what``, ``count``."""
        counts = self.left_out.groupby(["reason", "subset"]).size()
        rows = [(f"left out of {subset or 'all subsets'}: {why}", n) for (why, subset), n in counts.items()]
        rows += [(_LEAKAGE_TEXTS[key], count) for key, count in self.leakage.items()]
        return pd.DataFrame(rows, columns=["what", "count"])


_LEAKAGE_TEXTS = {
    "test_rows": "test rows",
    "same_person": "test rows that show a person of the training or validation rows",
    "same_picture": "test rows that are copies of a training or validation picture",
    "leaked": "test rows that leak either way",
    "unknown_person": "test rows whose person is unknown",
}


# --------------------------------------------------------------------------- making


def make(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    seed: int = 0,
    test: float = 0.25,
    validation: float = 0.15,
    scheme: str = "identity",
    keep_together=None,
    test_fold: int = 0,
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
        share of the official training rows that becomes validation where there is none.
    scheme : {'identity', 'official', 'random'}
        'random' ignores identities and copies: the careless split, to show what it costs.
    keep_together : array-like of shape (n,), optional
        Group of each row (copies of a picture); -1 or NA where a row is alone.
    test_fold : int
        The official fold that is tested, for sets with folds.

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
    plan = _plan(faces, label, keep_together)
    rng = np.random.default_rng(seed)
    if scheme == "official":
        subset = _official_subsets(plan, test_fold, validation, rng)
    elif scheme in SCHEMES:
        plan = plan if scheme == "identity" else _ungrouped(plan)
        shares = {"train": 1 - test - validation, "validation": validation, "test": test}
        subset = _assign(plan, plan.rows, shares, rng)
    else:
        raise SplitError(f"scheme={scheme!r}; allowed are {list(SCHEMES)}")
    return _finish(plan, subset, name=scheme, seed=seed)


def folds(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    scheme: str = "identity",
    validation: float = 0.15,
    keep_together=None,
) -> list[Split]:
    """Repeated k-fold: every labelled row is tested once a repeat.

    Parameters are those of `make`; `n_folds` is not used with ``scheme='official'``, where the
    table's ``fold`` column says it and a repeat changes the validation rows alone.

    Returns
    -------
    list of Split
        ``n_repeats * n_folds``, ordered by repeat, then fold; both stand in each split.
    """
    _check_shares(1 / max(n_folds, 1), validation)
    plan = _plan(faces, label, keep_together)
    made = []
    for repeat, rng in enumerate(np.random.default_rng(seed).spawn(n_repeats)):
        number = _fold_numbers(plan, scheme, n_folds, rng)
        for fold in np.unique(number[number >= 0]):
            subset = _parts_by_fold(plan, number, fold, validation, rng)
            made.append(_finish(plan, subset, name=scheme, seed=seed, repeat=repeat, fold=int(fold)))
    return made


def leave_one_dataset_out(
    faces: pd.DataFrame,
    *,
    label: str | list[str],
    seed: int = 0,
    validation: float = 0.15,
    keep_together=None,
) -> list[Split]:
    """One split a data set: tested on it, trained on the others.

    Training rows that show a person or picture of the tested set are left out and listed.
    """
    plan = _plan(faces, label, keep_together)
    names = faces["dataset"].iloc[plan.rows].unique()
    if len(names) < 2:
        raise SplitError(f"the labelled rows come from {list(names)}; give a table of two data sets or more")
    made = []
    for name in sorted(names):
        rng = np.random.default_rng(seed)
        subset = np.full(len(faces), "", dtype="<U10")
        tested = plan.labelled & (faces["dataset"] == name).to_numpy()
        subset[tested] = "test"
        rest = plan.labelled & ~tested
        both = rest & np.isin(plan.groups, plan.groups[tested])
        subset = _carve_validation(plan, subset, np.flatnonzero(rest & ~both), validation, rng)
        aside = _aside(faces, both, "train", ALSO_IN_TEST)
        made.append(_finish(plan, subset, name=f"without {name}", seed=seed, aside=aside))
    return made


# --------------------------------------------------------------------------- groups and strata


@dataclass(frozen=True)
class _Plan:
    faces: pd.DataFrame
    label: tuple[str, ...]
    strata: np.ndarray  # (n,) int, -1 where no label
    groups: np.ndarray  # (n,) int
    copies: np.ndarray  # (n,) int, ALONE where a row is no copy
    contradicting: np.ndarray  # (n,) bool
    labelled: np.ndarray = field(init=False)
    rows: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "labelled", self.strata >= 0)
        object.__setattr__(self, "rows", np.flatnonzero(self.strata >= 0))


def _plan(faces: pd.DataFrame, label, keep_together) -> _Plan:
    label = (label,) if isinstance(label, str) else tuple(label)
    _check_labels(faces, label)
    copies = _copies(keep_together, len(faces))
    contradicting = np.zeros(len(faces), bool)
    for column in label:
        contradicting |= grouping.contradictions(faces[column], copies)
    groups = grouping.whole(grouping.join(grouping.people(faces["identity"]), copies))
    return _Plan(faces, label, _strata(faces, label), groups, copies, contradicting)


def _ungrouped(plan: _Plan) -> _Plan:
    n = len(plan.faces)
    return replace(plan, groups=np.arange(n), contradicting=np.zeros(n, bool))


def _check_labels(faces: pd.DataFrame, label: tuple[str, ...]) -> None:
    known = face_table.label_columns(faces)
    wrong = [column for column in label if column not in known]
    if wrong or not label:
        raise SplitError(
            f"label={list(label)}: no values in {wrong or 'it'}; the table has labels in {known}"
        )


def _copies(keep_together, n: int) -> np.ndarray:
    if keep_together is None:
        return np.full(n, ALONE)
    ids = pd.Series(keep_together).to_numpy()
    if len(ids) != n:
        raise SplitError(f"keep_together has {len(ids)} entries, the face table {n} rows; give one a row")
    return grouping.renumber(np.where(pd.isna(ids) | (ids == ALONE), ALONE, pd.factorize(ids)[0]))


def _strata(faces: pd.DataFrame, label: tuple[str, ...]) -> np.ndarray:
    names = [_stratum_names(faces[column]) for column in label]
    missing = np.logical_and.reduce([name.isna().to_numpy() for name in names])
    joint = names[0].astype(object).where(names[0].notna(), "(none)")
    for name in names[1:]:
        finer = joint + " | " + name.astype(object).where(name.notna(), "(none)")
        joint = finer.where(finer.map(finer.value_counts()) >= 2 * len(SUBSETS), joint)
    return np.where(missing, -1, pd.factorize(joint, sort=True)[0])


def _stratum_names(values: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values):
        return values.astype(object).reset_index(drop=True)
    numbers = values.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, NUMBER_BINS + 1)))
    edges = np.append(edges, edges[0] + 1) if len(edges) == 1 else edges
    names = [f"{low:g}..{high:g}" for low, high in pairwise(edges)]
    return pd.Series(pd.cut(numbers, edges, labels=names, include_lowest=True)).astype(object)


# --------------------------------------------------------------------------- assignment


def _assign(plan: _Plan, rows: np.ndarray, shares: dict[str, float], rng) -> np.ndarray:
    subset = np.full(len(plan.faces), "", dtype="<U10")
    wanted = {name: share for name, share in shares.items() if share > 0}
    n_groups = len(np.unique(plan.groups[rows]))
    if n_groups < len(wanted):
        raise SplitError(
            f"{len(rows)} labelled rows fall into {n_groups} groups (people, copies), too few for "
            f"{len(wanted)} subsets; give more faces or fewer subsets"
        )
    number = assign_groups(plan.strata[rows], plan.groups[rows], np.array([*wanted.values()]), rng)
    subset[rows] = np.array([*wanted], dtype="<U10")[number]
    return subset


def assign_groups(strata: np.ndarray, groups: np.ndarray, shares: np.ndarray, rng) -> np.ndarray:
    """Give every group to one subset so that each subset gets its share of each stratum.

    Groups of several rows go first, the large ones before the small: each is drawn into a subset with
    a probability in proportion to what the subset still needs of its strata (rare strata: to where the
    need is greatest). Single rows then fill what is missing, stratum by stratum. A stratum with as
    many groups as there are subsets is found in all of them. Where groups are few the most even of
    several draws is taken.

    Parameters
    ----------
    strata, groups : ndarray of shape (n,), int
    shares : ndarray of shape (n_subsets,)
        Any positive scale.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n,), int
        The subset of each row.
    """
    strata, groups = np.unique(strata, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    shares = np.asarray(shares, float) / np.sum(shares)
    counts = np.zeros((groups.max() + 1, strata.max() + 1))
    np.add.at(counts, (groups, strata), 1)
    several = int((counts.sum(axis=1) > 1).sum())
    draws = min(MAX_DRAWS, 1 + DRAWN_GROUPS // several) if several else 1
    subsets = [_draw_subsets(counts, shares, rng) for _ in range(draws)]
    return min(subsets, key=lambda subset: _unevenness(subset, counts, shares))[groups]


def _unevenness(subset: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> float:
    # Pearson's chi-square of the counts by subset and stratum against the shares.
    found = np.zeros((len(shares), counts.shape[1]))
    np.add.at(found, subset, counts)
    wanted = np.outer(shares, counts.sum(axis=0))
    return float(((found - wanted) ** 2 / wanted).sum())


def _draw_subsets(counts: np.ndarray, shares: np.ndarray, rng) -> np.ndarray:
    n_groups = (counts > 0).sum(axis=0)
    need = np.outer(shares, counts.sum(axis=0))
    need = np.where(n_groups >= len(shares), np.maximum(need, 1), need)
    subset = np.full(len(counts), -1)
    several = rng.permutation(np.flatnonzero(counts.sum(axis=1) > 1))
    several = several[np.argsort(-counts[several].sum(axis=1), kind="stable")]
    _place_several(subset, several, counts, need, n_groups, rng)
    stratum = counts.argmax(axis=1)
    for s in range(counts.shape[1]):
        singles = rng.permutation(np.flatnonzero((subset < 0) & (stratum == s)))
        subset[singles] = np.repeat(np.arange(len(shares)), _apportion(need[:, s], len(singles), shares))
    return subset


def _place_several(subset, several, counts, need, n_groups, rng) -> None:
    rare = n_groups < 3 * len(need)
    weight = counts / counts.sum(axis=0)
    placed = np.zeros_like(need)
    for group in several:
        wanted = np.maximum(need, 0) @ weight[group]
        scarce = rare & (counts[group] > 0)
        if scarce.any():
            lacks = (placed[:, scarce] == 0).all(axis=1) & (n_groups[scarce] >= len(need)).all()
            subset[group] = np.argmax(np.where(lacks, wanted + counts.sum(), wanted))
        else:
            subset[group] = _draw(wanted, need, rng)
        need[subset[group]] -= counts[group]
        placed[subset[group]] += counts[group]


def _draw(wanted: np.ndarray, need: np.ndarray, rng) -> int:
    if wanted.sum() <= 0:
        return int(np.argmax(need.sum(axis=1)))
    return int(np.searchsorted(np.cumsum(wanted), rng.random() * wanted.sum(), side="right"))


def _apportion(need: np.ndarray, n: int, shares: np.ndarray) -> np.ndarray:
    # Largest remainder: whole numbers that add up to n, in proportion to the need.
    need = np.maximum(need, 0)
    exact = n * (need / need.sum() if need.sum() > 0 else shares)
    whole = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: n - whole.sum()]] += 1
    return whole


def _carve_validation(
    plan: _Plan, subset: np.ndarray, rows: np.ndarray, validation: float, rng
) -> np.ndarray:
    inner = _assign(plan, rows, {"train": 1 - validation, "validation": validation}, rng)
    return np.where(inner != "", inner, subset)


def _official_subsets(plan: _Plan, test_fold: int, validation: float, rng) -> np.ndarray:
    official = plan.faces["split"].astype(object)
    if official.isna().all():
        return _official_fold(plan, test_fold, validation, rng)
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


def _official_fold(plan: _Plan, test_fold: int, validation: float, rng) -> np.ndarray:
    number = _fold_numbers(plan, "official", 0, rng)
    if test_fold not in number:
        known = np.unique(number[number >= 0]).tolist()
        raise SplitError(f"test_fold={test_fold}; the official folds are {known}")
    return _parts_by_fold(plan, number, test_fold, validation, rng)


def _fold_numbers(plan: _Plan, scheme: str, n_folds: int, rng) -> np.ndarray:
    if scheme == "official":
        number = plan.faces["fold"].to_numpy(dtype=float, na_value=-1).astype(int)
        if (number < 0).all():
            raise SplitError("the data set has no official split or folds; use scheme='identity'")
        return np.where(plan.labelled, number, -1)
    if scheme != "identity":
        raise SplitError(f"scheme={scheme!r}; allowed for folds are ['identity', 'official']")
    named = _assign(plan, plan.rows, {str(k): 1.0 for k in range(n_folds)}, rng)
    return np.where(named == "", "-1", named).astype(int)


def _parts_by_fold(plan: _Plan, number: np.ndarray, fold: int, validation: float, rng) -> np.ndarray:
    subset = np.where(number == fold, "test", "").astype("<U10")
    return _carve_validation(plan, subset, np.flatnonzero((number >= 0) & (number != fold)), validation, rng)


def _check_shares(test: float, validation: float) -> None:
    if not (0 < test < 1 and 0 <= validation < 1 and test + validation < 1):
        raise SplitError(
            f"test={test}, validation={validation}; allowed are shares 0..1 whose sum is below 1, test above 0"
        )


# --------------------------------------------------------------------------- reporting


def _finish(
    plan: _Plan, subset: np.ndarray, *, name: str, seed: int, repeat: int = 0, fold: int = 0, aside=None
) -> Split:
    dropped = (subset == "test") & plan.contradicting
    unplaced = plan.labelled & (subset == "") if aside is None else np.zeros(len(subset), bool)
    left_out = [
        _aside(plan.faces, ~plan.labelled, "", NO_LABEL),
        _aside(plan.faces, unplaced, "", NO_OFFICIAL_SUBSET),
        _aside(plan.faces, dropped, "test", CONTRADICTING),
        *([] if aside is None else [aside]),
    ]
    subset = np.where(dropped, "", subset)
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
        leakage=grouping.measure_leakage(
            plan.faces["identity"], plan.copies, fitted=fitted, test=subset == "test"
        ),
        notices=tuple(_notices(report)),
        repeat=repeat,
        fold=fold,
    )


def _aside(faces: pd.DataFrame, rows: np.ndarray, subset: str, reason: str) -> pd.DataFrame:
    ids = faces["face_id"].to_numpy()[rows]
    return pd.DataFrame({"face_id": ids, "subset": subset, "reason": reason}, dtype="string")


def _report(plan: _Plan, subset: np.ndarray) -> pd.DataFrame:
    rows = []
    for name in SUBSETS:
        inside = subset == name
        people = plan.faces["identity"].to_numpy()[inside]
        row = {"subset": name, "rows": int(inside.sum()), "identities": pd.Series(people).nunique()}
        for column in plan.label:
            names = _stratum_names(plan.faces[column])
            order = _class_order(plan.faces[column], names)
            row |= {f"{column}: {c}": int((names[inside] == c).sum()) for c in order}
        rows.append(row)
    return pd.DataFrame(rows).set_index("subset")


def _class_order(values: pd.Series, names: pd.Series) -> list[str]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if (names == c).any()]
    return sorted(names.dropna().unique(), key=lambda name: float(name.split("..")[0]))


def _notices(report: pd.DataFrame) -> Iterator[str]:
    for column in report.columns[2:]:
        empty = [
            subset for subset in report.index if report.loc[subset, "rows"] and not report.loc[subset, column]
        ]
        if empty:
            yield f"{column} ({int(report[column].sum())} rows) does not occur in: {', '.join(empty)}"


# --------------------------------------------------------------------------- files


_SAVED = ("name", "seed", "repeat", "fold", "fingerprint", "leakage")


def fingerprint(faces: pd.DataFrame, label: str | tuple[str, ...]) -> str:
    """Hash of the table's face_id and label columns, whatever the order of its rows."""
    columns = ["face_id", *([label] if isinstance(label, str) else label)]
    ordered = faces[columns].astype("string").fillna("").sort_values("face_id")
    digest = xxhash.xxh3_128()
    for column in columns:
        digest.update("\x1f".join([column, *ordered[column]]).encode())
        digest.update(b"\x1e")
    return digest.hexdigest()


def save(split: Split, path: str | Path, faces: pd.DataFrame) -> Path:
    """Write `split` as JSON (face ids by subset, report, fingerprint), beside and renamed."""
    _check_fingerprint(split.fingerprint, faces, split.label, "this split")
    ids = faces["face_id"].to_numpy()
    record = {key: getattr(split, key) for key in _SAVED}
    record |= {"label": [*split.label], "notices": [*split.notices]}
    record["report"] = split.report.reset_index().to_dict("records")
    record["left_out"] = split.left_out.to_dict("records")
    record |= {subset: ids[getattr(split, subset)].tolist() for subset in SUBSETS}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".subset")
    beside.write_text(json.dumps(record, indent=1))
    return beside.replace(path)


def load(path: str | Path, faces: pd.DataFrame) -> Split:
    """Read what `save` wrote; `SplitError` where the face table changed since, or the file is none."""
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        label = tuple(record["label"])
        ids = {subset: record[subset] for subset in SUBSETS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SplitError(f"{path} is no saved split ({error}); make one with splits.save(...)") from error
    _check_fingerprint(record["fingerprint"], faces, label, str(path))
    position = pd.Series(np.arange(len(faces)), index=faces["face_id"])
    return Split(
        **{key: record[key] for key in _SAVED},
        **{subset: np.sort(position[ids[subset]].to_numpy(np.int64)) for subset in SUBSETS},
        label=label,
        report=pd.DataFrame(record["report"]).set_index("subset"),
        left_out=pd.DataFrame(record["left_out"], columns=["face_id", "subset", "reason"], dtype="string"),
        notices=tuple(record["notices"]),
    )


def _check_fingerprint(expected: str, faces: pd.DataFrame, label: tuple[str, ...], what: str) -> None:
    missing = [column for column in label if column not in faces]
    if missing or fingerprint(faces, label) != expected:
        raise SplitError(
            f"{what} was made for another face table: faces or their {', '.join(label)} changed since "
            f"({len(faces)} rows now); make the split anew, or restore the table"
        )


# --------------------------------------------------------------------------- balancing


@dataclass(frozen=True, eq=False)
class Balance:
    """Training rows as they are shown to a model in one epoch.

    Attributes
    ----------
    rows : ndarray of int64
        Positions in the face table, shuffled; a row stands several times where it is oversampled.
    weights : ndarray of float64
        Weight of each entry in the loss; the mean is 1.
    seeds : ndarray of uint32
        One an entry. Whoever augments does so with the seed of every entry, originals included:
        drawn without a look at the label, so that traces of augmentation say nothing about it.
    """

    rows: np.ndarray
    weights: np.ndarray
    seeds: np.ndarray


def balance(
    split: Split, faces: pd.DataFrame, *, by: str, method: str = "none", strength: float = 1.0, seed: int = 0
) -> Balance:
    """Even out the classes of `by` among the training rows; other rows are never touched.

    Parameters
    ----------
    split : Split
    faces : pandas.DataFrame
        The table that `split` was made for.
    by : str
        Label column to balance by, such as 'race'; rows without it count as a class of their own.
    method : {'none', 'oversample', 'weights'}
        'oversample' repeats rows of the smaller classes, 'weights' weighs them in the loss.
    strength : float in 0..1
        0 leaves the classes as they are, 1 makes them equal; between, in geometric proportion.
    seed : int

    Returns
    -------
    Balance

    Raises
    ------
    SplitError
        Unknown method or column, or a strength out of range.
    """
    if method not in BALANCINGS:
        raise SplitError(f"method={method!r}; allowed are {list(BALANCINGS)}")
    if not 0 <= strength <= 1:
        raise SplitError(f"strength={strength}; allowed is 0..1")
    _check_labels(faces, (by,))
    rng = np.random.default_rng(seed)
    names = _stratum_names(faces[by].iloc[split.train]).fillna("(none)")
    codes, sizes = np.unique(names.to_numpy(dtype=str), return_inverse=True, return_counts=True)[1:]
    factor = (sizes.max() / sizes) ** strength
    rows, weights = split.train, np.ones(len(split.train))
    if method == "weights":
        weights = factor[codes] / factor[codes].mean()
    elif method == "oversample":
        rows = np.concatenate([_repeat(split.train[codes == c], factor[c], rng) for c in range(len(sizes))])
        weights = np.ones(len(rows))
    order = rng.permutation(len(rows))
    seeds = rng.integers(0, 2**32, len(rows), dtype=np.uint32)
    return Balance(rows[order], weights[order], seeds)


def _repeat(rows: np.ndarray, factor: float, rng) -> np.ndarray:
    wanted = round(len(rows) * factor)
    whole, rest = divmod(wanted, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.choice(rows, rest, replace=False)])


def restrict(split: Split, keep: np.ndarray) -> Split:
    """The same split for the table ``faces[keep]``, where other rows had no descriptor.

    Parameters
    ----------
    split : Split
    keep : ndarray of shape (n,), bool
        Rows of the face table that stay.

    Returns
    -------
    Split
        Positions count in the smaller table; the report and the leakage are those of the whole one.

    Raises
    ------
    SplitError
        A subset is left without rows.
    """
    new = np.cumsum(keep) - 1
    subsets = {subset: new[getattr(split, subset)[keep[getattr(split, subset)]]] for subset in SUBSETS}
    empty = [subset for subset in SUBSETS if len(getattr(split, subset)) and not len(subsets[subset])]
    if empty:
        raise SplitError(f"no row of {empty} could be read; look at the list of unreadable pictures")
    return replace(split, **subsets)
