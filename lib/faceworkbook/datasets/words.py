"""One reading of words and numbers for all readers: spellings, synonyms, units, and what stands for "unknown"."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import yaml

from faceworkbook import faces

# A size and a centre, which a table may have in place of a box's sides.
BOX_SIZES = ("box_width", "box_height", "box_center_x", "box_center_y")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_QUOTES = "\"'`\u00b4\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])\s*[-/]\s*(?=[^\W\d_])")


def plain(text: str) -> str:
    """Return a cell in one Unicode form (NFKC), without characters that nobody sees, quotes and blanks around it."""
    shown = unicodedata.normalize("NFKC", str(text).translate(faces.UNSEEN)).translate(_DASHES)
    return " ".join(shown.split()).strip(f"{_QUOTES} ")


def fold(text: str) -> str:
    """Write a word in the one form in which words are compared: case, blanks, hyphens and Unicode form dropped."""
    word = plain(plain(text).replace("_", " ")).rstrip(f".,;: {_QUOTES}").casefold()
    return " ".join(_BETWEEN_LETTERS.sub(" ", word).split())


def fold_code(text: str) -> str:
    """Write a code in the one form in which codes are compared: as `fold`, without blanks, and 1.0 as 1."""
    return faces.name_person(fold(text).replace(" ", "")) or ""


MISSING = frozenset(
    fold(word)
    for word in (
        *(
            "",
            "na",
            "n/a",
            "n.a.",
            "#n/a",
            "<na>",
            "#na",
            "nan",
            "-nan",
            "nat",
            "null",
            "nil",
            "none",
            "n/d",
            "n.d.",
        ),
        *(
            "unknown",
            "unk",
            "undefined",
            "undetermined",
            "unspecified",
            "not specified",
            "not known",
            "missing",
        ),
        *(
            "not available",
            "not applicable",
            "not provided",
            "no data",
            "no answer",
            "empty",
            "blank",
            "(blank)",
        ),
        *("unlabeled", "unlabelled", "unclassified", "?", "??", "???", "-", "--", "---", "-1", "-1.0"),
        *("#null!", "#value!", "#ref!", "#name?", "#num!", "#div/0!", "(null)", "<null>", "[null]", "\\n"),
    )
)
MISSING_NUMBERS = MISSING - {"-1", "-1.0"}  # -1 is a number like others

_SYNONYMS = {
    "gender": {
        "male": ("m", "man", "men", "boy", "boys", "males", "masculine"),
        "female": ("f", "w", "woman", "women", "girl", "girls", "females", "feminine"),
    },
    "emotion": {
        "neutral": ("neutrality", "neutral face"),
        "happiness": ("happy", "joy", "joyful", "smile", "smiling"),
        "surprise": ("surprised", "surprising"),
        "sadness": ("sad",),
        "anger": ("angry", "mad"),
        "disgust": ("disgusted", "disgusting"),
        "fear": ("fearful", "feared", "afraid", "scared"),
        "contempt": ("contemptuous", "contemptous"),
    },
    "race": {
        "White": ("caucasian",),
        "Black": ("african", "african american"),
        "Others": ("other",),
        "Latino_Hispanic": ("latino", "latina", "hispanic", "hispanic latino", "latino or hispanic"),
        "Middle Eastern": ("middle east",),
    },
    "split": {
        "train": ("training", "train set", "training set", "train data", "training data"),
        "validation": (
            "val",
            "valid",
            "dev",
            "development",
            "val set",
            "valid set",
            "validation set",
            "dev set",
            "public test",
        ),
        "test": ("testing", "test set", "testing set", "test data", "private test"),
    },
}
_YES_NO = {
    **dict.fromkeys(("yes", "y", "true", "t", "on", "1", "1.0"), "yes"),
    **dict.fromkeys(("no", "n", "false", "f", "off", "0", "0.0", "-1", "-1.0"), "no"),
}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_GROUP = re.compile(r"[(\[]?\s*0*(\d+)\s*(?:-|,|;|to|\s)\s*0*(\d+)\s*[)\]]?(?:\s*y\w*)?", re.ASCII)
_OLDEST = re.compile(r"(?:more than|over|>=?)?\s*(\d+)\s*(?:\+|plus|and (?:over|older))?", re.ASCII)
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*"
# 3-9 becomes 03-Sep or 2025-09-03 in a spreadsheet, and 10-19 becomes Oct-19 or 2019-10-01.
_DATES = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?P<day>\d{{1,2}})[-. /]+{_MONTH}(?:[-. /]+\d{{2,4}})?",
        rf"{_MONTH}[-. /]+(?P<year>\d{{1,2}})",
        r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>\d{2})(?:[t ][\d:.]+)?",
    )
]
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d{1,2})", re.ASCII)
_SIMPLE = re.compile(r"[\w.+-]+(?:[:=][\w.+-]+)*")  # needs no quotes in a YAML list
_UNITS = {
    "age": r"y|yo|y/o|yrs?|years?",
    **dict.fromkeys(faces.POSE, r"\u00b0|degs?|degrees?"),
    **dict.fromkeys((*faces.BOX, *BOX_SIZES), r"px|pixels?"),
}


def is_missing(text: str, *, number: bool = False) -> bool:
    """Whether a cell stands for "unknown"; -1 does among words and not among numbers."""
    return fold(text) in (MISSING_NUMBERS if number else MISSING)


def yes_no(text: str) -> str | None:
    """Read yes, true, 1 as 'yes' and no, false, 0, -1 as 'no'; None for anything else."""
    return _YES_NO.get(fold(text))


def numbers(values: pd.Series) -> pd.Series:
    """Return texts as floats; NaN where one is not a finite decimal number.

    The unit of a column named age, yaw, pitch, roll or after a side of a box may follow, and one or two decimals
    may stand after a comma.
    """
    unit = _UNITS.get(str(values.name), "")
    codes, texts = pd.factorize(values.astype(str))
    parsed = np.array([*(_number(text, unit) for text in texts), np.nan])[codes]
    return pd.Series(parsed, index=values.index, name=values.name)


def _number(text: str, unit: str) -> float:
    if not NUMBER.fullmatch(text):
        text = plain(text)
        if unit:
            text = re.sub(rf"\s*(?:{unit})\.?(?:\s*old)?\.?$", "", text, flags=re.IGNORECASE)
        text = _DECIMAL_COMMA.sub(r"\1.\2", text) if _DECIMAL_COMMA.fullmatch(text) else text
    value = float(text) if NUMBER.fullmatch(text) else np.nan
    return value if np.isfinite(value) else np.nan


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
    run_together = {word.replace(" ", ""): name for word, name in known.items()}
    words = {text: known.get(fold(text)) for text in written}
    words |= {
        text: run_together.get(fold(text).replace(" ", "")) for text, name in words.items() if name is None
    }
    if column == "age_group":
        words |= {text: _age_group(text, classes) for text, name in words.items() if name is None}
    return words


def _age_group(text: str, classes: Sequence[str]) -> str | None:
    word = fold(text)
    group, oldest = _GROUP.fullmatch(undo_date(word) or word), _OLDEST.fullmatch(word)
    if group and f"{group[1]}-{group[2]}" in classes:
        return f"{group[1]}-{group[2]}"
    if oldest and word != oldest[1] and f"more than {oldest[1]}" in classes:
        return f"more than {oldest[1]}"
    return None


def undo_date(text: str) -> str | None:
    """Return the range of numbers that a spreadsheet has turned into a date (Oct-19 was 10-19); None for others."""
    match = next((match for pattern in _DATES if (match := pattern.fullmatch(fold(text)))), None)
    if match is None:
        return None
    date = match.groupdict()
    month = _MONTHS.get(date["month"]) or int(date["month"])
    first_of_month = "year" in date and int(date.get("day", "1")) == 1
    low, high = (month, int(date["year"]) % 100) if first_of_month else (int(date["day"]), month)
    return f"{low}-{high}"


def is_date(text: str) -> bool:
    """Whether a cell looks like the date that a spreadsheet makes of a range such as 3-9."""
    return undo_date(text) is not None


def format_option(name: str, value: str | Sequence[str]) -> str:
    """Write an option of a reader as it is typed after a command: ``-p 'options=["values: [gender:0=male]"]'``."""
    return format_options({name: value})


def format_options(settings: Mapping[str, str | Sequence[str]]) -> str:
    """Write options of a reader as they are typed after a command, see `format_option`."""
    texts = json.dumps([write_option(*item) for item in settings.items()], ensure_ascii=False)
    return "-p " + shlex.quote(f"options={texts}")


def write_option(name: str, value: str | Sequence[str]) -> str:
    """Write an option of a reader as the parameter ``options`` takes it: ``values: [gender:0=male]``."""
    if isinstance(value, str):
        return f"{name}: {value}".replace("\t", "tab")
    simple = all(_SIMPLE.fullmatch(entry) and isinstance(yaml.safe_load(entry), str) for entry in value)
    text = f"[{', '.join(value)}]" if simple else json.dumps([*value], ensure_ascii=False)
    return f"{name}: {text}"


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
