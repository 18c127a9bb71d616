"""What one request, and all that wait together, may ask of a server; and the sentences that refuse more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes
    ----------
    body_bytes : int
        Of one request.
    photos : int
        Of one request.
    pixels : int
        Of one photo, from its header.
    vectors : int
        Descriptors of one request.
    body_s : float
        Seconds until a request's headers, and then its body, must have come.
    answer_s : float
        Seconds until an answer must be there.
    waiting : int
        Photos that wait for an answer, of all requests.
    waiting_bytes : int
        Bytes of all requests that are being read or wait.
    connections : int
    """

    body_bytes: int = 20 * 2**20
    photos: int = 32
    pixels: int = 40_000_000
    vectors: int = 10_000
    body_s: float = 15.0
    answer_s: float = 60.0
    waiting: int = 256
    waiting_bytes: int = 256 * 2**20
    connections: int = 256


class Refused(Exception):
    """A request that is not answered: an HTTP status, and one sentence for whoever asked."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Budget:
    """Bytes and photos that all requests hold together."""

    def __init__(self, limits: Limits):
        self.limits, self.bytes, self.photos = limits, 0, 0

    @contextmanager
    def photos_waiting(self, n: int) -> Iterator[None]:
        """Hold `n` photos while they wait; refuse them where too many wait."""
        if self.photos + n > self.limits.waiting:
            raise Refused(503, f"{self.photos} photos are waiting; try again in a second")
        self.photos += n
        try:
            yield
        finally:
            self.photos -= n

    async def read(self, stream: AsyncIterator[bytes], held: list[int]) -> AsyncIterator[bytes]:
        """Pass a body on piece by piece, counted in ``held[0]``; refuse what is larger than allowed."""
        async for piece in stream:
            held[0] += len(piece)
            self.bytes += len(piece)
            if held[0] > self.limits.body_bytes:
                raise Refused(413, f"the request is larger than {self.limits.body_bytes:,} bytes")
            if self.bytes > self.limits.waiting_bytes:
                raise Refused(503, "too many bytes are waiting; try again in a second")
            yield piece

    def release(self, held: list[int]) -> None:
        """Give back what a request held."""
        self.bytes -= held[0]
        held[0] = 0
