"""One reading of words for all readers: spellings, synonyms, and what stands for "unknown"."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from faceworkbook import faces

MISSING = frozenset(
    [
        *(
            "",
            "na",
            "n/a",
            "#n/a",
            "<na>",
            "nan",
            "-nan",
            "nat",
            "null",
            "nil",
            "none",
            "unknown",
            "undefined",
        ),
        *("missing", "not available", "unlabeled", "unlabelled", "?", "??", "-", "--", "-1", "-1.0"),
    ]
)
MISSING_NUMBERS = MISSING - {"-1", "-1.0"}  # -1 is a number like others

_SYNONYMS = {
    "gender": {
        "male": ("m", "man", "men", "boy", "males"),
        "female": ("f", "w", "woman", "women", "girl", "females"),
    },
    "emotion": {
        "neutral": ("neutrality",),
        "happiness": ("happy", "joy", "smile", "smiling"),
        "surprise": ("surprised",),
        "sadness": ("sad",),
        "anger": ("angry",),
        "disgust": ("disgusted",),
        "fear": ("fearful", "afraid", "scared"),
        "contempt": ("contemptuous",),
    },
    "race": {
        "Others": ("other",),
        "Latino_Hispanic": ("latino", "hispanic", "hispanic latino", "latino or hispanic"),
        "East Asian": ("eastasian",),
        "Southeast Asian": ("south east asian", "southeastasian"),
        "Middle Eastern": ("middleeastern",),
    },
    "split": {
        "train": ("training",),
        "validation": ("val", "valid", "dev", "development"),
        "test": ("testing",),
    },
}
_YES_NO = {
    **dict.fromkeys(("yes", "y", "true", "t", "1", "1.0"), "yes"),
    **dict.fromkeys(("no", "n", "false", "f", "0", "0.0", "-1", "-1.0"), "no"),
}
_MONTHS = {
    name: str(number)
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_GROUP = re.compile(r"[(\[]?\s*0*(\d+)\s*(?:-|,|to)\s*0*(\d+)\s*[)\]]?", re.ASCII)
_DATE = re.compile(r"([a-z]{3}|\d{1,2})-([a-z]{3}|\d{1,2})", re.ASCII)
_OLDEST = re.compile(r"(?:more than|over|>=?)?\s*(\d+)\s*\+?", re.ASCII)


def fold(text: str) -> str:
    """Write a word in the one form in which words are compared: case, blanks, underscores and Unicode form dropped."""
    plain = unicodedata.normalize("NFKC", str(text)).translate(_DASHES).replace("_", " ")
    return " ".join(plain.casefold().split())


def is_missing(text: str, *, number: bool = False) -> bool:
    """Whether a cell stands for "unknown"; -1 does among words and not among numbers."""
    return fold(text) in (MISSING_NUMBERS if number else MISSING)


def yes_no(text: str) -> str | None:
    """Read yes, true, 1 as 'yes' and no, false, 0, -1 as 'no'; None for anything else."""
    return _YES_NO.get(fold(text))


def classes_of(column: str, written: Iterable[str], classes: Sequence[str]) -> dict[str, str | None]:
    """Read each spelling in `written` as one of `classes`, or None where it is none of them.

    Parameters
    ----------
    column : str
        gender, race, emotion, age_group or split have synonyms; other columns are compared by spelling alone.
    written : iterable of str
    classes : sequence of str
    """
    known = {fold(name): name for name in classes}
    for name, others in _SYNONYMS.get(column, {}).items():
        if name in classes:
            known |= {other: name for other in others if other not in known}
    words = {text: known.get(fold(text)) for text in written}
    if column == "age_group":
        words |= {text: _age_group(text, classes) for text, name in words.items() if name is None}
    return words


def _age_group(text: str, classes: Sequence[str]) -> str | None:
    word = fold(text)
    date = _DATE.fullmatch(word)  # a spreadsheet turns 10-19 into Oct-19, and 3-9 into 03-Sep
    if date:
        word = "-".join(_MONTHS.get(side, side) for side in date.groups())
    group, oldest = _GROUP.fullmatch(word), _OLDEST.fullmatch(word)
    if group and f"{group[1]}-{group[2]}" in classes:
        return f"{group[1]}-{group[2]}"
    if oldest and word != oldest[1] and f"more than {oldest[1]}" in classes:
        return f"more than {oldest[1]}"
    return None


def fitting_vocabulary(column: str, written: Iterable[str]) -> tuple[str, ...]:
    """Return the vocabulary of `column` that understands most of the spellings; the project's own at a tie."""
    written = list(written)

    def understood(classes: tuple[str, ...]) -> int:
        return sum(name is not None for name in classes_of(column, written, classes).values())

    return max(faces.KNOWN_VOCABULARIES[column], key=understood)


def join_spellings(values: pd.Series) -> tuple[pd.Series, dict[str, list[str]]]:
    """Write texts that differ in case, blanks or Unicode form only in their commonest spelling.

    Returns
    -------
    values : pandas.Series
    joined : dict of str to list of str
        The spellings that were joined, by the one that is kept.
    """
    counts = Counter(values.dropna())
    by_word: dict[str, list[str]] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        by_word.setdefault(fold(text), []).append(text)
    kept = {text: " ".join(texts[0].split()) for texts in by_word.values() for text in texts}
    joined = {kept[texts[0]]: texts for texts in by_word.values() if len(texts) > 1}
    return values.map(kept, na_action="ignore"), joined
