"""What a training run writes down after each epoch: a CSV file always, TensorBoard's where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd


def write_csv(path: str | Path, history: list[dict]) -> Path:
    """Write one row an epoch, beside and renamed."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    pd.DataFrame(history).to_csv(beside, index=False)
    return beside.replace(path)


def write_tensorboard(folder: str | Path, row: dict) -> bool:
    """Add one epoch's numbers for TensorBoard; False where the package ``tensorboard`` is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return False
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=int(row["epoch"])):
        for name, value in row.items():
            if name != "epoch":
                tf.summary.scalar(name.replace(":", "/"), value)
    writer.close()
    return True
