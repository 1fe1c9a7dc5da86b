"""Where the elements of a tiled tensor lie in memory, against numpy on indices."""

import numpy as np
import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import bits
from tests.support.tensors import FACE, TILE

from .profiles import many

pytestmark = pytest.mark.usefixtures("device")

DTYPES = [ttnn.bfloat16, ttnn.float32, ttnn.int32, ttnn.uint16]


def memory_of(tensor):
    """The bytes of a host tensor in the order they lie in, numpy uint8."""
    return torch.from_dlpack(tensor.host_buffer().get_shard(ttnn.MeshCoordinate(0, 0))).numpy()


def place_in_memory(rows, columns, row, column):
    """How many elements of a tiled matrix [rows, columns] lie before one of them.

    Tiles of 32 x 32 follow each other row by row; in a tile four faces of 16 x 16 do (upper left,
    upper right, lower left, lower right), and in a face its elements.
    """
    tile = row // TILE * (columns // TILE) + column // TILE
    face = row % TILE // FACE * 2 + column % TILE // FACE
    return tile * TILE * TILE + face * FACE * FACE + row % FACE * FACE + column % FACE


def tilized(matrix):
    """A padded matrix, numpy, as a vector in the order of tiles and faces."""
    row, column = np.indices(matrix.shape)
    vector = np.empty(matrix.size, matrix.dtype)
    vector[place_in_memory(*matrix.shape, row, column)] = matrix
    return vector


@many()
@given(strategies.shapes(2, 5, leading=2), st.sampled_from(DTYPES), strategies.seeds)
def test_tiles_are_four_faces_of_16_by_16(shape, dtype, seed):
    values = strategies.any_bits(seed, *shape, dtype=strategies.EXACT_DTYPES[dtype])
    stored = memory_of(ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT))
    elements = bits(values).numpy()
    padded = np.zeros(strategies.tile_ceiling(shape), elements.dtype)
    padded[tuple(slice(0, n) for n in shape)] = elements
    expected = [tilized(matrix) for matrix in padded.reshape(-1, *padded.shape[-2:])]
    assert np.array_equal(stored.view(elements.dtype), np.concatenate(expected))


@many()
@given(strategies.shapes(2, 3), strategies.block_formats, strategies.seeds)
def test_a_tile_of_a_block_format_is_its_exponents_then_its_magnitudes(shape, dtype, seed):
    """64 exponents, one for each row of each face, then the elements: a byte, or half, each."""
    tensor = ttnn.from_torch(strategies.normal(seed, *shape), dtype=dtype, layout=ttnn.TILE_LAYOUT)
    magnitude_bits = strategies.BLOCK_FORMATS[dtype]
    codes_of_tile = TILE * TILE * (magnitude_bits + 1) // 8
    tiles = memory_of(tensor).reshape(-1, TILE * TILE // FACE + codes_of_tile)
    exponents, codes = np.split(tiles, [TILE * TILE // FACE], axis=1)
    if magnitude_bits == 3:  # the even column in the lower half
        codes = np.stack([codes & 0xF, codes >> 4], axis=-1).reshape(len(tiles), -1)
    signs = np.where(codes >> magnitude_bits, -1.0, 1.0)
    magnitudes = (codes & (2**magnitude_bits - 1)).astype(float)
    # a magnitude is a fixed-point number with one bit before the point
    units = np.exp2(exponents.astype(float) - 127 - (magnitude_bits - 1)).repeat(FACE, axis=1)
    decoded = signs * magnitudes * units
    read = tensor.to_torch_with_padded_shape().double().numpy()
    matrices = read.reshape(-1, *read.shape[-2:])
    assert np.array_equal(decoded.ravel(), np.concatenate([tilized(m) for m in matrices]))
