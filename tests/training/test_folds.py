"""Folds: outputs of every split, resumable, any classifier."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier
from training_toys import blobs, cut

from faceworkbook import faces, tasks, training
from faceworkbook.training import folds, single
from faceworkbook.training.checkpoint import CheckpointError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def repeated(n, n_repeats=2, n_folds=3):
    """Repeated folds with validation rows each."""
    made = []
    for repeat in range(n_repeats):
        fold_of = np.random.default_rng(repeat).permutation(n) % n_folds
        for fold in range(n_folds):
            rest = np.flatnonzero(fold_of != fold)
            cutoff = len(rest) // 5
            made.append(
                SimpleNamespace(
                    train=rest[cutoff:],
                    validation=rest[:cutoff],
                    test=np.flatnonzero(fold_of == fold),
                    repeat=repeat,
                    fold=fold,
                )
            )
    return made


def test_mlp_folds_equal_single_fits():
    x, target = blobs(n=240, n_classes=3, noise=2.0)
    splits = repeated(240)
    fits = folds.fit_folds(x, target, splits, seed=4, epochs=5, learning_rate=0.01)
    assert fits.outputs.shape == (6, 240, 3)
    for i in (0, 5):
        alone = single.fit_mlp(x, target, splits[i], seed=4 + splits[i].repeat, epochs=5, learning_rate=0.01)
        np.testing.assert_allclose(fits.outputs[i], alone.predict(x), atol=2e-3)


def test_linear_folds_equal_single_fits_and_history_bears_repeat_and_fold():
    x, target = blobs(n=200, noise=2.0)
    splits = repeated(200)
    fits = folds.fit_folds(x, target, splits, classifier="linear")
    alone = single.fit_linear(x, target, splits[3])
    np.testing.assert_allclose(fits.outputs[3], alone.predict(x), atol=1e-6)
    assert set(zip(fits.history["repeat"], fits.history["fold"], strict=True)) == {
        (s.repeat, s.fold) for s in splits
    }


class Stopping(DummyClassifier):
    """Shares of the training rows; stops at the fit that `stop_at` counts."""

    fits = itertools.count()
    stop_at = 4

    def fit(self, x, y):
        if next(Stopping.fits) == Stopping.stop_at:
            raise KeyboardInterrupt
        return super().fit(x, y)


def test_any_estimator_is_a_classifier_and_its_finished_fits_are_kept(tmp_path):
    x, target = blobs(n=120)
    splits = repeated(120)
    with pytest.raises(KeyboardInterrupt):
        folds.fit_folds(x, target, splits, classifier=Stopping(), folder=tmp_path)
    fits = folds.fit_folds(x, target, splits, classifier=Stopping(), folder=tmp_path)
    assert next(Stopping.fits) == 7  # four kept, one stopped, two more
    expected = np.bincount(target.codes[splits[2].train]) / len(splits[2].train)
    np.testing.assert_allclose(fits.outputs[2][0], expected, rtol=1e-6)
    assert fits.history["accuracy"].between(0, 1).all() and len(fits.history) == 6


def test_kept_fits_of_other_parameters_descriptors_or_labels_are_not_taken(tmp_path):
    x, target = blobs(n=120)
    splits = repeated(120)[:2]
    other = x + 1
    flipped = tasks.Labels(target.task, 1 - target.codes, target.values)
    for matrix, labels, neighbours in ((x, target, 3), (x, target, 5), (other, target, 3), (x, flipped, 3)):
        knn = KNeighborsClassifier(neighbours)
        fits = folds.fit_folds(matrix, labels, splits, classifier=knn, folder=tmp_path)
        alone = training.fit(knn, matrix, labels, splits[1], seed=splits[1].repeat)
        np.testing.assert_allclose(fits.outputs[1], alone.predict(matrix), atol=1e-6)
    assert len(list(tmp_path.glob("fit-*.npz"))) == 8


def test_a_damaged_kept_fit_is_refused_by_name(tmp_path):
    x, target = blobs(n=120)
    folds.fit_folds(x, target, repeated(120)[:1], classifier="linear", folder=tmp_path)
    path = next(tmp_path.glob("fit-*.npz"))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=rf"{path.name} is no whole checkpoint .*; delete it"):
        folds.fit_folds(x, target, repeated(120)[:1], classifier="linear", folder=tmp_path)


def people(n=200, **columns):
    given = {"image": [f"{i}.jpg" for i in range(n)], "gender": ["male", "female"] * (n // 2)}
    return faces.build({**given, "identity": [f"p{i // 4}" for i in range(n)], **columns}, dataset="toy")


def shared_people(table, split):
    trained = table["identity"].iloc[np.concatenate([split.train, split.validation])]
    return len(set(trained) & set(table["identity"].iloc[split.test]))


def test_folds_by_identity_share_nobody_and_careless_ones_do():
    table = people()
    by_person = folds.plan(table, label="gender", n_folds=4, n_repeats=2)
    careless = folds.plan(table, label="gender", scheme="random", n_folds=4, n_repeats=2)
    assert [len(by_person), len(careless)] == [8, 8]
    assert all(shared_people(table, s) == 0 for s in by_person)
    assert all(shared_people(table, s) > 10 for s in careless) and careless[0].name == "random"


def test_an_official_split_is_repeated_with_other_validation_rows():
    table = people(split=["train"] * 160 + ["test"] * 40)
    planned = folds.plan(table, label="gender", scheme="official", n_repeats=3)
    assert [s.repeat for s in planned] == [0, 1, 2]
    assert all(s.test.tolist() == list(range(160, 200)) for s in planned)
    assert len({tuple(s.validation) for s in planned}) == 3


def test_official_folds_are_kept():
    table = people(fold=[i // 4 % 5 for i in range(200)])
    planned = folds.plan(table, label="gender", scheme="official", n_repeats=2)
    assert [(s.repeat, s.fold) for s in planned] == [(r, f) for r in range(2) for f in range(5)]
    assert set(table["fold"].iloc[planned[3].test]) == {3}


def test_an_unknown_classifier_is_named():
    x, target = blobs(n=60)
    with pytest.raises(ValueError, match="'forest'"):
        folds.fit_folds(x, target, [cut(60)], classifier="forest")
