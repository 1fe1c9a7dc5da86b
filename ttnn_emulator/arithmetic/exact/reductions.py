"""Sums, means, extremes and variances step by step: each device program and what it rounds.

Tensors are float32 or bfloat16 and hold logical contents of any rank; results are float32, rounded
as the packer rounds them, with the reduced dimensions kept as 1. TTNN first fills the padding of
tiles with the neutral value: 0 for sums and means, -inf for max, inf for min.

Programs, their order, formats and defines are those that TTNN 0.81.1 starts on an n150. Kernel
sources: reduce.cpp, reduce_rm.cpp, reduce_{w,h}_neg.cpp, reduce_nc.cpp,
welford_reduce_{w,h,hw}.cpp, llk_math_reduce.h, ckernel_sfpu_reduce.h,
ckernel_sfpu_welfords_common.h.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix import matrix_exact
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import matmul, row_max, unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16, truncate_to_tf32
from ttnn_emulator.arithmetic.exact.vector.vector_binary import multiply_by_scalar
from ttnn_emulator.arithmetic.exact.vector.vector_roots import sqrt
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add, load, mad, mul, store
from ttnn_emulator.arithmetic.formats import BLOCK, BLOCK_FORMAT_BITS, FACE, TILE, ceil_div

CORES = 64

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
REDUCE = Compute("HiFi3", fp32_dest_acc=True)

# Least number of tiles along a height that is split among idle cores.
LEAST_TILES_TO_SPLIT = 20

SLICED = paths.Fact("rows split among cores")
COMBINED_VARIANCES = paths.approximation("variances of several dimensions combined in float64")


class _Settings(NamedTuple):
    """How programs compute: their configuration, and whether float32 may stay float32."""

    compute: Compute
    accurate: bool

    @property
    def fp32_dest_acc(self) -> bool:
        return self.compute.fp32_dest_acc


def reduce(
    operation: str,
    x: torch.Tensor,
    dims: int | tuple[int, ...] | None = None,
    *,
    scalar: float = 1.0,
    compute: Compute = REDUCE,
    fast: bool = False,
    dtype: str = "bfloat16",
    out: str = "bfloat16",
) -> torch.Tensor:
    """`interface.Arithmetic.reduce` of floats, step by step; without dims, over all of them.

    Several dimensions take several programs: for a sum the leading dimensions, last to first, then
    rows and columns; otherwise all, last to first. Results between programs have format `dtype`.
    TTNN keeps them in float32 for a bfloat16 sum, or a mean over more than the last two dimensions,
    that leaves some dimension; and between the rows and the columns of a bfloat16 sum.

    The vector unit reduces float32 if Dst has 32 bits, unless `fast` leaves it to the matrix unit.

    Raises:
        ValueError: for another operation.
    """
    if operation not in ("sum", "mean", "max", "min"):
        raise ValueError(f"{operation!r} is no reduction; use sum, mean, max or min")
    if scalar < 0 and operation in ("max", "min"):  # the factor comes last and turns the order
        operation = "min" if operation == "max" else "max"
    over = _sorted_dims(dims, x.dim())
    x = x.float()
    if x.dim() == 0:
        return x
    settings = _Settings(compute, accurate=compute.fp32_dest_acc and not fast)
    adds = operation in ("sum", "mean")
    chained = adds and 1 < len(over) < x.dim() and dtype == "bfloat16"
    if x.dim() == 1:
        return _reduce_one(operation, x[None], (1,), scalar, dtype, out, settings)[0]
    if operation == "sum" and scalar == 1.0 and dtype != "float32":
        leading = [dim for dim in over if dim < x.dim() - 2]
        over = tuple(dim for dim in over if dim >= x.dim() - 2)
        for dim in reversed(leading):
            between = "float32" if chained else dtype
            last = dim == leading[0] and not over
            x = add_tiles(x, dim, compute.fp32_dest_acc, out if last else between)
        if not over:
            return x
        dtype = "float32" if chained and leading else dtype
    if _one_step(over, x.dim()):
        return _reduce_one(operation, x, over, scalar, dtype, out, settings)
    if operation == "mean" and len(over) > 1:
        scalar = scalar / math.prod(x.shape[dim] for dim in over)
        operation = "sum"
    return _one_by_one(operation, x, over, scalar, dtype, out, settings, chained)


def _sorted_dims(dims: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    if dims is None:
        return tuple(range(rank))
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    return tuple(sorted({dim % rank for dim in dims})) if rank else ()


def _one_step(dims: tuple[int, ...], rank: int) -> bool:
    return dims in ((rank - 1,), (rank - 2,), (rank - 2, rank - 1))


def _one_by_one(operation, x, dims, scalar, dtype, out, settings, chained):
    """A program for every dimension, the last first; leading ones are transposed to the height."""
    scaled = dims[0] if operation in ("max", "min") else dims[-1]
    for dim in reversed(dims):
        result = "float32" if chained else dtype
        result = out if dim == dims[0] else result
        factor = scalar if dim == scaled else 1.0
        axis = max(dim, x.dim() - 2)
        x = x.transpose(dim, axis)
        x = _reduce_one(operation, x, (axis,), factor, dtype, result, settings)
        x = x.transpose(dim, axis)
        dtype = result
    return x


def _reduce_one(operation, x, dims, scalar, dtype, out, settings):
    """Over the width, over the height, or over both."""
    if operation == "mean":
        scalar = scalar / math.prod(x.shape[dim] for dim in dims)
    if len(dims) == 2:
        return _over_both(operation, x, scalar, dtype, out, settings)
    vector = dtype == "float32" and settings.accurate
    axis = dims[0] - x.dim()
    if axis == -2 and operation in ("sum", "mean") and _slices(x) > 1:
        return _sum_of_slices(x, scalar, dtype, out, settings, vector)
    return _program(operation, x, axis, scalar, dtype, out, settings, vector)


def _over_both(operation, x, scalar, dtype, out, settings):
    """First the width, then the height; a single tile that the matrix unit reduces, at once."""
    vector = dtype == "float32" and settings.accurate
    tiles = math.prod(x.shape[:-2]) * math.prod(ceil_div(size, TILE) for size in x.shape[-2:])
    if tiles == 1 and not vector and operation != "min":
        return _single_tile(operation, x, scalar, out, settings)
    intermediate = dtype
    if operation == "sum" and dtype == "bfloat16" and settings.fp32_dest_acc:
        intermediate = "float32"
    x = _program(operation, x, -1, 1.0, dtype, intermediate, settings, vector)
    return _program(operation, x, -2, scalar, intermediate, out, settings, vector)


def _slices(x: torch.Tensor) -> int:
    """How many slices the rows are split into: columns of tiles alone would leave cores idle."""
    tiles = ceil_div(x.shape[-2], TILE)
    columns = math.prod(x.shape[:-2]) * ceil_div(x.shape[-1], TILE)
    if not columns or tiles < LEAST_TILES_TO_SPLIT:
        return 1
    slices = min(CORES // columns, tiles)
    if slices > 1:
        paths.tell(SLICED)
    return slices


def _sum_of_slices(x, scalar, dtype, out, settings, vector):
    """Sum over the height in two programs, the sums of slices in float32 between them."""
    slices = _slices(x)
    rows = TILE * ceil_div(ceil_div(x.shape[-2], TILE), slices)
    x = torch.nn.functional.pad(x, (0, 0, 0, slices * rows - x.shape[-2]))
    x = x.unflatten(-2, (slices, rows))
    partial = _program("sum", x, -2, 1.0, dtype, "float32", settings, vector).squeeze(-2)
    vector = settings.accurate and dtype != "bfloat8_b"
    return _program("sum", partial, -2, scalar, "float32", out, settings, vector)


def _program(operation, x, axis, scalar, dtype, out, settings, vector):
    """One device program: the width (-1) or the height (-2) reduced.

    On the matrix unit a sum is a product with a tile of `scalar`, which is cut to the bits of its
    buffer; the vector unit, and any extreme, multiply the result by the float32 scalar.
    """
    if operation in ("max", "min"):
        return _extreme(operation, x, axis, scalar, dtype, out, settings, vector)
    if vector:
        total = _scaled(_vector_sum(x, axis), scalar, settings.fp32_dest_acc)
    else:
        cut = truncate_to_tf32 if dtype == "float32" else truncate_to_bfloat16
        scaler = cut(torch.tensor(float(scalar))).item()
        total = matrix_sum(x, axis, scaler, settings.compute)
    return _pack(total, out, settings.fp32_dest_acc)


def _scaled(dst: torch.Tensor, scalar: float, fp32_dest_acc: bool) -> torch.Tensor:
    return dst if scalar == 1.0 else multiply_by_scalar(dst, scalar, fp32_dest_acc=fp32_dest_acc)


def _pack(dst: torch.Tensor, out: str, fp32_dest_acc: bool) -> torch.Tensor:
    """Packed; rows of a block format are filled up to whole blocks with zeros."""
    if out not in BLOCK_FORMAT_BITS:
        return pack(dst, out, fp32_dest_acc)
    width = dst.shape[-1]
    return pack(torch.nn.functional.pad(dst, (0, -width % BLOCK)), out, fp32_dest_acc)[..., :width]


# --- matrix unit ---------------------------------------------------------------------------------


def matrix_sum(x: torch.Tensor, axis: int, scaler: float, compute: Compute) -> torch.Tensor:
    """Sum over the width (-1) or the height (-2) times a scaler, as it stands in Dst.

    Over the width the data is SrcB, over the height SrcA. Over the height a face takes all phases
    before the next does (GAPOOL), which is what a product does with tiles whose other half is zero.
    """
    if axis == -1:
        return matmul(x, torch.full((x.shape[-1], 1), scaler), compute=compute, out="float32")
    height = ceil_div(x.shape[-2], FACE)
    x = torch.nn.functional.pad(x, (0, 0, 0, height * FACE - x.shape[-2]))
    faces = torch.nn.functional.pad(x.unflatten(-2, (height, FACE)), (0, 0, 0, TILE - FACE))
    total = matmul(
        torch.full((1, height * TILE), scaler),
        faces.flatten(-3, -2),
        compute=compute,
        out="float32",
    )
    return total.reshape(*x.shape[:-2], 1, x.shape[-1])


def _single_tile(operation, x, scalar, out, settings):
    """REDUCE_SCALAR: sums of columns over all four faces, then over the 16 columns.

    The sums of columns go back to SrcB, which cuts them to the input's format: bfloat16.
    """
    if operation == "max":
        dst = row_max(unpack(x, settings.fp32_dest_acc).flatten(-2))[..., None]
    else:
        height, width = x.shape[-2:]
        tile = torch.nn.functional.pad(x, (0, TILE - width, 0, TILE - height))
        faces = tile.unflatten(-1, (2, FACE)).unflatten(-3, (2, FACE)).transpose(-2, -3)
        faces = faces.reshape(*x.shape[:-2], 4 * FACE, FACE)
        columns = matrix_sum(faces, -2, 1.0, settings.compute)
        columns = truncate_to_bfloat16(columns).transpose(-1, -2)
        dst = matrix_sum(columns, -2, 1.0, settings.compute)
    return _pack(_scaled(dst, scalar, settings.fp32_dest_acc), out, settings.fp32_dest_acc)


@njit(parallel=True, cache=True)
def _accumulate(terms, fp32_dest_acc, out):
    """ELWADD of every term and zero onto Dst: terms [K, M] and out [M], bits of float32."""
    for i in prange(out.size):
        value = np.int64(0)
        for k in range(terms.shape[0]):
            bits = np.int64(terms[k, i])
            exponent = (bits >> 23) & 0xFF
            units = ((bits & 0x7FFFFF) | 0x800000) >> 13 if exponent else np.int64(0)
            units = -units if bits >> 31 else units
            value = matrix_exact.accumulate(value, units, exponent, 0, 0, fp32_dest_acc)
        out[i] = value


def add_tiles(x: torch.Tensor, dim: int, fp32_dest_acc: bool, out: str) -> torch.Tensor:
    """Sum over a leading dimension, tile by tile in Dst (reduce_nc.cpp)."""
    terms = unpack(x, fp32_dest_acc).movedim(dim, 0)
    shape = terms.shape[1:]
    patterns = terms.reshape(len(terms), -1).contiguous().numpy().view(np.uint32)
    sums = np.zeros(patterns.shape[1], np.uint32)
    _accumulate(patterns, fp32_dest_acc, sums)
    dst = torch.from_numpy(sums.view(np.float32)).reshape(shape)
    return _pack(dst, out, fp32_dest_acc).unsqueeze(dim)


def _extreme(operation, x, axis, scalar, dtype, out, settings, vector):
    """max or min, exact: only a block format between tiles of a height, and the factor, round."""
    if not vector:
        x = unpack(x, settings.fp32_dest_acc)
    sign = 1.0 if operation == "max" else -1.0
    x = (sign * x).transpose(axis, -1)
    if operation == "min" and dtype == "bfloat8_b" and axis == -2:
        largest = None
        for rows in x.split(TILE, -1):
            new = row_max(rows) if largest is None else torch.maximum(largest, row_max(rows))
            largest = _pack(new.transpose(-1, -2), dtype, settings.fp32_dest_acc).transpose(-1, -2)
    else:
        largest = row_max(x)
    dst = sign * largest.transpose(axis, -1) + 0.0  # no negative zero
    return _pack(_scaled(dst, scalar, settings.fp32_dest_acc), out, settings.fp32_dest_acc)


# --- vector unit ---------------------------------------------------------------------------------


def _vector_sum(x: torch.Tensor, axis: int) -> torch.Tensor:
    """float32 sum: tile onto tile, then within the tile in the order of ckernel_sfpu_reduce.h."""
    size = x.shape[axis]
    x = load(x.transpose(axis, -1))
    tiles = torch.nn.functional.pad(x, (0, -size % TILE)).split(TILE, -1)
    total = tiles[0]
    for tile in tiles[1:]:
        total = add(total, tile)
    if axis == -1:  # even and odd columns of both faces, then eight lanes
        left_face, right_face = total.split(FACE, -1)
        lanes = add(right_face[..., 0::2], right_face[..., 1::2])
        lanes = add(left_face[..., 0::2], add(left_face[..., 1::2], lanes))
        pairs = add(lanes[..., :4], lanes[..., 4:])
        quads = add(pairs[..., :2], pairs[..., 2:])
        return add(quads[..., :1], quads[..., 1:])
    rows = total.unflatten(-1, (2, 4, 4))  # face, group of four rows, row
    groups = add(rows[..., 2, :], rows[..., 3, :])
    groups = add(rows[..., 0, :], add(rows[..., 1, :], groups))
    row = add(groups[..., 0, :], groups[..., 1, :])
    pairs = add(row[..., 0::2], row[..., 1::2])
    return add(pairs[..., :1], pairs[..., 1:]).transpose(-1, -2)


def variance(
    x: torch.Tensor,
    dims: int | tuple[int, ...] | None = None,
    correction: bool = True,
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`; without dims, over all of them.

    The statistics are float32 whatever Dst's width. One dimension is followed step by step: the
    mean as an offset from the first value, then the squares about it. Of several only the last but
    one is; its means and variances are combined in float64 and rounded to float32, where the device
    adds float32 in a tree. A single value has the variance NaN, or 0 without correction.
    """
    fp32_dest_acc = (compute or REDUCE).fp32_dest_acc
    return _statistic(x, dims, correction, lambda dst: dst, scalar * scalar, fp32_dest_acc, out)


