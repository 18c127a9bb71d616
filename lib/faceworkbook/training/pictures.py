"""Pictures as training input: from files, from one array, or from TFRecord shards; the same batches each way.

Every source gives the pixels of ``images.face_pixels`` and every batch goes through
``images.network_input``, so that training, extraction and serving see the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import faces as face_table
from faceworkbook import images
from faceworkbook.files import hash_file, hash_values, parse_json, write_json
from faceworkbook.images import Preprocessing
from faceworkbook.training.checkpoint import fingerprint_rows

MEMORIES = ("high", "low", "shards")
SHARD, INDEX, MANIFEST = "faces-{:05d}.tfrecord", "index.npz", "manifest.json"
EVALUATION_BATCH = 128
_HEADER, _FOOTER = 12, 4  # bytes around a TFRecord: length and its check sum before, one check sum after


class ShardError(ValueError):
    """A folder of shards that is missing, incomplete or damaged."""


@dataclass(frozen=True)
class PixelFiles:
    """Pictures that are decoded each time they are asked for: little memory, more time.

    Attributes
    ----------
    paths : list of Path
    preprocessing : Preprocessing
    boxes : list of (top, left, bottom, right) or None, in pixels, optional
    points : ndarray of shape (n, 5, 2), optional
        In pixels of the pictures, NaN where a face is cut out unaligned. A network that aligns needs them.

    Raises
    ------
    ValueError
        There are no points, and `preprocessing` asks for aligned faces; or there are points of other faces.
    """

    paths: Sequence[Path]
    preprocessing: Preprocessing
    boxes: Sequence | None = None
    points: np.ndarray | None = None

    def __post_init__(self):
        if self.points is None and self.preprocessing.align != "none":
            raise ValueError(
                f"the network reads faces aligned (align={self.preprocessing.align!r}) and no points were given; "
                "take them from landmarks.align_faces, or choose align='none'"
            )
        if self.points is not None and self.points.shape != (len(self.paths), 5, 2):
            raise ValueError(
                f"points have shape {self.points.shape}; expected ({len(self.paths)}, 5, 2), five for each picture"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB.

        Raises
        ------
        images.UnreadableImage
            Names the file; `find_unreadable` lists all such rows beforehand.
        """
        return np.stack([self._decode(int(row)) for row in rows])

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the files of `rows` by content, their boxes and the preprocessing."""
        files = [hash_file(self.paths[row]) for row in rows]
        boxes = None if self.boxes is None else [self.boxes[row] for row in rows]
        points = [] if self.points is None else [np.asarray(self.points)[rows]]
        return hash_values(rows, files, boxes, self.preprocessing.to_dict(), *points)

    def _decode(self, row: int) -> np.ndarray:
        path = self.paths[row]
        box = None if self.boxes is None else self.boxes[row]
        points = None if self.points is None else self.points[row]
        data = images.read_bytes(path)
        return images.face_pixels(data, self.preprocessing, box=box, points=points, name=str(path))


@dataclass(frozen=True)
class PixelArray:
    """Pictures in one array, in memory or memory-mapped: fast.

    Attributes
    ----------
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB
    preprocessing : Preprocessing
    """

    pixels: np.ndarray
    preprocessing: Preprocessing

    def __post_init__(self):
        expected = (*self.preprocessing.size, 3)
        if self.pixels.dtype != np.uint8 or self.pixels.shape[1:] != expected:
            raise ValueError(
                f"pixels are {self.pixels.dtype} of shape {self.pixels.shape}; expected uint8 (n, "
                f"{', '.join(map(str, expected))}), RGB, as images.face_pixels gives them"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB."""
        return np.asarray(self.pixels[rows])

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the pixels of `rows`."""
        return hash_values(fingerprint_rows(self.pixels, rows), self.preprocessing.to_dict())


@dataclass(frozen=True)
class Mirrored:
    """The pictures of another source, mirrored left to right.

    Attributes
    ----------
    source : PixelFiles, PixelArray or PixelShards
    """

    source: PixelFiles | PixelArray | PixelShards

    def __len__(self) -> int:
        return len(self.source)

    @property
    def preprocessing(self) -> Preprocessing:
        """Return that of the source."""
        return self.source.preprocessing

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB."""
        return self.source.take(rows)[:, :, ::-1]

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the pictures of `rows`."""
        return hash_values("mirrored", self.source.fingerprint(rows))


class PixelShards:
    """Pictures in TFRecord files that `write_shards` wrote: few large files instead of many small ones.

    Parameters
    ----------
    folder : path

    Raises
    ------
    ShardError
        The folder was not written whole.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            manifest = parse_json((self.folder / MANIFEST).read_text())
            with np.load(self.folder / INDEX, allow_pickle=False) as index:
                self._shard, self._offset, self._length = (index[k] for k in ("shard", "offset", "length"))
        except (OSError, ValueError, KeyError) as error:
            raise ShardError(
                f"{self.folder} holds no whole set of shards ({error}); write it anew"
            ) from error
        self.preprocessing = Preprocessing.from_dict(manifest["preprocessing"])

    def __len__(self) -> int:
        return len(self._shard)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.preprocessing.size, 3), np.uint8)
        # In the order of the file, so that the disk is read forward.
        for place in np.lexsort((self._offset[rows], self._shard[rows])):
            out[place] = self._read(int(rows[place]))
        return out

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the pixels of `rows`, the same as that of an array of them."""
        return hash_values(fingerprint_rows(_Pixels(self), rows), self.preprocessing.to_dict())

    def _read(self, row: int) -> np.ndarray:
        import tensorflow as tf

        path = self.folder / SHARD.format(int(self._shard[row]))
        with path.open("rb") as file:
            file.seek(int(self._offset[row]) + _HEADER)
            data = file.read(int(self._length[row]))
        try:
            features = tf.train.Example.FromString(data).features.feature
            raw = features["pixels"].bytes_list.value[0]
            stored = features["row"].int64_list.value[0]
            picture = np.frombuffer(raw, np.uint8).reshape(*self.preprocessing.size, 3)
        except Exception as error:  # protobuf's DecodeError, an empty list, a wrong number of bytes
            raise ShardError(f"{path}: the record of row {row} is damaged; write the shards anew") from error
        if stored != row:
            raise ShardError(f"{path}: holds row {stored} where row {row} should be; write the shards anew")
        return picture


@dataclass(frozen=True)
class _Pixels:
    """``pixels[rows]`` of a source, as of an array."""

    source: PixelShards

    def __getitem__(self, rows) -> np.ndarray:
        return self.source.take(rows)


def write_shards(
    source: PixelFiles | PixelArray, folder: str | Path, *, per_shard: int = 2048, progress: bool = True
) -> PixelShards:
    """Write pictures as TFRecord files; each record holds ``row`` and ``pixels`` (uint8, RGB).

    The manifest is written last: a folder without it is not whole and is refused.
    """
    import tensorflow as tf

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    rows = range(len(source))
    places = np.zeros((len(source), 3), np.int64)
    bar = tqdm(total=len(source), unit="face", disable=not progress)
    for number, start in enumerate(rows[::per_shard]):
        offset = 0
        with tf.io.TFRecordWriter(str(folder / SHARD.format(number))) as writer:
            for row in rows[start : start + per_shard]:
                record = _record(row, source.take(np.array([row]))[0])
                writer.write(record)
                places[row] = number, offset, len(record)
                offset += _HEADER + len(record) + _FOOTER
                bar.update()
    bar.close()
    np.savez(folder / INDEX, shard=places[:, 0], offset=places[:, 1], length=places[:, 2])
    manifest = {"rows": len(source), "preprocessing": source.preprocessing.to_dict()}
    write_json(folder / MANIFEST, manifest)
    return PixelShards(folder)


def _record(row: int, pixels: np.ndarray) -> bytes:
    import tensorflow as tf

    feature = {
        "row": tf.train.Feature(int64_list=tf.train.Int64List(value=[row])),
        "pixels": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def from_faces(
    faces: pd.DataFrame, root: str | Path, preprocessing: Preprocessing, *, points: np.ndarray | None = None
) -> PixelFiles:
    """Return the pictures of a face table under `root`, cut to the faces' boxes where they have one; see `PixelFiles`."""
    root = Path(root)
    table = faces[list(face_table.BOX)].to_numpy(dtype=float, na_value=np.nan)
    boxes = [None if np.isnan(box).any() else tuple(box) for box in table]
    return PixelFiles([root / image for image in faces["image"]], preprocessing, boxes, points)


