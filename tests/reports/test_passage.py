"""What passes from step to step is known by content: whatever does not fit is refused in one sentence."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faceworkbook import data_record, descriptors, faces, images, project, splits
from faceworkbook.data_record import DataError
from faceworkbook.descriptors import StoreError
from faceworkbook.evaluation import predictions
from faceworkbook.reports import described, finished, inputs, parameters, runs
from faceworkbook.reports.runs import Run, RunError

BACKBONE = SimpleNamespace(
    name="tiny",
    tap="mean",
    fingerprint="f" * 64,
    mirror="",
    is_own=False,
    dim=3,
    preprocessing=images.Preprocessing(size=(8, 8), channels="RGB", mean=(0, 0, 0)),
)
ENGINE = SimpleNamespace(
    name="mean",
    batch_size=8,
    settings={"name": "mean"},
    run=lambda pixels: pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32),
)


def put_pictures(root, n=40, *, shift=0):
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shift)
    for i in range(n):
        cv2.imwrite(str(root / f"{i:03d}.png"), rng.integers(0, 255, (12, 10, 3), dtype=np.uint8))


def read_faces(root):
    names = sorted(path.name for path in root.glob("*.png"))
    gender = np.array(["male", "female"])[np.arange(len(names)) % 2]
    return faces.build({"image": names, "gender": gender}, dataset="toys")


def run_faces(out, root, *, seed=0, draw=None):
    """What 01_faces writes."""
    run = Run(out / "01_faces", "01_faces")
    table = faces.draw(read_faces(root), limit=draw or 0, seed=seed)
    table = table.assign(content_hash=data_record.hash_pictures(table, root))
    split = splits.make(table, label="gender", seed=seed)
    run.save_table(table, "faces")
    splits.save(split, run.path("split.json"), table)
    record = data_record.make(table, split, reader={"name": "toys", "code": "1"}, root=root)
    data_record.write(record, run.path("data.json"))
    run.save_values({"dataset": "toys", "root": str(root), "label": "gender", "seed": seed}, "params")


def run_descriptors(out, root, store):
    """What 02_descriptors writes."""
    run = Run(out / "02_descriptors", "02_descriptors")
    save_descriptors(
        run,
        descriptors.extract(run.faces(), BACKBONE, root=root, store=store, engine=ENGINE, progress=False),
    )


def save_descriptors(run, *blocks):
    """What 02_descriptors writes of descriptors that stand side by side."""
    joined = descriptors.join(blocks)
    records = [
        {"kind": "file", "file": "a.npy", "store": str(own.folder), "descriptors": own.fingerprint}
        for own in described.blocks_of(joined)
    ]
    run.save_values({"made_from": run.made_from(), "blocks": records, "descriptors": joined.fingerprint})
    return joined


def run_classifier(out):
    """What 03_classifier writes."""
    run = Run(out / "03_classifier", "03_classifier")
    data = run.prepared_data("gender")
    share = np.full((len(data.faces), 2), 0.5)
    table = predictions.predict(share, data.matrix, data.faces, data.labels, data.split)
    run.save_predictions(table, data.made_from)


@pytest.fixture
def toy(tmp_path):
    root, out, store = tmp_path / "toys", tmp_path / "out", tmp_path / "store"
    put_pictures(root)
    run_faces(out, root)
    run_descriptors(out, root, store)
    return SimpleNamespace(root=root, out=out, store=store, reader=runs.of(out))


def test_the_passage_hands_on_faces_labels_split_matrix_and_copies(toy):
    data = toy.reader.prepared_data("gender")
    assert len(data.faces) == len(data.labels) == len(data.matrix) == len(data.copies) == 40
    pixels = cv2.imread(str(toy.root / data.faces["image"].iloc[7]))[..., ::-1]
    seen = cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(data.matrix[7], seen, atol=6)
    assert set(data.made_from) == {"data", "n", "label", "descriptors"}


def test_two_blocks_pass_side_by_side_and_are_known_by_both(toy, tmp_path):
    single = toy.reader.prepared_data("gender")
    run = Run(toy.out / "02_descriptors", "02_descriptors")
    table, numbers = run.faces(), np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.save(tmp_path / "b.npy", numbers)
    given = {"root": toy.root, "store": tmp_path / "b", "ids": "row_order"}
    first = descriptors.select(toy.store, table["face_id"], root=toy.root)
    save_descriptors(run, first, descriptors.read(tmp_path / "b.npy", table, **given))
    data = toy.reader.prepared_data("gender")
    np.testing.assert_array_equal(data.matrix, np.hstack([single.matrix, numbers]))
    assert data.dims == (3, 2) and single.dims == (3,)
    np.testing.assert_allclose(np.linalg.norm(data.matrix_for_cosines, axis=1), np.sqrt(2), rtol=1e-5)
    assert data.made_from["descriptors"] != single.made_from["descriptors"]
    np.save(tmp_path / "b.npy", numbers + 1)
    descriptors.read(tmp_path / "b.npy", table, **given)
    with pytest.raises(DataError, match=r"holds other descriptors of these faces than 02_descriptors wrote"):
        toy.reader.prepared_data("gender")


def test_descriptors_from_a_file_have_no_network_and_say_so(toy):
    assert toy.reader.why_no_network() == (
        "The descriptors were read from a.npy and come without a network: pictures that are changed or new cannot be "
        "described."
    )
    with pytest.raises(DataError, match=r"read from a\.npy and come without a network"):
        toy.reader.networks()


def test_networks_are_opened_as_they_were_used(tmp_path):
    run = Run(tmp_path / "02_descriptors", "02_descriptors")
    own = SimpleNamespace(
        dim=1024,
        folder=tmp_path / "s",
        generation=1,
        fingerprint="x",
        manifest={"recipe": {"precision": "float32"}, "engines": [], "decoder": ""},
    )
    nets = described.choose_networks(
        "", ["auto"], tap=["conv_pw_12_relu", "global_pooling"], weights=[], mirror=True
    )
    records = [described._record_network(net, own) for net in nets]
    run.save_values({"blocks": records})
    opened = runs.of(tmp_path).networks()
    assert [(net.tap, net.mirror, net.fingerprint) for net in opened] == [
        (net.tap, "mean", net.fingerprint) for net in nets
    ]
    assert runs.of(tmp_path).why_no_network() == ""
    assert described.describe(records) == (
        "faceres_deep at conv_pw_12_relu (mean of both sides) and at global_pooling (mean of both sides)"
    )
    run.save_values({"blocks": [{**record, "weights_sha256": "other"} for record in records]})
    with pytest.raises(
        DataError, match=r"holds other weights than 02_descriptors used; run 02_descriptors again"
    ):
        runs.of(tmp_path).networks()


def test_a_lower_precision_is_described_beside_what_is_allowed():
    cpu = {"name": "keras", "cosine_to_float32": 0.987934, "relative_error": 0.154934}
    record = {"kind": "network", "precision": "bfloat16", "engines": [cpu, cpu, {"name": "gpu"}]}
    assert described.describe_precision(record) == (
        "bfloat16 instead of float32, at worst over the faces that were tried: cosine 0.987934 (at least 0.9), relative "
        "error 1.5e-01 (at most 0.5)"
    )
    assert described.describe_precision(record | {"engines": []}).endswith("not measured")
    assert described.describe_precision(record | {"precision": "float32"}) == ""
    assert described.describe_precision({"kind": "file"}) == ""


def test_a_file_and_a_network_are_not_both_given():
    with pytest.raises(
        ValueError, match=r"descriptors='a.npy' are read as they are; leave out backbone, tap"
    ):
        described.choose_networks("a.npy", ["auto"], tap=["feats"], weights=[], mirror=False)
    assert described.choose_networks("a.npy", ["auto"], tap=[], weights=[], mirror=False) == []


def test_a_run_of_an_earlier_version_is_asked_to_run_again(toy):
    Run(toy.out / "02_descriptors", "02_descriptors").save_values({"store": "x", "made_from": {}})
    with pytest.raises(DataError, match="run 02_descriptors again"):
        toy.reader.networks()


def test_faces_that_were_drawn_anew_are_not_read_with_old_descriptors(toy):
    run_faces(toy.out, toy.root, seed=5, draw=30)
    with pytest.raises(DataError, match=r"02_descriptors was run on other faces.*run 02_descriptors again"):
        toy.reader.prepared_data("gender")
    run_descriptors(toy.out, toy.root, toy.store)
    assert len(toy.reader.prepared_data("gender").faces) == 30


def test_two_folders_with_the_same_names_never_share_descriptors(toy, tmp_path):
    before = np.array(toy.reader.prepared_data("gender").matrix)
    other = tmp_path / "others"
    put_pictures(other, shift=9)
    run_faces(tmp_path / "second", other)
    run_descriptors(tmp_path / "second", other, toy.store)
    with pytest.raises((DataError, StoreError), match=r"02_descriptors again|extract again"):
        toy.reader.prepared_data("gender")
    run_descriptors(toy.out, toy.root, toy.store)
    np.testing.assert_array_equal(toy.reader.prepared_data("gender").matrix, before)


def test_a_picture_that_was_exchanged_is_refused(toy):
    table = toy.reader.faces()
    cv2.imwrite(str(toy.root / table["image"].iloc[3]), np.zeros((12, 10, 3), np.uint8))
    descriptors.extract(table, BACKBONE, root=toy.root, store=toy.store, engine=ENGINE, progress=False)
    with pytest.raises(DataError, match=r"descriptors of other pictures than 01_faces saw: 1 of 40"):
        toy.reader.prepared_data("gender")


def test_a_face_table_that_was_changed_by_hand_is_refused(toy):
    table = toy.reader.faces()
    swapped = table.assign(gender=table["gender"].iloc[::-1].to_numpy())
    swapped["gender"] = swapped["gender"].astype(table["gender"].dtype)
    Run(toy.out / "01_faces", "01_faces").save_table(swapped, "faces")
    with pytest.raises(DataError, match=r"changed after data.json was written \(labels differ\)"):
        toy.reader.prepared_data("gender")


def test_another_split_than_that_of_the_record_is_refused(toy):
    table = toy.reader.faces()
    splits.save(splits.make(table, label="gender", seed=8), toy.out / "01_faces" / "split.json", table)
    with pytest.raises(DataError, match=r"is not the split that data\.json names"):
        toy.reader.prepared_data("gender")


def test_predictions_of_another_split_are_refused(toy):
    run_classifier(toy.out)
    assert len(toy.reader.predictions()) > 10
    run_faces(toy.out, toy.root, seed=3)
    with pytest.raises(DataError, match=r"03_classifier was run on other faces.*run 03_classifier again"):
        toy.reader.predictions()


def test_what_was_settled_is_read_and_a_contradiction_is_refused(toy):
    run = Run(toy.out / "03_classifier", "03_classifier", {"label": "", "seed": -1, "root": str(toy.root)})
    assert run.settled("label", "seed", "root") == ("gender", 0, str(toy.root))
    assert json.loads(run.path("params.json").read_text())["label"] == "gender"
    other = Run(toy.out / "03_classifier", "03_classifier", {"label": "race"})
    with pytest.raises(RunError, match=r"label='race' contradicts an earlier step.*settled 'gender'"):
        other.settled("label")


def test_a_steps_own_seed_contradicts_nothing(toy):
    """Training with another seed than that of the split was refused."""
    run = Run(toy.out / "03_classifier", "03_classifier", {"label": "", "seed": 5})
    assert run.settled("label", "seed") == ("gender", 5)
    assert json.loads(run.path("environment.json").read_text())["seed"] == 5


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"n": 3}'])
def test_a_damaged_record_of_data_is_named(toy, damage):
    (toy.out / "01_faces" / "data.json").write_text(damage)
    with pytest.raises(DataError, match=r"data\.json.*run 01_faces again"):
        toy.reader.prepared_data("gender")


# ---- finished steps


@pytest.fixture
def done(tmp_path):
    place = tmp_path / "02_descriptors"
    place.mkdir()
    (place / "report.html").write_text("page")
    (place / "table.parquet").write_bytes(b"values")
    finished.mark(place, "f", 1.0)
    return place


def test_a_step_is_finished_while_all_that_it_made_is_there(done):
    assert finished.is_finished(done, "f") and not finished.is_finished(done, "g")
    (done / "model_card.md").write_text("a later step writes this")
    assert finished.is_finished(done, "f")


@pytest.mark.parametrize("name", ["report.html", "table.parquet", "done.json"])
@pytest.mark.parametrize("change", [lambda p: p.unlink(), lambda p: p.write_bytes(b"other!")])
def test_an_output_that_is_gone_or_changed_makes_the_step_run_again(done, name, change):
    change(done / name)
    assert not finished.is_finished(done, "f")


def test_a_store_that_is_gone_changed_or_damaged_makes_the_step_run_again(toy):
    place = toy.out / "02_descriptors"
    (place / "report.html").write_text("page")
    finished.mark(place, "f", 1.0)
    assert finished.is_finished(place, "f")
    matrix = toy.store / "descriptors.npy"
    data = bytearray(matrix.read_bytes())
    data[-1] ^= 1
    matrix.write_bytes(data)
    assert not finished.is_finished(place, "f")


def test_a_notebook_counts_by_its_sources(tmp_path):
    import nbformat

    path = tmp_path / "n.ipynb"
    cell = nbformat.v4.new_code_cell("1 + 1")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    before = finished.hash_notebook(path)
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="2")], 7
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert finished.hash_notebook(path) == before
    cell.source = "1 + 2"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert finished.hash_notebook(path) != before


def test_a_picture_of_the_same_size_and_date_is_noticed(tmp_path):
    import os

    (tmp_path / "a.png").write_bytes(b"one")
    stat, before = (tmp_path / "a.png").stat(), finished.hash_input(tmp_path)
    (tmp_path / "a.png").write_bytes(b"two")
    os.utime(tmp_path / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert finished.hash_input(tmp_path) != before


def test_the_groups_that_training_evens_out_pass_on_to_later_steps(toy):
    assert getattr(toy.reader.prepared_data("gender").labels, "groups", None) is None
    Run(toy.out / "03_classifier", "03_classifier").save_values({"balance_by": "gender"}, "params")
    data = toy.reader.prepared_data("gender")
    assert data.labels.groups.tolist() == data.faces["gender"].astype(str).tolist()
    assert getattr(toy.reader.prepared_data("gender", balance_by="").labels, "groups", None) is None
    own = Run(toy.out / "06_cross_validation", "06_cross_validation", {"balance_by": ""})
    assert getattr(own.prepared_data("gender").labels, "groups", None) is None


@pytest.fixture
def finished_steps(toy):
    """An experiment whose 04 has read 03, and 03 the descriptors of 02."""
    out = toy.out
    classifier, errors = Run(out / "03_classifier", "03_classifier"), Run(out / "04_errors", "04_errors")
    for run in (classifier, errors):
        run.folder.mkdir(exist_ok=True)
    classifier.prepared_data("gender")
    run_classifier(out)
    errors.predictions()
    errors.save_values({"measure": "accuracy"})
    return out


def test_a_step_is_read_while_what_it_has_read_is_as_it_was(toy, finished_steps):
    out, root, store = toy.out, toy.root, toy.store
    report = Run(out / "05_report", "05_report")
    assert report.values("04_errors") == {"measure": "accuracy"}
    run_descriptors(out, root, store)
    run_classifier(out)
    assert report.values("04_errors") == {"measure": "accuracy"}, "the same content written anew is the same"


@pytest.mark.parametrize("read", ["04_errors", "03_classifier"])
def test_a_step_that_saw_other_descriptors_is_refused_by_all_that_read_it(toy, finished_steps, read):
    """Also where it has read them by way of a step between."""
    out, root = toy.out, toy.root
    other = SimpleNamespace(**{**vars(BACKBONE), "tap": "middle"})
    run = Run(out / "02_descriptors", "02_descriptors")
    save_descriptors(
        run,
        descriptors.extract(
            run.faces(), other, root=root, store=out / "other", engine=ENGINE, progress=False
        ),
    )
    with pytest.raises(
        inputs.StaleStep, match="03_classifier was run on other descriptors than 02_descriptors"
    ):
        Run(out / "05_report", "05_report").other(
            read, "metrics.json" if read == "04_errors" else "predictions.parquet"
        )


def test_a_step_that_saw_other_predictions_is_refused_until_it_runs_again(finished_steps):
    out = finished_steps
    path = out / "03_classifier" / "predictions.parquet"
    table = predictions.read(path)
    changed = table.assign(**{name: table[name].to_numpy()[::-1] for name in table if name.startswith("p_")})
    predictions.write(changed, path, made_from=table.attrs[predictions.MADE_FROM])
    report = Run(out / "05_report", "05_report")
    with pytest.raises(
        inputs.StaleStep, match=r"04_errors was run on another 03_classifier/predictions\.parquet"
    ):
        report.values("04_errors")
    declared = parameters.read(project.resolve("notebooks/04_errors.ipynb"))
    again = runs.start(out, "04_errors", {name: own.default for name, own in declared.items()})
    again.predictions()
    again.save_values({"measure": "accuracy"})
    assert report.values("04_errors") == {"measure": "accuracy"}
