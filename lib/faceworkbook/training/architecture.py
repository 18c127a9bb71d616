"""A network in blocks, for a table and a picture of it."""

from __future__ import annotations

import keras
import pandas as pd

from faceworkbook.models.multitask import MARK

TRUNK = "trunk"
COLUMNS = ["part", "block", "output", "parameters", "height", "depth"]


def blocks(model: keras.Model) -> pd.DataFrame:
    """Return the blocks of a network from input to outputs.

    A block of the trunk is a run of layers whose output has one height; shared layers and each task's head are a
    block each.

    Returns
    -------
    pandas.DataFrame
        part ('trunk', 'shared' or a task), block (its first and last layer), output (size of what it puts out),
        parameters, height (of the output in pixels, 1 for a vector), depth (channels or width).
    """
    rows: list[dict] = []
    for layer in model.layers:
        shape = layer.output.shape if not isinstance(layer.output, list) else layer.output[0].shape
        size = tuple(int(n) for n in shape[1:] if n is not None)
        part = layer.name.partition(MARK)[0] if MARK in layer.name else TRUNK
        height = size[0] if len(size) == 3 else 1
        row = next((r for r in rows if r["part"] == part and (part != TRUNK or r["height"] == height)), None)
        if row is None:
            row = {"part": part, "first": layer.name, "height": height, "parameters": 0}
            rows.append(row)
        row |= {"last": layer.name, "size": size, "parameters": row["parameters"] + layer.count_params()}
    for row in rows:
        row["block"] = row["first"] if row["first"] == row["last"] else f"{row['first']} to {row['last']}"
        row["output"] = " x ".join(map(str, row["size"]))
        row["depth"] = row["size"][-1] if row["size"] else 1
    return pd.DataFrame(rows)[COLUMNS]
