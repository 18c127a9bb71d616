"""Sentences of the verdict on anybody's model."""

import pandas as pd

from faceworkbook.reports import referee


def gaps(*p):
    row = {"worst": "Asian", "worst_value": 0.8, "best": "White", "best_value": 0.9, "gap": 0.1, "low": 0.0,
           "high": 0.2, "null_mean": 0.05}  # fmt: skip
    return pd.DataFrame([{"attribute": f"a{i}", **row, "p": each} for i, each in enumerate(p)])


def test_a_gap_is_called_significant_only_after_adjustment():
    assert referee.describe_gaps(gaps(0.001, 0.4), "accuracy").startswith(
        "Clearest gap between groups: a0 Asian"
    )
    unsure = referee.describe_gaps(gaps(0.04, 0.4), "accuracy")
    assert (
        unsure.startswith("No significant gap; the clearest between groups: a0")
        and "= .080 by Holm" in unsure
    )
    assert "served equally" in unsure
    assert (
        referee.describe_gaps(gaps(float("nan")), "accuracy")
        == "No two groups are large enough to be compared."
    )
