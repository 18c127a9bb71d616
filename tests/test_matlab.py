"""MATLAB files: the same content as SciPy reads, and no damage that ends in anything but one clear error."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from faceworkbook import matlab
from faceworkbook.backbones import WeightsError, chain, matconvnet
from tests.support import vgg_files

# SciPy brings files that MATLAB 5.3 to 8 wrote on three platforms.
WRITTEN_BY_MATLAB = sorted((Path(scipy.io.__file__).parent / "matlab/tests/data").glob("test*.mat"))
KINDS = [
    "bool",
    "matrix",
    "double",
    "cell",
    "string",
    "onechar",
    "unicode",
    "struct",
    "minus",
    "multi",
    "emptycell",
    "scalarcell",
    "simplecell",
    "3d",
]
FILES = [
    path
    for path in WRITTEN_BY_MATLAB
    if "_4" not in path.stem and any(path.stem.startswith(f"test{kind}") for kind in KINDS)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mat")


def read(data: bytes, folder, names=None):
    path = folder / "file.mat"
    path.write_bytes(data)
    return matlab.read(path, names)


def written(content, **options) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, content, **options)
    return file.getvalue()


def as_scipy_reads(data: bytes) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = scipy.io.loadmat(io.BytesIO(data), struct_as_record=False, mat_dtype=True)
    return {name: value for name, value in content.items() if not name.startswith("__")}


def assert_same(own, other):
    """Compare a value with that of `loadmat`: texts are arrays there, structs objects."""
    if own is None:  # complex numbers, of which SciPy keeps the real ones
        return
    if isinstance(own, str | tuple):
        rows = [own] if isinstance(own, str) else list(own)
        assert [row.rstrip("\0") for row in rows] == [str(row) for row in np.ravel(other)] or not own
    elif own.dtype == object:
        assert own.shape == other.shape
        for mine, theirs in zip(own.ravel(), other.ravel(), strict=True):
            if isinstance(mine, dict):
                assert list(mine) == theirs._fieldnames
                for name, value in mine.items():
                    assert_same(value, getattr(theirs, name))
            else:
                assert_same(mine, theirs)
    else:
        np.testing.assert_array_equal(own, other)
        assert own.dtype.newbyteorder("=") == other.dtype.newbyteorder("=") or not own.size


def test_matlabs_own_files_are_there():
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_that_matlab_wrote_are_read_as_scipy_reads_them(path, folder):
    data = path.read_bytes()
    own, other = read(data, folder), as_scipy_reads(data)
    assert set(own) - {""} == set(other)
    for name, value in other.items():
        assert_same(own[name], value)


numbers = arrays.arrays(
    st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]).map(np.dtype),
    arrays.array_shapes(min_dims=2, max_dims=4, max_side=4),
)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=6)
names = st.text("abcdef", min_size=1, max_size=5)


def cell(values: list) -> np.ndarray:
    cells = np.empty((1, len(values)), object)
    cells[0, :] = values
    return cells


values = st.recursive(
    numbers | texts,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(cell)
        | st.dictionaries(names, inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(names, values, min_size=1, max_size=3), st.booleans())
@settings(max_examples=60)
def test_what_scipy_writes_is_read_as_scipy_reads_it(folder, content, compressed):
    data = written(content, do_compression=compressed)
    own, other = read(data, folder), as_scipy_reads(data)
    assert set(own) == set(other) == set(content)
    for name, value in other.items():
        assert_same(own[name], value)


def test_only_the_variables_asked_for_are_inflated(folder):
    data = written({"first": np.random.default_rng(0).random((99, 99)), "second": "two"}, do_compression=True)
    broken = bytearray(data)
    broken[20_000] ^= 255  # inside of the first
    assert read(bytes(broken), folder, names=("second",)) == {"second": "two"}
    with pytest.raises(matlab.MatlabError):
        read(bytes(broken), folder)


def test_a_large_plain_array_is_a_view_into_the_file(folder):
    """Reading weights of half a gigabyte must not copy them."""
    path = folder / "large.mat"
    scipy.io.savemat(path, {"weights": np.arange(5e6, dtype="f4").reshape(1000, 5000)})
    tracemalloc.start()
    weights = matlab.read(path)["weights"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert weights[3, 7] == 15007 and peak < 100_000
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


def test_what_is_not_read_is_none(folder):
    content = {"s": scipy.sparse.eye(3, format="csc"), "z": np.array([[1 + 2j]]), "n": np.eye(2)}
    own = read(written(content), folder)
    assert own["s"] is None and own["z"] is None and own["n"].shape == (2, 2)


# Bombs and lies: refused from what they announce.


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(number: int, dimensions: tuple[int, ...], content: bytes, name: bytes = b"x") -> bytes:
    head = element(6, struct.pack("<II", number, 0)) + element(
        5, struct.pack(f"<{len(dimensions)}i", *dimensions)
    )
    return element(14, head + element(1, name) + content)


def file_of(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def packed(content: bytes) -> bytes:
    data = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(data)) + data


def nested(depth: int) -> bytes:
    content = matrix(1, (1, 1), matrix(6, (1, 1), element(9, bytes(8)), b""), b"")
    for _ in range(depth):
        content = matrix(1, (1, 1), content, b"")
    return matrix(1, (1, 1), content)


EMPTY_CELL = struct.pack("<II", 14, 0)
BOMBS = {
    "10^12 numbers": file_of(matrix(6, (10**6, 10**6), element(9, bytes(8)))),
    "10^9 numbers of one byte": file_of(matrix(6, (10**5, 10**4), element(2, bytes(8)))),
    "10^12 cells": file_of(matrix(1, (10**6, 10**6), EMPTY_CELL)),
    "10^9 structs without fields": file_of(
        matrix(2, (10**5, 10**4), element(5, struct.pack("<i", 8)) + element(1, b""))
    ),
    "10^12 structs": file_of(
        matrix(2, (10**6, 10**6), element(5, struct.pack("<i", 8)) + element(1, b"field\0\0\0"))
    ),
    "nested 1,000 deep": file_of(nested(1000)),
    "zeros of a gigabyte": file_of(packed(struct.pack("<II", 14, 2**30) + bytes(2**20))),
    "4 gigabytes announced": file_of(packed(struct.pack("<II", 14, 2**32 - 64) + bytes(64))),
    "five million cells": file_of(packed(matrix(1, (5, 10**6), EMPTY_CELL * 5_000_000))),
    "bytes that become doubles": file_of(packed(matrix(6, (1, 40_000_000), element(2, bytes(40_000_000))))),
    "a negative size": file_of(matrix(6, (-1, -1), element(9, bytes(8)))),
    "empty in one direction": file_of(matrix(6, (0, 2**31 - 1, 2**31 - 1), element(9, b""))),
    "40 dimensions": file_of(matrix(6, (1,) * 40, element(9, bytes(8)))),
    "text of a million rows": file_of(matrix(4, (10**6, 1), element(16, b"abc"))),
    "fields of length 0": file_of(matrix(2, (1, 1), element(5, struct.pack("<i", 0)) + element(1, b"ab"))),
    "two fields of one name": file_of(
        matrix(2, (1, 1), element(5, struct.pack("<i", 2)) + element(1, b"a\0a\0") + 2 * EMPTY_CELL)
    ),
    "fractions as whole numbers": file_of(matrix(9, (1, 1), element(9, struct.pack("<d", 0.5)))),
    "300 as one byte": file_of(matrix(9, (1, 1), element(4, struct.pack("<H", 300)))),
    "an unknown class": file_of(matrix(99, (1, 1), element(9, bytes(8)))),
    "something beside variables": file_of(element(7, bytes(8))),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(bomb, folder):
    tracemalloc.start()
    try:
        content = read(BOMBS[bomb], folder)
    except matlab.MatlabError as error:
        assert "file.mat" in str(error) and len(str(error)) < 400
    else:
        assert bomb == "10^9 structs without fields" and content["x"].size == 0
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**28


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600), "v7.3.*-v7"),
        (b"MATLAB 7.0 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n", "v7.3"),
        (struct.pack("<5i", 0, 100, 2, 0, 2) + b"x\0" + bytes(1600), "no MATLAB v5"),
    ],
)
def test_files_of_another_kind_are_named(data, words, folder):
    with pytest.raises(matlab.MatlabError, match=words):
        read(data, folder)


# Flipped bits, in the two files that the workbook reads.


@pytest.fixture(scope="module")
def network(folder):
    toy = vgg_files.random_parameters(
        np.random.default_rng(7), widths=(2,) * 5, depths=(1,) * 5, side=1, hidden=3, classes=4
    )
    vgg_files.write_mat(folder / "vgg_face.mat", toy)
    return (folder / "vgg_face.mat").read_bytes()


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_thousand_flipped_bits_end_in_a_value_or_one_error(network, folder, compressed):
    """Some of these end SciPy's reader, and Python with it, with a signal."""
    rng = np.random.default_rng(0)
    content = as_scipy_reads(network)
    data = written({"net": content["net"]}, do_compression=True) if compressed else network
    path = folder / "damaged.mat"
    path.write_bytes(data)
    whole = matconvnet.read(path)
    for _ in range(1000):
        path.write_bytes(flipped(data, rng))
        try:
            damaged = matconvnet.read(path)
            chain.shapes(damaged, file=str(path))
        except WeightsError as error:
            assert "damaged.mat" in str(error) and len(str(error)) < 600
        else:  # a flipped bit of a weight is another weight, but a compressed variable has a checksum
            assert not compressed or damaged.layers == whole.layers
            for key in whole.arrays if compressed else ():
                np.testing.assert_array_equal(damaged.arrays[key], whole.arrays[key])


