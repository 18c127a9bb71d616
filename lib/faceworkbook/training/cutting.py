"""Cut a network at a named layer, put heads on it, and divide it into parameter groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import keras

from faceworkbook.backbones import Backbone, casting
from faceworkbook.backbones.base import at_resolution
from faceworkbook.images import Preprocessing
from faceworkbook.models import multitask
from faceworkbook.models.multitask import DTYPE_POLICIES, TRUNK, Head, MultitaskNet
from faceworkbook.training.param_groups import ParamGroup

PRECISIONS = DTYPE_POLICIES
OWN = "own"
MOMENTUM = 0.9


@dataclass(frozen=True)
class Network:
    """A backbone with heads on it, ready to be trained on pictures.

    Attributes
    ----------
    net : MultitaskNet
    trunk : tuple of str
        Names of the backbone's layers that are used, from input to cut.
    preprocessing : Preprocessing
    backbone, cut, fingerprint : str
        Where the trunk comes from: registry name, last layer that is used, SHA-256 of its weights.
    activations : Activations, optional
        What a frozen layer of these weights makes of the pictures, where several networks share it.
    """

    net: MultitaskNet
    trunk: tuple[str, ...]
    preprocessing: Preprocessing
    backbone: str
    cut: str
    fingerprint: str
    activations: object | None = None

    @property
    def origin(self) -> dict:
        """Return what the network was made of, in plain types."""
        return {
            "backbone": self.backbone,
            "cut": self.cut,
            "fingerprint": self.fingerprint,
            "preprocessing": self.preprocessing.to_dict(),
        }


def assemble(
    backbone: Backbone,
    tasks: list[Head],
    *,
    cut: str | None = None,
    also: Iterable[str] = (),
    precision: str = "float32",
    trunk_momentum: float = 0.0,
    seed: int = 0,
    **options,
) -> Network:
    """Cut `backbone` and put one head a task on it.

    The backbone's weights are read anew: training changes this network alone, never the backbone
    that descriptors are taken from. Sets the global random seed (for networks without weights).

    Parameters
    ----------
    backbone : Backbone
    tasks : list of Head
    cut : str, optional
        Last layer that is used; the layer of the backbone's tap where None.
    also : iterable of str
        Layers before the cut whose maps, averaged over the picture, the heads see beside the cut's (averaged
        too): what a network for identity drops in its last blocks is still there.
    precision : {'float32', 'mixed_bfloat16'}
        Of the trunk's arithmetic; weights and heads stay float32.
    trunk_momentum : float, 0 up to below 1
        Share of the stored statistics of the trunk's batch norm that a batch leaves as they are, 0 for the network's own
        (Keras has .99). A network that sees few batches an epoch is judged by statistics of weights that are long
        gone: they lag behind by about 1 / (1 - momentum) steps.
    seed : int
        Of fresh weights and of dropout.
    **options
        Fields of ``models.multitask.HeadOptions``, without batch norm unless it is asked for. ``head='own'``:
        the output that the network itself has, for the one number that it was made for (SSR-Net's age).

    Raises
    ------
    ValueError
        A layer that the network does not have, or a head that does not fit.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; allowed are {list(PRECISIONS)}")
    keras.utils.set_random_seed(seed)
    full = backbone.builder()
    if backbone.resolution:
        full = at_resolution(full, backbone.resolution)
    cut = cut or backbone.tap_table[backbone.tap].layer
    trunk = _with_earlier(full, cut, tuple(also)) if also else upto(full, cut)
    if precision != "float32":
        trunk = casting.cast(trunk, precision)
    if trunk_momentum:
        _set_momentum(trunk, trunk_momentum)
    if options.get("head") == OWN:
        net = _own_head(trunk, tasks)
    else:
        # The trunk changes under the heads within a few epochs of some hundred steps.
        options = {"batch_norm": False, "momentum": MOMENTUM, **options}
        net = multitask.build(trunk, tasks, seed=seed, **options)
    names = tuple(layer.name for layer in trunk.layers)
    return Network(net, names, backbone.preprocessing, backbone.name, cut, backbone.fingerprint)


def _set_momentum(trunk: keras.Model, momentum: float) -> None:
    if not 0 < momentum < 1:
        raise ValueError(f"bn_momentum={momentum}; allowed is 0 (the network's own) up to below 1")
    for layer in trunk.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def upto(model: keras.Model, layer: str) -> keras.Model:
    """Return `model` from its input to the output of `layer`, sharing its layers.

    Raises
    ------
    ValueError
        No layer has that name.
    """
    return keras.Model(model.input, _layer(model, layer).output, name=f"{model.name}_to_{layer}")


def _with_earlier(model: keras.Model, cut: str, also: tuple[str, ...]) -> keras.Model:
    used = {layer.name for layer in upto(model, cut).layers}
    wrong = [name for name in also if name not in used - {cut}]
    if wrong:
        raise ValueError(
            f"also={list(also)}: {wrong} do not lie before the cut {cut!r}; name layers before it, or cut later"
        )
    outputs = [_layer(model, name).output for name in (*also, cut)]
    averaged = [
        keras.layers.GlobalAveragePooling2D(name=f"{name}_average")(output)
        if len(output.shape) == 4
        else output
        for name, output in zip((*also, cut), outputs, strict=True)
    ]
    together = keras.layers.Concatenate(name="layers_together")(averaged)
    return keras.Model(model.input, together, name=f"{model.name}_to_{cut}")


def beyond(model: keras.Model, layer: str) -> keras.Model:
    """Return `model` from the output of `layer` to its outputs, sharing its layers.

    Raises
    ------
    ValueError
        No layer has that name, or a branch leads around it.
    """
    tap = _layer(model, layer).output
    try:
        return keras.Model(tap, model.output, name=f"{model.name}_from_{layer}")
    except ValueError as error:
        raise ValueError(
            f"precompute={layer!r}: not everything after it can be computed from it alone (a branch leads "
            "around it); choose a layer that all paths go through, such as the end of a block"
        ) from error


def layers_upto(model: keras.Model, layer: str | None) -> frozenset[str]:
    """Return the names of the layers that the output of `layer` depends on, itself included; none for None."""
    if layer is None:
        return frozenset()
    return frozenset(one.name for one in upto(model, layer).layers)


def _layer(model: keras.Model, name: str) -> keras.layers.Layer:
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = [n for n in names if n.split("_")[0] == name.split("_")[0]] or names
        raise ValueError(f"{model.name} has no layer {name!r}; expected one of {', '.join(near)}")
    return model.get_layer(name)


def _own_head(trunk: keras.Model, tasks: list[Head]) -> MultitaskNet:
    if len(tasks) != 1 or not tasks[0].is_number or tuple(trunk.output.shape[1:]) != (1,):
        raise ValueError(
            f"head='own' needs a network that ends in one number and one number to learn; the cut gives "
            f"{tuple(trunk.output.shape)}, the tasks are {[task.name for task in tasks]}"
        )
    model = keras.Model(trunk.input, {tasks[0].name: trunk.output})
    # Such a network gives the number in its own unit, not in standard deviations.
    return MultitaskNet(model, model, (replace(tasks[0], mean=0.0, scale=1.0),))


def divide(
    network: Network, *, boundaries: Iterable[str], lr_multipliers: dict[str, float]
) -> list[tuple[ParamGroup, frozenset[str]]]:
    """Divide a network into parameter groups at the named layers.

    Parameters
    ----------
    boundaries : iterable of str
        Trunk layers that something is frozen up to.
    lr_multipliers : dict of str to float
        Of the learning rate: 'trunk', 'shared', a task's name, or a trunk layer, meaning that layer and all
        before it (the nearest one counts).

    Returns
    -------
    list of (ParamGroup, frozenset of str)
        From input to heads, each with the layers up to which freezing freezes it; every layer with weights
        stands in one.
    """
    heads = {name: layers for name, layers in network.net.layers_by_group().items() if name != TRUNK}
    cuts = {*boundaries, *(name for name in lr_multipliers if name not in heads and name != TRUNK)}
    unknown = sorted(cuts - set(network.trunk))
    if unknown:
        allowed = [TRUNK, *heads, "or a layer of the trunk"]
        raise ValueError(f"no layer or parameter group is called {unknown}; allowed are {', '.join(allowed)}")
    reach = {name: layers_upto(network.net.model, name) for name in cuts}
    by_reach: dict[frozenset, list] = {}
    for name in network.trunk:
        within = frozenset(cut for cut, layers in reach.items() if name in layers)
        by_reach.setdefault(within, []).append(network.net.model.get_layer(name))
    divided = [
        (ParamGroup(*_name_and_multiplier(within, reach, lr_multipliers, tuple(layers))), within)
        for within, layers in by_reach.items()
    ]
    divided += [
        (ParamGroup(name, tuple(layers), lr_multipliers.get(name, 1.0)), frozenset())
        for name, layers in heads.items()
        if layers
    ]
    return divided


def _name_and_multiplier(within: frozenset[str], reach: dict, lr_multipliers: dict, layers: tuple):
    nearest_first = sorted(within, key=lambda cut: len(reach[cut]))
    named = (lr_multipliers[cut] for cut in nearest_first if cut in lr_multipliers)
    label = f"trunk to {nearest_first[0]}" if nearest_first else TRUNK
    if len({len(reach[cut]) for cut in nearest_first}) < len(nearest_first):
        label = "trunk to " + " and ".join(sorted(within))
    return label, layers, next(named, lr_multipliers.get(TRUNK, 1.0))
