"""For whom a model fails: every metric by group, with n and intervals, gaps, and a test of chance.

A group is a label that annotators gave (or an age band), or a pair of labels. Groups are cut by
fairlearn's `MetricFrame`; intervals and tests draw people, not images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from faceworkbook import faces as face_table
from faceworkbook.evaluation import intervals, metrics, significance
from faceworkbook.evaluation.metrics import Metric, Rows

SMALL = 30
EVERYONE = "everyone"  # the attribute of a set without any: one group
AGE_EDGES = (0, 10, 20, 30, 40, 50, 60, 70)
Attribute = str | tuple[str, str]
_MEASURES = ("equalised odds", "equal opportunity", "demographic parity")


class GroupsError(ValueError):
    """Attributes that cannot be cut into groups; the text says which would do."""


@dataclass(frozen=True)
class Cut:
    """Rows of a subset and the group of each.

    Attributes
    ----------
    rows : Rows
    names : list of str or of tuple
        Groups; those of a pair include the empty ones.
    codes : ndarray of shape (n,), int
        Index into `names`.
    unknown : int
        Rows of the subset that bear no label and are left out.
    """

    rows: Rows
    names: list
    codes: np.ndarray
    unknown: int

    def of(self, group: int) -> Rows:
        return self.rows.take(self.codes == group)

    def sizes(self) -> np.ndarray:
        return np.bincount(self.codes, minlength=len(self.names))


def choose_attributes(faces: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    """Return those of `wanted` whose values differ in the face table.

    Where there are none: the other columns of classes that the set has, or else the one group `EVERYONE`.
    """
    known = [name for name in wanted if name in faces and faces[name].nunique() > 1]
    if known:
        return known
    others = [name for name in face_table.label_columns(faces) if face_table.is_class_label(faces[name])]
    return [name for name in others if faces[name].nunique() > 1] or [EVERYONE]


def attach(
    predictions: pd.DataFrame,
    faces: pd.DataFrame,
    attributes: Sequence[str],
    *,
    age_edges: Sequence[float] = AGE_EDGES,
) -> pd.DataFrame:
    """Add attributes of the face table to a table of predictions, ages as bands.

    Parameters
    ----------
    attributes : sequence of str
        Columns of the face table; 'age' (years) becomes bands named '20-29'.
    age_edges : sequence of number
        Lower edges of the bands, in years; the last band is open.

    Raises
    ------
    GroupsError
        An attribute that the face table lacks, or faces that it does not know.
    """
    if EVERYONE in attributes and EVERYONE not in faces:
        faces = faces.assign(**{EVERYONE: "all faces"})
    usable = [c for c in faces.columns if faces[c].notna().any()]
    missing = [name for name in attributes if name not in usable]
    if missing:
        raise GroupsError(f"attributes {missing} have no known value in the face table; it has {usable}")
    by_face = faces.set_index("face_id")[list(attributes)]
    strange = ~predictions["face_id"].isin(by_face.index)
    if strange.any():
        raise GroupsError(
            f"{int(strange.sum())} predicted faces are not in the face table "
            f"(first: {predictions.loc[strange, 'face_id'].iloc[0]!r}); give the table of the same experiment"
        )
    found = by_face.loc[predictions["face_id"]]
    found.index = predictions.index
    for name in attributes:
        if pd.api.types.is_numeric_dtype(found[name]):
            is_age = name == "age"
            found[name] = age_bands(found[name], edges=age_edges) if is_age else _fifths(found[name])
    return predictions.drop(columns=list(attributes), errors="ignore").join(found)


def age_bands(ages: pd.Series, *, edges: Sequence[float] = AGE_EDGES) -> pd.Series:
    """Cut ages (years) into bands by lower edges: '0-9', ..., '70+'; NA stays NA."""
    edges = list(edges)
    names = [f"{low:g}-{high - 1:g}" for low, high in pairwise(edges)]
    values = pd.to_numeric(ages).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    bands = pd.cut(values, [*edges, np.inf], right=False, labels=[*names, f"{edges[-1]:g}+"], ordered=True)
    return pd.Series(bands, index=ages.index)


def _fifths(numbers: pd.Series) -> pd.Series:
    values = numbers.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return pd.Series(pd.qcut(values, 5, duplicates="drop"), index=numbers.index).cat.rename_categories(str)


def pairs_of(attributes: Sequence[str]) -> list[Attribute]:
    """Each attribute, then each pair of them."""
    return [*attributes, *combinations(attributes, 2)]


def cut(table: pd.DataFrame, attribute: Attribute, *, subset: str = "test") -> Cut:
    """Cut the rows of `subset` by an attribute or a pair; see `attach`."""
    columns = [attribute] if isinstance(attribute, str) else list(attribute)
    missing = [name for name in columns if name not in table]
    if missing:
        raise GroupsError(f"columns {missing} are not in the table; add them with groups.attach(...)")
    chosen = table[table["split"] == subset]
    known = chosen[columns].notna().all(axis=1).to_numpy()
    rows = metrics.rows_of(chosen[known], subset=None) if known.any() else None
    if rows is None:
        raise GroupsError(f"no row of subset {subset!r} has {columns}; choose another attribute or subset")
    labels = chosen.loc[known, columns]
    found = [levels(labels[name]) for name in columns]
    codes = [
        pd.Index(level).get_indexer(labels[c].astype(str)) for c, level in zip(columns, found, strict=True)
    ]
    if len(columns) == 1:
        return Cut(rows, found[0], codes[0], int((~known).sum()))
    names = [(a, b) for a in found[0] for b in found[1]]
    return Cut(rows, names, codes[0] * len(found[1]) + codes[1], int((~known).sum()))


def by_group(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    names: Sequence[str] | None = None,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Every metric in every group, with its 95 % interval.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions with attributes, see `attach`.
    attribute : str or pair of str
    names : sequence of str, optional
        Metrics; by default all that apply.
    small : int
        Groups with fewer faces are marked.

    Returns
    -------
    pandas.DataFrame
        attribute, group, metric, value, low, high, n, n_identities, small, method. An empty group
        has n 0 and NaN.
    """
    pieces = cut(table, attribute, subset=subset)
    chosen = [metrics.pick(n, pieces.rows.task) for n in names or metrics.default_names(pieces.rows)]
    frame = _frame(pieces, chosen)
    records = []
    for code, group in enumerate(pieces.names):
        rows = pieces.of(code)
        for metric in chosen:
            _, low, high, method = metrics.estimate(metric, rows, seed=seed, n_boot=n_boot)
            records.append(
                {
                    "attribute": say(attribute),
                    "group": say(group),
                    "metric": metric.name,
                    "value": frame.loc[say(group), metric.name],
                    "low": low,
                    "high": high,
                    "n": len(rows.units),
                    "n_identities": len(np.unique(rows.units)) if rows.by_identity else pd.NA,
                    "small": len(rows.units) < small,
                    "method": method,
                }
            )
    return pd.DataFrame(records).astype({"n_identities": "Int64"})


