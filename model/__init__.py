"""Phi-3 mini in TTNN: pure TTNN between token ids and logits, driven by Hugging Face's generate."""

from .generation import TTPhi3ForCausalLM, build, build_model
from .precision import PRECISIONS, Precision
from .weights import Checkpoint

__all__ = ["PRECISIONS", "Checkpoint", "Precision", "TTPhi3ForCausalLM", "build", "build_model"]
