"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import ExtractionOptions, extract
from faceworkbook.descriptors.joined import Joined, join, unit_blocks
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.lower_precision import PrecisionWarning, describe_precision_cost, precision_cost
from faceworkbook.descriptors.reading import read
from faceworkbook.descriptors.store import NO_DESCRIPTOR, Descriptors, describe, open_store, select
from faceworkbook.descriptors.together import extract_all
from faceworkbook.descriptors.vector_files import VectorFileError

__all__ = [
    "NO_DESCRIPTOR",
    "Descriptors",
    "ExtractionOptions",
    "Joined",
    "PrecisionWarning",
    "StoreError",
    "VectorFileError",
    "describe",
    "describe_precision_cost",
    "extract",
    "extract_all",
    "join",
    "open_store",
    "precision_cost",
    "read",
    "select",
    "unit_blocks",
]
