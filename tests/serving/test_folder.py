"""A predictor's folder: what was written is read, what was changed is refused."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest

from faceworkbook.serving import Predictor, PredictorError, folder
from tests.serving.toys import load_toy, make_record, plain_picture, write_toy


@pytest.fixture
def place(tmp_path):
    return write_toy(tmp_path / "predictor")


def rewrite(place, change, *, signed=True):
    """Change predictor.json as somebody would who can compute the checksum too."""
    path = place / folder.RECORD
    record = json.loads(path.read_text())
    change(record)
    if signed:
        record["checksum"] = folder.checksum(record)
    path.write_text(json.dumps(record))


def test_round_trip_and_a_copy_elsewhere(place, tmp_path):
    first = load_toy(place)
    moved = shutil.copytree(place, tmp_path / "elsewhere" / "other name")
    second = load_toy(moved)
    pictures = [plain_picture(c) for c in ((250, 0, 0), (0, 250, 0), (10, 10, 200))]
    one, other = (p.predict(pictures, faces="whole") for p in (first, second))
    assert one.equals(other) and first.fingerprint == second.fingerprint
    assert one["colour"].tolist() == ["red", "green", "blue"]
    assert first.card.startswith("# toy")


def test_the_folder_of_a_run_is_enough(place):
    assert Predictor.load(place.parent).fingerprint == Predictor.load(place).fingerprint


@pytest.mark.parametrize("name", ["head.npz", "head.keras", "card.md", "predictor.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_damage_of_each_file_is_refused(place, name, damage):
    path = place / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    changed = {"flip": content, "cut": content[:-3], "empty": b""}
    path.unlink()
    if damage != "remove":
        path.write_bytes(changed[damage])
    with pytest.raises(PredictorError, match=name.replace(".", r"\.")):
        Predictor.load(place)


def test_files_that_are_links_are_refused(place, tmp_path):
    shutil.move(place / "head.npz", tmp_path / "head.npz")
    (place / "head.npz").symlink_to(tmp_path / "head.npz")
    with pytest.raises(PredictorError, match="link"):
        Predictor.load(place)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".hidden", "a\x00b", "C:\\x", ""])
def test_names_that_lead_out_of_the_folder_are_refused(place, name):
    rewrite(place, lambda r: r["files"].update({name: "0" * 64}))
    with pytest.raises(PredictorError, match="plain names"):
        Predictor.load(place)


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(record):
        for key in path:
            record = record[key]
        record[last] = value

    return change


HOSTILE = {
    "format of later": _set("format", 99),
    "format as text": _set("format", "1"),
    "no tasks": _set("tasks", []),
    "tasks as text": _set("tasks", "gender"),
    "task of a number with classes": _set("tasks", 1, "task", "classes", ["a", "b"]),
    "class twice": _set("tasks", 0, "task", "classes", ["red", "red", "blue"]),
    "too many classes": _set("tasks", 0, "task", "classes", [str(i) for i in range(5000)]),
    "class count off": _set("tasks", 0, "task", "classes", ["red", "green"]),
    "temperature 0": _set("tasks", 0, "temperature", 0),
    "temperature huge": _set("tasks", 0, "temperature", 10**400),
    "temperature text": _set("tasks", 0, "temperature", "2"),
    "temperature true": _set("tasks", 0, "temperature", True),
    "coverage 2": _set("tasks", 0, "coverage", 2),
    "limit text": _set("tasks", 0, "limits", "red", "x"),
    "limits list": _set("tasks", 0, "limits", [1]),
    "cell text": _set("tasks", 0, "cells", 0, "value", "1"),
    "cell unknown key": _set("tasks", 0, "cells", 0, "code", "1"),
    "bands of texts": _set("tasks", 1, "bands", [["a", "b"]]),
    "unknown key of a task": _set("tasks", 0, "code", "print"),
    "unknown key": _set("code", "print"),
    "title list": _set("title", ["x"]),
    "title long": _set("title", "x" * 10**5),
    "unknown network": _set("networks", 0, "name", "nobody_s"),
    "dim text": _set("networks", 0, "dim", "256"),
    "dim other": _set("networks", 0, "dim", 512),
    "size huge": _set("networks", 0, "preprocessing", "size", [10**6, 10**6]),
    "size one": _set("networks", 0, "preprocessing", "size", [64]),
    "scale text": _set("networks", 0, "preprocessing", "scale", "one"),
    "mean short": _set("networks", 0, "preprocessing", "mean", [1.0]),
    "interpolation": _set("networks", 0, "preprocessing", "interpolation", "__import__"),
    "weights of another hash": _set("networks", 0, "sha256", "0" * 64),
    "share 0": _set("framing", "share", 0),
    "share nan": _set("framing", "share", float("nan")),
    "share infinite": _set("framing", "share", float("inf")),
    "aspect huge": _set("framing", "aspect", 1e9),
    "framing list": _set("framing", []),
    "side huge": _set("detection", "looks", [[0.1, 10**6]]),
    "no look": _set("detection", "looks", []),
    "looks of texts": _set("detection", "looks", ["ab"]),
    "score text": _set("detection", "min_score", "x"),
    "score of alignment above 1": _set("detection", "align_score", 2),
    "faces without points made up": _set("detection", "no_face", "draw"),
    "search endless": _set("detection", "search", 1e9),
    "flagged 7": _set("unlike", "flagged", 7),
    "unlike list": _set("unlike", []),
    "steps of code": _set("head", "steps", 0, "operation", "exec"),
    "array missing": _set("head", "steps", 0, "arrays", ["zzz", "b"]),
    "columns out": _set("head", "outputs", "colour", "nothing"),
    "files list": _set("files", []),
    "nested": _set("made", "x", [[[[[]]]]]),
}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "nested"])
def test_hostile_records_are_refused_in_a_sentence(place, name):
    rewrite(place, HOSTILE[name])
    with pytest.raises(PredictorError) as error:
        Predictor.load(place)
    assert len(str(error.value)) < 2000


def test_weights_that_are_nowhere_are_named(place):
    rewrite(place, HOSTILE["weights of another hash"])
    with pytest.raises(
        PredictorError, match=r"faceres_deep at feats .* SHA-256 0{64}, which is not at .*faceres_deep\.h5"
    ):
        Predictor.load(place)


def test_a_record_that_was_changed_by_hand_is_refused(place):
    rewrite(place, _set("title", "better"), signed=False)
    with pytest.raises(PredictorError, match="changed after it was written"):
        Predictor.load(place)


def test_what_is_no_json_or_too_long_is_refused(place):
    path = place / folder.RECORD
    for content in (b"[]", b"{", b"\xff\xfe", b"[" * 10**5, b'{"format": ' + b"1" * 5000 + b"}"):
        path.write_bytes(content)
        with pytest.raises(PredictorError):
            Predictor.load(place)
    path.write_bytes(b" " * (folder.MAX_RECORD + 1))
    with pytest.raises(PredictorError, match="at most"):
        Predictor.load(place)


def test_pickles_and_bombs_in_the_arrays_are_refused(place):
    def replace(content):
        (place / "head.npz").write_bytes(content)
        rewrite(place, lambda r: r["files"].update({"head.npz": folder.hash_bytes(content)}))

    packed = place.parent / "x.npz"
    np.savez(packed, k=np.array([object()]))
    replace(packed.read_bytes())
    with pytest.raises(PredictorError, match="damaged"):
        Predictor.load(place)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("k.npy", b"\0" * (folder.MAX_ARRAYS + 1))
    replace(packed.read_bytes())
    with pytest.raises(PredictorError, match="unpacks to"):
        Predictor.load(place)
    np.savez(packed, k=np.array([np.nan], np.float32))
    replace(packed.read_bytes())
    with pytest.raises(PredictorError, match="finite"):
        Predictor.load(place)


def test_no_predictor_is_a_sentence(tmp_path):
    with pytest.raises(PredictorError, match=r"holds no predictor\.json"):
        Predictor.load(tmp_path)


def test_files_of_an_earlier_predictor_go(place):
    record, arrays = make_record()
    folder.write(place, record, arrays, {"card.md": "# other\n"})
    assert not (place / "head.keras").exists()
    assert load_toy(place).card == "# other\n"
