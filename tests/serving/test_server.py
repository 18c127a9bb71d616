"""The server over real sockets, on this machine's loopback address alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import re
import socket
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")

from faceworkbook.serving import running, uploads
from faceworkbook.serving.limits import Limits, Refused
from faceworkbook.serving.records import ABOUT
from tests.serving.toys import WIDTH, load_toy, write_toy
from tests.support.serving import Serving

LIMITS = Limits(body_bytes=200_000, photos=3, pixels=250_000, vectors=50, body_s=1.0, answer_s=20, waiting=64)


def picture(colour, *, size=(60, 50), kind=".png"):
    return cv2.imencode(kind, np.full((*size, 3), colour[::-1], np.uint8))[1].tobytes()


RED, GREEN, BLUE = picture((250, 20, 20)), picture((20, 250, 20)), picture((20, 20, 250))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return load_toy(write_toy(tmp_path_factory.mktemp("toy") / "predictor"))


@pytest.fixture(scope="module")
def serving(predictor):
    server = Serving(predictor, LIMITS)
    yield server
    server.stop()


def test_answers_are_those_of_the_predictor(serving, predictor):
    status, answer, _ = serving.predict([("a.png", RED), ("b.png", BLUE)])
    assert status == 200
    direct = predictor.predict([RED, BLUE], faces="whole")
    assert [photo["image"] for photo in answer["photos"]] == ["a.png", "b.png"]
    for photo, (_, row) in zip(answer["photos"], direct.iterrows(), strict=True):
        (face,) = photo["faces"]
        colour = face["answers"]["colour"]
        assert colour["class"] == row["colour"]
        assert colour["probability"] == pytest.approx(row["colour_probability"], abs=1e-6)
        assert colour["probabilities"]["red"] == pytest.approx(row["p:colour=red"], abs=1e-6)
        assert face["answers"]["light"]["value"] == pytest.approx(row["light"], abs=1e-4)
        assert face["answers"]["light"]["low"] == pytest.approx(row["light_low"], abs=1e-4)
        signs = {c: row[f"p:sign+mark={c}"] >= 0.5 for c in ("sign", "mark")}
        assert face["answers"]["sign+mark"]["yes"] == [c for c, yes in signs.items() if yes]
        assert face["unlike_training"] == row["unlike_training"]
        assert colour["measured"]["n"] == row["colour_accuracy_here_n"]
    assert answer["about"] == ABOUT
    assert answer["model"]["fingerprint"] == predictor.fingerprint


def test_one_photo_may_be_the_body_itself(serving):
    status, answer, _ = serving.ask("POST", "/predict?faces=whole", GREEN, content_type="image/png")
    assert status == 200 and answer["photos"][0]["faces"][0]["answers"]["colour"]["class"] == "green"


def test_many_clients_at_once_get_each_their_own_answer(serving):
    named = {"red": RED, "green": GREEN, "blue": BLUE}
    wrong = []

    def ask(name):
        for _ in range(5):
            status, answer, _ = serving.predict([(name, named[name])])
            got = answer["photos"][0] if status == 200 else answer
            if status != 200 or got["image"] != name or got["faces"][0]["answers"]["colour"]["class"] != name:
                wrong.append((name, status, got))

    threads = [threading.Thread(target=ask, args=(name,)) for name in [*named] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_is_no_picture_is_a_row_and_costs_no_other_photo(serving):
    status, answer, _ = serving.predict([("a.txt", b"no picture"), ("b.png", RED), ("c.png", RED[:90])])
    assert status == 200
    statuses = [photo["faces"][0]["status"] for photo in answer["photos"]]
    assert statuses == ["unreadable", "ok", "unreadable"]
    assert answer["photos"][0]["faces"][0]["answers"] == {}


def test_a_photo_of_too_many_pixels_is_refused_from_its_header(serving):
    large = picture((1, 2, 3), size=(2000, 3000))
    status, answer, _ = serving.predict([("large.png", large), ("b.png", RED)])
    first, second = (photo["faces"][0] for photo in answer["photos"])
    assert status == 200 and first["status"] == "unreadable" and second["status"] == "ok"
    assert "3,000 x 2,000 pixels; at most 250,000" in first["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "sentence"),
    [
        ("POST", "/predict", b"x" * 300_000, {"content_type": "image/png"}, 413, "larger than 200,000 bytes"),
        ("POST", "/predict", b"x", {"content_type": "text/plain"}, 415, "content type is 'text/plain'"),
        ("POST", "/predict", b"x", {}, 415, "not given"),
        ("POST", "/predict", b"x", {"content_type": "multipart/form-data"}, 400, "cannot be read"),
        ("POST", "/predict", b"", {"content_type": "multipart/form-data; boundary=a"}, 400, ""),
        (
            "POST",
            "/predict?faces=none",
            RED,
            {"content_type": "image/png"},
            400,
            "allowed are largest, all, whole",
        ),
        ("GET", "/predict", None, {}, 405, "Method Not Allowed"),
        ("GET", "/etc/passwd", None, {}, 404, "there are GET"),
        ("GET", "/../../etc/passwd", None, {}, 404, "there are GET"),
        ("POST", "/descriptors", b"{", {"content_type": "application/json"}, 400, "no rows of numbers"),
        (
            "POST",
            "/descriptors",
            b"[" * 100_000,
            {"content_type": "application/json"},
            400,
            "no rows of numbers",
        ),
        (
            "POST",
            "/descriptors",
            b'{"descriptors": [[1, 2]]}',
            {"content_type": "application/json"},
            400,
            "expected",
        ),
        (
            "POST",
            "/descriptors",
            b'[[NaN, "a"]]',
            {"content_type": "application/json"},
            400,
            "no rows of numbers",
        ),
        ("POST", "/health", b"", {}, 405, "Method Not Allowed"),
        ("GET", "/health", None, {"host": "evil.example"}, 403, "answers to 127.0.0.1"),
        (
            "POST",
            "/predict",
            RED,
            {"content_type": "image/png", "origin": "https://evil.example"},
            403,
            "may not use",
        ),
    ],
)
def test_what_is_refused_is_a_sentence_in_json(serving, method, path, body, headers, status, sentence):
    got, answer, response = serving.ask(method, path, body, **headers)
    assert got == status, answer
    assert sentence in answer["error"]
    assert response.getheader("x-content-type-options") == "nosniff"


def test_too_many_photos_a_request(serving):
    status, answer, _ = serving.predict([(f"{i}.png", RED) for i in range(4)])
    assert status == 413 and "at most 3 photos" in answer["error"]


def test_descriptors_as_json_and_npy_give_the_same_answers(serving, predictor):
    vectors = np.random.default_rng(0).random((4, WIDTH))
    file = io.BytesIO()
    np.save(file, vectors.astype(np.float32))
    body = json.dumps({"descriptors": vectors.astype(np.float32).tolist()})
    _, by_json, _ = serving.ask("POST", "/descriptors", body, content_type="application/json")
    _, by_npy, _ = serving.ask("POST", "/descriptors", file.getvalue(), content_type="application/x-npy")
    assert by_json == by_npy
    direct = predictor.answer(vectors)
    given = [face["answers"]["colour"]["probabilities"]["red"] for face in by_npy["faces"]]
    np.testing.assert_allclose(given, direct["p:colour=red"], atol=1e-5)


def test_a_pickle_or_a_lying_header_in_a_npy_file_is_refused():
    marked = []

    class Bomb:
        def __reduce__(self):
            return marked.append, (1,)

    file = io.BytesIO()
    np.save(file, np.array([[Bomb()]], dtype=object), allow_pickle=True)
    for data in (file.getvalue(), pickle.dumps([[1.0]]), b"\x93NUMPY\x01\x00", b""):
        with pytest.raises(Refused, match=r"no \.npy file of numbers"):
            uploads.parse_npy(data)
    good = io.BytesIO()
    np.save(good, np.ones((2, 3)))
    lying = good.getvalue().replace(b"(2, 3)", b"(9**9, 3)"[:6])
    with pytest.raises(Refused):
        uploads.parse_npy(lying)
    huge = good.getvalue().replace(b"'shape': (2, 3), }", b"'shape': (2222222, 3333333), }"[:18])
    with pytest.raises(Refused):
        uploads.parse_npy(huge)
    fortran = io.BytesIO()
    np.save(fortran, np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    np.testing.assert_array_equal(uploads.parse_npy(fortran.getvalue()), np.arange(6.0).reshape(2, 3))


def test_a_body_that_does_not_come_ends_in_a_sentence_and_the_server_goes_on(serving):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as slow:
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nxx"
        )
        received = b""
        while piece := slow.recv(4096):
            received += piece
    assert b"408" in received.split(b"\r\n")[0] and b"had not come after 1 s" in received
    assert serving.predict([("a.png", RED)])[0] == 200


def test_headers_that_do_not_come_close_the_connection(serving):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        assert slow.recv(10) == b""  # closed by the server: no answer, no wait without an end
    assert serving.ask("GET", "/health")[0] == 200


def test_a_client_that_goes_away_leaves_nothing_waiting(serving):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as gone:
            gone.sendall(
                b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9000\r\n\r\nxx"
            )
    for _ in range(600):  # until the server has noticed
        if serving.ask("GET", "/health")[1]["waiting"] == 0:
            break
    assert serving.predict([("a.png", RED)])[0] == 200


def test_health_model_and_metrics_say_what_they_are(serving, predictor):
    assert serving.ask("GET", "/health")[1]["status"] == "ok"
    _, model, _ = serving.ask("GET", "/model")
    assert model["fingerprint"] == predictor.fingerprint
    assert [task["name"] for task in model["tasks"]] == list(predictor.tasks)
    serving.predict([("a.png", RED)])
    _, text, _ = serving.ask("GET", "/metrics")
    counted = float(re.search(r'faceworkbook_requests_total\{path="/predict",status="200"\} (\S+)', text)[1])
    assert counted >= 1
    assert "a.png" not in text


def test_an_unknown_path_is_no_new_line_of_the_metrics(serving):
    for i in range(30):
        serving.ask("GET", f"/{i}")
    assert "/17" not in serving.ask("GET", "/metrics")[1]


def test_a_predictor_that_breaks_on_one_photo_costs_that_request_alone(predictor, monkeypatch):
    class Breaking:
        def __getattr__(self, name):
            return getattr(predictor, name)

        def stream(self, photos, *, faces):
            photos = list(photos)
            if any(photo.image == BLUE for photo in photos):
                raise MemoryError("blue")
            return predictor.stream(photos, faces=faces)

    server = Serving(Breaking(), LIMITS)
    try:
        outcomes = {}
        threads = [
            threading.Thread(target=lambda n=n, d=d: outcomes.setdefault(n, server.predict([(n, d)])[0]))
            for n, d in [("r", RED), ("b", BLUE), ("g", GREEN)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == {"r": 200, "g": 200, "b": 500}
    finally:
        server.stop()


def test_a_full_queue_says_try_again(predictor):
    entered, go_on = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(predictor, name)

        def stream(self, photos, *, faces):
            entered.set()
            assert go_on.wait(60)
            return predictor.stream(photos, faces=faces)

    server = Serving(Slow(), Limits(waiting=2, body_s=1.0))
    try:
        statuses = []
        first = threading.Thread(target=lambda: statuses.append(server.predict([("a", RED), ("b", RED)])[0]))
        first.start()
        assert entered.wait(60)
        status, answer, response = server.predict([("c", RED)])
        assert (
            status == 503
            and "2 photos are waiting" in answer["error"]
            and response.getheader("retry-after") == "1"
        )
        go_on.set()
        first.join()
        assert statuses == [200]
    finally:
        go_on.set()
        server.stop()


def test_the_page_runs_one_script_loads_nothing_and_escapes_what_a_folder_says(serving):
    status, html, response = serving.ask("GET", "/")
    policy = response.getheader("content-security-policy")
    assert status == 200 and "default-src 'none'" in policy and "connect-src 'self'" in policy
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:", html)
    assert "not who people are" in html


def test_a_taken_port_and_a_foreign_address_are_sentences():
    from faceworkbook.serving.checks import PredictorError

    taken = running.listen("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(PredictorError, match="choose another --port"):
        running.listen("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(PredictorError, match="nothing can listen on"):
        running.listen("127.0.0.1", 99999)
    assert running.is_local("127.0.0.1") and running.is_local("::1") and not running.is_local("0.0.0.0")
