"""hypothesis strategies for TTNN tensors: shapes, values, dtypes, layouts, shards, padding.

Tensors are drawn by a seed and not element by element, so that a failing example prints as a few
numbers and shrinks to small shapes. Every example makes its own tensors; torch's global random
state is not used.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import math
from collections.abc import Sequence

import torch
import ttnn
from hypothesis import strategies as st

from .tensors import TILE

Shape = tuple[int, ...]

# --- shapes --------------------------------------------------------------------------------------

# Around faces and tiles, where padding begins and ends. The first one is what examples shrink to.
EDGES = (1, 31, 32, 33, 63, 64, 65)


def sizes(largest: int = 97) -> st.SearchStrategy[int]:
    """Lengths of a dimension that is tiled: edges of tiles more often than not, and odd ones."""
    edges = [n for n in EDGES if n <= largest]
    return st.one_of(st.sampled_from(edges), st.integers(1, largest))


@st.composite
def shapes(
    draw: st.DrawFn, min_rank: int = 1, max_rank: int = 5, largest: int = 97, leading: int = 3
) -> Shape:
    """Shapes of `min_rank` to `max_rank` dimensions, the last two of `sizes(largest)`.

    The dimensions before those are 1 to `leading`.
    """
    rank = draw(st.integers(min_rank, max_rank))
    tiled = min(rank, 2)
    outer = [draw(st.integers(1, leading)) for _ in range(rank - tiled)]
    return (*outer, *(draw(sizes(largest)) for _ in range(tiled)))


def padded_shapes(rank: int = 4, **limits: int) -> st.SearchStrategy[Shape]:
    """Shapes of which the last two dimensions do not both fill their tiles."""
    return shapes(rank, rank, **limits).filter(lambda s: s[-1] % TILE or s[-2] % TILE)


def tile_ceiling(shape: Sequence[int]) -> Shape:
    """The padded shape in tile layout: the last two dimensions in whole tiles, one at least."""
    sizes = (1,) * (2 - len(shape)) + tuple(shape)
    return (*sizes[:-2], *(-(-n // TILE) * TILE for n in sizes[-2:]))


def permutations(rank: int) -> st.SearchStrategy[Shape]:
    """Orders of the dimensions 0 .. rank - 1."""
    return st.permutations(range(rank)).map(tuple)


@st.composite
def slices(draw: st.DrawFn, shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """(starts, ends) of a part of a tensor that is not empty."""
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return starts, [draw(st.integers(start + 1, n)) for start, n in zip(starts, shape, strict=True)]


@st.composite
def head_shapes(
    draw: st.DrawFn, widths: Sequence[int] = (32, 64, 96), largest: int = 97
) -> tuple[int, int, int, int, int]:
    """(B, S, N, K, D): N is a multiple of K."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    return (
        draw(st.integers(1, 2)),
        draw(sizes(largest)),
        heads,
        kv_heads,
        draw(st.sampled_from(widths)),
    )


# --- dtypes and places ---------------------------------------------------------------------------

# The torch dtype that represents every value of the ttnn dtype.
EXACT_DTYPES = {
    ttnn.bfloat16: torch.bfloat16,
    ttnn.float32: torch.float32,
    ttnn.int32: torch.int32,
    ttnn.uint32: torch.uint32,
    ttnn.uint16: torch.uint16,
    ttnn.uint8: torch.uint8,
}

# dtype -> bits of magnitude of an element, which has a sign and shares its exponent with 15 others.
BLOCK_FORMATS = {ttnn.bfloat8_b: 7, ttnn.bfloat4_b: 3}

LAYOUTS = (ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT)

exact_dtypes = st.sampled_from(list(EXACT_DTYPES))
float_dtypes = st.sampled_from([ttnn.bfloat16, ttnn.float32])
block_formats = st.sampled_from(list(BLOCK_FORMATS))
layouts = st.sampled_from(LAYOUTS)
interleaved = st.sampled_from([ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG])


