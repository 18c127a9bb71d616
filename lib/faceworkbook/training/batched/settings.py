"""Hyper-parameters of the MLPs that are trained as one program."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from faceworkbook import tasks
from faceworkbook.models import mlp, ordinal
from faceworkbook.models.multitask import DTYPE_POLICIES, SHARED, Head
from faceworkbook.training import balancing
from faceworkbook.training.param_groups import check_names

ORDINAL_LOSSES = tuple(name for name in ordinal.LOSSES if name not in (ordinal.CORAL, ordinal.OR_CNN))


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
    lr_multipliers : mapping of str to float, or pairs of them
        Of the learning rate by parameter group: 'shared' (hidden layers) and the task's name (the output layer); 1
        where a group is not named, 0 never moves it.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        How the training rows are evened out, see `faceworkbook.training.balancing`.
    ordinal_loss : {'cross_entropy', 'dldl_v2', 'sord', 'mean_variance'}
        Of ordered classes, such as single years; see `faceworkbook.training.ordinal_losses`.
    dtype_policy : {'float32', 'mixed_bfloat16'}
        What matrix products are computed in; weights, sums and losses stay in float32. 'mixed_bfloat16' gained
        nets of 16 units nothing, on an H100 or on a processor.
    """

    widths: tuple[int, ...] = (16, 16)
    dropout: float = 0.4
    input_dropout: float = 0.0
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gamma: float = 1.0
    lr_multipliers: tuple[tuple[str, float], ...] = ()
    balance: str = "none"
    patience: int = 8
    ordinal_loss: str = ordinal.CROSS_ENTROPY
    dtype_policy: str = "float32"

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
        pairs = {str(name): float(factor) for name, factor in dict(self.lr_multipliers).items()}
        object.__setattr__(self, "lr_multipliers", tuple(sorted(pairs.items())))
        if any(factor < 0 for factor in pairs.values()):
            raise ValueError(f"lr_multipliers={pairs}; allowed are numbers of 0 or more")
        balancing.check(self.balance)
        if self.dtype_policy not in DTYPE_POLICIES:
            raise ValueError(f"dtype_policy={self.dtype_policy!r}; allowed are {list(DTYPE_POLICIES)}")
        if self.ordinal_loss not in ORDINAL_LOSSES:
            raise ValueError(
                f"ordinal_loss={self.ordinal_loss!r}; an MLP takes {list(ORDINAL_LOSSES)}, and 'coral' and 'or_cnn', which have "
                "last layers of their own, are trained by 09_multitask, 10_fine_tune and 19_picture_tasks"
            )

    @property
    def shape(self) -> tuple:
        """What models of one program have in common: layers, faces a step, rates of layers, loss, and precision."""
        return self.widths, self.batch_size, self.lr_multipliers, self.ordinal_loss, self.dtype_policy

    def ordinal_head(self, task: tasks.Task) -> Head | None:
        """Return the head whose loss knows an order; None where it is the task's own.

        Raises
        ------
        TrainingError
            The task has no order, or two classes.
        """
        if self.ordinal_loss == ordinal.CROSS_ENTROPY:
            return None
        if task.is_binary:
            raise TrainingError(
                f"ordinal_loss={self.ordinal_loss!r} is for three ordered classes and more; '{task.name}' has two, "
                f"{list(task.classes)}; leave it out"
            )
        return Head(task, loss=self.ordinal_loss)

    def multipliers(self, task: tasks.Task) -> tuple[float, ...]:
        """Return the multiplier of the learning rate of each layer, the output layer last."""
        given = dict(self.lr_multipliers)
        check_names(given, allowed=[SHARED, task.name], parameter="lr_multipliers")
        return (*(given.get(SHARED, 1.0) for _ in self.widths), given.get(task.name, 1.0))


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
