import csv
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets import ferplus

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def line(n, *votes, usage="Training"):
    counts = list(votes) + [0] * (10 - len(votes))
    return f"{usage},fer{n:07}.png,{','.join(map(str, counts))}\n"


def ferplus_set(lines, numbers):
    pictures = [f"data/FER2013Train/fer{n:07}.png" for n in numbers]
    return {"fer2013new.csv": HEADER + "".join(lines)} | dict.fromkeys(pictures, b"")


def official(votes, mode):
    """The rules of the FER+ project, written down from its paper and README, one row at a time."""
    votes = [0 if v <= 1 else v for v in votes]
    total = sum(votes)
    if mode == "majority":
        best = [i for i, v in enumerate(votes) if v > total / 2]
        return {best[0]: 1.0} if best and best[0] < 8 else {}
    if mode == "multi_target":
        kept = {i: v for i, v in enumerate(votes) if v >= 0.3 * total}
    else:
        kept, covered = {}, 0
        rest = dict(enumerate(votes))
        over = False
        while not over and covered < 0.75 * total and len(kept) < 3:
            top = max(rest.values())
            for i in [i for i, v in rest.items() if v == top]:
                rest[i] = 0
                covered += top
                if i >= 8:
                    over = True
                    if not kept or sum(kept.values()) == 0:
                        kept[i] = top
                    break
                kept[i] = top
        if len(kept) > 3:
            return {}
    if sum(kept.values()) <= 0.5 * total:
        return {}
    lead = max(kept, key=lambda i: (kept[i], -i))
    if lead >= 8:
        return {}
    kept = {i: v for i, v in kept.items() if i < 8 and v}
    return {i: v / sum(kept.values()) for i, v in kept.items()}


def as_dicts(made):
    return [{int(i): row[i] for i in np.flatnonzero(row)} for row in made]


@given(st.lists(st.integers(0, 9), min_size=10, max_size=10), st.sampled_from(ferplus.MODES))
def test_targets_follow_the_rules_for_any_ten_votes(votes, mode):
    ballots = np.bincount(votes, minlength=10)
    made = ferplus.targets(ballots[None], mode=mode)
    assert as_dicts(made)[0] == pytest.approx(official(list(ballots), mode))


@pytest.mark.parametrize(
    ("votes", "emotion"),
    [
        ((8, 1, 1), "neutral"),
        ((4, 0, 0, 4, 1, 0, 0, 0, 1), None),
        ((0, 0, 0, 0, 0, 0, 0, 0, 7, 3), None),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), None),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), None),
        ((0, 5, 4, 0, 0, 0, 0, 0, 1), "happiness"),
    ],
)
def test_majority(lay, votes, emotion):
    dataset = datasets.load("ferplus", lay(ferplus_set([line(1, *votes)], [1])))
    assert dataset.faces["emotion"].tolist() == ([emotion] if emotion else [])
    assert dataset.left_out["reason"].tolist() == ([] if emotion else ["undecided"])


def test_undecided_faces_can_be_kept(lay):
    root = lay(ferplus_set([line(1, 5, 5), line(2, 10)], [1, 2]))
    dataset = datasets.load("ferplus", root, undecided="keep")
    assert dataset.faces["emotion"].isna().tolist() == [True, False]
    assert dataset.faces["target_neutral"].isna().tolist() == [True, False]
    assert dataset.faces["votes_neutral"].tolist() == [5, 10]


def test_a_name_that_stands_twice(lay):
    rows = [line(1, 10), line(1, 10), line(2, 10), line(2, 0, 10), line(3, 10)]
    dataset = datasets.load("ferplus", lay(ferplus_set(rows, [1, 2, 3])))
    assert dataset.faces["image"].str[-5].tolist() == ["1", "3"]
    assert Counter(dataset.left_out["reason"]) == {"row repeated": 1, "rows contradict": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Training,,0,0,0,0,0,0,0,0,0,10\n", "no picture named"),
        ("Trainin,fer0000001.png,10,0,0,0,0,0,0,0,0,0\n", "bad value in Usage"),
        ("Training,fer1.png,10,0,0,0,0,0,0,0,0,0\n", "name malformed"),
        ("Training,../r0000001.png,10,0,0,0,0,0,0,0,0,0\n", "name malformed"),
    ],
)
def test_a_bad_row_is_listed(lay, text, reason):
    dataset = datasets.load("ferplus", lay(ferplus_set([line(7, 10), text], [1, 7])))
    assert dataset.faces["image"].str[-5].tolist() == ["7"]
    assert reason in set(dataset.left_out["reason"])