def standard_deviation(
    x: torch.Tensor,
    dims: int | tuple[int, ...] | None = None,
    correction: bool = True,
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`: the root of the variance, taken in Dst, times |scalar|."""
    compute = compute or REDUCE

    def root(dst: torch.Tensor) -> torch.Tensor:
        return sqrt(dst, approximate=compute.approximate, fp32_dest_acc=compute.fp32_dest_acc)

    return _statistic(x, dims, correction, root, abs(scalar), compute.fp32_dest_acc, out)


def _statistic(x, dims, correction, of_variance, factor, fp32_dest_acc, out):
    """of_variance(variance) * factor, packed; of a single value NaN or 0, as TTNN fills."""
    dims = _sorted_dims(dims, x.dim())
    count = math.prod(x.shape[dim] for dim in dims)
    shape = [1 if dim in dims else size for dim, size in enumerate(x.shape)]
    if count == 1:
        return torch.full(shape, math.nan if correction else 0.0)
    dst = of_variance(_variance(x.float(), dims, shape, count, correction, fp32_dest_acc))
    return _pack(_scaled(dst, factor, fp32_dest_acc), out, fp32_dest_acc)


def _variance(x, dims, shape, count, correction, fp32_dest_acc):
    if len(dims) == 1:
        _, result = _mean_and_variance(x.movedim(dims, (0,)), count - bool(correction))
        return store(result.reshape(shape), fp32_dest_acc)
    paths.tell(COMBINED_VARIANCES)
    leading = [dim for dim in range(x.dim()) if dim not in dims]
    columns = x.permute(*leading, *dims).movedim(-2, 0).contiguous()
    means, variances = _mean_and_variance(columns, len(columns))
    over = tuple(range(len(leading), means.dim()))
    total = means.double().var(over, correction=0) + variances.double().mean(over)
    total = total * (count / (count - bool(correction)))
    return store(load(total.float().reshape(shape)), fp32_dest_acc)


def _mean_and_variance(x: torch.Tensor, divisor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two-pass statistics of the first dimension, with separate sums over even and odd indices."""
    x = load(x)
    anchor = x[0]
    sums = [torch.zeros_like(anchor), torch.zeros_like(anchor)]
    for place, value in enumerate(x):
        sums[place % 2] = add(sums[place % 2], add(value, -anchor))
    mean = mad(add(*sums), _reciprocal(len(x)), anchor)
    squares = [torch.zeros_like(anchor), torch.zeros_like(anchor)]
    for place, value in enumerate(x):
        residual = add(value, -mean)
        squares[place % 2] = mad(residual, residual, squares[place % 2])
    return mean, mul(add(*squares), _reciprocal(divisor))


def _reciprocal(count: int) -> float:
    return float(np.float32(1) / np.float32(count))
