"""The matrix unit: matrix products and row reductions with the device's roundings.

`matmul` is the arithmetic of TTNN's matmul kernel (bmm_large_block_zm_fused_bias_activation): the
activation is SrcB, of which a fidelity phase sees 7 bits, the weight is SrcA, of which it sees 5.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ttnn_emulator.arithmetic.compute import FIDELITY_PHASES, Compute
from ttnn_emulator.arithmetic.exact import packer
from ttnn_emulator.arithmetic.exact.matrix import (
    matrix_accumulator,
    matrix_exact,
    matrix_kernels,
    matrix_operands,
)
from ttnn_emulator.arithmetic.exact.matrix.eltwise_unit import add, largest_exponent
from ttnn_emulator.arithmetic.exact.matrix.matrix_kernels import Accumulation
from ttnn_emulator.arithmetic.formats import BLOCK_FORMAT_BITS, TILE

LANES = matrix_kernels.LANES  # columns that the kernels compute together

_INFINITE = 255  # biased exponent

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
MATMUL = Compute("HiFi2")
ROW_SUM = Compute("HiFi3", fp32_dest_acc=True)


@dataclass(frozen=True)
class Weight:
    """A right operand laid out for the kernels; made by `prepare_weight`.

    Attributes:
        tiles: [W, K/32, 32, N/64, 64] uint16 (bfloat16) or uint32 (float32 bits), zero padded.
        shape: the operand's own shape [..., K, N].
        largest_exponent: largest biased exponent in it.
    """

    tiles: np.ndarray
    shape: tuple[int, ...]
    largest_exponent: int


def prepare_weight(weight: torch.Tensor) -> Weight:
    """Lay out a right operand once for all products with it.

    Args:
        weight: [..., K, N] bfloat16 or float32 (block formats: dequantised). float32 with more
            bits than bfloat16 is what a 32-bit destination reads as tf32.

    Returns:
        A `Weight`. It shares the tensor's memory if that is contiguous bfloat16 without
        denormals, K a multiple of 32 and N of 64: 2 bytes per value, none of them copied.
    """
    depth, columns = weight.shape[-2:]
    if weight.dtype == torch.bfloat16:
        bits = weight.view(torch.int16).numpy().view(np.uint16)
    else:
        bits = weight.float().contiguous().view(torch.int32).numpy().view(np.uint32)
        if not (bits & 0xFFFF).any():
            bits = (bits >> 16).astype(np.uint16)
    bits = bits.reshape(-1, depth, columns)
    whole = bits.flags.c_contiguous and not (depth % TILE or columns % LANES)
    largest, has_denormals = matrix_operands.survey(bits) if whole else (0, False)
    if has_denormals or not whole:
        shape = len(bits), depth + -depth % TILE, columns + -columns % LANES
        laid = np.zeros(shape, bits.dtype)
        largest = matrix_operands.lay_out(bits, laid)
        bits = laid
    count, depth, columns = bits.shape
    tiles = bits.reshape(count, depth // TILE, TILE, columns // LANES, LANES)
    return Weight(tiles, tuple(weight.shape), largest)


def weight_in_place(weight: torch.Tensor, largest_exponent: int) -> Weight:
    """The `Weight` of a tensor of which `lies_in` says it needs no copy; reads no values."""
    bits = weight.view(torch.int16).numpy().view(np.uint16)
    depth, columns = weight.shape[-2:]
    tiles = bits.reshape(-1, depth // TILE, TILE, columns // LANES, LANES)
    return Weight(tiles, tuple(weight.shape), largest_exponent)


def lies_in(prepared: Weight, weight: torch.Tensor) -> bool:
    """Whether a `Weight` shares the memory of the tensor that it was made of."""
    if weight.dtype != torch.bfloat16 or not weight.is_contiguous():
        return False
    return np.may_share_memory(prepared.tiles, weight.view(torch.int16).numpy())


def _activation_rows(activation: torch.Tensor, batches: int) -> torch.Tensor:
    """[..., M, K] as the kernels take it: [batches, rows, K padded to tiles] float32."""
    depth = activation.shape[-1]
    rows = activation.float().reshape(batches, -1, depth)
    return torch.nn.functional.pad(rows, (0, -depth % TILE)).contiguous()


def _activation_pieces(
    rows: torch.Tensor, phases: int, below: int
) -> tuple[np.ndarray, np.ndarray]:
    """The 7-bit and the 4-bit pieces of SrcB operands, and their exponents in two forms."""
    batches, count, depth = rows.shape
    steps = depth // matrix_operands.STEP, count, matrix_operands.STEP
    pieces = np.empty((batches, 2 if phases > 2 else 1, *steps), np.float32)
    exponents = np.empty((batches, 2, *steps), np.int32)
    matrix_operands.split_rows(rows.numpy(), pieces, exponents, below)
    return pieces, exponents


def _batches(activation: torch.Tensor, weight: Weight) -> tuple[int, np.ndarray]:
    """(number of products, for each the index of its weight matrix)."""
    matrices = weight.tiles.shape[0]
    if matrices == 1:
        return 1, np.zeros(1, np.int64)
    leading = np.broadcast_shapes(activation.shape[:-2], weight.shape[:-2])
    index = np.arange(matrices, dtype=np.int64).reshape(weight.shape[:-2])
    index = np.broadcast_to(index, leading).reshape(-1)
    return len(index), np.ascontiguousarray(index)


def _accumulate_exact(
    rows: torch.Tensor,
    weight: Weight,
    matrices: np.ndarray,
    accumulation: matrix_kernels.Accumulation,
    dst: np.ndarray,
) -> None:
    """What `matrix_kernels.accumulate_tiles` does, for values out of its range."""
    phases, fp32_dest_acc, block, mode = accumulation
    tiles = weight.tiles
    bits = tiles.reshape(tiles.shape[0], tiles.shape[1] * TILE, -1)
    if bits.dtype == np.uint16:
        bits = bits.astype(np.uint32) << 16
    step = block * TILE if mode else bits.shape[1]
    starts = range(0, bits.shape[1], step)
    for batch, chosen in enumerate(matrices):
        l1 = None
        for start in starts:
            last = start + step >= bits.shape[1]
            on_top = last and l1 is not None and mode == matrix_kernels.LAST_BLOCK_ON_TOP
            state = l1 if on_top else dst[batch] * (0 if start else 1)
            state = np.ascontiguousarray(state).view(np.uint32)
            matrix_exact.accumulate_tiles(
                np.ascontiguousarray(bits[chosen, start : start + step]),
                rows[batch, :, start : start + step].contiguous().numpy().view(np.uint32),
                phases,
                fp32_dest_acc,
                state,
            )
            state = state.view(np.float32)
            if l1 is not None and not on_top:
                block_sum = torch.from_numpy(state)
                state = packer.add_in_l1(torch.from_numpy(l1), block_sum, fp32_dest_acc).numpy()
            l1 = state
        dst[batch] = l1


def _accumulate(
    activation: torch.Tensor,
    weight: Weight,
    accumulation: matrix_kernels.Accumulation,
    dst: np.ndarray | None = None,
) -> np.ndarray:
    """Contents of the destination after all of K: [batches, rows, padded N] float32."""
    batches, matrices = _batches(activation, weight)
    if len(matrices) > 1:
        leading = np.broadcast_shapes(activation.shape[:-2], weight.shape[:-2])
        activation = activation.expand(*leading, *activation.shape[-2:])
    rows = _activation_rows(activation, batches)
    columns = weight.tiles.shape[3] * LANES
    if dst is None:
        dst = np.zeros((batches, rows.shape[1], columns), np.float32)
    largest = (weight.largest_exponent, largest_exponent(rows.numpy()))
    if sum(largest) > matrix_accumulator.LARGEST_PRODUCT or max(largest) == _INFINITE:
        _accumulate_exact(rows, weight, matrices, accumulation, dst)
        return dst
    windows = np.array([matrix_operands.window_of(exponent) for exponent in largest])
    pieces, exponents = _activation_pieces(rows, accumulation.phases, windows[1])
    stripe = matrix_kernels.stripe_of(rows.shape[1], columns // LANES)
    matrix_kernels.accumulate_tiles(
        weight.tiles, matrices, pieces, exponents, windows, accumulation, stripe, dst
    )
    return dst


def _accumulate_with_spills(
    activation: torch.Tensor, weight: Weight, accumulation: matrix_kernels.Accumulation, dtype: str
) -> np.ndarray:
    """`_accumulate` with the destination packed in a block format between blocks of K."""
    block = accumulation.block
    tiles = weight.tiles.shape[1]
    padded = torch.nn.functional.pad(activation, (0, -activation.shape[-1] % TILE))
    dst: np.ndarray | None = None
    for start in range(0, tiles, block):
        if dst is not None:
            dst = packer.pack_block_float(torch.from_numpy(dst), dtype).numpy()
        part = padded[..., start * TILE : (start + block) * TILE]
        tiles_of_part = np.ascontiguousarray(weight.tiles[:, start : start + block])
        dst = _accumulate(part, replace(weight, tiles=tiles_of_part), accumulation, dst)
    assert dst is not None  # K has tiles
    return dst


def _trim(dst: np.ndarray, activation: torch.Tensor, weight: Weight) -> torch.Tensor:
    """The destination at the product's own shape [..., M, N]."""
    leading: tuple[int, ...] = activation.shape[:-2]
    if weight.tiles.shape[0] > 1:
        leading = np.broadcast_shapes(leading, weight.shape[:-2])
    columns = weight.shape[-1]
    return torch.from_numpy(dst)[..., :columns].reshape(*leading, activation.shape[-2], columns)


