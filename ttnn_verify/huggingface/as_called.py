"""By how much logits are farther off than in bfloat16, as a model calls its products and attention.

Hugging Face's pass in bfloat16 multiplies all bits and adds in float32. What a device does beyond
that, a model asks for: fidelity, 16-bit sums, weights in a block format. So Hugging Face's model
runs once more with its linear layers computed as the model's products were called, and attention as
TTNN's kernel computes it. One factor comes of it, the same for all logits, since such a pass is
slow.
"""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ttnn_emulator.interpose import Layer, Level
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.numerics import metrics, op_floors, rounding
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.numerics.formats import BLOCK_BITS, TILE
from ttnn_verify.numerics.kernel_floors.attention_floors import rounded_attention


@dataclasses.dataclass(frozen=True)
class CalledProduct:
    """How a model calls a product.

    Attributes:
        compute: its compute config; None where the device computes in float32 whatever it is asked
            for, attention too.
        weights: the format of its weights.
    """

    compute: ComputeConfig | None
    weights: str = "bfloat16"

    def of(self, linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """What a linear layer makes of x `[..., S, K]`, float32, before its result is rounded."""
        rows, depth, columns = x.shape[-2], linear.in_features, linear.out_features
        weight = linear.weight.float().T
        if self.weights in BLOCK_BITS:
            weight = rounding.blocks(weight, self.weights)
        bias = None if linear.bias is None else linear.bias.float()
        if self.compute is None:
            return torch.nn.functional.linear(x.float(), weight.T, bias)
        padding = -depth % TILE
        x = torch.nn.functional.pad(x.float(), (0, padding))
        weight = torch.nn.functional.pad(weight, (0, 0, 0, padding))
        if self.compute.fp32_dest_acc:
            phases = rounding.phases(x, weight, self.compute.fidelity)
            parts = [first.double() @ second.double() for first, second in phases]
            result = torch.stack(parts).sum(0).float()
        else:
            block = op_floors.default_k_block(rows, depth, columns)
            result = rounding.dot(
                x, weight, self.compute.fidelity, block, self.compute.packer_l1_acc
            )
        return result if bias is None else result + bias


@torch.no_grad()
def factor(hf_model: Any, ids: torch.Tensor, products: Iterable[CalledProduct]) -> float:
    """By how much the error of the logits is larger than that of the pass in bfloat16, at least 1.

    Args:
        hf_model: a causal language model of transformers, float32, attn_implementation="eager".
        ids: `[1, S]`.
        products: how the model calls them; that with the largest error counts.
    """
    exact = hf_model(ids, use_cache=False).logits[0].float()
    with bf16_pass.rounded(hf_model):
        usual = metrics.relative_l2(exact, hf_model(ids, use_cache=False).logits[0].float())
    errors = [usual]
    for product in products:
        with _called(hf_model, product), bf16_pass.rounded(hf_model):
            logits = hf_model(ids, use_cache=False).logits[0].float()
        errors.append(metrics.relative_l2(exact, logits))
    return max(errors) / usual if usual and math.isfinite(max(errors)) else 1.0


@contextlib.contextmanager
def _called(hf_model: Any, product: CalledProduct) -> Iterator[None]:
    """Within, linear layers and attention compute as on the device."""

    def linear(part: Any, args: tuple[torch.Tensor, ...], result: torch.Tensor) -> torch.Tensor:
        with torch._C.DisableTorchFunction():  # its steps have roundings of their own
            return product.of(part, args[0]).bfloat16().to(result.dtype)

    module = sys.modules[type(hf_model).__module__]
    with contextlib.ExitStack() as stack:
        for part in hf_model.modules():
            if isinstance(part, torch.nn.Linear):
                stack.callback(part.register_forward_hook(linear).remove)
        layer = stack.enter_context(Layer("attention as called", Level.STAND_IN))
        if product.compute is not None and hasattr(module, "eager_attention_forward"):
            layer.replace(module, "eager_attention_forward", _attention)
        yield


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """A modeling file's eager_attention_forward, by the kernel's steps."""
    with torch._C.DisableTorchFunction():
        _, result = rounded_attention(
            query, key, value, scale=scaling, causal=False, mask=attention_mask
        )
        return result.bfloat16().to(query.dtype).transpose(1, 2).contiguous(), None
