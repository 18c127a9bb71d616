"""What a training run writes down after each epoch: a CSV file, and one for TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd


def write_csv(path: str | Path, history: list[dict]) -> Path:
    """Write one row an epoch, beside and renamed."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    pd.DataFrame(history).to_csv(beside, index=False)
    return beside.replace(path)


def write_tensorboard(folder: str | Path, row: dict) -> Path:
    """Write one epoch's numbers as an event file for TensorBoard, which need not be installed here.

    A file an epoch: an epoch that is trained again after a kill replaces its own.
    """
    import tensorflow as tf

    folder, epoch, now = Path(folder), int(row["epoch"]), time.time()
    folder.mkdir(parents=True, exist_ok=True)
    values = [
        tf.compat.v1.Summary.Value(tag=name.replace(":", "/"), simple_value=float(value))
        for name, value in row.items()
        if name != "epoch"
    ]
    summary = tf.compat.v1.Summary(value=values)
    beside = folder / f"epoch-{epoch}.part"
    with tf.io.TFRecordWriter(str(beside)) as writer:
        writer.write(tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        writer.write(tf.compat.v1.Event(wall_time=now, step=epoch, summary=summary).SerializeToString())
    # TensorBoard reads a folder's files in the order of their names.
    return beside.replace(folder / f"events.out.tfevents.{epoch:010d}.training")
