"""What is wrong with a data set, before anything is trained on it."""

from faceworkbook.audit.cleaning import Cleaned, Thresholds, clean, measure
from faceworkbook.audit.duplicates import Duplicates, exact_duplicates, near_duplicates, similar_descriptors
from faceworkbook.audit.groups import join
from faceworkbook.audit.label_errors import LabelErrors, find_label_errors
from faceworkbook.audit.leakage import leakage, leakage_worth

__all__ = [
    "Cleaned",
    "Duplicates",
    "LabelErrors",
    "Thresholds",
    "clean",
    "exact_duplicates",
    "find_label_errors",
    "join",
    "leakage",
    "leakage_worth",
    "measure",
    "near_duplicates",
    "similar_descriptors",
]
