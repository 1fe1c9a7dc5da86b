"""Phi-3-mini-128k-instruct on a T3000, the plain bring-up: `build_model` of `model.functional`."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[5])
if ROOT not in sys.path:  # loaded by path, from anywhere
    sys.path.insert(0, ROOT)

from model.config import ModelConfig
from model.functional import build_model

MESH_SHAPE = (1, 8)  # rows and columns of chips that the caller opens
check_config = ModelConfig.from_hf  # lets a caller refuse a checkpoint before its weights load

__all__ = ["MESH_SHAPE", "build_model", "check_config"]
