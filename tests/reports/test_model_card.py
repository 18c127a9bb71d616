"""A card is filled from what the run wrote, and says what no split can cure."""

import json

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from faceworkbook.evaluation import predictions
from faceworkbook.reports import model_card, report_data
from faceworkbook.reports.runs import Run
from faceworkbook.tasks import Task


@pytest.fixture
def faces():
    n = 120
    gender = np.where(np.arange(n) % 2 == 0, "female", "male")
    return pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(n)],
            "identity": pd.array([pd.NA] * n, dtype="string"),
            "gender": pd.Categorical(gender),
            "race": pd.Categorical(np.where(np.arange(n) < 80, "White", "Black")),
            "age": np.linspace(0, 80, n),
        }
    )


def predictions_of(faces, *, wrong, classes=("female", "male")):
    """Predictions that take the first `wrong` faces for the other gender, each with probability .9."""
    truth = faces["gender"].astype(str).to_numpy(dtype=object)
    female = (truth == "female") ^ (np.arange(len(faces)) < wrong)
    shares = np.where(female, 0.9, 0.1)
    return predictions.build(
        faces, Task("gender", classes=classes), truth=truth, output=1 - shares, split="test",
    )  # fmt: skip


def card_of(folder, faces, **changes):
    run = Run(folder / "10_fine_tune", "10_fine_tune")
    run.folder.mkdir(parents=True)
    run.save_values({"commit": "abc", "started": "now", "python": "3.11", "seed": 4}, "environment")
    options = {"network": "faceres, trained on VGGFace2", "model": ["reads gender"], "data": ["120 faces"]}
    model_card.write_networks(run, {"gender": predictions_of(faces, wrong=12)}, faces, **(options | changes))
    return (run.folder / "model_card.md").read_text()


def test_card_of_networks_holds_figures_groups_calibration_limits_and_command(tmp_path, faces):
    experiment = {"name": "tuned", "title": "Tuned", "given": {"root": "my faces", "epochs": 3}}
    (tmp_path / "experiment.json").write_text(json.dumps(experiment))
    card = card_of(tmp_path, faces)
    assert card.startswith("# Model card: Tuned")
    assert "| gender | accuracy | 0.900 | 0.833 | 0.942 | 120 |" in card  # Wilson
    assert "| gender | race | White | accuracy | 0.850 |" in card and "| Black | accuracy | 1.000 |" in card
    assert "mean confidence less accuracy +0.000" in card and "perfectly calibrated model would show" in card
    assert "no split can cure that" in card and "Deciding anything about a person" in card
    assert "`workbook run tuned -p 'root=my faces' -p epochs=3`" in card and "seed 4" in card
    assert "<table>" in (tmp_path / "10_fine_tune" / "model_card.html").read_text()


def test_of_several_sets_each_is_grouped_by_the_labels_that_it_has(faces):
    """The faces of one task may have no race at all: that is no reason to fail after all the work."""
    other = faces.assign(face_id=[f"g{i}" for i in range(len(faces))], race=np.nan)
    both = pd.concat([faces, other], ignore_index=True)
    predicted = {"with race": predictions_of(faces, wrong=12), "without": predictions_of(other, wrong=12)}
    table = model_card._group_table(predicted, both)
    assert "with race" in table and "White" in table
    rows = [line for line in table.splitlines() if "without" in line]
    assert rows and all("race" not in line.replace("without", "") for line in rows)


def test_a_network_from_fresh_weights_knows_no_celebrities(tmp_path, faces):
    card = card_of(tmp_path, faces, network="mini-Xception, fresh weights")
    assert "well-known people" not in card and "by hand" in card


def test_a_set_of_celebrities_is_called_one():
    assert "IMDB" in report_data.describe_pretraining(
        "VGG-Face", report_data.OF_CELEBRITIES["agegender_cleaned"]
    )


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, "workbook run demo"),
        ({"widths": [64, 32], "smoke": True}, "workbook run demo -p 'widths=[64, 32]' -p smoke=true"),
    ],
)
def test_the_command_bears_what_was_given(tmp_path, given, command):
    assert report_data.command_of(tmp_path, {"name": "demo", "given": given}) == command


def test_names_from_outside_are_shown_and_never_run(tmp_path, faces):
    """A class named as a script once ran from the card's page."""
    evil = "<script>alert(1)</script>"
    faces["gender"] = faces["gender"].cat.rename_categories(
        {"female": evil, "male": "a|b[x](javascript:alert(1))"}
    )
    faces["race"] = faces["race"].cat.rename_categories({"White": f"<img src=x onerror=alert(1)>{evil}"})
    (tmp_path / "experiment.json").write_text(
        json.dumps({"name": "x", "title": f"{evil}\n# other", "given": {}})
    )
    task = Task("gender", classes=tuple(faces["gender"].cat.categories))
    truth = faces["gender"].astype(str).to_numpy(dtype=object)
    table = predictions.build(
        faces, task, truth=truth, output=np.where(truth == task.classes[0], 0.1, 0.9), split="test"
    )
    run = Run(tmp_path / "10_fine_tune", "10_fine_tune")
    run.folder.mkdir()
    run.save_values({"commit": evil, "started": "now", "python": "3.11", "seed": 4}, "environment")
    model_card.write_networks(
        run, {evil: table}, faces, network=evil, model=[f"reads {evil}"], data=["**120** faces", evil]
    )
    page = BeautifulSoup((run.folder / "model_card.html").read_text(), "html.parser")
    assert not page.find_all(["script", "img", "a"]) and page.h1.text == f"Model card: {evil} # other"
    assert evil in page.text and "**120** faces" in page.text
    assert "script-src 'none'" in page.find("meta", attrs={"http-equiv": True})["content"]
    cells = {len(row.find_all("td")) for row in page.find_all("tr") if row.td}
    assert cells == {6, 8}  # no name adds a column
