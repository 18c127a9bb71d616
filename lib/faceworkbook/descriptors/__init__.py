"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import extract
from faceworkbook.descriptors.int8 import Int8Warning, int8_cost, say_int8_cost
from faceworkbook.descriptors.store import Descriptors, StoreError, describe, open_store, select

__all__ = [
    "Descriptors",
    "Int8Warning",
    "StoreError",
    "describe",
    "extract",
    "int8_cost",
    "open_store",
    "say_int8_cost",
    "select",
]
