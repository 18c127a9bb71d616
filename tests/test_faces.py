import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import faces


def table(**columns):
    return faces.build({"image": ["a.jpg", "b/c.png"], **columns}, dataset="mine")


def test_columns_kinds_and_defaults():
    built = table(gender=["male", None], age=[3, np.nan])
    assert list(built.columns) == list(faces.COLUMNS)
    assert built["face_id"].tolist() == ["mine:a.jpg", "mine:b/c.png"]
    assert built["gender"].isna().tolist() == [False, True]
    assert tuple(built["gender"].cat.categories) == faces.GENDERS
    assert built["age_group"].cat.ordered and not built["race"].cat.ordered
    assert built["emotion"].isna().all() and built["fold"].dtype == "Int64"


def test_an_index_of_the_input_is_of_no_account():
    built = faces.build(
        {
            "image": pd.Series(["a", "b"], index=[7, 3]),
            "gender": pd.Series(["male", "female"], index=[7, 3]),
            "extra_x": pd.Series([1, 2], index=[7, 3]),
        },
        dataset="mine",
    )
    assert built.index.tolist() == [0, 1]
    assert built["gender"].tolist() == ["male", "female"] and built["extra_x"].tolist() == [1, 2]


def test_votes_targets_and_extras_are_kept_in_their_order():
    built = table(votes_b=[1, 2], votes_a=[3, 4], target_a=[0.5, None], extra_s=["x", None])
    assert list(built.columns)[len(faces.COLUMNS) :] == ["votes_b", "votes_a", "target_a", "extra_s"]
    assert built["votes_b"].dtype == float and built["target_a"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"gender": ["man", "male"]}, r"column 'gender' holds \['man'\]; allowed are \['male', 'female'\]"),
        ({"gender": [0, 1]}, "column 'gender' holds"),
        ({"age": [-1, 3]}, "column 'age' holds -1"),
        ({"age": [np.inf, 3]}, "column 'age' holds inf"),
        ({"age": ["old", 3]}, "column 'age' must be Float64"),
        ({"fold": [0.5, 1]}, "column 'fold' must be Int64"),
        ({"yaw": [181, 0]}, "column 'yaw' holds 181"),
        ({"face_id": ["x", "x"]}, "face_id 'x' stands 2 times"),
        ({"face_id": ["x", None]}, "'face_id' is missing in 1 rows"),
        ({"split": ["train", "valid"]}, "column 'split' holds 'valid'"),
        ({"top": [1, 1], "left": [1, 1], "bottom": [2, 1], "right": [2, 2]}, "box without area"),
        ({"top": [1, None], "left": [1, 1], "bottom": [2, 2], "right": [2, 2]}, "missing sides"),
        ({"big smile": [1, 0]}, "column 'big smile': a name has letters"),
        ({"gender": ["male"]}, "has 1 values for 2 pictures"),
    ],
)
def test_a_broken_table_names_column_and_value(columns, message):
    with pytest.raises(faces.FaceTableError, match=message):
        table(**columns)


@pytest.mark.parametrize(
    "path", ["/a.jpg", "../a.jpg", "a/../../b.jpg", "C:\\a.jpg", "\\a.jpg", "a\\..\\b.jpg"]
)
def test_a_path_out_of_the_root_is_refused(path):
    with pytest.raises(faces.FaceTableError, match="leaves the data set's root"):
        faces.build({"image": [path]}, dataset="mine")


def test_other_vocabularies():
    built = faces.build(
        {"image": ["a"], "race": ["Middle Eastern"]},
        dataset="mine",
        vocabularies={"race": faces.RACES_FAIRFACE},
    )
    assert tuple(built["race"].cat.categories) == faces.RACES_FAIRFACE


@pytest.mark.parametrize("spelling", ["12", "12.0", " 12 ", 12, 12.0, np.float64(12)])
def test_a_person_has_one_spelling(spelling):
    built = table(identity=[spelling, "anna \u0065\u0301"])
    assert built["identity"].tolist() == ["12", "anna \u00e9"]
    assert table(identity=["", "007"])["identity"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "kind", "held"),
    [
        ([True, False], "classes", ["yes", "no"]),
        (["true", "False"], "classes", ["yes", "no"]),
        (["Yes", None], "classes", ["yes", None]),
        ([1, None], "number", [1, None]),
        (np.array([0.5, np.nan]), "number", [0.5, None]),
        (["blue", "green"], "classes", ["blue", "green"]),
        (pd.Categorical(["low", "high"], ["low", "high"], ordered=True), "ordered", ["low", "high"]),
    ],
)
def test_the_kind_of_a_column_of_ones_own(values, kind, held):
    built = table(mine=values)
    assert faces.label_kind(built, "mine") == kind
    assert built["mine"].astype(object).where(built["mine"].notna(), None).tolist() == held


