"""The matrix unit's sums as vector code: the same bits as `matrix_exact`, for ordinary values.

The columns of a product are cut into stripes, each a task; a task goes through all tiles of K
(`matrix_tiles`) and sums their blocks as the packer does.
"""

import numpy as np
from numba import get_num_threads, njit, prange

from .lanes import add32, and32, bits_of, float_of, greater32, select32, shift_right
from .matrix_accumulator import (
    LARGEST_PRODUCT,
    TIE_AWAY,
    accumulate16,
    accumulate32,
    round_to_eight_bits,
    ruler_of,
)
from .matrix_tiles import EMPTY, PAIR, ROWS, STEP, TILE, VECTOR, accumulate_tile, decode, split_rows

__all__ = [
    "EMPTY",
    "LARGEST_PRODUCT",
    "TIE_AWAY",
    "accumulate16",
    "accumulate32",
    "accumulate_tiles",
    "round_to_eight_bits",
    "ruler_of",
    "split_rows",
    "stripe_of",
]

LANES = 64  # columns of a group, in which weights are stored
# Vectors that take turns, lest a row's step waits for its step before; decoded they fit the
# first-level cache.
SPAN = 4
CHUNK = 256  # rows that share one decoded tile

_EXPONENT_MASK = 0x7F800000
_SIGN = -0x80000000


@njit
def _pack_and_add(partial, dst, first, wide):
    """The packer's L1 accumulation: dst joins what lies in L1, rounded to nearest even."""
    flat = partial.reshape(-1)
    other = dst.reshape(-1)
    for i in range(flat.size):
        if first:
            flat[i] = other[i]
            continue
        bits = bits_of(flat[i] + other[i])
        if not wide:
            odd = and32(shift_right(bits, 16), 1)
            bits = and32(add32(bits, add32(odd, 0x7FFF)), -0x10000)
        normal = greater32(and32(bits, _EXPONENT_MASK), 0)
        flat[i] = float_of(select32(normal, bits, and32(bits, _SIGN)))


@njit
def _stage(sources, batch, tile, start, stage):
    """Copy one tile of K of a stripe of columns, whole rows at a time."""
    groups = stage.shape[1] // LANES
    for k in range(TILE):
        source = sources[batch, tile, k, start : start + groups].reshape(-1)
        for i in range(source.size):
            stage[k, i] = source[i]


