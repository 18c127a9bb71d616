"""Layers that are offered and taken, in words."""

import pandas as pd
import pytest

from faceworkbook.backbones import several
from faceworkbook.reports import described

RECORDS = [
    {"kind": "network", "network": "net", "tap": tap, "mirror": "mean"} for tap in ("early", "late", "feats")
]


def test_taps_are_offered_and_what_is_barred_is_named():
    nets = several.open_networks("faceres_deep")
    offered, words = described.offer_taps(nets, "adience", tap=[], mirror=False)
    assert [net.tap for net in offered] == ["conv_pw_12_relu", "global_pooling"]
    assert words.startswith("offered, as the mean of both sides: faceres_deep at conv_pw_12_relu")
    assert "tap='feats' of faceres_deep is barred on 'adience'" in words


@pytest.mark.parametrize(
    ("n_nets", "given"),
    [
        (1, {"tap": ["feats"], "mirror": False}),
        (1, {"tap": [], "mirror": True}),
        (0, {"tap": [], "mirror": False}),
    ],
)
def test_taps_that_are_given_are_not_chosen_too(n_nets, given):
    nets = several.open_networks("faceres_deep")[:n_nets]
    with pytest.raises(ValueError, match=r"features='auto' reads several layers .* leave out tap, mirror"):
        described.offer_taps(nets, "utkface", **given)


def test_what_a_classifier_took_is_named():
    words = described.describe_taken(RECORDS, {"blocks": [1, 2]})
    assert words.startswith("validation rows chose net at late (mean of both sides) and at feats")
    assert "out of net at early" in words
    assert (
        described.describe_taken(RECORDS, {}) == described.describe_taken(RECORDS[:1], {"blocks": [0]}) == ""
    )


def test_fits_that_took_a_block_are_counted():
    history = pd.DataFrame(
        {"block 0": [1, 0, 1], "block 1": [1, 1, 0], "block 2": [0, 0, 0], "chosen": [1, 1, 0]}
    )
    assert described.describe_often(RECORDS, history) == (
        "validation rows chose, in 2 fits: net at early (mean of both sides) in 1, net at late (mean of both sides) in 2, "
        "net at feats (mean of both sides) in 0"
    )
    assert described.describe_often(RECORDS, history.drop(columns="chosen")) == ""
