"""The Ray cluster that work is spread over: the one at ``RAY_ADDRESS``, or a local one."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

STARTS = 3
SLOWER = 10


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
    """Connect to a cluster; a local one may take as long to start as a busy machine needs.

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
            with contextlib.nullcontext() if address else _patience():
                ray.init(address=address, **options)
            return
        except Exception as error:
            ray.shutdown()
            if address or not left or "timed out during startup" not in str(error):
                raise


@contextmanager
def _patience() -> Iterator[None]:
    """Let Ray wait `SLOWER` times its half a minute for its own processes; it has no parameter for that."""
    os.environ.setdefault("RAY_worker_register_timeout_seconds", str(60 * SLOWER))
    try:
        node = importlib.import_module("ray._private.node")
        clock = node.time
    except (ImportError, AttributeError):  # another version of Ray waits as long as it does
        yield
        return
    node.time = SimpleNamespace(**vars(clock))
    node.time.monotonic = lambda: clock.monotonic() / SLOWER
    try:
        yield
    finally:
        node.time = clock


def count_cores(ray) -> int:
    """Return the cores of the cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def list_nodes(ray) -> list[dict]:
    """Return the resources (CPU, GPU) of each machine of the cluster that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node.get("Alive", True)]
