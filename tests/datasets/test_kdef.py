import pytest

from faceworkbook import datasets
from faceworkbook.datasets import kdef

EMOTIONS, ANGLES = ("AF", "AN", "DI", "HA", "NE", "SA", "SU"), ("FL", "HL", "S", "HR", "FR")


def person(code, *, without=()):
    names = [f"{code}{emotion}{angle}.JPG" for emotion in EMOTIONS for angle in ANGLES]
    return [f"{code}/{name}" for name in names if name not in without]


def test_names_become_labels(lay):
    table = datasets.load("kdef", lay(["AF01/AF01ANFL.JPG", "BF01/BF01NES.JPG", "AM02/AM02SUHR.JPG"])).faces
    rows = table.set_index("image")[["identity", "gender", "emotion", "yaw", "session"]].astype(object)
    assert rows.loc["AF01/AF01ANFL.JPG"].tolist() == ["kdef:F01", "female", "anger", -90, "A"]
    assert rows.loc["BF01/BF01NES.JPG"].tolist() == ["kdef:F01", "female", "neutral", 0, "B"]
    assert rows.loc["AM02/AM02SUHR.JPG"].tolist() == ["kdef:M02", "male", "surprise", 45, "A"]


def test_both_series_are_the_same_people(lay):
    table = datasets.load("kdef", lay(person("AF01") + person("BF01") + person("AM01"))).faces
    assert table["identity"].value_counts().to_dict() == {"kdef:F01": 70, "kdef:M01": 35}


@pytest.mark.parametrize(
    "names", [["KDEF_and_AKDEF/KDEF/AF01/AF01ANS.JPG"], ["AF01ANS.JPG"], ["af01ans.jpeg"]]
)
def test_where_the_pictures_lie_does_not_matter(lay, names):
    assert datasets.load("kdef", lay(names)).faces["emotion"].astype(str).tolist() == ["anger"]


def test_a_misnamed_picture_is_the_one_that_the_person_lacks(lay):
    files = [*person("AF31", without=["AF31SUFR.JPG"]), "AF31/AF31V.JPG"]
    dataset = datasets.load("kdef", lay(files))
    row = dataset.faces.set_index("image").loc["AF31/AF31V.JPG"]
    assert (row["emotion"], row["yaw"]) == ("surprise", 90)
    assert dataset.notices["reason"].tolist() == ["name repaired"]
    two = [*person("AF31", without=["AF31SUFR.JPG", "AF31AFS.JPG"]), "AF31/AF31V.JPG"]
    dataset = datasets.load("kdef", lay(two))
    assert len(dataset.faces) == 33 and dataset.left_out["reason"].tolist() == ["name malformed"]


def test_averaged_faces_copies_and_foreign_names_are_listed(lay):
    files = ["AF01/AF01ANS.JPG", "all/AF01ANS.JPG", "AKDEF/FAFFL.JPG", "AF01/AF01XXS.JPG", "readme.txt"]
    reasons = set(datasets.load("kdef", lay(files)).left_out["reason"])
    assert reasons == {"picture repeated", "averaged face", "name malformed", "not a picture"}


def test_another_folder_is_answered_with_the_layout(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)AF01ANS\.JPG.*Expected layout"):
        datasets.load("kdef", lay(["20_0_1_2017.jpg"]))


def test_all_codes_are_known():
    assert set(kdef._EMOTIONS) == set(EMOTIONS) and list(kdef._YAWS) == list(ANGLES)
