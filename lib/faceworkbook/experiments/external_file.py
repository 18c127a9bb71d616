"""What the columns of a file of anybody's predictions hold, under whatever headers it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.datasets import words
from faceworkbook.descriptors.matching import FACE, IMAGE, IMAGE_NAMES
from faceworkbook.evaluation import predictions as tables
from faceworkbook.experiments.external_table import ExternalError
from faceworkbook.tasks import Task

ANSWER = "predicted"
ALIASES = {"gender": ("sex",), "emotion": ("expression",)}
ANSWER_NAMES = ("dominant_{}", "predicted_{}", "{}_predicted", "{}_pred", "pred_{}", "apparent_{}", "{}")
GENERAL_NAMES = (ANSWER, "prediction", "pred", "answer", "class", "value")
SHARE_NAMES = ("p:{}", "{}", "p_{}", "prob_{}", "{}_prob", "{}_probability", "{}_score", "score_{}")
PERCENT = (95, 105)  # row sums of probabilities that were written as percentages
LEAST_PERCENT = 20  # what one class alone reaches at least somewhere, in percent; a score may be 3 or 5
MOST_OFF = 0.05  # a row of rounded probabilities adds up to 1 within this
MOST_YEARS = 130  # of an age; beyond it numbers are months, or years of birth
SHOWN = 6


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what.

    Attributes
    ----------
    key : str
        The column that names the face.
    by : {'face_id', 'image'}
        What it names the face by.
    answer : str
        The column of class names or numbers; empty where there is none.
    shares : dict of str to str
        The class that each column of probabilities is of; several columns may be of one class.
    """

    key: str
    by: str
    answer: str
    shares: dict[str, str]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of each row of its file.

    Attributes
    ----------
    predicted : ndarray of shape (n,)
        Class names with None, or numbers with NaN, where a row has no answer.
    shares : ndarray of shape (n, n_classes), range 0..1, or None
        Probabilities in the order of the task's classes; NaN where a row has none.
    notices : tuple of str
    """

    predicted: np.ndarray
    shares: np.ndarray | None
    notices: tuple[str, ...]


# --------------------------------------------------------------------------- which column is what


def read_given(entries: Sequence[str], option: str) -> dict[str, str]:
    """Read options ``NAME=TEXT``; the left side is the name of `find_columns`, or the word of a class."""
    pairs = [str(entry).partition("=") for entry in entries]
    wrong = [str(entry) for entry, (name, sign, _) in zip(entries, pairs, strict=True) if not (name and sign)]
    if wrong:
        raise ExternalError(f"{option} {wrong[0]!r} is not NAME=TEXT; see workbook evaluate --help")
    given: dict[str, str] = {}
    for name, text in ((name.strip(), text.strip()) for name, _, text in pairs):
        if given.get(name, text) != text:
            raise ExternalError(f"{option} {name}={given[name]} and {name}={text}; give {name!r} once")
        given[name] = text
    return given


def guess_label(table: pd.DataFrame, labels: Sequence[str], path: str | Path) -> str:
    """Return the one label of a data set that a file has columns for.

    Raises
    ------
    ExternalError
        It has none, or several; the text lists them.
    """
    task = table.attrs.get(tables.TASK)
    if task:
        return str(task["name"])
    fitting = [
        label
        for label in labels
        if _first(table, _answer_names(label)) or any(column.startswith(f"{label}.") for column in table)
    ]
    if len(fitting) != 1:
        what = f"has columns for {fitting}" if fitting else f"names none of the labels {list(labels)}"
        raise ExternalError(
            f"{path} {what} (its columns are {list(table)[:20]}); say which is judged with --label NAME"
        )
    return fitting[0]


def _answer_names(label: str) -> list[str]:
    return [name.format(word) for word in (label, *ALIASES.get(label, ())) for name in ANSWER_NAMES]


def find_columns(table: pd.DataFrame, task: Task, given: Mapping[str, str], path: str | Path) -> Columns:
    """Return which columns hold the face, the answer and the probabilities.

    Parameters
    ----------
    table : pandas.DataFrame
        See `external_table.read_table`.
    given : mapping
        Their column by ``face_id``, ``image``, ``predicted`` or the word of a class; what it does not name is
        looked for under the names that tools use.

    Raises
    ------
    ExternalError
        A column that is given and not there, or none that names the face or the answer.
    """
    lacking = [text for text in given.values() if text not in table]
    if lacking:
        raise ExternalError(
            f"{path} has no column {lacking[0]!r}; its columns are {list(table)[:20]}, name one with --column"
        )
    named = dict(given)
    face, image, answer = (named.pop(name, "") for name in (FACE, IMAGE, ANSWER))
    if not (face or image):
        face, image = _first(table, [FACE]), _first(table, IMAGE_NAMES)
    if not (face or image):
        raise ExternalError(
            f"{path} has the columns {list(table)[:20]}, none of which names the picture; give it with --column "
            "image=COLUMN"
        )
    shares = _given_shares(named, task, path) or _find_shares(table, task)
    usual = [*_answer_names(task.name), *([] if shares else GENERAL_NAMES)]
    answer = answer or _first(table, usual)
    if not (answer or shares):
        raise ExternalError(
            f"{path} has the columns {list(table)[:20]}, none of which holds '{task.name}'; give it with --column "
            "predicted=COLUMN"
            + (f", or probabilities with --column {task.classes[0]}=COLUMN" if task.classes else "")
        )
    return Columns(face or image, FACE if face else IMAGE, answer, shares)


def _first(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the first column that bears one of `names`, however it is spelt; empty where none does."""
    written = {words.fold(column): column for column in reversed([*table.columns])}
    return next((written[words.fold(name)] for name in names if words.fold(name) in written), "")


