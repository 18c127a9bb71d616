"""The Winograd engine, for networks that begin with 3 x 3 convolutions, such as VGG-Face.

``README.md`` beside this file explains the method and the layout. Only `make_engine` and `check_graph` are used
from outside; numba and ONNX Runtime are imported when an engine is made.
"""

from __future__ import annotations

from pathlib import Path

from faceworkbook.descriptors.engines.base import Engine
from faceworkbook.descriptors.engines.compiled.graphs import UnsuitedGraph
from faceworkbook.descriptors.engines.winograd.leading import split_graph
from faceworkbook.images import Preprocessing

__all__ = ["UnsuitedGraph", "check_graph", "make_engine"]


def check_graph(path: Path) -> None:
    """Raise `UnsuitedGraph` where the ONNX graph at `path` does not begin with 3 x 3 convolutions."""
    split_graph(path)


def make_engine(path: Path, preprocessing: Preprocessing, *, threads: int | None = None) -> Engine:
    """Make an engine for an ONNX graph.

    Parameters
    ----------
    path : pathlib.Path
        The graph, written by `onnx_graph.write`.
    preprocessing : Preprocessing
    threads : int, optional
        Threads to compute with; all cores that this process may use where None.

    Raises
    ------
    UnsuitedGraph
        The network does not begin with 3 x 3 convolutions.
    """
    from faceworkbook.descriptors.engines.winograd import engine

    return engine.make(path, preprocessing, threads=threads)
