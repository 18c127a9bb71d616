import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import sfew

FILES = [
    "Train/Angry/Airheads_000519240_00000005.png",
    "Train/Happy/21_000734444_00000001.png",
    "Val_Aligned_Faces_new/Sad/Harry_Potter_2_001712320_00000019.png",
    "Test/still.png",
]


def test_emotion_split_and_film(lay):
    dataset = datasets.load("sfew", lay([*FILES, "Train/x_000519240_00000005.png", "readme.txt"]))
    rows = dataset.faces[["split", "emotion", "identity"]].astype(object)
    assert rows.where(rows.notna(), None).to_numpy().tolist() == [
        ["test", None, None],
        ["train", "anger", "sfew:Airheads"],
        ["train", "happiness", "sfew:21"],
        ["validation", "sadness", "sfew:Harry_Potter_2"],
    ]
    assert set(dataset.left_out["reason"]) == {"not a picture", "folder malformed"}
    assert dataset.notices["reason"].tolist() == ["film unknown"]


@given(st.lists(st.sampled_from(["Train", "Val", "Test", "Angry", "Sad", "x", ""]), min_size=1, max_size=4))
def test_any_path_is_read_or_refused(folders):
    parsed = sfew.parse_path("/".join(folders))
    if parsed is not None:
        split, emotion, _ = parsed
        assert split in ("train", "validation", "test")
        assert emotion in (None, "anger", "sadness")
        named = [folder for folder in folders if folder in ("Angry", "Sad")]
        assert emotion is not None or split == "test" or folders[-2] not in named


def test_a_folder_of_no_emotion_costs_the_emotion_and_not_the_face(lay):
    dataset = datasets.load("sfew", lay([*FILES, "Train/Bored/x_000519240_00000005.png"]))
    face = dataset.faces.set_index("image").loc["Train/Bored/x_000519240_00000005.png"]
    assert (face["split"], face["identity"]) == ("train", "sfew:x")
    assert pd.isna(face["emotion"])
    assert dataset.left_out.empty
    assert "Bored" in dataset.notices.set_index("reason")["detail"]["bad value in emotion"]


def test_no_labelled_picture_shows_the_layout(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)Train/Angry.*There is: Test/"):
        datasets.load("sfew", lay(["Test/still.png"]))