def _given_shares(named: Mapping[str, str], task: Task, path: str | Path) -> dict[str, str]:
    meant = words.classes_of(task.name, [name.removeprefix("p:") for name in named], task.classes)
    strange = [name for name in named if meant.get(name.removeprefix("p:")) is None]
    if strange:
        raise ExternalError(
            f"{path}: --column {strange[0]}=...; the left side is image, face_id, predicted or a class of "
            f"'{task.name}': {list(task.classes)[:20]}"
        )
    shares = {column: str(meant[name.removeprefix("p:")]) for name, column in named.items()}
    if len(shares) < len(named):
        twice = [column for column in shares if [*named.values()].count(column) > 1]
        raise ExternalError(
            f"{path}: --column gives {twice[0]!r} to several classes of '{task.name}'; give it to one"
        )
    return shares


def _find_shares(table: pd.DataFrame, task: Task) -> dict[str, str]:
    """Return the columns of probabilities: those under ``label.WORD``, else the numbers under a class's word."""
    nested = {c: c.split(".", 1)[1] for c in table if c.startswith(f"{task.name}.")}
    bare = {column: word for column in table if (word := _word_of_share(column))}
    for candidates in (nested, bare):
        meant = words.classes_of(task.name, candidates.values(), task.classes) if task.classes else {}
        shares = {column: meant[word] for column, word in candidates.items() if meant.get(word)}
        shares = {column: name for column, name in shares.items() if _is_numeric(table[column])}
        if shares:
            return shares
    return {}


def _word_of_share(column: str) -> str:
    for pattern in SHARE_NAMES:
        start, _, end = pattern.partition("{}")
        if (start or end) and column.startswith(start) and column.endswith(end):
            return column[len(start) : len(column) - len(end)]
    return column


def _is_numeric(values: pd.Series) -> bool:
    return bool(np.isfinite(_to_numbers(values)).any())


