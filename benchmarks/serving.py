"""What `workbook serve` bears: photos a second with 16 clients, and what is left of it after hostile uploads.

    python -m benchmarks serving [--quick]
    python -m benchmarks.serving --model results/X/03_classifier --seconds 60 --hostile 2000

Everything stays on the loopback address of this machine; the server is a process of its own. Clients share its cores.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import itertools
import json
import pickle
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

from faceworkbook.threads import count_cores

HERE = Path(__file__).parent
UTKFACE = HERE.parents[1] / "shared/data/utkface/UTKFace"
RENDERED = HERE.parent / "data/synthetic/images"
CLIENTS, PHOTOS, SECONDS, HOSTILE = 16, 400, 60.0, 2000
TURNS = 4  # after each of which the server's memory is read, so that one sees whether it levels off
SLOW = 100  # of the hostile uploads; each holds a connection until the server's patience ends
PATIENCE = 40.0  # seconds that a client waits
CROWD = 100  # faces along each side of the pictures of a crowd
BOUNDARY = "b0undary"


@dataclass
class Server:
    """A running server.

    Attributes
    ----------
    port : int
    process : psutil.Process
    """

    port: int
    process: psutil.Process

    def rss(self) -> float:
        """Return the resident memory in MB of the server and whatever it started."""
        every = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_info().rss for each in every) / 1e6

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict | None = None
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own; returns status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def serve(model: str = "") -> Iterator[Server]:
    """Start ``workbook serve`` on a free port and stop it at the end."""
    command = [sys.executable, "-m", "faceworkbook.cli", "serve", "--port", "0"]
    command += ["--model", model] if model else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            lines = iter(started.stdout.readline, "")
            ports = (re.search(r"http://127\.0\.0\.1:(\d+) ", line) for line in lines)
            port = next((int(each[1]) for each in ports if each), 0)
            if not port:
                raise RuntimeError(f"workbook serve ended with status {started.wait()}")
            yield Server(port, psutil.Process(started.pid))
        finally:
            started.terminate()


def read_photos(n: int) -> tuple[str, list[bytes]]:
    """Return what the photos are, and `n` of them: UTKFace's chips, or the rendered faces in pictures of 640 x 480."""
    if UTKFACE.is_dir():
        paths = sorted(UTKFACE.rglob("*.jpg"))
        return "UTKFace chips, 200 x 200", [p.read_bytes() for p in random.Random(0).sample(paths, n)]
    paths = itertools.islice(itertools.cycle(sorted(RENDERED.glob("*.jpg"))), n)
    return "rendered faces in 640 x 480", [_on_ground(path) for path in paths]


def _on_ground(path: Path) -> bytes:
    photo = Image.new("RGB", (640, 480), (120, 120, 120))
    photo.paste(Image.open(path).resize((300, 300)), (170, 90))
    return _encode(photo, "JPEG")


