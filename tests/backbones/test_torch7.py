"""The Torch7 reader: what it reads, what it steps over, and that no bytes make it fail in any other way."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceworkbook.backbones import WeightsError, torch7
from tests.support import vgg_files


def written(value) -> bytes:
    file = io.BytesIO()
    vgg_files._TorchWriter(file).write(value)
    return file.getvalue()


def read(data: bytes, folder):
    path = folder / "file.t7"
    path.write_bytes(data)
    return torch7.read(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("t7")


def string(text: bytes) -> bytes:
    return struct.pack("<i", len(text)) + text


def test_bytes_spelt_out_by_hand_are_read_as_torch_wrote_them(folder):
    """{name = "x", [1] = true} as `torch.save` lays it out."""
    data = struct.pack("<iii", 3, 1, 2)
    data += struct.pack("<i", 2) + string(b"name") + struct.pack("<i", 2) + string(b"x")
    data += struct.pack("<id", 1, 1.0) + struct.pack("<ii", 5, 1)
    assert read(data, folder) == {"name": "x", 1.0: True}


def test_a_transposed_view_into_a_larger_storage_is_followed(folder):
    data = struct.pack("<ii", 4, 1) + string(b"V 1") + string(b"torch.DoubleTensor")
    data += struct.pack("<i", 2) + struct.pack("<2q", 2, 3) + struct.pack("<2q", 1, 2) + struct.pack("<q", 3)
    data += struct.pack("<ii", 4, 2) + string(b"V 1") + string(b"torch.DoubleStorage")
    data += struct.pack("<q", 8) + np.arange(8.0).tobytes()
    np.testing.assert_array_equal(read(data, folder), [[2, 4, 6], [3, 5, 7]])


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_a_function_is_stepped_over_and_never_run(folder, kind):
    marker = folder / "ran"
    code = f"io.open('{marker}', 'w')".encode()
    index = b"" if kind == 6 else struct.pack("<i", 2)
    function = struct.pack("<i", kind) + index + string(code) + struct.pack("<i", 0)
    table = struct.pack("<iii", 3, 1, 1) + struct.pack("<i", 2) + string(b"accGrad") + function
    assert read(table, folder) == {"accGrad": None}
    assert not marker.exists()


def test_an_object_that_stands_twice_is_one_object(folder):
    data = struct.pack("<iii", 3, 1, 2)
    data += struct.pack("<id", 1, 1.0) + struct.pack("<iii", 3, 2, 0)
    data += struct.pack("<id", 1, 2.0) + struct.pack("<ii", 3, 2)
    table = read(data, folder)
    assert table[1.0] is table[2.0]


plain = st.recursive(
    st.booleans() | st.floats(allow_nan=False) | st.text("abc", max_size=5),
    lambda inner: st.dictionaries(st.text("abc", max_size=3) | st.floats(0, 9), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
@settings(max_examples=80, deadline=None)
def test_what_was_written_is_read(folder, value):
    assert read(written(value), folder) == value


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(folder, data):
    """A network with bytes changed or cut anywhere: a value, or one clear error; never another failure."""
    small = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "p": 0.5, "name": "x", "on": True}
    whole = bytearray(written(("nn.Sequential", {"modules": {1.0: ("nn.Linear", small)}})))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 8, 127, 128, 255]))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        value = read(bytes(cut), folder)
    except WeightsError as error:
        assert "file.t7" in str(error)
    else:
        touch(value)


def touch(value, depth=0):
    """Read every element of every array, so that a view beyond the file's end would show."""
    if isinstance(value, np.ndarray):
        value.sum()
    if isinstance(value, torch7.TorchObject):
        value = value.fields
    if isinstance(value, dict) and depth < 8:
        for entry in value.values():
            touch(entry, depth + 1)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is empty"),
        (struct.pack("<i", 99), "unknown type 99"),
        (struct.pack("<ii", 2, 2**31 - 1), "announced"),
        (struct.pack("<ii", 2, -5), "announced"),
        (struct.pack("<iii", 3, 1, -1), "-1 entries"),
        (b"".join(struct.pack("<iii", 3, n, 1) + struct.pack("<id", 1, 0) for n in range(1, 90)), "nested"),
    ],
)
def test_impossible_announcements_are_refused(folder, data, words):
    with pytest.raises(WeightsError, match=words):
        read(data, folder)


def test_a_few_bytes_that_repeat_are_no_large_tensor(folder):
    """Steps of 0 would make 37 GiB of weights out of 8 bytes."""
    data = struct.pack("<ii", 4, 1) + string(b"V 1") + string(b"torch.FloatTensor")
    data += (
        struct.pack("<i", 2)
        + struct.pack("<2q", 10**5, 10**5)
        + struct.pack("<2q", 0, 0)
        + struct.pack("<q", 1)
    )
    data += struct.pack("<ii", 4, 2) + string(b"V 1") + string(b"torch.FloatStorage")
    data += struct.pack("<q", 2) + bytes(8)
    with pytest.raises(WeightsError, match="from a storage of 2"):
        read(data, folder)


def test_a_tensor_beyond_its_storage_is_refused(folder):
    data = struct.pack("<ii", 4, 1) + string(b"V 1") + string(b"torch.FloatTensor")
    data += struct.pack("<i", 1) + struct.pack("<q", 1000) + struct.pack("<q", 1) + struct.pack("<q", 1)
    data += struct.pack("<ii", 4, 2) + string(b"V 1") + string(b"torch.FloatStorage")
    data += struct.pack("<q", 2) + bytes(8)
    with pytest.raises(WeightsError, match="beyond its storage"):
        read(data, folder)
