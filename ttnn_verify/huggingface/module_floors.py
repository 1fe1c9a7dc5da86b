"""The noise floors of Phi-3's modules, measured on Hugging Face's own modules.

The floors of single operations (`ttnn_verify.numerics.op_floors`) do not add up to that of a
module: attention to few tokens amplifies the rounding of a query, a gate near zero hides it. So the
module itself runs twice on the same input: exactly, and as a *rounded reference*, with every
intermediate result rounded to bfloat16 and attention computed as the kernel's documentation says.
The distance between the two is the floor: the error that a correct device may show. No emulation is
involved.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from torch.utils.hooks import RemovableHandle
from transformers.models.phi3 import modeling_phi3

from ttnn_verify.huggingface import submodules
from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.floors import Floor, between, chain, output
from ttnn_verify.numerics.kernel_floors.attention_floors import rounded_attention
from ttnn_verify.numerics.rounding import dot


def values(
    hf_model: transformers.PreTrainedModel, ids: torch.Tensor, by_default: bool = False
) -> dict[str, torch.Tensor]:
    """The rounded reference of `submodules.values`: each module inherits the errors before it.

    `by_default` is as of `rounded`.
    """
    with rounded(hf_model, by_default):
        return submodules.values(hf_model, ids)


@torch.no_grad()
def run(
    module: torch.nn.Module, x: torch.Tensor, by_default: bool = False, **options: Any
) -> torch.Tensor:
    """The rounded reference of one module on x, which is rounded to bfloat16 first; float32.

    Args:
        by_default: as of `rounded`.
        options: what the module's forward takes beside x.
    """
    with rounded(module, by_default):
        result = module(to_bf16(x), **options)
    return result[0] if isinstance(result, tuple) else result


def measured(exact: torch.Tensor, rounded_reference: torch.Tensor) -> Floor:
    """The floor that a rounded reference shows: at least one rounding of the result to bfloat16."""
    shown, last = between(exact.double(), rounded_reference), output(exact.double())
    return shown if shown.relative_l2 > last.relative_l2 else chain(shown, last)


@torch.no_grad()
def of_logits(
    hf_model: transformers.PreTrainedModel, ids: torch.Tensor, last: int | None = None
) -> Floor:
    """The floor of a model's logits over ids `[1, S]`.

    Args:
        hf_model: a float32 Phi3ForCausalLM, attn_implementation="eager"; it may be
            `submodules.streamed`.
        last: how many positions, from the end, whose logits count; None for all.

    Raises:
        ValueError, TypeError: as `submodules.check`; ValueError for another attention than eager.
    """
    submodules.check(hf_model, ids)
    rows = slice(0 if last is None else ids.shape[1] - last, None)
    exact = hf_model(ids, use_cache=False).logits[0, rows].float()
    with rounded(hf_model):
        rounded_reference = hf_model(ids, use_cache=False).logits[0, rows].float()
    return measured(exact, rounded_reference)


def to_bf16(x: torch.Tensor) -> torch.Tensor:
    """x rounded to bfloat16, in its own dtype."""
    return x.bfloat16().to(x.dtype)


@contextlib.contextmanager
def rounded(module: torch.nn.Module, by_default: bool = False) -> Iterator[None]:
    """Within, `module` and all below it keep bfloat16 between operations; weights are unchanged.

    Args:
        by_default: products and norms have the roundings of TTNN's default compute configs too
            (HiFi2 and HiFi4, a 16-bit destination), and not only that of their result. A product of
            K = 3072 then takes a second for a hundred rows.

    Raises:
        ValueError: an attention that is not "eager": its roundings could not be replaced.
    """
    for part in module.modules():
        kind = getattr(part.config, "_attn_implementation", None) if _attends(part) else "eager"
        if kind != "eager":
            raise ValueError(f"attn_implementation {kind!r}: a rounded reference needs 'eager'.")
    # imports ttnn, which is slow and not needed otherwise
    from ttnn_emulator.interpose import Layer, Level

    with contextlib.ExitStack() as stack:
        for handle in _hooks(module, _DEFAULT_STEPS if by_default else {}):
            stack.callback(handle.remove)
        layer = stack.enter_context(Layer("Hugging Face's functions, rounded", Level.STAND_IN))
        layer.replace(modeling_phi3, "apply_rotary_pos_emb", rope)
        layer.replace(modeling_phi3, "eager_attention_forward", _attention)
        yield


def _attends(part: torch.nn.Module) -> bool:
    return isinstance(part, modeling_phi3.Phi3Attention)


def _hooks(
    module: torch.nn.Module, steps: Mapping[type, Callable[[Any, torch.Tensor], torch.Tensor]]
) -> Iterator[RemovableHandle]:
    """Register the hooks that round; yields their handles.

    Args:
        steps: kind of module -> how it computes, where not as Hugging Face does.
    """
    for part in module.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding | modeling_phi3.Phi3RMSNorm):
            step = steps.get(type(part))
            yield part.register_forward_hook(
                lambda part, args, result, step=step: to_bf16(
                    step(part, args[0]) if step else result
                )
            )
        if isinstance(part, modeling_phi3.Phi3MLP):  # the product of gate and up
            yield part.down_proj.register_forward_pre_hook(lambda part, args: to_bf16(args[0]))
        if isinstance(part, modeling_phi3.Phi3DecoderLayer):
            # the sum is read twice, by the norm and by the next sum: it is rounded in place
            yield part.post_attention_layernorm.register_forward_pre_hook(_round_in_place)
            yield part.register_forward_hook(lambda part, args, result: to_bf16(result))


def _product(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """torch.nn.Linear as ttnn.linear computes it without a compute config."""
    rows, compute = x.shape[-2], op_floors.ComputeConfig()
    block = op_floors.default_k_block(rows, linear.in_features, linear.out_features)
    weight = linear.weight.float().T
    result = dot(x.float(), weight, compute.fidelity, block, compute.packer_l1_acc)
    return result if linear.bias is None else result + linear.bias.float()


def _norm(norm: modeling_phi3.Phi3RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """Phi3RMSNorm as ttnn.rms_norm computes it without a compute config."""
    return op_floors.rounded_rms_norm(x.float(), norm.weight.float(), norm.variance_epsilon)


_DEFAULT_STEPS: dict[type, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    torch.nn.Linear: _product,
    modeling_phi3.Phi3RMSNorm: _norm,
}


def _round_in_place(part: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
    args[0].copy_(to_bf16(args[0]))


def rope(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """apply_rotary_pos_emb with tables, products and sum in bfloat16."""
    cos, sin = (to_bf16(table.unsqueeze(unsqueeze_dim)) for table in (cos, sin))

    def rotated(x: torch.Tensor) -> torch.Tensor:
        return to_bf16(to_bf16(x * cos) + to_bf16(modeling_phi3.rotate_half(x) * sin))

    return rotated(q), rotated(k)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """eager_attention_forward as the kernel computes it with TTNN's default compute config.

    Dropout is off. Hugging Face's further arguments, such as the window, are part of the mask
    already.
    """
    _, result = rounded_attention(
        query, key, value, scale=scaling, causal=False, mask=attention_mask
    )
    return to_bf16(result).transpose(1, 2).contiguous(), None
