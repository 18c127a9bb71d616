"""Experiments on face attributes whose numbers can be defended."""

from faceworkbook import quiet

__version__ = "0.2.0"

quiet.install()
