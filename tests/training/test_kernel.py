"""The kernel classifier: what scikit-learn's Nystroem and ridge give, chosen on validation rows, saved as a network."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from training_toys import ages, blobs, cut

from faceworkbook import tasks, training
from faceworkbook.models import kernel as models

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def rooted(x):
    """Square roots of rows whose directions add up to 1, their signs kept."""
    return np.sign(x) * np.sqrt(np.abs(x) / np.abs(x).sum(axis=1, keepdims=True))


def one_choice(landmarks):
    return {"landmarks": (landmarks,), "widths": (1.0,), "alphas": (0.3,), "strengths": ()}


def landmarks_of(fitted):
    return np.asarray(fitted.model.get_layer("kernel").landmarks)


def pipeline(fitted, x, y, rows):
    """Scikit-learn's map on the same landmarks, and ridge on it: scores of all rows."""
    landmarks = landmarks_of(fitted)
    mapping = Nystroem(gamma=fitted.settings["gamma"], n_components=len(landmarks)).fit(
        landmarks.astype(float)
    )
    mapped = mapping.transform(rooted(x.astype(float)))
    return Ridge(fitted.settings["alpha"]).fit(mapped[rows], y[rows]).predict(mapped)


@pytest.mark.parametrize("landmarks", [40, 10_000])
def test_numbers_are_those_of_scikit_learns_pipeline(landmarks):
    x, years = ages()
    labels, split = tasks.labels_of_numbers(years, name="age"), cut(600)
    fitted = training.fit_kernel(x, labels, split, **one_choice(landmarks))
    assert len(landmarks_of(fitted)) == min(landmarks, len(split.train))
    expected = pipeline(fitted, x, years, split.train)
    low, high = years[split.train].min(), years[split.train].max()
    np.testing.assert_allclose(fitted.predict(x), np.clip(expected, low, high), atol=0.02)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_are_those_of_scikit_learns_pipeline(n_classes):
    x, labels = blobs(n=400, n_classes=n_classes, noise=4.0)
    split = cut(400)
    fitted = training.fit_kernel(x, labels, split, **one_choice(60))
    scores = pipeline(fitted, x, np.eye(n_classes)[labels.codes], split.train)
    p = fitted.predict(x)
    np.testing.assert_array_equal(p.argmax(axis=1), scores.argmax(axis=1))
    # One scale between scores and logits, the same for all faces and classes.
    apart = np.log(p) - np.log(p).mean(axis=1, keepdims=True)
    scale = (apart / (scores - scores.mean(axis=1, keepdims=True))).ravel()
    np.testing.assert_allclose(scale, np.median(scale), rtol=0.01)


def test_numbers_stay_within_those_of_the_training_rows():
    x, years = ages()
    labels, split = tasks.labels_of_numbers(years, name="age"), cut(600)
    fitted = training.fit_kernel(x, labels, split)
    far = np.concatenate([x * 50, -x * 50, np.zeros((1, x.shape[1]), np.float32)])
    predicted = fitted.predict(far)
    assert predicted.min() >= years[split.train].min() - 1e-4
    assert predicted.max() <= years[split.train].max() + 1e-4


def test_the_error_that_chooses_is_that_of_the_numbers_as_they_are_put_out():
    x, years = ages()
    split = cut(600)
    years = np.where(np.isin(np.arange(len(years)), split.train), np.clip(years, 35, 45), years)
    fitted = training.fit_kernel(x, tasks.labels_of_numbers(years, name="age"), split, alphas=(1e-4,))
    rows = split.validation
    missed = np.abs(np.ravel(fitted.predict(x))[rows] - years[rows]).mean()
    assert fitted.history["val_mae"].min() == pytest.approx(missed, rel=1e-3)


def test_test_rows_are_not_read_and_landmarks_are_training_rows():
    x, labels = blobs(n=300)
    split = cut(300)
    fitted = training.fit_kernel(x, labels, split)
    spoilt, codes = x.copy(), labels.codes.copy()
    spoilt[split.test], codes[split.test] = np.nan, 1 - codes[split.test]
    other = training.fit_kernel(spoilt, tasks.Labels(labels.task, codes, labels.values), split)
    np.testing.assert_array_equal(other.predict(x), fitted.predict(x))
    distances = models.squared_distances(landmarks_of(fitted), models.root(x[split.train]))
    assert (distances.min(axis=1) < 1e-5).all()


