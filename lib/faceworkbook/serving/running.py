"""Run a server: on this machine's own address unless asked, patient with nobody, gone when it is stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.limits import Limits
from faceworkbook.serving.predictor import Predictor
from faceworkbook.serving.server import LOCAL, Service

KEEP_ALIVE_S = 5


class _Impatient(H11Protocol):
    """Uvicorn's protocol, which also ends connections whose headers do not come."""

    patience_s = Limits().body_s
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if not self._between_requests():
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.patience_s, self._give_up)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._between_requests() and not self.transport.is_closing():
            self.transport.close()


def serve(
    predictor: Predictor, *, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None
) -> None:
    """Answer until the process is stopped.

    Parameters
    ----------
    predictor : Predictor
    host : str
        Address to listen on; another than this machine's own lets others in.
    port : int
        0 for a free one, which is printed.
    limits : Limits, optional

    Raises
    ------
    PredictorError
        The address is not this machine's, or the port is taken.
    """
    limits = limits or Limits()
    listening = listen(host, port)
    number = listening.getsockname()[1]
    # Others reach it by names that are not known here.
    hosts = LOCAL if is_local(host) else ()
    protocol = type("_Protocol", (_Impatient,), {"patience_s": limits.body_s})
    config = uvicorn.Config(
        Service(predictor, limits, hosts).app(),
        http=protocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        limit_concurrency=limits.connections,
    )
    # A request that cannot be read is answered in a sentence; a line for each would fill the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{number} answers; stop with Ctrl+C", flush=True)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def is_local(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise PredictorError(
            f"nothing can listen on {host} port {port} ({error}); choose another --port (0 for a free one) or --host"
        ) from error
    return listening
