import pytest

from faceworkbook import datasets

HEADER = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
AVERAGES = {
    "train": "000000.jpg,36,5.0277,0.9706,4\n000001.jpg,50,20.5,3.25,18\n",
    "valid": "004113.jpg,38,61.2,6.5,60\n",
    "test": "005613.jpg,40,33.3,4.5,41\n",
}


def appa_set(averages=AVERAGES, **others):
    files = {f"gt_avg_{split}.csv": HEADER + rows for split, rows in averages.items()}
    for split, rows in AVERAGES.items():
        for line in rows.splitlines():
            name = line.split(",")[0]
            files |= {f"{split}/{name}{end}": b"" for end in ("", "_face.jpg", ".mat")}
    return files | others


@pytest.mark.parametrize(("images", "end"), [("face", "_face.jpg"), ("whole", "")])
def test_ages_with_their_spread(lay, images, end):
    dataset = datasets.load("appa_real", lay(appa_set()), images=images)
    table = dataset.faces.set_index("image")
    assert dataset.left_out.empty and dataset.notices.empty
    row = table.loc[f"train/000000.jpg{end}"]
    assert row[["age", "apparent_age", "apparent_age_std", "n_ratings"]].tolist() == [4, 5.0277, 0.9706, 36]
    assert table["split"].tolist() == ["train", "train", "validation", "test"]


def test_averages_are_made_of_single_guesses(lay):
    files = {name: text for name, text in appa_set().items() if not name.startswith("gt_avg")}
    guesses = "file_name,real_age,apparent_age,worker_age,worker_gender\n"
    rows = "000000.jpg,4,4,30,male\n000000.jpg,4,6,40,female\n000000.jpg,4,x,40,female\n000001.jpg,18,20,1,male\n"
    dataset = datasets.load("appa_real", lay(files | {"gt_train.csv": guesses + rows}))
    table = dataset.faces.set_index("image")
    row = table.loc["train/000000.jpg_face.jpg"]
    assert row[["age", "apparent_age", "n_ratings"]].tolist() == [4, 5, 2]
    assert row["apparent_age_std"] == pytest.approx(2**0.5)
    assert table["apparent_age_std"].isna().tolist() == [False, True]
    assert set(dataset.notices["reason"]) == {"table missing"} and len(table) == 2


def test_chalearn_lap_has_photos_and_no_real_age(lay):
    tables = {
        f"{split}_gt.csv": f"image,mean,stdv\n{split}.jpg,30.5,4.2\n" for split in ("train", "valid", "test")
    }
    pictures = {f"{split}/{split}.jpg": b"" for split in ("train", "valid", "test")}
    table = datasets.load("appa_real", lay(tables | pictures)).faces
    assert table["apparent_age"].tolist() == [30.5] * 3 and table["age"].isna().all()
    assert table["split"].tolist() == ["train", "validation", "test"]


def test_a_bad_value_costs_its_label_only(lay):
    bad = AVERAGES | {"train": "000000.jpg,36,5.0277,0.9706,200\n000001.jpg,50,?,3.25,18\n"}
    dataset = datasets.load("appa_real", lay(appa_set(bad)))
    assert len(dataset.faces) == 4
    assert dataset.faces["age"].isna().tolist() == [True, False, False, False]
    assert dataset.faces["apparent_age"].isna().tolist() == [False, True, False, False]
    assert dataset.notices["reason"].tolist() == ["bad value in real_age"]


def test_rows_that_contradict_and_lost_pictures_are_listed(lay):
    files = appa_set(
        AVERAGES | {"valid": AVERAGES["valid"] + "004113.jpg,38,61.2,6.5,59\n"}, **{"test/9.jpg": b""}
    )
    del files["train/000001.jpg_face.jpg"]
    dataset = datasets.load("appa_real", lay(files))
    assert sorted(dataset.left_out["reason"]) == [
        "no picture",
        "no row",
        "rows contradict",
        "rows contradict",
    ]


def test_another_folder_is_answered_with_the_layout(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)gt_avg_train\.csv.*Expected layout"):
        datasets.load("appa_real", lay(["a.jpg"]))
