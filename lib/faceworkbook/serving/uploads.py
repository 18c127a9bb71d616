"""The bodies of requests: photos and descriptors, held in memory alone, never un-pickled, within limits."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator

import numpy as np
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from faceworkbook import images
from faceworkbook.serving.limits import Limits, Refused

NAME_LENGTH = 200
NPY = ("application/x-npy", "application/octet-stream")


class _InMemory(MultiPartParser):
    """Starlette's parser; its files stay in memory, since bodies are limited before."""

    spool_max_size = 2**40


async def read_photos(
    request: Request, body: AsyncIterator[bytes], limits: Limits
) -> list[tuple[str, bytes]]:
    """Return the name and content of every photo of a request.

    A form (``multipart/form-data``) whose files are photos, whatever their fields are called, or one photo as the body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        photos = await _read_form(request, body, limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        photos = [("photo", b"".join([piece async for piece in body]))]
    else:
        raise Refused(
            415,
            f"the content type is {kind[:80] or 'not given'!r}; send multipart/form-data with photos as files, or one "
            "photo as image/jpeg (or another image type)",
        )
    if not photos:
        raise Refused(400, "the form holds no file; add photos as files, such as curl -F photo=@photo.jpg")
    return photos


async def _read_form(request: Request, body: AsyncIterator[bytes], limits: Limits) -> list[tuple[str, bytes]]:
    try:
        parser = _InMemory(
            request.headers, body, max_files=limits.photos, max_fields=20, max_part_size=10_000
        )  # type: ignore[arg-type]
        form = await parser.parse()
    except (MultiPartException, FormParserError, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or str(error)
        status = 413 if "Too many files" in reason else 400
        raise Refused(
            status, f"the form cannot be read ({reason}); at most {limits.photos} photos a request"
        ) from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [(_name(file, i), await file.read()) for i, file in enumerate(files)]
    finally:
        await form.close()


def _name(file: UploadFile, number: int) -> str:
    printable = "".join(c for c in file.filename or "" if c.isprintable())
    return printable[:NAME_LENGTH] or f"photo {number}"


def check_size(data: bytes, limits: Limits) -> str:
    """Return why a photo is not decoded, from its header; '' where it may be."""
    try:
        height, width = images.size_of(data)
    except images.UnreadableImage:
        return ""  # the decoder has the better sentence
    if height * width > limits.pixels:
        return f"{width:,} x {height:,} pixels; at most {limits.pixels:,} are read"
    return ""


async def read_vectors(request: Request, body: AsyncIterator[bytes], limits: Limits) -> np.ndarray:
    """Return the descriptors of a request: JSON (rows of numbers, or ``{"descriptors": rows}``) or a ``.npy`` file."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = b"".join([piece async for piece in body])
    if kind in NPY:
        vectors = parse_npy(data)
    elif kind == "application/json":
        vectors = parse_json(data)
    else:
        raise Refused(
            415,
            f"the content type is {kind[:80] or 'not given'!r}; send application/json or application/x-npy",
        )
    if len(vectors) > limits.vectors:
        raise Refused(413, f"{len(vectors):,} descriptors; at most {limits.vectors:,} a request")
    return vectors


def parse_json(data: bytes) -> np.ndarray:
    """Return rows of numbers of a JSON text; `Refused` for anything else."""
    try:
        rows = json.loads(data)
        rows = rows.get("descriptors") if isinstance(rows, dict) else rows
        matrix = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise Refused(
            400, f"the body holds no rows of numbers ({str(error)[:100]}); send {{'descriptors': [[...]]}}"
        ) from error
    if matrix.ndim != 2:
        raise Refused(400, f"descriptors are of shape {matrix.shape}; expected rows of numbers, (n, d)")
    return matrix


def parse_npy(data: bytes) -> np.ndarray:
    """Return the matrix of a ``.npy`` file, which is never un-pickled; `Refused` for anything else."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        # The header may name any shape: what is there is counted before memory is asked for.
        if dtype.kind not in "fiu" or len(shape) != 2 or min(shape) < 0:
            raise ValueError(f"{dtype} of shape {shape}")
        if shape[0] * shape[1] * dtype.itemsize != len(data) - file.tell():
            raise ValueError("its size is not that of its header")
    except (
        Exception
    ) as error:  # numpy reads the header as Python text: a garbled one raises what Python's parser does
        raise Refused(
            400, f"the body is no .npy file of numbers (n, d) ({str(error)[:100]}); save with numpy.save"
        ) from error
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C").astype(np.float64)
