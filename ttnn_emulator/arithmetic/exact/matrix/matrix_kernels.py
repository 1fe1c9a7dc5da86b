"""The matrix unit's sums as vector code: the same bits as `matrix_exact`, for ordinary values.

The columns of a product are cut into stripes, each a task; a task goes through all tiles of K
(`matrix_tiles`) and sums their blocks as the packer does.
"""

from typing import NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange

from ttnn_emulator.arithmetic.exact.matrix.matrix_few_operands import few_rows, places_of
from ttnn_emulator.arithmetic.exact.matrix.matrix_few_rows import accumulate_span
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import (
    PAIR,
    SPAN,
    VECTOR,
    Rows,
    Tile,
    decode,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_tiles import Scratch, accumulate_tile
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    add32,
    and32,
    bits_of,
    float_of,
    greater32,
    select32,
    shift_right,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import prefetch
from ttnn_emulator.arithmetic.formats import TILE, ceil_div

# Columns of a group, in which weights are stored: one span. Its vectors take turns, so that a step
# of a row does not wait for the step before; decoded it fits the first-level cache.
LANES = SPAN * VECTOR
CHUNK = 160  # most rows that share one decoded tile; more spill out of the second-level cache
CACHE_LINE = 64  # bytes

# Multiply-adds that one thread computes while another is being woken.
WORTH_WAKING = 1 << 19

# Most groups of columns in a task, with many rows and with few (a decode step). Both measured.
WIDEST, WIDEST_OF_FEW, FEW_ROWS = 8, 128, 8

# What happens to the destination between blocks of K.
ONE_ACCUMULATION = 0  # spilled and reloaded without loss
LAST_BLOCK_ON_TOP = 1  # blocks summed in L1; the last accumulates onto that sum
ALL_BLOCKS_IN_L1 = 2  # blocks summed in L1, the last one too


class Accumulation(NamedTuple):
    """How a matrix product's sums accumulate.

    Attributes:
        phases: fidelity phases, 1 (LoFi) to 4 (HiFi4).
        fp32_dest_acc: whether the destination has 32 bits.
        block: tiles of K in one block, a divisor of K/32.
        mode: ONE_ACCUMULATION, LAST_BLOCK_ON_TOP or ALL_BLOCKS_IN_L1.
    """

    phases: int
    fp32_dest_acc: bool
    block: int
    mode: int = ONE_ACCUMULATION


class _Operands(NamedTuple):
    """The operands of `accumulate_tiles`."""

    sources: np.ndarray
    batches: np.ndarray
    pieces: np.ndarray
    exponents: np.ndarray
    windows: np.ndarray


_EXPONENT_MASK = 0x7F800000
_SIGN = -0x80000000

_ceil_div = njit(ceil_div)


@njit
def _pack_and_add(partial, dst, first, fp32_dest_acc):
    """The packer's L1 accumulation: dst joins what lies in L1, rounded to nearest even."""
    flat = partial.reshape(-1)
    other = dst.reshape(-1)
    for i in range(flat.size):
        if first:
            flat[i] = other[i]
            continue
        bits = bits_of(flat[i] + other[i])
        if not fp32_dest_acc:
            odd = and32(shift_right(bits, 16), 1)
            bits = and32(add32(bits, add32(odd, 0x7FFF)), -0x10000)
        normal = greater32(and32(bits, _EXPONENT_MASK), 0)
        flat[i] = float_of(select32(normal, bits, and32(bits, _SIGN)))


@njit
def _prefetch_tile(weights, tile, group):
    """Prefetch one tile of K of a group of columns, if there is one, while another is computed.

    Its rows are a whole row of the matrix apart, a stride that the hardware does not prefetch.
    """
    if tile < weights.shape[0]:
        for k in range(TILE):
            row = weights[tile, k, group]
            for i in range(0, LANES, CACHE_LINE // row.itemsize):
                prefetch(row, i)


@njit
def _accumulate(start, vectors, partial, weights, rows, few, windows, accumulation):
    """Accumulate all K tiles of one stripe of columns onto `vectors` [columns / 16 + 1, rows, 16].

    The last vector is a spare one.
    """
    dst = vectors[:-1]
    phases, fp32_dest_acc, block, mode = accumulation
    tiles = weights.shape[0]
    blocks = tiles // block
    rows_are_few = few.highest.size > 0
    matrix = weights.reshape((tiles * TILE, weights.shape[2] * LANES))
    places = places_of(matrix.view(np.uint16), start * LANES, vectors, rows, few)
    pieces = np.empty((SPAN, 2, TILE, VECTOR), np.float32)
    in_window = np.empty((TILE, LANES), np.int8)
    below_weights = windows[0]
    below = windows[0] + windows[1]
    groups = np.empty((SPAN, 4, dst.shape[1], VECTOR), np.int32)
    scratch = Scratch(groups, np.empty((SPAN // 2, TILE, PAIR), np.int16))
    for tile in range(tiles):
        stored = matrix[tile * TILE : (tile + 1) * TILE]
        for vector in range(0, dst.shape[0], SPAN):
            if rows_are_few and accumulate_span(places, vector, tile, phases, fp32_dest_acc):
                continue
            group = start + vector // SPAN
            _prefetch_tile(weights, tile + 1, group)
            decode(stored, group * LANES, below_weights, pieces, in_window)
            decoded = Tile(pieces, in_window, below, stored, group * LANES)
            accumulate_tile(vectors, vector, decoded, rows, tile, scratch, phases, fp32_dest_acc)
        if mode == ONE_ACCUMULATION or (tile + 1) % block:
            continue
        index = tile // block
        last = index == blocks - 1
        if mode == LAST_BLOCK_ON_TOP and last:
            continue
        _pack_and_add(partial, dst, index == 0, fp32_dest_acc)
        if last or (mode == LAST_BLOCK_ON_TOP and index == blocks - 2):
            dst[:] = partial
        else:
            dst[:] = 0


def stripe_of(rows: int, groups: int) -> int:
    """How many of `groups` groups of 64 columns one task should take, with `rows` rows.

    With few rows many, to save setting up tasks; with many rows only so many that the destinations
    stay in the second-level cache beside a tile of weights.
    """
    threads = get_num_threads()
    widest = WIDEST_OF_FEW if rows <= FEW_ROWS else WIDEST
    stripes = ceil_div(groups, widest)
    stripes = ceil_div(stripes, threads) * threads
    return ceil_div(groups, stripes)


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
def _task(task, operands, accumulation, stripe, out):
    """One stripe of columns of one chunk of rows of one product."""
    groups = out.shape[2] // LANES
    stripes = _ceil_div(groups, stripe)
    chunks = _ceil_div(out.shape[1], CHUNK)
    chunk = _ceil_div(out.shape[1], chunks)  # as evenly as can be
    batch = task // (chunks * stripes)
    top = task // stripes % chunks * chunk
    start = task % stripes * stripe
    height = min(chunk, out.shape[1] - top)
    width = min(stripe, groups - start)
    columns = slice(start * LANES, (start + width) * LANES)
    vectors = np.empty((width * LANES // VECTOR + 1, height, VECTOR), np.float32)
    dst = vectors[:-1]
    partial = np.empty_like(dst[: 0 if accumulation.mode == ONE_ACCUMULATION else dst.shape[0]])
    _columns_apart(out[batch, top : top + height, columns], dst)
    rows = Rows(operands.pieces[batch], operands.exponents[batch], top)
    weights = operands.sources[operands.batches[batch]]
    few = few_rows(rows, height if height <= FEW_ROWS and weights.itemsize == 2 else 0)
    _accumulate(start, vectors, partial, weights, rows, few, operands.windows, accumulation)
    _columns_together(dst, out[batch, top : top + height, columns])


@njit
def _tasks(out, stripe):
    """How many tasks `_task` is called for."""
    count, rows, columns = out.shape
    return count * _ceil_div(rows, CHUNK) * _ceil_div(columns // LANES, stripe)


@njit(parallel=True, nogil=True, cache=True)
def _in_parallel(sources, batches, pieces, exponents, windows, accumulation, stripe, out):
    for task in prange(_tasks(out, stripe)):
        operands = _Operands(sources, batches, pieces, exponents, windows)
        _task(task, operands, accumulation, stripe, out)


@njit(nogil=True, cache=True)
def _in_turn(sources, batches, pieces, exponents, windows, accumulation, stripe, out):
    operands = _Operands(sources, batches, pieces, exponents, windows)
    for task in range(_tasks(out, stripe)):
        _task(task, operands, accumulation, stripe, out)


def accumulate_tiles(
    sources: np.ndarray,
    batches: np.ndarray,
    pieces: np.ndarray,
    exponents: np.ndarray,
    windows: np.ndarray,
    accumulation: Accumulation,
    stripe: int,
    out: np.ndarray,
) -> None:
    """Accumulate activations @ weights onto `out`, in place.

    Args:
        sources: [W, K/32, 32, N/64, 64] uint16 (bfloat16) or uint32 (float32 bits): SrcA operands.
        batches: [B] int64, which of the W matrices each of the B products takes.
        pieces, exponents: of the SrcB operands, from `split_rows`; [B, 1, ...] pieces do for two
            phases.
        windows: [2] int64, `window_of` the largest exponents of the weights and of the activations.
        accumulation: how the sums accumulate.
        stripe: groups of 64 columns that one task takes; see `stripe_of`.
        out: [B, M, N] float32, the destination: what it holds before and after.
    """
    work = out.size * sources.shape[1] * TILE * accumulation.phases
    run = _in_turn if work < WORTH_WAKING else _in_parallel
    run(sources, batches, pieces, exponents, windows, accumulation, stripe, out)
