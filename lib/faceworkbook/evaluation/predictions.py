"""The table of predictions: one row a face (and repeat), truth, and one probability a class.

Columns: ``face_id``, ``identity`` (NA where unknown), ``copy_group`` (which copies of one picture a face is among,
NA where there are none; tables written by version 0.1 lack it), ``split`` ('train', 'validation', 'test', or
'contradicting': a face that left the test rows because its copies bear another label), ``repeat``
and ``fold`` (integers, 0 where there is one run), ``truth``, ``predicted``, and for classes ``p:NAME`` in class
order (rows of exclusive classes add up to 1). A model that names one class a face and no more has no ``p:``
columns, and a task without probabilities: none are made up. The task travels with the table, in ``table.attrs`` and in the
file's metadata, so that nobody downstream guesses an order or a kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faceworkbook import files
from faceworkbook.evaluation.former_keywords import read_former
from faceworkbook.faces import COPY_GROUP
from faceworkbook.tasks import CLASSES, NO, NUMBER, PLUS, YES, Labels, Task, TaskError, join_names

PROBABILITY = "p:"
KEYS = ("face_id", "identity", "split", "repeat", "fold", "truth", "predicted")
TASK, MADE_FROM = "task", "made_from"
METADATA = b"faceworkbook"
SUBSETS = ("train", "validation", "test")
CONTRADICTING = "contradicting"  # beside the subsets: faces that left the test rows, predicted all the same
_SUM_TOLERANCE = 1e-4


class PredictionsError(ValueError):
    """A table of predictions that breaks its contract; the text says where and how."""


def build(
    faces: pd.DataFrame,
    task: Task | None = None,
    *,
    truth,
    output: np.ndarray | None = None,
    split=None,
    repeat: int = 0,
    fold: int = 0,
    **former,
) -> pd.DataFrame:
    """Make a table of predictions.

    Parameters
    ----------
    faces : pandas.DataFrame
        Rows of the face table, in the order of the predictions; a column ``copy_group`` goes with them.
    task : Task
    truth : array-like of shape (n,)
        Class names or numbers; see `Labels.truth`.
    output : ndarray of shape (n, n_classes) in 0..1, (n, 1), or (n,) of numbers
        What a model puts out; see `Task.decode`. For a task without probabilities the class names, (n,).
    split : str or array-like of shape (n,)
        'train', 'validation', 'test' or 'contradicting'.
    repeat, fold : int
    **former
        Keywords of version 0.1 (``part``, and ``probabilities`` with ``classes``, or ``values``), which warn.

    Raises
    ------
    PredictionsError
        Outputs of another shape, NaN, or values that are no probabilities.
    """
    if former:
        task, output, split = read_former(former, task, output, split)
    if task is None:
        raise PredictionsError("task is missing; give the Task that was learned, such as labels.task")
    decoded = _decode(task, output)
    if len(decoded) != len(faces):
        raise PredictionsError(f"{len(decoded)} outputs for {len(faces)} faces; give one a face")
    columns = {
        "face_id": faces["face_id"].to_numpy(),
        "identity": faces["identity"].to_numpy(),
        **({COPY_GROUP: faces[COPY_GROUP].to_numpy()} if COPY_GROUP in faces else {}),
        "split": split,
        "repeat": repeat,
        "fold": fold,
        "truth": np.asarray(truth),
        "predicted": read_predicted(task, decoded),
    }
    table = pd.DataFrame(columns)
    if task.classes and task.has_probabilities:
        shares = pd.DataFrame(decoded, columns=[PROBABILITY + c for c in task.classes])
        table = pd.concat([table, shares], axis=1)
    table.attrs = {TASK: task.to_record()}
    return table


def _decode(task: Task, output) -> np.ndarray:
    if task.has_probabilities:
        try:
            return task.decode(output)
        except TaskError as error:
            raise PredictionsError(str(error)) from error
    names = np.asarray(output, dtype=object)
    strange = sorted({str(name) for name in names.ravel()} - set(task.classes))
    if names.ndim != 1 or strange:
        raise PredictionsError(
            f"outputs for '{task.name}' have shape {names.shape} and hold {strange[:5]}; expected one of the "
            f"classes {list(task.classes)} a face"
        )
    return names


def read_predicted(task: Task, decoded: np.ndarray) -> np.ndarray:
    """Return the predicted class names, or the numbers, of what `Task.decode` gives (or of class names)."""
    if task.is_number or not task.has_probabilities:
        return decoded
    if task.is_multilabel:
        return np.array([join_names(task.classes, row >= 0.5) for row in decoded], dtype=object)
    return np.asarray(task.classes, dtype=object)[decoded.argmax(axis=1)]


def predict(
    model, matrix: np.ndarray, faces: pd.DataFrame, labels: Labels, split, *, repeat: int = 0, fold: int = 0
) -> pd.DataFrame:
    """Predict the rows of `predicted_rows` and make the table of predictions.

    Parameters
    ----------
    model : estimator, Keras model or ndarray
        A fitted scikit-learn estimator (``predict_proba`` with ``classes_``, or ``predict`` for numbers), a
        Keras model or any object with ``predict(matrix)``, or the outputs themselves, row by row.
    matrix : ndarray of shape (n, d)
        Descriptors, row by row those of `faces` and `labels`; may be memory-mapped.
    split : Split
        Or any object with index arrays ``validation`` and ``test``, and perhaps ``contradicting``.
    """
    if isinstance(model, np.ndarray) and len(model) != len(faces):
        raise PredictionsError(f"{len(model)} outputs for {len(faces)} faces; give one a face, row by row")
    rows, subset = predicted_rows(split)
    output = model[rows] if isinstance(model, np.ndarray) else outputs_of(model, matrix[rows], labels.task)
    return build(
        faces.iloc[rows],
        labels.task,
        truth=labels.truth[rows],
        output=output,
        split=subset,
        repeat=repeat,
        fold=fold,
    )


def predicted_rows(split) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a split that are predicted, and the subset that each is of.

    Those are the validation and test rows, and the faces that left the test rows because copies of their
    picture contradict them: no figure holds these, but their price can be named.
    """
    rows = {name: getattr(split, name, ()) for name in ("validation", "test", CONTRADICTING)}
    rows = {name: np.asarray(own, dtype=np.int64) for name, own in rows.items()}
    return np.concatenate([*rows.values()]), np.repeat([*rows], [*map(len, rows.values())])