def _encode(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


# --------------------------------------------------------------------------- load


def load(server: Server, photos: list[bytes], *, seconds: float, clients: int = CLIENTS) -> dict:
    """Send photos from several clients at once, each waiting for its answer; returns rate, latencies, errors."""
    end, lock = time.monotonic() + seconds, threading.Lock()
    took: list[float] = []
    statuses: Counter = Counter()
    turn = itertools.count()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        while time.monotonic() < end:
            photo, begun = photos[next(turn) % len(photos)], time.monotonic()
            try:
                connection.request("POST", "/predict", photo, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                connection.close()
            with lock:
                took.append(time.monotonic() - begun)
                statuses[status] += 1

    begun, before = time.monotonic(), server.rss()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - begun
    return {
        "photos": len(took),
        "seconds": elapsed,
        "photos/s": len(took) / elapsed,
        "p50 ms": 1000 * float(np.median(took)),
        "p99 ms": 1000 * float(np.quantile(took, 0.99)),
        "errors": len(took) - statuses["200"],
        "RSS before MB": before,
        "RSS after MB": server.rss(),
    }


def served_against_batch(server: Server, photos: list[bytes], model: str) -> dict:
    """Compare probabilities and numbers of served photos with those of `Predictor.predict` on all at once."""
    from faceworkbook import project
    from faceworkbook.serving import Predictor
    from faceworkbook.serving.command import DEFAULT

    predictor = Predictor.load(model or project.resolve(DEFAULT))
    table, worst, compared = predictor.predict(photos), 0.0, 0
    for photo, (_, row) in zip(photos, table.iterrows(), strict=True):
        _, body = server.ask("POST", "/predict", photo, {"Content-Type": "image/jpeg"})
        (face,) = json.loads(body)["photos"][0]["faces"]
        if face["status"] != row["status"]:
            return {"photos": len(photos), "answers": compared, "largest difference": np.inf}
        for name, answer in face["answers"].items():
            shares = answer.get("probabilities", {})
            values = {f"p:{name}={c}": p for c, p in shares.items()} or {name: answer["value"]}
            worst = max([worst, *(abs(value - row[column]) for column, value in values.items())])
            compared += len(values)
    return {"photos": len(photos), "answers": compared, "largest difference": worst}


# --------------------------------------------------------------------------- hostile uploads


def form(*photos: bytes, name: str = "a.jpg") -> tuple[bytes, dict]:
    """Return the body and headers of a form with photos."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n'
    pieces = [f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo + b"\r\n" for photo in photos]
    body = b"".join([*pieces, f"--{BOUNDARY}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def png_of_claimed_size(width: int, height: int, payload: bytes = b"\0" * 100) -> bytes:
    """Return a PNG file whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(payload)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def crowd(faces: list[bytes], side: int = CROWD, pixels: int = 40) -> bytes:
    """Return a picture of side x side small faces."""
    tiles = [Image.open(io.BytesIO(face)).convert("RGB").resize((pixels, pixels)) for face in faces[:50]]
    picture = Image.new("RGB", (side * pixels, side * pixels))
    for place in range(side * side):
        row, column = divmod(place, side)
        picture.paste(tiles[place % len(tiles)], (column * pixels, row * pixels))
    return _encode(picture, "JPEG")


class Attacker:
    """Makes hostile requests by kind; each returns a status, or what became of the connection."""

    def __init__(self, server: Server, photos: list[bytes]):
        self.server, self.photos, self.rng = server, photos, random.Random(1)
        self.flat = _encode(Image.new("RGB", (6000, 6000)), "PNG")  # 108 MB of pixels in few bytes
        self.beyond = _encode(Image.new("1", (30000, 30000)), "PNG")
        self.crowd = crowd(photos)
        self.crowd_small = crowd(photos, side=20)

    def kinds(self) -> dict[str, tuple[int, Callable[[], str]]]:
        """Return each kind with how often it is drawn against the others."""
        return {
            "cut short": (20, lambda: self._photo(self._photo_bytes()[: self.rng.randrange(1, 4000)])),
            "bytes flipped": (20, lambda: self._photo(self._flipped())),
            "noise": (10, lambda: self._photo(self.rng.randbytes(self.rng.randrange(1, 50_000)))),
            "no picture": (10, lambda: self._photo(self._no_picture())),
            "claimed size": (10, lambda: self._photo(png_of_claimed_size(*self._sizes()))),
            "bomb within the limit": (1, lambda: self._photo(self.flat)),
            "bomb beyond it": (2, lambda: self._photo(self.beyond)),
            "10,000 faces": (0.3, lambda: self._photo(self.crowd, "/predict?faces=all")),
            "400 faces": (1, lambda: self._photo(self.crowd_small, "/predict?faces=all")),
            "wrong content type": (10, self._wrong_type),
            "broken form": (10, self._broken_form),
            "too many photos": (4, self._too_many),
            "too large": (4, self._too_large),
            "huge header": (10, self._huge_header),
            "gone half way": (10, self._gone),
            "no HTTP": (5, lambda: self._raw(self.rng.randbytes(500))),
            "two lengths": (3, self._two_lengths),
            "bad descriptors": (10, self._bad_descriptors),
            "odd path": (5, self._odd_path),
        }

    def run(self, n: int, *, slow: int) -> pd.Series:
        """Send `n` requests, `slow` of them slow ones side by side; returns counts by kind and outcome."""
        known = self.kinds()
        weights = [weight for weight, _ in known.values()]
        drawn = self.rng.choices(list(known), weights, k=max(n - slow, 0))
        jobs = [(kind, known[kind][1]) for kind in drawn]
        with ThreadPoolExecutor(slow or 1) as patient, ThreadPoolExecutor(CLIENTS) as clients:
            waiting = [
                ("slow body" if i % 2 else "slow header", patient.submit(self._slow, i % 2))
                for i in range(slow)
            ]
            done = [(kind, clients.submit(_outcome, attack)) for kind, attack in jobs]
            outcomes = [(kind, each.result()) for kind, each in (*done, *waiting)]
        return pd.Series(Counter(outcomes), name="requests").rename_axis(["kind", "outcome"])

    def _photo_bytes(self) -> bytes:
        return self.rng.choice(self.photos)

    def _photo(self, data: bytes, path: str = "/predict") -> str:
        status, body = self.server.ask("POST", path, *form(data))
        faces = json.loads(body)["photos"][0]["faces"] if status == 200 else []
        return f"{status} {faces[0]['status']}" if len(faces) == 1 else str(status)

    def _flipped(self) -> bytes:
        data = bytearray(self._photo_bytes())
        for _ in range(20):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        return bytes(data)

    def _no_picture(self) -> bytes:
        every = (
            b"",
            b"%PDF-1.7\n",
            b"PK\3\4" + b"\0" * 100,
            b"<svg onload='x'/>",
            b"GIF89a",
            b"\xff\xd8\xff",
            b"BM" * 40,
        )
        return self.rng.choice(every)

    def _sizes(self) -> tuple[int, int]:
        return self.rng.choice(
            [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (0, 0), (1, 2**30), (6000, 6000), (2**31, 1)]
        )

    def _wrong_type(self) -> str:
        kind = self.rng.choice(
            ["text/html", "application/json", "", "multipart/form-data", "image/" + "x" * 5000]
        )
        return str(self.server.ask("POST", "/predict", self._photo_bytes(), {"Content-Type": kind})[0])

    def _broken_form(self) -> str:
        body, headers = form(
            self._photo_bytes(), name=self.rng.choice(["../../x", "\x01" * 100, "n" * 10_000])
        )
        cut = body[self.rng.randrange(200) : self.rng.randrange(200, len(body))]
        return str(self.server.ask("POST", "/predict", cut, headers)[0])

    def _too_many(self) -> str:
        return str(self.server.ask("POST", "/predict", *form(*[b"x"] * 500))[0])

    def _too_large(self) -> str:
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 999999999999\r\n\r\n"
        return self._raw(head + b"x" * 10_000)

    def _huge_header(self) -> str:
        return self._raw(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 300_000 + b"\r\n\r\n")

    def _gone(self) -> str:
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 50000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) as connection:
            connection.sendall(head + self._photo_bytes()[:2000])
        return "gone"

    def _two_lengths(self) -> str:
        return self._raw(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nabcde"
        )

    def _bad_descriptors(self) -> str:
        npy = io.BytesIO()
        np.save(npy, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        json_kind, npy_kind = "application/json", "application/x-npy"
        kind, body = self.rng.choice(
            [
                (json_kind, b"[" * 100_000),
                (json_kind, b'{"descriptors": [[NaN, 1]]}'),
                (json_kind, b'{"descriptors": [[1' + b"0" * 5000 + b"]]}"),
                (npy_kind, npy.getvalue()),
                (npy_kind, pickle.dumps([1, 2])),
                (
                    npy_kind,
                    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999999), }",
                ),
            ]
        )
        return str(self.server.ask("POST", "/descriptors", body, {"Content-Type": kind})[0])

    def _odd_path(self) -> str:
        path = self.rng.choice(
            ["/../../etc/passwd", "/%00", "/predict?faces=" + "a" * 2000, "/" + "a" * 20_000, "/model/.."]
        )
        return str(self.server.ask(self.rng.choice(["GET", "POST", "DELETE", "TRACE"]), path)[0])

    def _raw(self, data: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return _status(connection)

    def _slow(self, in_body: int) -> str:
        """Send a byte a second until the server ends it."""
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 5000\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=1) as connection:
            connection.sendall(head + (b"\r\n" if in_body else b""))
            for _ in range(int(PATIENCE)):
                try:
                    connection.sendall(b"x")
                    return _status(connection)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return "closed"
        return "still open"


