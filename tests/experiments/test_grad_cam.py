"""Grad-CAM against class activation mapping, which it must equal for a linear head on averaged maps."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

keras = pytest.importorskip("keras")

from faceworkbook import tasks  # noqa: E402
from faceworkbook.experiments.grad_cam import class_maps, grad_cam  # noqa: E402
from faceworkbook.models.multitask import make_head  # noqa: E402
from faceworkbook.plots.grad_cam import GradCamDisplay  # noqa: E402
from faceworkbook.training import cutting  # noqa: E402
from faceworkbook.training.pictures import PixelArray, Prepared  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402


@pytest.fixture(scope="module")
def made():
    pixels, codes = toy.pictures(20)
    labels = tasks.labels_of_classes(np.where(codes, "above", "below"), name="light")
    network = cutting.assemble(toy.backbone(), [make_head(labels, rows=np.arange(20))], dropout=0.0)
    return network, PixelArray(pixels, toy.PREPROCESSING), labels


def test_it_equals_class_activation_mapping_on_a_linear_head(made):
    network, source, _ = made
    model = network.net.model
    both = keras.Model(model.input, [model.get_layer("conv_3_relu").output, model.output["light"]])
    x = Prepared(source)[np.arange(4)]
    maps = np.asarray(both(x)[0])
    kernel = model.get_layer("light__logits").get_weights()[0][:, 1]
    expected = np.maximum((maps * kernel / maps[0, ..., 0].size).sum(axis=-1), 0)
    np.testing.assert_allclose(grad_cam(both, x, 1), expected, rtol=1e-4, atol=1e-6)


def test_maps_are_averaged_over_the_faces_of_each_class(made):
    network, source, labels = made
    averaged = class_maps(network, source, labels, rows=np.arange(20), per_class=1000)
    assert averaged.names == ("above", "below")
    assert averaged.counts.tolist() == labels.counts().tolist()
    assert averaged.maps.shape == (2, toy.SIZE, toy.SIZE)
    assert 0 <= averaged.maps.min() <= averaged.maps.max() <= 1
    above = source.pixels[labels.codes == 0].mean(axis=0)
    np.testing.assert_allclose(averaged.faces[0], above, atol=0.51)


def test_few_faces_are_drawn_where_asked(made):
    network, source, labels = made
    assert class_maps(network, source, labels, rows=np.arange(20), per_class=3).counts.tolist() == [3, 3]


def test_layers_without_height_and_width_are_refused(made):
    network, source, labels = made
    with pytest.raises(ValueError, match="has no height and width; choose one such as 'conv_3_relu'"):
        class_maps(network, source, labels, rows=np.arange(20), layer="light__logits")


def test_rows_without_label_are_refused(made):
    network, source, labels = made
    with pytest.raises(ValueError, match="none of the 0 rows"):
        class_maps(network, source, labels, rows=np.arange(0))


def test_the_display_holds_its_data_and_says_where(made):
    network, source, labels = made
    display = GradCamDisplay.from_maps(class_maps(network, source, labels, rows=np.arange(20))).plot()
    assert [ax.get_title() for ax in display.axes_] == [
        f"{name} (n = {n})" for name, n in labels.counts().items()
    ]
    assert "conv_3_relu" in display.describe()


def test_the_place_of_the_strongest_evidence_is_named():
    maps = np.zeros((1, 9, 9))
    maps[0, 8, 0] = 1
    display = GradCamDisplay(("a",), maps, np.zeros((1, 9, 9, 3), np.uint8), np.array([1]), "x")
    assert "a: strongest at the bottom, left" in display.describe()
