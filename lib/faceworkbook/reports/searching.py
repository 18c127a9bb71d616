"""``searched_on``: which faces chose the settings that a step was given, as 14_search writes it into ``best.yaml``.

Settings that were chosen on faces which a step tests flatter its figures, and the parameters alone do not say so.
"""

from __future__ import annotations

import re

from faceworkbook.reports.rules import texts

RULE = texts(
    r"(\w+(\+\w+)* on [0-9a-f]{32})?", "what 14_search writes into best.yaml: 'LABEL on FINGERPRINT'"
)


def name(label: str, data: str) -> str:
    """Return what `describe` reads: the label, and the fingerprint of faces, pictures, labels and split."""
    return f"{label} on {data}"


def describe(searched_on: str, *, labels: list[str], data: str = "", folds: bool = False) -> str:
    """Return a sentence on the faces that chose a step's settings.

    Parameters
    ----------
    searched_on : str
        The step's parameter.
    labels : list of str
        What the step learns.
    data : str
        Fingerprint of the step's own data and split; empty where it makes splits of its own.
    folds : bool
        Whether every face is tested, in one fold or another.

    Raises
    ------
    ValueError
        A text that `name` has not made.
    """
    if not searched_on:
        return "The settings are as given; no search chose them."
    if complaint := RULE(searched_on):
        raise ValueError(f"searched_on={searched_on!r}: {complaint}")
    label, there = re.split(" on ", searched_on)
    chosen = f"The settings were chosen by 14_search for '{label}'"
    other = "" if label in labels else f" (this step learns {', '.join(labels)})"
    if there != data:
        return (
            f"{chosen}{other} on faces or a split other than these: faces that are tested here may have chosen them, which "
            "flatters the figures. 14_search on these faces and this split does without that."
        )
    if folds:
        return (
            f"{chosen}{other} on validation rows of these very faces, and each face is tested here, those among them: that "
            "flatters the figures. The outer folds of 14_search do without that."
        )
    return f"{chosen}{other} on the validation rows of this split; its test rows took no part."
