"""Hugging Face's own pass in bfloat16, of any architecture: how far off that alone makes logits.

Every result of a torch function is rounded to bfloat16, except within norms, which Hugging Face
computes in float32; softmax, a single function, is rounded at its end. That is what
`model.to(torch.bfloat16)` computes, but for the order of sums, and needs no copy of the weights.
"""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ttnn_verify.numerics import floors
from ttnn_verify.weights import upcast


class _Rounding(TorchFunctionMode):
    """Rounds what torch functions return to bfloat16, where `inside` counts no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        floating = isinstance(result, torch.Tensor) and result.dtype == torch.float32
        if self.inside or not floating:
            return result
        return result.bfloat16().float()


@contextlib.contextmanager
def rounded(hf_model: torch.nn.Module) -> Iterator[None]:
    """Within, the model computes as in bfloat16; weights are unchanged."""
    mode = _Rounding()

    def enter(module: torch.nn.Module, args: Any) -> None:
        mode.inside += 1

    def leave(module: torch.nn.Module, args: Any, result: Any) -> Any:
        mode.inside -= 1
        return result.bfloat16().float() if isinstance(result, torch.Tensor) else result

    with contextlib.ExitStack() as stack:
        for module in hf_model.modules():
            name = type(module).__name__.lower()
            if "norm" in name or "rotary" in name:
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave).remove)
        stack.enter_context(mode)
        yield


@torch.no_grad()
def last_logits(hf_model: Any, ids: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[count, V]` after the last `count` of ids `[1, S]`: exact, and of the pass in bf16.

    Both in float32; exact is a pass in float32, whatever dtype the model has.

    Args:
        hf_model: a causal language model of transformers.
    """
    only = {}
    if "logits_to_keep" in inspect.signature(hf_model.forward).parameters:
        only["logits_to_keep"] = count
    with upcast.in_float32(hf_model):
        exact = hf_model(ids, use_cache=False, **only).logits[0, -count:].float()
        with rounded(hf_model):
            in_bfloat16 = hf_model(ids, use_cache=False, **only).logits[0, -count:].float()
    return exact, in_bfloat16


@torch.no_grad()
def of_logits(hf_model: Any, ids: torch.Tensor) -> floors.Floor:
    """The error of the logits of a pass in bfloat16 over ids `[1, S]`.

    Args:
        hf_model: a causal language model of transformers, in float32.
    """
    exact = hf_model(ids, use_cache=False).logits[0]
    with rounded(hf_model):
        in_bfloat16 = hf_model(ids, use_cache=False).logits[0]
    return floors.between(exact.double(), in_bfloat16.double())
