"""Arithmetic as the device's kernels do it, step by step.

`interface.Arithmetic` documents the functions. They return float32 values as the packer leaves them
in the output's format, or integers. A compute kernel configuration of None is the operation's own
default.
"""

from dataclasses import replace

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import (
    CAUSAL,
    ON_ALL_CORES,
    AttentionProgram,
    Blocking,
    CacheScores,
    Compute,
    DecodeWork,
    FusedOp,
    Product,
    PromptScores,
)
from ttnn_emulator.arithmetic.exact import (
    cache_attention,
    elementwise,
    layer_norms,
    norms,
    partial_norms,
    prompt_attention,
    reductions,
    rotations,
)
from ttnn_emulator.arithmetic.exact.along import (
    accumulations,
    group_norms,
    latent_states,
    ordering,
    products,
    scattering,
    split_norms,
    token_sampling,
)
from ttnn_emulator.arithmetic.exact.attention_steps import (
    ATTENTION,
    SMALLEST_CHUNKS,
    AttentionConfig,
)
from ttnn_emulator.arithmetic.exact.eltwise import binary_kernels, ternary_kernels
from ttnn_emulator.arithmetic.exact.matrix import matrix_plan, matrix_unit
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.arithmetic.rounded import rounded, rounded_along, rounded_attention

# Torch only prepares and rounds what kernels compute in threads of their own. To wake another of
# its threads takes as long as one needs for half a million values, in each of some ten steps.
ONE_THREAD = 1 << 21

# Branches that depend on sizes, not only on a call's arguments.
SEVERAL_K_BLOCKS = paths.Fact("several blocks of K")
SEVERAL_CHUNKS = paths.Fact("several chunks of keys")
SEVERAL_CORES = paths.Fact("merged from several cores")

# Computed more simply than the kernels do it.
FP32_DEST_SINK = paths.approximation("a sink beside a 32-bit destination in float32")
DECODE_WINDOW = paths.approximation("a window of decode attention in float32")
INTEGER_MEAN = paths.approximation("the mean of integers in float32")

# Functions that are implemented in modules of their own.
binary = binary_kernels.binary
chip_sum = elementwise.chip_sum
moved = elementwise.moved
stored = elementwise.stored
typecast = elementwise.typecast
unary = elementwise.unary
ternary = ternary_kernels.ternary
rms_norm = norms.rms_norm
layer_norm = layer_norms.layer_norm
norm_statistics = partial_norms.norm_statistics
norm_from_statistics = partial_norms.norm_from_statistics
split_layer_norm = split_norms.split_layer_norm
split_rms_norm = split_norms.split_rms_norm
split_statistics = split_norms.split_statistics
split_norm_from_statistics = split_norms.split_norm_from_statistics
softmax = norms.softmax
group_norm = group_norms.group_norm
variance = reductions.variance
standard_deviation = reductions.standard_deviation
tile_sum = products.tile_sum
product = products.product
cumulative = accumulations.cumulative
moving_average = accumulations.moving_average
state_scan = latent_states.state_scan
latent_product = latent_states.latent_product
latent_sum = latent_states.latent_sum
scattered = scattering.scattered
sorted_rows = ordering.sorted_rows
top_of_rows = ordering.top_of_rows
sampled = token_sampling.sampled
expert_share = token_sampling.expert_share
grouped_gate = rounded_along.grouped_gate
rotary = rotations.rotary
rotary_pairs = rotations.rotary_pairs
rotate_half = rounded_attention.rotate_half

# --- matrix products -----------------------------------------------------------------------------

# A buffer's contents -> (what identifies their version, the `Weight` prepared from them). For a
# weight that is read in place only its largest exponent is kept.
_weights = WeakTensorKeyDictionary()


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    product: Product,
    compute: Compute | None = None,
    blocking: Blocking = ON_ALL_CORES,
    fused: tuple[FusedOp, ...] = (),
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    core_grid, k_block = blocking.core_grid, blocking.k_block
    if compute is None:
        planned = blocking.planned or core_grid is not None
        compute = matrix_plan.default_compute(
            product.activation, product.weight, product.out, planned
        )
    fp32_dest_acc = compute.fp32_dest_acc
    product = replace(product, fp32_dest_acc=fp32_dest_acc)
    if k_block is None and core_grid is not None:
        k_block = matrix_plan.core_grid_k_block(product, core_grid)
    elif k_block is None:
        k_block = matrix_plan.default_k_block(product, blocking.cores)

    if k_block * TILE < product.depth:
        paths.tell(SEVERAL_K_BLOCKS)

    def fused_in_dest(dst: torch.Tensor) -> torch.Tensor:
        for op in fused:
            dst = elementwise.in_dest(op, dst, fp32_dest_acc)
        return dst

    return matrix_unit.matmul(
        a,
        _prepared(b, fp32_dest_acc),
        compute=compute,
        k_block_tiles=k_block,
        bias=bias,
        fused=fused_in_dest if fused else None,
        out=product.out,
    )


