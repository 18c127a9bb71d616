"""Keywords of version 0.1 that `predictions.build` still takes, with a warning."""

from __future__ import annotations

import warnings

from faceworkbook.tasks import CLASSES, NUMBER, Task


def read_former(former: dict, task, output, split):
    """Return task, output and split of the keywords ``part``, ``probabilities`` with ``classes``, or ``values``."""
    unknown = sorted(set(former) - {"part", "probabilities", "classes", "values"})
    if unknown:
        raise TypeError(
            f"build() got unexpected keywords {unknown}; it takes task, truth, output, split, repeat, fold"
        )
    warnings.warn(
        "part, probabilities, classes and values are now task, output and split",
        DeprecationWarning,
        stacklevel=3,
    )
    if "values" in former:
        return task or Task("label", NUMBER), former["values"], former.get("part", split)
    named = task or Task("label", CLASSES, tuple(former.get("classes", ())))
    return named, former.get("probabilities", output), former.get("part", split)
