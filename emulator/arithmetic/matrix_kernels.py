"""The matrix unit's sums as vector code: the same bits as `matrix_exact`, for ordinary values.

Every vector lane is one output column.  Three facts make plain float32 arithmetic exact here:

* Adding a value to 1.5 * 2^23 * u rounds it to a multiple of u, so a chain of eight fused
  multiply-adds that starts from such a "ruler" is the sum of eight products, each rounded to the
  unit u of its group; subtracting the ruler gives that sum without error.
* The hardware rounds ties away from zero where float32 rounds them to even.  A product has at most
  12 bits, so making it larger by 2^-13 of itself breaks every tie and moves nothing else.
* Rounding first to 23 and then to 10 fraction bits, as the accumulator does, is one rounding after
  adding 2^-14 of the coarser unit.

Values are ordinary while no product's exponent exceeds `LARGEST_PRODUCT`: rulers must be finite.
"""

import numpy as np
from numba import get_num_threads, njit, prange

from .lanes import (
    abs32,
    add16,
    add32,
    and32,
    bits_of,
    float_of,
    fma,
    max16,
    max32,
    min32,
    or32,
    shift_left,
    shift_right,
    source_bits,
    source_exponent,
    sub32,
    xor32,
)
from .matrix_exact import PHASE_ADJUST

TILE = 32  # K values of one tile, in which the fidelity phases are gone through once
LANES = 64  # columns of a group, in which weights are stored
# Groups handled at a time: enough columns to repay what it costs to spread a row's 16 values over
# the lanes. Not a power of two, whose rows would share few places of the caches.
WIDE = 12
ROWS = 256  # rows that share one decoded tile

# Sum of two biased exponents up to which rulers stay finite, with room for sums to grow.
LARGEST_PRODUCT = 327

# What a zero counts as in a group's largest exponent: less than any product.
EMPTY = -1000

# One step from 1 that is too small to move anything but a tie (see above).
TIE_AWAY = np.float32(1 + 2.0**-13)

# Of a ruler 1.5 * 2^23 * u: 3/16 u, to round ties of a group's sum up.
TIE_UP = np.float32(2.0**-26)
# 1.125 * 2^-14 u: the same where the sum lies more than 13 bits below the accumulator's unit.
TIE_UP_FAR = np.float32(0.75 * 2.0**-37)

# From an exponent to the ruler that rounds to 10 fraction bits at it: 23 - 10 places up, times 1.5.
_RULER_SHIFT = 13
_RULER_HALF = 0x400000
_RULER = (_RULER_SHIFT << 23) | _RULER_HALF
_EXPONENT_MASK = 0x7F800000
# The smallest denormal pattern that rounds to a normal number at 8 significant bits.
_ROUNDS_TO_NORMAL = 0x7FC000


@njit
def ruler_of(exponent):
    """1.5 * 2^23 times the unit of a group with that biased exponent."""
    shifted = shift_left(add32(exponent, np.int32(_RULER_SHIFT)), np.int32(23))
    return float_of(or32(shifted, np.int32(_RULER_HALF)))


@njit
def round_to_eight_bits(total):
    """A sum as a 16-bit destination stores it: half away, and +0 for what is not normal."""
    bits = bits_of(total)
    rounded = and32(add32(bits, np.int32(0x8000)), np.int32(-0x10000))
    magnitude = and32(bits, np.int32(0x7FFFFFFF))
    return float_of(rounded if magnitude >= np.int32(_ROUNDS_TO_NORMAL) else np.int32(0))


@njit
def accumulate16(dst, sum0, ruler0, sum1, ruler1):
    """A 16-bit destination plus two group sums, each given with the ruler of its group."""
    own = float_of(add32(and32(bits_of(dst), np.int32(_EXPONENT_MASK)), np.int32(_RULER)))
    ruler = max(max(ruler0, ruler1), own)
    far = ruler * TIE_UP_FAR
    first = sum0 + max(ruler0 * TIE_UP, far)
    second = sum1 + max(ruler1 * TIE_UP, far)
    return round_to_eight_bits(((fma(dst, TIE_AWAY, ruler) + first) + second) - ruler)


