"""A server in a thread on the loopback address, and a small client."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time

import uvicorn

from faceworkbook.serving import running
from faceworkbook.serving.limits import Limits
from faceworkbook.serving.server import Service


class Serving:
    """A server in a thread, and a client."""

    def __init__(self, predictor, limits=None):
        limits = limits or Limits()
        self.socket = running.listen("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        protocol = type("P", (running._Impatient,), {"patience_s": limits.body_s})
        app = Service(predictor, limits).app()
        config = uvicorn.Config(app, http=protocol, ws="none", log_level="critical", limit_concurrency=64)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(30)
        self.socket.close()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
            response = connection.getresponse()
            content = response.read()
        kind = response.getheader("content-type", "")
        return response.status, json.loads(content) if "json" in kind else content.decode(), response

    def predict(self, photos, query="?faces=whole", **headers):
        body, kind = make_form(photos)
        return self.ask("POST", f"/predict{query}", body, content_type=kind, **headers)


def make_form(photos):
    edge = "edge-of-part"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in photos
    ]
    return b"".join(parts) + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"
