"""The noise floor of Phi-3's parts: Hugging Face's own modules once more, with a device's roundings.

The floors of single operations (`ttnn_verify.numerics.op_floors`) do not add up to that of a module: an attention that
looks at few tokens enlarges the rounding of a query, a gate near zero hides it. So the module itself
runs twice on the same input, exactly and with all that a bfloat16 device keeps between operations
rounded to bfloat16 and its attention computed as the kernel's documentation says. The distance is
what an honest device may be off. Nothing of any emulation takes part.
"""

import contextlib

import torch
from transformers.models.phi3 import modeling_phi3

from ttnn_verify.huggingface import submodules
from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.floors import Floor, between, chain, output


def values(hf_model, ids):
    """name -> float32 as `submodules.values`, of a pass in which each part inherits the noise of
    those before it."""
    with rounded(hf_model):
        return submodules.values(hf_model, ids)


@torch.no_grad()
def run(module, x, **kwargs):
    """A submodule's result on x, rounded to bf16 first, with the roundings; float32."""
    with rounded(module):
        result = module(to_bf16(x), **kwargs)
    return result[0] if isinstance(result, tuple) else result


def floor(exact, noisy):
    """The floor that a noisy result shows: at least one rounding of the result to bf16."""
    shown, last = between(exact.double(), noisy), output(exact.double())
    return shown if shown.relative_l2 > last.relative_l2 else chain(shown, last)


def larger(*floors):
    """The greatest of floors, of the whole and of the worst row."""
    return Floor(max(f.relative_l2 for f in floors), max(f.worst_row for f in floors))


def to_bf16(x):
    return x.bfloat16().to(x.dtype)


@contextlib.contextmanager
def rounded(module):
    """Within, `module` and all below it keep bfloat16 between operations; weights as they are."""
    from ttnn_emulator.interpose import Layer, Level  # brings in ttnn, slow and else not wanted

    with contextlib.ExitStack() as stack:
        for handle in _listen(module):
            stack.callback(handle.remove)
        layer = stack.enter_context(Layer("Hugging Face's functions, rounded", Level.STAND_IN))
        layer.replace(modeling_phi3, "apply_rotary_pos_emb", rope)
        layer.replace(modeling_phi3, "eager_attention_forward", _attention)
        yield


def _listen(module):
    """Hooks that round; yields their handles."""
    for part in module.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding | modeling_phi3.Phi3RMSNorm):
            yield part.register_forward_hook(lambda part, args, result: to_bf16(result))
        if isinstance(part, modeling_phi3.Phi3MLP):  # the product of gate and up
            yield part.down_proj.register_forward_pre_hook(lambda part, args: to_bf16(args[0]))
        if isinstance(part, modeling_phi3.Phi3DecoderLayer):
            # the sum is read twice, by the norm and by the next sum: it is rounded where it stands
            yield part.post_attention_layernorm.register_forward_pre_hook(_round_in_place)
            yield part.register_forward_hook(lambda part, args, result: to_bf16(result))


def _round_in_place(part, args):
    args[0].copy_(to_bf16(args[0]))


def rope(q, k, cos, sin, unsqueeze_dim=1):
    """apply_rotary_pos_emb with tables, products and sum in bf16."""
    cos, sin = (to_bf16(table.unsqueeze(unsqueeze_dim)) for table in (cos, sin))
    return tuple(
        to_bf16(to_bf16(x * cos) + to_bf16(modeling_phi3.rotate_half(x) * sin)) for x in (q, k)
    )


def _attention(module, query, key, value, attention_mask, scaling, **kwargs):
    """eager_attention_forward as the kernel computes it with TTNN's default compute config."""
    _, result = op_floors.rounded_attention(
        query, key, value, scale=scaling, causal=False, mask=attention_mask
    )
    return to_bf16(result).transpose(1, 2).contiguous(), None
