"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import ExtractionOptions, extract
from faceworkbook.descriptors.int8 import Int8Warning, describe_int8_cost, int8_cost
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import Descriptors, describe, open_store, select

__all__ = [
    "Descriptors",
    "ExtractionOptions",
    "Int8Warning",
    "StoreError",
    "describe",
    "describe_int8_cost",
    "extract",
    "int8_cost",
    "open_store",
    "select",
]
