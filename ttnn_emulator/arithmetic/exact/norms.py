"""rms_norm and softmax step by step, with the format of every intermediate buffer.

Tensors are float32 or bfloat16 and hold what lies in the device's buffers: S rows, W columns, as
padded on the device. Results are float32, rounded as the packer rounds them to the format `out`.
Kernel sources: layernorm.cpp, layernorm_large_tensor.cpp, numeric.h, softmax.cpp, and those that
functions name. The circular buffers have the formats that TTNN 0.81.1's program factories
ask for.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats
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
from ttnn_emulator.arithmetic.formats import (
    BLOCK,
    BLOCK_FORMAT_BITS,
    TILE,
    TILE_BYTES,
    ceil_div,
)

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
RMS_NORM = Compute("HiFi4", approximate=True)
SOFTMAX = Compute("HiFi3", approximate=True, fp32_dest_acc=True)

# Widest row, in tiles, that layernorm.cpp holds in L1; wider ones are left to
# layernorm_large_tensor.cpp. By (32-bit Dst, weight, residual), observed in the programs that TTNN
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
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    epsilon: float,
    width: int | None = None,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`; the kernel cuts epsilon to bfloat16."""
    compute = compute or RMS_NORM
    fidelity, fp32_dest_acc = compute.fidelity, compute.fp32_dest_acc
    width = x.shape[-1] if width is None else width
    x = unpack(x, fp32_dest_acc)
    if residual is not None:
        x = unpack(
            eltwise_unit.add(x, unpack(residual, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc),
            fp32_dest_acc,
        )
    if _fits_in_l1(x.shape[-1], fp32_dest_acc, weight is not None, residual is not None):
        squares = eltwise_unit.multiply(x, x, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc)
    else:
        paths.tell(paths.BEYOND_L1)
        squares = square(x, fp32_dest_acc=fp32_dest_acc)
    squares[..., width:] = 0  # the last scaler tile is 0 there, and so is 0 times anything
    total = row_sum(squares, compute)
    reciprocal_width = (torch.tensor(1.0) / width).item()
    mean = multiply_by_scalar(total, reciprocal_width, fp32_dest_acc=fp32_dest_acc)
    addend = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    shifted = eltwise_unit.add(unpack(mean, fp32_dest_acc), addend, fp32_dest_acc=fp32_dest_acc)
    factor = rsqrt(shifted, approximate=compute.approximate, fp32_dest_acc=fp32_dest_acc)
    y = eltwise_unit.multiply(
        x, unpack(factor, fp32_dest_acc), fidelity=fidelity, fp32_dest_acc=fp32_dest_acc
    )
    if weight is not None:
        weight = unpack(weight, fp32_dest_acc)
        y = eltwise_unit.multiply(
            unpack(y, fp32_dest_acc), weight, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc
        )
    if bias is not None:
        y = eltwise_unit.add(
            unpack(y, fp32_dest_acc), unpack(bias, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc
        )
    return pack(y, formats.out, fp32_dest_acc)


def _fits_in_l1(width: int, fp32_dest_acc: bool, has_weight: bool, has_residual: bool) -> bool:
    return ceil_div(width, TILE) <= LAST_WIDTH_IN_L1[fp32_dest_acc, has_weight, has_residual]


# Bytes that the buffers of softmax.cpp may take: between 1350656, the most of the programs that
# TTNN 0.81.1 was seen to build on an n150, and 1353728, the least of those it did not.
SOFTMAX_BUFFER_BYTES = 1320 * 1024

# Tiles of a row that softmax_large_tensor.cpp takes at a time.
LARGE_SOFTMAX_TILES = 80

# Most tiles of a column that are left to moreh_softmax_h.cpp, by format of the tensor: observed.
LAST_SOFTMAX_HEIGHT_IN_L1 = {"bfloat16": 32, "bfloat8_b": 32, "float32": 24}


def softmax(
    x: torch.Tensor,
    dim: int = -1,
    *,
    width: int | None = None,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
    numeric_stable: bool = True,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`; each dimension has a kernel of its own."""
    float32 = formats.operand == "float32"
    float32_exponentials = float32 or (compute is not None and compute.fp32_dest_acc)
    compute = compute or replace(SOFTMAX, approximate=not float32)
    dim %= x.dim()
    if dim == x.dim() - 2:
        return softmax_over_height(x, compute=compute, formats=formats)
    if dim < x.dim() - 2:
        return softmax_over_leading(x, dim, compute=compute, formats=formats)
    return softmax_over_width(
        x,
        width=width,
        scaled_mask=_scaled_mask(mask, scale),
        stable=numeric_stable,
        compute=compute,
        float32_exponentials=float32_exponentials,
        formats=formats,
    )


class ScaledMask(NamedTuple):
    """A mask that softmax adds to its scaled operand.

    Attributes:
        values: up to W columns, broadcastable.
        scale: factor of the operand, cut to bfloat16.
    """

    values: torch.Tensor
    scale: float = 1.0


def _scaled_mask(mask: torch.Tensor | None, scale: float | None) -> ScaledMask | None:
    if mask is not None:
        return ScaledMask(mask, 1.0 if scale is None else float(scale))
    if scale is not None:
        raise ValueError(f"softmax: scale is {scale} but there is no mask; multiply x instead")
    return None


def softmax_over_width(
    x: torch.Tensor,
    *,
    width: int | None = None,
    scaled_mask: ScaledMask | None = None,
    stable: bool = True,
    compute: Compute = SOFTMAX,
    float32_exponentials: bool = False,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """exp(x - max) / sum(exp(x - max)) of x * scale + mask over the last dimension.

    Minus infinity is added to the columns from `width` on, which then contribute nothing. Only plus
    infinity there cancels with it: that column counts as a 0 in the row.

    Args:
        x: [..., S, W], W a multiple of 32 if there is padding.
        width: columns that are not padding; None means all W.
        scaled_mask: mask and scale, or None.
        stable: whether the row's maximum is subtracted first (`numeric_stable`).
        compute: compute kernel configuration.
        float32_exponentials: whether buffers between the steps are float32 rather than bfloat16, as
            they are for a float32 tensor, and for an explicit compute kernel configuration with a
            32-bit Dst.
        formats: of x and of the result.

    Returns:
        [..., S, W] float32. Rows that do not fit in L1 are summed in parts
        (softmax_large_tensor.cpp).
    """
    fidelity, fp32_dest_acc = compute.fidelity, compute.fp32_dest_acc
    padding = x.shape[-1] - (x.shape[-1] if width is None else width)
    buffers = _SoftmaxBuffers(
        source=formats.operand,
        out=formats.out,
        between="float32" if float32_exponentials else "bfloat16",
        fp32_dest_acc=fp32_dest_acc,
        stable=stable,
        masked=scaled_mask is not None,
        padded=padding > 0,
    )
    fits = _softmax_bytes(ceil_div(x.shape[-1], TILE), buffers) <= SOFTMAX_BUFFER_BYTES
    between = buffers.between
    x = unpack(x, fp32_dest_acc)
    if scaled_mask is not None:
        factor = truncate_to_bfloat16(torch.tensor(scaled_mask.scale))
        x = eltwise_unit.multiply(x, factor, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc)
        if padding > 0 and fits:  # the product goes from Dst to SrcA, whose format is that of x
            x = _mask_padding(x, padding, formats.operand, fp32_dest_acc)
        x = unpack(pack(x, between, fp32_dest_acc), fp32_dest_acc)
        mask = scaled_mask.values
        mask = torch.nn.functional.pad(mask, (0, x.shape[-1] - mask.shape[-1]))
        x = eltwise_unit.add(x, unpack(mask, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc)
        if padding > 0 and not fits:  # the sum goes from Dst to SrcB, of the format of the mask
            x = _mask_padding(x, padding, "bfloat16", fp32_dest_acc)
    elif padding > 0:
        x = _mask_padding(x, padding, "float32", fp32_dest_acc)
    if stable:
        x = unpack(pack(x, between, fp32_dest_acc), fp32_dest_acc)
        x = eltwise_unit.subtract(x, row_max(x), fp32_dest_acc=fp32_dest_acc)
    exponentials = softmax_exp(x, approximate=compute.approximate, fp32_dest_acc=fp32_dest_acc)
    exponentials = unpack(pack(exponentials, between, fp32_dest_acc), fp32_dest_acc)
    if fits:
        total = row_sum(exponentials, compute)
    else:
        paths.tell(paths.BEYOND_L1)
        total = _sum_in_parts(exponentials, compute)
    inverse = softmax_reciprocal(
        total, approximate=compute.approximate, fp32_dest_acc=fp32_dest_acc
    )
    return pack(_product(exponentials, inverse, compute), formats.out, fp32_dest_acc)


class _SoftmaxBuffers(NamedTuple):
    """What determines the size of softmax.cpp's circular buffers, besides the length of a row."""

    source: str  # formats: of the operand, the result and the buffers between the steps
    out: str
    between: str
    fp32_dest_acc: bool
    stable: bool
    masked: bool
    padded: bool


def _softmax_bytes(tiles: int, buffers: _SoftmaxBuffers) -> int:
    """Size of softmax.cpp's circular buffers, of which some hold a whole row of `tiles`."""
    stable, masked, padded = buffers.stable, buffers.masked, buffers.padded
    block = 4 if buffers.fp32_dest_acc else 8
    row = ceil_div(tiles, block) * block
    source, out = TILE_BYTES[buffers.source], TILE_BYTES[buffers.out]
    between, bfloat16 = TILE_BYTES[buffers.between], TILE_BYTES["bfloat16"]
    destination = TILE_BYTES["float32" if buffers.fp32_dest_acc else "bfloat16"]
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


def _mask_padding(x: torch.Tensor, padding: int, source: str, fp32_dest_acc: bool) -> torch.Tensor:
    """x with the last tile's padding masked by the matrix unit, which reads x as `source`."""
    width = x.shape[-1] - padding
    first = width // TILE * TILE
    mask = torch.zeros(x.shape[-1] - first)
    mask[width - first :] = -math.inf
    last = x[..., first:]
    last = unpack(last, fp32_dest_acc) if source == "float32" else truncate_to_bfloat16(last)
    masked = eltwise_unit.add(last, mask, fp32_dest_acc=fp32_dest_acc)
    return torch.cat((x[..., :first], masked), -1)


def _sum_in_parts(exponentials: torch.Tensor, compute: Compute) -> torch.Tensor:
    """Row sums of LARGE_SOFTMAX_TILES at a time; each adds the sum before, truncated to tf32."""
    total: torch.Tensor | None = None
    for part in exponentials.split(LARGE_SOFTMAX_TILES * TILE, -1):
        dst = row_sum(part, compute)
        if total is not None:
            dst = store(add_lanes(load(dst), load(total)), compute.fp32_dest_acc)
        total = unpack(dst, compute.fp32_dest_acc)
    assert total is not None  # a row has columns
    return total


def softmax_over_height(
    x: torch.Tensor, *, compute: Compute = SOFTMAX, formats: Formats = BFLOAT16
) -> torch.Tensor:
    """exp(x - max) / sum(exp(x - max)) over the last dimension but one (moreh_softmax_h.cpp).

    Args:
        x: [..., S, W], rows of padding left out.
        compute: compute kernel configuration. The exponential is accurate whatever its
            `approximate` says; the reciprocal is not.
        formats: of x and of the result.

    Returns:
        [..., S, W] float32.

    Rows of padding count as 0 in the maximum, and not in the sum. Columns that do not fit in L1
    are added up tile by tile first (moreh_softmax_h_large.cpp), which rounds every sum.
    """
    fp32_dest_acc = compute.fp32_dest_acc
    rows = x.shape[-2]
    x = unpack(x, fp32_dest_acc)
    largest = row_max(x.transpose(-1, -2)).transpose(-1, -2)
    if rows % TILE:
        largest = largest.clamp(min=0.0)
    exponentials = _exponentials(x, largest, fp32_dest_acc)
    total = torch.nn.functional.pad(exponentials, (0, 0, 0, -rows % TILE))
    if ceil_div(rows, TILE) > LAST_SOFTMAX_HEIGHT_IN_L1[formats.operand]:
        paths.tell(paths.BEYOND_L1)
        total = _add_up(total.split(TILE, -2), fp32_dest_acc)
    total = matrix_sum(total, -2, 1.0, compute)
    return _normalised(exponentials, total, compute, formats.out)


def softmax_over_leading(
    x: torch.Tensor, dim: int, *, compute: Compute = SOFTMAX, formats: Formats = BFLOAT16
) -> torch.Tensor:
    """exp(x - max) / sum(exp(x - max)) over a leading dimension (moreh_softmax_c_large.cpp).

    Arguments as for `softmax_over_height`; dim is not one of the last two. The sum is taken tile by
    tile and rounded each time. The maximum has the format of x.
    """
    fp32_dest_acc = compute.fp32_dest_acc
    x = unpack(x, fp32_dest_acc)
    if formats.operand in BLOCK_FORMAT_BITS:
        largest, *terms = x.split(1, dim)
        for term in terms:
            largest = _pack_rows(torch.maximum(largest, term), formats.operand, fp32_dest_acc)
    else:
        largest = row_max(x.movedim(dim, -1)).movedim(-1, dim)
    exponentials = _exponentials(x, largest, fp32_dest_acc)
    total = _add_up(exponentials.split(1, dim), fp32_dest_acc)
    return _normalised(exponentials, total, compute, formats.out)


def _normalised(
    exponentials: torch.Tensor, total: torch.Tensor, compute: Compute, out: str
) -> torch.Tensor:
    """exponentials / total, packed."""
    fp32_dest_acc = compute.fp32_dest_acc
    inverse = reciprocal(total, approximate=compute.approximate, fp32_dest_acc=fp32_dest_acc)
    return _pack_rows(_product(exponentials, inverse, compute), out, fp32_dest_acc)


def _product(exponentials: torch.Tensor, inverse: torch.Tensor, compute: Compute) -> torch.Tensor:
    return eltwise_unit.multiply(
        exponentials,
        unpack(inverse, compute.fp32_dest_acc),
        fidelity=compute.fidelity,
        fp32_dest_acc=compute.fp32_dest_acc,
    )


def _exponentials(x: torch.Tensor, largest: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """exp(x - largest) as the matrix unit reads it; buffers have as many bits as Dst."""
    centred = unpack(eltwise_unit.subtract(x, largest, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc)
    return unpack(
        softmax_exp(centred, approximate=False, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc
    )


def _add_up(terms: Sequence[torch.Tensor], fp32_dest_acc: bool) -> torch.Tensor:
    """Sum of terms by the matrix unit; each partial sum is packed and unpacked again."""
    total = terms[0]
    for term in terms[1:]:
        total = unpack(eltwise_unit.add(total, term, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc)
    return total


def _pack_rows(y: torch.Tensor, out: str, fp32_dest_acc: bool) -> torch.Tensor:
    """Packed; rows of a block format are filled up to whole blocks with zeros."""
    width = y.shape[-1]
    return pack(torch.nn.functional.pad(y, (0, -width % BLOCK)), out, fp32_dest_acc)[..., :width]
