"""What is wrong with a data set, before anything is trained on it."""

from faceworkbook.audit.duplicates import Duplicates, exact_duplicates, near_duplicates, similar_descriptors
from faceworkbook.audit.groups import join

__all__ = ["Duplicates", "exact_duplicates", "join", "near_duplicates", "similar_descriptors"]
