"""Where the training of a stack stands, in memory and on disk."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from faceworkbook.files import hash_values
from faceworkbook.training import checkpoint
from faceworkbook.training.batched.data import Data
from faceworkbook.training.batched.settings import Settings

LISTS, SINGLE = ("params", "m", "v", "best"), ("alive", "steps", "best_loss", "best_epoch")


@dataclass
class State:
    """Where training stands; `m` and `v` are Adam's moments. Lists of arrays have a leading axis over `alive`, best ones over all models."""

    epoch: int
    alive: np.ndarray
    params: list[np.ndarray]
    m: list[np.ndarray]
    v: list[np.ndarray]
    steps: np.ndarray
    best: list[np.ndarray]
    best_loss: np.ndarray
    best_epoch: np.ndarray
    history: list[tuple]

    @classmethod
    def start(cls, data: Data, settings: Sequence[Settings], seeds) -> State:
        """Return the state before the first epoch."""
        params, n = _initial(data, settings[0].widths, seeds), len(seeds)
        return cls(
            epoch=0,
            alive=np.arange(n),
            params=params,
            m=[np.zeros_like(p) for p in params],
            v=[np.zeros_like(p) for p in params],
            steps=np.zeros(n, np.float32),
            best=[p.copy() for p in params],
            best_loss=np.full(n, np.inf),
            best_epoch=np.zeros(n, int),
            history=[],
        )

    def keep(self, going: np.ndarray) -> None:
        """Drop the models that have stopped."""
        self.alive, self.steps = self.alive[going], self.steps[going]
        for name in ("params", "m", "v"):
            setattr(self, name, [p[going] for p in getattr(self, name)])


def _initial(data: Data, widths: Sequence[int], seeds) -> list[np.ndarray]:
    """Kernels and biases by turns: Glorot uniform (Glorot and Bengio 2010) by each model's seed, or those to start from."""
    sizes = [data.x.shape[1], *widths, data.task.n_outputs]
    generators = [np.random.default_rng([seed, 0]) for seed in seeds]
    params = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = np.sqrt(6 / (fan_in + fan_out))
        drawn = [g.uniform(-limit, limit, (fan_in, fan_out)) for g in generators]
        params += [np.stack(drawn).astype(np.float32), np.zeros((len(seeds), 1, fan_out), np.float32)]
    return params if data.start is None else data.start.put(params, data.task)


class Checkpoint:
    """The state of one stack in a folder; does nothing without a folder.

    The file is named by what is trained on and how, so that other data or settings have another one.
    """

    def __init__(
        self, folder: str | Path | None, data: Data, settings: Sequence[Settings], seeds: Sequence[int]
    ):
        self._identity = {
            "data": data.fingerprint,
            "settings": [asdict(own) for own in settings],
            "seeds": list(seeds),
            "task": data.task.to_record(),
        }
        name = f"stack-{hash_values(self._identity)}.npz"
        self._path = None if folder is None else Path(folder) / name

    def save(self, state: State) -> None:
        """Write the state, beside and renamed."""
        if self._path is None:
            return
        arrays = {name: getattr(state, name) for name in LISTS}
        arrays["single"] = [getattr(state, name) for name in SINGLE]
        record = {"epoch": state.epoch, "history": state.history}
        checkpoint.write(self._path, identity=self._identity, arrays=arrays, record=record)

    def load(self, start: State) -> State:
        """Return the state that was saved, or `start` where none was.

        Raises
        ------
        CheckpointError
            The file is damaged.
        """
        if self._path is None or not self._path.exists():
            return start
        arrays, record = checkpoint.read(
            self._path, identity=self._identity, groups=(*LISTS, "single"), keys=("epoch", "history")
        )
        single = arrays.pop("single")
        alike = all(
            [a.shape[1:] for a in arrays[name]] == [p.shape[1:] for p in start.params] for name in LISTS
        )
        if not alike or len(single) != len(SINGLE) or len(single[2]) != len(start.best_loss):
            raise checkpoint.CheckpointError(
                f"{self._path}: its arrays do not fit these models; {checkpoint.ADVICE}"
            )
        history = [tuple(row) for row in record["history"]]
        return State(record["epoch"], history=history, **arrays, **dict(zip(SINGLE, single, strict=True)))
