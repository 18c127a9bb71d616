"""What needs no network imports none: a table is read and a figure drawn without waiting for TensorFlow."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import faceworkbook

# Rooms whose modules are about networks and may import Keras at the top.
WITH_KERAS = ("models", "training")
PROGRAM = """
import importlib, json, sys
slow = {}
for name in json.loads(sys.argv[1]):
    before = set(sys.modules)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:  # an extra that is not installed
        if (error.name or "").startswith("faceworkbook"):
            raise
    slow[name] = [m for m in ("tensorflow", "keras") if m in sys.modules and m not in before]
print(json.dumps(slow))
"""


def light_modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages(faceworkbook.__path__, "faceworkbook.")]
    return [name for name in names if name.split(".")[1] not in WITH_KERAS]


@pytest.fixture(scope="module")
def imported():
    """For each module, which of the slow packages its import brings, in one fresh process."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(light_modules())]
    return json.loads(subprocess.check_output(command, text=True, timeout=300))


@pytest.mark.parametrize("name", light_modules())
def test_a_module_outside_the_networks_rooms_imports_no_tensorflow(imported, name):
    assert imported[name] == []


@pytest.mark.parametrize("room", WITH_KERAS)
def test_the_rooms_themselves_import_none_until_a_module_of_them_is_used(room):
    program = f"import sys, faceworkbook.{room}; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_workbook_list_starts_without_tensorflow():
    program = (
        "import sys; from faceworkbook import cli; assert cli.main(['list']) == 0; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=120)
    assert "residual_mlp" in printed and "utkface_gender" in printed


def test_what_a_notebook_imports_of_reports_does_not_wait_for_the_validator_of_notebooks():
    program = (
        "import sys; from faceworkbook.reports import answers, runs, tables; "
        "assert not {'nbformat', 'jsonschema', 'nbconvert', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
