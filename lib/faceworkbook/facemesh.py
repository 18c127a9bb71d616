"""The face mesh (Kartynnik et al. 2019, MediaPipe) in ONNX Runtime: 468 points of a face out of a crop around it.

ONNX Runtime computes PReLU outside its layout for convolutions, which takes two thirds of the time. The graph is
rewritten when it is read, so that a crop takes a third of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from faceworkbook import small_networks

SIDE = 192  # pixels of the crop
N_POINTS = 468
FILE, POINTS = "facemesh.onnx", "points.json"
INPUT, OUTPUTS = "input_1", ["mesh", "face"]
# What the alignment's five points are made of, in its order; the eyes are the middle of their corners.
FIVE = ("right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner")


class FaceMesh:
    """The network and the names of its points. May be used by several threads at once.

    Parameters
    ----------
    folder : Path
        Holds `FILE` and `POINTS`.

    Attributes
    ----------
    mirror : ndarray of shape (468,), int
        The point that each becomes when the picture is mirrored.
    sha256 : str
        Of both files.

    Raises
    ------
    ValueError
        The files are missing, or of another network.
    """

    def __init__(self, folder: Path):
        import onnx

        try:
            network, points = ((folder / name).read_bytes() for name in (FILE, POINTS))
            named = json.loads(points)
            self.mirror = np.array(named["mirror"], int)
            self._five = [named[name] for name in FIVE]
            self.five_points(np.zeros((N_POINTS, 3)))  # whether these are numbers of points
            model = onnx.load_model_from_string(network)
            small_networks.rewrite(model.graph, _widen)
            self._session = small_networks.open_session(model)
            outputs = [output.name for output in self._session.get_outputs()]
        except OSError as error:
            raise ValueError(f"no face mesh in {folder} ({error}); put {FILE} and {POINTS} there") from error
        except Exception as error:  # ONNX Runtime and JSON raise a dozen types on another file
            raise ValueError(
                f"{folder} holds no face mesh ({type(error).__name__}: {error}); restore weights/facemesh from the project"
            ) from error
        if outputs != OUTPUTS or sorted(self.mirror) != list(range(N_POINTS)):
            raise ValueError(
                f"{folder} holds no face mesh: outputs {outputs}, {len(self.mirror)} points; restore weights/facemesh from the project"
            )
        self.sha256 = hashlib.sha256(network + points).hexdigest()

    def read(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points of one face a crop, and whether it is one.

        Parameters
        ----------
        crops : ndarray of shape (n, 192, 192, 3), uint8, RGB

        Returns
        -------
        ndarray of shape (n, 468, 3), float64
            x, y and depth in pixels of the crop; depth grows away from the camera.
        ndarray of shape (n,), float64, range 0..1
        """
        given = {INPUT: crops.astype(np.float32) / 255}
        meshes, face = self._session.run(OUTPUTS, given)
        return meshes.reshape(-1, N_POINTS, 3).astype(float), face.ravel().astype(float)

    def read_both_sides(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the mean of the points of a crop and of its mirror image, (468, 3), and the mean of `face`."""
        meshes, face = self.read(np.stack([crop, crop[:, ::-1]]))
        turned = meshes[1][self.mirror]
        turned[:, 0] = SIDE - 1 - turned[:, 0]
        return (meshes[0] + turned) / 2, float(face.mean())

    def five_points(self, mesh: np.ndarray) -> np.ndarray:
        """Return eyes, nose and corners of the mouth of a mesh (468, 3): (5, 2), x and y."""
        return np.array([mesh[indices, :2].mean(axis=0) for indices in self._five])


def _widen(node, arrays: dict[str, np.ndarray]) -> list:
    """Widen weights to float32, and make each PReLU of slopes a of convolutions of a pixel: x + (1 - a) relu(-x)."""
    if node.op_type == "Cast" and node.input[0] in arrays:
        arrays[node.output[0]] = arrays[node.input[0]].astype(np.float32)
        return []
    is_prelu = node.op_type == "PRelu" and node.input[1] in arrays
    return _without_prelu(node, arrays) if is_prelu else [node]


def _without_prelu(node, arrays: dict[str, np.ndarray]) -> list:
    """Return the nodes in the place of a PReLU; their weights are added to `arrays`."""
    from onnx import helper

    (given, slopes), (out,) = node.input, node.output
    share = np.ascontiguousarray(1 - arrays[slopes].reshape(-1, 1, 1, 1), np.float32)
    arrays[f"{out}:minus"], arrays[f"{out}:share"] = -np.ones_like(share), share
    each = {"group": len(share), "kernel_shape": [1, 1]}
    return [
        helper.make_node("Conv", [given, f"{out}:minus"], [f"{out}:turned"], **each),
        helper.make_node("Relu", [f"{out}:turned"], [f"{out}:below"]),
        helper.make_node("Conv", [f"{out}:below", f"{out}:share"], [f"{out}:rest"], **each),
        helper.make_node("Add", [given, f"{out}:rest"], [out]),
    ]
