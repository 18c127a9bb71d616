"""What is wrong with a data set, before anything is trained on it."""

from faceworkbook.audit.duplicates import Duplicates, exact_duplicates, join

__all__ = ["Duplicates", "exact_duplicates", "join"]
