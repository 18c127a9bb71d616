"""One classifier on one split: learns, keeps its best epoch, saves, loads, samples, repeats itself."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from training_toys import ages, blobs, cut

from faceworkbook import tasks, training

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def accuracy(fitted, x, target, rows):
    return (fitted.predict(x[rows]).argmax(axis=1) == target.codes[rows]).mean()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("fit", [training.fit_mlp, training.fit_linear])
def test_blobs_are_classified(fit, n_classes):
    x, target = blobs(n_classes=n_classes)
    split = cut(len(x))
    settings = {"learning_rate": 0.01} if fit is training.fit_mlp else {}
    fitted = fit(x, target, split, seed=1, **settings)
    assert fitted.task == target.task
    assert accuracy(fitted, x, target, split.test) > 0.9


@pytest.mark.parametrize("fit", [training.fit_mlp, training.fit_linear])
def test_a_number_comes_in_its_own_unit(fit):
    x, years = ages()
    target = tasks.labels_of_numbers(years, name="age")
    split = cut(len(x))
    settings = {"learning_rate": 0.01, "input_dropout": 0.0} if fit is training.fit_mlp else {}
    predicted = fit(x, target, split, **settings).predict(x[split.test])
    assert predicted.shape == split.test.shape
    assert np.abs(predicted - years[split.test]).mean() < 3


def test_single_years_are_read_as_their_expectation():
    x, years = ages()
    known = years.astype(int)
    occurring, codes = np.unique(known, return_inverse=True)
    task = tasks.Task("age_years", tasks.ORDERED, tuple(map(str, occurring)), "years", tuple(occurring))
    target = tasks.Labels(task, codes, years)
    split = cut(len(x))
    fitted = training.fit_mlp(x, target, split, learning_rate=0.01, dropout=0.0)
    p = fitted.predict(x[split.test])
    np.testing.assert_allclose(fitted.expected(x[split.test]), p @ occurring, rtol=1e-6)
    assert np.abs(fitted.expected(x[split.test]) - years[split.test]).mean() < 4


def test_same_seed_same_weights_other_seed_others():
    x, target = blobs(n=120)
    fits = [training.fit_mlp(x, target, cut(120), seed=s, epochs=3).predict(x) for s in (5, 5, 6)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert np.abs(fits[0] - fits[2]).max() > 1e-3


def test_fitting_leaves_the_global_generators_alone():
    x, target = blobs(n=80)
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    training.fit_mlp(x, target, cut(80), epochs=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_test_rows_change_nothing_of_what_is_learned():
    x, target = blobs(n=150)
    split = cut(150)
    other = x.copy()
    other[split.test] += 1000
    a = training.fit_mlp(x, target, split, epochs=3).model.get_weights()
    b = training.fit_mlp(other, target, split, epochs=3).model.get_weights()
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, two)


def test_standardisation_is_that_of_the_training_rows():
    x, target = blobs(n=150)
    split = cut(150)
    layer = training.fit_mlp(x, target, split, epochs=1).model.get_layer("standardise")
    np.testing.assert_allclose(np.ravel(layer.mean), x[split.train].mean(axis=0), rtol=1e-4)
    variance = x[split.train].var(axis=0)
    variance[0] = 1.0  # a constant direction is not blown up
    np.testing.assert_allclose(np.ravel(layer.variance), variance, rtol=1e-3)


def test_the_best_epoch_is_kept_and_its_loss_is_the_models():
    x, target = blobs(n=200, noise=3.0)
    split = cut(200)
    fitted = training.fit_mlp(x, target, split, learning_rate=0.05, dropout=0.0, epochs=40, patience=40)
    history = fitted.history
    best = history["val_loss"].idxmin()
    assert fitted.settings["best_epoch"] == history["epoch"][best] < 40
    p = fitted.predict(x[split.validation])
    by_hand = -np.log(p[np.arange(len(p)), target.codes[split.validation]]).mean()
    assert by_hand == pytest.approx(history["val_loss"][best], rel=1e-4)
    hits = (p.argmax(axis=1) == target.codes[split.validation]).mean()
    assert hits == pytest.approx(history["val_accuracy"][best], abs=1e-6)


def test_patience_ends_the_training():
    x, target = blobs(n=200, noise=3.0)
    fitted = training.fit_mlp(x, target, cut(200), learning_rate=0.05, dropout=0.0, epochs=60, patience=3)
    assert len(fitted.history) == fitted.settings["best_epoch"] + 3 < 60


def test_without_validation_rows_the_last_epoch_stays():
    x, target = blobs(n=100)
    split = cut(100)
    split.validation = np.array([], dtype=int)
    fitted = training.fit_mlp(x, target, split, epochs=4)
    assert fitted.settings["best_epoch"] == 4 and fitted.history["val_loss"].isna().all()


def test_balanced_weights_help_the_rare_class():
    rng = np.random.default_rng(0)
    codes = (rng.random(2000) < 0.06).astype(int)
    x = (codes[:, None] * 0.8 + rng.normal(size=(2000, 4))).astype("f")
    target = tasks.labels_of_classes(np.array(["a", "b"])[codes], name="rare")
    split = cut(2000)
    rows = split.test[target.codes[split.test] == 1]
    rates = {
        how: accuracy(training.fit_mlp(x, target, split, balance=how, learning_rate=0.01), x, target, rows)
        for how in ("none", "class_weights")
    }
    assert rates["class_weights"] > rates["none"] + 0.3


@pytest.mark.parametrize("fit", [training.fit_mlp, training.fit_linear])
def test_saved_and_loaded_it_predicts_the_same(fit, tmp_path):
    x, target = blobs(n=120, n_classes=3)
    fitted = fit(x, target, cut(120), folder=tmp_path / "m")
    again = training.load(tmp_path / "m")
    np.testing.assert_array_equal(fitted.predict(x), again.predict(x))
    assert again.task == target.task and again.settings == fitted.settings
    # The linear reference has no epochs to show.
    tensorboard = ["tensorboard"] if fit is training.fit_mlp else []
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "history.csv",
        "model.json",
        "model.keras",
        *tensorboard,
    ]


def test_a_damaged_or_missing_model_is_named(tmp_path):
    from faceworkbook.training.fitted import ModelFileError

    with pytest.raises(ModelFileError, match=r"lacks model.json"):
        training.load(tmp_path)
    x, target = blobs(n=80)
    training.fit_linear(x, target, cut(80), folder=tmp_path)
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="cannot be read"):
        training.load(tmp_path)


def test_a_model_file_with_code_in_it_is_refused(tmp_path):
    from faceworkbook.training.fitted import ModelFileError

    x, target = blobs(n=80)
    training.fit_linear(x, target, cut(80), folder=tmp_path)
    inputs = keras.Input((12,))
    keras.Model(inputs, keras.layers.Lambda(lambda t: t * 2)(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="cannot be read"):
        training.load(tmp_path)


def test_dropout_samples_scatter_about_the_prediction_and_repeat_with_the_seed():
    x, target = blobs(n=150)
    fitted = training.fit_mlp(x, target, cut(150), epochs=10)
    samples = fitted.sample(x[:20], 200, seed=4)
    assert samples.shape == (200, 20, 2)
    assert samples.std(axis=0).mean() > 0.01
    np.testing.assert_allclose(samples.mean(axis=0), fitted.predict(x[:20]), atol=0.15)
    np.testing.assert_array_equal(samples, fitted.sample(x[:20], 200, seed=4))


def test_sampling_a_model_without_dropout_is_refused():
    x, target = blobs(n=80)
    with pytest.raises(ValueError, match="no dropout"):
        training.fit_linear(x, target, cut(80)).sample(x)


def test_logistic_agrees_with_a_plain_pipeline():
    x, target = blobs(n=300, n_classes=3, noise=3.0)
    split = cut(300)
    fitted = training.fit_linear(x, target, split, strengths=(0.01,))
    scaler = StandardScaler().fit(x[split.train])
    plain = LogisticRegression(C=0.01, tol=1e-6, max_iter=1000)
    plain.fit(scaler.transform(x[split.train]), target.codes[split.train])
    expected = plain.predict_proba(scaler.transform(x[split.test]))
    np.testing.assert_allclose(fitted.predict(x[split.test]), expected, atol=5e-3)


def test_ridge_agrees_with_a_plain_pipeline():
    x, years = ages()
    target, split = tasks.labels_of_numbers(years, name="age"), cut(600)
    fitted = training.fit_linear(x, target, split, strengths=(50.0,))
    scaler = StandardScaler().fit(x[split.train])
    plain = Ridge(alpha=50.0).fit(scaler.transform(x[split.train]), years[split.train])
    np.testing.assert_allclose(
        fitted.predict(x[split.test]), plain.predict(scaler.transform(x[split.test])), rtol=1e-4
    )


def test_strength_is_chosen_on_validation_rows():
    x, target = blobs(n=300, noise=4.0)
    fitted = training.fit_linear(x, target, cut(300))
    assert fitted.settings["strength"] == fitted.history["strength"][fitted.history["val_loss"].idxmin()]


def test_a_memory_mapped_matrix_is_read_like_any(tmp_path):
    x, target = blobs(n=100)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    a = training.fit_mlp(x, target, cut(100), epochs=2).predict(x)
    np.testing.assert_array_equal(a, training.fit_mlp(mapped, target, cut(100), epochs=2).predict(mapped))


def test_errors_say_what_is_wrong():
    x, target = blobs(n=100)
    split = cut(100)
    hurt = x.copy()
    hurt[split.train[3], 2] = np.nan
    with pytest.raises(training.TrainingError, match="1 of 80 descriptors"):
        training.fit_mlp(hurt, target, split)
    with pytest.raises(training.TrainingError, match="99 descriptors and 100 labels"):
        training.fit_mlp(x[:99], target, split)
    with pytest.raises(ValueError, match="width"):
        training.fit_mlp(x, target, split, width=3)
    one = cut(100)
    one.train = np.flatnonzero(target.codes == 0)
    with pytest.raises(training.TrainingError, match="one class"):
        training.fit_linear(x, target, one)
    with pytest.raises(ValueError, match=r"wants \(n, 12\)"):
        training.fit_linear(x, target, split).predict(x[:, :5])
    unknown = tasks.labels_of_classes([None, *target.truth[1:]], name="letter")
    split.train = np.union1d(split.train, [0])
    with pytest.raises(training.TrainingError, match="1 training or validation rows"):
        training.fit_mlp(x, unknown, split)


def test_the_linear_reference_learns_yes_no_labels_one_by_one():
    x = np.random.default_rng(0).normal(size=(400, 6)).astype("f")
    codes = np.column_stack([x[:, 0] > 0, x[:, 1] > 0.5, np.ones(400)]).astype(int)
    task = tasks.Task("smile+hat+face", tasks.MULTILABEL, ("smile", "hat", "face"))
    target, split = tasks.Labels(task, codes, np.full(400, np.nan)), cut(400)
    fitted = training.fit_linear(x, target, split)
    right = (fitted.predict(x[split.test]) > 0.5) == codes[split.test]
    assert right.mean(axis=0).min() > 0.9 and right[:, 2].all()
    one = training.fit_linear(
        x, tasks.labels_of_classes(np.where(codes[:, 0], "yes", "no"), name="smile"), split
    )
    np.testing.assert_allclose(fitted.predict(x)[:, 0], one.predict(x)[:, 1], atol=1e-6)