@pytest.mark.parametrize("seed", range(2))
def test_files_cut_and_overwritten_anywhere(network, folder, seed):
    rng = np.random.default_rng(seed)
    path = folder / "damaged.mat"
    for _ in range(300):
        damaged = bytearray(network)
        at, count = int(rng.integers(len(network))), int(rng.integers(1, 9))
        damaged[at : at + count] = rng.choice([b"\x00", b"\xff", b"\x7f", b"\x01", b"\x0e"]) * count
        path.write_bytes(bytes(damaged[: int(rng.integers(at, len(network))) if seed else None]))
        try:
            chain.shapes(matconvnet.read(path), file=str(path))
        except WeightsError as error:
            assert "damaged.mat" in str(error)


@pytest.mark.parametrize("field", ["stride", "pad", "imageSize", "averageImage", "rate"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5, 1e9, "text"])
def test_odd_values_of_a_network_are_refused_in_words(network, folder, field, value):
    net = scipy.io.loadmat(io.BytesIO(network), struct_as_record=False)["net"][0, 0]
    layers = [wrapped[0, 0] for wrapped in net.layers.ravel()]
    owners = [*layers, net.normalization[0, 0]]
    for owner in owners:
        if field in owner._fieldnames:
            setattr(owner, field, value)
            break
    else:
        layers[0].__dict__[field] = value
        layers[0]._fieldnames.append(field)
    path = folder / "odd.mat"
    scipy.io.savemat(path, {"net": {name: getattr(net, name) for name in net._fieldnames}})
    if field == "rate":
        assert all(0 <= layer.rate < 1 for layer in matconvnet.read(path).layers)
        return
    with pytest.raises(WeightsError, match=field):
        matconvnet.read(path)


def test_layers_as_an_array_of_structs_are_the_same_network(network, folder):
    """`layers` of the archive is a cell of structs; MATLAB users also write one struct array."""
    path = folder / "array.mat"
    net = scipy.io.loadmat(io.BytesIO(network), struct_as_record=False)["net"][0, 0]
    fields = ("name", "type", "weights", "stride", "pad", "pool", "method")
    rows = [
        tuple(getattr(wrapped[0, 0], field, np.empty((0, 0))) for field in fields)
        for wrapped in net.layers.ravel()
    ]
    structs = np.array(rows, dtype=[(field, object) for field in fields]).reshape(1, -1)
    scipy.io.savemat(
        path, {"net": {"layers": structs, "normalization": net.normalization, "classes": net.classes}}
    )
    (folder / "cells.mat").write_bytes(network)
    array, cells = matconvnet.read(path), matconvnet.read(folder / "cells.mat")
    assert array.layers == cells.layers and array.preprocessing == cells.preprocessing
    for key, values in cells.arrays.items():
        np.testing.assert_array_equal(array.arrays[key], values)
