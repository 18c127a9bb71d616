"""No person and no copy crosses a split; every class is where it should be; files are kept honest."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import faces as face_table
from faceworkbook import splits
from faceworkbook.splits import allocation
from faceworkbook.splits.corrected import KEPT
from tests.support import planting

ONCE = splits.FoldSizes(n_repeats=1)


def table(n=600, n_people=120, seed=0, **columns):
    rng = np.random.default_rng(seed)
    person = rng.integers(0, n_people, n)
    gender = np.where(person % 3 == 0, "male", "female").astype(object)
    made = {
        "image": [f"p{person[i]}/{i}.jpg" for i in range(n)],
        "identity": [f"p{p}" for p in person],
        "gender": gender,
        "age": rng.integers(1, 90, n),
        "race": rng.choice(face_table.RACES_UTKFACE, n, p=[0.5, 0.2, 0.15, 0.1, 0.05]),
    }
    return face_table.build(made | columns, dataset="made")


def subsets(split):
    return [set(getattr(split, subset).tolist()) for subset in splits.SUBSETS]


def people(faces, rows):
    return set(faces["identity"].iloc[rows].dropna())


def test_no_person_crosses_and_every_row_is_placed_once():
    faces = table()
    split = splits.make(faces, label="race", seed=3)
    train, validation, test = (people(faces, getattr(split, subset)) for subset in splits.SUBSETS)
    assert not (train & validation or train & test or validation & test)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(len(faces)))
    assert split.leakage["leaked"] == 0 and split.leakage["test_rows"] == len(split.test)


def test_shares_and_classes_are_kept_where_rows_are_single():
    faces = table(n=2000, identity=[None] * 2000)
    split = splits.make(faces, label="race", test=0.25, validation=0.15)
    counts = split.report.filter(like="race: ")
    expected = np.outer([0.60, 0.15, 0.25], counts.sum())
    assert np.abs(counts.to_numpy() - expected).max() <= 1


def test_shares_and_classes_are_near_where_people_have_several_rows():
    split = splits.make(table(n=3000, n_people=600), label="gender", test=0.25, validation=0.15)
    counts = split.report.filter(like="gender: ")
    expected = np.outer([0.60, 0.15, 0.25], counts.sum())
    assert np.abs(counts.to_numpy() / expected - 1).max() < 0.05


def test_people_with_many_and_with_few_pictures_are_in_every_subset():
    sizes = np.repeat([40, 2], [20, 400])
    identity = np.repeat([f"p{i}" for i in range(len(sizes))], sizes)
    n = len(identity)
    faces = table(
        n=n, identity=identity, image=[f"{i}.jpg" for i in range(n)], gender=["male", "female"] * (n // 2)
    )
    split = splits.make(faces, label="gender", seed=1)
    many = [faces["identity"].iloc[getattr(split, subset)].value_counts().max() for subset in splits.SUBSETS]
    assert many == [40, 40, 40]


def test_a_class_of_three_people_is_in_every_subset():
    rare = ["Indian"] * 3 + ["White"] * 597
    faces = table(identity=[f"p{i}" for i in range(600)], race=rare)
    for seed in range(5):
        assert splits.make(faces, label="race", seed=seed).report["race: Indian"].tolist() == [1, 1, 1]


def test_a_class_of_three_people_with_several_rows_each_is_in_every_subset():
    identity = [f"p{i // 5}" for i in range(600)]
    faces = table(identity=identity, race=["Indian"] * 15 + ["White"] * 585)
    for seed in range(5):
        assert splits.make(faces, label="race", seed=seed).report["race: Indian"].tolist() == [5, 5, 5]


def test_a_class_too_rare_goes_to_train_and_is_noticed():
    faces = table(identity=[None] * 600, race=["Indian"] + ["White"] * 599)
    split = splits.make(faces, label="race")
    assert 0 in split.train
    assert split.notices == ("race: Indian (1 rows) does not occur in: validation, test",)


@pytest.mark.parametrize("scheme", ["identity", "random"])
def test_same_seed_same_rows_other_seed_others(scheme):
    faces = table()
    one, two, other = (splits.make(faces, label="gender", scheme=scheme, seed=s) for s in (5, 5, 6))
    assert subsets(one) == subsets(two) != subsets(other)


def test_copies_never_cross_even_between_people():
    faces = table(identity=[None] * 600)
    groups = np.where(np.arange(600) < 300, np.arange(600) // 3, splits.ALONE)
    subset = splits.make(faces, label="race", keep_together=groups).subset_of(600)
    placed = pd.Series(subset).groupby(groups).agg(lambda p: len(set(p) - {""}))
    assert placed.drop(splits.ALONE).max() == 1


def test_a_copy_ties_two_people_together():
    faces = table()
    a, b = np.flatnonzero(faces["identity"] == "p1"), np.flatnonzero(faces["identity"] == "p2")
    groups = np.full(600, splits.ALONE)
    groups[[a[0], b[0]]] = 7
    for seed in range(8):
        split = splits.make(faces, label="race", keep_together=groups, seed=seed)
        placed = set(split.subset_of(600)[np.concatenate([a, b])]) - {""}
        assert len(placed) == 1


def test_contradicting_copies_leave_the_test_rows_and_are_listed():
    gender = np.array(["male", "female"] * 300, dtype=object)
    groups = np.where(np.arange(600) < 200, np.arange(600) // 2, splits.ALONE)
    faces = table(identity=[None] * 600, gender=gender)
    split = splits.make(faces, label="gender", keep_together=groups)
    assert (split.test >= 200).all()
    listed = split.left_out[split.left_out["reason"] == splits.CONTRADICTING]
    placed = set(split.train) | set(split.validation) | set(split.test)
    assert set(listed["face_id"]) == set(faces["face_id"].iloc[sorted(set(range(600)) - placed)])
    assert len(listed) > 0 and (listed["subset"] == "test").all()


def test_copies_whose_ages_differ_by_a_year_stay_in_test():
    faces = table(identity=[None] * 600, age=np.tile([25, 26, 40, 60], 150))
    groups = np.where(np.arange(600) < 40, np.arange(600) // 2, splits.ALONE)
    split = splits.make(faces, label="age", keep_together=groups)
    dropped = set(split.contradicting)
    assert dropped and dropped <= set(range(40)) and (faces["age"].iloc[[*dropped]] > 30).all()
    assert set(split.left_out["face_id"]) == set(faces["face_id"].iloc[[*dropped]])


def test_one_person_with_very_many_rows_is_noticed():
    people = ["giant"] * 200 + [f"p{i}" for i in range(400)]
    split = splits.make(table(identity=people), label="gender", seed=1)
    (giant,) = [text for text in split.notices if "giant" in text]
    assert "identity giant holds 200 of" in giant
    assert not splits.make(table(n=600, n_people=300), label="gender").notices


def test_people_whom_copies_join_are_counted():
    groups = np.full(600, splits.ALONE)
    groups[[0, 2, 4]] = 7
    split = splits.make(
        table(identity=[f"p{i // 2}" for i in range(600)]), label="gender", keep_together=groups
    )
    assert any(
        "3 identities share copies of pictures and count as 1 people" in text for text in split.notices
    )


def test_a_split_without_test_rows_is_refused():
    faces = table(identity=[None] * 600, gender=["male", "female"] * 300)
    with pytest.raises(splits.SplitError, match=r"no rows are left in .'test'.*contradict"):
        splits.make(faces, label="gender", keep_together=np.arange(600) // 2)


def test_copies_that_agree_stay_in_test():
    groups = np.arange(600) // 2
    faces = table(identity=[None] * 600, gender=np.repeat(["male", "female"], 300))
    assert len(splits.make(faces, label="gender", keep_together=groups).left_out) == 0


def test_rows_without_the_label_are_left_out_and_listed():
    gender = np.where(np.arange(600) % 10 == 0, None, "male").astype(object)
    gender[1::2] = "female"
    faces = table(gender=gender)
    split = splits.make(faces, label="gender")
    unlabelled = set(np.flatnonzero(faces["gender"].isna()))
    assert unlabelled and not unlabelled & set().union(*subsets(split))
    assert set(split.left_out["face_id"]) == set(faces["face_id"].iloc[sorted(unlabelled)])


def test_several_labels_are_stratified_at_once():
    faces = table(n=2000, identity=[None] * 2000)
    report = splits.make(faces, label=["gender", "race"]).report
    counts = report.filter(regex="gender|race")
    assert np.abs(counts.loc["test"] / counts.sum() - 0.25).max() < 0.03


def test_disjoint_labels_keep_every_labelled_row():
    half = np.arange(600) < 300
    faces = table(
        identity=[None] * 600,
        gender=np.where(half, "male", None),
        race=np.where(half, None, "White"),
    )
    report = splits.make(faces, label=["gender", "race"]).report
    assert report["rows"].sum() == 600
    assert report.loc["test", ["gender: male", "race: White"]].tolist() == [75, 75]


def test_numbers_are_stratified_by_bins_even_when_constant():
    faces = table(n=2000, identity=[None] * 2000)
    split = splits.make(faces, label="age")
    means = [faces["age"].iloc[getattr(split, subset)].mean() for subset in splits.SUBSETS]
    assert np.ptp(means) < 1.0
    constant = table(age=[30] * 600)
    assert splits.make(constant, label="age").report["rows"].sum() == 600


def test_a_label_of_one_class_is_refused():
    with pytest.raises(splits.SplitError, match="every known face is 'male'; a label needs two classes"):
        splits.make(table(gender=["male"] * 599 + [None]), label="gender")


# ----------------------------------------------------------------- careless and official


def test_random_split_leaks_and_says_how_much():
    faces = table(n_people=100)
    split = splits.make(faces, label="race", scheme="random", keep_together=np.arange(600) // 2)
    fitted = np.concatenate([split.train, split.validation])
    by_hand = faces["identity"].iloc[split.test].isin(people(faces, fitted)).sum()
    assert split.leakage["same_person"] == by_hand > 0.9 * len(split.test)
    copies = set(fitted // 2)
    assert split.leakage["same_picture"] == sum(row // 2 in copies for row in split.test)


def test_official_split_is_kept_and_validation_is_carved_from_train():
    faces = table(split=np.where(np.arange(600) < 450, "train", "test"))
    split = splits.make(faces, label="race", scheme="official", validation=0.2)
    assert set(split.test) == set(range(450, 600))
    assert set(split.train) | set(split.validation) == set(range(450))
    assert len(split.validation) == pytest.approx(90, abs=10)
    assert not people(faces, split.train) & people(faces, split.validation)
    assert split.leakage["same_person"] > 0


def test_official_validation_is_tested_where_there_is_no_test_subset():
    faces = table(split=np.where(np.arange(600) < 450, "train", "validation"))
    split = splits.make(faces, label="race", scheme="official")
    assert set(split.test) == set(range(450, 600)) and len(split.validation) > 0


def test_official_rows_without_a_part_are_listed():
    subset = np.where(np.arange(600) < 450, "train", "test").astype(object)
    subset[:7] = None
    split = splits.make(table(split=subset), label="race", scheme="official")
    assert (split.left_out["reason"] == splits.NO_OFFICIAL_SUBSET).sum() == 7


def test_planted_leakage_is_measured_exactly():
    clean = table(n=600, n_people=100)
    subset = np.where(clean["identity"].str[1:].astype(int) < 70, "train", "test")
    clean = table(n=600, n_people=100, split=subset)
    planted = planting.plant_identity_leakage(clean, rate=0.4, seed=1)
    split = splits.make(planted.faces, label="race", scheme="official", validation=0.0)
    assert splits.make(clean, label="race", scheme="official", validation=0.0).leakage["same_person"] == 0
    assert split.leakage["same_person"] == len(planted.planted) > 10


def test_a_set_without_official_split_is_refused():
    with pytest.raises(splits.SplitError, match="no official split"):
        splits.make(table(), label="race", scheme="official")


# ----------------------------------------------------------------- folds


def test_every_row_is_tested_once_a_repeat():
    faces = table()
    made = splits.folds(faces, label="race", sizes=splits.FoldSizes(4, 3), seed=2)
    assert [(s.repeat, s.fold) for s in made] == [(r, f) for r in range(3) for f in range(4)]
    for repeat in range(3):
        tested = np.concatenate([s.test for s in made if s.repeat == repeat])
        assert sorted(tested) == list(range(600))
    for split in made:
        assert split.leakage["leaked"] == 0
        assert sum(len(p) for p in subsets(split)) == 600 == len(set().union(*subsets(split)))
    assert subsets(made[0]) != subsets(made[4])


def test_fold_sizes_given_one_by_one_give_the_same_folds():
    faces = table()
    expected = splits.folds(faces, label="race", sizes=splits.FoldSizes(4, 2, 0.2), seed=2)
    with pytest.warns(DeprecationWarning, match="FoldSizes"):
        made = splits.folds(faces, label="race", n_folds=4, n_repeats=2, validation=0.2, seed=2)
    assert len(made) == len(expected) == 8
    for one, other in zip(made, expected, strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in splits.SUBSETS)
    with pytest.raises(TypeError, match="n_fold"):
        splits.folds(faces, label="race", n_fold=4)


def test_folds_are_even_and_hold_every_class():
    faces = table(n=1000, identity=[None] * 1000)
    counts = [
        s.report.loc["test"].filter(like="race: ") for s in splits.folds(faces, label="race", sizes=ONCE)
    ]
    assert max(np.ptp([c[k] for c in counts]) for k in counts[0].index) <= 1


def test_official_folds_are_used():
    faces = table(fold=np.arange(600) % 5)
    made = splits.folds(faces, label="gender", scheme="official", sizes=ONCE)
    assert [set(s.test % 5) for s in made] == [{0}, {1}, {2}, {3}, {4}]
    single = splits.make(faces, label="gender", scheme="official")
    assert set(single.test % 5) == {0}
    counted_from_one = splits.make(table(fold=np.arange(600) % 5 + 1), label="gender", scheme="official")
    assert set(counted_from_one.test % 5) == {0}


def test_one_dataset_is_left_out_with_its_people():
    one, two = table(seed=1), table(seed=2)
    shifted = "p" + (two["identity"].str[1:].astype(int) + 60).astype("string")
    two = two.assign(dataset="other", face_id="other:" + two["image"], identity=shifted)
    both = pd.concat([one, two], ignore_index=True)
    made = {s.name: s for s in splits.leave_one_dataset_out(both, label="race")}
    split = made["without other"]
    assert set(both["dataset"].iloc[split.test]) == {"other"}
    assert split.leakage["same_person"] == 0
    excluded = split.left_out[split.left_out["reason"] == splits.ALSO_IN_TEST]
    kept = len(split.train) + len(split.validation)
    assert len(excluded) > 0 and kept + len(excluded) == 600


# ----------------------------------------------------------------- files


def test_a_saved_split_comes_back(tmp_path):
    faces = table()
    groups = np.where(np.arange(600) < 20, np.arange(600) // 2, splits.ALONE)
    split = splits.make(faces, label=["gender", "race"], keep_together=groups)
    path = splits.save(split, tmp_path / "deep" / "split.json", faces)
    back = splits.load(path, faces)
    assert subsets(back) == subsets(split)
    assert (back.label, back.leakage, back.notices) == (split.label, split.leakage, split.notices)
    pd.testing.assert_frame_equal(back.report, split.report)
    pd.testing.assert_frame_equal(back.left_out, split.left_out)
    shuffled = faces.sample(frac=1, random_state=0).reset_index(drop=True)
    moved = splits.load(path, shuffled)
    assert set(shuffled["face_id"].iloc[moved.test]) == set(faces["face_id"].iloc[split.test])


@pytest.mark.parametrize("change", ["label", "gone", "new name"])
def test_a_changed_table_is_refused(tmp_path, change):
    faces = table()
    path = splits.save(splits.make(faces, label="gender"), tmp_path / "split.json", faces)
    changed = faces.copy()
    if change == "label":
        changed.loc[4, "gender"] = "male" if faces.loc[4, "gender"] == "female" else "female"
    elif change == "gone":
        changed = changed.iloc[1:]
    else:
        changed.loc[0, "face_id"] = "somebody"
    with pytest.raises(splits.SplitError, match="another face table"):
        splits.load(path, changed)


def test_a_label_that_was_not_split_by_may_change(tmp_path):
    faces = table()
    path = splits.save(splits.make(faces, label="gender"), tmp_path / "split.json", faces)
    assert len(splits.load(path, faces.assign(age=pd.NA)).test) > 0


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"label": ["gender"]})])
def test_a_file_that_is_no_split_is_named(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(splits.SplitError, match=r"odd\.json"):
        splits.load(path, table())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "emotion"}, "emotion"),
        ({"label": "gender", "scheme": "lucky"}, "lucky"),
        ({"label": "gender", "test": 0.9, "validation": 0.2}, "validation=0.2"),
        ({"label": "gender", "keep_together": [1, 2]}, "2 entries"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(splits.SplitError, match=words):
        splits.make(table(), **options)


def test_too_few_people_are_refused():
    with pytest.raises(splits.SplitError, match="2 groups"):
        splits.make(table(identity=["a", "b"] * 300), label="gender")


# ----------------------------------------------------------------- any table


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=20, max_size=80),
    seed=st.integers(0, 99),
)
def test_groups_stay_whole_whatever_the_table(rows, seed):
    strata, groups = (np.array(column) for column in zip(*rows, strict=True))
    subset = allocation.assign_groups(strata, groups, np.array([3.0, 1.0, 1.0]), np.random.default_rng(seed))
    assert subset.shape == strata.shape and set(subset) <= {0, 1, 2}
    assert all(len(set(subset[groups == g])) == 1 for g in set(groups))


def test_few_people_with_many_pictures_are_split_evenly():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, 80)
    identity = np.repeat([f"p{i}" for i in range(80)], sizes)
    n = len(identity)
    gender = np.repeat(np.where(rng.random(80) < 0.5, "male", "female"), sizes)
    faces = table(
        n=n, identity=identity, gender=gender, image=[f"{i}.jpg" for i in range(n)], race=["White"] * n
    )
    for split in splits.folds(faces, label="gender", sizes=ONCE):
        counts = split.report.filter(like="gender: ")
        assert (counts.loc["test"] / counts.sum()).between(0.13, 0.27).all()


def saved_split(tmp_path):
    faces = table()
    groups = np.where(np.arange(600) < 20, np.arange(600) // 2, splits.ALONE)
    split = splits.make(faces, label="race", keep_together=groups)
    return faces, split, splits.save(split, tmp_path / "split.json", faces)


def test_copies_come_back_with_a_saved_split(tmp_path):
    faces, split, path = saved_split(tmp_path)
    loaded = splits.load(path, faces)
    np.testing.assert_array_equal(loaded.copies >= 0, split.copies >= 0)
    assert splits.hash_subsets(loaded, faces) == splits.hash_subsets(split, faces)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda r: r["train"].append(r["test"][0]), "stands twice, or in two subsets"),
        (lambda r: r["test"].append(r["test"][0]), "stands twice"),
        (lambda r: r["train"].append("nobody"), "names 1 faces that the face table does not have"),
        (lambda r: r["leakage"].update(leaked=7), "counted anew they are"),
        (lambda r: r.pop("copies"), "is no saved split"),
        (lambda r: r.update(report=3), "is no saved split"),
        (lambda r: r.update(name="official"), "checksum does not fit"),
        (lambda r: r.update(train={"a": 1}), "does not have"),
        (lambda r: r["copies"].update(nobody=1), "'copies' names faces"),
        (lambda r: r.update(fingerprint="0"), "another face table"),
    ],
)
def test_a_split_that_was_changed_by_hand_is_refused(tmp_path, damage, says):
    faces, _, path = saved_split(tmp_path)
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(splits.SplitError, match=says):
        splits.load(path, faces)


def test_rows_moved_from_test_to_train_are_counted_as_a_leak(tmp_path):
    faces, split, path = saved_split(tmp_path)
    record = json.loads(path.read_text())
    pair = next(g for g in range(10) if split.copies[2 * g] >= 0 and 2 * g in split.test)
    moved = faces["face_id"].iloc[2 * pair]
    record["test"].remove(moved)
    record["train"].append(moved)
    path.write_text(json.dumps(record))
    with pytest.raises(splits.SplitError, match="counted anew"):
        splits.load(path, faces)


def test_damaged_split_files_end_in_a_sentence(tmp_path):
    faces, split, path = saved_split(tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        if rng.random() < 0.3:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            loaded = splits.load(path, faces)
        except splits.SplitError:
            continue
        assert splits.hash_subsets(loaded, faces) == splits.hash_subsets(split, faces)


def corrected(faces, column="gender", every=40):
    """Return the table with every so manieth value of a class turned to the other."""
    rows = np.arange(0, len(faces), every)
    turned = faces[column].iloc[rows].map({"male": "female", "female": "male"})
    out = faces.copy()
    out.loc[rows, column] = turned.to_numpy()
    return out


def ids(faces, split):
    return [set(faces["face_id"].iloc[getattr(split, subset)]) for subset in splits.SUBSETS]


@pytest.mark.parametrize("scheme", ["identity", "random"])
def test_corrected_labels_move_no_face(scheme):
    before = table(n=400, identity=[None] * 400)
    alone = np.full(400, -1)
    made = splits.make(before, label="gender", seed=1, scheme=scheme)
    after = corrected(before).drop(index=[3, 77]).reset_index(drop=True)  # two are unusable
    options = {"label": "gender", "seed": 1, "scheme": scheme}
    split = splits.make_corrected(after, before, keep_together=alone, **options)
    gone = set(before["face_id"].iloc[[3, 77]])
    assert ids(after, split) == [own - gone for own in ids(before, made)]
    assert split.fingerprint == splits.fingerprint(after, ["gender"]) and KEPT in split.notices
    assert ids(after, splits.make(after, **options)) != ids(after, split)  # what it was like before


def test_without_corrections_the_split_is_the_usual_one():
    faces = table()
    usual = splits.make(faces, label="race", seed=2)
    split = splits.make_corrected(
        faces, faces.copy(), keep_together=np.full(len(faces), -1), label="race", seed=2
    )
    assert ids(faces, split) == ids(faces, usual) and split.notices == usual.notices


def test_a_label_that_was_not_known_trains_or_stands_with_its_group():
    after = table(n=300, n_people=150)
    before = after.copy()
    before.loc[range(0, 300, 7), "gender"] = None
    split = splits.make_corrected(after, before, keep_together=np.full(300, -1), label="gender", seed=0)
    assert sum(map(len, ids(after, split))) == 300 and split.leakage["same_person"] == 0
    lost = splits.make_corrected(before, after, keep_together=np.full(300, -1), label="gender", seed=0)
    assert sum(map(len, ids(before, lost))) == before["gender"].notna().sum()


def test_official_rows_stay_where_the_set_has_them():
    after = table(n=300, n_people=150)
    after["split"] = np.where(np.arange(300) % 4 == 0, "test", "train")
    before = after.copy()
    before.loc[[0, 1, 4], "gender"] = None
    split = splits.make_corrected(
        after, before, keep_together=np.full(300, -1), label="gender", scheme="official"
    )
    assert set(split.test) == set(range(0, 300, 4))


def test_corrected_people_never_stand_on_two_sides():
    before = table(n=300, n_people=150)
    after = before.copy()
    made = splits.make(before, label="race", seed=0)
    after.loc[made.test[:5], "identity"] = before["identity"].iloc[made.train[0]]
    split = splits.make_corrected(after, before, keep_together=np.full(300, -1), label="race", seed=0)
    assert split.leakage["leaked"] == 0 and any("two sides" in notice for notice in split.notices)


def test_labels_of_which_no_split_could_be_made_are_split_once_corrected():
    after = table(n=200)
    before = after.assign(gender=pd.Categorical(["female"] * 200, after["gender"].cat.categories))
    split = splits.make_corrected(after, before, keep_together=np.full(200, -1), label="gender")
    assert len(split.test) and any("drawn anew" in notice for notice in split.notices)


def test_a_contradiction_that_corrections_settle_tests_again():
    before = table(n=300, identity=[None] * 300)
    copies = np.full(300, -1)
    first = splits.make(before, label="gender", seed=0)
    pair = first.test[:2]
    copies[pair] = 0
    before.loc[pair, "gender"] = ["male", "female"]
    after = before.copy()
    after.loc[pair, "gender"] = ["male", "male"]
    made = splits.make(before, label="gender", seed=0, keep_together=copies)
    split = splits.make_corrected(after, before, keep_together=copies, label="gender", seed=0)
    lost = set(before["face_id"].iloc[made.contradicting])
    assert ids(after, split) == [ids(before, made)[0], ids(before, made)[1], ids(before, made)[2] | lost]
