"""Which rows stand in which batch, and which tasks' labels count there: joint and in turn.

A plan is asked for each epoch with a generator seeded for that epoch, so an epoch's batches depend on the
seed and the epoch's number alone; a resumed run draws what the uninterrupted one drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceworkbook.files import hash_values

MIXINGS = ("proportional", "balanced", "temperature")
TURNS = ("epoch", "batch")


@dataclass(frozen=True)
class Stage:
    """Rows that are trained together, and the tasks whose labels count while they are.

    Attributes
    ----------
    name : str
    rows : ndarray of int
    tasks : tuple of str
    """

    name: str
    rows: np.ndarray
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Rows of one step and the tasks whose labels count in it."""

    rows: np.ndarray
    tasks: tuple[str, ...]


def _check(stages: tuple[Stage, ...], batch_size: int) -> None:
    if not stages:
        raise ValueError("a plan needs at least one stage; none was given")
    empty = [stage.name for stage in stages if not len(stage.rows)]
    if empty:
        raise ValueError(f"stages {empty} have no training rows; leave them out or look at the split")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; allowed is 1 or more")


@dataclass(frozen=True)
class Joint:
    """Every batch mixes the stages; every known label counts.

    Attributes
    ----------
    stages : tuple of Stage
        One a data set.
    batch_size : int
    mixing : {'proportional', 'balanced', 'temperature'}
        'proportional': each batch holds the stages in proportion to their rows, and an epoch takes each row
        once.  'balanced': each batch holds as many rows of each stage; an epoch is as long, so rows of a
        small stage come several times and a large stage is not gone through.  'temperature': between the two, in
        proportion to rows ** (1 / temperature) (Raffel et al. 2020, arXiv 1910.10683, section 3.5.2).
    temperature : float, 1 or more
        1 is 'proportional'; the higher, the nearer to 'balanced'.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    mixing: str = "proportional"
    temperature: float = 2.0

    def __post_init__(self):
        _check(self.stages, self.batch_size)
        if self.mixing not in MIXINGS:
            raise ValueError(f"mixing={self.mixing!r}; allowed are {list(MIXINGS)}")
        if not self.temperature >= 1:
            raise ValueError(f"temperature={self.temperature} of the mixing; allowed is 1 or more")

    def current(self, epoch: int) -> tuple[Stage, ...]:
        """Return the stages of `epoch`."""
        tasks = tuple(dict.fromkeys(task for stage in self.stages for task in stage.tasks))
        return tuple(Stage(stage.name, stage.rows, tasks) for stage in self.stages)

    def n_batches(self, epoch: int) -> int:
        """Return the number of batches of `epoch`."""
        return _n_cuts(sum(len(stage.rows) for stage in self.stages), self.batch_size)

    def identity(self) -> dict:
        """Return what the plan is known by, its rows by content."""
        return _identity(self)

    def batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of `epoch`."""
        stages = self.current(epoch)
        groups = [stage.rows for stage in stages]
        rows = mix(groups, mixing=self.mixing, temperature=self.temperature, rng=rng)
        for chosen in cut(rows, self.batch_size):
            yield Batch(chosen, stages[0].tasks)


@dataclass(frozen=True)
class Alternating:
    """The stages take turns: whole epochs, or batches; only the stage's own tasks have labels.

    Attributes
    ----------
    stages : tuple of Stage
    batch_size : int
    turn : {'epoch', 'batch'}
        'epoch': epoch e belongs to stage e modulo their number.  'batch': each epoch goes through all
        stages, one batch of each in turn, until each is used up.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    turn: str = "epoch"

    def __post_init__(self):
        _check(self.stages, self.batch_size)
        if self.turn not in TURNS:
            raise ValueError(f"turn={self.turn!r}; allowed are {list(TURNS)}")

    def current(self, epoch: int) -> tuple[Stage, ...]:
        """Return the stages of `epoch`."""
        return self.stages if self.turn == "batch" else (self.stages[epoch % len(self.stages)],)

    def n_batches(self, epoch: int) -> int:
        """Return the number of batches of `epoch`."""
        return sum(_n_cuts(len(stage.rows), self.batch_size) for stage in self.current(epoch))

    def identity(self) -> dict:
        """Return what the plan is known by, its rows by content."""
        return _identity(self)

    def batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of `epoch`."""
        queues = [
            [Batch(chosen, stage.tasks) for chosen in cut(rng.permutation(stage.rows), self.batch_size)]
            for stage in self.current(epoch)
        ]
        for position in range(max(map(len, queues))):
            yield from (queue[position] for queue in queues if position < len(queue))


def _identity(plan: Joint | Alternating) -> dict:
    stages = [[stage.name, list(stage.tasks), hash_values(np.asarray(stage.rows))] for stage in plan.stages]
    others = {key: value for key, value in vars(plan).items() if key != "stages"}
    return {"kind": type(plan).__name__, "stages": stages, **others}


def cut(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut rows into batches of nearly equal length, none longer than `batch_size`, no row dropped."""
    return np.array_split(rows, _n_cuts(len(rows), batch_size))


def _n_cuts(n_rows: int, batch_size: int) -> int:
    return max(1, -(-n_rows // batch_size))


def shuffle(rows: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Cut the rows of an epoch into batches, shuffled by seed and epoch alone."""
    return cut(np.random.default_rng([seed, epoch]).permutation(rows), batch_size)


def mix(
    groups: list[np.ndarray], *, mixing: str, rng: np.random.Generator, temperature: float = 2.0
) -> np.ndarray:
    """Return one order of rows in which every stretch holds the groups evenly.

    Parameters
    ----------
    groups : list of ndarray of int
    mixing : {'proportional', 'balanced', 'temperature'}
    temperature : float, 1 or more
        Of 'temperature', see `Joint`.

    Returns
    -------
    ndarray of int
        As many rows as the groups have together.  A stretch of b rows holds of each group its share of b, to within
        as many rows as there are groups.
    """
    exponents = {"proportional": 1.0, "balanced": 0.0, "temperature": 1 / temperature}
    shares = _divide(list(map(len, groups)), exponents[mixing])
    drawn = [_draw(group, share, rng) for group, share in zip(groups, shares, strict=True)]
    places = [(np.arange(len(rows)) + rng.random()) / max(len(rows), 1) for rows in drawn]
    return np.concatenate(drawn)[np.argsort(np.concatenate(places), kind="stable")]


def _divide(sizes: list[int], exponent: float) -> list[int]:
    """Divide sum(sizes) rows in proportion to size ** exponent, by the largest remainders."""
    if exponent == 1:
        return sizes
    weights = np.array(sizes, float) ** exponent
    wanted = sum(sizes) * weights / weights.sum()
    shares = np.floor(wanted).astype(int)
    shares[np.argsort(shares - wanted, kind="stable")[: sum(sizes) - shares.sum()]] += 1
    return shares.tolist()


def _draw(rows: np.ndarray, share: int, rng: np.random.Generator) -> np.ndarray:
    # Fresh permutations one after the other: no row comes a second time before all have come once.
    rounds = -(-share // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:share]
