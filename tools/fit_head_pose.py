"""Name the points of the embedded face mesh and fit the head-pose reader, on the embedded synthetic faces alone.

Run as ``python -m tools.fit_head_pose weights/facemesh``, where ``facemesh.onnx`` lies already. Writes ``points.json``
(which point each becomes in a mirrored picture; eyes, nose and mouth) and ``pose.npz`` (mean shape, axes, reader).
Everything is fitted on the training rows of ``data/synthetic``, whose angles are those of the geometry; the regression's
strength is chosen on its validation rows, and its test rows are read once, for the errors that are printed.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from faceworkbook import datasets, facemesh, files, head_pose, images, landmarks, mesh_detector, project
from faceworkbook.faces import POSE

# Numbers of MediaPipe's mesh, on the side of the picture that `alignment.POINTS` says.
FIVE = {
    "right_eye": [33, 133],
    "left_eye": [362, 263],
    "nose": [4],
    "right_mouth_corner": [61],
    "left_mouth_corner": [291],
}
AXES = 40  # of each of both shapes
READ = 3  # axes of each that the reader uses: drawn heads vary in shape otherwise than people
ALPHAS = np.logspace(-1, 4, 11)
PAIRS = 200  # faces that the mirrored points are named by


def main() -> None:
    """Write both files; print their SHA-256 and the reader's errors on test rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="folder of facemesh.onnx")
    target = parser.parse_args().target
    source = datasets.load("synthetic", project.resolve("data/synthetic"))
    name_points(source, target)
    detector = mesh_detector.MeshDetector()
    path = project.resolve("results") / "fit_head_pose" / landmarks.NAME
    meshes = landmarks.detect(source.faces, source.root, path=path, detector=detector).meshes()
    seen = np.isfinite(meshes[:, 0, 0])
    print(f"{(~seen).sum()} of {len(seen)} faces have no mesh")
    meshes, faces = meshes[seen], source.faces[seen]
    rows = {name: (faces["split"] == name).to_numpy() for name in ("train", "validation", "test")}
    truth = faces[list(POSE)].to_numpy(float)
    reader = fit(meshes, truth, rows)
    content = io.BytesIO()
    arrays = {name: getattr(reader, name) for name in head_pose.HeadPose.__dataclass_fields__}
    small = {"means", "axes", "shape"}
    np.savez(
        content, **{name: a.astype(np.float16 if name in small else np.float32) for name, a in arrays.items()}
    )
    files.write_beside(target / head_pose.FILE, content.getvalue())
    head_pose.load.cache_clear()
    errors = np.abs(head_pose.load().read(meshes[rows["test"]]) - truth[rows["test"]]).mean(axis=0)
    print(
        f"test rows of the synthetic faces, {rows['test'].sum()}: mean absolute error of {POSE} {errors.round(2)}"
    )


def name_points(source, target: Path) -> None:
    """Write ``points.json``: points of mirrored crops are matched so that they lie nearest over many faces."""
    own = {"mirror": list(range(facemesh.N_POINTS)), **FIVE}
    files.write_beside(target / facemesh.POINTS, json.dumps(own))
    network = facemesh.FaceMesh(target)
    drawn = source.faces[source.faces["split"] == "train"].iloc[:PAIRS]
    crops = np.stack(
        [images.resize(images.read(source.root / image), (192, 192)) for image in drawn["image"]]
    )
    straight, turned = (network.read(given)[0] for given in (crops, crops[:, :, ::-1]))
    turned[..., 0] = facemesh.SIDE - 1 - turned[..., 0]
    distance = sum(((a[:, None] - b[None]) ** 2).sum(axis=-1) for a, b in zip(straight, turned, strict=True))
    mirror = linear_sum_assignment(distance)[1]
    if (mirror[mirror] != np.arange(len(mirror))).any():
        raise ValueError("the mirrored points do not pair up: other faces are needed")
    files.write_beside(target / facemesh.POINTS, json.dumps({"mirror": mirror.tolist(), **FIVE}) + "\n")


def fit(meshes: np.ndarray, truth: np.ndarray, rows: dict[str, np.ndarray]) -> head_pose.HeadPose:
    """Fit mean shape, axes and reader on training rows."""
    network = facemesh.FaceMesh(project.resolve(mesh_detector.FOLDER))
    shape = mean_shape(meshes[rows["train"]], network)
    _, still, level = head_pose.fit_rigidly(meshes[rows["train"]], shape)
    flat = [x.reshape(len(x), -1) for x in (still - shape, level)]
    means = np.stack([x.mean(axis=0) for x in flat])
    axes = np.stack(
        [np.linalg.svd(x - m, full_matrices=False)[2][:AXES] for x, m in zip(flat, means, strict=True)]
    )
    empty = np.zeros((3, 3 + 2 * AXES))
    reader = head_pose.HeadPose(shape, means, axes, empty, np.zeros(3))
    features = pd.DataFrame(reader.features(meshes), columns=reader.names).astype(float)
    names = [f"{kind}_{i}" for kind in ("still", "level") for i in range(1, READ + 1)]
    used = features[[*head_pose.ANGLES, *names]]
    x = {name: used[own].to_numpy() for name, own in rows.items()}
    coefficients, intercept = pd.DataFrame(0.0, index=POSE, columns=features.columns), np.zeros(3)
    for row, name in enumerate(POSE):
        fitted = [_ridge(x["train"], truth[rows["train"], row], alpha) for alpha in ALPHAS]
        errors = [np.abs(x["validation"] @ w + b - truth[rows["validation"], row]).mean() for w, b in fitted]
        w, intercept[row] = fitted[int(np.argmin(errors))]
        coefficients.loc[name, used.columns] = w
    return head_pose.HeadPose(shape, means, axes, coefficients.to_numpy(), intercept)


def mean_shape(meshes: np.ndarray, network: facemesh.FaceMesh, turns: int = 5) -> np.ndarray:
    """Return the mean of meshes after generalised Procrustes analysis (Gower 1975), symmetric and facing the camera."""
    shape = _unit(meshes.mean(axis=0))
    for _ in range(turns):
        _, brought, _ = head_pose.fit_rigidly(meshes, shape)
        shape = brought.mean(axis=0)
        mirrored = shape[network.mirror] * [-1, 1, 1]
        shape = _unit((shape + head_pose.fit_rigidly(mirrored[None], shape)[1][0]) / 2)
    across = np.linalg.svd(shape - shape[network.mirror])[2][0]
    right = across * np.sign(across[0])
    down = shape[152] - shape[10]  # from the top of the forehead to the chin
    down = down - (down @ right) * right
    down /= np.linalg.norm(down)
    return shape @ np.stack([right, down, np.cross(right, down)], axis=1)


def _unit(shape: np.ndarray) -> np.ndarray:
    centred = shape - shape.mean(axis=0)
    return centred / np.sqrt((centred**2).sum() / len(centred))


def _ridge(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    middle, spread = x.mean(axis=0), x.std(axis=0)
    scaled = (x - middle) / spread
    w = np.linalg.solve(scaled.T @ scaled + alpha * np.eye(x.shape[1]), scaled.T @ (y - y.mean())) / spread
    return w, float(y.mean() - middle @ w)


if __name__ == "__main__":
    main()
