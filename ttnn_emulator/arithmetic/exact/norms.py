"""rms_norm and softmax step by step, with the format of every intermediate buffer.

Tensors are float32 or bfloat16 and hold what lies in the device's buffers: S rows, W columns, as
padded on the device.  Results are float32, rounded as the packer rounds them to the format `out`.
Kernel sources: layernorm.cpp, layernorm_large_tensor.cpp, numeric.h, softmax.cpp, and those that
functions name.  Formats of the circular buffers are those that TTNN 0.81.1's program factories ask
for.
"""

import math

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_max, row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.reductions import matrix_sum
from ttnn_emulator.arithmetic.exact.vector.vector_binary import multiply_by_scalar
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import softmax_exp
from ttnn_emulator.arithmetic.exact.vector.vector_functions import square
from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal, rsqrt, softmax_reciprocal
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add as add_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import load, store
from ttnn_emulator.arithmetic.formats import BLOCK, BLOCK_FORMAT_BITS

TILE = 32

# Widest row, in tiles, that layernorm.cpp holds in L1; wider ones are left to
# layernorm_large_tensor.cpp.  By (32-bit Dst, weight, residual), observed in the programs that TTNN
# 0.81.1 builds for bfloat16 tensors on an n150.
LAST_WIDTH_IN_L1 = {
    (False, False, False): 304,
    (False, False, True): 288,
    (False, True, False): 200,
    (False, True, True): 184,
    (True, False, False): 204,
    (True, False, True): 148,
    (True, True, False): 148,
    (True, True, True): 116,
}


