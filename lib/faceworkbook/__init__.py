"""Experiments on face attributes whose numbers can be defended."""

__version__ = "0.1.0"
