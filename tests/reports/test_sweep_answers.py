"""The answer of a sweep is short, and the regions of its page have names of their own."""

from faceworkbook.reports import sweep_page


def test_an_answer_ends_each_pair_with_its_interval():
    worse = (
        "features none is worse than features auto: accuracy -0.0126 (95 % interval -0.0212 to -0.0041; Nadeau-Bengio corrected "
        "t, p = .005, 25 folds). Whether by the margin of 0.01 is undecided: about 11,478 faces would decide (80% power)."
    )
    same = (
        "a and b are equivalent within the margin of 0.01: no significant difference (95 % interval -0.0048 to +0.0102) in "
        "accuracy, +0.0027 (exact McNemar, p = .467)."
    )
    assert sweep_page._without_test(worse) == (
        "features none is worse than features auto: accuracy -0.0126 (95 % interval -0.0212 to -0.0041)."
    )
    assert sweep_page._without_test(same).endswith(
        "no significant difference (95 % interval -0.0048 to +0.0102)."
    )
    assert sweep_page._without_test("too few people to judge by") == "too few people to judge by"


def test_regions_of_one_caption_are_numbered():
    region = '<div class="scroll" tabindex="0" role="region" aria-label="{}">'
    body = sweep_page._number_regions("".join(region.format(name) for name in ("test", "points", "test")))
    assert body == "".join(region.format(name) for name in ("test", "points", "test (2)"))
