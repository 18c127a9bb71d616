"""What 02_descriptors writes down of its descriptors, one record a block of columns, and what later steps read of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from faceworkbook import backbones, data_record, descriptors, project
from faceworkbook.backbones import Backbone, several
from faceworkbook.data_record import DataError
from faceworkbook.descriptors import Descriptors, Joined, naming
from faceworkbook.descriptors.engines.base import FLOAT32, describe_difference
from faceworkbook.landmarks import AlignOptions
from faceworkbook.reports import tables

STEP = "02_descriptors"
AGAIN = f"run {STEP} again"
NETWORK, FILE = "network", "file"
NO_DESCRIPTOR = descriptors.NO_DESCRIPTOR
BLOCKS = "blocks"
COSINE = "cosine_to_float32"  # among the settings of an engine of another precision


def extract(
    faces: pd.DataFrame, nets: Sequence[Backbone], *, dataset: str, root: Path, store: str = "", **options
) -> list[Descriptors]:
    """Extract the descriptors of each network into a store of its own, the taps of one network in one pass.

    Parameters
    ----------
    store : str
        Folder for those of a single network; empty for the usual ones.
    **options
        Of `descriptors.extract`. Nothing is warned of: what a lower precision costs stands on the page of 02_descriptors.
    """
    if store and len(nets) > 1:
        raise ValueError(
            f"store={store!r} names one folder and there are {len(nets)} networks or taps; leave it empty, then each "
            "has its own"
        )
    for net in nets:
        net.check_use(dataset)
    named = {name: options[name] for name in ("precision", "align") if name in options}
    places = [store or naming.default_store(dataset, root, net, **named) for net in nets]
    stores = [project.resolve(place) for place in places]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", descriptors.PrecisionWarning)
        return descriptors.extract_all(faces, nets, root=root, stores=stores, **options)


def describe_like(nets: Sequence[Backbone], parameters: Mapping) -> Callable:
    """Return the function ``(faces, name, root)`` that describes faces of another set as 02_descriptors did.

    Parameters
    ----------
    nets : sequence of Backbone
        See `Run.networks`.
    parameters : mapping
        Of 02_descriptors.
    """
    align = AlignOptions.from_parameters(parameters)
    options = {"engine": parameters["engine"], "precision": parameters["precision"], "align": align}

    def describe(faces: pd.DataFrame, name: str, root: Path) -> Descriptors | Joined:
        return descriptors.join(extract(faces, nets, dataset=name, root=root, **options))

    return describe


def without_face(stored: Sequence[Descriptors]) -> pd.DataFrame:
    """Return the faces that were cut out unaligned, or left out, for want of a detected face, each once."""
    tables_ = [own.aligned.without_face for own in stored if own.aligned is not None]
    columns = ["face_id", "image", "reason", "detail"]
    return pd.concat([pd.DataFrame(columns=columns), *tables_]).drop_duplicates(ignore_index=True)


def describe_alignment(stored: Sequence[Descriptors]) -> str:
    """Return in a sentence how the faces were cut out, and how many were not detected."""
    sentences = [own.aligned.describe() for own in stored if own.aligned is not None]
    return (
        "; ".join(dict.fromkeys(sentences)) or "the file says what its faces were cut from, if anything does"
    )


def read_file(
    faces: pd.DataFrame,
    file: str,
    *,
    dataset: str,
    root: Path,
    store: str = "",
    ids: str = "",
    values: str = "",
) -> Descriptors:
    """Read descriptors from a file into a store; see `descriptors.read`. Paths are relative to the project's root."""
    path = project.resolve(file)
    if ids and project.resolve(ids).is_file():
        ids = str(project.resolve(ids))
    place = store or naming.store_of_file(dataset, root, path)
    return descriptors.read(path, faces, root=root, store=project.resolve(place), ids=ids, values=values)


def choose_networks(
    file: str, backbone: list[str], *, tap: list[str], weights: list[str], mirror: bool, **cut
) -> list[Backbone]:
    """Open the networks that compute; none where the descriptors are read from a `file`.

    Parameters
    ----------
    **cut
        ``align``, ``margin``, ``resolution``: how faces are cut out; see `Backbone.adjusted`.

    Raises
    ------
    ValueError
        A file and a network are both given; see also `several.open_networks`.
    """
    if not file:
        nets = several.open_networks(backbone, tap=tap, weights=weights, mirror=mirror)
        return [net.adjusted(**cut) for net in nets]
    if (*backbone, *tap, *weights) != (several.AUTO,) or mirror:
        raise ValueError(
            f"descriptors={file!r} are read as they are; leave out backbone, tap, weights and mirror, or leave "
            "descriptors empty to compute them"
        )
    return []