@njit
def _aligned(doubled, shift):
    """Half of an integer shifted right with ties toward plus infinity; 31 places or more leave 0."""
    floor = shift_right(doubled, min32(shift, np.int32(31)))
    return shift_right(add32(floor, np.int32(1)), np.int32(1))


@njit
def accumulate32(dst, sum0, exponent0, sum1, exponent1):
    """A 32-bit destination plus two group sums, integers at ten fraction bits of their exponent."""
    bits = bits_of(dst)
    own = and32(shift_right(bits, np.int32(23)), np.int32(0xFF))
    exponent = max32(max32(exponent0, exponent1), own)
    significand = or32(and32(bits, np.int32(0x7FFFFF)), np.int32(0x800000))
    significand = significand if own > np.int32(0) else np.int32(0)
    magnitude = _aligned(shift_left(significand, np.int32(1)), sub32(exponent, own))
    sign = shift_right(bits, np.int32(31))
    total = sub32(xor32(magnitude, sign), sign)
    total = add32(total, _aligned(shift_left(sum0, np.int32(14)), sub32(exponent, exponent0)))
    total = add32(total, _aligned(shift_left(sum1, np.int32(14)), sub32(exponent, exponent1)))
    # Above 24 bits the conversion to float32 rounds; an extra low one turns its ties away from 0.
    magnitude = abs32(total)
    doubled = or32(
        shift_left(magnitude, np.int32(1)),
        min32(shift_right(magnitude, np.int32(24)), np.int32(1)),
    )
    scale = float_of(shift_left(max32(exponent, np.int32(1)), np.int32(23)))
    value = bits_of(np.float32(doubled) * scale * np.float32(2.0**-24))
    # The known erratum of the hardware: a total of exactly -1 is normalised to -16.
    wrong = shift_left(add32(exponent, np.int32(4)), np.int32(23))
    value = wrong if total == np.int32(-1) else value
    value = value if and32(value, np.int32(_EXPONENT_MASK)) != np.int32(0) else np.int32(0)
    return float_of(or32(value, and32(total, np.int32(-0x80000000))))


@njit
def _decode(stage, first, lanes, pieces, exponents):
    """Split SrcA operands, `lanes` columns of a tile, into their 5-bit pieces and exponents."""
    for k in range(TILE):
        columns = stage[k, first : first + lanes]
        for lane in range(lanes):
            bits = source_bits(columns[lane])
            top = float_of(bits & np.uint32(0xFFF80000))
            pieces[0, k, lane] = top
            pieces[1, k, lane] = float_of(bits & np.uint32(0xFFFFC000)) - top
        for lane in range(lanes):
            exponents[k, lane] = source_exponent(columns[lane], np.int16(EMPTY))


@njit
def _group_exponents(exponents, k, row_exponents, row, column, largest, group, lanes):
    """Largest exponent sum of eight products, for every lane."""
    b0 = row_exponents[row, column]
    b1 = row_exponents[row, column + 1]
    b2 = row_exponents[row, column + 2]
    b3 = row_exponents[row, column + 3]
    b4 = row_exponents[row, column + 4]
    b5 = row_exponents[row, column + 5]
    b6 = row_exponents[row, column + 6]
    b7 = row_exponents[row, column + 7]
    for lane in range(lanes):
        m0 = max16(add16(exponents[k, lane], b0), add16(exponents[k + 1, lane], b1))
        m1 = max16(add16(exponents[k + 2, lane], b2), add16(exponents[k + 3, lane], b3))
        m2 = max16(add16(exponents[k + 4, lane], b4), add16(exponents[k + 5, lane], b5))
        m3 = max16(add16(exponents[k + 6, lane], b6), add16(exponents[k + 7, lane], b7))
        largest[group, lane] = max16(max16(m0, m1), max16(m2, m3))


