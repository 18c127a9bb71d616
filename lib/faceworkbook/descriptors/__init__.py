"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import ExtractionOptions, extract
from faceworkbook.descriptors.int8 import Int8Warning, describe_int8_cost, int8_cost
from faceworkbook.descriptors.joined import Joined, join, unit_blocks
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.reading import read
from faceworkbook.descriptors.store import NO_DESCRIPTOR, Descriptors, describe, open_store, select
from faceworkbook.descriptors.together import extract_all
from faceworkbook.descriptors.vector_files import VectorFileError

__all__ = [
    "NO_DESCRIPTOR",
    "Descriptors",
    "ExtractionOptions",
    "Int8Warning",
    "Joined",
    "StoreError",
    "VectorFileError",
    "describe",
    "describe_int8_cost",
    "extract",
    "extract_all",
    "int8_cost",
    "join",
    "open_store",
    "read",
    "select",
    "unit_blocks",
]
