"""Damaged bodies of HTTP requests: an answer, or a refusal in one sentence; never 500, never a number that is none."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx", reason="Starlette's test client wants it")

from starlette.testclient import TestClient

from faceworkbook.serving.limits import Limits
from faceworkbook.serving.server import Service
from tests.fuzz.test_doors import INPUTS, damaged, picture
from tests.serving.toys import WIDTH, load_toy, write_toy
from tests.support.serving import make_form

FORM, FORM_TYPE = make_form([("a.png", picture(".png")), ("b.jpg", picture(".jpg"))])
ROWS = [[round(0.1 * i, 1) for i in range(WIDTH)]] * 2


def npy(matrix) -> bytes:
    file = io.BytesIO()
    np.save(file, matrix)
    return file.getvalue()


BODIES = {
    "a form": ("/predict?faces=whole", FORM_TYPE, FORM),
    "a photo": ("/predict?faces=whole", "image/png", picture(".png")),
    "rows in JSON": ("/descriptors", "application/json", json.dumps({"descriptors": ROWS}).encode()),
    "rows in npy": ("/descriptors", "application/x-npy", npy(np.array(ROWS, np.float32))),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    predictor = load_toy(write_toy(tmp_path_factory.mktemp("toy") / "predictor"))
    limits = Limits(
        body_bytes=200_000, photos=3, pixels=250_000, vectors=50, body_s=5.0, answer_s=20, waiting=64
    )
    with TestClient(Service(predictor, limits, hosts=()).app()) as made:
        yield made


def no_number(text: str):
    raise AssertionError(f"{text} in an answer")


def check(response, what) -> dict:
    assert response.status_code in (200, 400, 413, 415), (what, response.status_code, response.text[:300])
    answer = json.loads(response.content, parse_constant=no_number)
    if response.status_code != 200:
        assert 10 < len(answer["error"]) < 1000 and "\n" not in answer["error"], (what, answer)
    return answer


@pytest.mark.parametrize("name", BODIES)
def test_damaged_bodies_are_answered_or_refused(client, name):
    path, kind, body = BODIES[name]
    headers = {"content-type": kind}
    assert client.post(path, content=body, headers=headers).status_code == 200
    seed = zlib.crc32(name.encode())
    for number in range(INPUTS):
        content = damaged(body, np.random.default_rng([seed, number]))
        check(client.post(path, content=content, headers=headers), (name, number))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "null", "1e308"])
def test_numbers_that_are_none_are_no_answer(client, value):
    body = b'{"descriptors": [[' + ",".join([value] * WIDTH).encode() + b"]]}"
    check(client.post("/descriptors", content=body, headers={"content-type": "application/json"}), value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.finfo(np.float32).max])
def test_matrices_of_numbers_that_are_none_are_no_answer(client, value):
    body = npy(np.full((2, WIDTH), value, np.float32))
    check(client.post("/descriptors", content=body, headers={"content-type": "application/x-npy"}), value)


@pytest.mark.parametrize(
    "kind",
    ["", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "a" * 3000, "x" * 500, "\x00"],
)
def test_odd_types_of_content_are_refused(client, kind):
    check(client.post("/predict", content=FORM, headers={"content-type": kind}), kind)
