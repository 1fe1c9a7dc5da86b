"""What an operation has to make of the very operands it was given, and how far off it may be.

Functions take an operation's own arguments with torch tensors for tensors (float32, integers int64), and
before them a `Made`. Each returns a `Due`, or a list of one per result. Operations without a function
here are asked for TTNN's own golden function; those without either have no golden.

B batch, S sequence, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

import dataclasses
import math
from collections.abc import Callable

import torch

from verify import comparison_goldens, metrics, noise

WHOLE = Ellipsis


class NoGolden(NotImplementedError):
    """Nothing says what an operation, or an argument of one, makes of its operands."""


@dataclasses.dataclass(frozen=True)
class Made:
    """How a call's results are kept, and how strictly it is judged.

    Attributes:
        dtypes, shapes: of the results, by their names in `verify.metrics`.
        accurate: judge norms and products as if they had asked for the most accurate arithmetic.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    accurate: bool = False

    @property
    def out(self):
        return self.dtypes[0]


@dataclasses.dataclass(frozen=True)
class Due:
    """A result that is due.

    Attributes:
        value: float64; of data that only moves as it was.
        floor: makes the noise floor; None for data that only moves.
        region: an index of the part of the result that is compared, all else may be anything.
    """

    value: torch.Tensor
    floor: Callable | None = None
    region: object = WHOLE


def due(name, operation, made, args, kwargs):
    """A `Due` for each result of a call, or for each cache that it writes.

    Raises:
        NoGolden: nothing is known of the operation or of an argument.
        Exception: whatever a golden function raises.
    """
    short = name.rpartition(".")[2]
    if short in SEMANTICS:
        found = SEMANTICS[short](made, *args, **kwargs)
    else:
        found = _ttnns_own(operation, made, short, args, kwargs)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    return [one if isinstance(one, Due) else Due(one) for one in found]


def _ttnns_own(operation, made, short, args, kwargs):
    try:
        golden = operation.golden_function
    except RuntimeError:
        golden = None
    if golden is None:
        raise NoGolden(f"{short} has no golden function, here or in TTNN.")
    results = golden(*args, **kwargs)
    results = results if isinstance(results, (list, tuple)) else [results]
    if short in MOVEMENT:
        return [Due(one) for one in results]
    # what is known of the operation is that it rounds, and its vector function may as much again
    return [
        Due(one.double(), lambda one=one, out=out: noise.chain(*[noise.output(one.double(), out)] * 2))
        for one, out in zip(results, made.dtypes, strict=True)
    ]


# --- how a call computes -------------------------------------------------------------------------


def compute_of(config):
    """fidelity and fp32_dest_acc of a compute kernel config, nothing if there is none."""
    if config is None:
        return {}
    fidelity = config.math_fidelity.name
    known = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
    return {
        "fidelity": fidelity if fidelity in known else "LoFi",
        "fp32_dest_acc": config.fp32_dest_acc_en,
    }


ACCURATE = {"fidelity": "HiFi4", "fp32_dest_acc": True}

FUNCTIONS = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
}


def functions_of(activations):
    """Names in `FUNCTIONS` of fused activations: UnaryOpType, UnaryWithParam or strings."""
    names = []
    for one in activations or ():
        name = one if isinstance(one, str) else getattr(one, "op_type", one).name
        if name.lower() not in FUNCTIONS:
            raise NoGolden(f"the fused activation {name} has no golden.")
        names.append(name.lower())
    return names


def applied(x, names):
    for name in names:
        x = FUNCTIONS[name](x)
    return x


# --- products and norms --------------------------------------------------------------------------