def with_contradicting(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the faces of contradicting copies back among the test rows."""
    joined = predictions.assign(split=predictions["split"].astype(object).replace(CONTRADICTING, "test"))
    joined.attrs = dict(predictions.attrs)
    return joined


def outputs_of(model, matrix: np.ndarray, task: Task) -> np.ndarray:
    """Return what `model` puts out for descriptors, one column a class of `task` in its order, or numbers."""
    if hasattr(model, "predict_proba") and not task.is_number:
        shares = model.predict_proba(matrix)
        if isinstance(shares, list):  # one array a label, as forests and neighbours give for several
            return _of_yes(shares, model.classes_, task)
        return _in_class_order(np.asarray(shares), model.classes_, task)
    if hasattr(model, "classes_"):
        raise PredictionsError(
            f"{type(model).__name__} gives classes without probabilities; wrap it in scikit-learn's "
            "CalibratedClassifierCV"
        )
    # A Keras model shows a bar a batch unless it is asked not to.
    quiet = {"verbose": 0} if hasattr(model, "layers") else {}
    return np.asarray(model.predict(matrix, **quiet))


def _of_yes(shares: list[np.ndarray], classes, task: Task) -> np.ndarray:
    """Return the probability of yes, one column a label; 0 where a label was never yes in training."""
    if len(shares) != len(task.classes):
        raise PredictionsError(f"the model knows {len(shares)} labels, the task '{task.name}' {task.classes}")
    yes = [np.isin([str(name) for name in known], ("1", "True", YES)) for known in classes]
    return np.column_stack([share[:, is_yes].sum(axis=1) for share, is_yes in zip(shares, yes, strict=True)])


def _in_class_order(shares: np.ndarray, classes, task: Task) -> np.ndarray:
    if len(classes) and not isinstance(classes[0], str):  # codes, as `Labels.codes`
        codes = [int(code) for code in classes]
        wrong = [code for code in codes if not 0 <= code < len(task.classes)]
        classes = wrong or [task.classes[code] for code in codes]
    unknown = sorted(set(map(str, classes)) - set(task.classes))
    if unknown:
        raise PredictionsError(
            f"the model knows classes {unknown[:5]}, the task '{task.name}' {task.classes}; fit it on names, or on "
            "codes from 0"
        )
    ordered = np.zeros((len(shares), len(task.classes)))
    ordered[:, [task.classes.index(str(name)) for name in classes]] = shares
    return ordered


def average(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average several models' probabilities (or numbers) on the same rows into one table.

    Raises
    ------
    PredictionsError
        The tables hold other rows, or other columns.
    """
    first = tables[0]
    keys = [key for key in KEYS if key != "predicted"]
    for other in tables[1:]:
        if list(other.columns) != list(first.columns) or not first[keys].equals(other[keys]):
            raise PredictionsError(
                "only predictions of the same rows and classes, in one order, have a mean; give those of one split"
            )
    if not task_of(first).has_probabilities:
        raise PredictionsError("classes without probabilities have no mean; average models that give them")
    columns = [PROBABILITY + name for name in class_names(first)] or ["predicted"]
    mean = np.mean([table[columns].to_numpy(dtype=float) for table in tables], axis=0)
    return with_outputs(first, mean if len(columns) > 1 else mean[:, 0])


def with_outputs(predictions: pd.DataFrame, decoded: np.ndarray) -> pd.DataFrame:
    """Return the table with other probabilities (n, n_classes), or other numbers (n,)."""
    task = task_of(predictions)
    columns = dict(zip([PROBABILITY + c for c in task.classes], np.transpose(decoded), strict=False))
    return predictions.assign(predicted=read_predicted(task, decoded), **({} if task.is_number else columns))


def task_of(predictions: pd.DataFrame) -> Task:
    """Return the task that a table of predictions is of.

    A table from elsewhere that names none is one of plain classes, or of a number.
    """
    if TASK in predictions.attrs:
        return Task.from_record(predictions.attrs[TASK])
    classes = tuple(_names_of_columns(predictions))
    off = np.abs(probabilities(predictions).sum(axis=1) - 1).max(initial=0) if classes else 0
    named = not classes and "predicted" in predictions
    named = named and not pd.api.types.is_numeric_dtype(predictions["predicted"])
    if named or off > _SUM_TOLERANCE:
        raise PredictionsError(
            "the table names no task, and its columns are not those of plain classes or of a number; pd.concat loses "
            "the task of tables that were made from different data: put them below each other with predictions.join"
        )
    return Task("label", CLASSES if classes else NUMBER, classes)


def join(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of predictions of one task below each other, with the fingerprints that all agree on.

    Raises
    ------
    PredictionsError
        No table, or tables of different tasks.
    """
    tables = list(tables)
    records = [task_of(table).to_record() for table in tables]
    if not records or any(record != records[0] for record in records):
        named = sorted({f"{r['name']} ({r['kind']}: {', '.join(r['classes']) or 'number'})" for r in records})
        raise PredictionsError(f"tables of {named or 'no task'}; join takes tables of one task")
    joined = pd.concat(tables, ignore_index=True)
    first, *others = (table.attrs.get(MADE_FROM) or {} for table in tables)
    same = {name: value for name, value in first.items() if all(o.get(name) == value for o in others)}
    joined.attrs = {TASK: records[0], MADE_FROM: same}
    return joined


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Return the class names in order; empty for a table of numbers."""
    return _names_of_columns(predictions) or list(task_of(predictions).classes)


def _names_of_columns(predictions: pd.DataFrame) -> list[str]:
    return [c.removeprefix(PROBABILITY) for c in predictions.columns if c.startswith(PROBABILITY)]


def probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """Return the probabilities, ndarray of shape (n, n_classes), float64, in the order of `class_names`.

    No columns, (n, 0), for numbers and for a model that gives no probabilities.
    """
    return predictions[[PROBABILITY + c for c in _names_of_columns(predictions)]].to_numpy(dtype=float)


def of_label(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one yes/no label of a multi-label table as a table of its own, with classes 'no' and 'yes'."""
    task = task_of(predictions)
    if not task.is_multilabel or name not in task.classes:
        raise PredictionsError(f"label {name!r} is none of the yes/no labels {list(task.classes)}")
    share = predictions[PROBABILITY + name].to_numpy(dtype=float)
    truth = [name in str(text).split(PLUS) for text in predictions["truth"]]
    return build(
        predictions,
        Task(name, CLASSES, (NO, YES)),
        truth=np.where(truth, YES, NO),
        output=share,
        split=predictions["split"].to_numpy(),
        repeat=predictions["repeat"].to_numpy(),
        fold=predictions["fold"].to_numpy(),
    )


# --------------------------------------------------------------------------- files


def write(predictions: pd.DataFrame, path: str | Path, *, made_from: dict | None = None) -> Path:
    """Write as parquet, beside and renamed.

    Parameters
    ----------
    made_from : dict, optional
        Fingerprints of what the predictions were made from: data, split, descriptors, model.
    """
    check(predictions, str(path))
    record: dict = {TASK: task_of(predictions).to_record(), MADE_FROM: made_from or {}}
    record["content"] = _content_hash(predictions, record)
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), METADATA: json.dumps(record, default=files.plain)}
    )
    with files.open_beside(path) as beside:
        pq.write_table(table, beside, write_page_checksum=True)
    return Path(path)


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote.

    Raises
    ------
    PredictionsError
        A damaged file, one that `write` did not write, missing columns, repeated rows, probabilities outside 0..1 or that do not add up to 1,
        labels that are none of the classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run the notebook that writes it, or name another file")
    try:
        read_table = files.read_arrow(path)
        record = files.parse_json((read_table.schema.metadata or {}).get(METADATA, b"{}"))
        table = read_table.to_pandas(use_threads=False)
        content = record.pop("content", None)
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise PredictionsError(
            f"{path} is damaged or no table of predictions ({error}); write it again"
        ) from error
    if content is None or TASK not in record:
        raise PredictionsError(
            f"{path} lacks the record of its task and content; write it with predictions.write"
        )
    table.attrs = {MADE_FROM: record.get(MADE_FROM, {}), TASK: record[TASK]}
    check(table, str(path))
    if content != _content_hash(table, record):
        raise PredictionsError(
            f"{path} was changed after it was written; run the notebook that writes it again"
        )
    return table


def check(predictions: pd.DataFrame, where: str) -> None:
    """Raise `PredictionsError` where a table breaks its contract."""
    missing = [key for key in KEYS if key not in predictions]
    if missing:
        raise PredictionsError(f"{where} lacks the columns {missing}; was it written by this workbook?")
    keys = ["face_id", "split", "repeat", "fold"]
    for key in keys:
        if predictions[key].isna().any():
            raise PredictionsError(
                f"{where}: column {key!r} has {int(predictions[key].isna().sum())} empty rows; leave such rows out"
            )
    texts = predictions[keys].astype(str)
    twice = texts.duplicated()
    if twice.any():
        first = texts.loc[twice, "face_id"].iloc[0]
        raise PredictionsError(
            f"{where}: face {first!r} stands twice in one repeat and fold; keep one row of it"
        )
    allowed = [*SUBSETS, CONTRADICTING]
    wrong = sorted(set(texts["split"]) - set(allowed))
    if wrong:
        raise PredictionsError(f"{where}: column 'split' holds {wrong[:5]}; allowed are {allowed}")
    try:
        task = task_of(predictions)
    except TaskError as error:
        raise PredictionsError(f"{where}: {error}") from error
    columns = _names_of_columns(predictions)
    expected = list(task.classes) if task.has_probabilities else []
    if columns != expected:
        raise PredictionsError(
            f"{where}: the task '{task.name}' has probabilities of {expected}, the columns are {columns}"
        )
    _check_values(predictions, task, where)


def _check_values(predictions: pd.DataFrame, task: Task, where: str) -> None:
    try:
        if task.is_number:
            task.decode(predictions["predicted"].to_numpy(dtype=float))
            predictions["truth"].to_numpy(dtype=float)
            return
        shares = probabilities(predictions)
        if task.has_probabilities:
            task.decode(shares)
    except (TaskError, TypeError, ValueError) as error:
        raise PredictionsError(f"{where}: {error}") from error
    if task.is_exclusive and shares.size:
        off = np.abs(shares.sum(axis=1) - 1)
        if off.max() > _SUM_TOLERANCE:
            face = predictions["face_id"].iloc[int(off.argmax())]
            raise PredictionsError(
                f"{where}: the probabilities of face {face!r} add up to {shares.sum(axis=1)[off.argmax()]:.4g}; "
                "they must add up to 1"
            )
    for column in ("truth", "predicted"):
        names = {str(value) for value in predictions[column].dropna().unique()}
        if task.is_multilabel:
            names = {name for text in names for name in text.split(PLUS)} - {"none"}
        strange = sorted(names - set(task.classes))
        if strange:
            raise PredictionsError(
                f"{where}: column {column!r} holds {strange[:5]}; the classes are {list(task.classes)}"
            )


def _content_hash(predictions: pd.DataFrame, record: dict) -> str:
    columns = {str(name): files.hash_values(_array(values)) for name, values in predictions.items()}
    return files.hash_values(columns, record)


def _array(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(dtype=float, na_value=np.nan)
    return values.astype(object).to_numpy()