def test_what_cannot_be_learned_is_no_label():
    n = 300
    built = faces.build(
        {
            "image": [f"{i}.jpg" for i in range(n)],
            "note": [f"text {i}" for i in range(n)],
            "word": [f"word {i % 150}" for i in range(n)],
            "votes_x": range(n),
            "target_x": range(n),
        },
        dataset="mine",
    )
    assert faces.label_columns(built) == [] and {"note", "word"} <= set(built)
    assert faces.label_columns(built.assign(content_hash=["a", "b"] * (n // 2))) == []
    for name in ("note", "identity", "no_such"):
        with pytest.raises(faces.FaceTableError, match="is no label"):
            faces.label_kind(built, name)
    with pytest.raises(faces.FaceTableError, match="infinite"):
        table(mine=[np.inf, 1])


def test_labels_and_classes_that_occur():
    built = table(gender=["female", None], age=[3, 4])
    assert faces.label_columns(built) == ["gender", "age"]
    assert faces.known_classes(built, "gender") == ["female"]


def test_an_empty_table_keeps_its_columns():
    assert list(faces.build({"image": []}, dataset="mine").columns) == list(faces.COLUMNS)


@given(st.lists(st.one_of(st.none(), st.floats(0, 130)), min_size=1, max_size=20))
def test_age_groups_have_the_edges_between_adiences_classes(ages):
    groups = faces.age_to_group(pd.Series(ages, dtype="Float64"))
    edges = [*faces.AGE_EDGES_ADIENCE, np.inf]
    for age, group in zip(ages, groups, strict=True):
        if age is None:
            assert pd.isna(group)
        else:
            index = faces.AGE_GROUPS_ADIENCE.index(group)
            assert edges[index] <= age < edges[index + 1]


def test_every_class_of_adience_falls_into_its_own_bin():
    for group in faces.AGE_GROUPS_ADIENCE:
        for age in map(float, group.split("-")):
            assert faces.age_to_group(pd.Series([age])).tolist() == [group]


@given(
    st.lists(
        st.tuples(st.sampled_from([*faces.GENDERS, None]), st.sampled_from([*faces.EMOTIONS, None])),
        min_size=1,
        max_size=20,
    )
)
def test_labels_come_back_as_they_went_in(labels):
    genders, emotions = zip(*labels, strict=True)
    built = faces.build(
        {"image": [f"{i}.jpg" for i in range(len(labels))], "gender": genders, "emotion": emotions},
        dataset="mine",
    )
    back = built[["gender", "emotion"]].astype(object)
    assert back.where(back.notna(), None).to_numpy().tolist() == [list(pair) for pair in labels]


def test_any_further_column_is_a_label_of_ones_own():
    built = faces.build(
        {
            "image": ["1.jpg", "2.jpg", "3.jpg", "4.jpg"],
            "smile": [True, False, None, True],
            "mood": ["calm", "calm", "tense", "tense"],
            "score": [1, 2.5, None, 4],
            "note": ["a", "b", "c", "d"],
        },
        dataset="t",
    )
    assert built["smile"].astype(object).tolist()[:2] == ["yes", "no"] and built["smile"].isna().sum() == 1
    assert list(built["smile"].cat.categories) == ["no", "yes"]
    assert faces.is_class_label(built["mood"]) and not faces.is_class_label(built["score"])
    assert faces.label_columns(built) == ["smile", "mood", "score"]
    assert faces.count_labels(built)["label"].tolist() == ["smile", "mood", "score"]


def test_a_person_has_one_name():
    written = pd.Series(
        ["007", 7, 7.0, "7", " 7.0 ", "Ann\u00e9", "ANNE\u0301", None, "\u200b", "7a", "0", "00"]
    )
    named = faces.name_people(written)
    assert named.where(named.notna(), None).tolist() == [
        *["007"] * 5,
        *["Ann\u00e9"] * 2,
        *(None, None, "7a", "0", "0"),
    ]
