"""The server's routes: photos or descriptors in, answers out as JSON; a page; health, card and metrics.

Nothing that is sent is written to disk or to a log, and nothing is un-pickled. Requests that wait are answered together
(`batching`), within `limits`. Errors are JSON: ``{"error": "one sentence"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from faceworkbook.serving import records, uploads
from faceworkbook.serving.batching import Batcher
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.limits import Budget, Limits, Refused
from faceworkbook.serving.photos import FACES, LARGEST, UNREADABLE
from faceworkbook.serving.predictor import Predictor
from faceworkbook.serving.web import make_page, page_policy

_log = logging.getLogger(__name__)
LOCAL = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, budget: Budget):
        self.registry = CollectorRegistry()
        names = {"registry": self.registry}
        self.requests = Counter(
            "faceworkbook_requests", "Requests by path and status", ["path", "status"], **names
        )
        self.photos = Counter("faceworkbook_photos", "Photos answered", **names)
        self.faces = Counter("faceworkbook_faces", "Faces answered, by status", ["status"], **names)
        self.seconds = Histogram(
            "faceworkbook_request_seconds", "From first byte to answer", ["path"], **names
        )
        waiting = Gauge("faceworkbook_photos_waiting", "Photos that wait for an answer", **names)
        waiting.set_function(lambda: budget.photos)


@dataclass(frozen=True, eq=False)
class Service:
    """One predictor behind HTTP.

    Attributes
    ----------
    predictor : Predictor
    limits : Limits
    hosts : tuple of str
        Names by which the server may be called; empty for any. A page of another site that has its name lead to this
        machine is refused.
    """

    predictor: Predictor
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] = LOCAL

    def app(self) -> Starlette:
        """Return the application."""
        budget = Budget(self.limits)
        handlers = _Handlers(self, budget, Batcher(self.predictor, self.limits), _Metrics(budget))
        routes = [
            Route("/", handlers.guard(handlers.page), methods=["GET"]),
            Route("/predict", handlers.guard(handlers.predict), methods=["POST"]),
            Route("/descriptors", handlers.guard(handlers.descriptors), methods=["POST"]),
            Route("/health", handlers.guard(handlers.health), methods=["GET"]),
            Route("/model", handlers.guard(handlers.model), methods=["GET"]),
            Route("/metrics", handlers.guard(handlers.metrics), methods=["GET"]),
        ]
        errors = {HTTPException: _http_error}
        return Starlette(routes=routes, lifespan=handlers.lifespan, exception_handlers=errors)  # type: ignore[arg-type]


class _Handlers:
    def __init__(self, service: Service, budget: Budget, batcher: Batcher, metrics: _Metrics):
        self.service, self.budget, self.batcher, self.counts = service, budget, batcher, metrics
        self.started = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.batcher.start()
        try:
            yield
        finally:
            await self.batcher.stop()

    def guard(self, handler: Callable[[Request], Awaitable[Response]]):
        """Return the handler with every refusal as a JSON sentence, counted."""

        async def guarded(request: Request) -> Response:
            begun = time.monotonic()
            try:
                self._check_caller(request)
                response = await handler(request)
            except Refused as refused:
                response = _error(refused.status, refused.sentence)
            except ClientDisconnect:
                response = _error(400, "the connection was closed before the request had come")
            except Exception as error:
                _log.exception("%s failed", request.url.path)
                response = _error(500, f"the answer failed ({type(error).__name__}); nothing was kept")
            response.headers.update(_HEADERS)
            path = request.url.path
            self.counts.requests.labels(path, str(response.status_code)).inc()
            self.counts.seconds.labels(path).observe(time.monotonic() - begun)
            return response

        return guarded

    def _check_caller(self, request: Request) -> None:
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.service.hosts and name not in self.service.hosts:
            raise Refused(403, f"host {host[:80]!r}; this server answers to {', '.join(self.service.hosts)}")
        origin = request.headers.get("origin")
        if origin and origin.partition("://")[2] != host:
            raise Refused(403, f"a page of {origin[:80]!r} may not use this server")

    async def page(self, request: Request) -> Response:
        html = make_page(self.service.predictor)
        return HTMLResponse(html, headers={"Content-Security-Policy": page_policy()})

    async def health(self, request: Request) -> Response:
        up = round(time.monotonic() - self.started, 1)
        return JSONResponse({"status": "ok", "waiting": self.budget.photos, "seconds": up})

    async def model(self, request: Request) -> Response:
        predictor = self.service.predictor
        return JSONResponse(
            {**records.describe_predictor(predictor), "card": predictor.card, "about": records.ABOUT}
        )

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.counts.registry), media_type="text/plain; version=0.0.4")

    async def predict(self, request: Request) -> Response:
        faces = request.query_params.get("faces", LARGEST)
        if faces not in FACES:
            raise Refused(400, f"faces={faces[:40]!r}; allowed are {', '.join(FACES)}")
        async with self._body(request) as body:
            photos = await uploads.read_photos(request, body, self.service.limits)
            with self.budget.photos_waiting(len(photos)):
                answered = await self._answer(photos, faces)
        self.counts.photos.inc(len(photos))
        for photo in answered:
            for face in photo["faces"]:
                self.counts.faces.labels(face["status"]).inc()
        predictor = self.service.predictor
        model = {"title": predictor.record.get("title", ""), "fingerprint": predictor.fingerprint}
        return JSONResponse({"model": model, "photos": answered, "about": records.ABOUT})

    async def _answer(self, photos: list[tuple[str, bytes]], faces: str) -> list[dict]:
        names = [name for name, _ in photos]
        problems = await run_in_threadpool(
            lambda: [uploads.check_size(data, self.service.limits) for _, data in photos]
        )
        read = [data for (_, data), problem in zip(photos, problems, strict=True) if not problem]
        rows = []
        if read:
            table = await self.batcher.answer(read, faces)
            kept = [name for name, problem in zip(names, problems, strict=True) if not problem]
            rows = records.photos_to_records(table, self.service.predictor, kept)
        given = iter(rows)
        return [
            _unread(name, problem) if problem else next(given)
            for name, problem in zip(names, problems, strict=True)
        ]

    async def descriptors(self, request: Request) -> Response:
        async with self._body(request) as body:
            vectors = await uploads.read_vectors(request, body, self.service.limits)
            try:
                table = await self.batcher.answer_vectors(vectors)
            except PredictorError as error:
                raise Refused(400, str(error)) from error
        faces = records.faces_to_records(table, self.service.predictor.answering)
        return JSONResponse({"faces": faces, "about": records.ABOUT})

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body piece by piece, within the limits of size and time; what it held is given back at the end."""
        limits, held = self.service.limits, [0]
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limits.body_bytes:
            raise Refused(413, f"the request is larger than {limits.body_bytes:,} bytes")
        try:
            yield _in_time(self.budget.read(request.stream(), held), limits.body_s)
        finally:
            self.budget.release(held)


async def _in_time(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    end = time.monotonic() + seconds
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), max(end - time.monotonic(), 0))
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Refused(408, f"the request had not come after {seconds:g} s") from error
        yield piece


def _unread(name: str, problem: str) -> dict:
    face = {"face": None, "status": UNREADABLE, "detail": problem, "box": None, "detector_score": None}
    face |= {"answers": {}, "unlike_training": None, "unlike_training_score": None}
    return {"image": name, "faces_detected": 0, "faces": [face]}


def _error(status: int, sentence: str) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    if status in (408, 413):
        headers["Connection"] = "close"
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    known = "GET / /health /model /metrics, POST /predict /descriptors"
    response = _error(
        error.status_code, f"{request.method} {request.url.path[:80]}: {error.detail}; there are {known}"
    )
    response.headers.update(_HEADERS)
    return response
