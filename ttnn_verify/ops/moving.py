"""What operations that only move data make of their operands: heads, caches, shapes, places.

Functions as `semantics` wants them. B batch, S sequence, N heads, K kv heads, D head_dim, C cache length.
"""

import torch

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops import comparison
from ttnn_verify.ops.expected import Due


def embedding(made, input_tensor, weight, **_):
    rows = weight.reshape(-1, weight.shape[-1])[input_tensor.flatten().long()]
    return Due(rows.reshape(made.shapes[0]))


def reshaped(made, input_tensor, *shape, **_):
    """The elements in their order: the shape is TTNN's own affair, it is checked by its host side."""
    return Due(input_tensor.reshape(made.shapes[0]))


def as_it_was(made, tensor, *_, **__):
    """Another place, layout or format; a format of fewer bits rounds."""
    fits = made.out != "bfloat16" or torch.equal(tensor.bfloat16().float(), tensor)
    if not tensor.is_floating_point() or fits and made.out not in metrics.BLOCK_BITS:
        return Due(tensor)
    return Due(tensor.double(), lambda: op_floors.typecast(tensor.double(), made.out))


def nlp_create_qkv_heads(made, input, input_kv=None, **how):
    return list(comparison.nlp_create_qkv_heads(input, input_kv, **how))


def nlp_create_qkv_heads_decode(made, input_tensor, **how):
    found = comparison.nlp_create_qkv_heads_decode(input_tensor, **how)
    users = made.shapes[0][1]
    return [Due(one[:, :users]) for one in found]


def nlp_concat_heads(made, input_tensor, **_):
    return comparison.nlp_concat_heads(input_tensor)


def nlp_concat_heads_decode(made, input_tensor, *, num_heads, **_):
    value = input_tensor[:, :, :num_heads].flatten(2)[:, None]
    return Due(value, None, (slice(None), slice(None), slice(0, value.shape[2])))


def fill_cache(made, cache_tensor, input_tensor, batch_idx=0, *, update_idx=0, **_):
    """Whole tiles are written: what the padding rows hold is nobody's business."""
    cache, end = cache_tensor.clone(), update_idx + input_tensor.shape[2]
    cache[batch_idx, :, update_idx:end] = input_tensor[0]
    if end % comparison.TILE == 0:
        return Due(cache)
    region = torch.ones(cache.shape, dtype=torch.bool)
    region[batch_idx, :, end : end + -end % comparison.TILE] = False
    return Due(cache[region], None, region)


def update_cache(made, cache, input, update_idx, *, batch_offset=0, **_):
    cache = cache.clone()
    cache[:, :, update_idx] = input[0, :, batch_offset : batch_offset + len(cache)].transpose(0, 1)
    return Due(cache)


def paged_update_cache(made, *args, **kwargs):
    return comparison.paged_update_cache(*args, **kwargs)


def paged_fused_update_cache(made, *args, **kwargs):
    return list(comparison.paged_fused_update_cache(*args, **kwargs))


def paged_fill_cache(made, *args, **kwargs):
    return comparison.paged_fill_cache(*args, **kwargs)
