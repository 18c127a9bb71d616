"""The experiment's own classifier: what an experiment fits again and again, by name and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Classifier:
    """A classifier that can be fitted anew.

    Attributes
    ----------
    kind : {'mlp', 'linear'} or callable
        A callable takes ``(matrix, labels, split, seed=..., **settings)`` and returns an object with
        ``predict(matrix)``.
    settings : mapping
        Its options.
    """

    kind: str | Callable = "mlp"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fitted) -> Classifier:
        """Return the classifier that `fitted` (`faceworkbook.training.Fitted`) is one fit of."""
        from faceworkbook.training.batched import Settings

        saved = fitted.settings
        if saved["classifier"] != "mlp":
            names, kind = ("class_weights",), "linear"
        else:
            names, kind = tuple(one.name for one in fields(Settings)), "mlp"
        return cls(kind, {name: _frozen(saved[name]) for name in names if name in saved})

    def fit(self, matrix, labels, split, *, seed: int):
        """Fit on the training rows of `split`; validation rows decide when it stops."""
        from faceworkbook.training import single

        named = {"mlp": single.fit_mlp, "linear": single.fit_linear}
        fit = self.kind if callable(self.kind) else named[self.kind]
        return fit(matrix, labels, split, seed=seed, **self.settings)


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value
