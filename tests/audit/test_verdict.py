"""Balance tables count what is there; the verdict puts the worst first and hides nothing that was run."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, splits
from faceworkbook import faces as face_table
from faceworkbook.audit import balance
from faceworkbook.audit.verdict import SEVERITIES, grade


def table(n=400, **columns):
    rng = np.random.default_rng(0)
    made = {
        "image": [f"{i}.jpg" for i in range(n)],
        "gender": np.array(["male", "female"])[rng.integers(0, 2, n)],
        "age": rng.integers(1, 90, n),
    }
    return face_table.build(made | columns, dataset="made")


NOTHING = pd.DataFrame(columns=["image", "reason", "detail"], dtype="string")


def test_class_counts_add_up_to_the_table():
    faces = table(gender=["male"] * 250 + ["female"] * 100 + [None] * 50, identity=["a", "b"] * 200)
    counts = balance.class_counts(faces).set_index(["label", "value"])
    assert counts.loc[("gender", "male"), ["faces", "people"]].tolist() == [250, 2]
    assert counts.loc[("gender", "male"), "share"] == pytest.approx(250 / 350)
    assert counts.loc[("gender", "(missing)"), "faces"] == 50
    assert counts["faces"].groupby("label").sum().tolist() == [400, 400]


def test_pair_counts_are_those_of_a_plain_count():
    faces = table(race=["White", "Black", "Asian", None] * 100)
    counts = balance.pair_counts(faces, "gender", "race")
    rows = faces[["gender", "race"]].astype(object).dropna()
    for gender in ("male", "female"):
        for race in ("White", "Black", "Asian"):
            by_hand = sum((g, r) == (gender, race) for g, r in rows.itertuples(index=False))
            assert counts.loc[gender, race] == by_hand


def test_association_is_one_where_a_label_gives_the_other_away():
    tied = table(race=["White", "Black"] * 200, gender=["male", "female"] * 200)
    assert balance.association(balance.pair_counts(tied, "gender", "race")) == pytest.approx(1)
    crossed = table(race=["White", "White", "Black", "Black"] * 100, gender=["male", "female"] * 200)
    assert balance.association(balance.pair_counts(crossed, "gender", "race")) == pytest.approx(0)


def test_poses_fall_into_bins_of_thirty_degrees():
    groups = balance.as_groups(pd.Series([-16.0, -15.0, 0.0, 14.9, 15.0, None], dtype="Float64", name="yaw"))
    assert groups.tolist()[:5] == ["-45 to -15", "-15 to 15", "-15 to 15", "-15 to 15", "15 to 45"]
    assert pd.isna(groups.iloc[5])


def test_a_leaking_official_split_is_critical_and_on_top():
    faces = table(identity=[f"p{i % 80}" for i in range(400)], split=["train"] * 300 + ["test"] * 100)
    official = splits.make(faces, label="gender", scheme="official")
    page = audit.verdict(audit.Findings(faces, NOTHING, "gender", official=official.leakage))
    assert page.loc[0, "severity"] == "critical" and page.loc[0, "count"] == 100 == page.loc[0, "of"]
    order = page["severity"].map(SEVERITIES.index)
    assert order.is_monotonic_decreasing


def test_a_clean_table_has_no_serious_finding():
    faces = table(identity=[f"p{i}" for i in range(400)])
    leak = splits.make(faces, label="gender").leakage
    page = audit.verdict(audit.Findings(faces, NOTHING, "gender", official=leak))
    assert not page["severity"].isin(["serious", "critical"]).any()


def test_what_was_left_out_is_counted_by_reason():
    left_out = pd.DataFrame({"image": list("abc"), "reason": ["x", "x", "y"], "detail": ""})
    page = audit.verdict(audit.Findings(table(), left_out, "gender")).set_index("finding")
    row = page.loc["files or rows not read"]
    assert row["count"] == 3 and row["of"] == 403 and row["detail"] == "x 2, y 1"


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "fine"), (0.005, "fine"), (0.02, "minor"), (0.2, "serious"), (0.9, "critical")],
)
def test_grades_rise_with_the_share(share, expected):
    assert grade(share, minor=0.01, serious=0.1, critical=0.5) == expected


def test_contradicting_copies_are_named_by_label(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(b"one" if i < 2 else b"two" if i < 4 else str(i).encode())
    faces = table(n=6, gender=["male", "female", "male", "male", "male", "female"], age=[1, 12, 3, 14, 5, 6])
    page = audit.verdict(
        audit.Findings(faces, NOTHING, "gender", exact=audit.exact_duplicates(faces, tmp_path))
    )
    page = page.set_index("finding")
    copies = page.loc["faces with an identical copy"]
    assert copies["count"] == 4 and "gender 1, age 2" in copies["detail"]
    assert page.loc["identical copies that contradict in gender", "count"] == 2
