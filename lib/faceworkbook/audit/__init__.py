"""What is wrong with a data set, before anything is trained on it."""

from faceworkbook.audit.cleaning import Cleaned, Thresholds, clean, clean_faces, measure
from faceworkbook.audit.cleaning_table import cleaning_table
from faceworkbook.audit.duplicates import (
    MIN_COSINE,
    Duplicates,
    copies,
    exact_duplicates,
    near_duplicates,
    similar_descriptors,
)
from faceworkbook.audit.label_errors import LabelErrors, find_label_errors, judgeable, write_corrections
from faceworkbook.audit.label_noise import label_noise
from faceworkbook.audit.leakage import leakage, leakage_worth
from faceworkbook.audit.verdict import Findings, verdict
from faceworkbook.row_groups import align_rows, join

__all__ = [
    "MIN_COSINE",
    "Cleaned",
    "Duplicates",
    "Findings",
    "LabelErrors",
    "Thresholds",
    "align_rows",
    "clean",
    "clean_faces",
    "cleaning_table",
    "copies",
    "exact_duplicates",
    "find_label_errors",
    "join",
    "judgeable",
    "label_noise",
    "leakage",
    "leakage_worth",
    "measure",
    "near_duplicates",
    "similar_descriptors",
    "verdict",
    "write_corrections",
]
