"""Experiments on face attributes whose numbers can be defended."""

__version__ = "0.2.0"