def against_rest(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    metric: str = "accuracy",
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Each group against all other rows: is it served worse than by chance?

    Returns
    -------
    pandas.DataFrame
        group, value, rest, difference, low, high, p, p_holm, n, small, verdict ('worse', 'better',
        'no difference seen', 'too small'). The interval combines those of the group and the rest
        (Newcombe's for shares; Zou and Donner 2008); p is that of a permutation of group labels
        over people; Holm over the groups that are not small.
    """
    pieces = cut(table, attribute, subset=subset)
    chosen = metrics.pick(metric, pieces.rows.task)
    shuffled = _shuffled_labels(pieces, seed=seed, n_boot=n_boot)
    records = []
    for code, group in enumerate(pieces.names):
        inside = pieces.codes == code
        pair = [
            metrics.estimate(chosen, pieces.rows.take(side), seed=seed, n_boot=n_boot)[:3]
            for side in (inside, ~inside)
        ]
        low, high = difference_interval(*pair)
        records.append(
            {
                "group": say(group),
                "value": pair[0][0],
                "rest": pair[1][0],
                "difference": pair[0][0] - pair[1][0],
                "low": low,
                "high": high,
                "p": _p_of_group(chosen, pieces, code, shuffled),
                "n": int(inside.sum()),
                "small": int(inside.sum()) < small,
            }
        )
    return _with_verdicts(pd.DataFrame(records), chosen)


def gaps(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    names: Sequence[str] | None = None,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Largest gap and ratio between groups, the worst group, and the gap that chance alone makes.

    Returns
    -------
    pandas.DataFrame
        attribute, metric, worst, worst_value, best, best_value, gap, low, high, ratio, ratio_low,
        ratio_high, by_chance (mean gap when group labels are shuffled over people), p (share of
        shuffles with such a gap), groups, left_out (small groups). Intervals hold for all pairs of
        groups together (Bonferroni), because worst and best were picked after looking.
    """
    pieces = cut(table, attribute, subset=subset)
    sizes = pieces.sizes()
    used = np.flatnonzero(sizes >= small)
    left_out = [say(pieces.names[g]) for g in np.flatnonzero(sizes < small)]
    shuffled = _shuffled_labels(pieces, seed=seed, n_boot=n_boot)
    records = []
    for name in names or metrics.default_names(pieces.rows):
        metric = metrics.pick(name, pieces.rows.task)
        record = _gap_record(metric, pieces, used, shuffled, seed=seed, n_boot=n_boot)
        records.append({"attribute": say(attribute), **record, "left_out": ", ".join(left_out)})
    return pd.DataFrame(records)


def odds(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Equalised-odds, equal-opportunity and demographic-parity differences between groups.

    Returns
    -------
    pandas.DataFrame
        measure, value, low, high, by_chance, p, groups, left_out. With more than two classes each
        class is taken against the rest, and the largest difference counts. Differences are
        largest minus smallest, so they are above 0 by chance alone: read them beside `by_chance`.
        The interval is a percentile bootstrap by person, shifted down by that bias.
    """
    pieces = cut(table, attribute, subset=subset)
    if not pieces.rows.classes:
        raise GroupsError("the table holds numbers; odds by group need classes")
    sizes = pieces.sizes()
    used = np.flatnonzero(sizes >= small)
    figures = dict.fromkeys(("value", "low", "high", "by_chance", "p"), np.full(len(_MEASURES), np.nan))
    if len(used) > 1:
        figures = _odds_figures(_keep(pieces, used), seed=seed, n_boot=n_boot)
    left_out = ", ".join(say(pieces.names[g]) for g in np.flatnonzero(sizes < small))
    return pd.DataFrame({"measure": _MEASURES, **figures, "groups": len(used), "left_out": left_out})


def _odds_figures(kept: Cut, *, seed: int, n_boot: int) -> dict[str, np.ndarray]:
    n_groups, k = len(kept.names), len(kept.rows.classes)
    cell_of_row = kept.rows.truth * k + kept.rows.predicted
    counts = np.zeros((kept.rows.n_units, n_groups * k * k))
    np.add.at(counts, (kept.rows.units, kept.codes * k * k + cell_of_row), 1)

    def differences(totals: np.ndarray) -> np.ndarray:
        return _odds_differences(totals.reshape(-1, n_groups, k, k))

    value = differences(counts.sum(axis=0))[0]
    totals, n_units = counts.astype(np.float32), kept.rows.n_units
    drawn = intervals.resample(lambda w: differences(w @ totals), n_units, n_boot=n_boot, seed=seed)
    chance = _odds_by_chance(kept, cell_of_row, n_groups, k, differences, seed=seed, n_boot=n_boot)
    bias = np.nanmean(drawn, axis=0) - value
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0) - np.maximum(bias, 0)
    return {
        "value": value,
        "low": np.maximum(low, 0),
        "high": np.maximum(high, value),
        "by_chance": np.nanmean(chance, axis=0),
        "p": ((chance >= value - 1e-12).sum(axis=0) + 1) / (len(chance) + 1),
    }


def difference_interval(first, second) -> tuple[float, float]:
    """Interval of first - second from the (value, low, high) of each, independent (Zou and Donner 2008)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return (
        a - b - float(np.hypot(a - a_low, b_high - b)),
        a - b + float(np.hypot(a_high - a, b - b_low)),
    )


def ratio_interval(first, second) -> tuple[float, float]:
    """Interval of first / second from the (value, low, high) of each, on the log scale; NaN where <= 0."""
    values = np.array([first, second], dtype=float)
    if not (values > 0).all():
        return np.nan, np.nan
    low, high = difference_interval(*np.log(values))
    return float(np.exp(low)), float(np.exp(high))


def say(name: Attribute) -> str:
    """A group or attribute in words: 'female x Black'."""
    return name if isinstance(name, str) else " x ".join(name)


def levels(labels: pd.Series) -> list[str]:
    """Names that occur, in the order of the categories (else of the alphabet)."""
    present = set(labels.astype(str))
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return [str(name) for name in labels.cat.categories if str(name) in present]
    return sorted(present)


def _frame(pieces: Cut, chosen: Sequence[Metric]) -> pd.DataFrame:
    """Values by group from fairlearn's MetricFrame, which is handed row numbers."""
    positions = np.arange(len(pieces.codes))
    labels = [say(name) for name in pieces.names]
    frame = MetricFrame(
        metrics={m.name: _on_positions(m, pieces.rows) for m in chosen},
        y_true=positions,
        y_pred=positions,
        sensitive_features=pd.Series(np.array(labels, dtype=object)[pieces.codes], name="group"),
    )
    return frame.by_group.reindex(labels).astype(float)


def _on_positions(metric: Metric, rows: Rows):
    return lambda positions, _: metric.value(rows.take(np.asarray(positions, dtype=int)))


def _keep(pieces: Cut, used: np.ndarray) -> Cut:
    """The rows of the used groups, groups and units numbered anew."""
    inside = np.isin(pieces.codes, used)
    rows = pieces.rows.take(inside)
    rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    codes = np.searchsorted(used, pieces.codes[inside])
    return Cut(rows, [pieces.names[g] for g in used], codes, pieces.unknown)


@dataclass(frozen=True)
class _Shuffled:
    """Group labels shuffled over blocks: all rows of one person in one group move together."""

    block_of_row: np.ndarray
    codes: np.ndarray


def _shuffled_labels(pieces: Cut, *, seed: int, n_boot: int) -> _Shuffled:
    pairs = pieces.rows.units * len(pieces.names) + pieces.codes
    blocks, block_of_row = np.unique(pairs, return_inverse=True)
    own = blocks % len(pieces.names)
    rng = np.random.default_rng(seed)
    return _Shuffled(block_of_row, np.array([rng.permutation(own) for _ in range(n_boot)], dtype=np.int16))


def _on_blocks(metric: Metric, pieces: Cut, shuffled: _Shuffled) -> intervals.Statistic:
    return metric.statistic(replace(pieces.rows, units=shuffled.block_of_row))


def _p_of_group(metric: Metric, pieces: Cut, code: int, shuffled: _Shuffled) -> float:
    inside = pieces.codes == code
    if not inside.any() or inside.all():
        return np.nan
    statistic = _on_blocks(metric, pieces, shuffled)

    def difference(member: np.ndarray) -> np.ndarray:
        return statistic(member.astype(np.float32)) - statistic((~member).astype(np.float32))

    own = np.zeros((1, shuffled.codes.shape[1]), dtype=bool)
    own[0, shuffled.block_of_row[inside]] = True
    observed = difference(own)[0]
    if not np.isfinite(observed):
        return np.nan
    chance = difference(shuffled.codes == code)
    chance = chance[np.isfinite(chance)]
    # Shuffles that tie with what was observed, up to single precision, count as such a difference.
    return float((np.sum(np.abs(chance) >= abs(observed) * (1 - 1e-5)) + 1) / (len(chance) + 1))


def _with_verdicts(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    table["p_holm"] = np.nan
    tested = ~table["small"] & table["p"].notna()
    table.loc[tested, "p_holm"] = significance.holm(table.loc[tested, "p"])
    worse = table["difference"] < 0 if metric.better == "higher" else table["difference"] > 0
    seen = table["p_holm"] < significance.ALPHA
    table["verdict"] = np.select(
        [table["small"], seen & worse, seen], ["too small", "worse", "better"], "no difference seen"
    )
    return table[
        ["group", "value", "rest", "difference", "low", "high", "p", "p_holm", "n", "small", "verdict"]
    ]


def _gap_record(
    metric: Metric, pieces: Cut, used: np.ndarray, shuffled: _Shuffled, *, seed: int, n_boot: int
):
    empty = dict.fromkeys(("worst", "best"), "") | dict.fromkeys(
        ("worst_value", "best_value", "gap", "low", "high", "ratio", "ratio_low", "ratio_high",
         "by_chance", "p"), np.nan,
    )  # fmt: skip
    pairs = max(len(used) * (len(used) - 1) // 2, 1)
    level = 1 - (1 - intervals.CONFIDENCE) / pairs
    each = {
        g: metrics.estimate(metric, pieces.of(g), seed=seed, n_boot=n_boot, confidence=level)[:3]
        for g in used
    }
    known = [g for g in used if np.isfinite(each[g][0])]
    if len(known) < 2:
        return {"metric": metric.name, **empty, "groups": len(known)}
    ranked = sorted(known, key=lambda g: _goodness(each[g][0], metric))
    worst, best = ranked[0], ranked[-1]
    bottom, top = sorted((worst, best), key=lambda g: each[g][0])
    low, high = difference_interval(each[top], each[bottom])
    ratio_low, ratio_high = ratio_interval(each[bottom], each[top])
    chance = _gaps_by_chance(metric, pieces, known, shuffled)
    gap = each[top][0] - each[bottom][0]
    return {
        "metric": metric.name,
        "worst": say(pieces.names[worst]),
        "worst_value": each[worst][0],
        "best": say(pieces.names[best]),
        "best_value": each[best][0],
        "gap": gap,
        "low": max(low, 0.0),
        "high": high,
        "ratio": each[bottom][0] / each[top][0] if each[top][0] > 0 else np.nan,
        "ratio_low": ratio_low,
        "ratio_high": min(ratio_high, 1.0) if np.isfinite(ratio_high) else np.nan,
        "by_chance": float(np.nanmean(chance)),
        "p": float((np.sum(chance >= gap * (1 - 1e-5)) + 1) / (len(chance) + 1)),
        "groups": len(known),
    }


def _goodness(value: float, metric: Metric) -> float:
    return {"higher": value, "lower": -value, "zero": -abs(value)}[metric.better]


def _gaps_by_chance(metric: Metric, pieces: Cut, known: Sequence[int], shuffled: _Shuffled) -> np.ndarray:
    statistic = _on_blocks(metric, pieces, shuffled)
    each = np.column_stack([statistic((shuffled.codes == g).astype(np.float32)) for g in known])
    return each.max(axis=1) - each.min(axis=1)


def _odds_differences(totals: np.ndarray) -> np.ndarray:
    """From counts (b, groups, truth, predicted) to equalised odds, equal opportunity, parity: (b, 3)."""
    true, said, all_rows = totals.sum(axis=3), totals.sum(axis=2), totals.sum(axis=(2, 3))[..., None]
    hits = np.diagonal(totals, axis1=2, axis2=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = hits / true
        wrong = (said - hits) / (all_rows - true)
        chosen = said / all_rows
    # Of two classes, equal opportunity looks at the second alone, as fairlearn's functions do.
    opportunity = _spread(found[..., 1:] if totals.shape[-1] == 2 else found)
    odds_apart = np.maximum(_spread(found), _spread(wrong))
    return np.column_stack([odds_apart, opportunity, _spread(chosen)])


def _spread(rates: np.ndarray) -> np.ndarray:
    """Largest difference between groups, then over classes: (b, groups, classes) to (b,)."""
    top = np.where(np.isfinite(rates), rates, -np.inf).max(axis=1)
    bottom = np.where(np.isfinite(rates), rates, np.inf).min(axis=1)
    return (top - bottom).max(axis=-1)


def _odds_by_chance(
    kept: Cut, cell: np.ndarray, n_groups: int, k: int, differences, *, seed: int, n_boot: int
):
    shuffled = _shuffled_labels(kept, seed=seed, n_boot=n_boot)
    counts = np.zeros((shuffled.codes.shape[1], k * k), dtype=np.float32)
    np.add.at(counts, (shuffled.block_of_row, cell), 1)
    totals = [(shuffled.codes == g).astype(np.float32) @ counts for g in range(n_groups)]
    return differences(np.stack(totals, axis=1))
