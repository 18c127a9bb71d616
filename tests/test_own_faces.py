"""The example of docs/own_faces.md reads as the page says."""

from __future__ import annotations

import re

import cv2
import numpy as np
import yaml

from faceworkbook import datasets
from faceworkbook.reports import parameters
from tests.conftest import REPO

PAGE = (REPO / "docs" / "own_faces.md").read_text(encoding="utf-8")


def block(kind):
    return re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_example_reads_as_the_page_says(tmp_path):
    (tmp_path / "faces.csv").write_text(block("csv"))
    for n in range(1, 5):
        cv2.imwrite(str(tmp_path / f"{n}.jpg"), np.full((20, 20, 3), 40 * n, np.uint8))
    settings = parameters.parse_options(yaml.safe_load(block("yaml")))
    dataset = datasets.load("csv", tmp_path, **settings)
    read = {
        name: ", ".join(sorted(set(dataset.faces[name]))) for name in ("gender", "emotion", "shirt", "hat")
    }
    assert all(f"`{name}` ({classes})" in PAGE for name, classes in read.items()), read
    assert dataset.faces["identity"].nunique() == 3
    assert (dataset.info.title, dataset.info.terms) == ("Four faces", "research, with consent")


def test_every_option_of_the_page_is_one_of_the_reader():
    named = {
        name
        for cell in re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)", cell)
    }
    assert named <= set(datasets.options("csv")) and {"columns", "values", "free", "links", "terms"} <= named