def rms_norm(
    x,
    weight=None,
    bias=None,
    *,
    epsilon,
    width=None,
    residual=None,
    fidelity="HiFi4",
    approximate=True,
    fp32_dest=False,
    out="bfloat16",
):
    """x / sqrt(mean(x**2) + epsilon) * weight + bias over the last dimension.

    Args:
        x: [..., S, W].
        weight, bias: [W] or broadcastable to x; None leaves the step out.
        epsilon: added to the mean of squares; the kernel cuts it to bfloat16.
        width: columns that are not padding; None means all W.  Padding takes no part in the mean.
        residual: added to x first, [..., S, W]; or None.
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en); the defaults are those of `ttnn.rms_norm` without one.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [..., S, W] float32.
    """
    wide = fp32_dest
    width = x.shape[-1] if width is None else width
    x = unpack(x, wide)
    if residual is not None:
        x = unpack(eltwise_unit.add(x, unpack(residual, wide), wide=wide), wide)
    if _fits_in_l1(x.shape[-1], wide, weight is not None, residual is not None):
        squares = eltwise_unit.multiply(x, x, fidelity=fidelity, wide=wide)
    else:
        paths.tell(paths.BEYOND_L1)
        squares = square(x, fp32_dest=wide)
    squares[..., width:] = 0  # the last scaler tile is 0 there, and so is 0 times anything
    total = row_sum(squares, fidelity=fidelity, fp32_dest_acc=wide)
    reciprocal_width = (torch.tensor(1.0) / width).item()
    mean = multiply_by_scalar(total, reciprocal_width, fp32_dest=wide)
    epsilon = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    shifted = eltwise_unit.add(unpack(mean, wide), epsilon, wide=wide)
    factor = rsqrt(shifted, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(x, unpack(factor, wide), fidelity=fidelity, wide=wide)
    if weight is not None:
        weight = unpack(weight, wide)
        y = eltwise_unit.multiply(unpack(y, wide), weight, fidelity=fidelity, wide=wide)
    if bias is not None:
        y = eltwise_unit.add(unpack(y, wide), unpack(bias, wide), wide=wide)
    return pack(y, out, wide)


def _fits_in_l1(width, wide, has_weight, has_residual):
    return math.ceil(width / TILE) <= LAST_WIDTH_IN_L1[wide, has_weight, has_residual]


# Bytes that the buffers of softmax.cpp may take: between 1350656, the most of the programs that TTNN
# 0.81.1 was seen to build on an n150, and 1353728, the least of those it did not.
SOFTMAX_BUFFER_BYTES = 1320 * 1024

TILE_BYTES = {"float32": 4096, "bfloat16": 2048, "bfloat8_b": 1088}

# Tiles of a row that softmax_large_tensor.cpp takes at a time.
LARGE_SOFTMAX_TILES = 80

# Most tiles of a column that are left to moreh_softmax_h.cpp, by format of the tensor: observed.
LAST_SOFTMAX_HEIGHT_IN_L1 = {"bfloat16": 32, "bfloat8_b": 32, "float32": 24}


def softmax(
    x,
    *,
    width=None,
    stable=True,
    scale=None,
    mask=None,
    fidelity="HiFi3",
    approximate=True,
    fp32_dest=True,
    wide_exponentials=False,
    dtype="bfloat16",
    out="bfloat16",
):
    """exp(x - max) / sum(exp(x - max)) of x * scale + mask over the last dimension.

    Minus infinity is added to the columns from `width` on, so they count for nothing unless they
    hold plus infinity: the two cancel, and the column counts as a 0 of the row.

    Args:
        x: [..., S, W], W a multiple of 32 if there is padding.
        width: columns that are not padding; None means all W.
        stable: whether the row's maximum is subtracted first (`numeric_stable`).
        scale: factor of x, cut to bfloat16; only with a mask.
        mask: what is added to x * scale, with up to W columns and broadcastable; or None.
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en); the defaults are those of `ttnn.softmax` of a bfloat16 or bfloat8_b
            tensor without one.  Of a float32 tensor, `approximate` is off.
        wide_exponentials: whether what lies between the steps is kept in float32 rather than
            bfloat16.  So it is for a float32 tensor, and for a given compute kernel config with a
            32-bit Dst.
        dtype: format of x.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [..., S, W] float32.  Rows that do not fit in L1 are summed in parts
        (softmax_large_tensor.cpp).

    Raises:
        ValueError: for a scale without a mask, as TTNN does.
    """
    if scale is not None and mask is None:
        raise ValueError(f"softmax: scale is {scale} but there is no mask; multiply x instead")
    wide = fp32_dest
    between = "float32" if wide_exponentials else "bfloat16"
    padded = width is not None and width < x.shape[-1]
    tiles = math.ceil(x.shape[-1] / TILE)
    needed = _softmax_bytes(tiles, dtype, out, between, wide, stable, mask is not None, padded)
    fits = needed <= SOFTMAX_BUFFER_BYTES
    x = unpack(x, wide)
    if mask is not None:
        scale = truncate_to_bfloat16(torch.tensor(1.0 if scale is None else float(scale)))
        x = eltwise_unit.multiply(x, scale, fidelity=fidelity, wide=wide)
        if padded and fits:  # the product goes from Dst to SrcA, whose format is that of x
            x = _mask_padding(x, width, dtype, wide)
        x = unpack(pack(x, between, wide), wide)
        mask = torch.nn.functional.pad(mask, (0, x.shape[-1] - mask.shape[-1]))
        x = eltwise_unit.add(x, unpack(mask, wide), wide=wide)
        if padded and not fits:  # the sum goes from Dst to SrcB, whose format is that of the mask
            x = _mask_padding(x, width, "bfloat16", wide)
    elif padded:
        x = _mask_padding(x, width, "float32", wide)
    if stable:
        x = unpack(pack(x, between, wide), wide)
        x = eltwise_unit.subtract(x, row_max(x), wide=wide)
    exponentials = softmax_exp(x, approximate=approximate, fp32_dest=wide)
    exponentials = unpack(pack(exponentials, between, wide), wide)
    if fits:
        total = row_sum(exponentials, fidelity=fidelity, fp32_dest_acc=wide)
    else:
        paths.tell(paths.BEYOND_L1)
        total = _sum_in_parts(exponentials, fidelity, wide)
    inverse = softmax_reciprocal(total, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(exponentials, unpack(inverse, wide), fidelity=fidelity, wide=wide)
    return pack(y, out, wide)


def _softmax_bytes(tiles, source, out, between, wide, stable, masked, padded):
    """Size of softmax.cpp's circular buffers, of which some hold a whole row."""
    block = 4 if wide else 8
    row = math.ceil(tiles / block) * block
    source, out, between = TILE_BYTES[source], TILE_BYTES[out], TILE_BYTES[between]
    destination = TILE_BYTES["float32" if wide else "bfloat16"]
    bfloat16 = TILE_BYTES["bfloat16"]
    size = row * between + 2 * block * out  # exponentials, result
    size += max(source, bfloat16) + 2 * destination  # scalers of max and sum, reciprocal
    if masked:
        size += row * (between + bfloat16) + block * between + bfloat16  # x * scale, mask, scale
        size += row * between if stable else 0  # x * scale + mask
    elif stable:
        size += row * (between if padded else source)  # masked or as it comes, read twice
    if masked or padded or not stable:
        size += 2 * block * source  # as it comes, read once
    size += bfloat16 if padded else 0
    return size + (between if stable else 0)


def _mask_padding(x, width, source, wide):
    """x with the last tile's padding masked by the matrix unit, which reads x in format `source`."""
    first = width // TILE * TILE
    mask = torch.zeros(x.shape[-1] - first)
    mask[width - first :] = -math.inf
    last = x[..., first:]
    last = unpack(last, wide) if source == "float32" else truncate_to_bfloat16(last)
    return torch.cat((x[..., :first], eltwise_unit.add(last, mask, wide=wide)), -1)


def _sum_in_parts(exponentials, fidelity, wide):
    """Row sums of LARGE_SOFTMAX_TILES at a time, the one before cut to tf32 and added to each."""
    total = None
    for part in exponentials.split(LARGE_SOFTMAX_TILES * TILE, -1):
        dst = row_sum(part, fidelity=fidelity, fp32_dest_acc=wide)
        if total is not None:
            dst = store(add_lanes(load(dst), load(total)), wide)
        total = unpack(dst, wide)
    return total


def softmax_over_height(
    x,
    *,
    fidelity="HiFi3",
    approximate=True,
    fp32_dest=True,
    dtype="bfloat16",
    out="bfloat16",
):
    """exp(x - max) / sum(exp(x - max)) over the last dimension but one (moreh_softmax_h.cpp).

    Args:
        x: [..., S, W], rows of padding left out.
        fidelity, approximate, fp32_dest: compute kernel config; as for `softmax`.  The exponential
            is accurate whatever `approximate` says; the reciprocal is not.
        dtype: format of x.
        out: format of the result.

    Returns:
        [..., S, W] float32.

    Rows of padding count as 0 in the maximum, and not in the sum.  Columns that do not fit in L1
    are added up tile by tile first (moreh_softmax_h_large.cpp), which rounds every sum.
    """
    wide = fp32_dest
    rows = x.shape[-2]
    x = unpack(x, wide)
    largest = row_max(x.transpose(-1, -2)).transpose(-1, -2)
    if rows % TILE:
        largest = largest.clamp(min=0.0)
    exponentials = _exponentials(x, largest, wide)
    total = torch.nn.functional.pad(exponentials, (0, 0, 0, -rows % TILE))
    if math.ceil(rows / TILE) > LAST_SOFTMAX_HEIGHT_IN_L1[dtype]:
        paths.tell(paths.BEYOND_L1)
        total = _add_up(total.split(TILE, -2), wide)
    total = matrix_sum(total, -2, 1.0, fidelity, wide)
    inverse = reciprocal(total, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(exponentials, unpack(inverse, wide), fidelity=fidelity, wide=wide)
    return _pack_rows(y, out, wide)


def softmax_over_leading(
    x,
    dim,
    *,
    fidelity="HiFi3",
    approximate=True,
    fp32_dest=True,
    dtype="bfloat16",
    out="bfloat16",
):
    """exp(x - max) / sum(exp(x - max)) over a leading dimension (moreh_softmax_c_large.cpp).

    Arguments as for `softmax_over_height`; dim is not one of the last two.  The sum is one of
    tiles, rounded with every term.  The maximum has the format of x.
    """
    wide = fp32_dest
    x = unpack(x, wide)
    if dtype in BLOCK_FORMAT_BITS:
        largest, *terms = x.split(1, dim)
        for term in terms:
            largest = _pack_rows(torch.maximum(largest, term), dtype, wide)
    else:
        largest = row_max(x.movedim(dim, -1)).movedim(-1, dim)
    exponentials = _exponentials(x, largest, wide)
    total = _add_up(exponentials.split(1, dim), wide)
    inverse = reciprocal(total, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(exponentials, unpack(inverse, wide), fidelity=fidelity, wide=wide)
    return _pack_rows(y, out, wide)


def _exponentials(x, largest, wide):
    """exp(x - largest) as the matrix unit reads it; buffers are as wide as Dst."""
    centred = unpack(eltwise_unit.subtract(x, largest, wide=wide), wide)
    return unpack(softmax_exp(centred, approximate=False, fp32_dest=wide), wide)


def _add_up(terms, wide):
    """Sum of terms by the matrix unit, packed and read again with every term."""
    total = terms[0]
    for term in terms[1:]:
        total = unpack(eltwise_unit.add(total, term, wide=wide), wide)
    return total


def _pack_rows(y, out, wide):
    """Packed; rows of a block format are filled up to whole blocks with zeros."""
    width = y.shape[-1]
    return pack(torch.nn.functional.pad(y, (0, -width % BLOCK)), out, wide)[..., :width]
