"""Where differences live: every combination of pictures, tap, classifier, split and random start, paired by face.

A published difference between two methods is one draw: other crops of the pictures, another layer, other test faces
and another random start would have given another one (Bouthillier et al. 2021; Paplham and Franc 2024 find that
preprocessing outweighs methods). Here all are crossed. The spread of the figures is divided among them, and two
levels of a factor are compared by how often one is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import splits
from faceworkbook.evaluation import intervals, metrics, predictions
from faceworkbook.experiments import corruptions
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.images import ALIGNMENTS
from faceworkbook.tasks import source_columns

AS_THEY_ARE = "as they are"
FACTORS = ("pictures", "tap", "classifier", "split seed", "training seed")
TOGETHER = "what they do together"
# Bouthillier et al. 2021 call a difference meaningful where A is better in three of four draws.
MEANINGFUL = 0.75


class SpecificationsError(ValueError):
    """Factors that cannot be crossed; the text says which and what is allowed."""


@dataclass(frozen=True)
class Factors:
    """What is crossed.

    Attributes
    ----------
    pictures, taps : sequence of str
        Names of the descriptors' conditions.
    classifiers : mapping of str to Classifier
        See `faceworkbook.experiments.classifier`.
    split_seeds, training_seeds : sequence of int
        Which faces are tested, and the random starts on them.
    """

    pictures: Sequence[str]
    taps: Sequence[str]
    classifiers: Mapping[str, object]
    split_seeds: Sequence[int]
    training_seeds: Sequence[int]

    @property
    def levels(self) -> dict[str, list]:
        """Levels by factor, in the order of `FACTORS`."""
        each = (self.pictures, self.taps, self.classifiers, self.split_seeds, self.training_seeds)
        return {factor: list(levels) for factor, levels in zip(FACTORS, each, strict=True)}


@dataclass(frozen=True, eq=False)
class Specifications:
    """Figures of every combination.

    Attributes
    ----------
    levels : dict of str to list
        By factor.
    metric : str
    better : {'higher', 'lower', 'zero'}
    values : ndarray of shape (n_levels of each factor)
        The metric on the test rows of the split.
    drawn : ndarray of shape (n_boot, n_levels of each factor)
        The same where people are drawn with replacement, the same draw for all combinations.
    n_test : float
        Mean number of test faces.
    """

    levels: dict[str, list]
    metric: str
    better: str
    values: np.ndarray
    drawn: np.ndarray
    n_test: float

    def table(self) -> pd.DataFrame:
        """One row a combination: its levels, and the metric as ``value``."""
        rows = list(product(*self.levels.values()))
        return pd.DataFrame(rows, columns=list(self.levels)).assign(value=self.values.ravel())


def draw(data: PreparedData, count: int, *, seed: int = 0) -> PreparedData:
    """Return at most `count` faces that bear the label, drawn at random; their split is no longer that of `data`."""
    known = np.flatnonzero(data.labels.known)
    chosen = np.sort(np.random.default_rng(seed).permutation(known)[:count])
    return replace(
        data,
        faces=data.faces.iloc[chosen].reset_index(drop=True),
        labels=data.labels.take(chosen),
        matrix=np.asarray(data.matrix[chosen]),
        copies=np.asarray(data.copies)[chosen],
    )


def name_taps(networks: Sequence) -> str:
    """Return the taps of networks that stand side by side, as one level of the factor 'tap'."""
    return " + ".join(network.tap for network in networks)


def describe_anew(
    networks: Sequence,
    faces: pd.DataFrame,
    root: str | Path,
    *,
    points: np.ndarray | None = None,
    seed: int = 0,
) -> Callable:
    """Return ``(pictures, tap)`` to descriptors, for `measure`: pictures changed, and read at any tap.

    ``pictures`` is 'as they are', the name of a registered corruption and its level, such as 'crop margin 0.15', or how
    faces are cut out: 'none', 'upright', 'five_points', the last also with a margin, such as 'five_points 0.2'.
    ``tap`` is `name_taps` for all `networks` side by side, or a tap of the first of them. `points` are those of the
    clean pictures, ndarray of shape (n, 5, 2); see `needs_points`.
    """

    def describe(pictures: str, tap: str) -> np.ndarray:
        cut = read_cut(pictures)
        change = read_change(AS_THEY_ARE if cut else pictures, seed=seed)
        chosen = networks if tap == name_taps(networks) else [networks[0].at(tap)]
        adjusted = [network.adjusted(**cut) if cut else network for network in chosen]
        return corruptions.make_joint_describer(adjusted, faces, root, points=points)(change)

    return describe


def read_cut(pictures: str) -> dict:
    """Return ``align`` and ``margin`` of a level that names how faces are cut out; empty for any other level."""
    align, _, margin = pictures.partition(" ")
    if align not in ALIGNMENTS:
        return {}
    try:
        return {"align": align, **({"margin": float(margin)} if margin else {})}
    except ValueError as error:
        raise SpecificationsError(
            f"pictures {pictures!r}; expected an alignment and its margin, such as 'five_points 0.2'"
        ) from error


def needs_points(networks: Sequence, pictures: Sequence[str]) -> bool:
    """Whether a network, or one of the levels, aligns faces."""
    aligns = [read_cut(level).get("align", "none") for level in pictures]
    return any(align != "none" for align in [*aligns, *(net.preprocessing.align for net in networks)])


def read_change(pictures: str, *, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Return what 'as they are' or 'NAME LEVEL' does to a picture.

    Raises
    ------
    SpecificationsError
        No such corruption, or a level that is no number.
    """
    if pictures == AS_THEY_ARE:
        return lambda picture: picture
    name, _, level = pictures.rpartition(" ")
    try:
        return corruptions.make_change(name, float(level), seed)
    except (KeyError, ValueError) as error:
        raise SpecificationsError(
            f"pictures {pictures!r}; allowed are {AS_THEY_ARE!r}, {', '.join(ALIGNMENTS)}, or one of {list(corruptions.CORRUPTIONS)} and its level, "
            "such as 'crop margin 0.15'"
        ) from error