def unpack(values: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """Values as SrcA and SrcB hold them: tf32 beside a 32-bit destination, else bfloat16."""
    if values.dtype == torch.bfloat16:
        return values.float()
    return packer.truncate_to_tf32(values) if fp32_dest_acc else packer.truncate_to_bfloat16(values)


def matmul(
    activation: torch.Tensor,
    weight: torch.Tensor | Weight,
    *,
    compute: Compute = MATMUL,
    k_block_tiles: int | None = None,
    bias: torch.Tensor | None = None,
    fused: Callable[[torch.Tensor], torch.Tensor] | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """activation @ weight (+ bias) as the matmul kernel computes it.

    Args:
        activation: [..., M, K] float32 or bfloat16.
        weight: [..., K, N] float32 or bfloat16, or a `Weight` of it. Leading dimensions
            broadcast; without any (or all 1) the weight serves all rows.
        compute: compute kernel configuration. In a 32-bit destination sums keep 24 bits instead of
            8. With packer_l1_acc the blocks of K are summed in L1, all but the last with rounding
            to nearest even.
        k_block_tiles: in0_block_w, tiles of K in one block, a divisor of K/32; None is all of K.
        bias: [..., 1, N] or [N] float32 or bfloat16, added by the matrix unit at the end.
        fused: function from Dst to Dst that is applied before packing, or None.
        out: float32, bfloat16, bfloat8_b or bfloat4_b.

    Returns:
        [..., M, N] float32, the values as the packer leaves them in format `out`.

    Blocks without L1 accumulation are spilled to L1 and reloaded: without loss unless the 16-bit
    destination is spilled in a block format `out`.

    Raises:
        ValueError: for shapes that do not fit or a block size that does not divide K.
    """
    fp32_dest_acc = compute.fp32_dest_acc
    if not isinstance(weight, Weight):
        weight = prepare_weight(unpack(weight, fp32_dest_acc))
    depth = activation.shape[-1]
    if depth != weight.shape[-2]:
        raise ValueError(
            f"activation {tuple(activation.shape)} has K={depth} and weight {weight.shape} has"
            f" K={weight.shape[-2]}; they must be equal"
        )
    activation = unpack(activation, fp32_dest_acc)
    tiles = weight.tiles.shape[1]
    block = k_block_tiles or tiles
    if tiles % block:
        raise ValueError(f"k_block_tiles={block} does not divide the {tiles} tiles of K={depth}")
    mode = matrix_kernels.ONE_ACCUMULATION
    if compute.packer_l1_acc and block < tiles:
        sums_all = bias is not None
        mode = matrix_kernels.ALL_BLOCKS_IN_L1 if sums_all else matrix_kernels.LAST_BLOCK_ON_TOP
    accumulation = Accumulation(FIDELITY_PHASES[compute.fidelity], fp32_dest_acc, block, mode)
    if mode == matrix_kernels.ONE_ACCUMULATION and not fp32_dest_acc and out in BLOCK_FORMAT_BITS:
        sums = _accumulate_with_spills(activation, weight, accumulation, out)
    else:
        sums = _accumulate(activation, weight, accumulation)
    dst = _trim(sums, activation, weight)
    if bias is not None:
        dst = unpack(dst, fp32_dest_acc)
        dst = add(dst, unpack(bias, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc)
    if fused is not None:
        dst = fused(dst)
    return packer.pack(dst, out, fp32_dest_acc)


@functools.lru_cache(maxsize=64)
def _column_of(scaler: float, height: int) -> Weight:
    """[height, 1], each value the scaler."""
    return prepare_weight(torch.full((height, 1), scaler, dtype=torch.bfloat16))


def row_sum(
    values: torch.Tensor, compute: Compute = ROW_SUM, *, scaler: float = 1.0
) -> torch.Tensor:
    """Sum over the last dimension times a scaler, as the reduce kernel leaves it in Dst.

    Args:
        values: [..., W] float32 or bfloat16; W is padded with zeros to tiles.
        compute: compute kernel configuration.
        scaler: the bfloat16 value that every product has as its SrcA: 1, or 1/W for a mean.

    Returns:
        [..., 1] float32, not yet packed.

    The data is SrcB and the scaler SrcA (llk_math_reduce.h), so this is a matrix product with a
    column of scalers: one accumulation over all of W, each tile with all of its phases.
    """
    width = values.shape[-1]
    weight = _column_of(scaler, width)
    rows = unpack(values, compute.fp32_dest_acc).reshape(-1, width)
    phases, tiles = FIDELITY_PHASES[compute.fidelity], weight.tiles.shape[1]
    dst = _accumulate(rows, weight, Accumulation(phases, compute.fp32_dest_acc, block=tiles))
    return _trim(dst, rows, weight).reshape(*values.shape[:-1], 1)


def row_max(values: torch.Tensor) -> torch.Tensor:
    """Largest value of the last dimension: [..., W] to [..., 1], exact (GMPOOL).

    Denormals count as 0 and the order is that of sign and magnitude, so NaN counts as larger than
    infinity (or smaller, if it is negative).
    """
    bits = packer.flush_denormals(values).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    largest = ordered.amax(-1, keepdim=True)
    return torch.where(largest < 0, largest ^ 0x7FFFFFFF, largest).view(torch.float32)
