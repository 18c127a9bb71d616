"""How accuracy grows with the number of training faces, and with the number of people they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.experiments.scoring import score

FACES, PEOPLE = "faces", "identities"


@dataclass(frozen=True)
class Draws:
    """How training faces are drawn.

    Attributes
    ----------
    shares : sequence of float, above 0 and up to 1
        Of the training faces, or of their people.
    repeats : int
        Draws of each share.
    by : {'faces', 'identities'}
        'identities' takes all training faces of the people that it draws.
    """

    shares: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    repeats: int = 5
    by: str = FACES

    def __post_init__(self):
        if self.by not in (FACES, PEOPLE):
            raise ValueError(f"by={self.by!r}; allowed are {[FACES, PEOPLE]}")
        if not self.shares or min(self.shares) <= 0 or max(self.shares) > 1:
            raise ValueError(f"shares={tuple(self.shares)}; allowed are numbers above 0 and up to 1")


def draw_subsets(
    train: np.ndarray, identity: pd.Series, draws: Draws, *, seed: int = 0
) -> list[SimpleNamespace]:
    """Draw growing subsets of the training rows: within a repeat each one holds the smaller ones.

    Parameters
    ----------
    train : ndarray of training rows
    identity : pandas.Series
        Of all faces; each face of an unknown person counts as a person of its own.

    Returns
    -------
    list of objects with ``train`` (rows), ``share``, ``repeat``, ``n_identities``
    """
    nobody = pd.Series(np.arange(len(identity)), identity.index).astype("string") + "?"
    person = pd.factorize(identity.astype("string").fillna(nobody).iloc[train])[0]
    subsets = []
    for repeat in range(draws.repeats):
        rng = np.random.default_rng([seed, repeat])
        rank = rng.permutation(len(train) if draws.by == FACES else person.max() + 1)
        rank = rank if draws.by == FACES else rank[person]
        for share in sorted(draws.shares):
            chosen = rank < max(round(share * (rank.max() + 1)), 1)
            n_people = len(np.unique(person[chosen]))
            subsets.append(
                SimpleNamespace(train=train[chosen], share=share, repeat=repeat, n_identities=n_people)
            )
    return subsets


def measure(
    data: PreparedData,
    draws: Draws,
    *,
    classifier: Classifier | None = None,
    metric: str | None = None,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> pd.DataFrame:
    """Train on growing subsets of the training rows, always with the same validation and test rows.

    Subsets that show one class alone are passed over.

    Parameters
    ----------
    data : PreparedData
    draws : Draws
    classifier : Classifier, optional
        The experiment's own; an MLP of default settings where None. Its first draw of all faces is the
        experiment's own fit.
    metric : str, optional
        The task's headline where None.
    seed : int
        Of draws and resamples, and of fits where the classifier has no seed of its own.

    Returns
    -------
    pandas.DataFrame
        One row a fit: by, share, repeat, n_train, n_identities (NaN where people are not known), n_test,
        metric, value; error (standard error of the share's mean over draws: test people drawn anew, and the
        spread of draws), short (the mean less that of the largest share) and short_error.
    """
    from faceworkbook.training.folds import fit_folds

    chosen, labels, test = classifier or Classifier(), data.labels, data.split.test
    drawn = draw_subsets(data.split.train, data.faces["identity"], draws, seed=seed)
    drawn = [subset for subset in drawn if _can_teach(labels, subset.train)]
    splits = [
        SimpleNamespace(**vars(subset), validation=data.split.validation, test=test, fold=i)
        for i, subset in enumerate(drawn)
    ]
    fits = fit_folds(
        data.matrix,
        labels,
        splits,
        classifier=chosen.kind,
        seed=chosen.choose_seed(seed),
        progress=False,
        **chosen.settings,
    )
    name = metric or labels.task.headline
    scored = [
        score(output[test], labels.take(test), data.faces.iloc[test], metric=name) for output in fits.outputs
    ]
    known = data.faces["identity"].iloc[data.split.train].notna().any()
    records = [
        {
            "by": draws.by,
            "share": subset.share,
            "repeat": subset.repeat,
            "n_train": len(subset.train),
            "n_identities": subset.n_identities if known else np.nan,
            "n_test": len(test),
            "metric": name,
            "value": value,
        }
        for subset, (_, value) in zip(drawn, scored, strict=True)
    ]
    measured = pd.DataFrame(records)
    errors = _errors(measured, [table for table, _ in scored], name, seed=seed, n_boot=n_boot)
    return measured.merge(errors, on="share")


def _errors(
    measured: pd.DataFrame, tables: list[pd.DataFrame], name: str, *, seed: int, n_boot: int
) -> pd.DataFrame:
    """Standard errors of the mean of each share, and of what it is short of the largest, by the same draws."""
    rows = [metrics.rows_of(table) for table in tables]
    each = [metrics.pick(name, r.task).statistic(r) for r in rows]
    drawn = intervals.resample(
        lambda weights: np.column_stack([statistic(weights) for statistic in each]),
        rows[0].n_units, n_boot=n_boot, seed=seed,
    )  # fmt: skip
    at = measured.groupby("share").indices
    full = at[max(at)]
    records = []
    for share, fits in at.items():
        value, draws = measured["value"].to_numpy()[fits], drawn[:, fits].mean(axis=1)
        # Draws of a share overlap, so that their spread is a little smaller than it should be.
        between = value.std(ddof=1) / np.sqrt(len(value)) if len(value) > 1 else 0.0
        between_full = measured["value"].iloc[full].sem() if len(full) > 1 else 0.0
        records.append(
            {
                "share": share,
                "error": np.hypot(draws.std(ddof=1), between),
                "short": value.mean() - measured["value"].iloc[full].mean(),
                "short_error": np.sqrt(
                    (draws - drawn[:, full].mean(axis=1)).var(ddof=1) + between**2 + between_full**2
                ),
            }
        )
    return pd.DataFrame(records)


def summarise(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over draws, its 95 % interval, and what it is short of the largest share, a row a size.

    Returns
    -------
    pandas.DataFrame
        by, share, metric, n_train, n_identities, mean, low, high, short, short_low, short_high (NaN for
        the largest share), first (the first draw; of all faces the experiment's own fit), sd (between draws), draws,
        n_test.
    """
    grouped = measured.groupby(["by", "share", "metric"])
    curve = grouped.agg(
        n_train=("n_train", "mean"),
        n_identities=("n_identities", "mean"),
        mean=("value", "mean"),
        error=("error", "first"),
        short=("short", "first"),
        short_error=("short_error", "first"),
        first=("value", "first"),
        sd=("value", "std"),
        draws=("value", "size"),
        n_test=("n_test", "first"),
    ).reset_index()
    for name, error, low, high in (
        ("mean", "error", "low", "high"),
        ("short", "short_error", "short_low", "short_high"),
    ):
        reach = curve[error] * stats.t.ppf(0.975, _freedom(curve, error))
        curve[low], curve[high] = curve[name] - reach, curve[name] + reach
    # A t interval knows nothing of a metric's range.
    least, most = np.array([metrics.bounds(name) for name in curve["metric"]]).T
    curve["low"], curve["high"] = curve["low"].clip(least), curve["high"].clip(upper=most)
    largest = curve["share"] == curve.groupby("by")["share"].transform("max")
    curve.loc[largest, ["short", "short_low", "short_high"]] = np.nan
    leading = ["by", "share", "metric", "n_train", "n_identities", "mean", "low", "high"]
    return curve[[*leading, "short", "short_low", "short_high", "first", "sd", "draws", "n_test"]]


def _freedom(curve: pd.DataFrame, error: str) -> np.ndarray:
    """Degrees of freedom of a standard error that few draws are a share of (Welch 1947, Satterthwaite 1946)."""
    between = (curve["sd"] ** 2 / curve["draws"]).fillna(0.0)
    largest = curve.groupby("by")["share"].transform("idxmax")
    squares = [(between, curve["draws"])]
    if error == "short_error":
        squares.append(
            (between[largest].set_axis(curve.index), curve["draws"][largest].set_axis(curve.index))
        )
    inverse = sum(square**2 / (draws - 1).clip(lower=1) for square, draws in squares) / curve[error] ** 4
    return (1 / inverse.clip(lower=1e-9)).to_numpy()


def _can_teach(labels, rows: np.ndarray) -> bool:
    return labels.task.is_number or len(np.unique(labels.codes[rows])) > 1
