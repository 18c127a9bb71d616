"""Faces of a further set train too: none that the tested set shows, and nothing of the tested rows changes."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import datasets, faces, splits, tasks
from faceworkbook.experiments import joined_training
from faceworkbook.experiments.multi_dataset import MultiDatasetError
from faceworkbook.experiments.prepared import PreparedData

SHARED, OTHER = 10, 30


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Two sets of 40 pictures; the further one's first ten are the tested one's last ten, and it has a third class."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    pictures[40 : 40 + SHARED] = pictures[40 - SHARED : 40]
    read = {}
    for name, own in {"own": pictures[:40], "other": pictures[40:]}.items():
        (tmp_path / name).mkdir()
        for i, picture in enumerate(own):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), picture)
        classes = ["male", "female"] if name == "own" else ["female", "male", "male", "unsure"]
        table = faces.build(
            {
                "image": [f"{i}.png" for i in range(40)],
                "smile": [classes[i % len(classes)] for i in range(40)],
            },
            dataset=name,
        )
        read[name] = SimpleNamespace(faces=table, root=tmp_path / name, left_out=pd.DataFrame())
        read[name].need_faces = lambda name=name: read[name]
    monkeypatch.setattr(datasets, "load", lambda name, root: read[name])
    table = read["own"].faces
    split = splits.make(table, label="smile", seed=0)
    matrix = describe(table, "own", tmp_path / "own").matrix
    alone = np.full(40, -1)
    return PreparedData(table, tasks.read_labels(table, "smile"), split, matrix, alone), tmp_path


def describe(table, name, root):
    pixels = [cv2.imread(str(root / image)).ravel() for image in table["image"]]
    return SimpleNamespace(
        face_id=table["face_id"].to_numpy(), matrix=np.array(pixels, np.float32), left_out=table[:0]
    )


def test_the_further_faces_train_and_nothing_else_of_the_tested_set_changes(sets):
    data, folder = sets
    joined = joined_training.add(data, {"other": folder / "other"}, root=folder / "own", describe=describe)
    n = len(data.faces)
    made = joined.data
    assert made.faces["face_id"][:n].tolist() == data.faces["face_id"].tolist()
    np.testing.assert_array_equal(made.matrix[:n], data.matrix)
    np.testing.assert_array_equal(made.labels.codes[:n], data.labels.codes)
    assert made.labels.classes == data.labels.classes == ("female", "male")
    split = joined.extend(data.split)
    np.testing.assert_array_equal(split.test, data.split.test)
    np.testing.assert_array_equal(split.validation, data.split.validation)
    assert set(split.train) == {*data.split.train, *joined.added}
    # The pictures of the further set lie under another root.
    assert all((folder / "own" / image).is_file() for image in made.faces["image"])
    truth = ["female", "male", "male", "unsure"]
    for row in joined.added:
        place = int(made.faces["face_id"][row].split("/")[-1].split(".")[0].split(":")[-1])
        assert made.labels.classes[made.labels.codes[row]] == truth[place % 4]
    assert made.made_from["also_train"]


def test_what_the_tested_set_shows_or_does_not_know_is_left_out_and_counted(sets):
    data, folder = sets
    joined = joined_training.add(data, {"other": folder / "other"}, root=folder / "own", describe=describe)
    added = joined.data.faces.iloc[joined.added]
    places = added["image"].str.extract(r"(\d+)\.png")[0].astype(int)
    assert places.min() >= SHARED and (places % 4 != 3).all()
    counted = joined.excluded.set_index("reason")["faces"]
    assert counted[joined_training.OTHER_CLASS] == 10
    assert counted[joined_training.SHARED] == 8 and len(joined.added) == 40 - 10 - 8


def test_the_tested_set_itself_and_another_kind_of_label_are_refused(sets):
    data, folder = sets
    with pytest.raises(MultiDatasetError, match="also_train names own, the set that is tested"):
        joined_training.add(data, {"own": folder / "own"}, root=folder / "own", describe=describe)
