"""The best classifier on frozen descriptors: what a network that was trained on the pictures has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from faceworkbook import tasks, training
from faceworkbook.descriptors import Descriptors, Joined
from faceworkbook.evaluation import comparison, predictions
from faceworkbook.training import balancing

# Of 06_cross_validation; the defaults of `fit_mlp` are for small descriptors.
MLP = {"widths": (64,), "input_dropout": 0.3}


@dataclass(frozen=True, eq=False)
class FrozenHeads:
    """Classifiers of one label on the same descriptors, split and validation rows.

    Attributes
    ----------
    predicted : dict of str to pandas.DataFrame
        By classifier; predictions of validation and test rows.
    judged : pandas.DataFrame
        See `comparison.choose`.
    """

    predicted: dict[str, pd.DataFrame]
    judged: pd.DataFrame

    @property
    def chosen(self) -> str:
        """The classifier that reads the validation rows best."""
        return str(self.judged.loc[self.judged["chosen"], "model"].iloc[0])

    @property
    def best(self) -> pd.DataFrame:
        """Predictions of the chosen one."""
        return self.predicted[self.chosen]


def fit(
    described: Descriptors | Joined,
    faces: pd.DataFrame,
    labels: Mapping[str, tasks.Labels],
    split,
    *,
    classifiers: Sequence[str],
    balance: str = balancing.NONE,
    seed: int = 0,
) -> dict[str, FrozenHeads]:
    """Fit each classifier for each label, and choose one a label on the validation rows.

    Parameters
    ----------
    described : Descriptors or Joined
        Of `faces`, row by row; blocks side by side are offered to a classifier that chooses among them.
    faces : pandas.DataFrame
    labels : mapping of str to Labels
    split : Split
    classifiers : sequence of str
        Names of `training.fit`; each fits by its own defaults.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        Where it can even out a label; see `balancing.fitting`.
    seed : int
    """
    dims = tuple(block.dim for block in described.blocks) if isinstance(described, Joined) else ()
    matrix, made = described.matrix, {}
    for label, own in labels.items():
        settings = {"balance": balancing.fitting(own, balance), "blocks": dims}
        fitted = {
            name: training.fit(
                name,
                matrix,
                own,
                split,
                seed=seed,
                **training.options_for(name, settings | (MLP if name == "mlp" else {})),
            )
            for name in classifiers
        }
        predicted = {
            name: predictions.predict(one, matrix, faces, own, split) for name, one in fitted.items()
        }
        judged = comparison.choose(predicted, metric=own.task.headline, seed=seed)
        made[label] = FrozenHeads(predicted, judged)
    return made
