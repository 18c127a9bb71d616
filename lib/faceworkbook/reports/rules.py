"""Kinds of rules for a parameter's value: each returns what is wrong, or an empty text.

Those that JSON Schema can say have it as ``schema``, for editors; see `schema_of`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from faceworkbook import project

Rule = Callable[[object], str]  # from a value to what is wrong with it, or an empty text

_SCHEMA = "schema"
SHOWN = 30  # allowed names that a message lists
# What a folder may be called, in every file system and on every page.
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
NAMES = "letters, digits, dot, dash and underscore, at most 100 of them"


def schema_of(rule: Rule) -> dict:
    """Return what JSON Schema says of the values that a rule allows; empty where it cannot say it."""
    return getattr(rule, _SCHEMA, dict)()


def _with_schema(rule: Rule, schema: Callable[[], dict]) -> Rule:
    setattr(rule, _SCHEMA, schema)
    return rule


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'NAME'?" for the nearest of `known`, or an empty text."""
    by_folded = {str(name).casefold(): str(name) for name in known}
    near = difflib.get_close_matches(str(word).casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def one_of(choices: Callable[[], Iterable[str]] | Sequence[str], *, blank: bool = False) -> Rule:
    """Allow one of `choices` (a sequence, or a function that is asked for it), and '' where `blank`."""

    def rule(value) -> str:
        known = [*(choices() if callable(choices) else choices)]
        if value in known or (blank and value == ""):
            return ""
        shown = known[:SHOWN] + (["..."] if len(known) > SHOWN else [])
        return f"allowed are {', '.join(shown)}{suggest(value, known)}"

    def schema() -> dict:
        known = [*(choices() if callable(choices) else choices)]
        return {"enum": [*dict.fromkeys([*known, *([""] if blank else [])])]}

    return _with_schema(rule, schema)


def number(
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    above: float | None = None,
    unset: float | None = None,
) -> Rule:
    """Allow numbers from `low` to `high`, greater than `above`; `unset` is allowed beside them."""

    def rule(value) -> str:
        fits = low <= value <= high and (above is None or value > above)
        if fits or (unset is not None and value == unset):
            return ""
        least = (
            f"more than {above:g}"
            if above is not None
            else f"{low:,.10g} or more"
            if low > float("-inf")
            else ""
        )
        most = f"at most {high:,.10g}" if high < float("inf") else ""
        beside = f", or {unset:g}" if unset is not None else ""
        return f"allowed is {' and '.join(filter(None, (least, most))) or 'a finite number'}{beside}"

    def schema() -> dict:
        bounds = {"minimum": low, "maximum": high, "exclusiveMinimum": above}
        fits = {
            name: bound for name, bound in bounds.items() if bound is not None and abs(bound) < float("inf")
        }
        return fits if unset is None else {"anyOf": [fits, {"const": unset}]}

    return _with_schema(rule, schema)


def each(rule: Rule, *, least: int = 0) -> Rule:
    """Allow lists of at least `least` values that `rule` allows."""

    def check(values) -> str:
        if len(values) < least:
            return f"it takes {least} or more values"
        try:
            wrong = [f"{value!r}: {complaint}" for value in values if (complaint := rule(value))]
        except TypeError:  # a text among numbers
            return "a value in it has another type than the others"
        return "; ".join(wrong)

    return _with_schema(check, lambda: {"items": schema_of(rule)} | ({"minItems": least} if least else {}))


def one_or_each(rule: Rule) -> Rule:
    """Allow a single value that `rule` allows, or a list of them."""
    of_list = each(rule)

    def check(value) -> str:
        return of_list(value) if isinstance(value, list) else rule(value)

    return _with_schema(check, lambda: schema_of(of_list))


def texts(pattern: str, expected: str) -> Rule:
    """Allow texts that match `pattern` as a whole."""

    def rule(value) -> str:
        return "" if isinstance(value, str) and re.fullmatch(pattern, value) else f"expected {expected}"

    return rule


def named(rule: Rule, what: str) -> Rule:
    """Allow 'NAME: VALUE' or 'NAME=VALUE' with a value that `rule` allows; messages call it `what`."""

    def check(value) -> str:
        pair = re.fullmatch(r"\w+\s*[:=]\s*(\S.*)", value)
        return rule(pair[1]) if pair else f"expected 'NAME: {what}'"

    return check


def folder(value) -> str:
    """Allow the path of a folder that is there; '' is what an earlier step settled."""
    if value == "" or project.resolve(value).is_dir():
        return ""
    path = project.resolve(value)
    if path.is_file():
        return "it is a file; expected a folder"
    return f"no such folder{_near_path(path)}"


def file(value) -> str:
    """Allow the path of a file that is there, or ''."""
    if value == "" or project.resolve(value).is_file():
        return ""
    path = project.resolve(value)
    return "it is a folder; expected a file" if path.is_dir() else f"no such file{_near_path(path)}"


def writable_folder(value) -> str:
    """Allow a folder that is there or can be made, or ''."""
    path = project.resolve(value)
    there = next(place for place in (path, *path.parents) if place.exists())
    if value == "" or (there.is_dir() and os.access(there, os.W_OK)):
        return ""
    return f"{project.shorten(there)} is {'not writable' if there.is_dir() else 'a file'}; expected a folder for results"


def _near_path(path: Path) -> str:
    parent = next(place for place in path.parents if place.is_dir())
    if parent != path.parent:
        return f" ({project.shorten(parent)} is there, {path.relative_to(parent).parts[0]} is not in it)"
    return suggest(path.name, (entry.name for entry in parent.iterdir()))


def name_of_folder(value) -> str:
    """Allow a name that is a folder's everywhere, and ''."""
    return "" if value == "" or NAME.fullmatch(str(value)) else f"allowed are {NAMES}"


def anything(value) -> str:
    """Allow every value of the parameter's type."""
    return ""


SHARE = number(0, 1)
COUNT, COUNT_OR_ALL = number(1), number(0)