@njit
def _chain(total, pieces, piece, k, lane, b0, b1, b2, b3, b4, b5, b6, b7):
    total = fma(pieces[piece, k, lane], b0, total)
    total = fma(pieces[piece, k + 1, lane], b1, total)
    total = fma(pieces[piece, k + 2, lane], b2, total)
    total = fma(pieces[piece, k + 3, lane], b3, total)
    total = fma(pieces[piece, k + 4, lane], b4, total)
    total = fma(pieces[piece, k + 5, lane], b5, total)
    total = fma(pieces[piece, k + 6, lane], b6, total)
    return fma(pieces[piece, k + 7, lane], b7, total)


@njit
def _step(dst, pieces, piece, k, row_pieces, half, row, column, largest, group, adjust, wide):
    """Sixteen products of one phase onto dst, a row's destination in every lane."""
    b0 = row_pieces[half, row, column]
    b1 = row_pieces[half, row, column + 1]
    b2 = row_pieces[half, row, column + 2]
    b3 = row_pieces[half, row, column + 3]
    b4 = row_pieces[half, row, column + 4]
    b5 = row_pieces[half, row, column + 5]
    b6 = row_pieces[half, row, column + 6]
    b7 = row_pieces[half, row, column + 7]
    c0 = row_pieces[half, row, column + 8]
    c1 = row_pieces[half, row, column + 9]
    c2 = row_pieces[half, row, column + 10]
    c3 = row_pieces[half, row, column + 11]
    c4 = row_pieces[half, row, column + 12]
    c5 = row_pieces[half, row, column + 13]
    c6 = row_pieces[half, row, column + 14]
    c7 = row_pieces[half, row, column + 15]
    adjust = np.int32(adjust)
    if wide:
        for lane in range(dst.size):
            exponent0 = add32(np.int32(largest[group, lane]), adjust)
            exponent1 = add32(np.int32(largest[group + 1, lane]), adjust)
            ruler0 = ruler_of(max32(exponent0, np.int32(0)))
            ruler1 = ruler_of(max32(exponent1, np.int32(0)))
            sum0 = _chain(ruler0, pieces, piece, k, lane, b0, b1, b2, b3, b4, b5, b6, b7)
            sum1 = _chain(ruler1, pieces, piece, k + 8, lane, c0, c1, c2, c3, c4, c5, c6, c7)
            units0 = sub32(bits_of(sum0), bits_of(ruler0))
            units1 = sub32(bits_of(sum1), bits_of(ruler1))
            dst[lane] = accumulate32(
                dst[lane],
                units0 if exponent0 > np.int32(0) else np.int32(0),
                max32(exponent0, np.int32(0)),
                units1 if exponent1 > np.int32(0) else np.int32(0),
                max32(exponent1, np.int32(0)),
            )
    else:
        for lane in range(dst.size):
            exponent0 = add32(np.int32(largest[group, lane]), adjust)
            exponent1 = add32(np.int32(largest[group + 1, lane]), adjust)
            ruler0 = ruler_of(max32(exponent0, np.int32(0)))
            ruler1 = ruler_of(max32(exponent1, np.int32(0)))
            sum0 = _chain(ruler0, pieces, piece, k, lane, b0, b1, b2, b3, b4, b5, b6, b7) - ruler0
            sum1 = (
                _chain(ruler1, pieces, piece, k + 8, lane, c0, c1, c2, c3, c4, c5, c6, c7) - ruler1
            )
            dst[lane] = accumulate16(
                dst[lane],
                sum0 if exponent0 > np.int32(0) else np.float32(0),
                ruler0,
                sum1 if exponent1 > np.int32(0) else np.float32(0),
                ruler1,
            )


