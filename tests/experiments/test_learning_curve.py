"""Growing training sets, on toys."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from faceworkbook.experiments import learning_curve
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.experiments.learning_curve import Draws
from tests.experiments.toys import prepare

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def test_subsets_grow_and_hold_whole_people():
    data = prepare()
    identity = data.faces["identity"]
    subsets = learning_curve.draw_subsets(
        data.split.train, identity, Draws((0.25, 0.5, 1.0), repeats=2, by="identities")
    )
    assert [s.share for s in subsets] == [0.25, 0.5, 1.0] * 2
    for subset in subsets:
        people = set(identity.iloc[subset.train])
        assert subset.n_identities == len(people)
        assert identity.iloc[data.split.train].isin(people).sum() == len(subset.train)
    assert set(subsets[0].train) < set(subsets[1].train) < set(subsets[2].train) == set(data.split.train)


def test_subsets_by_face_have_the_share_of_faces():
    data = prepare()
    train = data.split.train
    subsets = learning_curve.draw_subsets(train, data.faces["identity"], Draws((0.5,), repeats=3))
    assert {len(s.train) for s in subsets} == {round(0.5 * len(train))}
    assert len({tuple(s.train) for s in subsets}) == 3


def test_unknown_people_count_one_a_face():
    data = prepare()
    nobody = pd.Series(pd.NA, data.faces.index, dtype="string")
    [subset] = learning_curve.draw_subsets(data.split.train, nobody, Draws((1.0,), repeats=1))
    assert subset.n_identities == len(data.split.train)


def test_more_faces_help():
    data = prepare(noise=2.5)
    own = Classifier("mlp", {"learning_rate": 0.01, "epochs": 20})
    measured = learning_curve.measure(data, Draws((0.02, 1.0), repeats=4), classifier=own)
    curve = learning_curve.summarise(measured).set_index("share")
    few = curve.loc[0.02]
    assert curve.loc[1.0, "mean"] > few["mean"] + 0.03
    assert few["short"] == pytest.approx(few["mean"] - curve.loc[1.0, "mean"]) and few["short_high"] < 0
    assert few["low"] < few["mean"] < few["high"] and np.isnan(curve.loc[1.0, "short"])
    # The test faces add to the spread of draws.
    assert (measured["error"] > measured.groupby("share")["value"].transform("sem")).all()
    assert (measured["n_test"] == len(data.split.test)).all()


@pytest.mark.parametrize(
    "own",
    [
        Classifier("mlp", {"widths": (4,), "epochs": 6, "weight_decay": 0.3, "learning_rate": 0.01}),
        Classifier("linear", {"balance": "class_weights"}),
        Classifier(KNeighborsClassifier(5)),
    ],
)
def test_with_all_faces_the_curve_ends_at_the_experiments_own_classifier(own):
    """Its settings are those that the fitted model carries, none of them a default."""
    from faceworkbook import training

    data = prepare(noise=2.5)
    fitted = own.fit(data.matrix, data.labels, data.split, seed=3)
    again = Classifier.of(fitted)
    assert str(again.kind) == str(own.kind)
    assert dict(again.settings) | dict(own.settings) == dict(again.settings)
    rows = data.split.test
    accuracy = (fitted.predict(data.matrix[rows]).argmax(axis=1) == data.labels.codes[rows]).mean()
    measured = learning_curve.measure(data, Draws((1.0,), repeats=1), classifier=again, seed=3, n_boot=50)
    assert measured["value"].item() == pytest.approx(accuracy)
    assert isinstance(fitted, training.Fitted)


@pytest.mark.parametrize("wrong", [{"by": "person"}, {"shares": (0.0, 1.0)}, {"shares": ()}])
def test_draws_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Draws(**wrong)


def test_few_draws_are_judged_by_t_not_by_the_normal_distribution():
    """Where draws alone vary, the interval of their mean is that of a t test, and the gap's is Welch's."""
    values = {0.5: [0.80, 0.84, 0.82, 0.81, 0.86], 1.0: [0.90, 0.91, 0.89, 0.90, 0.93]}
    sem = {share: stats.sem(own) for share, own in values.items()}
    measured = pd.DataFrame(
        [
            {
                "by": "faces",
                "share": share,
                "metric": "accuracy",
                "n_train": 100 * share,
                "n_identities": np.nan,
            }
            | {
                "n_test": 50,
                "value": value,
                "error": sem[share],
                "short": np.mean(own) - np.mean(values[1.0]),
            }
            | {"short_error": np.hypot(sem[share], sem[1.0])}
            for share, own in values.items()
            for value in own
        ]
    )
    curve = learning_curve.summarise(measured).set_index("share")
    few = curve.loc[0.5]
    assert (few["low"], few["high"]) == pytest.approx(
        tuple(stats.ttest_1samp(values[0.5], 0).confidence_interval())
    )
    welch = stats.ttest_ind(values[0.5], values[1.0], equal_var=False).confidence_interval()
    assert (few["short_low"], few["short_high"]) == pytest.approx(tuple(welch))