def open_faces(
    faces: pd.DataFrame,
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    points: np.ndarray | None = None,
    memory: str = "high",
    folder: str | Path | None = None,
    progress: bool = True,
) -> tuple[PixelFiles | PixelArray | PixelShards, pd.DataFrame]:
    """Open the readable pictures of a face table, held as `memory` says.

    Parameters
    ----------
    faces : pandas.DataFrame
    root : path
    preprocessing : Preprocessing
        The network's.
    points : ndarray of shape (n, 5, 2), optional
        See `PixelFiles`.
    memory : {'high', 'low', 'shards'}
        'high': all pixels in one array. 'low': decoded anew for each batch. 'shards': decoded once
        into TFRecord files in `folder`.
    folder : path, optional
        For 'shards'.

    Returns
    -------
    source : PixelArray, PixelFiles or PixelShards
        Of the readable rows alone, in their order.
    unreadable : pandas.DataFrame
        Columns ``face_id``, ``reason`` of the others.
    """
    if memory not in MEMORIES:
        raise ValueError(f"memory={memory!r}; allowed are {list(MEMORIES)}")
    if memory == "shards" and folder is None:
        raise ValueError("memory='shards' needs a folder to write them to; give folder=, or memory='low'")
    files = from_faces(faces, root, preprocessing, points=points)
    if memory == "high":
        array, problems = read_all(files, progress=progress)
    else:
        problems = find_unreadable(files, progress=progress)
    good = np.setdiff1d(np.arange(len(files)), problems["row"].to_numpy(dtype=int))
    unreadable = pd.DataFrame(
        {
            "face_id": faces["face_id"].to_numpy()[problems["row"].to_numpy(dtype=int)],
            "reason": problems["reason"],
        }
    )
    if memory == "high":
        pixels = array.pixels if len(good) == len(array) else array.pixels[good]
        return PixelArray(pixels, preprocessing), unreadable
    readable = replace(
        files,
        paths=[files.paths[row] for row in good],
        boxes=[files.boxes[row] for row in good],
        points=None if points is None else points[good],
    )
    if memory == "low":
        return readable, unreadable
    return write_shards(readable, folder, progress=progress), unreadable


