"""A trained model put to use: the predictor, what writes it, and the commands that use it.

>>> from faceworkbook.serving import Predictor
"""

from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.predictor import Photo, Predictor

__all__ = ["Photo", "Predictor", "PredictorError"]
