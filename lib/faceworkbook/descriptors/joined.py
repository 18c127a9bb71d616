"""Several descriptors of the same faces side by side: other taps, other networks, or a file; each in its own store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import Descriptors, find
from faceworkbook.files import hash_values


@dataclass(frozen=True, eq=False)
class Joined:
    """Descriptors side by side, of the faces that every block has. It is read as `Descriptors` are.

    The columns are those of the stores as they are. Whatever learns from them standardises column by column with
    mean and deviation of its training rows, so that no block outweighs another by its unit. Whatever compares faces
    by cosine takes `unit_blocks` of them.

    Attributes
    ----------
    blocks : tuple of Descriptors
        Of the same faces in the same order.
    left_out : pandas.DataFrame
        Faces that a block lacks: ``face_id``, ``image``, ``reason``, ``detail``.
    """

    blocks: tuple[Descriptors, ...]
    left_out: pd.DataFrame

    @property
    def face_id(self) -> np.ndarray:
        """ndarray of shape (n,), object."""
        return self.blocks[0].face_id

    @property
    def content_hash(self) -> np.ndarray:
        """ndarray of shape (n,), object: hash of each face's file."""
        return self.blocks[0].content_hash

    @cached_property
    def matrix(self) -> np.ndarray:
        """ndarray of shape (n, sum of the blocks' widths), float32; in memory."""
        return np.concatenate([block.matrix for block in self.blocks], axis=1)

    @property
    def dim(self) -> int:
        """Width of all blocks together."""
        return sum(block.dim for block in self.blocks)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the blocks' fingerprints in their order."""
        return hash_values(*(block.fingerprint for block in self.blocks))

    def __len__(self) -> int:
        return len(self.blocks[0])


def unit_blocks(matrix: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Bring each block of each row to length 1: the cosine of two rows is the mean of their blocks' cosines.

    Without it the block of the longest descriptors decides alone which faces are alike.

    Parameters
    ----------
    matrix : ndarray of shape (n, sum of dims), float32
    dims : sequence of int
        Width of each block; where there is one at most, `matrix` is returned as it is.
    """
    if len(dims) < 2:
        return matrix
    blocks = np.split(np.asarray(matrix, np.float32), np.cumsum(dims)[:-1], axis=1)
    tiny = np.finfo(np.float32).tiny
    return np.hstack([b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), tiny) for b in blocks])


def join(blocks: Sequence[Descriptors]) -> Descriptors | Joined:
    """Put descriptors of the same faces side by side; of a single block return it as it is.

    Raises
    ------
    StoreError
        No face has them all, two are of different pictures, or the same descriptors are given twice.
    """
    if len(blocks) == 1:
        return blocks[0]
    first, *others = blocks
    kept = np.ones(len(first), bool)
    for other in others:
        kept &= find(first.ids, among=other.ids) >= 0
    if not kept.any():
        raise StoreError(
            f"no face has descriptors in all of {', '.join(str(b.folder) for b in blocks)}; extract the same faces for each"
        )
    ids = first.ids[kept]
    same = tuple(replace(block, rows=block.rows[find(ids, among=block.ids)], ids=ids) for block in blocks)
    _check(same)
    left_out = pd.concat([block.left_out for block in blocks], ignore_index=True)
    return Joined(same, left_out.drop_duplicates("face_id", ignore_index=True))


def _check(blocks: Sequence[Descriptors]) -> None:
    seen: dict[str, Descriptors] = {}
    for block in blocks:
        if block.fingerprint in seen:
            raise StoreError(
                f"{block.folder} and {seen[block.fingerprint].folder} hold the same descriptors; name each once"
            )
        seen[block.fingerprint] = block
        other = int((block.content_hash != blocks[0].content_hash).sum())
        if other:
            raise StoreError(
                f"{block.folder} and {blocks[0].folder} hold descriptors of different pictures: {other:,} of "
                f"{len(block):,} faces differ; extract both again"
            )
