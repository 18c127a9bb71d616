"""Read the constants of TensorFlow.js graph models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceworkbook.backbones.base import WeightsError


def read_constants(graph: Path, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the constants by name, as the manifest lays them out in the files beside it.

    Parameters
    ----------
    graph : Path
        The ``.json`` file.
    kinds : sequence of str
        Types that are allowed; ``float16`` stays as it is stored.

    Raises
    ------
    WeightsError
        A constant of another type, or files of another size than the manifest names.
    """
    constants = {}
    for group in json.loads(graph.read_text())["weightsManifest"]:
        data = b"".join((graph.parent / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            kind = entry.get("quantization", {}).get("dtype", entry["dtype"])
            if kind not in kinds:
                raise WeightsError(f"{graph}: {entry['name']} is {kind}; expected {' or '.join(kinds)}")
            array = np.frombuffer(data, kind, int(np.prod(entry["shape"])), offset)
            constants[entry["name"]] = array.reshape(entry["shape"])
            offset += array.nbytes
        if offset != len(data):
            raise WeightsError(f"{graph}: its manifest names {offset:,} bytes, the files hold {len(data):,}")
    return constants
