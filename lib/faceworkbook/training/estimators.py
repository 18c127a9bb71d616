"""scikit-learn estimators as plain records: class and parameters, never pickled, fitted again where they are needed."""

from __future__ import annotations

import importlib

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from faceworkbook.training.balancing import BalanceError

ROOT = "sklearn."  # nothing else is imported on a file's word


class RecordError(ValueError):
    """An estimator that cannot be written as a record, or a record that describes none."""


def fresh(estimator, seed: int):
    """Return an unfitted copy whose random states that were left open are `seed`."""
    copy = clone(estimator)
    open_states = [
        name
        for name, value in copy.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    return copy.set_params(**dict.fromkeys(open_states, seed))


def weight_keyword(estimator) -> str:
    """Return the name by which ``fit`` of an estimator takes weights of rows; of a Pipeline its last step's.

    Raises
    ------
    BalanceError
        The estimator takes none.
    """
    last = estimator.steps[-1] if isinstance(estimator, Pipeline) else None
    taking = estimator if last is None else last[1]
    if not has_fit_parameter(taking, "sample_weight"):
        raise BalanceError(
            f"{type(taking).__name__} takes no weights of rows; use balance='oversample', which repeats rows, or 'none'"
        )
    return "sample_weight" if last is None else f"{last[0]}__sample_weight"


def to_record(value):
    """Return class and parameters of an estimator of scikit-learn, in JSON's types.

    Raises
    ------
    RecordError
        Another library's estimator, or a parameter that is no number, text, list, dict or estimator.
    """
    if isinstance(value, BaseEstimator):
        if not type(value).__module__.startswith(ROOT):
            raise RecordError(
                f"{type(value).__name__} is no estimator of scikit-learn; give it a name with training.register"
            )
        name = f"{type(value).__module__}.{type(value).__name__}"
        return {"class": name, "params": to_record(value.get_params(deep=False))}
    if isinstance(value, dict):
        return {str(key): to_record(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [to_record(one) for one in value]}
    if isinstance(value, list):
        return [to_record(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RecordError(f"a parameter of type {type(value).__name__} cannot be written down")


def from_record(record):
    """Return the unfitted estimator that `to_record` wrote down.

    Raises
    ------
    RecordError
        No class of scikit-learn has that name, or it does not take these parameters.
    """
    if isinstance(record, list):
        return [from_record(one) for one in record]
    if not isinstance(record, dict):
        return record
    if set(record) == {"tuple"}:
        return tuple(from_record(one) for one in record["tuple"])
    values = {key: from_record(value) for key, value in record.items()}
    if set(record) != {"class", "params"}:
        return values
    module, _, name = str(record["class"]).rpartition(".")
    if not module.startswith(ROOT):
        raise RecordError(f"{record['class']} is no class of scikit-learn")
    try:
        made = getattr(importlib.import_module(module), name)
        if not (isinstance(made, type) and issubclass(made, BaseEstimator)):
            raise RecordError(f"{record['class']} is no estimator")
        return made(**values["params"])
    except (ImportError, AttributeError, TypeError) as error:
        raise RecordError(f"{record['class']} cannot be made with this scikit-learn ({error})") from error
