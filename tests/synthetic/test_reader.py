"""Reading labels.csv: what does not fit is left out and listed, never dropped in silence."""

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import datasets

ROW = {
    "face_id": "synthetic-a", "image": "images/a.jpg", "identity": "person0000", "gender": "female", "race": "Black",
    "age": 31.5, "emotion": "fear", "yaw": -12.5, "pitch": 3.0, "roll": 0.5, "top": 30.0, "left": 40.0,
    "bottom": 90.0, "right": 85.0, "split": "test",
}  # fmt: skip


def write(folder, *changes):
    """A data set with one row a change of `ROW`, and a picture for each."""
    (folder / "images").mkdir()
    rows = []
    for i, change in enumerate(changes):
        rows.append({**ROW, "face_id": f"synthetic-{i}", "image": f"images/{i}.jpg", **change})
        cv2.imwrite(str(folder / f"images/{i}.jpg"), np.full((128, 128, 3), 90, np.uint8))
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def test_a_row_is_read_as_it_stands(tmp_path):
    write(tmp_path, {})
    face = datasets.load("synthetic", tmp_path).faces.iloc[0]
    assert (face["gender"], face["race"], face["emotion"], face["split"]) == (
        "female",
        "Black",
        "fear",
        "test",
    )
    assert (face["age"], face["yaw"], face["bottom"]) == (31.5, -12.5, 90.0)


@pytest.mark.parametrize(
    ("column", "value"), [("gender", "f?"), ("emotion", "joyless"), ("age", "old"), ("yaw", "left")]
)
def test_a_bad_label_is_noticed_and_the_face_stays(tmp_path, column, value):
    write(tmp_path, {}, {column: value}, {})
    dataset = datasets.load("synthetic", tmp_path)
    assert dataset.faces[column].isna().tolist() == [False, True, False]
    assert dataset.notices["image"].tolist() == ["images/1.jpg"]
    assert len(dataset.left_out) == 0


def test_a_row_without_a_picture_is_listed_and_so_is_a_picture_without_a_row(tmp_path):
    write(tmp_path, {}, {"image": "images/none.jpg"}, {})
    dataset = datasets.load("synthetic", tmp_path)
    assert len(dataset.faces) == 2
    assert dict(zip(dataset.left_out["image"], dataset.left_out["reason"], strict=True)) == {
        "images/none.jpg": "no picture",
        "images/1.jpg": "no row",
    }


def test_a_table_without_a_column_is_refused(tmp_path):
    write(tmp_path, {})
    pd.DataFrame([ROW]).drop(columns="roll").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(datasets.DatasetError, match="roll"):
        datasets.load("synthetic", tmp_path)


def test_a_folder_without_labels_shows_the_layout(tmp_path):
    with pytest.raises(datasets.DatasetError, match=r"labels\.csv"):
        datasets.load("synthetic", tmp_path)
