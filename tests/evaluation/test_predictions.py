"""A table of predictions carries its task, is checked when it is written and read, and takes any model."""

from types import SimpleNamespace

import made_predictions as made
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from faceworkbook import tasks
from faceworkbook.evaluation import groups, metrics, predictions
from faceworkbook.evaluation.predictions import PredictionsError

THREE = ("angry", "happy", "sad")


def several_labels(n=12):
    task = tasks.Task("glasses+hat", "multilabel", ("glasses", "hat"))
    shares = np.random.default_rng(0).random((n, 2))
    return predictions.build(
        made.faces_table(n), task, truth=["hat", "none"] * (n // 2), output=shares, split="test"
    )


TABLES = {
    "classes": lambda: made.class_predictions(12, classes=THREE, people=5),
    "years": lambda: made.class_predictions(12, classes=("20", "30", "40"), kind="ordered"),
    "numbers": lambda: made.number_predictions(12),
    "several": several_labels,
}


@pytest.fixture(params=TABLES)
def table(request):
    return TABLES[request.param]()


# --------------------------------------------------------------------------- files


def test_a_table_comes_back_as_it_was_with_its_task_and_what_it_was_made_from(table, tmp_path):
    table["race"] = pd.Categorical(["Black", "White", None] * 4)
    path = predictions.write(table, tmp_path / "p.parquet", made_from={"split": "abc", "n": np.int64(3)})
    back = predictions.read(path)
    assert predictions.task_of(back) == predictions.task_of(table)
    assert back.attrs["made_from"] == {"split": "abc", "n": 3}
    people = {"identity": table["identity"].astype("string")}
    pd.testing.assert_frame_equal(
        back.astype({"identity": "string"}), table.assign(**people), check_dtype=False
    )
    again = predictions.read(predictions.write(back, tmp_path / "q.parquet"))
    assert predictions.task_of(again) == predictions.task_of(table)


def test_a_table_without_a_task_is_one_of_plain_classes_or_a_number_and_its_file_is_refused(tmp_path):
    for table, kind in ((TABLES["years"](), "classes"), (TABLES["numbers"](), "number")):
        table.attrs = {}
        assert predictions.task_of(table).kind == kind
        table.to_parquet(tmp_path / "p.parquet")
        with pytest.raises(PredictionsError, match="lacks the record of its task and content"):
            predictions.read(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(**{"p:sad": 7.0}), r"lie in .*\.\.7; probabilities lie in 0\.\.1"),
        (lambda t: t.assign(**{"p:sad": np.nan}), "12 of 12 outputs for 'label' are NaN"),
        (
            lambda t: t.assign(**{"p:sad": t["p:sad"] / 2 + 0.3}),
            "of face 'f0.*' add up to .*must add up to 1",
        ),
        (lambda t: t.assign(face_id="f00000"), "face 'f00000' stands twice in one repeat"),
        (lambda t: t.assign(face_id=None), "column 'face_id' has 12 empty rows"),
        (lambda t: t.assign(truth="bored"), r"'truth' holds \['bored'\]; the classes are \['angry'"),
        (lambda t: t.assign(predicted="bored"), r"'predicted' holds \['bored'\]"),
        (lambda t: t.assign(split="dev"), r"'split' holds \['dev'\]; allowed are \['train'"),
        (lambda t: t.assign(split=None), "column 'split' has 12 empty rows"),
        (lambda t: t.drop(columns="fold"), r"lacks the columns \['fold'\]"),
        (lambda t: t.drop(columns="p:sad"), "the columns are .'angry', 'happy'"),
    ],
)
def test_a_table_that_breaks_its_contract_is_neither_written_nor_read(change, message, tmp_path):
    broken = change(TABLES["classes"]())
    with pytest.raises(PredictionsError, match=message):
        predictions.write(broken, tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()
    broken.to_parquet(tmp_path / "elsewhere.parquet")
    with pytest.raises(PredictionsError, match=r"elsewhere\.parquet"):
        predictions.read(tmp_path / "elsewhere.parquet")


def test_labels_that_are_none_of_several_are_refused():
    with pytest.raises(PredictionsError, match=r"'truth' holds \['beard'\]"):
        predictions.check(several_labels().assign(truth="hat+beard"), "here")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(truth=t["truth"].iloc[::-1].to_numpy()),
        lambda t: t.rename(columns={"p:angry": "p:sad", "p:sad": "p:angry"})[t.columns],
        lambda t: t.iloc[:-1],
        lambda t: t.assign(race="Black"),
    ],
)
def test_a_table_that_was_changed_in_its_file_is_refused(change, tmp_path):
    path = predictions.write(TABLES["classes"](), tmp_path / "p.parquet")
    whole = pq.read_table(path)
    changed = change(whole.to_pandas())
    metadata = whole.schema.metadata
    pq.write_table(whole.from_pandas(changed, preserve_index=False).replace_schema_metadata(metadata), path)
    with pytest.raises(PredictionsError, match="was changed after it was written"):
        predictions.read(path)


