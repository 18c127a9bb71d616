"""Simulated predictions on faces as they come: people with unequal numbers of pictures, whose errors go together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from faceworkbook.evaluation.metrics import Rows
from faceworkbook.tasks import NUMBER, Task

SIZES = json.loads((Path(__file__).parent / "cluster_sizes.json").read_text())
# Share of the variance of a face's score that is its person's own; see People.
PERSON = 0.35


@dataclass(frozen=True)
class People:
    """How many people there are, and how many pictures each of them has.

    Attributes
    ----------
    sizes : callable
        From a random generator to pictures a person, ndarray of shape (n_people,).
    """

    name: str
    sizes: Callable[[np.random.Generator], np.ndarray]


def equal(people: int, pictures: int = 1) -> People:
    """People with one number of pictures; with one picture each, faces are independent."""
    name = f"{people:,} independent faces" if pictures == 1 else f"{people} people x {pictures}"
    return People(name, lambda rng: np.full(people, pictures))


def lognormal(people: int) -> People:
    """People with 1 to 300 pictures, 5 in the median and 11 on average."""
    return People(
        f"{people} people, 1 to 300 pictures",
        lambda rng: np.clip(np.round(rng.lognormal(np.log(5), 1.26, people)), 1, 300).astype(int),
    )


def as_in(dataset: str, *, people: int = 0) -> People:
    """People as in the development subset of a data set, all or `people` that are drawn anew."""
    sizes = np.repeat(*np.array(SIZES[dataset]).T)
    if not people:
        return People(f"{dataset}: {len(sizes):,} people", lambda rng: sizes)
    return People(f"{dataset}: {people:,} people drawn", lambda rng: rng.choice(sizes, people))


@dataclass(frozen=True)
class Classes:
    """A classifier of two or more classes: logits with a person's own part.

    Attributes
    ----------
    signal : float
        How far the true class's logit is raised.
    mix : tuple of float
        Share of each class among the people.
    models : int
        How many equally good models.
    """

    name: str
    signal: float
    mix: tuple[float, ...] = (0.5, 0.5)
    person: float = PERSON
    models: int = 1

    def draw(self, rng: np.random.Generator, sizes: np.ndarray) -> list[Rows]:
        """Return the rows of each model."""
        k, who = len(self.mix), np.repeat(np.arange(len(sizes)), sizes)
        truth = rng.choice(k, len(sizes), p=self.mix)[who]
        shared = rng.normal(size=(len(sizes), k))[who] * np.sqrt(self.person / 2)
        task = Task("label", classes=tuple(f"c{i}" for i in range(k)))
        made = []
        for _ in range(self.models):
            own = rng.normal(size=(len(sizes), k))[who] * np.sqrt(self.person / 2)
            logits = shared + own + rng.normal(size=(len(who), k)) * np.sqrt(1 - self.person)
            logits[np.arange(len(who)), truth] += self.signal
            share = np.exp(1.5 * (logits - logits.max(axis=1, keepdims=True)))
            share /= share.sum(axis=1, keepdims=True)
            made.append(rows_from(task, who, truth, logits.argmax(axis=1), share))
        return made


@dataclass(frozen=True)
class Numbers:
    """Ages with errors that a person's faces partly share: normal, or Laplace with a spread of the person's own."""

    name: str
    heavy: bool = False
    person: float = PERSON

    def draw(self, rng: np.random.Generator, sizes: np.ndarray) -> list[Rows]:
        """Return the rows of one model."""
        who = np.repeat(np.arange(len(sizes)), sizes)
        own = rng.normal(size=len(sizes))[who] * np.sqrt(self.person)
        noise = rng.normal(size=len(who)) * np.sqrt(1 - self.person)
        error = rng.laplace(size=len(who)) * 4 * np.exp(own / 2) if self.heavy else 1 + 6 * (own + noise)
        truth = rng.uniform(0, 90, len(sizes))[who]
        return [
            rows_from(Task("age", NUMBER, unit="years"), who, truth, truth + error, np.zeros((len(who), 0)))
        ]


def rows_from(task: Task, who: np.ndarray, truth, predicted, share) -> Rows:
    """Return the rows of one table of predictions without the table."""
    faces = np.arange(len(who))
    return Rows(
        task=task,
        face_id=faces,
        units=who,
        pictures=faces,
        by_identity=len(np.unique(who)) < len(who),
        truth=truth,
        predicted=predicted,
        probabilities=share,
    )


def signal_for(accuracy: float) -> float:
    """Return the signal of two classes that gives this accuracy."""
    return float(stats.norm.ppf(accuracy) * np.sqrt(2))


TWO_CLASSES = tuple(Classes(f"2 classes, accuracy {a}", signal_for(a)) for a in (0.80, 0.955, 0.99))
CLASSIFIERS = (
    *TWO_CLASSES,
    Classes("2 classes, 20 : 80", signal_for(0.92), mix=(0.8, 0.2)),
    Classes("5 classes", 2.0, mix=(0.2,) * 5),
)
NUMBERS = (Numbers("ages"), Numbers("ages, gross errors", heavy=True))
PEOPLE = (
    as_in("adience"), as_in("agegender_cleaned", people=1000), as_in("fgnet"), lognormal(140), lognormal(300),
    equal(80, 4), equal(30, 10), equal(30), equal(300), equal(3000),
)  # fmt: skip
FEW_PEOPLE = (lognormal(60), lognormal(30), as_in("adience", people=30), equal(12, 10), equal(12))
