"""What is learned on descriptors: MLPs, multi-task nets, the linear reference."""

from faceworkbook.backbones.base import import_keras

import_keras()
