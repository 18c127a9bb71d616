"""Folds: outputs of every split, resumable, any classifier."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from training_toys import blobs, cut

from faceworkbook.training import folds, single

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def repeated(n, n_repeats=2, n_folds=3):
    """Repeated folds with a validation part each."""
    made = []
    for repeat in range(n_repeats):
        part = np.random.default_rng(repeat).permutation(n) % n_folds
        for fold in range(n_folds):
            rest = np.flatnonzero(part != fold)
            cutoff = len(rest) // 5
            made.append(
                SimpleNamespace(
                    train=rest[cutoff:],
                    validation=rest[:cutoff],
                    test=np.flatnonzero(part == fold),
                    repeat=repeat,
                    fold=fold,
                )
            )
    return made


def test_dense_folds_equal_single_fits():
    x, target = blobs(n=240, n_classes=3, noise=2.0)
    splits = repeated(240)
    fits = folds.fit_folds(x, target, splits, seed=4, epochs=5, learning_rate=0.01)
    assert fits.outputs.shape == (6, 240, 3)
    for i in (0, 5):
        alone = single.fit_dense(
            x, target, splits[i], seed=4 + splits[i].repeat, epochs=5, learning_rate=0.01
        )
        np.testing.assert_allclose(fits.outputs[i], alone.predict(x), atol=2e-3)


def test_logistic_folds_equal_single_fits_and_history_bears_repeat_and_fold():
    x, target = blobs(n=200, noise=2.0)
    splits = repeated(200)
    fits = folds.fit_folds(x, target, splits, classifier="logistic")
    alone = single.fit_logistic(x, target, splits[3])
    np.testing.assert_allclose(fits.outputs[3], alone.predict(x), atol=1e-6)
    assert set(zip(fits.history["repeat"], fits.history["fold"], strict=True)) == {
        (s.repeat, s.fold) for s in splits
    }


def test_any_function_that_fits_is_a_classifier_and_its_finished_fits_are_kept(tmp_path):
    x, target = blobs(n=120)
    calls = itertools.count()

    def majority(matrix, target, split, *, seed, stop_at):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        share = np.bincount(target.codes[split.train]) / len(split.train)
        return SimpleNamespace(predict=lambda m: np.tile(share, (len(m), 1)))

    splits = repeated(120)
    with pytest.raises(KeyboardInterrupt):
        folds.fit_folds(x, target, splits, classifier=majority, folder=tmp_path, stop_at=4)
    fits = folds.fit_folds(x, target, splits, classifier=majority, folder=tmp_path, stop_at=4)
    assert next(calls) == 7  # four kept, one stopped, two more
    np.testing.assert_allclose(
        fits.outputs[2][0], np.bincount(target.codes[splits[2].train]) / len(splits[2].train), rtol=1e-6
    )


def test_an_unknown_classifier_is_named():
    x, target = blobs(n=60)
    with pytest.raises(ValueError, match="'forest'"):
        folds.fit_folds(x, target, [cut(60)], classifier="forest")
