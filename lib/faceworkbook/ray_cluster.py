"""The Ray cluster that work is spread over: the one at ``RAY_ADDRESS``, or a local one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

STARTS = 6


@contextmanager
def connected(error: type[Exception], parameter: str) -> Iterator:
    """Connect to the cluster and yield ``ray``; a connection that began here ends here.

    Parameters
    ----------
    error : type
        Raised where Ray is not installed, or cannot be started or reached.
    parameter : str
        What asked for Ray, for the message.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as cause:
        raise error(f"{parameter} needs the extra [ray]: pip install 'faceworkbook[ray]'") from cause
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        try:
            start(ray, address)
        except Exception as cause:
            reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
            advice = "start it there, or leave RAY_ADDRESS empty" if address else "free memory or processors"
            raise error(
                f"{parameter}: the Ray cluster {address or 'of this machine'} did not start ({reason}); {advice}, and run "
                "again, or run without Ray"
            ) from cause
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def start(ray, address: str | None = None, **options) -> None:
    """Connect to a cluster; a local one that a busy machine has not started in time is started again.

    Ray gives its own processes 15 and 30 seconds, for which it has no parameter; each try leaves more of it in memory.

    Parameters
    ----------
    ray : module
    address : str, optional
        A local cluster by default.
    **options
        Of ``ray.init``.
    """
    options = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False, **options}
    for left in reversed(range(STARTS)):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:
            ray.shutdown()
            if address or not left or "timed out during startup" not in str(error):
                raise


def count_cores(ray) -> int:
    """Return the cores of the cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def list_nodes(ray) -> list[dict]:
    """Return the resources (CPU, GPU) of each machine of the cluster that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node.get("Alive", True)]
