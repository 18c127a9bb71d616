import io

import numpy as np
import pytest

from faceworkbook import datasets, faces
from faceworkbook.datasets import affectnet

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
)
TRAIN = "1/a.jpg,10,20,100,120,1.0;2.0;3.0;4.0,1,0.78,-0.05\n2/b.jpg,0,0,50,60,1;2,9,-2,-2\n"
VALID = "1/c.jpg,5,5,90,90,1;2,7,-0.5,0.25\n"


def list_set(train=TRAIN, valid=VALID, *, header=HEADER, valid_header=HEADER, above=""):
    pictures = {f"Manually_Annotated_Images/{name}.jpg": b"" for name in ("1/a", "2/b", "1/c")}
    return pictures | {f"{above}training.csv": header + train, f"{above}validation.csv": valid_header + valid}


def npy(value):
    file = io.BytesIO()
    np.save(file, np.asarray(value))
    return file.getvalue()


def value_set(values):
    files = {}
    for folder, number, *cells in values:
        files[f"{folder}/images/{number}.jpg"] = b""
        for kind, cell in zip(("exp", "val", "aro"), cells, strict=True):
            files[f"{folder}/annotations/{number}_{kind}.npy"] = npy(cell)
        files[f"{folder}/annotations/{number}_lnd.npy"] = npy(np.zeros(136))
    return files


@pytest.mark.parametrize("above", ["", "Manually_Annotated_file_lists/"])
@pytest.mark.parametrize("valid_header", [HEADER, ""])
def test_lists_with_boxes(lay, above, valid_header):
    dataset = datasets.load("affectnet", lay(list_set(above=above, valid_header=valid_header)))
    table = dataset.faces.set_index("image")
    assert dataset.left_out.empty and dataset.notices.empty
    happy = table.loc["Manually_Annotated_Images/1/a.jpg"]
    assert happy["emotion"] == "happiness" and happy["split"] == "train"
    assert happy[["valence", "arousal"]].tolist() == [0.78, -0.05]
    assert happy[[*faces.BOX]].tolist() == [20, 10, 140, 110]
    uncertain = table.loc["Manually_Annotated_Images/2/b.jpg"]
    assert uncertain[["emotion", "valence", "arousal"]].isna().all()
    assert table.loc["Manually_Annotated_Images/1/c.jpg", "split"] == "validation"
    assert table.loc["Manually_Annotated_Images/1/c.jpg", "emotion"] == "contempt"


def test_whole_photos_need_no_box(lay):
    table = datasets.load("affectnet", lay(list_set(TRAIN.replace("100,120", "0,0"))), images="whole").faces
    assert len(table) == 3 and table["top"].isna().all()
    dataset = datasets.load("affectnet", lay(list_set(TRAIN.replace("100,120", "0,0"))))
    assert len(dataset.faces) == 2 and dataset.left_out["reason"].tolist() == ["bad box"]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("1/a.jpg,10,20,100,120,1;2,1,7,0\n", "valence", "bad value in valence"),
        ("1/a.jpg,10,20,100,120,1;2,44,0,0\n", "emotion", "bad value in expression"),
    ],
)
def test_a_bad_value_costs_its_label_only(lay, row, column, reason):
    dataset = datasets.load("affectnet", lay(list_set(row + TRAIN.splitlines(keepends=True)[1])))
    face = dataset.faces.set_index("image").loc["Manually_Annotated_Images/1/a.jpg"]
    assert face.isna()[column]
    assert face["arousal"] == 0 and dataset.notices["reason"].tolist() == [reason]


def test_no_faces_and_contradictions_are_listed(lay):
    train = TRAIN + "1/c.jpg,5,5,90,90,1;2,6,-0.5,0.25\n"
    dataset = datasets.load("affectnet", lay(list_set(train.replace(",9,-2,-2", ",10,-2,-2"))))
    assert dataset.faces["image"].tolist() == ["Manually_Annotated_Images/1/a.jpg"]
    assert sorted(dataset.left_out["reason"]) == ["no face", "rows contradict", "rows contradict"]


def test_values_in_files_of_their_own(lay):
    values = [
        ("train_set", 0, "1", "0.5", "-0.25"),
        ("train_set", 7, 0, -2.0, -2.0),
        ("val_set", 3, ["6"], 0, 1),
    ]
    dataset = datasets.load("affectnet", lay(value_set(values)))
    table = dataset.faces.set_index("image")
    assert table["emotion"].astype(str).tolist() == ["happiness", "neutral", "anger"]
    assert table.loc["train_set/images/0.jpg", ["valence", "arousal"]].tolist() == [0.5, -0.25]
    assert table.loc["train_set/images/7.jpg", ["valence", "arousal"]].isna().all()
    assert table["split"].tolist() == ["train", "train", "validation"] and dataset.left_out.empty


def test_files_that_hold_no_value_are_no_danger(lay, tmp_path):
    class Danger:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    files = value_set([("train_set", n, "1", "0.5", "0") for n in range(5)])
    array = np.empty((), object)
    array[()] = Danger()
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    files["train_set/annotations/0_exp.npy"] = buffer.getvalue()
    files["train_set/annotations/1_val.npy"] = b""
    files["train_set/annotations/2_exp.npy"] = npy(np.zeros(3))
    files["train_set/annotations/3_exp.npy"] = npy("1")[:-3]
    huge = np.lib.format.header_data_from_array_1_0(np.zeros(()))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, huge | {"shape": (10**13,)})
    files["train_set/annotations/4_exp.npy"] = buffer.getvalue()
    dataset = datasets.load("affectnet", lay(files))
    assert not (tmp_path / "made").exists()
    assert dataset.faces["emotion"].notna().tolist() == [False, True, False, False, False]
    assert dataset.faces["valence"].notna().tolist() == [True, False, True, True, True]


def test_a_picture_without_annotations_is_listed(lay):
    files = value_set([("train_set", 0, "1", "0.5", "0")]) | {"train_set/images/9.jpg": b""}
    dataset = datasets.load("affectnet", lay(files))
    assert sorted(dataset.left_out["reason"]) == ["folder missing", "no annotation"]


@pytest.mark.parametrize("files", [["a.jpg"], ["train_set/images/1.jpg"], ["training.csv", "validation.csv"]])
def test_another_folder_is_answered_with_the_layout(lay, files):
    with pytest.raises(datasets.DatasetError, match="Expected layout"):
        datasets.load("affectnet", lay(files))


def test_one_value(tmp_path):
    path = tmp_path / "a.npy"
    for value, text in (("3", "3"), (3, "3"), ([0.25], "0.25"), (np.nan, "nan"), ([1, 2], "")):
        path.write_bytes(npy(value))
        assert affectnet.read_value(path) == text