def test_damaged_files_are_right_or_refused_in_words(table, tmp_path):
    path = predictions.write(table, tmp_path / "p.parquet", made_from={"data": "0123"})
    whole, expected = path.read_bytes(), predictions.read(path)
    rng, refused = np.random.default_rng(0), 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 5 == 0:
            damaged = damaged[: rng.integers(len(whole))]
        else:
            # Half of the flips hit the footer, where nothing has a checksum of its own.
            first = 0 if trial % 2 else len(whole) // 2
            for at in rng.integers(first, len(whole), rng.integers(1, 4)):
                damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            got = predictions.read(path)
        except PredictionsError as error:
            assert "p.parquet" in str(error)
            refused += 1
        else:
            pd.testing.assert_frame_equal(got, expected, check_dtype=False)
            assert got.attrs == expected.attrs
    assert refused > 75


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the notebook that writes it"):
        predictions.read(tmp_path / "p.parquet")


# --------------------------------------------------------------------------- the task stays


def test_the_task_stays_through_what_pandas_does():
    table = TABLES["years"]()
    task = predictions.task_of(table)
    made_of_it = [
        table[table["fold"] == 0],
        table.assign(race="Black"),
        pd.concat([table, table]),
        table.sample(frac=1, random_state=0).reset_index(drop=True),
        table.drop_duplicates("face_id"),
        next(rows for _, rows in table.groupby("face_id")),
        table.copy(),
    ]
    assert all(predictions.task_of(one) == task for one in made_of_it)


def test_the_task_stays_where_attributes_are_attached():
    """A join of pandas forgets the task, and years became plain classes without an expected age."""
    table = TABLES["years"]()
    faces = table[["face_id"]].assign(race=pd.Categorical(["Black", "White"] * 6))
    attached = groups.attach(table, faces, ["race"])
    assert predictions.task_of(attached) == predictions.task_of(table)
    assert metrics.summary(attached, names=["expected_mae"], n_boot=20)["value"].notna().all()


def test_a_mean_and_other_outputs_keep_the_task(table):
    task = predictions.task_of(table)
    assert predictions.task_of(predictions.average([table, table])) == task


# --------------------------------------------------------------------------- models


@pytest.fixture
def learned():
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    matrix = (rng.normal(size=(90, 6)) + 3 * np.eye(6)[codes]).astype(np.float32)
    labels = tasks.labels_of_classes(np.array(THREE)[codes], name="emotion")
    split = SimpleNamespace(train=np.arange(60), validation=np.arange(60, 75), test=np.arange(75, 90))
    return SimpleNamespace(matrix=matrix, labels=labels, split=split, faces=made.faces_table(90))


def predict(model, learned, labels=None):
    return predictions.predict(model, learned.matrix, learned.faces, labels or learned.labels, learned.split)


def test_an_estimator_fitted_on_names_or_codes_gives_the_same_table(learned):
    x, train = learned.matrix[:60], learned.split.train
    on_codes = KNeighborsClassifier(5).fit(x, learned.labels.codes[train])
    on_names = KNeighborsClassifier(5).fit(x, learned.labels.truth[train].astype(str))
    table = predict(on_names, learned)
    pd.testing.assert_frame_equal(table, predict(on_codes, learned))
    assert table["split"].tolist() == ["validation"] * 15 + ["test"] * 15
    np.testing.assert_allclose(predictions.probabilities(table), on_names.predict_proba(learned.matrix[60:]))


def test_a_class_that_an_estimator_never_saw_has_probability_zero(learned):
    seen = np.flatnonzero(learned.labels.codes[:60] != 1)
    model = LogisticRegression().fit(learned.matrix[seen], learned.labels.truth[seen].astype(str))
    table = predict(model, learned)
    assert (table["p:happy"] == 0).all() and list(table.columns[-3:]) == ["p:angry", "p:happy", "p:sad"]


@pytest.mark.parametrize("classes", [[1, 2, 3], [-1, 0, 1], ["angry", "bored", "sad"]])
def test_an_estimator_of_other_classes_is_refused(classes, learned):
    model = SimpleNamespace(predict_proba=lambda x: np.full((len(x), 3), 1 / 3), classes_=np.array(classes))
    with pytest.raises(
        PredictionsError, match=r"the model knows classes .*fit it on names, or on codes from 0"
    ):
        predict(model, learned)