@st.composite
def shards(draw: st.DrawFn, shape: Sequence[int], grid: int = 8) -> ttnn.MemoryConfig:
    """An L1 memory configuration that cuts a tiled tensor by height, width or both.

    Args:
        shape: the tensor's; all dimensions but the last are rows.
        grid: cores along each side of the device that may be used.

    The shards are whole tiles. They need not divide the tensor: the last one of a row or column is
    then filled in part.
    """
    *outer, rows, columns = tile_ceiling(shape)
    rows, columns = math.prod(outer) * rows // TILE, columns // TILE
    kinds = ttnn.TensorMemoryLayout
    kind = draw(st.sampled_from([kinds.HEIGHT_SHARDED, kinds.WIDTH_SHARDED, kinds.BLOCK_SHARDED]))
    by_height, by_width = kind != kinds.WIDTH_SHARDED, kind != kinds.HEIGHT_SHARDED
    height = draw(st.integers(-(-rows // grid), rows)) if by_height else rows
    width = draw(st.integers(-(-columns // grid), columns)) if by_width else columns
    down, across = -(-rows // height), -(-columns // width)
    if kind == kinds.HEIGHT_SHARDED:
        down, across = 1, down  # one row of cores, in the order of the shards
    cores = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(across - 1, down - 1))
    spec = ttnn.ShardSpec(
        ttnn.CoreRangeSet({cores}), [height * TILE, width * TILE], ttnn.ShardOrientation.ROW_MAJOR
    )
    return ttnn.MemoryConfig(kind, ttnn.BufferType.L1, spec)


# --- values --------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normal random numbers times `scale`, bfloat16: what a model's activations look like."""
    return (torch.randn(shape, generator=_source(seed)) * scale).bfloat16()


def positive(seed: int, *shape: int) -> torch.Tensor:
    """bfloat16 numbers of 1/8 to 8, spread over their exponents."""
    exponents = torch.rand(shape, generator=_source(seed)) * 6 - 3
    return exponents.exp2().bfloat16()


def wide_range(seed: int, *shape: int, exponents: tuple[int, int] = (-60, 60)) -> torch.Tensor:
    """bfloat16 numbers of all mantissas and both signs, of exponents in a range; some are zero.

    Neither -0 nor subnormal nor infinite: what every kernel moves unchanged.
    """
    source, (low, high) = _source(seed), exponents
    mantissas = 1 + torch.randint(0, 128, shape, generator=source) / 128
    signs = 1 - 2 * torch.randint(0, 2, shape, generator=source)
    powers = torch.randint(low, high + 1, shape, generator=source).double().exp2()
    nonzero = torch.rand(shape, generator=source) > 0.05
    return torch.where(nonzero, signs * mantissas * powers, 0.0).bfloat16()


def integers(seed: int, *shape: int, low: int, high: int) -> torch.Tensor:
    """Whole numbers of low .. high, float32."""
    return torch.randint(low, high + 1, shape, generator=_source(seed)).float()


SPECIAL = {
    torch.bfloat16: (
        0x0000,
        0x8000,
        0x0001,
        0x807F,
        0x0080,
        0x7F7F,
        0xFF7F,
        0x7F80,
        0xFF80,
        0x7FC0,
    ),
    torch.float32: (
        *(0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF),
        *(0x7F800000, 0xFF800000, 0x7FC00000, 0x3F808000, 0x3F80FFFF),
    ),
}
"""Bits of zeros of both signs, subnormals, the smallest normal number, the greatest ones,
infinities, NaN; in float32 also of numbers that a rounding to bfloat16 would lose."""


def any_bits(seed: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    """Random bits of a torch dtype, every eighth element of floats one of `SPECIAL`."""
    source, size = _source(seed), torch.empty(0, dtype=dtype).element_size()
    bits = torch.randint(0, 256, (*shape, size), generator=source, dtype=torch.uint8)
    values = bits.view(dtype).reshape(shape)
    if dtype not in SPECIAL:
        return values
    as_integers = {2: torch.int16, 4: torch.int32}[size]
    special = torch.tensor(SPECIAL[dtype], dtype=torch.int64).to(as_integers)
    picked = torch.randint(0, len(special), shape, generator=source)
    chosen = torch.rand(shape, generator=source) < 1 / 8
    return torch.where(chosen, special[picked], values.view(as_integers)).view(dtype)


def _source(seed):
    return torch.Generator().manual_seed(seed)


# --- padding -------------------------------------------------------------------------------------

# Values other than zero that a tensor's padding may hold in a model. The device's packer turns a
# NaN into an infinity.
FINITE_PADDING = (7.0, -1.0, -1e4, 1e30, -3e38)
INFINITE_PADDING = (math.inf, -math.inf, math.nan)

finite_padding = st.sampled_from(FINITE_PADDING)
paddings = st.sampled_from((*FINITE_PADDING, *INFINITE_PADDING))