def offer_taps(
    nets: Sequence[Backbone], dataset: str, *, tap: Sequence[str], mirror: bool
) -> tuple[list[Backbone], str]:
    """Return the taps among which a classifier chooses (``features='auto'``), and in words which are offered.

    Raises
    ------
    ValueError
        There is no network, or ``tap`` or ``mirror`` are given too.
    """
    if not nets or [*tap] or mirror:
        raise ValueError(
            "features='auto' reads several layers and both sides of a face by itself; leave out tap, mirror and "
            "descriptors, or leave features empty"
        )
    chosen, reasons = several.choose_taps(nets, dataset)
    named = ", ".join(f"{net.name} at {net.tap}" for net in chosen)
    offered = (
        f"offered, as the mean of both sides: {named}; classifier='kernel' takes those of them that validation rows "
        "choose, every other classifier takes all"
    )
    return chosen, "\n".join([offered, *reasons])


# --------------------------------------------------------------------------- records


def record_blocks(nets: Sequence[Backbone], described: Descriptors | Joined) -> list[dict]:
    """Return one record a block; of a file where there are no networks."""
    blocks = blocks_of(described)
    if not nets:
        return [_record_file(own) for own in blocks]
    return [_record_network(net, own) for net, own in zip(nets, blocks, strict=True)]


def _record_network(net: Backbone, own: Descriptors) -> dict:
    return {
        "kind": NETWORK,
        "network": net.name,
        "tap": net.tap,
        "mirror": net.mirror,
        "weights": project.shorten(net.weights) if net.weights.name else "",
        "weights_sha256": net.fingerprint,
        "source": net.source,
        "preprocessing": net.preprocessing.to_dict(),
        "precision": own.manifest["recipe"]["precision"],
        "engines": own.manifest["engines"],
        "decoder": own.manifest["decoder"],
        **({"check": own.manifest["check"]} if "check" in own.manifest else {}),
        **_stored(own),
    }


def _stored(own: Descriptors) -> dict:
    return {
        "dim": own.dim,
        "store": project.shorten(own.folder),
        "generation": own.generation,
        "descriptors": own.fingerprint,
    }


def blocks_of(described: Descriptors | Joined) -> tuple[Descriptors, ...]:
    """Return the blocks that stand side by side, of the faces that all have."""
    return described.blocks if isinstance(described, Joined) else (described,)


def records_of(values: Mapping) -> list[dict]:
    """Return the records of the blocks out of the values that 02_descriptors wrote."""
    if not values.get(BLOCKS):
        raise DataError(f"{STEP} was written by an earlier version; {AGAIN}")
    return list(values[BLOCKS])


def _record_file(own: Descriptors) -> dict:
    recipe = own.manifest["recipe"]
    return {
        "kind": FILE,
        "file": recipe["file"],
        "file_sha256": recipe["file_sha256"],
        "matched": f"{recipe['key']}; numbers: {recipe['values']}",
        "source": f"read from {recipe['file']}; the network that made them is not known here",
        **_stored(own),
    }


# --------------------------------------------------------------------------- words


def describe(records: Sequence[Mapping]) -> str:
    """Return what describes the faces, in words: 'faceres_deep at conv_pw_12_relu and at global_pooling'."""
    words: dict[str, list[str]] = {}
    for record in records:
        words.setdefault(name_of(record), []).append(place_of(record))
    return " and ".join(
        f"{name} {' and '.join(filter(None, places))}".rstrip() for name, places in words.items()
    )


def describe_precision(record: Mapping) -> str:
    """Return in a sentence how far descriptors of a lower precision lie from float32, and may; nothing for others."""
    precision = record.get("precision", FLOAT32)
    if precision == FLOAT32:
        return ""
    differences = [
        {"cosine": engine[COSINE], "relative_error": engine["relative_error"]}
        for engine in record["engines"]
        if COSINE in engine
    ]
    measured = [describe_difference(one, precision) for one in differences]
    far = " and ".join(dict.fromkeys(measured)) or "not measured"
    return f"{precision} instead of float32, at worst over the faces that were tried: {far}"


def summarise(described: Descriptors | Joined, records: Sequence[Mapping]) -> dict:
    """Return what 02_descriptors writes down: what describes the faces, how wide it is, how many it left out and why."""
    reasons = described.left_out["reason"]
    return {
        "described_by": describe(records),
        "dim": described.dim,
        "source": "; ".join(dict.fromkeys(record["source"] for record in records)),
        BLOCKS: list(records),
        "descriptors": described.fingerprint,
        "n": len(described),
        "unreadable": int((reasons == "unreadable").sum()),
        "lacking": int((reasons == NO_DESCRIPTOR).sum()),
    }


