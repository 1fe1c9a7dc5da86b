"""Phi-3 mini in TTNN: pure TTNN between token ids and logits, driven by Hugging Face's generate."""

from .cache import MAX_CACHE_SEQ_LEN
from .generation import TTPhi3ForCausalLM, build, build_model
from .weights import Checkpoint

__all__ = ["MAX_CACHE_SEQ_LEN", "Checkpoint", "TTPhi3ForCausalLM", "build", "build_model"]