@njit
def _accumulate(start, dst, partial, sources, batch, operands, phases, wide, block, mode):
    """Accumulate all K tiles of one stripe of columns onto dst [columns / 16, rows, 16]."""
    tiles = sources.shape[1]
    blocks = tiles // block
    stage = np.empty((TILE, dst.shape[0] * VECTOR), sources.dtype)
    pieces = np.empty((SPAN, 2, TILE, VECTOR), np.float32)
    exponents = np.empty((SPAN // 2, TILE, PAIR), np.int16)
    largest = np.empty((SPAN, 4, min(ROWS, dst.shape[1]), VECTOR), np.int32)
    for tile in range(tiles):
        _stage(sources, batch, tile, start, stage)
        for vector in range(0, dst.shape[0], SPAN):
            part = dst[vector : vector + SPAN]
            decoded = (pieces[: part.shape[0]], exponents[: part.shape[0] // 2])
            decode(stage, vector * VECTOR, *decoded)
            for top in range(0, dst.shape[1], ROWS):
                accumulate_tile(part, decoded, operands, tile, top, largest, phases, wide)
        if mode == ONE_ACCUMULATION or (tile + 1) % block:
            continue
        index = tile // block
        last = index == blocks - 1
        if mode == LAST_BLOCK_ON_TOP and last:
            continue
        _pack_and_add(partial, dst, index == 0, wide)
        if last or (mode == LAST_BLOCK_ON_TOP and index == blocks - 2):
            dst[:] = partial
        else:
            dst[:] = 0


# Multiply-adds that one thread does in the time that waking another takes.
WORTH_WAKING = 1 << 19

# What becomes of the destination between blocks of K.
ONE_ACCUMULATION = 0  # spilled and reloaded without loss
LAST_BLOCK_ON_TOP = 1  # blocks summed in L1; the last accumulates onto that sum
ALL_BLOCKS_IN_L1 = 2  # blocks summed in L1, the last one too


def stripe_of(rows, groups):
    """How many groups of 64 columns one task should take of `groups`, with `rows` rows.

    With few rows time goes into reading weights, which is fast in long pieces of memory; with many
    the destinations should stay in the second-level cache.
    """
    threads = get_num_threads()
    widest = 144 if rows <= 8 else 8
    stripes = -(-groups // widest)
    stripes = -(-stripes // threads) * threads
    return -(-groups // stripes)


@njit
def _columns_apart(out, dst):
    """Copy [rows, columns] to [columns / 16, rows, 16]."""
    for vector in range(dst.shape[0]):
        for row in range(dst.shape[1]):
            for lane in range(VECTOR):
                dst[vector, row, lane] = out[row, vector * VECTOR + lane]


@njit
def _columns_together(dst, out):
    """Copy [columns / 16, rows, 16] to [rows, columns]."""
    for row in range(dst.shape[1]):
        for vector in range(dst.shape[0]):
            for lane in range(VECTOR):
                out[row, vector * VECTOR + lane] = dst[vector, row, lane]


@njit
def _task(task, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out):
    """One stripe of columns of one chunk of rows of one product."""
    groups = out.shape[2] // LANES
    stripes = (groups + stripe - 1) // stripe
    chunks = (out.shape[1] + CHUNK - 1) // CHUNK
    batch = task // (chunks * stripes)
    top = task // stripes % chunks * CHUNK
    start = task % stripes * stripe
    height = min(CHUNK, out.shape[1] - top)
    width = min(stripe, groups - start)
    columns = slice(start * LANES, (start + width) * LANES)
    dst = np.empty((width * LANES // VECTOR, height, VECTOR), np.float32)
    partial = np.empty_like(dst[: dst.shape[0] if mode else 0])
    _columns_apart(out[batch, top : top + height, columns], dst)
    operands = (pieces[batch], exponents[batch], top)
    _accumulate(start, dst, partial, sources, batches[batch], operands, phases, wide, block, mode)
    _columns_together(dst, out[batch, top : top + height, columns])


def _tasks(out, stripe):
    """How many tasks `_task` is called for."""
    count, rows, columns = out.shape
    return count * -(-rows // CHUNK) * -(-(columns // LANES) // stripe)


@njit(parallel=True, nogil=True, cache=True)
def _in_parallel(
    tasks, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out
):
    for task in prange(tasks):
        _task(task, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out)


@njit(nogil=True, cache=True)
def _in_turn(tasks, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out):
    for task in range(tasks):
        _task(task, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out)


def accumulate_tiles(sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out):
    """Accumulate activations @ weights onto `out`, in place.

    Args:
        sources: [W, K/32, 32, N/64, 64] uint16 (bfloat16) or uint32 (float32 bits): SrcA operands.
        batches: [B] int64, which of the W matrices each of the B products takes.
        pieces: [B, 2, K/16, M, 16] float32, the upper 7 and the lower 4 bits of the SrcB operands,
            each times `TIE_AWAY`; [B, 1, K/16, M, 16] does for two phases.
        exponents: [B, K/16, M, 16] int32, biased exponents of the SrcB operands, `EMPTY` for zeros,
            each in the upper and in the lower 16 bits.
        phases: 1 (LoFi) to 4 (HiFi4).
        wide: whether the destination has 32 bits.
        block: tiles of K in one block, a divisor of K/32.
        mode: ONE_ACCUMULATION, LAST_BLOCK_ON_TOP or ALL_BLOCKS_IN_L1.
        stripe: groups of 64 columns that one task takes; see `stripe_of`.
        out: [B, M, N] float32, what the destination holds at first and at last.
    """
    work = out.size * exponents.shape[1] * STEP * phases
    run = _in_turn if work < WORTH_WAKING else _in_parallel
    run(
        _tasks(out, stripe),
        *(sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out),
    )
