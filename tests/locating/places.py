"""Where each fault of the catalogue is, in the whole model: the operation that drift must name.

A fault of a kernel is at the operation itself, in the first layer that uses it. A fault in how the
model is put together is at the operation that is used wrongly first.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import ttnn

import ttnn_emulator
from model.optimized import build_model
from tests.faults.inject import Fault
from ttnn_verify import drift

PROMPT, DECODED = 33, 3
MAX_SEQ_LEN = 96

# Names in the table of ops that are not the operation's.
OPERATIONS = {
    "rotary_embedding_token": "rotary_embedding",
    "rotary_embedding_llama_decode": "rotary_embedding_llama",
    "multiply_silu": "multiply",
}

ROTARY = "rotary_embedding_llama"
ROTARY_DECODE = "rotary_embedding_llama_fused_qk"
SDPA = "chunked_scaled_dot_product_attention"
SDPA_DECODE = "paged_scaled_dot_product_attention_decode"

# Faults of layers and of the model: (operation, layer). Where a call is missing, the kind of
# operation that is missed.
PLACES = {
    "attention's residual dropped": ("add", 0),
    "MLP's residual dropped": ("add", 0),
    "residual taken after the norm": ("add", 0),
    "the layer's norms exchanged": ("rms_norm", 0),
    "attention and MLP in parallel": ("rms_norm", 0),
    "gate and up exchanged": ("multiply", 0),
    "weight transposed where it is square": ("linear", 0),
    "model's weights in bfp8": ("rms_norm", 0),  # the norm's weight is the first one
    "norm called without epsilon": ("rms_norm", 0),
    "norm called without its weight": ("rms_norm", 0),
    "products without a compute configuration": ("linear", 0),
    "norms without a compute configuration": ("rms_norm", 0),
    "q and k exchanged after the projection": (ROTARY, 0),  # by the model, not by the operation
    "attention sees later keys": (SDPA, 0),
    "scale of 128 columns in decode's call": (SDPA_DECODE, 0),
    "keys not rotated": ("rope", 0),
    "weights not in the rotary kernel's order": (ROTARY, 0),
    "rotary tables one position late": (ROTARY, 0),
    "attention factor dropped": (ROTARY, 0),
    "long factors for short": (ROTARY, 0),
    "theta of another model": (ROTARY, 0),
    "decode rotates by the next position": (ROTARY_DECODE, 0),
    "prompt's keys cached for values": ("paged_fill_cache", 0),
    "decode caches nothing": ("cache update", 0),
    "decode caches one position late": ("paged_fused_update_cache", 0),
    "one cache for all layers": ("paged_fill_cache", 1),
    "first layer's weights in all layers": ("rms_norm", 1),
    "layers in reverse": ("rms_norm", 0),
    "last layer left out": ("rms_norm", 3),
    "final norm left out": ("norm", None),
    "head tied to the embedding": ("linear", None),
    "embedding scaled": ("multiply", 0),
    "token ids one too large": ("embedding", None),
    "logits of the filling tokens": ("slice", None),
    "prompt filled up in front": ("embedding", None),
    "last token trimmed wrongly": ("to_torch", None),
    "decode counts the filling tokens": (ROTARY_DECODE, 0),
    "decode begins at position 0": (ROTARY_DECODE, 0),
    "stale rows attended after a reset": (SDPA_DECODE, 0),
    "position not reset for a new sequence": (ROTARY_DECODE, 0),
}

# What drift does not see though it changes bits: less than the roundings of the operation itself.
UNSEEN = {
    "another result every other time": "one unit in the last place of one element",
    "norm called without epsilon": "the mean of squares is 1e5 times the epsilon in every row",
}


@dataclasses.dataclass(frozen=True)
class Located:
    """The verdict of drift on a model with a fault.

    Attributes:
        finding: the first bad operation, None if there is none.
        right: whether that is the operation that the fault is at.
        changed: whether the fault changes any logit of the walk; None where that was not asked.
    """

    finding: drift.OpFinding | None
    right: bool
    changed: bool | None


def located(
    fault: Fault,
    hf_model: Any,
    device: ttnn.Device,
    ids: torch.Tensor,
    healthy: Callable[[str], torch.Tensor],
) -> Located:
    """Inject a fault into the full model and locate it.

    Args:
        ids: `[1, S]` of which S is `PROMPT` + `DECODED`.
        healthy: `healthy(arithmetic)` are the logits of the model without a fault.
    """
    # what only a compute configuration costs is no drift unless the most accurate one is asked for
    accurate = fault.arithmetic == "kernel" and fault.tier == "layers"
    with ttnn_emulator.arithmetic_settings(fault.arithmetic), fault.inject():
        model = build_model(hf_model, device, MAX_SEQ_LEN)
        finding = drift.locate(model, hf_model, ids, DECODED, accurate)
        changed = None if finding else logits(model, ids)
    differs = None if changed is None else not torch.equal(changed, healthy(fault.arithmetic))
    return Located(finding, finding is not None and at_its_place(finding, fault), differs)


def at_its_place(finding: drift.OpFinding, fault: Fault) -> bool:
    """Whether an operation is the one that the fault is at."""
    if fault.name in PLACES:
        operation, layer = PLACES[fault.name]
        return finding.operation.split(".")[-1].endswith(operation) and finding.layer == layer
    names = {OPERATIONS.get(name, name) for name in fault.ops}
    return finding.operation.rpartition(".")[2] in names


def logits(model: Callable[..., Any], ids: torch.Tensor) -> torch.Tensor:
    """Logits of the prompt and of the tokens after it, `[S, V]`."""
    out = model(ids[:, :PROMPT])
    rows = [out.logits[0]]
    for token in ids[0, PROMPT:]:
        out = model(token.reshape(1, 1), past_key_values=out.past_key_values)
        rows.append(out.logits[0])
    return torch.cat(rows)