def _status(connection: socket.socket) -> str:
    try:
        answer = connection.recv(65536)
    except ConnectionError:
        return "closed"
    match = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return match[1].decode() if match else "closed"


def _outcome(attack: Callable[[], str]) -> str:
    try:
        return attack()
    except (OSError, http.client.HTTPException) as error:
        # A refusal may close the connection while the client still sends.
        return (
            "closed"
            if isinstance(error, ConnectionError | http.client.HTTPException)
            else type(error).__name__
        )


# --------------------------------------------------------------------------- report


def measure(model: str, *, seconds: float, hostile: int, photos: int = PHOTOS) -> dict[str, pd.DataFrame]:
    """Run everything on one server; returns tables by title."""
    what, pictures = read_photos(photos)
    with serve(model) as server:
        load(server, pictures, seconds=min(seconds / 4, 10.0))  # everything that is made at first use
        row = load(server, pictures, seconds=seconds)
        same = served_against_batch(server, pictures[:50], model)
        attacker, memory, counts = Attacker(server, pictures), [("before", server.rss())], []
        for turn in range(1, TURNS + 1):
            counts.append(attacker.run(hostile // TURNS, slow=min(SLOW, hostile // 4) // TURNS))
            memory.append((f"after {turn * (hostile // TURNS):,} hostile uploads", server.rss()))
        after = load(server, pictures, seconds=min(seconds / 4, 10.0))
        memory.append(("after photos again", server.rss()))
        alive, _ = server.ask("GET", "/health")
    outcomes = pd.concat(counts).groupby(level=[0, 1]).sum().to_frame()
    cores = count_cores()
    return {
        f"{what}, one a request, {CLIENTS} clients, {cores} cores for server and clients": pd.DataFrame(
            [row, after], index=["before", "after the hostile uploads"]
        ),
        "served against Predictor.predict": pd.DataFrame([same]),
        f"{hostile:,} hostile uploads; /health afterwards answers {alive}": outcomes,
        "memory of the server": pd.DataFrame(memory, columns=["when", "RSS MB"]).set_index("when"),
    }


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure the predictor that ships."""
    return measure("", seconds=4 if quick else SECONDS, hostile=100 if quick else HOSTILE)


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="", help="a run's folder or a predictor (default: the embedded one)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--hostile", type=int, default=HOSTILE)
    chosen = parser.parse_args()
    for title, table in measure(chosen.model, seconds=chosen.seconds, hostile=chosen.hostile).items():
        print(f"\n{title}\n{table.to_string()}", flush=True)


if __name__ == "__main__":
    _command_line()
