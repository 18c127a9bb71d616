"""Train, validation and test rows: by identity, official, or careless on purpose.

A `Split` holds three index arrays into a face table, what was left out and why, and how many
test rows show a person (or a copy of a picture) that the model was fitted or chosen on. Groups
never cross a split: rows of one identity, and rows that `keep_together` ties (copies of a picture).
"""

from faceworkbook.row_groups import ALONE
from faceworkbook.splits.corrected import make_corrected
from faceworkbook.splits.making import (
    ALSO_IN_TEST,
    NO_LABEL,
    NO_OFFICIAL_SUBSET,
    REPEATED,
    SCHEMES,
    FoldSizes,
    folds,
    leave_one_dataset_out,
    make,
)
from faceworkbook.splits.saving import fingerprint, hash_subsets, load, save
from faceworkbook.splits.split import CONTRADICTING, SUBSETS, Split, SplitError, restrict

__all__ = [
    "ALONE",
    "ALSO_IN_TEST",
    "CONTRADICTING",
    "NO_LABEL",
    "NO_OFFICIAL_SUBSET",
    "REPEATED",
    "SCHEMES",
    "SUBSETS",
    "FoldSizes",
    "Split",
    "SplitError",
    "fingerprint",
    "folds",
    "hash_subsets",
    "leave_one_dataset_out",
    "load",
    "make",
    "make_corrected",
    "restrict",
    "save",
]
