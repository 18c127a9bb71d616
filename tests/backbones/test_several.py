"""Networks by plain parameters: single texts, lists, and both together."""

from __future__ import annotations

import pytest

from faceworkbook.backbones import several


def places(*args, **options):
    return [(net.name, net.tap, net.mirror) for net in several.open_networks(*args, **options)]


def test_a_single_network_and_its_default_tap():
    assert places(["auto"]) == places("auto") == places() == [("faceres_deep", "global_pooling", "")]
    assert places("faceres_deep", mirror=True) == [("faceres_deep", "global_pooling", "mean")]


def test_lists_go_together_and_a_single_value_stands_for_all():
    taps = ["conv_pw_12_relu", "global_pooling"]
    two = [("faceres_deep", tap, "") for tap in taps]
    assert places(["auto"], tap=taps) == two
    assert places(["auto", "faceres_deep"], tap=taps) == two
    assert places(["auto", "auto"], tap=["", "conv_pw_11_relu"], mirror=True) == [
        ("faceres_deep", "global_pooling", "mean"),
        ("faceres_deep", "conv_pw_11_relu", "mean"),
    ]


def test_lists_of_other_lengths_and_the_same_place_twice_are_refused():
    with pytest.raises(ValueError, match="backbone has 2 entries, another list 3"):
        several.open_networks(["auto"] * 2, tap=["feats", "age_pred", "gender_pred"])
    with pytest.raises(ValueError, match="faceres_deep at global_pooling is named twice"):
        several.open_networks(["auto", "faceres_deep"])
    with pytest.raises(ValueError, match="tap='fc7'; faceres_deep has conv_pw_1_relu"):
        several.open_networks("faceres_deep", tap=["fc7"])


def test_taps_that_are_offered_to_choose_from_leave_out_what_was_tuned_on_the_set():
    nets = several.open_networks("auto")
    offered, reasons = several.choose_taps(nets, "utkface")
    assert [(net.tap, net.mirror) for net in offered] == [
        (tap, "mean") for tap in ("conv_pw_12_relu", "global_pooling", "feats")
    ]
    assert reasons == []
    for dataset in ("adience", "agegender_cleaned", "imdb_wiki"):
        offered, reasons = several.choose_taps(nets, dataset)
        assert [net.tap for net in offered] == ["conv_pw_12_relu", "global_pooling"]
        assert len(reasons) == 1 and f"tap='feats' of faceres_deep is barred on '{dataset}'" in reasons[0]


def test_a_network_without_such_a_list_is_offered_at_its_own_tap():
    [net], _ = several.choose_taps(several.open_networks("mobilenet_v2"), "utkface")
    assert (net.tap, net.mirror) == (several.open_network("mobilenet_v2").tap, "mean")
