"""Search hyper-parameters: Optuna's TPE proposes rounds of trials, whose MLPs are trained as one program.

Other classifiers' trials are trained one after another, or as tasks of a Ray cluster.

A round is written down before it is trained, and its trials stand in the journal file once all of them have
ended. A search that was killed trains the round that it was in again, from its checkpoint, with the same
answers. Several processes may work on one folder: each takes rounds of its own, and those of one that died.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import ray_cluster, tasks
from faceworkbook.files import disk_errors, hash_values
from faceworkbook.training import checkpoint, classifiers, logs, ray_trials, registry, spaces, trials
from faceworkbook.training.batched import TrainingError, check_rows
from faceworkbook.training.halving import Halving
from faceworkbook.training.trials import COMPLETE

CLUSTERS = ("", "ray")
NO_OPTUNA = "optuna is not installed; install the extra: pip install 'faceworkbook[search]'"


@dataclass(frozen=True)
class Plan:
    """How a search goes.

    Attributes
    ----------
    n_trials : int
        In all; a larger number goes on with a search that has ended.
    at_once : int
        Trials a round. MLPs of one shape in it are trained as one program; the next round learns from it.
    epochs, patience : int
        Of a trial, at most.
    choose_by : {'metric', 'loss'}
        See `faceworkbook.training.trials.Goal`.
    halving : Halving or None
        When bad trials stop; None: never.
    startup : int
        Trials drawn at random before TPE proposes.
    seed : int
        Of proposals, and of each trial's weights and batches.
    cluster : {'', 'ray'}
        'ray': each trial of a round is a task of a Ray cluster, see `faceworkbook.training.ray_trials`.
    """

    n_trials: int = 100
    at_once: int = 20
    epochs: int = 60
    patience: int = 8
    choose_by: str = "metric"
    halving: Halving | None = Halving()  # noqa: RUF009 - it is frozen
    startup: int = 20
    seed: int = 0
    cluster: str = ""

    def __post_init__(self):
        if self.cluster not in CLUSTERS:
            raise ValueError(f"cluster={self.cluster!r}; allowed are {list(CLUSTERS)}")
        for name in ("n_trials", "at_once", "epochs", "patience"):
            if int(getattr(self, name)) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed are whole numbers of 1 or more")


@dataclass(frozen=True, eq=False)
class Searched:
    """A search that has ended.

    Attributes
    ----------
    classifier : str
    table : pandas.DataFrame
        One row a trial in the order of the journal: number, state, value (of validation rows), rounds, epochs trained,
        figures of the best epoch, and a column a hyper-parameter.
    best : int
        Number of the best trial that was trained to its end.
    options : dict
        Of the best trial's fit: ``training.fit(classifier, ..., **options)`` with the same seed trains it again.
    column : str
        The figure that `value` is, such as 'val_accuracy'.
    importance : pandas.DataFrame
        hyper-parameter, importance (shares of 1; PED-ANOVA, Watanabe et al. 2023); empty for few trials.
    """

    classifier: str
    table: pd.DataFrame
    best: int
    options: dict
    column: str
    importance: pd.DataFrame

    @property
    def row(self) -> pd.Series:
        """The best trial's row of the table."""
        return self.table.set_index("number").loc[self.best]