def measure(
    data: PreparedData,
    describe: Callable[[str, str], np.ndarray],
    factors: Factors,
    *,
    n_boot: int = 500,
    seed: int = 0,
) -> Specifications:
    """Fit and test every combination of the factors.

    Parameters
    ----------
    data : PreparedData
        Its own split is not used: each split seed makes one by identity, copies kept together.
    describe : callable
        ``(pictures, tap)`` to the descriptors of all faces, ndarray of shape (n, d).

    Raises
    ------
    SpecificationsError
        No factor has two levels, or there is a single split seed.
    """
    levels = factors.levels
    if len(levels["split seed"]) < 2:
        raise SpecificationsError(
            f"split seeds {levels['split seed']}: one set of test faces shows no spread; give two or more"
        )
    task = data.labels.task
    metric = metrics.pick(task.headline, task)
    made = {s: _split(data, s) for s in factors.split_seeds}
    shape = tuple(map(len, levels.values()))
    units = intervals.resampling_units(data.faces)
    n_units = int(units.max()) + 1
    weights = intervals.draw_weights(n_units, n_boot=n_boot, seed=seed)
    values, drawn = np.empty(shape), np.empty((n_boot, *shape))
    cells = list(np.ndindex(shape[0], shape[1], shape[2], shape[3]))
    for i, j, k, s in tqdm(cells, desc="combinations", unit="fit"):
        if (k, s) == (0, 0):
            matrix = describe(levels["pictures"][i], levels["tap"][j])
        split = made[levels["split seed"][s]]
        known = replace(data, matrix=matrix, split=split)
        classifier = factors.classifiers[levels["classifier"][k]]
        for r, table in enumerate(_tables(known, classifier, levels["training seed"])):
            rows = replace(metrics.rows_of(table), units=units[split.test])
            statistic = metric.statistic(rows, n_units=n_units)
            values[i, j, k, s, r] = statistic(np.ones((1, n_units)))[0]
            drawn[:, i, j, k, s, r] = statistic(weights)
    n_test = float(np.mean([len(split.test) for split in made.values()]))
    return Specifications(levels, metric.name, metric.better, values, drawn, n_test)


def _split(data: PreparedData, seed: int):
    columns = source_columns(data.faces, data.labels.task.name)
    return splits.make(data.faces, label=list(columns), seed=seed, keep_together=data.copies)


def _tables(data: PreparedData, classifier, seeds: Sequence[int]) -> list[pd.DataFrame]:
    """Predictions of each random start; a classifier that has none is fitted once and stands for all."""
    tables: list[pd.DataFrame] = []
    for seed in seeds:
        if tables and classifier.kind == "linear":
            tables.append(tables[0])
            continue
        fitted = replace(classifier, seed=seed).fit(data.matrix, data.labels, data.split)
        output = predictions.outputs_of(fitted, data.matrix[data.split.test], data.labels.task)
        faces = data.faces.iloc[data.split.test]
        truth = data.labels.truth[data.split.test]
        tables.append(predictions.build(faces, data.labels.task, truth=truth, output=output, split="test"))
    return tables