def test_a_keras_like_object_and_an_array_are_models_too(learned):
    shares = np.eye(3)[learned.labels.codes] * 0.7 + 0.1

    class Net:
        layers = ()

        def predict(self, x, verbose=1):
            assert verbose == 0
            return shares[60:]

    pd.testing.assert_frame_equal(predict(Net(), learned), predict(shares, learned))
    with pytest.raises(PredictionsError, match="30 outputs for 90 faces"):
        predict(shares[60:], learned)


def test_a_regressor_and_a_net_with_one_output_predict_numbers(learned):
    years = tasks.labels_of_numbers(learned.labels.codes * 10.0, name="age")
    model = LinearRegression().fit(learned.matrix[:60], years.values[:60])
    table = predict(model, learned, years)
    np.testing.assert_allclose(table["predicted"], model.predict(learned.matrix[60:]))
    column = SimpleNamespace(predict=lambda x: model.predict(x)[:, None])
    pd.testing.assert_frame_equal(predict(column, learned, years), table)


def test_one_sigmoid_is_the_second_of_two_classes(learned):
    labels = tasks.labels_of_classes(np.where(learned.labels.codes == 0, "no", "yes"), name="smile")
    table = predict(SimpleNamespace(predict=lambda x: np.full((len(x), 1), 0.8)), learned, labels)
    assert (table["p:yes"] == 0.8).all() and np.allclose(table["p:no"], 0.2)


@pytest.mark.parametrize(
    "model", [KNeighborsClassifier(5), OneVsRestClassifier(LogisticRegression())], ids=["lists", "one array"]
)
def test_estimators_of_several_labels_give_one_column_a_label(model, learned):
    codes = learned.labels.codes
    columns = np.column_stack([codes == 0, codes < 2]).astype(int)
    task = tasks.Task("glasses+hat", "multilabel", ("glasses", "hat"))
    labels = tasks.Labels(task, columns, np.full(90, np.nan))
    table = predict(model.fit(learned.matrix[:60], columns[:60]), learned, labels)
    yes = predictions.probabilities(table) >= 0.5
    assert (yes == columns[60:]).mean() > 0.9
    # A label that was never yes in training.
    columns[:60, 0] = 0
    table = predict(KNeighborsClassifier(5).fit(learned.matrix[:60], columns[:60]), learned, labels)
    assert (table["p:glasses"] == 0).all()


def test_outputs_that_are_no_probabilities_are_refused(learned):
    with pytest.raises(PredictionsError, match="CalibratedClassifierCV"):
        predict(LinearSVC().fit(learned.matrix[:60], learned.labels.codes[:60]), learned)
    for output, message in (
        (np.full((90, 3), 7.0), r"lie in 7\.\.7"),
        (np.full((90, 3), np.nan), "30 of 30 outputs for 'emotion' are NaN"),
        (np.full((90, 2), 0.5), r"shape \(30, 2\); expected one column for each of 3 classes"),
    ):
        with pytest.raises(PredictionsError, match=message):
            predict(output, learned)
    with pytest.raises(PredictionsError, match="2 outputs for 90 faces"):
        predictions.build(
            learned.faces, learned.labels.task, truth=learned.labels.truth, output=np.eye(3)[:2], split="test"
        )


def test_tables_made_from_different_data_are_joined_with_their_task(tmp_path):
    task = tasks.Task("glasses+hat", "multilabel", ("glasses", "hat"))
    each = [
        predictions.build(
            made.faces_table(5).assign(face_id=[f"{name}{i}" for i in range(5)]), task, truth=["none"] * 5,
            output=np.full((5, 2), 0.2), split="test",
        )
        for name in "ab"
    ]  # fmt: skip
    for number, table in enumerate(each):
        table.attrs["made_from"] = {"data": number, "label": "hat"}
    joined = predictions.join(each)
    assert predictions.task_of(joined) == task and len(joined) == 10
    assert joined.attrs["made_from"] == {"label": "hat"}
    lost = pd.concat(each, ignore_index=True)
    assert "task" not in lost.attrs, "pandas drops attributes that differ"
    with pytest.raises(PredictionsError, match=r"put them below each other with predictions\.join"):
        predictions.task_of(lost)
    other = each[1].copy()
    other.attrs["task"] = tasks.Task("beard+hat", "multilabel", ("glasses", "hat")).to_record()
    with pytest.raises(PredictionsError, match=r"beard\+hat.*glasses\+hat.*join takes tables of one task"):
        predictions.join([each[0], other])
    with pytest.raises(PredictionsError, match="no task; join"):
        predictions.join([])