def describe_taken(records: Sequence[Mapping], settings: Mapping) -> str:
    """Return in a sentence which blocks a fitted classifier took; nothing where it did not choose among them."""
    taken = settings.get("blocks")
    if taken is None or len(records) < 2:
        return ""
    return f"validation rows chose {describe([records[position] for position in taken])} out of {describe(records)}"


def describe_often(records: Sequence[Mapping], history: pd.DataFrame) -> str:
    """Return in a sentence in how many fits each block was taken; nothing where none was chosen."""
    columns = [f"block {position}" for position in range(len(records))]
    if not {"chosen", *columns} <= set(history):
        return ""
    chosen = history[history["chosen"] == 1]
    each = [
        f"{describe([record])} in {int(chosen[column].sum())}"
        for record, column in zip(records, columns, strict=True)
    ]
    return f"validation rows chose, in {len(chosen)} fits: {', '.join(each)}"


def name_of(record: Mapping) -> str:
    """Return the network of a block, or the file that it was read from."""
    return record["network"] if record["kind"] == NETWORK else f"the file {Path(record['file']).name}"


def place_of(record: Mapping) -> str:
    """Return the tap of a block, and whether both sides of a face are averaged; nothing for a file."""
    if record["kind"] == FILE:
        return ""
    return f"at {record['tap']}" + (" (mean of both sides)" if record["mirror"] else "")


def to_rows(record: Mapping) -> dict:
    """Return a block as names and values for a reader."""
    if record["kind"] == FILE:
        return {
            "file": record["file"],
            "SHA-256 of the file": record["file_sha256"],
            "descriptors": f"{record['dim']}-d",
            "matched with the faces": record["matched"],
            "source": record["source"],
        }
    return {
        "network": record["network"],
        "tap": f"{record['tap']} ({record['dim']}-d)"
        + (", mean of the picture and its mirror image" if record["mirror"] else ""),
        "weights": record["weights"],
        "SHA-256 of the weights": record["weights_sha256"],
        "source": record["source"],
        "preprocessing": tables.describe_preprocessing(record["preprocessing"]),
        "decoder": record["decoder"],
        "precision": record["precision"],
        "engines": [engine.get("name", engine) for engine in record["engines"]],
    }


# --------------------------------------------------------------------------- what later steps read


def read(records: Sequence[Mapping], faces: pd.DataFrame, root: Path) -> Descriptors | Joined:
    """Open the stores at the rows of `faces`, side by side.

    Raises
    ------
    DataError
        A store holds other descriptors, or of other pictures, than 02_descriptors wrote.
    """
    opened = []
    for record in records:
        own = descriptors.select(project.resolve(record["store"]), faces["face_id"], root=root)
        data_record.check_contents(faces, own.face_id, own.content_hash, record["store"])
        opened.append(own)
    described = descriptors.join(opened)
    for record, own in zip(records, blocks_of(described), strict=True):
        if own.fingerprint != record["descriptors"]:
            raise DataError(
                f"{record['store']} holds other descriptors of these faces than {STEP} wrote; {AGAIN}"
            )
    return described


def why_no_network(records: Sequence[Mapping]) -> str:
    """Return in one sentence why pictures cannot be described anew; empty where every block has its network."""
    names = [record["file"] for record in records if record["kind"] == FILE]
    return (
        names
        and (
            f"The descriptors were read from {', '.join(names)} and come without a network: pictures that are changed or new "
            "cannot be described."
        )
    ) or ""


def open_network(record: Mapping) -> Backbone:
    """Open the network of a block, at the same tap and with the same weights.

    Raises
    ------
    DataError
        The block was read from a file, which names no network; or the weights are others now.
    """
    if record["kind"] == FILE:
        raise DataError(why_no_network([record]))
    weights = project.resolve(record["weights"]) if record["weights"] else None
    net = backbones.load(record["network"], weights=weights, tap=record["tap"]).mirrored(record["mirror"])
    if net.fingerprint != record["weights_sha256"]:
        raise DataError(f"{record['weights']} holds other weights than {STEP} used; {AGAIN}")
    own = record["preprocessing"]
    return net.adjusted(
        align=own.get("align", "none"),
        margin=own["crop_margin"],
        resolution=0 if net.preprocessing.size == tuple(own["size"]) else own["size"][0],
    )
