"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import extract
from faceworkbook.descriptors.store import Descriptors, StoreError, describe, open_store, select

__all__ = ["Descriptors", "StoreError", "describe", "extract", "open_store", "select"]
