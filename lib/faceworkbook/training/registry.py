"""Names of classifiers: those that are there, and those that a user registers; read without importing Keras."""

from __future__ import annotations

from collections.abc import Callable

BUILT_IN = ("kernel", "linear", "mlp", "residual_mlp")
NETWORKS = ("multitask", "fine_tune")  # those of `networks`, which read several labels, or pictures
MAKERS: dict[str, Callable] = {}


def register(name: str, make: Callable) -> None:
    """Make a classifier known by `name`, in this process.

    Parameters
    ----------
    name : str
    make : callable
        ``make(task, seed)`` returns an unfitted scikit-learn estimator, or a compiled Keras model.
    """
    if not name.isidentifier():
        raise ValueError(f"name={name!r}; a classifier's name has letters, digits and underscores")
    MAKERS[name] = make


def names() -> list[str]:
    """Return the names that `faceworkbook.training.fit` knows."""
    return sorted({*BUILT_IN, *MAKERS})
