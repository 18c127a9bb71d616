"""Training rows are evened out and no others, as Keras and scikit-learn do it with the same weights."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook import faces as face_table
from faceworkbook import splits, tasks, training
from faceworkbook.training import balancing, batched
from tests.training.training_toys import ages, blobs, cut

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def rare(n=300, n_classes=3, seed=0):
    """Blobs of which the last class is rare."""
    x, labels = blobs(n=n, n_classes=n_classes, seed=seed, noise=2.0)
    codes = labels.codes.copy()
    codes[(codes == n_classes - 1) & (np.arange(n) % 8 > 0)] = 0
    return x, tasks.Labels(labels.task, codes, labels.values)


def grouped(labels, *, share=0.2, seed=0):
    """The labels with groups 'x' (rare), 'y', and some faces of no known group."""
    drawn = np.random.default_rng(seed).random(len(labels))
    groups = np.where(drawn < share, "x", np.where(drawn < 0.95, "y", "")).astype(object)
    return balancing.GroupedLabels(labels.task, labels.codes, labels.values, groups)


def group_weights(labels, train):
    """The weights by group, by hand."""
    groups = labels.groups[train]
    weight = np.ones(len(train))
    known = groups != ""
    for name in ("x", "y"):
        weight[groups == name] = known.sum() / (2 * (groups == name).sum())
    return weight


def test_classes_get_the_same_sum_of_weights_over_training_rows_alone():
    _, labels = rare()
    split = cut(300)
    weights = balancing.weights(labels, split.train, "class_weights")
    sums = np.bincount(labels.codes[split.train], weights[split.train])
    np.testing.assert_allclose(sums, len(split.train) / 3, rtol=1e-5)
    others = np.setdiff1d(np.arange(300), split.train)
    assert (weights[others] == 1).all()


def test_unknown_groups_weigh_one_and_the_mean_is_one():
    _, labels = rare()
    labels, split = grouped(labels), cut(300)
    weights = balancing.weights(labels, split.train, "group_weights")[split.train]
    np.testing.assert_allclose(weights, group_weights(labels, split.train), rtol=1e-5)
    assert weights.mean() == pytest.approx(1) and (weights[labels.groups[split.train] == ""] == 1).all()


@pytest.mark.parametrize("by_group", [False, True])
def test_repeated_rows_even_out_every_class_or_group(by_group):
    _, labels = rare()
    labels = grouped(labels) if by_group else labels
    split = cut(300)
    rows = balancing.repeat(labels, split, "oversample", seed=3)
    np.testing.assert_array_equal(rows.validation, split.validation)
    np.testing.assert_array_equal(rows.train[: len(split.train)], split.train)
    names = balancing.cells(labels, "oversample")
    counts = pd.Series(names[rows.train]).value_counts()
    known = counts.drop("", errors="ignore")
    assert known.nunique() == 1 and known.iloc[0] == pd.Series(names[split.train]).value_counts().max()
    times = pd.Series(rows.train).value_counts()
    spread = times.groupby(names[times.index]).agg(lambda n: n.max() - n.min())
    assert (spread <= 1).all()
    again = balancing.repeat(labels, split, "oversample", seed=3)
    np.testing.assert_array_equal(again.train, rows.train)


@pytest.mark.parametrize("balance", balancing.BALANCES)
def test_the_table_counts_before_and_after(balance):
    _, labels = rare()
    labels, split = grouped(labels), cut(300)
    table = balancing.table(labels, split, balance)
    if balance == "none":
        assert table.empty
        return
    assert table["faces"].sum() == len(split.train)
    known = table[~table["group"].isin(["unknown"])]
    assert known["after"].max() - known["after"].min() < 1e-3
    total = len(balancing.repeat(labels, split, balance).train)
    assert table["after"].sum() == pytest.approx(total)


def test_groups_are_columns_of_classes():
    faces = face_table.build(
        {
            "image": ["a", "b", "c"],
            "gender": ["male", "female", None],
            "race": ["White", "Black", "Asian"],
            "age": [1.0, 2.0, 3.0],
        },
        dataset="x",
    )
    labels = tasks.read_labels(faces, "race")
    assert balancing.group(labels, faces, "") is labels
    made = balancing.group(labels, faces, "gender+race")
    assert made.groups.tolist() == ["male + White", "female + Black", ""]
    assert made.take([1]).groups.tolist() == ["female + Black"] and made.hide([0]).groups is made.groups
    for wrong in ("sex", "age"):
        with pytest.raises(balancing.BalanceError, match="name columns of classes"):
            balancing.group(labels, faces, wrong)


@pytest.mark.parametrize(
    ("balance", "says"),
    [
        ("class_weights", "is a number"),
        ("oversample", "is a number"),
        ("group_weights", "balance_by"),
        ("some", "allowed are"),
    ],
)
def test_what_cannot_be_evened_out_is_named(balance, says):
    x, years = ages(100)
    labels = tasks.labels_of_numbers(years, name="age")
    for fit in (training.fit_linear, training.fit_mlp):
        with pytest.raises(ValueError, match=says):
            fit(x, labels, cut(100), balance=balance)


# --------------------------------------------------------------------------------- as Keras, as scikit-learn


def network():
    net = keras.Sequential(
        [keras.Input((12,)), keras.layers.Normalization(), keras.layers.Dense(3, "softmax")]
    )
    net.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    return net


def kernel(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense)).get_weights()[0]


def train_plainly(x, labels, rows, **weights):
    """Keras itself, from the start that the workbook gives the same seed."""
    net, (mean, spread) = network(), batched.moments(x[rows])
    keras.utils.set_random_seed(5)

    def copy(layer):
        if isinstance(layer, keras.layers.Normalization):
            return keras.layers.Normalization(mean=mean, variance=spread**2, name=layer.name)
        return type(layer).from_config(layer.get_config())

    made = keras.models.clone_model(net, clone_function=copy)
    made.compile_from_config(net.get_compile_config())
    made.fit(x[rows], labels.codes[rows], epochs=3, batch_size=32, verbose=0, **weights)
    return kernel(made)


def fit_here(x, labels, split, balance):
    split = SimpleNamespace(train=split.train, validation=np.empty(0, int))
    fitted = training.fit(network(), x, labels, split, seed=5, epochs=3, batch_size=32, balance=balance)
    return kernel(fitted.model)


def test_class_weights_are_those_of_keras():
    x, labels = rare()
    split = cut(300)
    counts = np.bincount(labels.codes[split.train])
    by_class = dict(enumerate(len(split.train) / (3 * counts)))
    theirs = train_plainly(x, labels, split.train, class_weight=by_class)
    np.testing.assert_allclose(fit_here(x, labels, split, "class_weights"), theirs, atol=1e-5)


def test_group_weights_are_sample_weights_of_keras():
    x, labels = rare()
    labels, split = grouped(labels), cut(300)
    theirs = train_plainly(x, labels, split.train, sample_weight=group_weights(labels, split.train))
    np.testing.assert_allclose(fit_here(x, labels, split, "group_weights"), theirs, atol=1e-5)


def test_repeated_rows_are_repeated_for_keras_too():
    x, labels = rare()
    split = cut(300)
    rows = balancing.repeat(labels, split, "oversample", seed=5).train
    np.testing.assert_allclose(
        fit_here(x, labels, split, "oversample"), train_plainly(x, labels, rows), atol=1e-5
    )


@pytest.mark.parametrize("balance", ["class_weights", "group_weights", "oversample"])
def test_the_linear_reference_is_that_of_scikit_learn(balance):
    x, labels = rare()
    labels, split = grouped(labels), cut(300)
    fitted = training.fit_linear(x, labels, split, balance=balance, strengths=(0.01,), seed=2)
    rows = balancing.repeat(labels, split, balance, seed=2).train
    weight = group_weights(labels, rows) if balance == "group_weights" else None
    model = LogisticRegression(C=0.01, max_iter=1000, tol=1e-6)
    if balance == "class_weights":
        model.set_params(class_weight="balanced")
    mean, spread = batched.moments(x[rows])
    model.fit((x[rows] - mean) / spread, labels.codes[rows], sample_weight=weight)
    theirs = model.predict_proba((x - mean) / spread)
    np.testing.assert_allclose(fitted.predict(x), theirs, atol=5e-3)


def test_numbers_are_weighed_by_group():
    x, years = ages(300)
    labels, split = grouped(tasks.labels_of_numbers(years, name="age")), cut(300)
    fitted = training.fit_linear(x, labels, split, balance="group_weights", strengths=(10.0,))
    mean, spread = batched.moments(x[split.train])
    z = (x - mean) / spread
    model = Ridge(alpha=10.0).fit(z[split.train], years[split.train], group_weights(labels, split.train))
    np.testing.assert_allclose(fitted.predict(x), model.predict(z), rtol=1e-2)


@pytest.mark.parametrize("balance", ["class_weights", "group_weights", "oversample"])
def test_each_fold_weighs_by_its_own_training_rows(balance):
    x, labels = rare(n=240)
    labels = grouped(labels)
    faces = face_table.build({"image": [f"{i}" for i in range(240)]}, dataset="x")
    faces["letter"] = pd.Categorical(labels.truth)
    sizes = splits.FoldSizes(n_folds=3, n_repeats=1, validation=0.2)
    planned = splits.folds(faces, label="letter", sizes=sizes)
    options = {"balance": balance, "epochs": 3, "seed": 4}
    fits = training.fit_folds(x, labels, planned, **options)
    for i, split in enumerate(planned):
        alone = training.fit_mlp(x, labels, split, **options)
        np.testing.assert_allclose(fits.outputs[i], alone.predict(x), atol=2e-3)


def test_what_is_chosen_on_validation_rows_knows_no_weights():
    x, labels = rare()
    split = cut(300)
    stack = batched.fit(
        x, labels, [split], batched.Settings(epochs=2, balance="class_weights", dropout=0.0), seeds=[0]
    )
    p = stack.model(0)(x[split.validation]).numpy()
    loss = -np.log(p[np.arange(len(p)), labels.codes[split.validation]]).mean()
    best = stack.history.set_index("epoch").loc[int(stack.best_epoch[0]), "val_loss"]
    assert best == pytest.approx(loss, rel=1e-3)


# --------------------------------------------------------------------------------- estimators


@pytest.mark.parametrize(
    "estimator", [RandomForestClassifier(20), make_pipeline(StandardScaler(), LogisticRegression())]
)
def test_estimators_take_weights_and_are_fitted_again_with_them(estimator, tmp_path):
    x, labels = rare()
    labels, split = grouped(labels), cut(300)
    fitted = training.fit(estimator, x, labels, split, seed=1, folder=tmp_path, balance="group_weights")
    again = training.load(tmp_path, matrix=x, labels=labels, split=split)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    plain = training.fit(estimator, x, labels, split, seed=1)
    assert np.abs(plain.predict(x) - fitted.predict(x)).max() > 1e-3


def test_an_estimator_that_takes_no_weights_is_named_and_takes_repeated_rows():
    x, labels = rare()
    split = cut(300)
    with pytest.raises(balancing.BalanceError, match="KNeighborsClassifier takes no weights"):
        training.fit(KNeighborsClassifier(5), x, labels, split, balance="class_weights")
    fitted = training.fit(KNeighborsClassifier(5), x, labels, split, balance="oversample")
    rows = balancing.repeat(labels, split, "oversample").train
    theirs = KNeighborsClassifier(5).fit(x[rows], labels.codes[rows]).predict_proba(x)
    np.testing.assert_allclose(fitted.predict(x), theirs)
