"""Arithmetic as the device's kernels do it, step by step: the same functions as `rounded`.

Functions take the operands' contents in storage dtype and return float32 values as the packer
leaves them in the output's format, or integers.  Where the caller gives no compute kernel
configuration the operation's own default holds.
"""

from dataclasses import replace

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact import (
    cache_attention,
    layer_norms,
    norms,
    prompt_attention,
    reductions,
    rotations,
)
from ttnn_emulator.arithmetic.exact.attention_steps import Config
from ttnn_emulator.arithmetic.exact.elementwise import (
    INTEGERS,
    binary,
    moved,
    step_in_dest,
    stored,
    typecast,
    unary,
    where,
)
from ttnn_emulator.arithmetic.exact.matrix import matrix_plan, matrix_unit
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.rounded import rounded
from ttnn_emulator.arithmetic.rounded.rounded import rotate_half, wide

TILE = 32

# Ways that fork on sizes, beside what a call's arguments say.
SEVERAL_K_BLOCKS = paths.Fact("several blocks of K")
SEVERAL_CHUNKS = paths.Fact("several chunks of keys")
SEVERAL_CORES = paths.Fact("merged from several cores")

# What the kernels do otherwise, step by step.
WIDE_SINK = paths.approximation("a sink beside a 32-bit destination in float32")
DECODE_WINDOW = paths.approximation("a window of decode attention in float32")
INTEGER_MEAN = paths.approximation("the mean of integers in float32")

# --- matrix products -----------------------------------------------------------------------------

_weights = WeakTensorKeyDictionary()  # contents of a buffer -> (version, what was found out)


def matmul(
    a,
    b,
    bias=None,
    *,
    product,
    compute=None,
    cores=(8, 8),
    core_grid=None,
    planned=False,
    k_block=None,
    steps=(),
):
    """Matrix product; arguments as for `rounded.matmul`."""
    if compute is None:
        planned = planned or core_grid is not None
        compute = matrix_plan.default_compute(
            product.activation, product.weight, product.out, planned
        )
    wide_dst = compute.fp32_dest_acc
    product = replace(product, fp32_dest_acc=wide_dst)
    if k_block is None and core_grid is not None:
        k_block = matrix_plan.core_grid_k_block(product, core_grid)
    elif k_block is None:
        k_block = matrix_plan.default_k_block(product, cores)

    if k_block * TILE < product.depth:
        paths.tell(SEVERAL_K_BLOCKS)

    def fused(dst):
        for step in steps:
            dst = step_in_dest(step, dst, wide_dst)
        return dst

    return matrix_unit.matmul(
        a,
        _prepared(b, wide_dst),
        fidelity=compute.fidelity,
        fp32_dest_acc=wide_dst,
        packer_l1_acc=compute.packer_l1_acc,
        k_block_tiles=k_block,
        bias=bias,
        fused=fused if steps else None,
        out=product.out,
    )


def _prepared(weight, wide_dst):
    """A `matrix_unit.Weight`; what has to be found out about a buffer's contents is found out once.

    A weight that the matrix unit's code can read where it lies is laid out anew each time, which
    costs nothing: to keep it would keep the contents alive.
    """
    key = weight if weight._base is None else weight._base
    place = (weight._version, weight.data_ptr(), weight.shape, weight.stride(), wide_dst)
    known = _weights.get(key)
    if known is not None and known[0] == place:
        kept = known[1]
        if isinstance(kept, matrix_unit.Weight):
            return kept
        return matrix_unit.weight_in_place(weight, kept)
    readable = weight if weight.dtype == torch.bfloat16 else matrix_unit.unpack(weight, wide_dst)
    prepared = matrix_unit.prepare_weight(readable)
    shared = matrix_unit.lies_in(prepared, weight)
    _weights[key] = (place, prepared.largest_exponent if shared else prepared)
    return prepared


def arranged(contents):
    """A tensor on its way to the device; the matrix unit's code reads rows, as they come."""
    return contents


