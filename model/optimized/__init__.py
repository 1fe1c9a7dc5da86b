"""Phi-3 in TTNN, the best of what we know: paged cache, fused operations, batches, traces."""

from ..weights import Checkpoint
from .build import build, build_model
from .precision import PRECISIONS, Precision

__all__ = ["PRECISIONS", "Checkpoint", "Precision", "build", "build_model"]