def linear(
    made,
    input_tensor_a,
    input_tensor_b,
    *,
    bias=None,
    transpose_a=False,
    transpose_b=False,
    activation=None,
    compute_kernel_config=None,
    program_config=None,
    **_,
):
    a = input_tensor_a.mT if transpose_a else input_tensor_a
    b = input_tensor_b.mT if transpose_b else input_tensor_b
    fused = getattr(program_config, "fused_activation", None)
    names = functions_of([one for one in (fused, activation) if one])
    product = a.double() @ b.double()
    if bias is not None:
        product = product + bias.double()
    value = applied(product, names)

    def floor():
        how = ACCURATE if made.accurate else compute_of(compute_kernel_config)
        row = None if bias is None else bias.flatten()
        if compute_kernel_config is not None and not made.accurate:
            how |= {"packer_l1_acc": compute_kernel_config.packer_l1_acc}
        parts = [noise.matmul(a, b, bias=row, out=made.out, **how)]
        parts += [noise.vector(value, made.out, name) for name in names]
        return noise.chain(*parts)

    return Due(value, floor)


def rms_norm(
    made,
    input_tensor,
    *,
    epsilon=1e-12,
    weight=None,
    bias=None,
    residual_input_tensor=None,
    compute_kernel_config=None,
    **_,
):
    if bias is not None:
        raise NoGolden("rms_norm with a bias has no golden.")
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    row = None if weight is None else weight.reshape(-1)
    value = x.double() * (x.double().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    if row is not None:
        value = value * row.double()

    def floor():
        how = ACCURATE if made.accurate else compute_of(compute_kernel_config)
        found = noise.rms_norm(x, row, epsilon, out=made.out, **how)
        return found if residual_input_tensor is None else noise.chain(found, noise.output(x.double()))

    return Due(value, floor)


def softmax(made, input_tensor, dim=-1, **_):
    value = torch.softmax(input_tensor.double(), dim)
    return Due(value, lambda: noise.softmax(input_tensor, dim=dim, out=made.out))


# --- elementwise ---------------------------------------------------------------------------------


def binary(function):
    def semantic(
        made,
        input_tensor_a,
        input_tensor_b,
        *,
        activations=(),
        input_tensor_a_activations=(),
        input_tensor_b_activations=(),
        **_,
    ):
        lists = (input_tensor_a_activations, input_tensor_b_activations, activations)
        first, second, after = map(functions_of, lists)
        a, b = (x.double() if torch.is_tensor(x) else x for x in (input_tensor_a, input_tensor_b))
        value = applied(function(applied(a, first), applied(b, second)), after)
        names = [*first, *second, *after]

        def floor():
            parts = [noise.vector(value, made.out, name) for name in names]
            return noise.chain(noise.output(value, made.out), *parts)

        return Due(value, floor)

    return semantic


def unary(name):
    def semantic(made, input_tensor, **_):
        value = FUNCTIONS[name](input_tensor.double())
        return Due(value, lambda: noise.vector(value, made.out, name))

    return semantic


def swiglu(made, input_tensor, dim=-1, **_):
    first, gate = input_tensor.double().chunk(2, dim)
    value = first * FUNCTIONS["silu"](gate)
    return Due(value, lambda: noise.chain(*[noise.vector(value, made.out, "silu")] * 2))


# --- attention -----------------------------------------------------------------------------------


def scaled_dot_product_attention(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    *,
    attn_mask=None,
    is_causal=True,
    scale=None,
    sliding_window_size=None,
    attention_sink=None,
    output_concat_heads=False,
    compute_kernel_config=None,
    **_,
):
    if sliding_window_size or attention_sink is not None:
        raise NoGolden("attention with a sliding window or a sink has no golden.")
    q, k, v = input_tensor_q, input_tensor_k, input_tensor_v
    how = {"scale": scale, "causal": is_causal and attn_mask is None, "mask": attn_mask}
    value = attended(q, k, v, **how)

    def floor():
        return attention_floor(q, k, v, value, made, how, compute_kernel_config)

    return Due(value.transpose(1, 2).flatten(2)[:, None] if output_concat_heads else value, floor)


def chunked_scaled_dot_product_attention(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    page_table_tensor,
    chunk_start_idx=None,
    *,
    chunk_start_idx_tensor=None,
    scale=None,
    compute_kernel_config=None,
    **_,
):
    start = chunk_start_idx
    if chunk_start_idx_tensor is not None:
        start = int(chunk_start_idx_tensor.flatten()[0])
    length = start + input_tensor_q.shape[-2]
    k, v = (paged(cache, page_table_tensor, length) for cache in (input_tensor_k, input_tensor_v))
    how = {"scale": scale, "causal": True}
    value = attended(input_tensor_q, k, v, **how)

    def floor():
        return attention_floor(input_tensor_q, k, v, value, made, how, compute_kernel_config)

    return Due(value, floor)


def scaled_dot_product_attention_decode(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    page_table_tensor=None,
    *,
    is_causal=True,
    attn_mask=None,
    cur_pos=(),
    cur_pos_tensor=None,
    scale=None,
    share_cache=None,
    sliding_window_size=None,
    attention_sink=None,
    compute_kernel_config=None,
    **_,
):
    if not is_causal or attn_mask is not None or share_cache or sliding_window_size:
        raise NoGolden("decode attention with a mask, a window or a shared cache has no golden.")
    positions = torch.tensor(list(cur_pos)) if cur_pos_tensor is None else cur_pos_tensor.flatten()
    users = [user for user in range(input_tensor_q.shape[1]) if positions[user] >= 0]
    parts = []
    for user in users:
        rows = int(positions[user]) + 1
        q = input_tensor_q[0, user][None, :, None]
        if page_table_tensor is None:
            k, v = (x[user : user + 1, :, :rows] for x in (input_tensor_k, input_tensor_v))
        else:
            pages = page_table_tensor[user : user + 1]
            k, v = (paged(x, pages, rows) for x in (input_tensor_k, input_tensor_v))
        parts.append((q, k, v))
    how = {"scale": scale, "causal": False}
    values = [attended(*part, **how) for part in parts]
    value = torch.stack([one[0, :, 0] for one in values])

    def floor():
        floors = [
            attention_floor(*part, one, made, how, compute_kernel_config)
            for part, one in zip(parts, values, strict=True)
        ]
        return noise.Floor(
            max(one.relative_l2 for one in floors), max(one.worst_row for one in floors)
        )

    return Due(value[None], floor, (slice(None), users))


def attended(q, k, v, **how):
    """softmax(q k^T scale + mask) v in float64; [B, N, S, D], [B, K, C, D] twice."""
    weights, v = attention_weights(q, k, v, **how)
    return weights @ v


def attention_floor(q, k, v, value, made, how, config):
    """The noise floor of attention, of a few queries too.

    `noise.attention` shows an example of the roundings. Of one query and few keys that matter it may be
    a lucky one, as the weights' errors are few and all columns share them: so at least what those
    errors come to on average, a deviation of `noise.VECTOR_RELATIVE` of each weight.
    """
    shown = noise.attention(q, k, v, out=made.out, **how, **compute_of(config))
    weights, v = attention_weights(q, k, v, **how)
    spread = weights.square() @ v.square() - 2 * value * (weights.square() @ v)
    spread = spread + value.square() * weights.square().sum(-1, keepdim=True)
    off = value + noise.VECTOR_RELATIVE["exp_approximate"] * spread.clamp(min=0).sqrt()
    rows = value.numel() // value.shape[-1]
    whole, row = (noise.between(value, off, count) for count in (rows, 1))
    return noise.Floor(
        max(shown.relative_l2, whole.relative_l2), max(shown.worst_row, row.worst_row)
    )


def attention_weights(q, k, v, *, scale=None, causal=True, mask=None):
    """softmax(q k^T scale + mask), and the values [B, N, C, D] to be weighted by it, in float64."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), *(x.double().repeat_interleave(groups, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool)
        scores = scores.masked_fill(hidden.triu(1 + k.shape[-2] - q.shape[-2]), -math.inf)
    if mask is not None:
        scores = scores + mask.double()
    return torch.softmax(scores, -1), v


def paged(cache, table, rows):
    """[P, K, block, D] -> [B, K, rows, D]: the first rows of each row of a page table."""
    pages = table[:, : -(-rows // cache.shape[2])].long()
    return cache[pages].transpose(1, 2).flatten(2, 3)[:, :, :rows]


# --- rotary embeddings ---------------------------------------------------------------------------


def rotary_embedding(made, input_tensor, cos_cache, sin_cache, token_index=None, **_):
    start, rows = (0, input_tensor.shape[-2]) if token_index is None else (token_index, 1)
    tables = (table[..., start : start + rows, :] for table in (cos_cache, sin_cache))
    return _by_halves(made, input_tensor, *tables)


def rotary_embedding_hf(made, input_tensor, cos_cache, sin_cache, *, is_decode_mode=False, **_):
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    return _by_halves(made, input_tensor, cos_cache[..., :rows, :], sin_cache[..., :rows, :])


def _by_halves(made, x, cos, sin):
    value = comparison_goldens.by_halves(x.double(), cos.double(), sin.double()).double()
    # the operation's result has whole tiles of rows
    region = (Ellipsis, slice(0, x.shape[-2]), slice(None))
    return Due(value, lambda: noise.rotary(x, cos, sin, out=made.out), region)


def rotary_embedding_llama(
    made, input_tensor, cos_cache, sin_cache, trans_mat, *, is_decode_mode=False, **_
):
    rows = 1 if is_decode_mode else min(input_tensor.shape[-2], cos_cache.shape[-2])
    x = input_tensor if is_decode_mode else input_tensor[..., :rows, :]
    return _by_pairs(made, x, cos_cache[..., :rows, :], sin_cache[..., :rows, :], trans_mat)


def rotary_embedding_llama_fused_qk(
    made, q_input_tensor, k_input_tensor, cos_cache, sin_cache, trans_mat, **_
):
    users = q_input_tensor.shape[1]
    return [
        _by_pairs(made, x, cos_cache[:, part, :1], sin_cache[:, part, :1], trans_mat)
        for x, part in (
            (q_input_tensor, slice(0, users)),
            (k_input_tensor, slice(users, 2 * users)),
        )
    ]


def _by_pairs(made, x, cos, sin, trans_mat):
    turn = trans_mat.reshape(-1, 32, 32)[0]
    turned = (x.unflatten(-1, (-1, 32)) @ turn).flatten(-2)
    value = x.double() * cos.double() + turned.double() * sin.double()
    region = (Ellipsis, slice(0, x.shape[-2]), slice(None))
    return Due(value, lambda: noise.rotary(x, cos, sin, rotated=turned, out=made.out), region)


# --- data that only moves ------------------------------------------------------------------------


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
    return Due(tensor.double(), lambda: noise.typecast(tensor.double(), made.out))


def nlp_create_qkv_heads(made, input, input_kv=None, **how):
    return list(comparison_goldens.nlp_create_qkv_heads(input, input_kv, **how))


def nlp_create_qkv_heads_decode(made, input_tensor, **how):
    found = comparison_goldens.nlp_create_qkv_heads_decode(input_tensor, **how)
    users = made.shapes[0][1]
    return [Due(one[:, :users]) for one in found]


def nlp_concat_heads(made, input_tensor, **_):
    return comparison_goldens.nlp_concat_heads(input_tensor)


def nlp_concat_heads_decode(made, input_tensor, *, num_heads, **_):
    value = input_tensor[:, :, :num_heads].flatten(2)[:, None]
    return Due(value, None, (slice(None), slice(None), slice(0, value.shape[2])))


def fill_cache(made, cache_tensor, input_tensor, batch_idx=0, *, update_idx=0, **_):
    """Whole tiles are written: what the padding rows hold is nobody's business."""
    cache, end = cache_tensor.clone(), update_idx + input_tensor.shape[2]
    cache[batch_idx, :, update_idx:end] = input_tensor[0]
    if end % comparison_goldens.TILE == 0:
        return Due(cache)
    region = torch.ones(cache.shape, dtype=torch.bool)
    region[batch_idx, :, end : end + -end % comparison_goldens.TILE] = False
    return Due(cache[region], None, region)


def update_cache(made, cache, input, update_idx, *, batch_offset=0, **_):
    cache = cache.clone()
    cache[:, :, update_idx] = input[0, :, batch_offset : batch_offset + len(cache)].transpose(0, 1)
    return Due(cache)


def paged_update_cache(made, *args, **kwargs):
    return comparison_goldens.paged_update_cache(*args, **kwargs)


def paged_fused_update_cache(made, *args, **kwargs):
    return list(comparison_goldens.paged_fused_update_cache(*args, **kwargs))


def paged_fill_cache(made, *args, **kwargs):
    return comparison_goldens.paged_fill_cache(*args, **kwargs)


SEMANTICS = {
    "add": binary(torch.add),
    "add_": binary(torch.add),
    "chunked_scaled_dot_product_attention": chunked_scaled_dot_product_attention,
    "clone": as_it_was,
    "embedding": embedding,
    "fill_cache": fill_cache,
    "gelu": unary("gelu"),
    "interleaved_to_sharded": as_it_was,
    "linear": linear,
    "matmul": linear,
    "mul": binary(torch.mul),
    "multiply": binary(torch.mul),
    "multiply_": binary(torch.mul),
    "nlp_concat_heads": nlp_concat_heads,
    "nlp_concat_heads_decode": nlp_concat_heads_decode,
    "nlp_create_qkv_heads": nlp_create_qkv_heads,
    "nlp_create_qkv_heads_decode": nlp_create_qkv_heads_decode,
    "paged_fill_cache": paged_fill_cache,
    "paged_fused_update_cache": paged_fused_update_cache,
    "paged_scaled_dot_product_attention_decode": scaled_dot_product_attention_decode,
    "paged_update_cache": paged_update_cache,
    "reallocate": as_it_was,
    "reshape": reshaped,
    "reshard": as_it_was,
    "rms_norm": rms_norm,
    "rotary_embedding": rotary_embedding,
    "rotary_embedding_hf": rotary_embedding_hf,
    "rotary_embedding_llama": rotary_embedding_llama,
    "rotary_embedding_llama_fused_qk": rotary_embedding_llama_fused_qk,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "scaled_dot_product_attention_decode": scaled_dot_product_attention_decode,
    "sharded_to_interleaved": as_it_was,
    "silu": unary("silu"),
    "softmax": softmax,
    "subtract": binary(torch.sub),
    "swiglu": swiglu,
    "to_layout": as_it_was,
    "to_memory_config": as_it_was,
    "typecast": as_it_was,
    "unsqueeze": reshaped,
    "unsqueeze_to_4D": reshaped,
    "squeeze": reshaped,
    "update_cache": update_cache,
    "view": reshaped,
}

# Operations of TTNN's own golden functions that move data and compute nothing.
MOVEMENT = {
    "chunk",
    "concat",
    "pad",
    "permute",
    "repeat",
    "repeat_interleave",
    "slice",
    "split",
    "transpose",
}

# Ways between host and device, and calls that make no result: nothing is computed.
NOT_JUDGED = {
    "allocate_tensor_on_device",
    "as_tensor",
    "copy_host_to_device_tensor",
    "deallocate",
    "empty",
    "from_device",
    "from_torch",
    "full",
    "ones",
    "synchronize_device",
    "to_device",
    "to_torch",
    "zeros",
}

# Families of operations that compute: each is made exact in turn to see what it costs.
FAMILIES = {
    "products": {"linear", "matmul", "minimal_matmul"},
    "norms": {"rms_norm", "layer_norm"},
    "rotary": {name for name in SEMANTICS if name.startswith("rotary")},
    "attention": {name for name in SEMANTICS if "attention" in name},
    "elementwise": {"add", "add_", "mul", "multiply", "multiply_", "silu", "gelu", "swiglu"},
}