def variance_shares(values: np.ndarray) -> np.ndarray:
    """Divide the variance of figures among the factors they were crossed by.

    Parameters
    ----------
    values : ndarray of shape (..., n_levels of each of the five factors)

    Returns
    -------
    ndarray of shape (..., 6), adding up to 1
        Main effect of each factor (variance of its levels' means over the whole variance), and last what is left:
        what factors do together. NaN where no figure differs.
    """
    axes = tuple(range(values.ndim - len(FACTORS), values.ndim))
    whole = values.var(axis=axes)
    main = [values.mean(axis=tuple(a for a in axes if a != axis)).var(axis=-1) for axis in axes]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.stack(main, axis=-1) / whole[..., None]
    return np.concatenate([shares, 1 - shares.sum(axis=-1, keepdims=True)], axis=-1)


def summarise(made: Specifications) -> pd.DataFrame:
    """Return how much of the spread each factor makes.

    Returns
    -------
    pandas.DataFrame
        factor, levels (how many), share (of the variance, with its 95 % percentile interval over people), span
        (largest less smallest mean of its levels, in the metric's unit) with its own. Last what the factors do
        together. The share of the split seed is both who trains and who is tested.
    """
    shares, drawn = variance_shares(made.values), variance_shares(made.drawn)
    spans, drawn_spans = _spans(made.values), _spans(made.drawn)
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    span_low, span_high = np.nanquantile(drawn_spans, [0.025, 0.975], axis=0)
    several = np.array([*(len(levels) > 1 for levels in made.levels.values()), True])
    table = pd.DataFrame(
        {
            "factor": [*made.levels, TOGETHER],
            "levels": [*map(len, made.levels.values()), pd.NA],
            "share": shares, "share_low": low, "share_high": high,
            "span": [*spans, np.nan], "span_low": [*span_low, np.nan], "span_high": [*span_high, np.nan],
        }
    )  # fmt: skip
    return table[several].astype({"levels": "Int64"}).reset_index(drop=True)


def _spans(values: np.ndarray) -> np.ndarray:
    axes = tuple(range(values.ndim - len(FACTORS), values.ndim))
    means = [values.mean(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    return np.stack([np.ptp(mean, axis=-1) for mean in means], axis=-1)


def how_often_better(made: Specifications) -> pd.DataFrame:
    """Return how often one level of a factor is better than another, all else being equal.

    Returns
    -------
    pandas.DataFrame
        factor, first, second, difference (mean, in the metric's unit) with its 95 % interval over people, probability
        (share of the combinations of everything else in which the first is better, half of the ties) with its own,
        verdict ('meaningful' where the whole interval is beyond .75 or .25, as Bouthillier et al. 2021 ask).
        Of the factors that a researcher chooses, not of seeds.
    """
    sign = -1 if made.better == "lower" else 1
    records = []
    for axis, factor in enumerate(FACTORS[:3]):
        for a, b in combinations(range(len(made.levels[factor])), 2):
            gap, drawn = (
                np.take(values, a, axis=axis + offset) - np.take(values, b, axis=axis + offset)
                for values, offset in ((made.values, 0), (made.drawn, 1))
            )
            others = tuple(range(1, drawn.ndim))
            won = _probability(sign * gap, None)
            low, high = np.quantile(_probability(sign * drawn, others), [0.025, 0.975])
            ends = np.quantile(drawn.mean(axis=others), [0.025, 0.975])
            meaningful = low > MEANINGFUL or high < 1 - MEANINGFUL
            records.append(
                {
                    "factor": factor, "first": made.levels[factor][a], "second": made.levels[factor][b],
                    "difference": gap.mean(), "difference_low": ends[0], "difference_high": ends[1],
                    "probability": won, "probability_low": low, "probability_high": high,
                    "verdict": "meaningful" if meaningful else "",
                }
            )  # fmt: skip
    return pd.DataFrame(records)


def _probability(gap: np.ndarray, axes) -> np.ndarray:
    return ((gap > 0) + (gap == 0) / 2).mean(axis=axes)


def describe(made: Specifications, shares: pd.DataFrame) -> str:
    """Return in one sentence which factor makes most of the spread, and how far the figures reach."""
    named = shares[shares["factor"] != TOGETHER]
    if named["share"].isna().all():
        return f"All {made.values.size:,} combinations give {made.values.flat[0]:.3f} ({made.metric.replace('_', ' ')})."
    most = named.loc[named["share"].idxmax()]
    return (
        f"Of {made.values.size:,} combinations the figures reach from {made.values.min():.3f} to "
        f"{made.values.max():.3f} ({made.metric.replace('_', ' ')}); most of their spread is that of the "
        f"{most['factor']}: {most['share']:.0%} of the variance (95 % interval {most['share_low']:.0%} to "
        f"{most['share_high']:.0%})."
    )
