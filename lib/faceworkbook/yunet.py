"""YuNet (Wu et al. 2023) in ONNX Runtime: boxes, five points and scores out of a picture.

The file holds weights in int8, scaled block by block. They are unfolded to float32 once, which OpenCV does for each
picture: here a picture takes a third of the time.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from faceworkbook import small_networks

STRIDES = (8, 16, 32)
HEADS = (
    "cls",
    "obj",
    "bbox",
    "kps",
)  # outputs at each stride: (1, cells, 1), (1, cells, 1), (1, cells, 4), (1, cells, 10)
OUTPUTS = [f"{head}_{stride}" for stride in STRIDES for head in HEADS]
PICTURE = "picture"  # the input: (1, height, width, 3), uint8, BGR
DIVISOR = 32  # of the input's height and width


class YuNet:
    """The network and its decoding. May be used by several threads at once.

    Parameters
    ----------
    path : Path
        The ONNX file.
    min_score, nms : float in 0..1
        Faces below the score are dropped, and of two that overlap by more than `nms` the less certain.
    max_faces : int

    Raises
    ------
    ValueError
        The file is no YuNet.
    """

    def __init__(self, path: Path, *, min_score: float, nms: float, max_faces: int):
        self.min_score, self.nms, self.max_faces = min_score, nms, max_faces
        self._session = open_session(path)

    def detect(self, bgr: np.ndarray) -> np.ndarray:
        """Return one row a face: x, y, width, height, five points (x, y), score, in pixels of `bgr`.

        Parameters
        ----------
        bgr : ndarray of shape (height, width, 3), uint8

        Returns
        -------
        ndarray of shape (n, 15), float64
        """
        below, beside = (-length % DIVISOR for length in bgr.shape[:2])
        padded = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        outputs = iter(self._session.run(OUTPUTS, {PICTURE: padded[None]}))
        rows = [
            self._decode(*(next(outputs)[0] for _ in HEADS), stride=stride, width=padded.shape[1] // stride)
            for stride in STRIDES
        ]
        return self._without_doubles(np.concatenate(rows))

    def _decode(
        self,
        classes: np.ndarray,
        objects: np.ndarray,
        boxes: np.ndarray,
        points: np.ndarray,
        *,
        stride: int,
        width: int,
    ) -> np.ndarray:
        """Return rows as `detect` does, one for each cell of a map `width` cells wide that scores enough."""
        score = np.sqrt(classes * objects).ravel()
        cells = np.flatnonzero(score >= self.min_score)
        if not len(cells):  # of most strides: the rest takes as long for none as for some
            return np.empty((0, 15))
        corner = np.stack([cells % width, cells // width], axis=1)
        centre, sides = (corner + boxes[cells, :2]) * stride, np.exp(boxes[cells, 2:]) * stride
        places = (corner[:, None] + points[cells].reshape(-1, 5, 2)) * stride
        columns = [centre - sides / 2, sides, places.reshape(-1, 10), score[cells, None]]
        return np.concatenate(columns, axis=1)

    def _without_doubles(self, rows: np.ndarray) -> np.ndarray:
        # Whole pixels, as in OpenCV's own detector.
        kept = cv2.dnn.NMSBoxes(np.trunc(rows[:, :4]), rows[:, 14], self.min_score, self.nms)
        return rows[np.asarray(kept, int).ravel()[: self.max_faces]]


def open_session(path: Path):
    """Return an ONNX Runtime session of one thread for the network in `path`; it takes `PICTURE`.

    Raises
    ------
    ValueError
        The file is no ONNX file, or of another network.
    """
    import onnx

    try:
        model = onnx.load(path)
        small_networks.rewrite(model.graph, _unfold)
    except Exception as error:  # protobuf and numpy raise a dozen types on another file
        raise ValueError(
            f"{path} is no YuNet model ({type(error).__name__}: {error}); put back the file of the package"
        ) from error
    outputs = [output.name for output in model.graph.output]
    if set(OUTPUTS) - set(outputs):
        raise ValueError(
            f"{path} is no YuNet model: its outputs are {outputs}; put back the file of the package"
        )
    _take_pictures(model.graph)
    return small_networks.open_session(model)


def _unfold(node, arrays: dict[str, np.ndarray]) -> list:
    """Replace each chain of constants, DequantizeLinear and Reshape by the array that it gives."""
    inputs = [arrays.get(name) for name in node.input]
    if any(x is None for x in inputs) or node.op_type not in ("DequantizeLinear", "Reshape"):
        return [node]
    if node.op_type == "Reshape":
        arrays[node.output[0]] = inputs[0].reshape(inputs[1])
    else:
        arrays[node.output[0]] = _dequantise(*inputs, **{a.name: a.i for a in node.attribute})
    return []


def _dequantise(values, scales, zero_points, *, axis: int = 1, block_size: int = 0) -> np.ndarray:
    def spread(blocks: np.ndarray) -> np.ndarray:
        repeated = np.repeat(blocks, block_size, axis=axis) if block_size else blocks
        return repeated.take(range(values.shape[axis]), axis=axis) if block_size else repeated

    return ((values.astype(np.float32) - spread(zero_points)) * spread(scales)).astype(np.float32)


def _take_pictures(graph) -> None:
    """Let the input be a picture of any height and width; the file names 640 x 640, float32, channels first."""
    from onnx import TensorProto, helper

    name = graph.input[0].name
    nodes = [
        helper.make_node("Transpose", [PICTURE], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["channels_first"], [name], to=TensorProto.FLOAT),
        *graph.node,
    ]
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, [1, "height", "width", 3]))
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{output.name}"