def search(
    classifier,
    matrix,
    labels: tasks.Labels,
    split,
    *,
    space: spaces.Space | None = None,
    plan: Plan | None = None,
    folder: str | Path | None = None,
) -> Searched:
    """Search the settings with the best figure on validation rows.

    Parameters
    ----------
    classifier : {'mlp', 'residual_mlp', 'linear', 'kernel'}, or one of `faceworkbook.training.networks`
    matrix : ndarray of shape (n, d), float32, may be memory-mapped, or PictureRows
    labels : Labels of n faces
    split : Split
        Training rows teach, validation rows choose, test rows are not read. How good the best trial is, these
        validation rows cannot say: see `faceworkbook.experiments.search`.
    space : mapping of str to Range or Choice, optional
        `spaces.of` the classifier where None. It may name any option of the classifier's fit but those of the plan.
    plan : Plan, optional
    folder : path, optional
        For the journal and checkpoints. A search of other rows, labels, spaces or plans (but for `n_trials` and
        `cluster`) is another study in it.

    Returns
    -------
    Searched

    Raises
    ------
    TrainingError
        Rows, labels and split do not fit together, or every trial has diverged.
    SpaceError
        The space names what the plan settles for all trials, or what the classifier does not have.
    """
    require_optuna()
    from faceworkbook.training.studies import Study

    plan = plan or Plan()
    check_rows(matrix, labels, [split])
    own = trials.name_of(classifier)
    space = dict(spaces.of(own, labels.task) if space is None else space)
    _check_names(classifier, space)
    goal = trials.Goal(
        matrix, labels, split, plan.epochs, plan.patience, plan.choose_by, plan.halving, plan.seed
    )
    name = f"{own}-{_identity(goal, classifier, space, plan)}"
    train = ray_trials.train if plan.cluster else trials.train
    with ExitStack() as held:
        held.enter_context(disk_errors(folder))
        study = Study.open(folder, name, space, maximize=goal.sign == 1)
        while (round_ := study.take(plan)) is not None:
            with round_:
                if plan.cluster:
                    held.enter_context(ray_cluster.connected(ImportError, f"cluster={plan.cluster!r}"))
                drawn = [spaces.options(own, space, one) for one in round_.drawn]
                known = study.rungs(before=round_)
                outcomes = train(classifier, goal, drawn, known=known, folder=round_.folder)
                if round_.folder is not None:
                    logs.write_fits(round_.folder.parent, _histories(round_.number, outcomes))
                study.commit(round_, outcomes)
    return _result(classifier, goal, space, study)


def _check_names(classifier, space: spaces.Space) -> None:
    settled = {field.name for field in fields(Plan)}
    if given := sorted(settled & set(space)):
        raise spaces.SpaceError(
            f"the space names {given}, which all trials have alike; leave them out of the space and set them in the plan"
        )
    if not isinstance(classifier, str) or classifier in registry.MAKERS:
        return  # what these take is known once they are made
    drawn_one_by_one = spaces.LISTS.get(classifier, {})
    of_the_fit = classifiers.options_of(classifier) - set(drawn_one_by_one.values()) - settled
    allowed = of_the_fit | set(drawn_one_by_one)
    if unknown := sorted(set(space) - allowed):
        raise spaces.SpaceError(
            f"the space names {unknown}, which {classifier} does not have; allowed are {sorted(allowed)}"
        )


def _histories(number: int, outcomes: Sequence[trials.Outcome]) -> dict[str, pd.DataFrame]:
    """Return the histories of a round's trials by what TensorBoard calls them."""
    return {
        f"round-{number}-trial-{place}": one.history.drop(columns="model", errors="ignore")
        for place, one in enumerate(outcomes)
        if one.history is not None
    }


def require_optuna() -> None:
    """Raise ImportError with what to install where Optuna is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise ImportError(NO_OPTUNA)


def _identity(goal: trials.Goal, classifier, space: spaces.Space, plan: Plan) -> str:
    rows = np.concatenate([goal.split.train, goal.split.validation])
    groups = getattr(goal.labels, "groups", None)
    settled = {k: v for k, v in asdict(plan).items() if k not in ("n_trials", "cluster")}
    kind = classifier if isinstance(classifier, str) else {classifier.name: classifier.identity(rows)}
    record = {"classifier": kind, "space": {k: repr(v) for k, v in space.items()}, "plan": settled}
    return hash_values(
        record,
        np.asarray(goal.split.train),
        np.asarray(goal.split.validation),
        checkpoint.fingerprint_rows(goal.matrix, rows),
        goal.labels.task.to_record(),
        goal.labels.codes[rows],
        goal.labels.values[rows],
        *([] if groups is None else [groups[rows].tolist()]),
    )[:16]


def _result(classifier, goal: trials.Goal, space: spaces.Space, study) -> Searched:
    table = study.table()
    whole = table[(table["state"] == COMPLETE) & table["value"].notna()]
    if whole.empty:
        raise TrainingError(
            f"all {len(table)} trials have diverged (losses that are no numbers); lower the bounds of learning_rate"
        )
    order = whole.assign(value=-goal.sign * whole["value"]).sort_values(["value", "val_loss", "number"])
    best = int(order["number"].iloc[0])
    drawn = table.set_index("number").loc[best, list(space)]
    own = trials.name_of(classifier)
    options = spaces.options(own, space, {name: _native(drawn[name]) for name in space})
    if trials.has_epochs(classifier):
        options |= {"epochs": goal.epochs, "patience": goal.patience}
    return Searched(own, table, best, options, goal.column, study.importance())


def _native(value):
    return value.item() if isinstance(value, np.generic) else value
