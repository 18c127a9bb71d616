"""Which values the parameters of training may take, of nets with several tasks and of networks on pictures."""

from __future__ import annotations

from faceworkbook.reports.rules import COUNT, COUNT_OR_ALL, SHARE, Rule, anything, each, number, one_of, texts

MULTIPLIERS = each(texts(r"[\w./-]+: *\d+(\.\d*)?([eE][+-]?\d+)?", "'GROUP: NUMBER', such as 'trunk: 0.1'"))
_WEIGHT = r"\w+: *\d+(\.\d*)?"

RULES: dict[str, Rule] = {
    # several tasks
    "strategies": anything,
    "heads": one_of(("linear", "bottleneck", "stitch")),
    "stitch_widths": each(COUNT, least=2),
    "mixing": one_of(("proportional", "balanced", "temperature")),
    "mixing_temperature": number(1),
    "turn": one_of(("epoch", "batch")),
    "lr_multipliers": MULTIPLIERS,
    "frozen_epochs": each(texts(r"\w+: *\d+", "'GROUP: EPOCHS', such as 'trunk: 2'")),
    "start_single": anything,
    "decay_factor": number(above=0),
    "decay_every": COUNT,
    "task_weights": texts(
        rf"equal|uncertainty|{_WEIGHT}(, *{_WEIGHT})*", "equal, uncertainty, or 'TASK: NUMBER, TASK: NUMBER'"
    ),
    "selectors": each(one_of(("confidence", "density", "distribution"))),
    "selection": one_of(("hard", "interpolate", "fixed", "learned")),
    "pseudo_weight": SHARE,
    "selection_threshold": SHARE,
    "temperature": number(above=0),
    "density_t": SHARE,
    "cluster_k": COUNT,
    "first_fill": COUNT_OR_ALL,
    # fine-tuning
    "learn_from": one_of(("labels", "votes")),
    "cut": anything,
    "freeze": anything,
    "also": anything,
    "unfreeze": each(texts(r"\d+: *\S+", "'EPOCH: LAYER'")),
    "precompute": anything,
    "head": one_of(("linear", "bottleneck", "stitch", "own")),
    "pool": one_of(("average", "flatten")),
    "label_smoothing": number(0, 0.99),
    "bn_momentum": number(0, 0.9999),
    "mixup": number(0),
    "ema": number(0, 0.99999),
    "schedule": one_of(("cosine", "plateau", "constant")),
    "lr_range": anything,
    "ordinal_loss": one_of(("cross_entropy", "dldl_v2", "sord", "mean_variance", "coral", "or_cnn")),
    "number_loss": one_of(("squared", "absolute")),
    "flip": SHARE,
    "rotate": number(0, 45),
    "shift": number(0, 0.5),
    "zoom": number(0, 0.9),
    "light": SHARE,
    "blur": SHARE,
    "memory": one_of(("high", "low", "shards")),
    "dtype_policy": one_of(("float32", "mixed_bfloat16")),
    "accumulate": COUNT,
    "max_gb": number(above=0),
}
