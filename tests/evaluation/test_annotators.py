"""One more annotator beside the model."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import annotators, predictions
from faceworkbook.tasks import Task


def test_each_vote_is_held_against_the_majority_of_the_others():
    votes = np.array([[10, 0, 0], [9, 1, 0], [1, 1, 0], [5, 5, 0], [1, 0, 0]])
    # 9:1 - nine agree with the other nine, one does not; 5:5 - each stands against five.
    assert annotators.agreement(votes) == pytest.approx([1, 0.9, 0, 0, np.nan], nan_ok=True)
    assert annotators.agreement(np.array([[1, 1, 1]])) == pytest.approx([0])


def test_agreement_is_what_drawing_annotators_gives():
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.6, 0.3, 0.1], size=400)
    drawn = []
    for row in votes:
        people = np.repeat(np.arange(3), row)
        k = rng.integers(len(people))
        rest = np.bincount(np.delete(people, k), minlength=3)
        best = np.flatnonzero(rest == rest.max())
        drawn.append((people[k] in best) / len(best))
    assert annotators.agreement(votes).mean() == pytest.approx(np.mean(drawn), abs=0.06)


def table_of(n=200, seed=0):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(10, [0.85, 0.15], size=n)
    faces = pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(n)],
            "identity": pd.array([pd.NA] * n, dtype="string"),
            "votes_happiness": votes[:, 0],
            "votes_sadness": votes[:, 1],
            "votes_unknown": 0,
        }
    )
    truth = np.where(votes[:, 0] >= votes[:, 1], "happiness", "sadness").astype(object)
    share = rng.random(n)
    table = predictions.build(
        faces,
        Task("emotion", "classes", ("happiness", "sadness")),
        truth=truth,
        output=np.column_stack([share, 1 - share]),
        split="test",
    )
    return table, faces


def test_the_model_stands_beside_one_more_annotator():
    table, faces = table_of()
    made = annotators.compare(table, faces, n_boot=200).set_index("who")
    assert made["n"].tolist() == [200, 200]
    assert (made["low"] < made["value"]).all() and (made["value"] < made["high"]).all()
    assert made.loc["one more annotator", "value"] > made.loc["model", "value"] + 0.1


def test_a_set_without_votes_of_this_label_has_no_annotators():
    table, faces = table_of()
    assert annotators.compare(table, faces[["face_id", "identity"]]).empty
    assert annotators.compare(table, faces.drop(columns="votes_sadness")).empty
