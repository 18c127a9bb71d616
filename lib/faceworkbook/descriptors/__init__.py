"""Descriptors of faces: extraction and the store they lie in."""

from faceworkbook.descriptors.extraction import extract
from faceworkbook.descriptors.store import Descriptors, StoreError, open_store

__all__ = ["Descriptors", "StoreError", "extract", "open_store"]
