"""Pictures in, a table out: answers, statuses, what every column means."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import backbones
from faceworkbook.descriptors import engines
from faceworkbook.serving import Photo, PredictorError, describing
from faceworkbook.serving.predictor import READERS
from tests.conftest import REPO
from tests.serving.toys import load_toy, plain_picture, write_toy

FACE = REPO / "data" / "synthetic" / "images"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "predictor")


@pytest.fixture
def predictor(place):
    return load_toy(place)


@pytest.fixture(scope="module")
def face():
    """A rendered face, uint8 RGB."""
    path = sorted(FACE.glob("*"))[0]
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def _photo(face, places, *, height=400, side=1000):
    photo = np.full((side, side, 3), 127, np.uint8)
    small = cv2.resize(face, (height, height), interpolation=cv2.INTER_AREA)
    for top, left in places:
        photo[top : top + height, left : left + height] = small
    return photo


def test_columns_of_each_kind_of_task(predictor):
    table = predictor.predict([plain_picture((200, 0, 0)), plain_picture((0, 0, 250))], faces="whole")
    assert table["status"].tolist() == ["ok", "ok"] and table["image"].tolist() == ["image 0", "image 1"]
    assert table["face"].tolist() == [0, 0] and table["top"].isna().all()
    # temperature 2: softmax(logits / 2)
    logits = np.array([200, 0, 0]) / 255 * 8 / 2
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(table.filter(like="p:colour=").iloc[0], expected, atol=1e-5)
    assert table["colour_probability"].iloc[0] == pytest.approx(expected[0], abs=1e-5)
    assert table["light"].tolist() == pytest.approx([200 / 3, 250 / 3], abs=1e-3)
    assert (table["light_high"] - table["light"]).tolist() == pytest.approx([5, 5])
    assert table["sign+mark"].tolist() == ["sign", "none"]


def test_sets_hold_the_classes_whose_limits_allow_it(predictor):
    table = predictor.predict(plain_picture((250, 0, 0)), faces="whole")
    # blue has no limit of its own (too few validation faces), so it is in every set
    assert table["colour_set"].iloc[0] == "red | blue"


def test_figures_are_those_of_the_most_alike_faces(predictor):
    table = predictor.predict(
        [plain_picture(c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))], faces="whole"
    )
    assert table["colour_accuracy_here"].tolist() == [0.6, 0.8, 0.9]
    assert table["colour_accuracy_here_n"].tolist() == [40, 100, 30]
    assert table["colour_accuracy_here_like"].tolist() == [
        "predicted red",
        "all measured faces",
        "predicted blue",
    ]
    assert np.isnan(table["colour_accuracy_here_low"].iloc[2])
    assert table["light_error_here"].tolist() == [3.0] * 3


def test_faces_unlike_the_training_faces_are_flagged(predictor):
    same = np.zeros((4, 256), np.float32)
    same[:, :3], same[:, 3] = 0.5, 1
    other = same.copy()
    other[:, 50:] = 5
    table = predictor.answer(np.concatenate([same, other]))
    assert table["unlike_training"].tolist() == [False] * 4 + [True] * 4
    assert table["unlike_training_score"].between(0, 1).all()


def test_statuses_are_values_not_exceptions(predictor, face, tmp_path):
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty.png"
    broken.write_bytes(b"\xff\xd8\xff\xe0 torn")
    empty.write_bytes(b"")
    one, two = _photo(face, [(300, 300)]), _photo(face, [(50, 50), (550, 550)])
    images = [
        one,
        two,
        plain_picture((9, 9, 9), (300, 300)),
        broken,
        empty,
        tmp_path / "missing.jpg",
        b"no picture",
    ]
    images += [_photo(face, [(20, 20)], height=16, side=64), np.zeros((5, 5), np.uint8), np.zeros((9, 9, 3))]
    table = predictor.predict(images)
    assert table["status"].tolist()[:7] == ["ok", "several faces", "no face", *["unreadable"] * 4]
    assert table["status"].iloc[7] in ("too small", "no face")
    assert table["status"].tolist()[8:] == ["unreadable"] * 2
    assert table["faces"].tolist()[:3] == [1, 2, 0]
    without = ~table["status"].isin(["ok", "several faces"])
    assert table.loc[without, "colour"].isna().all() and table.loc[~without, "colour"].notna().all()
    assert table.loc[without, "unlike_training"].isna().all()
    assert table.loc[without, "detail"].str.len().gt(5).all()


def test_all_faces_have_a_row_each_and_lie_where_they_were_put(predictor, face):
    table = predictor.predict(_photo(face, [(50, 50), (550, 550)]), faces="all")
    assert table["status"].tolist() == ["ok", "ok"] and table["face"].tolist() == [0, 1]
    centres = sorted(((table["top"] + table["bottom"]) / 2).tolist())
    assert abs(centres[1] - centres[0] - 500) < 15
    assert table["detector_score"].between(0.3, 1).all()


def test_faces_below_the_limit_are_too_small(place, face):
    from faceworkbook.serving import Predictor

    predictor = Predictor.load(place, min_height=10_000)
    table = predictor.predict(_photo(face, [(300, 300)]))
    assert table["status"].tolist() == ["too small"] and "pixels high" in table["detail"].iloc[0]
    assert table["top"].notna().all()


def test_no_picture_at_all_gives_the_columns(predictor):
    table, one = predictor.predict([]), predictor.predict(plain_picture((1, 1, 1)), faces="whole")
    assert len(table) == 0 and list(table.columns) == list(one.columns)


def test_a_batch_without_an_answer_changes_no_type(predictor):
    photos = [Photo(str(i), plain_picture((0, 0, 0), (200, 200))) for i in range(3)]
    photos += [Photo("face", plain_picture((200, 0, 0)))]
    whole = pd.concat(predictor.stream(photos, faces="whole", batch_size=1), ignore_index=True)
    none = predictor.predict([b"x"])
    assert (whole.dtypes == predictor.predict([p.image for p in photos], faces="whole").dtypes).all()
    assert str(none["unlike_training"].dtype) == "boolean"


def test_batches_give_the_same_answers(predictor):
    photos = [Photo(str(i), plain_picture((i * 8, 255 - i * 8, 5))) for i in range(20)]
    small = pd.concat(predictor.stream(photos, faces="whole", batch_size=3), ignore_index=True)
    large = pd.concat(predictor.stream(photos, faces="whole"), ignore_index=True)
    pd.testing.assert_frame_equal(small, large, rtol=0, atol=1e-5)


def test_calls_share_their_threads(predictor, monkeypatch):
    """New threads at every request let the memory of a server grow."""
    threads, cut = set(), predictor.cutter.cut

    def remembered(image, **options):
        threads.add(threading.current_thread())
        return cut(image, **options)

    monkeypatch.setattr(predictor.cutter, "cut", remembered)
    photos = [Photo(str(i), plain_picture((i, 5, 5))) for i in range(8)]
    for _ in range(20):
        list(predictor.stream(photos, faces="whole"))
        next(predictor.stream(photos, faces="whole", batch_size=1))  # one that nobody reads to its end
    assert 0 < len(threads) <= READERS


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 7)), np.zeros(256), np.full((1, 256), np.nan), np.array([["a"] * 256])]
)
def test_descriptors_that_do_not_fit_are_refused(predictor, wrong):
    with pytest.raises(PredictorError, match="descriptors"):
        predictor.answer(wrong)


def test_wrong_input_is_refused_in_a_sentence(predictor):
    with pytest.raises(PredictorError, match="faces='biggest'"):
        predictor.predict(plain_picture((1, 1, 1)), faces="biggest")
    with pytest.raises(PredictorError, match="an image is a int"):
        predictor.predict([7])


def test_no_column_names_a_person(predictor):
    table = predictor.predict(plain_picture((1, 1, 1)), faces="whole")
    assert not {"identity", "name", "person", "face_id"} & set(table.columns)


def test_loading_and_answering_imports_no_tensorflow(place):
    code = (
        "import sys, numpy as np; from tests.serving.toys import load_toy, plain_picture;"
        f"p = load_toy({str(place)!r}); p.predict(plain_picture((200, 0, 0)), faces='whole');"
        "print([m for m in ('tensorflow', 'keras', 'sklearn', 'statsmodels', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.tensorflow
def test_a_network_is_opened_as_its_faces_were_cut_out_for_the_head(monkeypatch):
    net = backbones.load("faceres_deep").adjusted(align="five_points", resolution=160)
    monkeypatch.setattr(engines, "choose", lambda backbone, **_: backbone)
    opened = describing._open_registered(net.weights, [describing.Network.of(net)], "auto")
    assert opened.preprocessing == net.preprocessing
    assert opened.resolution == 160 and opened.dim == net.dim


def test_taps_of_one_network_are_read_in_one_pass_and_stand_in_the_order_of_training(monkeypatch):
    made = []

    def choose(backbone, **_):
        made.append((backbone.read, backbone.preprocessing.crop_margin))
        width = [np.full((1, backbone.tap_table[tap].dim), len(tap), np.float32) for tap in backbone.read]
        return SimpleNamespace(
            run=lambda pixels: np.repeat(np.concatenate(width, axis=1), len(pixels), axis=0)
        )

    monkeypatch.setattr(engines, "choose", choose)
    net = backbones.load("faceres_deep")
    nets = [net.at("conv_pw_12_relu"), net.adjusted(margin=0.4), net.at("global_pooling")]
    networks = tuple(map(describing.Network.of, nets))
    describer = describing.Describer(networks, tuple(one.weights for one in nets))
    size = (3, *net.preprocessing.size, 3)
    matrix = describer.run([np.zeros(size, np.uint8)] * len(describer.preprocessings))
    assert made == [(("conv_pw_12_relu", "global_pooling"), 0.0), ((net.tap,), 0.4)]
    widths = [one.dim for one in nets]
    assert matrix.shape == (3, sum(widths))
    assert matrix[0].tolist() == np.repeat([len(one.tap) for one in nets], widths).tolist()
