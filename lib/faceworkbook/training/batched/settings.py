"""Hyper-parameters of the MLPs that are trained as one program."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from faceworkbook import tasks
from faceworkbook.models import mlp
from faceworkbook.training import balancing


class TrainingError(ValueError):
    """Rows, labels or settings that nothing can be learned from; the text says what to change."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of an MLP.

    Attributes
    ----------
    widths : tuple of int
        Hidden layers.
    dropout, input_dropout : float, 0..1
        Share of hidden units, and of descriptor directions, that are dropped in training.
    epochs, patience : int
        At most so many epochs; stop after `patience` epochs without a lower validation loss.
    batch_size : int
    learning_rate, weight_decay : float
    gamma : float, above 0 and up to 1
        The learning rate is multiplied by it after each epoch.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        How the training rows are evened out, see `faceworkbook.training.balancing`.
    """

    widths: tuple[int, ...] = (16, 16)
    dropout: float = 0.4
    input_dropout: float = 0.0
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gamma: float = 1.0
    balance: str = "none"
    patience: int = 8

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(int(w) for w in self.widths))
        mlp.check(widths=self.widths, dropout=self.dropout)
        if not 0 <= self.input_dropout < 1:
            raise ValueError(f"input_dropout={self.input_dropout}; allowed is 0 <= input_dropout < 1")
        for name in ("epochs", "batch_size", "patience"):
            if int(getattr(self, name)) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed are whole numbers of 1 or more")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"learning_rate={self.learning_rate}, weight_decay={self.weight_decay}; "
                "allowed are numbers above 0 and of 0 or more"
            )
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}; allowed is 0 < gamma <= 1 (factor of each epoch)")
        balancing.check(self.balance)

    @property
    def shape(self) -> tuple:
        """What models of one program have in common: layers, and faces a step."""
        return self.widths, self.batch_size


def defaults(task: tasks.Task) -> Settings:
    """Two hidden layers of 16 for classes; for numbers little hidden dropout and more of the input.

    On a number, 40 % dropout of 16 units costs a year and more of the mean error.
    """
    return Settings(dropout=0.1, input_dropout=0.3) if task.is_number else Settings()


def with_settings(settings: Settings, **changes) -> Settings:
    """Return `settings` with some of them changed; ValueError for one that does not exist."""
    allowed = sorted(asdict(settings))
    wrong = sorted(set(changes) - set(allowed))
    if wrong:
        raise ValueError(f"no such setting: {wrong}; allowed are {allowed}")
    return replace(settings, **changes)
