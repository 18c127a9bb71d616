"""``workbook doctor``: what is missing, changed or computes something else is named."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from faceworkbook import cli
from faceworkbook.reports import doctor_command as doctor
from tests.conftest import REPO


def lines(check, *given):
    return [*check(*given)]


def test_every_embedded_network_is_among_the_published_ones():
    shipped = {path.relative_to(REPO / "weights") for path in (REPO / "weights").glob("*/*")}
    networks = {
        path.as_posix()
        for path in shipped
        if path.suffix in (".h5", ".onnx", ".npz") and path.parts[0] not in ("cache", "predictor_fairface")
    }
    assert networks <= set(doctor.PUBLISHED)


def test_the_embedded_weights_are_the_published_ones():
    states = [state for state, text in lines(doctor.check_weights) if "published file" in text]
    assert states == [doctor.OK] * len(doctor.PUBLISHED)


def test_changed_and_missing_weights_are_named(tmp_path):
    first, second, *others = doctor.PUBLISHED
    shutil.copytree(REPO / "weights/facemesh", tmp_path / "facemesh")
    (tmp_path / first).parent.mkdir()
    content = bytearray((REPO / "weights" / first).read_bytes())
    content[5000] ^= 1
    (tmp_path / first).write_bytes(content)
    (tmp_path / "vgg_face.mat").write_bytes(b"x")
    changed, missing, *fine, own = lines(doctor.check_weights, tmp_path)
    assert fine == [(doctor.OK, f"weights: {name}, the published file") for name in others]
    assert changed[0] == missing[0] == doctor.WRONG and own[0] == doctor.NOTE
    assert first in changed[1] and "another file" in changed[1] and f"{second} is missing" in missing[1]
    assert "vgg_face.mat" in own[1] and "no SHA-256 is published" in own[1]


def test_versions_are_compared_with_the_lock(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        f"numpy=={np.__version__} \\\n    --hash=sha256:00\nnumpy==9.9 ; python_version > '3.99'\npandas==0.1 ; python_version > '3'\nnot-there==1\n"
    )
    same, other = lines(doctor.check_versions, lock)
    assert same[0] == doctor.OK and "1 packages" in same[1]
    assert (
        other[0] == doctor.NOTE
        and "pandas" in other[1]
        and "lock: 0.1" in other[1]
        and "not-there" not in other[1]
    )
    assert lines(doctor.check_versions, tmp_path / "none.lock")[0][0] == doctor.NOTE


def test_a_full_disk_is_wrong(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert lines(doctor.check_disk)[0][0] == doctor.WRONG


class Fake:
    name = "onnx"

    def __init__(self, vector):
        self.vector = vector

    def run(self, pixels):
        assert pixels.shape == (1, 224, 224, 3)
        return np.array([self.vector])


@pytest.mark.parametrize(
    ("factor", "state", "code"),
    [(1.0, doctor.OK, 0), (1.00001, doctor.OK, 0), (1.05, doctor.WRONG, 1), (0.0, doctor.WRONG, 1)],
)
def test_an_engine_that_computes_something_else_is_wrong(monkeypatch, capsys, factor, state, code):
    vector = np.zeros(1024)
    vector[: len(doctor.KNOWN)] = np.multiply(doctor.KNOWN, factor)
    monkeypatch.setattr("faceworkbook.descriptors.engines.choose", lambda backbone: Fake(vector))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    assert cli.main(["doctor"]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(state) and "faceres_deep by onnx" in last


def test_nan_is_no_known_descriptor(monkeypatch):
    monkeypatch.setattr(
        "faceworkbook.descriptors.engines.choose", lambda backbone: Fake(np.full(1024, np.nan))
    )
    assert lines(doctor.check_network)[0][0] == doctor.WRONG


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_the_embedded_network_gives_the_known_descriptor():
    ((state, text),) = lines(doctor.check_network)
    assert state == doctor.OK, text