@pytest.mark.parametrize("undecided", ["leave_out", "keep"])
@pytest.mark.parametrize(
    "votes",
    ["1,0,0,0,0,0,0,0,0,0\n", "11,-1,0,0,0,0,0,0,0,0\n", "x,0,0,0,0,0,0,0,0,10\n", "10,0,0,0,0,0,0,0,0,0"],
)
def test_bad_votes_cost_the_emotion_and_not_the_face(lay, votes, undecided):
    root = lay(ferplus_set([line(7, 10), f"Training,fer0000001.png,{votes}"], [1, 7]))
    dataset = datasets.load("ferplus", root, undecided=undecided)
    faces = dataset.faces.set_index("image").sort_index()
    assert faces["emotion"].isna().tolist() == [True, False] and dataset.left_out.empty
    assert faces.filter(regex="votes_|target_").isna().all(axis=1).tolist() == [True, False]
    assert "bad value in votes" in set(dataset.notices["reason"])


def pixel_set(lay, emotions="0123456", swap=False):
    """fer2013.csv and fer2013new.csv whose votes agree with it, and the pictures of it."""
    names = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    pictures = np.random.default_rng(0).integers(0, 256, (len(emotions), 48, 48))
    old = "emotion,pixels,Usage\n" + "".join(
        f"{code},{' '.join(map(str, picture.ravel()))},Training\n"
        for code, picture in zip(emotions, pictures, strict=True)
    )
    codes = emotions[1:] + emotions[:1] if swap else emotions
    votes = [[10 * (name == names[int(code)]) for name in faces.EMOTIONS] for code in codes]
    new = HEADER + "".join(line(n, *row) for n, row in enumerate(votes))
    return lay({"fer2013.csv": old, "fer2013new.csv": new}), pictures


def test_pictures_are_written_out_of_pixels(lay):
    root, pictures = pixel_set(lay)
    with pytest.raises(datasets.DatasetError, match="write_pictures"):
        datasets.load("ferplus", root)
    assert ferplus.write_pictures(root) == 7
    assert ferplus.write_pictures(root) == 0
    dataset = datasets.load("ferplus", root)
    assert len(dataset.faces) == 7
    for n, image in enumerate(dataset.faces["image"]):
        assert (cv2.imread(str(root / image), cv2.IMREAD_GRAYSCALE) == pictures[n]).all()


def test_files_in_different_orders_are_refused(lay):
    root, _ = pixel_set(lay, swap=True)
    with pytest.raises(datasets.DatasetError, match="not in its order"):
        ferplus.write_pictures(root)


def test_a_row_short_of_pixels_is_refused(lay):
    root, _ = pixel_set(lay)
    text = (root / "fer2013.csv").read_text()
    (root / "fer2013.csv").write_text(text.replace(" ", "", 1))
    with pytest.raises(datasets.DatasetError, match="expected 2304 pixels"):
        ferplus.write_pictures(root)
    (root / "fer2013.csv").write_text(text[:-100])
    with pytest.raises(datasets.DatasetError, match="row by row"):
        ferplus.write_pictures(root)


@pytest.mark.realdata
@pytest.mark.parametrize("mode", ferplus.MODES)
def test_every_real_row_follows_the_rules(shared_data, mode):
    with (shared_data("ferplus") / "fer2013new.csv").open(newline="") as file:
        votes = [[int(v) for v in row[2:]] for row in list(csv.reader(file))[1:]]
    assert len(votes) == 35887
    votes = sorted(set(map(tuple, votes)))  # a rule knows nothing but the votes
    made = as_dicts(ferplus.targets(np.array(votes), mode=mode))
    assert all(row == pytest.approx(official(list(v), mode)) for row, v in zip(made, votes, strict=True))


@pytest.mark.realdata
def test_real_rows_add_up(shared_data):
    root = shared_data("ferplus")
    dataset = datasets.load("ferplus", root)
    with (root / "fer2013new.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    reasons = Counter(dataset.left_out["reason"])
    assert len(dataset.faces) + sum(reasons.values()) == len(rows) == 35887
    assert reasons["no picture named"] == sum(not row["Image name"] for row in rows) == 173
    assert reasons["rows contradict"] == 2 and reasons["row repeated"] == 3
    folders = {"Training": "Train", "PublicTest": "Valid", "PrivateTest": "Test"}
    expected = {f"data/FER2013{folders[row['Usage']]}/{row['Image name']}": row for row in rows}
    for face in dataset.faces.itertuples():
        row = expected[face.image]
        assert {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}[
            row["Usage"]
        ] == face.split
        votes = {name: int(row[name]) for name in (*faces.EMOTIONS, "unknown", "NF")}
        assert max(votes, key=votes.get) == face.emotion
