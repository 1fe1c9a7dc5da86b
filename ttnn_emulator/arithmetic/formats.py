"""Tiles and number formats of the device: how a value is rounded on its way into a buffer."""

import math

import torch

TILE = 32  # rows and columns of a tile
FACE = 16  # rows and columns of a face, of which a tile has four

# Bytes of a tile by format; a block format has a byte of exponent for each 16 values.
TILE_BYTES = {"float32": 4096, "bfloat16": 2048, "bfloat8_b": 1088, "bfloat4_b": 576}

BLOCK = 16  # values that share one exponent in a block format: 16 columns of one row of a face

# Significand bits of a block format's value, the sign not counted.
BLOCK_FORMAT_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}

# Torch dtypes that buffers are stored in. Block formats are dequantised, exact in torch.bfloat16.
STORAGE = {
    "bfloat16": torch.bfloat16,
    "bfloat8_b": torch.bfloat16,
    "bfloat4_b": torch.bfloat16,
    "float32": torch.float32,
    "int32": torch.int32,
    "uint32": torch.uint32,
    "uint16": torch.uint16,
    "uint8": torch.uint8,
}


def ceil_div(whole: int, part: int) -> int:
    """whole / part, rounded up."""
    return -(-whole // part)


def block_float(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round to a block format as TTNN's host packs it; the result is dequantised.

    Args:
        values: [..., W] float32 or bfloat16, W a multiple of 16; blocks are 16 consecutive columns.
        bits: significand bits, 7 for bfloat8_b and 3 for bfloat4_b.

    Returns:
        [..., W] bfloat16, every value exact.

    Each significand is first shifted right to the block's largest exponent and truncated at 24
    bits, then rounded to nearest even at `bits` bits and clamped (TTNN's blockfloat_common.cpp;
    bit-equal to `ttnn.from_torch(...).to_torch()`). A zero has no sign; beside an infinity or a
    NaN, which stay, every finite value of the block becomes 0.
    """
    pattern = values.float().contiguous().view(torch.int32)
    exponent = (pattern >> 23) & 0xFF
    significand = torch.where(exponent > 0, (pattern & 0x7FFFFF) | 0x800000, 0)
    shape = pattern.shape
    blocks = (*shape[:-1], shape[-1] // BLOCK, BLOCK)
    shared = exponent.reshape(blocks).amax(-1, keepdim=True)
    shift = (shared - exponent.reshape(blocks)).clamp(max=31)
    aligned = significand.reshape(blocks) >> shift
    drop = 24 - bits
    rounded = (aligned + ((1 << (drop - 1)) - 1) + ((aligned >> drop) & 1)) >> drop
    rounded = rounded.clamp(max=(1 << bits) - 1)
    magnitude = torch.ldexp(rounded.float(), shared - 127 - (bits - 1))
    signed = torch.where((pattern.reshape(blocks) < 0) & (rounded > 0), -magnitude, magnitude)
    signed = torch.where(values.reshape(blocks).isnan(), torch.nan, signed)
    return signed.reshape(shape).bfloat16()


def encode(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """Round `values` once into the storage of a device dtype.

    Args:
        values: tensor of any shape; for a block format the last dimension is a multiple of 16.
        dtype: a name of `STORAGE`.

    Floats become integers by truncation toward zero, as TTNN's host and typecast do.
    """
    if dtype in BLOCK_FORMAT_BITS:
        return block_float(values, BLOCK_FORMAT_BITS[dtype])
    storage = STORAGE[dtype]
    if values.dtype == storage:
        return values
    if not storage.is_floating_point:
        values = values.to(torch.int64)
    return values.to(storage)


def viewed(values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A view of contents in another shape; a smaller one is their front, as of `ttnn.narrow`."""
    count = math.prod(shape)
    front = values if values.numel() == count else values.flatten()[:count]
    return front.reshape(shape)
