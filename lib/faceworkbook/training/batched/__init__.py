"""Many MLPs trained as one program.

All models share one copy of the descriptors and one shape; their weights are stacked along a
leading axis, so that a step of all of them is one gather and a few batched matrix products instead
of many small ones, and an epoch is one call. What a model learns depends on its own rows, seed and
settings alone: trained in company or by itself, it gets the same weights (up to rounding).

Each model has its own standardisation, early stopping and best epoch.
"""

from faceworkbook.training.batched.data import check_rows, moments
from faceworkbook.training.batched.epochs import Training, fit, fit_from
from faceworkbook.training.batched.settings import (
    Settings,
    TrainingError,
    defaults,
    with_settings,
)
from faceworkbook.training.batched.stack import Stack
from faceworkbook.training.batched.starting import Start

__all__ = [
    "Settings",
    "Stack",
    "Start",
    "Training",
    "TrainingError",
    "check_rows",
    "defaults",
    "fit",
    "fit_from",
    "moments",
    "with_settings",
]
