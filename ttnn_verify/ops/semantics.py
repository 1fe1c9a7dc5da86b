"""What an operation has to make of the very operands it was given, and how far off it may be.

Functions of `computing`, `attending` and `moving` take an operation's own arguments with torch tensors
for tensors (float32, integers int64), and before them a `Made`. Each returns a `Due`, or a list of one
per result. Operations without one are asked for TTNN's own golden function; those without either have
no golden.
"""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops import attending, computing, moving
from ttnn_verify.ops.expected import Due, NoGolden


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
        Due(
            one.double(),
            lambda one=one, out=out: op_floors.chain(*[op_floors.output(one.double(), out)] * 2),
        )
        for one, out in zip(results, made.dtypes, strict=True)
    ]


SEMANTICS = {
    "add": computing.binary(torch.add),
    "add_": computing.binary(torch.add),
    "chunked_scaled_dot_product_attention": attending.chunked_scaled_dot_product_attention,
    "clone": moving.as_it_was,
    "embedding": moving.embedding,
    "fill_cache": moving.fill_cache,
    "gelu": computing.unary("gelu"),
    "interleaved_to_sharded": moving.as_it_was,
    "linear": computing.linear,
    "matmul": computing.linear,
    "mul": computing.binary(torch.mul),
    "multiply": computing.binary(torch.mul),
    "multiply_": computing.binary(torch.mul),
    "nlp_concat_heads": moving.nlp_concat_heads,
    "nlp_concat_heads_decode": moving.nlp_concat_heads_decode,
    "nlp_create_qkv_heads": moving.nlp_create_qkv_heads,
    "nlp_create_qkv_heads_decode": moving.nlp_create_qkv_heads_decode,
    "paged_fill_cache": moving.paged_fill_cache,
    "paged_fused_update_cache": moving.paged_fused_update_cache,
    "paged_scaled_dot_product_attention_decode": attending.scaled_dot_product_attention_decode,
    "paged_update_cache": moving.paged_update_cache,
    "reallocate": moving.as_it_was,
    "reshape": moving.reshaped,
    "reshard": moving.as_it_was,
    "rms_norm": computing.rms_norm,
    "rotary_embedding": attending.rotary_embedding,
    "rotary_embedding_hf": attending.rotary_embedding_hf,
    "rotary_embedding_llama": attending.rotary_embedding_llama,
    "rotary_embedding_llama_fused_qk": attending.rotary_embedding_llama_fused_qk,
    "scaled_dot_product_attention": attending.scaled_dot_product_attention,
    "scaled_dot_product_attention_decode": attending.scaled_dot_product_attention_decode,
    "sharded_to_interleaved": moving.as_it_was,
    "silu": computing.unary("silu"),
    "softmax": computing.softmax,
    "subtract": computing.binary(torch.sub),
    "swiglu": computing.swiglu,
    "to_layout": moving.as_it_was,
    "to_memory_config": moving.as_it_was,
    "typecast": moving.as_it_was,
    "unsqueeze": moving.reshaped,
    "unsqueeze_to_4D": moving.reshaped,
    "squeeze": moving.reshaped,
    "update_cache": moving.update_cache,
    "view": moving.reshaped,
}

# Operations of TTNN's own golden functions that move data and compute nothing.
MOVEMENT = {
    "chunk",
    "plus_one",
    "concat",
    "pad",
    "permute",
    "repeat",
    "repeat_interleave",
    "slice",
    "split",
    "transpose",
}

# The same among `SEMANTICS`.
MOVEMENT |= {"nlp_concat_heads", "nlp_concat_heads_decode", "nlp_create_qkv_heads"}
MOVEMENT |= {"nlp_create_qkv_heads_decode"}
MOVEMENT |= {
    name for name, function in SEMANTICS.items() if function in (moving.reshaped, moving.as_it_was)
}


def moves(name):
    """Whether an operation, by its full name, moves data and computes nothing."""
    return name.rpartition(".")[2] in MOVEMENT


def picks(name):
    """Whether an operation moves data and its arguments say which elements, and in which order."""
    short = name.rpartition(".")[2]
    return moves(name) and SEMANTICS.get(short) not in (moving.reshaped, moving.as_it_was)


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
