"""Damaged bytes at every door: a value, or the one error that the door names in its docstring; nothing else.

``FACEWORKBOOK_FUZZ=10000 pytest tests/fuzz`` tries that many inputs a door; the default takes seconds. Inputs follow
from the door's name and their number alone. One that came through is kept in `KEPT`, as a few bytes.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from faceworkbook import data_record, datasets, decoding, matlab, splits
from faceworkbook.backbones import WeightsError, h5_weights, own_files, sidecar, torch7
from faceworkbook.data_record import DataError
from faceworkbook.datasets import DatasetError
from faceworkbook.descriptors import vector_files
from faceworkbook.evaluation import predictions
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.reports import experiments, looks, parameters
from faceworkbook.reports.parameters import ParameterError
from faceworkbook.serving import PredictorError, folder
from faceworkbook.tasks import Task
from faceworkbook.training import checkpoint
from faceworkbook.training.checkpoint import CheckpointError
from tests.serving.toys import write_toy
from tests.support import onnx_toys, vgg_files

INPUTS = int(os.environ.get("FACEWORKBOOK_FUZZ", "60"))  # a door
N = 24
TEXTS = [b"", b"\0", b"\xff" * 8, b"[" * 3000, b"{", b"}", b"&a [*a]", b"!!python/object:os.system x", b"2001-99-99", b"\n", b"'",
         b"1e999", b"-0", b"NaN", b"null", b"\xef\xbb\xbf", b"<b>", b"=1+1", b"../..", b"\xe2\x80\xae", b"9" * 400, b": ", b"- "]  # fmt: skip


@dataclass(frozen=True)
class Door:
    """A parser: what it is given whole, how it is entered, and the errors that it may answer with."""

    make: Callable[[Path], Path]
    enter: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    share: int = 1  # one of so many inputs: each costs a process of its own


def faces_table() -> pd.DataFrame:
    gender = pd.Categorical(["female", "male"] * (N // 2))
    table = pd.DataFrame({"face_id": [f"f{i}" for i in range(N)], "gender": gender, "age": 30.0})
    return table.assign(identity=pd.array([f"p{i // 2}" for i in range(N)], dtype="string"), image="a.png")


def write(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        path = place / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def make_torch(place: Path) -> Path:
    with (place / "a.t7").open("wb") as file:
        small = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "p": 0.5, "name": "x", "on": True}
        vgg_files._TorchWriter(file).write(("nn.Sequential", {"modules": {1.0: ("nn.Linear", small)}}))
    return place / "a.t7"


def make_mat(place: Path) -> Path:
    cells = np.empty((1, 3), object)
    cells[0, :] = [np.eye(2), "text", np.arange(3, dtype="u1")]
    content = {"net": {"layers": cells, "meta": {"name": "x", "size": np.array([[1.0, 2.0]])}}, "z": "two"}
    scipy.io.savemat(place / "a.mat", content)
    return place / "a.mat"


def make_hdf5(place: Path) -> Path:
    layers = {"conv1_1": {"kernel:0": np.ones((3, 3, 3, 4), "f4"), "bias:0": np.zeros(4, "f4")}, "pool": {}}
    vgg_files.write_keras_weights(place / "a.h5", layers)
    return place / "a.h5"


def make_onnx(place: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra [fast] is not installed")
    onnx_toys.write(place / "net.onnx", size=16, dim=4)
    (place / "net.yaml").write_text("size: 16\nchannels: RGB\nmean: 127.5\nscale: 1/127.5\n")
    return place / "net.onnx"


def make_hdf5_vectors(place: Path) -> Path:
    with h5py.File(place / "v.h5", "w") as file:
        file.create_dataset("descriptors", data=np.eye(4, dtype="f4"), chunks=(2, 4), compression="gzip")
        file["images"] = [f"{i}.png" for i in range(4)]
    return place / "v.h5"


def make_predictions(place: Path) -> Path:
    faces = faces_table()
    task = Task("gender", classes=("female", "male"))
    shares = np.linspace(0.1, 0.9, N)
    table = predictions.build(
        faces, task, truth=faces["gender"].astype(object).to_numpy(), output=shares, split="test"
    )
    return predictions.write(table, place / "p.parquet", made_from={"split": "abc"})


def make_split(place: Path) -> Path:
    return splits.save(splits.make(faces_table(), label="gender"), place / "split.json", faces_table())


def make_checkpoint(place: Path) -> Path:
    arrays = {"weights": [np.ones((2, 2)), np.zeros(3)]}
    checkpoint.write(place / "c.npz", identity={"seed": 1}, arrays=arrays, record={"history": [1, 2]})
    return place / "c.npz"


def make_vectors(suffix: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        matrix, path = np.random.default_rng(0).random((6, 4)).astype("f4"), place / f"v{suffix}"
        table = pd.DataFrame({"image": [f"{i}.png" for i in range(6)], "descriptor": [*matrix.tolist()]})
        numbered = pd.DataFrame(matrix, columns=[f"d{i}" for i in range(4)]).assign(image=table["image"])
        if suffix == ".npy":
            np.save(path, matrix)
        elif suffix == ".npz":
            np.savez(path, image=table["image"].to_numpy("U"), descriptors=matrix)
        elif suffix == ".parquet":
            table.to_parquet(path)
        elif suffix == ".json":
            path.write_text(table.to_json(orient="records"))
        else:
            numbered.to_csv(path, index=False)
        return path

    return make


def picture(suffix: str) -> bytes:
    gradient = np.tile(np.arange(0, 256, 8, np.uint8), (24, 1))[..., None].repeat(3, 2)
    return cv2.imencode(suffix, gradient)[1].tobytes()


def make_dataset(place: Path) -> Path:
    for i in range(20, 26):
        (place / f"a{i}.png").write_bytes(picture(".png"))
    path = place / "faces.csv"
    path.write_text(
        "image,gender,age,identity\n" + "".join(f"a{i}.png,male,{i},p{i}\n" for i in range(20, 26))
    )
    return path


def make_corrections(place: Path) -> Path:
    make_dataset(place)
    path = place / "corrections.csv"
    path.write_text("face_id,column,value,was,decision\ncsv:a20.png,gender,female,male,change\n")
    return path


def make_predictor(place: Path) -> Path:
    return write_toy(place / "predictor") / folder.RECORD


def predictor_with_checksum(path: Path) -> object:
    """Enter behind the checksum, which would else refuse every damage."""
    try:
        record = json.loads(path.read_bytes())
        record["checksum"] = folder.checksum(record)
        path.write_text(json.dumps(record))
    except (ValueError, TypeError, RecursionError):
        pass
    from faceworkbook.serving import Predictor

    return Predictor.load(path.parent)


def assignment(path: Path) -> object:
    return parameters.parse_assignment(path.read_bytes().decode("utf-8", "replace"))


EXPERIMENT = "name: x\ntitle: T\nexpected: {metric: accuracy, low: 0.5, high: 1}\nparameters: {seed: 1, label: gender}\nsteps: [01_faces, 02_descriptors, {notebook: 02_descriptors, name: a}]\n"
SIDECAR = "size: 112\nchannels: RGB\nmean: [127.5, 1, 2]\nscale: 1/127.5\nalign: five_points\nlayout: NCHW\nlicence: x\n"
DOORS = {
    "torch7": Door(make_torch, torch7.read, (WeightsError,)),
    "mat": Door(make_mat, matlab.read, (matlab.MatlabError,)),
    "hdf5": Door(make_hdf5, h5_weights.read, (WeightsError,), share=20),
    "vectors .h5": Door(make_hdf5_vectors, vector_files.read, (vector_files.VectorFileError,), share=20),
    "onnx": Door(make_onnx, lambda path: own_files.open_file(path, name="net"), (WeightsError,), share=4),
    "side-car": Door(write("net.yaml", SIDECAR), sidecar.read, (WeightsError,)),
    "assignment": Door(write("p", "widths=[16, 8, true, 0.5]"), assignment, (ParameterError,)),
    "parameters": Door(
        write("p.yaml", "seed: 1\nwidths: [16, 8]\n"), parameters.read_file, (ParameterError,)
    ),
    "experiment": Door(
        write("x.yaml", EXPERIMENT), experiments.outline, (experiments.ExperimentError, ParameterError)
    ),
    "predictions": Door(make_predictions, predictions.read, (PredictionsError,)),
    "split": Door(make_split, lambda path: splits.load(path, faces_table()), (splits.SplitError,)),
    "checkpoint": Door(
        make_checkpoint,
        lambda path: checkpoint.read(path, identity={"seed": 1}, groups=("weights",), keys=("history",)),
        (CheckpointError,),
    ),
    "data record": Door(
        write("data.json", json.dumps(dict.fromkeys(data_record.DataRecord.__dataclass_fields__, "x"))),
        data_record.read,
        (DataError,),
    ),
    "looks": Door(
        write("looks.jsonl", '{"data": "a", "label": "b", "value": 0.5}\n' * 3),
        lambda p: looks.read(p.parent),
        (),
    ),
    "csv": Door(make_dataset, lambda path: datasets.load("csv", path.parent), (DatasetError,)),
    "corrections": Door(
        make_corrections, lambda path: datasets.load("csv", path.parent, corrections=path), (DatasetError,)
    ),
    "predictor": Door(make_predictor, lambda path: folder.read(path.parent), (PredictorError,)),
    "predictor behind its checksum": Door(make_predictor, predictor_with_checksum, (PredictorError,)),
    **{
        f"vectors {suffix}": Door(make_vectors(suffix), vector_files.read, (vector_files.VectorFileError,))
        for suffix in (".npy", ".npz", ".parquet", ".csv", ".json")
    },
    **{
        f"picture {suffix}": Door(
            write(f"a{suffix}", picture(suffix)),
            lambda p: decoding.decode(p.read_bytes()),
            (decoding.UnreadableImage,),
        )
        for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff")
    },
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return `content` with one to three faults: bits, cuts, copies of its own bytes, odd texts."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, size = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 17))
        how = rng.integers(7)
        if how == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del data[at : at + size]
        elif how == 2:
            del data[at:]
        elif how == 3:
            data[at:at] = data[at : at + 8 * size]
        elif how == 4:
            data[at : at + size] = bytes([int(rng.choice([0, 1, 127, 128, 255]))]) * size
        elif how == 5:
            data[at : at + int(rng.integers(2)) * size] = TEXTS[rng.integers(len(TEXTS))]
        else:
            data[at : at + size] = rng.bytes(size)
    return bytes(data)


@pytest.mark.parametrize("name", DOORS)
def test_damaged_bytes_end_in_a_value_or_the_doors_own_error(name, tmp_path):
    door = DOORS[name]
    path = door.make(tmp_path)
    whole = path.read_bytes()
    door.enter(path)
    seed = zlib.crc32(name.encode())
    for number in range(max(1, INPUTS // door.share)):
        path.write_bytes(damaged(whole, np.random.default_rng([seed, number])))
        try:
            door.enter(path)
        except door.errors as error:
            assert str(error).strip() and len(str(error)) < 5000, (name, number)
        except Exception as error:
            raise AssertionError(f"{name}, input {number}: {type(error).__name__}: {error}"[:500]) from error


# What came through once: door, and the bytes.
KEPT: dict[str, tuple[str, bytes]] = {
    "a column that stands twice in corrections": (
        "corrections", b"face_id,column,value,value\ncsv:a20.png,gender,female,male\n"
    ),
    "a date that is none in a side-car": ("side-car", b"size: 2001-99-99\n"),
    "a date that is none in parameters": ("parameters", b"seed: 2001-99-99\n"),
    "a list with a date that is none": ("assignment", b"x=[2001-99-99]"),
    "a number of 5,000 digits in a list": ("assignment", b"x=[" + b"9" * 5000 + b"]"),
    "deep nesting in parameters": ("parameters", b"seed: " + b"[" * 3000),
    "a parameter that stands twice": ("parameters", b"seed: 1\nwidths: [16]\nseed: 2\n"),
    "a key that stands twice in a side-car": ("side-car", SIDECAR.encode() + b"size: 224\n"),
    "a parameter that stands twice in an experiment": (
        "experiment", EXPERIMENT.replace("seed: 1,", "seed: 1, seed: 2,").encode()
    ),
    "aliases of aliases in a side-car": (
        "side-car",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n + 1, n + 1, *[n] * 9) for n in range(97, 106))
        + b"size: *j\n",
    ),
    "aliases of aliases in parameters": (
        "parameters",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n + 1, n + 1, *[n] * 9) for n in range(97, 106)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_came_through_once_is_refused(case, tmp_path):
    name, content = KEPT[case]
    path = DOORS[name].make(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DOORS[name].errors) as caught:
        DOORS[name].enter(path)
    assert len(str(caught.value)) < 1000


def test_inputs_follow_from_their_number():
    whole = io.BytesIO(b"x" * 100).getvalue()
    first, again = (damaged(whole, np.random.default_rng([1, 2])) for _ in range(2))
    assert first == again != damaged(whole, np.random.default_rng([1, 3]))
