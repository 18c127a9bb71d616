"""Experiments on face attributes whose numbers can be defended."""

import os

__version__ = "0.2.0"

# TensorFlow and Keras read these when they are imported, which may be by a notebook itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # the faster kernels on every x86 CPU
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
