"""What a training run writes down beside its weights: a CSV file, and event files for TensorBoard."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from faceworkbook import spreadsheet
from faceworkbook.files import open_beside, write_beside

HISTORY, TENSORBOARD = "history.csv", "tensorboard"


def write(folder: str | Path, history: pd.DataFrame | Sequence[dict]) -> None:
    """Write a finished history: ``history.csv``, and one event file in ``tensorboard/``."""
    table = pd.DataFrame(history)
    write_csv(Path(folder) / HISTORY, table)
    if "epoch" in table:
        write_tensorboard(Path(folder) / TENSORBOARD, table.to_dict("records"))


def write_fits(folder: str | Path, histories: Mapping[str, pd.DataFrame]) -> None:
    """Write the histories of several fits for TensorBoard: ``tensorboard/NAME/`` each; those without epochs have none."""
    for name, history in histories.items():
        if "epoch" in history:
            write_tensorboard(Path(folder) / TENSORBOARD / name, history.to_dict("records"))


def by_fold(history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the histories of the fits of folds by what they are called, such as 'repeat-0-fold-3'."""
    keys = ["repeat", "fold"]
    return {
        "-".join(f"{key}-{value}" for key, value in zip(keys, place, strict=True)): own.drop(columns=keys)
        for place, own in history.groupby(keys)
    }


def write_csv(path: str | Path, history: pd.DataFrame | Sequence[dict]) -> Path:
    """Write one row an epoch, beside and renamed."""
    return write_beside(path, spreadsheet.to_csv(pd.DataFrame(history)))


def write_tensorboard(folder: str | Path, rows: Sequence[dict]) -> Path:
    """Write the numbers of some epochs as an event file for TensorBoard, which need not be installed here.

    The file is named by its first epoch: an epoch that is trained again after a kill replaces its own.
    """
    import tensorflow as tf

    path = Path(folder) / f"events.out.tfevents.{int(rows[0]['epoch']):010d}.training"
    event, now = tf.compat.v1.Event, time.time()
    # TensorBoard reads a folder's files in the order of their names.
    with open_beside(path) as beside:
        try:
            with tf.io.TFRecordWriter(str(beside)) as writer:
                writer.write(event(wall_time=now, file_version="brain.Event:2").SerializeToString())
                for row in rows:
                    summary = tf.compat.v1.Summary(value=list(_values(row)))
                    record = event(wall_time=now, step=int(row["epoch"]), summary=summary)
                    writer.write(record.SerializeToString())
        except tf.errors.OpError as error:  # TensorFlow's own kind, where other writers raise OSError
            raise OSError(errno.EIO, f"TensorFlow: {error.message}") from error
    return path


def _values(row: dict):
    import tensorflow as tf

    for name, value in row.items():
        if name != "epoch" and not isinstance(value, str):
            yield tf.compat.v1.Summary.Value(tag=name.replace(":", "/"), simple_value=float(value))
