"""The ways of training several tasks, side by side: single, joint, in turn, with missing labels filled or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.classifiers import multitask
from faceworkbook.evaluation import metrics, predictions, significance
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.multitask import Fitted, Settings, fit
from faceworkbook.training.pooled import Parts, Pool, hide, split, stages
from faceworkbook.training.pseudo_labels import METHODS, Fill

TRAININGS = ("single", "joint", "alternating")
HEADLINES = {"classes": "accuracy", "ages": "expected_age_mae", "number": "mae"}


@dataclass(frozen=True)
class Way:
    """One way of training: 'single', 'joint' or 'alternating', and what stands for missing labels."""

    training: str
    fill: Fill

    @property
    def name(self) -> str:
        return self.training if self.training == "single" else f"{self.training}-{self.fill.method}"


def parse(text: str, fill: Fill) -> Way:
    """'single', 'joint', 'alternating-pseudo' and so on; `fill` gives the settings of the filling."""
    training, _, method = text.partition("-")
    method = method or "naive"
    if training not in TRAININGS or method not in METHODS:
        raise ValueError(
            f"way {text!r}; allowed are {list(TRAININGS)}, and joint or alternating followed by "
            f"{['-' + method for method in METHODS]}"
        )
    return Way(training, replace(fill, method=method))


def train(
    way: Way,
    pool: Pool,
    parts: Parts,
    *,
    settings: Settings,
    heads: Mapping,
    batch_size: int = 128,
    mixing: str = "proportional",
    turn: str = "epoch",
    state: Path | None = None,
    progress: bool = True,
) -> list[Fitted]:
    """Train `way`; one net, or one a task for 'single'.

    Parameters
    ----------
    heads : mapping
        Options of `classifiers.multitask.build`, its seed among them.
    state : path, optional
        Folder of the checkpoints.
    """
    groups = [[name] for name in pool.targets] if way.training == "single" else [list(pool.targets)]
    options = {"batch_size": batch_size, "mixing": mixing, "turn": turn, "progress": progress}
    return [_train(way, pool, parts, group, settings, heads, state, **options) for group in groups]


def _train(way, pool, parts, names, settings, heads, state, *, batch_size, mixing, turn, progress) -> Fitted:
    made = stages(pool, parts.train, names)
    rows = np.unique(np.concatenate([stage.rows for stage in made]))
    tasks = [multitask.task_of(pool.targets[name], rows=rows) for name in names]
    net = multitask.build(
        pool.matrix.shape[1],
        tasks,
        standardise=multitask.standardiser(pool.matrix, rows=rows),
        **heads,
    )
    if way.training == "alternating":
        plan = Alternating(made, batch_size, turn)
        # One turn of each stage goes through the rows that one epoch of the others does.
        settings = replace(settings, epochs=settings.epochs * (len(made) if turn == "epoch" else 1))
    else:
        plan = Joint(made, batch_size, mixing)
    file = None if state is None else state / f"{way.name}-{'+'.join(names)}-{settings.seed}.npz"
    return fit(
        net,
        pool.matrix,
        pool.targets,
        plan=plan,
        validation=parts.validation,
        settings=settings,
        fill=way.fill,
        state=file,
        progress=progress,
    )


def predict(fitted: Sequence[Fitted], pool: Pool, rows: np.ndarray, *, repeat: int = 0) -> dict:
    """A table of predictions a task, on those of `rows` (test rows) that have the task's label."""
    tables = {}
    for one in fitted:
        for task in one.net.tasks:
            known = rows[pool.targets[task.name].known[rows]]
            tables[task.name] = _table(one, task, pool, known, repeat)
    return tables


def _table(fitted: Fitted, task: multitask.Task, pool: Pool, rows: np.ndarray, repeat: int) -> pd.DataFrame:
    said = multitask.predict(fitted.net, pool.matrix, rows=rows)[task.name]
    truth, faces = pool.targets[task.name].truth[rows], pool.faces.iloc[rows]
    if task.is_number:
        return predictions.build(faces, truth=truth, part="test", values=said, repeat=repeat)
    if task.kind == "ages":
        truth = np.asarray(task.classes, dtype=object)[pool.targets[task.name].codes[rows]]
    return predictions.build(
        faces, truth=truth, part="test", probabilities=said, classes=list(task.classes), repeat=repeat
    )


