"""Networks by plain parameters: one, or several that are read side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faceworkbook import backbones, project
from faceworkbook.backbones.base import Backbone, BackboneError

AUTO = "auto"


def open_network(name: str, *, tap: str = "", weights: str | Path = "", mirror: bool = False) -> Backbone:
    """Open a network from plain parameters.

    Parameters
    ----------
    name : str
        'auto' (VGG-Face if its file is there, else the embedded default), or a name of `backbones.list`.
    tap, weights : str
        Empty for the network's own. A path of weights is relative to the project's root; 'auto' takes none.
    mirror : bool
        Average the descriptors of the picture and of its mirror image.
    """
    if name == AUTO:
        net = backbones.default(tap=tap or None)
    else:
        net = backbones.load(name, weights=project.resolve(weights) if weights else None, tap=tap or None)
    return net.mirrored() if mirror else net


def open_networks(
    backbone: str | Sequence[str] = AUTO,
    *,
    tap: str | Sequence[str] = (),
    weights: str | Sequence[str] = (),
    mirror: bool = False,
) -> list[Backbone]:
    """Open the networks that are read side by side.

    Parameters
    ----------
    backbone, tap, weights : sequence of str, or str for a single one
        See `open_network`. They go together entry by entry; a single value stands for all entries.

    Raises
    ------
    BackboneError
        Lists of different lengths, or the same network and tap twice.
    """
    lists = {"backbone": backbone, "tap": tap, "weights": weights}
    given = {name: [value] if isinstance(value, str) else [*value] or [""] for name, value in lists.items()}
    n = max(map(len, given.values()))
    wrong = {name: len(values) for name, values in given.items() if len(values) not in (1, n)}
    if wrong:
        raise BackboneError(
            f"{' and '.join(f'{name} has {length}' for name, length in wrong.items())} entries, another list {n}; give "
            "lists of the same length, or one value for all"
        )
    each = zip(*(values * n if len(values) == 1 else values for values in given.values()), strict=True)
    nets = [
        open_network(name or AUTO, tap=own_tap, weights=file, mirror=mirror) for name, own_tap, file in each
    ]
    places = [(net.fingerprint, net.tap) for net in nets]
    twice = next((net for net, place in zip(nets, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise BackboneError(f"{twice.name} at {twice.tap} is named twice; name each tap once")
    return nets


def choose_taps(nets: Sequence[Backbone], dataset: str) -> tuple[list[Backbone], list[str]]:
    """Return the taps that are offered to a classifier which chooses among them, each as the mean of both sides.

    Parameters
    ----------
    nets : sequence of Backbone
        Each is read at its `Backbone.auto_taps`.
    dataset : str
        Taps that were tuned on its labels are left out.

    Returns
    -------
    list of Backbone, list of str
        The second one says in sentences what was left out and why.
    """
    chosen, reasons = [], []
    for net in nets:
        for tap in net.auto_taps or (net.tap,):
            offered = net.at(tap).mirrored()
            try:
                offered.check_use(dataset)
            except BackboneError as error:
                reasons.append(str(error))
            else:
                chosen.append(offered)
    return chosen, reasons