@pytest.mark.parametrize("strengths", [(), (0.3, 3.0)])
def test_what_validation_rows_choose_is_in_the_history(strengths):
    x, labels = blobs(n=300, n_classes=3)
    fitted = training.fit_kernel(
        x, labels, cut(300), landmarks=(20, 80), alphas=(0.1, 1.0), strengths=strengths
    )
    history = fitted.history
    assert set(history["landmarks"]) == {20, 80} and len(history) == 3 * 2 + 2 + bool(strengths)
    # Few landmarks choose the width, the others what is used.
    best = history.loc[history["val_loss"][history["landmarks"] == 80].idxmin()]
    chosen = [name for name in ("landmarks", "gamma", "alpha", "strength") if name in fitted.settings]
    assert len(chosen) == 3 and {n: best[n] for n in chosen} == {n: fitted.settings[n] for n in chosen}
    p = fitted.predict(x[cut(300).validation])
    right = p[np.arange(len(p)), labels.codes[cut(300).validation]]
    assert -np.log(right).mean() == pytest.approx(best["val_loss"], rel=1e-3)


def test_logistic_regression_is_that_of_scikit_learn_on_the_same_map():
    x, labels = blobs(n=600, n_classes=3, noise=4.0)
    split = cut(600)
    fitted = training.fit_kernel(x, labels, split, **one_choice(60) | {"alphas": (1e4,), "strengths": (1.0,)})
    assert fitted.settings["strength"] == 1.0 and fitted.settings["model"].startswith("logistic")
    mapping = Nystroem(gamma=fitted.settings["gamma"], n_components=60).fit(
        landmarks_of(fitted).astype(float)
    )
    mapped = mapping.transform(rooted(x.astype(float)))
    expected = LogisticRegression(max_iter=2000, tol=1e-6).fit(mapped[split.train], labels.codes[split.train])
    p = fitted.predict(x)
    assert (p.argmax(axis=1) == expected.predict(mapped)).mean() > 0.99
    # One scale, chosen on validation rows, lies between the two.
    logits, others = np.log(p), np.log(expected.predict_proba(mapped))
    apart, wanted = (v - v.mean(axis=1, keepdims=True) for v in (logits, others))
    assert np.corrcoef(apart.ravel(), wanted.ravel())[0, 1] > 0.999


def side_by_side(x):
    """Put a block that is the same in all rows before `x`, and a block of one column after it."""
    same = np.ones((len(x), 30), np.float32) * 100
    return np.hstack([same, x, np.arange(len(x), dtype=np.float32)[:, None] + 1]), (30, x.shape[1], 1)


def test_blocks_that_say_nothing_are_left_out():
    x, labels = blobs(n=400, noise=4.0)
    together, widths = side_by_side(x)
    split = cut(400)
    fitted = training.fit_kernel(together, labels, split, blocks=widths)
    assert fitted.settings["blocks"] == [1]
    alone = training.fit_kernel(x, labels, split)
    accuracy = [
        (one.predict(rows)[split.test].argmax(axis=1) == labels.codes[split.test]).mean()
        for one, rows in ((fitted, together), (alone, x))
    ]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.03)
    other = together.copy()
    other[:, :30] = 0
    np.testing.assert_array_equal(fitted.predict(other), fitted.predict(together))


def test_blocks_in_which_all_rows_are_alike_are_no_trouble():
    x, labels = blobs(n=200)
    same = np.ones_like(x)
    fitted = training.fit_kernel(np.hstack([same, same]), labels, cut(200), blocks=(x.shape[1],) * 2)
    assert np.isfinite(fitted.predict(np.hstack([x, x]))).all()


