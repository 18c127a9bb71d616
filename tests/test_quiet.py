"""TensorFlow starts in silence, whoever imports it; what fails is heard."""

import ast
import gc
import os
import subprocess
import sys

import pytest

from faceworkbook import quiet
from faceworkbook.reports import parameters
from tests.conftest import REPO


def start(program: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=300, check=True)


def test_nothing_is_printed_when_tensorflow_starts():
    program = "import faceworkbook\nimport keras\nimport tensorflow as tf\ntf.constant(1.0) + 1"
    made = start(program)
    assert made.stdout + made.stderr == b""


def test_float32_is_never_tf32_whichever_is_imported_first():
    program = (
        "import faceworkbook\nimport tensorflow as tf\nswitch = tf.config.experimental\n"
        "print(switch.tensor_float_32_execution_enabled())\n"
        "switch.enable_tensor_float_32_execution(True)\nfaceworkbook.quiet.install()\n"
        "print(switch.tensor_float_32_execution_enabled())"
    )
    made = start(program)
    assert made.stdout.split() == [b"False", b"False"]


def test_tensorflow_takes_of_a_card_what_it_needs_unless_somebody_says_otherwise():
    name = "TF_FORCE_GPU_ALLOW_GROWTH"
    program = f"import os, faceworkbook; print(os.environ['{name}'])"
    rest = {key: value for key, value in os.environ.items() if key != name}
    for given, expected in (({}, b"true\n"), ({name: "false"}, b"false\n")):
        command = [sys.executable, "-c", program]
        made = subprocess.run(command, env=rest | given, capture_output=True, timeout=300, check=True)
        assert made.stdout == expected


def test_an_import_leaves_the_collector_as_it_was():
    with quiet.uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    program = (
        "import gc, faceworkbook.quiet as quiet\ngc.disable()\nwith quiet.uncollected():\n    made = [[]]\n"
        "assert not gc.isenabled() and any(one is made for one in gc.get_objects(generation=2))\n"
        "gc.freeze()\nfrozen = gc.get_freeze_count()\nwith quiet.uncollected():\n    pass\n"
        "assert gc.get_freeze_count() == frozen > 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_networks_that_are_traced_once_each_raise_no_warning_and_nothing_else_is_printed():
    program = (
        "from faceworkbook.training import batched\nimport tensorflow as tf\ntf.constant(1.0) + 1\n"
        "def make():\n    @tf.function\n    def step(x):\n        return x + 1\n    return step\n"
        "for _ in range(12):\n    make()(tf.constant(1.0))\n"
        "tf.get_logger().warning('heard')"
    )
    made = start(program)
    assert made.stdout == b"" and made.stderr.decode().strip() == "WARNING:tensorflow:heard"


def test_what_is_written_comes_back_with_an_exception(capfd):
    with quiet.discarded_stderr():
        os.write(2, b"chatter")
    with pytest.raises(ImportError), quiet.discarded_stderr():
        os.write(2, b"a reason")
        raise ImportError
    os.write(2, b" and after")
    assert capfd.readouterr().err == "a reason and after"


def test_jsonschema_builds_no_grammars_which_others_may_have():
    pytest.importorskip("rfc3987_syntax")
    program = (
        "import sys, faceworkbook, nbformat; assert 'rfc3987_syntax' not in sys.modules\n"
        "import rfc3987_syntax; assert rfc3987_syntax.is_valid_syntax('iri', 'https://example.org/')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("notebook", sorted((REPO / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_imports_this_package_before_it_imports_tensorflow(notebook):
    """So that nothing is printed in JupyterLab, or with cold kernels."""
    cells = [source for kind, source, _ in parameters.read_cells(notebook) if kind == "code"]
    nodes = [node for source in cells for node in ast.parse(source).body]
    names = [
        name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    ]
    imported = [str(name).partition(".")[0] for name in names]
    first = [name for name in imported if name in ("faceworkbook", "keras", "tensorflow")]
    assert first[:1] == ["faceworkbook"] or not first
