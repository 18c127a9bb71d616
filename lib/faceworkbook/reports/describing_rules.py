"""What must fit together of the parameters that describe faces, and what this machine can compute of them.

Descriptors that are stored already need no device: a run on them is never refused for want of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from faceworkbook import project
from faceworkbook.landmarks import AlignOptions

USUAL = {"engine": "auto", "precision": "float32"}
DESCRIBES = {*USUAL, "store", "descriptors", "features"}  # parameters of 02_descriptors


def check_features(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    """Return what is given beside ``features='auto'`` that it settles by itself."""
    also = [name for name in ("tap", "mirror", "descriptors") if given.get(name)]
    if given.get("features") != "auto" or not also:
        return ""
    return (
        f"features='auto' chooses layers and takes both sides of a face by itself, and {' and '.join(also)} "
        f"{'is' if len(also) == 1 else 'are'} given too: leave that out, or add -p features= to choose yourself"
    )


def check_device(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    """Return why this machine cannot compute what is asked for; empty where it can, or where it is stored."""
    usual = all(given.get(name) == value for name, value in USUAL.items())
    if usual or not set(given) >= DESCRIBES or given["descriptors"]:
        return ""
    lack = _describe_lack(given["engine"], given["precision"])
    return lack if lack and not _is_stored(given, everything) else ""


def _describe_lack(engine: str, precision: str) -> str:
    from faceworkbook.descriptors import engines

    try:
        engines.check(engine, precision)
    except ValueError as error:
        return f"{error}; descriptors that are stored are used anywhere"
    return ""


def _is_stored(given: Mapping, everything: Mapping) -> bool:
    from faceworkbook.descriptors import manifest

    try:
        recipes = [manifest.read(project.resolve(place))["recipe"] for place in _places(given, everything)]
    except ValueError:  # no store, or a network whose own rule says what is wrong with it
        return False
    return all(recipe.get("precision") == given["precision"] for recipe in recipes)


def _places(given: Mapping, everything: Mapping) -> Iterator[str]:
    """Yield the folders in which 02_descriptors looks for descriptors before it computes them."""
    from faceworkbook.descriptors import naming
    from faceworkbook.reports import described

    if given["store"]:
        yield given["store"]
        return
    dataset, root = str(everything.get("dataset", "")), project.resolve(everything.get("root", ""))
    cut = {name: given[name] for name in ("align", "margin", "resolution")}
    taps = {"tap": given["tap"], "mirror": given["mirror"]}
    nets = described.choose_networks("", given["backbone"], weights=given["weights"], **taps, **cut)
    if given["features"] == "auto":
        nets, _ = described.offer_taps(nets, dataset, **taps)
    align = AlignOptions.from_parameters(given)
    for net in nets:
        yield str(naming.default_store(dataset, root, net, precision=given["precision"], align=align))
