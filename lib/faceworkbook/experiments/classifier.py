"""The experiment's own classifier: what an experiment fits again and again, by name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Classifier:
    """A classifier that can be fitted anew.

    Attributes
    ----------
    kind : str, callable, estimator or keras.Model
        See `faceworkbook.training.fit`.
    settings : mapping
        Its options.
    """

    kind: Any = "mlp"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fitted) -> Classifier:
        """Return the classifier that `fitted` (`faceworkbook.training.Fitted`) is one fit of."""
        return cls(fitted.classifier, fitted.options)

    def fit(self, matrix, labels, split, *, seed: int):
        """Fit on the training rows of `split`; validation rows decide when it stops."""
        from faceworkbook import training

        return training.fit(self.kind, matrix, labels, split, seed=seed, **self.settings)