@dataclass(frozen=True, eq=False)
class Repeats:
    """What repeating all ways over seeds gave.

    Attributes
    ----------
    tables : dict of (way, task) to DataFrame
        Predictions on the test rows of every seed, ``repeat`` counts the seeds.
    values : pandas.DataFrame
        task, way, repeat, metric, value, n (test rows), n_train (training rows with the label).
    fitted : dict of way to list of Fitted
        Of the last seed.
    """

    tables: dict[tuple[str, str], pd.DataFrame]
    values: pd.DataFrame
    fitted: dict[str, list[Fitted]]


def repeat(
    ways: Sequence[Way],
    pool: Pool,
    *,
    seeds: Sequence[int],
    settings: Settings,
    heads: Mapping,
    hidden: Mapping[str, float] | None = None,
    test: float = 0.25,
    validation: float = 0.15,
    **options,
) -> Repeats:
    """Train every way once a seed; a seed draws the split, the initial weights and the batches.

    Parameters
    ----------
    hidden : mapping of task to share, optional
        Labels that training and validation rows lose; test rows keep theirs.
    **options
        Further ones of `train`.
    """
    tables: dict[tuple[str, str], list] = {}
    rows, fitted = [], {}
    for number, seed in enumerate(seeds):
        parts = split(pool, seed=seed, test=test, validation=validation)
        seen = _hide(pool, parts, hidden or {}, seed)
        for way in ways:
            own = {"settings": replace(settings, seed=seed), "heads": {**heads, "seed": seed}}
            fitted[way.name] = train(way, seen, parts, **own, **options)
            for task, table in predict(fitted[way.name], pool, parts.test, repeat=number).items():
                tables.setdefault((way.name, task), []).append(table)
                n_train = int(seen.targets[task].known[parts.train].sum())
                rows.append((task, way.name, number, *_figure(table, pool.targets[task].kind), n_train))
    columns = ["task", "way", "repeat", "metric", "value", "n", "n_train"]
    joined = {key: pd.concat(made, ignore_index=True) for key, made in tables.items()}
    return Repeats(joined, pd.DataFrame(rows, columns=columns), fitted)


def _hide(pool: Pool, parts: Parts, hidden: Mapping[str, float], seed: int) -> Pool:
    rows = np.concatenate([parts.train, parts.validation])
    for task, share in hidden.items():
        pool = hide(pool, task, share=share, rows=rows, seed=seed)
    return pool


def _figure(table: pd.DataFrame, kind: str) -> tuple[str, float, int]:
    rows = metrics.rows_of(table, part=None)
    value = metrics.pick(HEADLINES[kind], rows.classes).value(rows)
    return HEADLINES[kind], float(value), len(table)


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the repeats of `Repeats.values`, by task and way."""
    grouped = values.groupby(["task", "metric", "way"], sort=False)
    return grouped.agg(
        mean=("value", "mean"), sd=("value", "std"), n=("n", "mean"), repeats=("value", "size")
    ).reset_index()


def compare(values: pd.DataFrame) -> pd.DataFrame:
    """Every pair of ways on each task: difference, corrected interval and p, Holm over the pairs of a task.

    Each repeat is another split and other initial weights, and the training rows of the repeats overlap, so
    the t test is Nadeau and Bengio's; a plain paired t would be too sure.

    Parameters
    ----------
    values : pandas.DataFrame
        Of `Repeats`; with one repeat there is nothing to compare, and the table is empty.
    """
    found = []
    for task, own in values.groupby("task", sort=False):
        wide = own.pivot_table(index="repeat", columns="way", values="value", sort=False)
        pairs = combinations(wide.columns, 2) if len(wide) > 1 else ()
        rows = [_pair(task, a, b, wide, own) for a, b in pairs]
        adjusted = significance.holm([row["p"] for row in rows])
        found += [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]
    columns = ["task", "metric", "first", "second", "difference", "low", "high", "p", "p_holm", "repeats"]
    return pd.DataFrame(found, columns=columns)


def _pair(task: str, a: str, b: str, wide: pd.DataFrame, own: pd.DataFrame) -> dict:
    sizes = {name: round(own[name].mean()) for name in ("n_train", "n")}
    result = significance.nadeau_bengio(
        (wide[a] - wide[b]).to_numpy(), n_train=sizes["n_train"], n_test=sizes["n"]
    )
    return {
        "task": task,
        "metric": own["metric"].iloc[0],
        "first": a,
        "second": b,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "repeats": len(wide),
    }
