"""Do the planned people show what was planned? Simulated trials with the workbook's own tests.

    python -m benchmarks planned_power

Faces a person are lognormal, 1 to 60, or one. The values of a person's faces correlate: each is the person's own draw
with probability sqrt(correlation), else a new one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import figures, intervals, metrics, planning, predictions, significance
from faceworkbook.evaluation.planning import FacesOfPeople
from faceworkbook.evaluation.standard_errors import error_of_sum
from faceworkbook.tasks import Task

TASK = Task("label", classes=("a", "b"))


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Return the share of trials that show what was planned, one row a design."""
    trials = 100 if quick else 1000
    records = []
    for sizes, variation in (("one face each", False), ("1 to 60 faces", True)):
        for correlation in (0.1, 0.3) if variation else (0.0,):
            faces = _spread_of(variation, correlation)
            for power in (0.8, 0.9):
                for kind, goal in _goals(power).items():
                    people = planning.people_needed(goal, faces)
                    shown = [
                        _show(np.random.default_rng(seed), goal, people, faces) for seed in range(trials)
                    ]
                    low, high = intervals.wilson(sum(shown), trials)
                    records.append(
                        {"goal": kind, "faces a person": sizes, "correlation": correlation, "people": people}
                        | {
                            "power asked": power,
                            "power": np.mean(shown),
                            "low": float(low),
                            "high": float(high),
                        }
                    )
    table = pd.DataFrame(records)
    table.attrs["note"] = f"{trials} trials a row; low, high: Wilson"
    return {"planned power": table}


def _goals(power: float) -> dict[str, planning.Goal]:
    return {
        "difference of .03, .09 discordant": planning.difference_of_models(
            0.03, discordant=0.09, power=power
        ),
        "gap of .08 to .90, 30 % of people": planning.gap_of_groups(
            0.08, share=0.3, accuracy=0.9, power=power
        ),
    }


def _draw_sizes(rng: np.random.Generator, people: int, variation: bool) -> np.ndarray:
    if not variation:
        return np.ones(people, dtype=int)
    return np.clip(np.exp(rng.normal(np.log(3), 1.0, people)).round(), 1, 60).astype(int)


def _spread_of(variation: bool, correlation: float) -> FacesOfPeople:
    sizes = _draw_sizes(np.random.default_rng(0), 200_000, variation)
    return FacesOfPeople(float(sizes.mean()), float(sizes.std() / sizes.mean()), correlation)


def _draw(
    rng: np.random.Generator, who: np.ndarray, shares: dict[int, float], correlation: float
) -> np.ndarray:
    values, p = list(shares), list(shares.values())
    person, own = rng.choice(values, who.max() + 1, p=p), rng.choice(values, len(who), p=p)
    return np.where(rng.random(len(who)) < np.sqrt(correlation), person[who], own)


def _show(rng: np.random.Generator, goal: planning.Goal, people: int, faces: FacesOfPeople) -> bool:
    who = np.repeat(np.arange(people), _draw_sizes(rng, people, faces.mean > 1))
    if goal.kind == planning.DIFFERENCE:
        d = _draw(rng, who, {1: 0.06, -1: 0.03, 0: 0.91}, faces.correlation)
        made = error_of_sum((d - d.mean()) / len(d), who, np.arange(len(d)))
        return significance.paired_t(float(d.mean()), made, people).p < significance.ALPHA
    of_group = who < round(people * goal.shares[0])
    right = np.empty(len(who), dtype=int)
    for chosen, accuracy in ((of_group, 0.82), (~of_group, 0.9)):
        right[chosen] = _draw(rng, who[chosen], {1: accuracy, 0: 1 - accuracy}, faces.correlation)
    rows = metrics.rows_of(_table_of(who, right))
    first, second = (
        metrics.figure(metrics.ACCURACY, rows.take(chosen), n_units=rows.n_units)
        for chosen in (of_group, ~of_group)
    )
    return figures.p_of_difference(first, second) < significance.ALPHA


def _table_of(who: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    faces = pd.DataFrame(
        {
            "face_id": np.arange(len(who)).astype(str),
            "identity": pd.array([f"p{person}" for person in who], dtype="string"),
        }
    )
    share = np.where(right == 1, 0.9, 0.1)
    output = np.column_stack([share, 1 - share])
    return predictions.build(faces, TASK, truth=["a"] * len(who), output=output, split="test")