def _prepared(weight: torch.Tensor, fp32_dest_acc: bool) -> matrix_unit.Weight:
    """The `matrix_unit.Weight` of a buffer's contents, which are scanned once per version.

    A weight that is read in place is wrapped anew at each call, which costs nothing: caching it
    would keep the contents alive.
    """
    key = weight if weight._base is None else weight._base
    place = (weight._version, weight.data_ptr(), weight.shape, weight.stride(), fp32_dest_acc)
    surveyed_place, result = _weights.get(key, (None, None))
    if surveyed_place == place:
        if isinstance(result, matrix_unit.Weight):
            return result
        return matrix_unit.weight_in_place(weight, result)
    bfloat16 = weight.dtype == torch.bfloat16
    readable = weight if bfloat16 else matrix_unit.unpack(weight, fp32_dest_acc)
    prepared = matrix_unit.prepare_weight(readable)
    shared = matrix_unit.lies_in(prepared, weight)
    _weights[key] = (place, prepared.largest_exponent if shared else prepared)
    return prepared


def arranged(contents: torch.Tensor) -> torch.Tensor:
    """See `interface.Arithmetic`; row-major already, as the matrix unit's code reads it."""
    return contents


# --- reductions ----------------------------------------------------------------------------------


def reduce(
    operation: str,
    x: torch.Tensor,
    dims: tuple[int, ...],
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    fast: bool | None = None,
    dtype: str = "bfloat16",
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    if dtype in elementwise.INTEGERS:
        if operation == "mean":
            paths.tell(INTEGER_MEAN)
        return rounded.reduce(operation, x, dims, scalar=scalar)
    return reductions.reduce(
        operation,
        x,
        dims,
        scalar=scalar,
        compute=compute or reductions.REDUCE,
        fast=bool(fast),
        dtype=dtype,
        out=out,
    )


# --- attention -----------------------------------------------------------------------------------


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: PromptScores = CAUSAL,
    program: AttentionProgram | None = None,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    A sink beside a 32-bit destination is computed in float32 and rounded once.
    """
    compute = compute or ATTENTION
    if scores.sink is not None and compute.fp32_dest_acc:
        paths.tell(FP32_DEST_SINK)
        result = rounded.attention(query, key, value, scores=scores)
        return pack(result, out, fp32_dest_acc=True)
    program = program or SMALLEST_CHUNKS
    program = replace(program, q_chunk=program.q_chunk or TILE, k_chunk=program.k_chunk or TILE)
    if key.shape[2] > program.k_chunk:
        paths.tell(SEVERAL_CHUNKS)
    config = AttentionConfig(compute, program)
    return prompt_attention.attention(query, key, value, scores=scores, config=config, out=out)


def attention_rows(last: int, capacity: int, program: AttentionProgram | None) -> int:
    """See `interface.Arithmetic`: whole chunks."""
    chunk = _decode_chunk(capacity, program)
    return min(ceil_div(last, chunk) * chunk, capacity)


def attention_decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: CacheScores,
    work: DecodeWork,
    program: AttentionProgram | None = None,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    A sliding window is computed in float32 and rounded once.
    """
    if scores.window:
        paths.tell(DECODE_WINDOW)
        result = rounded.attention_decode(query, key, value, scores=scores, work=work)
        return pack(result, out, fp32_dest_acc=True)
    cores, limit = work.cores, None
    if program is not None:
        cores, limit = program.cores, program.cores_per_head
    shared = cache_attention.cores_per_head(cores[0] * cores[1], work.users, key.shape[1], limit)
    k_chunk = _decode_chunk(work.capacity, program)
    chunks = ceil_div(key.shape[2], k_chunk)
    if min(shared, chunks) > 1:
        paths.tell(SEVERAL_CORES)
    if chunks > shared:
        paths.tell(SEVERAL_CHUNKS)
    config = AttentionConfig(
        compute or ATTENTION, replace(program or SMALLEST_CHUNKS, k_chunk=k_chunk)
    )
    return cache_attention.attention_decode(
        query, key, value, scores=scores, cores=shared, config=config, out=out
    )


def _decode_chunk(capacity: int, program: AttentionProgram | None) -> int:
    chunk = program.k_chunk if program is not None else 0
    return chunk or cache_attention.default_chunk(capacity)
