"""Checks of values that come from a predictor's file: nobody knows who wrote it."""

from __future__ import annotations

import math

MAX_TEXT = 2000


class PredictorError(ValueError):
    """A predictor's folder that is missing, damaged or of another version, or input that it cannot take."""


def check_number(value, name: str, *, low: float, high: float) -> float:
    """Return `value` where it is a finite number in low..high, else raise `PredictorError`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number of thousands of digits has no float: the comparison comes first.
    if not is_number or not low <= value <= high or not math.isfinite(value):
        raise PredictorError(f"{name}={shorten(value)}; allowed are numbers of {low:g} to {high:g}")
    return float(value)


def check_text(value, name: str, *, length: int = MAX_TEXT) -> str:
    """Return `value` where it is a text of at most `length` characters."""
    if not isinstance(value, str) or len(value) > length:
        raise PredictorError(f"{name}={shorten(value)}; allowed are texts of at most {length:,} characters")
    return value


def check_kind(value, kind: type, name: str):
    """Return `value` where it is of `kind` (dict, list), else raise `PredictorError`."""
    if not isinstance(value, kind):
        raise PredictorError(f"{name} is a {type(value).__name__}; expected a {kind.__name__}")
    return value


def shorten(value) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
