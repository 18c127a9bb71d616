"""What libraries do when they are imported, what is kept from that, and the settings that they are given then.

TensorFlow, OpenCV and libtiff are used in silence: what native libraries print fills notebooks and pages. jsonschema,
which comes with every notebook's format, builds no parsers of web addresses: 38 grammars, a second, for formats that no
notebook has.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import tempfile
from importlib.abc import MetaPathFinder


def install() -> None:
    """Discard what is written to the file descriptor of stderr while TensorFlow is imported, wherever that is.

    An import that fails shows all of it. Settings of TensorFlow and Keras are made here too, because both
    read them when they are imported; with them float32 is float32 on a GPU: TensorFlow would take TF32 for it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # the faster kernels on every x86 CPU
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # TensorFlow takes all of a card's memory otherwise, from ONNX Runtime in this process too.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # OpenCV warns of every detector that a thread makes
    if "tensorflow" in sys.modules:
        _forbid_tf32(sys.modules["tensorflow"])
    elif not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if not any(isinstance(f, _NoGrammars) for f in sys.meta_path):
        sys.meta_path.insert(0, _NoGrammars())


class _Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        """Return TensorFlow's own spec with a quiet loader; None for every other module."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                with discarded_stderr(), uncollected():
                    execute(module)
                module.get_logger().addFilter(_is_no_retracing)
                _forbid_tf32(module)

            spec.loader.exec_module = exec_module
        return spec


class _NoGrammars(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        """Refuse jsonschema its optional parsers; None for every other import, also of theirs by anybody else."""
        if name == "rfc3987_syntax":
            asking = getattr(sys.modules.get("jsonschema._format"), "__spec__", None)
            if getattr(asking, "_initializing", False):
                raise ModuleNotFoundError("left out, see faceworkbook.quiet", name=name)


def _forbid_tf32(tensorflow) -> None:
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)


def _is_no_retracing(record) -> bool:
    # Every fresh net is traced once; TensorFlow counts that as one function which is traced again and again.
    return "triggered tf.function retracing" not in str(record.msg)


@contextlib.contextmanager
def uncollected():
    """Look for no garbage meanwhile: what an import makes stays, and to look through it is a quarter of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what somebody froze stays so
            gc.freeze()
            gc.unfreeze()  # the two make everything old at once, which is looked through seldom
        if was_on:
            gc.enable()


def silence_libtiff(library: str) -> None:
    """Let libtiff print nothing about damaged pictures, which end in an error all the same.

    Parameters
    ----------
    library : str
        File of a loaded library that is linked with it. Where that does not show it, as on Windows, nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        loaded = ctypes.CDLL(library)
        for handler in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


@contextlib.contextmanager
def discarded_stderr():
    """Discard what native code writes to the descriptor of stderr; an exception brings it back."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