def _to_numbers(values: pd.Series) -> np.ndarray:
    """Read numbers, also with a decimal comma or a percent sign; NaN for anything else."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=float, na_value=np.nan)
    texts = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    texts = texts.str.replace(r"^([-+]?\d+),(\d+)(\s*%?)$", r"\1.\2\3", regex=True)
    percent = texts.str.endswith("%").to_numpy()
    numbers = pd.to_numeric(texts.str.removesuffix("%"), errors="coerce").to_numpy(dtype=float)
    return np.where(percent, numbers / 100, numbers)


# --------------------------------------------------------------------------- what it says


def read_answers(
    table: pd.DataFrame, columns: Columns, task: Task, values: Mapping[str, str], path: str | Path
) -> Answers:
    """Read class names, numbers and probabilities.

    Parameters
    ----------
    values : mapping
        The class (or number) that a word of theirs stands for, where spelling and synonyms do not say it; an empty
        one counts as no answer.

    Raises
    ------
    ExternalError
        Words that stand for no class of the task, numbers that are no probabilities.
    """
    if task.is_number:
        return Answers(_read_numbers(table[columns.answer], task, values, path), None, ())
    shares, notices = _read_shares(table, columns, task, path) if columns.shares else (None, ())
    if not columns.answer:
        best = np.where(
            np.isfinite(shares).all(axis=1), np.nan_to_num(shares).argmax(axis=1), len(task.classes)
        )
        return Answers(np.array([*task.classes, None], dtype=object)[best], shares, notices)
    predicted = _read_classes(table[columns.answer], task, values, path)
    if shares is not None:
        notices += _disagreement(predicted, shares, task, columns.answer)
    return Answers(predicted, shares, notices)


def _read_numbers(column: pd.Series, task: Task, values: Mapping[str, str], path) -> np.ndarray:
    texts = _as_texts(column)
    own = {words.fold(word): text for word, text in values.items()}
    written = texts.map(lambda text: own.get(words.fold(text), text))
    numbers = _to_numbers(written)
    strange = np.isnan(numbers) & ~written.map(lambda text: words.is_missing(text, number=True)).to_numpy()
    kind = "no numbers"
    if not strange.any() and task.unit == "years":
        strange, kind = (numbers < 0) | (numbers > MOST_YEARS), "no ages in years"
    if strange.any():
        seen = texts[strange].unique().tolist()
        raise ExternalError(
            f"{path}: column {column.name!r} holds {seen[:SHOWN]} in {int(strange.sum()):,} rows, which are {kind}; say "
            f"what they stand for with --value {seen[0]!r}=NUMBER (nothing after the sign: no answer)"
        )
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _as_texts(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "").astype(str)


def _read_classes(column: pd.Series, task: Task, values: Mapping[str, str], path) -> np.ndarray:
    texts = _as_texts(column)
    own = {words.fold(word): name for word, name in values.items()}
    # Zeros and ones, also -1 and 1, are words of yes and no; elsewhere -1 is no answer unless it is given a meaning.
    is_yes_no = set(task.classes) == {"yes", "no"}
    read_yes_no = words.yes_no if is_yes_no else lambda text: None
    written = [
        text
        for text in texts.unique()
        if words.fold(text) in own or read_yes_no(text) or not words.is_missing(text)
    ]
    meant = words.classes_of(task.name, written, task.classes)
    meant |= {text: read_yes_no(text) for text in written if meant[text] is None}
    named = words.classes_of(task.name, own.values(), task.classes)
    strange = sorted({name for name in own.values() if name and named[name] is None})
    own = {word: named[name] or "" for word, name in own.items()}
    if strange:
        raise ExternalError(
            f"--value ...={strange[0]}: the classes of '{task.name}' are {list(task.classes)}"
        )
    meant |= {text: own[words.fold(text)] for text in written if words.fold(text) in own}
    unknown = [text for text in written if meant[text] is None]
    if unknown:
        n = int(texts.isin(unknown).sum())
        raise ExternalError(
            f"{path}: column {column.name!r} holds {unknown[:SHOWN]} in {n:,} rows, which are no classes of "
            f"'{task.name}' ({list(task.classes)[:20]}); say what they stand for with --value "
            f"{unknown[0]!r}=CLASS (nothing after the sign: no answer)"
        )
    return np.array([meant.get(text) or None for text in texts], dtype=object)


def _read_shares(
    table: pd.DataFrame, columns: Columns, task: Task, path
) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = np.column_stack([_to_numbers(table[column]) for column in columns.shares])
    place = [task.classes.index(name) for name in columns.shares.values()]
    shares = np.zeros((len(table), len(task.classes)))
    np.add.at(shares.T, place, numbers.T)
    notices: tuple[str, ...] = ()
    alone = task.is_binary and len(set(place)) == 1
    silent = (numbers == 0).all(axis=1) & (not alone)
    if silent.any() and not silent.all():
        shares[silent] = np.nan
        notices += (f"In {int(silent.sum()):,} rows all probabilities are 0: no answer.",)
    known = np.isfinite(shares).all(axis=1)
    total = (
        np.nanmax(numbers, initial=0) if alone else np.median(shares[known].sum(axis=1)) if known.any() else 1
    )
    if (alone and LEAST_PERCENT < total <= 100) or PERCENT[0] < total < PERCENT[1]:
        shares, notices = shares / 100, (*notices, "Probabilities were written as percentages.")
    if alone:
        shares[:, 1 - place[0]] = 1 - shares[:, place[0]]
    lacking = [name for i, name in enumerate(task.classes) if i not in place and not alone]
    if lacking:
        notices += (f"The file has no probability of {', '.join(lacking)}: it counts as 0.",)
    off = np.abs(shares.sum(axis=1) - 1)
    bad = known & ((off > MOST_OFF) | (shares < -1e-6).any(axis=1) | (shares > 1 + MOST_OFF).any(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise ExternalError(
            f"{path}: the columns {[*columns.shares]} hold {numbers[row].round(4).tolist()} in row {row + 1} "
            f"({int(bad.sum()):,} such rows), which are no probabilities that add up to 1; name the right columns, "
            "or the class alone with --column predicted=COLUMN"
        )
    shares[~known] = np.nan
    whole = shares.sum(axis=1, keepdims=True)
    return np.clip(shares / whole, 0, 1), notices


def _disagreement(predicted: np.ndarray, shares: np.ndarray, task: Task, column: str) -> tuple[str, ...]:
    both = np.isfinite(shares).all(axis=1) & pd.notna(predicted)
    likeliest = np.asarray(task.classes, dtype=object)[np.nan_to_num(shares).argmax(axis=1)]
    n = int((both & (likeliest != predicted)).sum())
    return (f"In {n:,} rows {column!r} is not the likeliest class; it is judged as it stands.",) if n else ()
