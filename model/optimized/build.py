"""Makes the optimized model, or says why not."""

import os
from collections.abc import Mapping
from typing import Any

import torch
import ttnn
from transformers import PretrainedConfig, PreTrainedModel

from ..config import ModelConfig
from ..generation import TTPhi3ForCausalLM, from_hf_model
from ..mesh import Mesh
from ..weights import DeviceWeights
from .cache import cache_length
from .capacity import Dram, longest_cache
from .phi3 import Phi3
from .precision import Precision, named

MAX_BATCH = 32  # rows of a tile; a decode step takes two cores for each


def build_model(
    hf_model: PreTrainedModel, tt_device: ttnn.MeshDevice, max_seq_len: int, **options: Any
) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a Hugging Face Phi3ForCausalLM on the CPU; options of `build`."""
    return from_hf_model(build, hf_model, tt_device, max_seq_len, **options)


def build(
    hf_config: PretrainedConfig,
    weights: Mapping[str, torch.Tensor],
    tt_device: ttnn.MeshDevice,
    max_seq_len: int,
    batch: int = 1,
    precision: str | os.PathLike | Precision = "accuracy",
    weight_cache: str | os.PathLike | None = None,
    trace: bool = False,
) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a configuration and named host tensors.

    Args:
        hf_config: a Phi3Config.
        weights: Hugging Face's parameter names -> tensors. They may be read or made when asked for
            (weights.Checkpoint, say): each is asked for once and dropped as soon as it is on the
            device.
        tt_device: the TTNN device.
        max_seq_len: positions that each sequence's cache has.
        batch: sequences at once, 1 to 32; default 1.
        precision: "accuracy", the default, "performance", a file of settings, or a
            precision.Precision.
        weight_cache: folder for weights as the device has them, for a quicker second start; by
            default none is kept.
        trace: capture a decode step as a TTNN trace, which the steps after it execute; what looks
            at operations one by one then sees none of them. Default False.

    Raises ValueError for a configuration this bring-up does not compute, for a missing tensor, and
    for more positions than the device has room for.
    """
    config = ModelConfig.from_hf(hf_config)
    precision = named(precision)
    config.check_length(max_seq_len)
    _check_size(config, precision, batch, max_seq_len, tt_device)
    on_device = DeviceWeights(weights, tt_device, weight_cache)
    model = Phi3(config, on_device, batch, cache_length(max_seq_len), precision, trace)
    return TTPhi3ForCausalLM(hf_config, model, max_seq_len)


def _check_size(
    config: ModelConfig, precision: Precision, batch: int, max_seq_len: int, device: ttnn.MeshDevice
) -> None:
    """Refuse sequences that the device or the model does not hold, before any weight is read."""
    if not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"batch is {batch}; it must be 1 to {MAX_BATCH}.")
    longest = longest_cache(config, precision, batch, Dram.of(device), Mesh(device).chips)
    if longest < max_seq_len:
        raise ValueError(
            f"max_seq_len {max_seq_len} for a batch of {batch} does not fit the device's free DRAM "
            f"beside the weights; at most {longest} does."
        )
