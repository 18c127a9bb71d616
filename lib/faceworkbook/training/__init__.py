"""Fitting: any classifier, the linear reference, many folds at once.

The names below are imported when they are first used, so that ``from faceworkbook import training``
costs nothing.
"""

from __future__ import annotations

import importlib

_WHERE = {
    "Fitted": "fitted",
    "wrap": "fitted",
    "fit": "classifiers",
    "fit_estimator": "classifiers",
    "load": "classifiers",
    "moments": "batched",
    "options_for": "classifiers",
    "register": "registry",
    "targets_of": "classifiers",
    "fit_mlp": "single",
    "fit_linear": "single",
    "fit_kernel": "kernel",
    "fit_folds": "folds",
    "plan": "folds",
    "Settings": "batched",
    "TrainingError": "batched",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
