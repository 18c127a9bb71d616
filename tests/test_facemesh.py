"""The face mesh: the network that was converted, the points of a face, and what is kept of them."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import (
    alignment,
    datasets,
    facemesh,
    images,
    landmarks,
    mesh_detector,
    project,
    small_networks,
)
from faceworkbook.backbones.base import sha256
from faceworkbook.mesh_detector import MeshDetector, MeshFace
from tests.support.copies import copy_faces

FOLDER = project.resolve(mesh_detector.FOLDER)


@pytest.fixture(scope="module")
def drawn():
    return datasets.load("synthetic", "data/synthetic")


@pytest.fixture(scope="module")
def pictures(drawn):
    return [images.read(drawn.root / image) for image in drawn.faces["image"].iloc[::400]]


def mesh_of(picture):
    detector = MeshDetector()
    face = alignment.main_face(detector.detect(picture), picture.shape)
    return detector.refine(picture, face)


# --------------------------------------------------------------------------- the network


@pytest.mark.tensorflow
def test_the_converted_network_computes_what_the_distributed_graph_does(pictures, shared_weights, tmp_path):
    pytest.importorskip("onnxruntime")
    from tools import convert_facemesh

    source = shared_weights("facemesh")
    path = convert_facemesh.convert(source, tmp_path)
    assert sha256(path) == sha256(FOLDER / facemesh.FILE)
    crops = np.stack([cv2.resize(picture, (192, 192)) for picture in pictures]).astype(np.float32) / 255
    differences = convert_facemesh.compare(source, path, crops)
    assert differences["mesh"][0] < 1e-3 < 50 < differences["mesh"][1]  # pixels
    assert differences["face"][0] < 1e-5


def test_the_graph_that_is_rewritten_for_speed_gives_the_points_of_the_file(pictures):
    import onnx
    import onnxruntime

    crops = np.stack([cv2.resize(picture, (192, 192)) for picture in pictures])
    plain = onnxruntime.InferenceSession(FOLDER / facemesh.FILE, providers=["CPUExecutionProvider"])
    expected, is_face = plain.run(facemesh.OUTPUTS, {facemesh.INPUT: crops.astype(np.float32) / 255})
    points, certainty = facemesh.FaceMesh(FOLDER).read(crops)
    np.testing.assert_allclose(points, expected.reshape(points.shape), atol=1e-3)  # pixels of 192
    np.testing.assert_allclose(certainty, is_face.ravel(), atol=1e-5)
    model = onnx.load(FOLDER / facemesh.FILE)
    small_networks.rewrite(model.graph, facemesh._widen)
    onnx.checker.check_model(model)
    assert not {"PRelu", "Cast"} & {node.op_type for node in model.graph.node}


def test_the_readme_names_the_files_that_are_shipped():
    text = (FOLDER / "README.md").read_text()
    for name in (facemesh.FILE, "points.json", "pose.npz"):
        assert sha256(FOLDER / name) in text
    assert "MIT License" in (FOLDER / "LICENSE").read_text()


@pytest.mark.parametrize("broken", ["missing", "other"])
def test_another_file_is_refused_by_name(broken, tmp_path):
    shutil.copy(FOLDER / facemesh.POINTS, tmp_path)
    if broken == "other":
        (tmp_path / facemesh.FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no face mesh"):
        facemesh.FaceMesh(tmp_path)


@pytest.mark.parametrize("wrong", [{"nose": [468]}, {"nose": "x"}, {"mirror": [[1, 2]]}])
def test_points_that_are_none_of_the_network_are_refused_at_once(wrong, tmp_path):
    shutil.copy(FOLDER / facemesh.FILE, tmp_path)
    named = json.loads((FOLDER / facemesh.POINTS).read_text()) | wrong
    (tmp_path / facemesh.POINTS).write_text(json.dumps(named))
    with pytest.raises(ValueError, match="no face mesh"):
        facemesh.FaceMesh(tmp_path)


def test_every_point_has_a_partner_in_the_mirror():
    mirror = np.array(json.loads((FOLDER / facemesh.POINTS).read_text())["mirror"])
    np.testing.assert_array_equal(mirror[mirror], np.arange(468))
    # Corners of eyes and mouth in MediaPipe's numbering; the bridge of the nose and the chin lie on the middle.
    assert mirror[[33, 133, 61, 10, 4, 152]].tolist() == [263, 362, 291, 10, 4, 152]


# --------------------------------------------------------------------------- a face's points


def test_points_lie_near_those_of_yunet(pictures):
    for picture in pictures:
        face = mesh_of(picture)
        own = alignment.main_face(alignment.Detector().detect(picture), picture.shape)
        eyes = np.hypot(*(own.points[1] - own.points[0]))
        assert isinstance(face, MeshFace) and face.box == own.box and face.score == own.score
        # YuNet's own points of drawn faces are off by more than the mesh's.
        assert np.abs(face.points - own.points).max() < 0.3 * eyes


def test_points_follow_a_picture_that_is_enlarged_turned_and_mirrored(pictures):
    for picture in pictures[:3]:
        mesh = mesh_of(picture).mesh
        eyes = np.hypot(*(mesh[263, :2] - mesh[33, :2]))
        large = mesh_of(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)).mesh
        assert np.abs((large[:, :2] + 0.5) / 2 - 0.5 - mesh[:, :2]).mean() < 0.03 * eyes
        assert np.abs(large[:, 2] / 2 - mesh[:, 2]).mean() < 0.06 * eyes
        mirrored = mesh_of(np.ascontiguousarray(picture[:, ::-1])).mesh
        mirrored = mirrored[facemesh.FaceMesh(FOLDER).mirror]
        assert np.abs(picture.shape[1] - 1 - mirrored[:, 0] - mesh[:, 0]).mean() < 0.03 * eyes
        middle = (picture.shape[1] / 2, picture.shape[0] / 2)
        turn = cv2.getRotationMatrix2D(middle, -15, 1)
        turned = mesh_of(
            cv2.warpAffine(picture, turn, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        ).mesh
        expected = mesh[:, :2] @ turn[:, :2].T + turn[:, 2]
        assert np.abs(turned[:, :2] - expected).mean() < 0.06 * eyes


def test_where_the_network_sees_no_face_yunets_points_stay():
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    face = alignment.Face((20.0, 20.0, 100.0, 100.0), np.ones((5, 2)), 0.9)
    assert mesh_detector.read_mesh(noise, face) is None
    assert MeshDetector().refine(noise, face) is face


def test_unknown_landmarks_are_refused():
    with pytest.raises(ValueError, match=r"landmarks='dlib'; allowed are \['mesh', 'yunet'\]"):
        mesh_detector.make_detector("dlib")
    with pytest.raises(ValueError, match="landmarks='dlib'"):
        landmarks.AlignOptions(landmarks="dlib")


# --------------------------------------------------------------------------- what is kept


def test_packed_meshes_lose_less_than_a_ten_thousandth_of_their_extent():
    rng = np.random.default_rng(1)
    meshes = rng.normal(0, 1, (3, 468, 3)) * [[[1]], [[300]], [[1e-3]]] + [[[5]], [[4000]], [[0]]]
    read = mesh_detector.unpack([mesh_detector.pack(meshes[0]), b"", *map(mesh_detector.pack, meshes[1:])])
    assert np.isnan(read[1]).all()
    extent = np.ptp(meshes, axis=1).max(axis=1)
    assert (np.abs(read[[0, 2, 3]] - meshes).max(axis=(1, 2)) < 1e-4 * extent).all()


@pytest.fixture
def some(drawn, tmp_path):
    return copy_faces(drawn, tmp_path, step=400, n=4), tmp_path


def detect(some, detector):
    return landmarks.detect(*some, path=some[1] / "kept" / landmarks.NAME, detector=detector, progress=False)


def test_points_of_two_networks_are_kept_apart_and_each_computed_once(some, monkeypatch):
    plain, meshed = detect(some, alignment.Detector()), detect(some, MeshDetector())
    assert sorted(p.name for p in (some[1] / "kept").glob("*.parquet")) == [
        "landmarks-mesh.parquet",
        "landmarks.parquet",
    ]
    assert np.isfinite(meshed.meshes()).all() and np.isnan(plain.meshes()).all()
    assert (np.abs(meshed.points() - plain.points()).max(axis=(1, 2)) > 0).all()
    monkeypatch.setattr(alignment.Detector, "detect", None)
    np.testing.assert_array_equal(detect(some, alignment.Detector()).points(), plain.points())
    np.testing.assert_array_equal(detect(some, MeshDetector()).meshes(), meshed.meshes())
    network = facemesh.FaceMesh(FOLDER)
    for points, mesh in zip(meshed.points(), meshed.meshes(), strict=True):
        np.testing.assert_allclose(network.five_points(mesh), points, atol=0.01)


def test_another_mesh_network_is_looked_at_anew(some, monkeypatch):
    detect(some, MeshDetector())
    monkeypatch.setattr(mesh_detector._network(), "sha256", "f" * 64)
    monkeypatch.setattr(alignment.Detector, "detect", lambda *_: [])
    assert np.isnan(detect(some, MeshDetector()).meshes()).all()


def test_a_table_that_was_written_before_there_were_meshes_is_read(some, monkeypatch):
    before = detect(some, alignment.Detector())
    path = some[1] / "kept" / landmarks.NAME
    table = pd.read_parquet(path).drop(columns="mesh")
    landmarks._write(path, table, before.settings)
    monkeypatch.setattr(alignment.Detector, "detect", None)
    np.testing.assert_array_equal(detect(some, alignment.Detector()).points(), before.points())


@pytest.mark.parametrize("points", ["mesh", "yunet"])
def test_faces_are_aligned_by_the_points_that_were_asked_for(some, points):
    recipe = images.Preprocessing((64, 64), "RGB", (0, 0, 0), align="five_points")
    options = landmarks.AlignOptions(landmarks=points)
    aligned = landmarks.align_faces(*some, recipe, options=options, progress=False)
    np.testing.assert_array_equal(aligned.points, detect(some, mesh_detector.make_detector(points)).points())
    assert ("mesh" in aligned.settings) == (points == "mesh")


@pytest.mark.realdata
def test_the_eye_line_of_the_mesh_goes_with_the_roll_label_where_yunets_is_rough(shared_data):
    dataset = datasets.load("genki4k", shared_data("genki4k"))
    faces = dataset.faces.iloc[::16].reset_index(drop=True)
    correlation = {}
    for points in mesh_detector.SOURCES:
        marks = landmarks.detect(
            faces, dataset.root, detector=mesh_detector.make_detector(points), progress=False
        ).points()
        dx, dy = (marks[:, 1] - marks[:, 0]).T
        known = np.isfinite(dx)
        tilt = np.degrees(np.arctan2(dy, dx))
        correlation[points] = np.corrcoef(tilt[known], faces["roll"].to_numpy(float)[known])[0, 1]
    assert correlation["mesh"] > 0.95 and correlation["mesh"] > correlation["yunet"] + 0.05
