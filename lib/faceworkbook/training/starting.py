"""Begin with the layers of another run's network: names and shapes are compared first, weights copied second."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import pandas as pd

from faceworkbook.models import ordinal
from faceworkbook.models.multitask import MARK, SHARED, Head, MultitaskNet
from faceworkbook.training.batched import TrainingError

TAKEN, EXCHANGED = "taken over", "begins at random"
STITCH = f"{SHARED}{MARK}stitch"  # its weights belong to all tasks together


@dataclass(frozen=True, eq=False)
class SavedNet:
    """A network with heads, as it was saved, that other ones begin with.

    Attributes
    ----------
    model : keras.Model
        See `faceworkbook.models.multitask.serving_model`.
    heads : dict of task to dict
        `Head.to_record` of each, in order.
    """

    model: keras.Model
    heads: Mapping[str, dict]

    @property
    def standardise(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return mean and standard deviation that its descriptors are standardised by; None where they are not."""
        moments = read_moments(self.model)
        return None if moments is None else (moments[0], np.sqrt(moments[1]))

    def keeps(self, head: Head) -> bool:
        """Whether a head learns the very task that this network's does, by the same loss."""
        record = self.heads.get(head.name)
        return record is not None and {**record, "mean": 0, "scale": 0} == {
            **head.to_record(),
            "mean": 0,
            "scale": 0,
        }

    def adapt(self, heads: Sequence[Head]) -> list[Head]:
        """Return heads whose numbers are measured in this network's units, so that its weights mean the same."""
        units = {name: {key: record[key] for key in ("mean", "scale")} for name, record in self.heads.items()}
        return [replace(head, **units[head.name]) if self.keeps(head) else head for head in heads]

    def hand_to(self, net: MultitaskNet) -> pd.DataFrame:
        """Copy the weights into a net of `adapt`-ed heads; heads of other tasks stay at random. See `copy_layers`."""
        groups, exchanged, ordered = net.layers_by_group(), set(), []
        for head in net.heads:
            if not self.keeps(head):
                exchanged |= {layer.name for layer in groups[head.name]}
            elif head.loss == ordinal.CORAL:
                ordered.append(head)
        if [head.name for head in net.heads] != list(self.heads):
            exchanged.add(STITCH)
        logits = {f"{head.prefix}{MARK}logits" for head in ordered}
        table = copy_layers(net.model, self.model, exchanged=exchanged | logits)
        for head in ordered:
            above = self.model.get_layer(f"{head.prefix}{MARK}probabilities_above")
            net.model.get_layer(f"{head.prefix}{MARK}logits").set_thresholds(above.get_weights()[1])
        table.loc[table["layer"].isin(logits), "what"] = TAKEN
        return table


def copy_layers(model: keras.Model, source: keras.Model, *, exchanged: Collection[str] = ()) -> pd.DataFrame:
    """Copy the weights of `source` into the layers of `model` that bear the same names.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    source : keras.Model
    exchanged : collection of str
        Layers of heads whose task is another one: they keep their random weights, and may be of another shape.

    Returns
    -------
    pandas.DataFrame
        layer, weights (count), what ('taken over' or 'begins at random').

    Raises
    ------
    TrainingError
        A layer is missing on one side, or has other shapes; nothing is copied then.
    """
    own, theirs = ({layer.name: layer for layer in net.layers if layer.weights} for net in (model, source))
    wanted = [name for name in own if name not in exchanged]
    lacking = [name for name in wanted if name not in theirs]
    if lacking:
        raise TrainingError(
            f"the model to start from has no layers {_few(lacking)}; build the same network, with the same hidden layers and heads"
        )
    differing = [name for name in wanted if _shapes(own[name]) != _shapes(theirs[name])]
    if differing:
        name = differing[0]
        raise TrainingError(
            f"layer {name!r} has weights of shape {_shapes(own[name])}, in the model to start from "
            f"{_shapes(theirs[name])}; build the same network, with the same hidden layers and heads"
        )
    for name in wanted:
        for variable, value in zip(own[name].weights, theirs[name].weights, strict=True):
            if "seed_generator" not in variable.path:
                variable.assign(value)
    rows = [(name, own[name].count_params(), TAKEN if name in wanted else EXCHANGED) for name in own]
    return pd.DataFrame(rows, columns=["layer", "weights", "what"])


def read_moments(model: keras.Model) -> tuple[np.ndarray, np.ndarray] | None:
    """Return mean and variance that a network standardises its input by, ndarrays of shape (d,); None where it does not."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            return tuple(np.asarray(value, np.float32).reshape(-1) for value in (layer.mean, layer.variance))
    return None


def _shapes(layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]


def _few(names: list[str]) -> str:
    return f"{names[:5]}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