@njit
def _tile(dst, row, decoded, operands, k, largest, phases, wide):
    """One tile of K, all fidelity phases, onto dst, the destination of one row."""
    pieces, exponents = decoded
    row_pieces, row_exponents = operands
    for group in range(4):
        column = k + 8 * group
        _group_exponents(exponents, 8 * group, row_exponents, row, column, largest, group, dst.size)
    for step in range(2 * phases):
        phase = step >> 1
        half = step & 1
        _step(
            dst,
            pieces,
            phase & 1,
            16 * half,
            row_pieces,
            phase >> 1,
            row,
            k + 16 * half,
            largest,
            2 * half,
            PHASE_ADJUST[phase],
            wide,
        )


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
            odd = and32(shift_right(bits, np.int32(16)), np.int32(1))
            bits = and32(add32(bits, add32(odd, np.int32(0x7FFF))), np.int32(-0x10000))
        normal = and32(bits, np.int32(_EXPONENT_MASK)) != np.int32(0)
        flat[i] = float_of(bits if normal else and32(bits, np.int32(-0x80000000)))


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
    """Accumulate all K tiles of one stripe of columns onto dst [rows, columns]."""
    rows, columns = dst.shape
    tiles = sources.shape[1]
    blocks = tiles // block
    stage = np.empty((TILE, columns), sources.dtype)
    pieces = np.empty((2, TILE, WIDE * LANES), np.float32)
    exponents = np.empty((TILE, WIDE * LANES), np.int16)
    largest = np.empty((4, WIDE * LANES), np.int16)
    decoded = (pieces, exponents)
    for tile in range(tiles):
        _stage(sources, batch, tile, start, stage)
        for first in range(0, columns, WIDE * LANES):
            lanes = min(WIDE * LANES, columns - first)
            _decode(stage, first, lanes, pieces, exponents)
            for row in range(rows):
                part = dst[row, first : first + lanes]
                _tile(part, row, decoded, operands, tile * TILE, largest, phases, wide)
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
    widest = 144 if rows <= 8 else 2 * WIDE
    stripes = -(-groups // widest)
    stripes = -(-stripes // threads) * threads
    even = -(-groups // stripes)
    return -(-even // WIDE) * WIDE


@njit
def _task(task, sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out):
    """One stripe of columns of one chunk of rows of one product."""
    groups = out.shape[2] // LANES
    stripes = (groups + stripe - 1) // stripe
    chunks = (out.shape[1] + ROWS - 1) // ROWS
    batch = task // (chunks * stripes)
    top = task // stripes % chunks * ROWS
    start = task % stripes * stripe
    height = min(ROWS, out.shape[1] - top)
    width = min(stripe, groups - start)
    columns = slice(start * LANES, (start + width) * LANES)
    dst = out[batch, top : top + height, columns].copy()
    partial = np.empty((height if mode else 0, width * LANES), np.float32)
    operands = (
        pieces[:, batch, top : top + height],
        exponents[batch, top : top + height],
    )
    _accumulate(start, dst, partial, sources, batches[batch], operands, phases, wide, block, mode)
    out[batch, top : top + height, columns] = dst


def _tasks(out, stripe):
    """How many tasks `_task` is called for."""
    count, rows, columns = out.shape
    return count * -(-rows // ROWS) * -(-(columns // LANES) // stripe)


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
        pieces: [2, B, M, K] float32, the upper 7 and the lower 4 bits of the SrcB operands, each
            times `TIE_AWAY`; [1, B, M, K] does for two phases.
        exponents: [B, M, K] int16, biased exponents of the SrcB operands, `EMPTY` for zeros.
        phases: 1 (LoFi) to 4 (HiFi4).
        wide: whether the destination has 32 bits.
        block: tiles of K in one block, a divisor of K/32.
        mode: ONE_ACCUMULATION, LAST_BLOCK_ON_TOP or ALL_BLOCKS_IN_L1.
        stripe: groups of 64 columns that one task takes; see `stripe_of`.
        out: [B, M, N] float32, what the destination holds at first and at last.
    """
    work = out.size * exponents.shape[-1] * phases
    run = _in_turn if work < WORTH_WAKING else _in_parallel
    run(
        _tasks(out, stripe),
        *(sources, batches, pieces, exponents, phases, wide, block, mode, stripe, out),
    )
