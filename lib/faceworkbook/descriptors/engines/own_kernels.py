"""The door to the engines whose leading convolutions run in kernels of this project.

``README.md`` in the folder of each explains its method and the layout. numba and ONNX Runtime are imported when an
engine is made.
"""

from __future__ import annotations

from pathlib import Path

from faceworkbook.descriptors.engines.base import Engine
from faceworkbook.descriptors.engines.separable import leading as separable
from faceworkbook.descriptors.engines.winograd import leading as winograd
from faceworkbook.images import Preprocessing

SPLITS = {"winograd": winograd.split_graph, "separable": separable.split_graph}


def check_graph(name: str, path: Path) -> None:
    """Raise `UnsuitedGraph` where the ONNX graph at `path` does not begin with what the engine `name` computes."""
    SPLITS[name](path)


def make_engine(name: str, path: Path, preprocessing: Preprocessing, *, threads: int | None = None) -> Engine:
    """Make an engine for an ONNX graph.

    Parameters
    ----------
    name : {'winograd', 'separable'}
    path : pathlib.Path
        The graph, written by `onnx_graph.write`.
    preprocessing : Preprocessing
    threads : int, optional
        Threads to compute with; all cores that this process may use where None.

    Raises
    ------
    UnsuitedGraph
        The network does not begin with what this engine computes.
    """
    if name == "winograd":
        from faceworkbook.descriptors.engines.winograd.engine import make
    else:
        from faceworkbook.descriptors.engines.separable.engine import make
    return make(path, preprocessing, threads=threads)