def read_all(files: PixelFiles, *, progress: bool = True) -> tuple[PixelArray, pd.DataFrame]:
    """Decode every picture once.

    Returns
    -------
    pixels : PixelArray
        A picture that cannot be read is black there.
    unreadable : pandas.DataFrame
        Columns ``row``, ``reason``: rows to take out of the split.
    """
    array = np.zeros((len(files), *files.preprocessing.size, 3), np.uint8)
    problems = []
    for row in tqdm(range(len(files)), unit="face", disable=not progress):
        try:
            array[row] = files.take(np.array([row]))[0]
        except images.UnreadableImage as error:
            problems.append((row, str(error)))
    return PixelArray(array, files.preprocessing), pd.DataFrame(problems, columns=["row", "reason"])


def find_unreadable(files: PixelFiles, *, progress: bool = True) -> pd.DataFrame:
    """List the rows whose picture cannot be read, without keeping any: columns ``row``, ``reason``."""
    problems = []
    for row in tqdm(range(len(files)), unit="face", disable=not progress):
        try:
            files.take(np.array([row]))
        except images.UnreadableImage as error:
            problems.append((row, str(error)))
    return pd.DataFrame(problems, columns=["row", "reason"])


@dataclass(frozen=True)
class Prepared:
    """A source as the network wants it; ``prepared[rows]`` is float32, so it stands for an array.

    Attributes
    ----------
    source : PixelFiles, PixelArray or PixelShards
    """

    source: PixelFiles | PixelArray | PixelShards

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows) -> np.ndarray:
        pixels = self.source.take(np.atleast_1d(rows))
        return images.network_input(pixels, self.source.preprocessing)


def stream(
    batches: list[np.ndarray], load: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> Iterator[tuple]:
    """Load batches by tf.data ahead of the training step, in order.

    Parameters
    ----------
    batches : list of ndarray of int
        Rows of each batch.
    load : callable
        Rows -> tuple of float32 arrays.

    Yields
    ------
    tuple of float32 tensors

    Raises
    ------
    Exception
        Whatever `load` raised, as it was: a picture that cannot be read is named.
    """
    import tensorflow as tf

    shapes = [array.shape[1:] for array in load(batches[0][:1])]
    failures = []

    def guarded(number):
        try:
            return load(batches[number])
        except Exception as error:
            failures.append(error)
            raise

    def fetch(number):
        arrays = tf.numpy_function(guarded, [number], [tf.float32] * len(shapes))
        for array, shape in zip(arrays, shapes, strict=True):
            array.set_shape((None, *shape))
        return tuple(arrays)

    try:
        yield from _ahead(tf.data.Dataset.range(len(batches)).map(fetch))
    except tf.errors.OpError:
        if not failures:
            raise
        raise failures[0] from None


def _ahead(batches, depth: int = 2):
    """Return a tf.data set whose next elements are ready: on the GPU where there is one."""
    import tensorflow as tf

    cards = tf.config.list_logical_devices("GPU")
    if not cards:
        return batches.prefetch(depth)
    return batches.apply(tf.data.experimental.prefetch_to_device(cards[0].name, depth))