# --- normalization -------------------------------------------------------------------------------

# Compute kernel configurations of ops that are given none (those of TTNN 0.81.1, as its runtime
# asks for them).
RMS_NORM = Compute("HiFi4", approximate=True)
LAYER_NORM = Compute("HiFi4", fp32_dest_acc=True)
SOFTMAX = Compute("HiFi3", approximate=True, fp32_dest_acc=True)
REDUCE = Compute("HiFi3", fp32_dest_acc=True)
ATTENTION = Compute("HiFi2", approximate=True)
ROTARY = Compute("HiFi4")


def rms_norm(
    x,
    weight=None,
    bias=None,
    residual=None,
    *,
    epsilon,
    width=None,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """Root mean square norm; arguments as for `rounded.rms_norm`."""
    compute = compute or RMS_NORM
    return norms.rms_norm(
        x,
        weight,
        bias,
        epsilon=epsilon,
        width=width,
        residual=residual,
        fidelity=compute.fidelity,
        approximate=compute.approximate,
        fp32_dest=compute.fp32_dest_acc,
        out=out,
    )


def layer_norm(
    x,
    weight=None,
    bias=None,
    residual=None,
    *,
    epsilon,
    width=None,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """Layer norm; arguments as for `rounded.rms_norm`."""
    compute = compute or LAYER_NORM
    return layer_norms.layer_norm(
        x,
        weight,
        bias,
        epsilon=epsilon,
        width=width,
        residual=residual,
        fidelity=compute.fidelity,
        approximate=compute.approximate,
        fp32_dest=compute.fp32_dest_acc,
        dtype=dtype,
        out=out,
    )


def softmax(
    x,
    dim=-1,
    *,
    width=None,
    scale=None,
    mask=None,
    numeric_stable=True,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """Softmax; arguments as for `rounded.softmax`."""
    float32 = dtype == "float32"
    wide_exponentials = float32 or (compute is not None and compute.fp32_dest_acc)
    compute = compute or replace(SOFTMAX, approximate=not float32)
    how = {
        "fidelity": compute.fidelity,
        "approximate": compute.approximate,
        "fp32_dest": compute.fp32_dest_acc,
        "dtype": dtype,
        "out": out,
    }
    dim %= x.dim()
    if dim == x.dim() - 2:
        return norms.softmax_over_height(x, **how)
    if dim < x.dim() - 2:
        return norms.softmax_over_leading(x, dim, **how)
    return norms.softmax(
        x,
        width=width,
        stable=numeric_stable,
        scale=scale,
        mask=mask,
        wide_exponentials=wide_exponentials,
        **how,
    )


# --- reductions ----------------------------------------------------------------------------------


def reduce(
    operation,
    x,
    dims,
    *,
    scalar=1.0,
    compute=None,
    fast=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """Reduction; arguments as for `rounded.reduce`."""
    if dtype in INTEGERS:
        if operation == "mean":
            paths.tell(INTEGER_MEAN)
        return rounded.reduce(operation, x, dims, scalar=scalar)
    compute = compute or REDUCE
    return reductions.reduce(
        operation,
        x,
        dims,
        scalar=scalar,
        fidelity=compute.fidelity,
        fp32_dest=compute.fp32_dest_acc,
        fast_and_approximate=bool(fast),
        dtype=dtype,
        out=out,
    )


def variance(x, dims, correction, *, scalar=1.0, compute=None, out="bfloat16"):
    """Variance; arguments as for `rounded.variance`."""
    fp32_dest = (compute or REDUCE).fp32_dest_acc
    return reductions.variance(x, dims, correction, scalar=scalar, fp32_dest=fp32_dest, out=out)


def standard_deviation(x, dims, correction, *, scalar=1.0, compute=None, out="bfloat16"):
    """Standard deviation; arguments as for `rounded.variance`."""
    compute = compute or REDUCE
    return reductions.standard_deviation(
        x,
        dims,
        correction,
        scalar=scalar,
        approximate=compute.approximate,
        fp32_dest=compute.fp32_dest_acc,
        out=out,
    )


# --- attention and rotary embeddings -------------------------------------------------------------


def rotary(x, cos, sin, *, table="bfloat16", out="bfloat16"):
    """Rotation by halves; arguments as for `rounded.rotary`."""
    return rotations.rotary(x, cos, sin, table=table, out=out)


def rotary_pairs(x, cos, sin, transformation, *, compute=None):
    """Rotation by a transformation matrix; arguments as for `rounded.rotary_pairs`."""
    compute = compute or ROTARY
    return rotations.rotary_pairs(
        x, cos, sin, transformation, fidelity=compute.fidelity, fp32_dest=compute.fp32_dest_acc
    )


def attention(query, key, value, *, compute=None, program=None, **arguments):
    """Attention over a prompt; arguments as for `rounded.attention`.

    A sink beside a 32-bit destination is computed in float32 and rounded once.
    """
    if arguments.get("sink") is not None and compute is not None and compute.fp32_dest_acc:
        paths.tell(WIDE_SINK)
        result = rounded.attention(query, key, value, **arguments)
        return pack(result, arguments.get("out", "bfloat16"), wide=True)
    chunks = {}
    if program is not None:
        chunks = {"q_chunk": program.q_chunk or 32, "k_chunk": program.k_chunk or 32}
    config = _attention_config(compute, program, **chunks)
    if key.shape[2] > config.k_chunk:
        paths.tell(SEVERAL_CHUNKS)
    return prompt_attention.attention(query, key, value, config=config, **arguments)


def attention_rows(last, capacity, program):
    """Rows of a cache that are read for queries that see the first `last`: whole chunks."""
    chunk = _decode_chunk(capacity, program)
    return min(-(-last // chunk) * chunk, capacity)


def attention_decode(
    query,
    key,
    value,
    *,
    capacity,
    users,
    cores,
    compute=None,
    program=None,
    window=None,
    **arguments,
):
    """Attention over a cache; arguments as for `rounded.attention_decode`.

    A sliding window is computed in float32 and rounded once.
    """
    if window:
        paths.tell(DECODE_WINDOW)
        result = rounded.attention_decode(query, key, value, window=window, **arguments)
        return pack(result, arguments.get("out", "bfloat16"), wide=True)
    limit = None
    if program is not None:
        cores, limit = program.cores, program.cores_per_head
    shared = cache_attention.cores_per_head(cores[0] * cores[1], users, key.shape[1], limit)
    config = _attention_config(compute, program, k_chunk=_decode_chunk(capacity, program))
    chunks = -(-key.shape[2] // config.k_chunk)
    if min(shared, chunks) > 1:
        paths.tell(SEVERAL_CORES)
    if chunks > shared:
        paths.tell(SEVERAL_CHUNKS)
    return cache_attention.attention_decode(
        query, key, value, cores=shared, config=config, **arguments
    )


def _decode_chunk(capacity, program):
    chunk = program.k_chunk if program is not None else 0
    return chunk or cache_attention.default_chunk(capacity)


def _attention_config(compute, program, **chunks):
    compute = compute or ATTENTION
    return Config(
        fidelity=compute.fidelity,
        approximate=compute.approximate,
        fp32_dest=compute.fp32_dest_acc,
        exp_approximate=program is None or program.exp_approximate,
        **chunks,
    )


__all__ = [
    "arranged",
    "attention",
    "attention_decode",
    "attention_rows",
    "binary",
    "layer_norm",
    "matmul",
    "moved",
    "reduce",
    "rms_norm",
    "rotary",
    "rotary_pairs",
    "rotate_half",
    "softmax",
    "standard_deviation",
    "stored",
    "typecast",
    "unary",
    "variance",
    "where",
    "wide",
]