def test_each_block_counts_the_same_whatever_its_unit(tmp_path):
    x, labels = blobs(n=400, noise=4.0)
    halves = x[:, ::2], x[:, 1::2]
    widths = [half.shape[1] for half in halves]
    fits = [
        training.fit_kernel(np.hstack([halves[0] * unit, halves[1]]), labels, cut(400), blocks=widths)
        for unit in (1, 1000)
    ]
    predicted = [
        one.predict(np.hstack([halves[0] * unit, halves[1]]))
        for one, unit in zip(fits, (1, 1000), strict=True)
    ]
    np.testing.assert_allclose(*predicted, atol=0.02)
    again = training.load(fits[0].save(tmp_path))
    np.testing.assert_array_equal(again.predict(np.hstack(halves)), predicted[0])
    assert again.options["blocks"] == tuple(widths)


def test_blocks_of_other_descriptors_are_refused():
    x, labels = blobs(n=80)
    with pytest.raises(ValueError, match=r"blocks=\[3, 4\] have 7 columns together and the descriptors"):
        training.fit_kernel(x, labels, cut(80), blocks=(3, 4))


def test_probabilities_are_calibrated():
    x, labels = blobs(n=3000, noise=6.0)
    split = cut(3000)
    p = training.fit_kernel(x, labels, split, landmarks=(200,)).predict(x[split.test])[:, 1]
    truth = labels.codes[split.test]
    assert p.mean() == pytest.approx(truth.mean(), abs=0.04)
    sure = np.maximum(p, 1 - p)
    assert sure.mean() == pytest.approx(((p > 0.5) == truth).mean(), abs=0.04)


def test_several_yes_no_labels_and_weights_of_rows():
    x, labels = blobs(n=400)
    split = cut(400)
    task = tasks.Task("a+b", tasks.MULTILABEL, ("a", "b"))
    both = tasks.Labels(task, np.column_stack([labels.codes, 1 - labels.codes]), np.full(400, np.nan))
    p = training.fit_kernel(x, both, split).predict(x[split.test])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-3)
    rare = labels.codes.copy()
    rare[(rare == 1) & (np.arange(400) % 8 > 0)] = 0
    uneven = tasks.Labels(labels.task, rare, labels.values)
    plain, even, often = (
        training.fit_kernel(x, uneven, split, balance=how).predict(x)[:, 1].mean()
        for how in ("none", "class_weights", "oversample")
    )
    assert even > plain + 0.05 and often > plain + 0.05


def test_a_saved_one_is_read_as_a_network_without_a_pickle(tmp_path):
    x, years = ages()
    labels = tasks.labels_of_numbers(years, name="age")
    fitted = training.fit_kernel(x, labels, cut(600), folder=tmp_path, landmarks=(50,))
    assert {file.suffix for file in tmp_path.iterdir()} == {".keras", ".json", ".csv"}
    again = training.load(tmp_path)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    assert again.classifier == "kernel" and again.options["landmarks"] == (50,)


def test_without_validation_rows_some_training_rows_choose():
    x, labels = blobs(n=200)
    split = cut(200)
    bare = SimpleNamespace(train=split.train, validation=np.array([], int))
    fitted = training.fit_kernel(x, labels, bare)
    assert fitted.settings["n_validation"] == len(split.train) // 5
    assert fitted.settings["n_train"] + fitted.settings["n_validation"] == len(split.train)


def test_equal_rows_and_empty_descriptors_are_no_trouble():
    x, labels = blobs(n=200)
    x[:60], x[60] = x[0], 0
    assert np.isfinite(training.fit_kernel(x, labels, cut(200)).predict(x)).all()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"landmarks": (0,)}, r"landmarks=\[0\]; allowed are whole numbers of 1 or more"),
        ({"landmarks": ()}, "landmarks=.*whole numbers"),
        ({"widths": (-1.0,)}, r"widths=\[-1.0\]; allowed are one or more numbers above 0"),
        ({"alphas": ()}, "alphas=.*one or more numbers above 0"),
        ({"balance": "rare"}, "balance='rare'; allowed are"),
    ],
)
def test_choices_out_of_range_are_refused(choices, message):
    x, labels = blobs(n=80)
    with pytest.raises(ValueError, match=message):
        training.fit_kernel(x, labels, cut(80), **choices)
