"""One Optuna study in a journal file: rounds of trials that processes take, train and commit."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import numpy as np
import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from faceworkbook import files
from faceworkbook.training import spaces
from faceworkbook.training.checkpoint import CheckpointError
from faceworkbook.training.trials import COMPLETE, Outcome

JOURNAL = "journal.log"
FEWEST_FOR_IMPORTANCE = 10


@dataclass
class Round:
    """Trials that one process trains.

    Attributes
    ----------
    number : int
    drawn : list of dict
        Hyper-parameters of each trial, as Optuna has them.
    folder : Path or None
        For checkpoints.
    """

    number: int
    drawn: list[dict]
    folder: Path | None = None
    lock: filelock.BaseFileLock | None = None
    seconds: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *failure) -> None:
        if self.lock is not None:
            self.lock.release()


class _Lock:
    """A lock that the system takes away from a process that dies."""

    def __init__(self, path: Path):
        self._lock = filelock.FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class Study:
    """A study, and the rounds that are being trained."""

    def __init__(self, study: optuna.Study, space: spaces.Space, folder: Path | None):
        self._study, self._folder = study, folder
        self._distributions = {name: one.distribution() for name, one in space.items()}

    @classmethod
    def open(cls, folder: str | Path | None, name: str, space: spaces.Space, *, maximize: bool) -> Study:
        """Open the study `name` in a folder, or one in memory where there is none."""
        storage, place = None, None
        if folder is not None:
            place = Path(folder) / name
            place.mkdir(parents=True, exist_ok=True)
            storage = _storage(place / JOURNAL)
        with _quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
            )
        return cls(study, space, place)

    def take(self, plan) -> Round | None:
        """Take a round that a dead process has left, else a new one; None once all trials have ended.

        Waits for rounds of other processes, in case that they die.
        """
        while True:
            with self._asking():
                left = self._left_rounds()
                for number, record in left.items():
                    if (taken := self._hold(number, record["drawn"])) is not None:
                        return taken
                there = sum(len(record["drawn"]) for record in left.values())
                ended = self._ended()
                there += sum(self._round_of(t) not in left for t in ended)
                if there < plan.n_trials:
                    return self._draw(plan, min(plan.at_once, plan.n_trials - there), left)
                if not left:
                    return None
            time.sleep(0.5)

    def rungs(self, *, before: Round) -> dict[int, list[float]]:
        """Return the values at which trials of other rounds were judged, by epoch."""
        by_epoch: dict[int, list[float]] = {}
        for trial in self._ended():
            if self._round_of(trial) != before.number:
                for epoch, value in trial.intermediate_values.items():
                    by_epoch.setdefault(int(epoch), []).append(value)
        return by_epoch

    def commit(self, round_: Round, outcomes: Sequence[Outcome]) -> None:
        """Write the outcomes of a round into the journal; those that are there already are passed over."""
        with self._asking():
            there = {t.user_attrs["place"] for t in self._ended() if self._round_of(t) == round_.number}
            for place, outcome in enumerate(outcomes):
                if place not in there:
                    self._study.add_trial(self._trial(round_, place, outcome))
            if self._folder is not None:
                self._file(round_.number).unlink(missing_ok=True)
                shutil.rmtree(round_.folder, ignore_errors=True)

    def table(self) -> pd.DataFrame:
        """Return one row a trial; see `faceworkbook.training.search.Searched`."""
        rows = [
            {
                "number": trial.number,
                "state": trial.user_attrs["state"],
                "value": trial.user_attrs["value"] if trial.user_attrs["value"] is not None else np.nan,
                "round": self._round_of(trial),
                **trial.user_attrs["figures"],
                **trial.params,
            }
            for trial in self._ended()
        ]
        return pd.DataFrame(rows)

    def importance(self) -> pd.DataFrame:
        """Return the importance of each hyper-parameter for being among the better trials."""
        columns = ["hyper-parameter", "importance"]
        whole = [t for t in self._ended() if t.state == TrialState.COMPLETE]
        values = {t.value for t in whole}
        if len(whole) < FEWEST_FOR_IMPORTANCE or len(values) < 2:
            return pd.DataFrame(columns=columns)
        with _quiet():
            shares = optuna.importance.get_param_importances(
                self._study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
        return pd.DataFrame(list(shares.items()), columns=columns)

    # ------------------------------------------------------------------ rounds

    def _draw(self, plan, size: int, left: Mapping[int, dict]) -> Round:
        """Draw a round from what has ended and from what others train now."""
        ended = self._ended()
        number = max([-1, *left, *map(self._round_of, ended)]) + 1
        with _quiet():
            memory = optuna.create_study(direction=self._study.direction.name.lower())
            memory.add_trials(ended)
            memory.add_trials([self._running(drawn) for record in left.values() for drawn in record["drawn"]])
            drawn = []
            for place in range(size):
                seed = np.random.SeedSequence([plan.seed, number, place]).generate_state(1)[0]
                memory.sampler = optuna.samplers.TPESampler(
                    seed=int(seed), n_startup_trials=plan.startup, multivariate=True, constant_liar=True
                )
                drawn.append(memory.ask(self._distributions).params)
        if self._folder is not None:
            files.write_json(self._file(number), {"drawn": drawn})
        held = self._hold(number, drawn)
        assert held is not None  # nobody else knows of it yet
        return held

    def _running(self, drawn: dict):
        return create_trial(state=TrialState.RUNNING, params=drawn, distributions=self._distributions)

    def _trial(self, round_: Round, place: int, outcome: Outcome):
        state = TrialState.COMPLETE if outcome.state == COMPLETE else TrialState.PRUNED
        known = np.isfinite(outcome.value)
        return create_trial(
            state=state,
            value=outcome.value if state == TrialState.COMPLETE else None,
            params=round_.drawn[place],
            distributions=self._distributions,
            intermediate_values=dict(outcome.rungs),
            user_attrs={
                "round": round_.number,
                "place": place,
                "state": outcome.state,
                "value": float(outcome.value) if known else None,
                "figures": dict(outcome.figures),
            },
        )

    def _hold(self, number: int, drawn: list[dict]) -> Round | None:
        if self._folder is None:
            return Round(number, drawn)
        lock = filelock.FileLock(self._folder / f"round-{number}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return Round(number, drawn, self._folder / f"round-{number}", lock)

    def _left_rounds(self) -> dict[int, dict]:
        if self._folder is None:
            return {}
        paths = {int(path.stem.split("-")[1]): path for path in self._folder.glob("round-*.json")}
        advice = "delete it; its trials are drawn anew"
        return {n: files.read_json(paths[n], CheckpointError, advice=advice) for n in sorted(paths)}

    def _file(self, number: int) -> Path:
        return self._folder / f"round-{number}.json"

    def _ended(self) -> list:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    @staticmethod
    def _round_of(trial) -> int:
        return trial.user_attrs["round"]

    @contextlib.contextmanager
    def _asking(self):
        """One process at a time."""
        if self._folder is None:
            yield
        else:
            with filelock.FileLock(self._folder / "asking.lock"):
                yield


def _storage(path: Path):
    """Open the journal; a last line that a killed process has not finished is cut off."""
    with filelock.FileLock(path.with_name("asking.lock")):
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            files.write_beside(path, whole)
        try:
            with _quiet():
                backend = JournalFileBackend(str(path), lock_obj=_Lock(path.with_name("journal.lock")))
                return optuna.storages.JournalStorage(backend)
        except (json.JSONDecodeError, KeyError, UnicodeDecodeError, ValueError) as error:
            raise CheckpointError(f"{path} is no whole journal of a search ({error}); delete it") from error


@contextlib.contextmanager
def _quiet():
    """Keep Optuna's log and its notices of experimental features out of notebooks."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
