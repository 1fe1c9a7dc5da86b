"""Ways to put a property's tensors on the device and to read them."""

import torch
import ttnn

# Products of whole bfloat16 numbers, summed in float32: nothing is lost but by rounding the result.
ACCURATE = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.HiFi4,
    math_approx_mode=False,
    fp32_dest_acc_en=True,
    packer_l1_acc=False,
)


def on_tiles(device, values, dtype=ttnn.bfloat16, memory_config=ttnn.DRAM_MEMORY_CONFIG):
    """A tensor in tile layout, its padding zero."""
    return ttnn.from_torch(
        values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, memory_config=memory_config
    )


def in_rows(device, values, dtype=ttnn.int32):
    """A row-major tensor: indices, positions, page tables."""
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.ROW_MAJOR_LAYOUT, device=device)


def padded_with(value, device, values, dtype=ttnn.bfloat16):
    """Like `on_tiles`, with `value` in the tile padding."""
    return ttnn.from_torch(
        values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, pad_value=value
    )


def on_cores(tensor):
    """A device tensor [1, B, N, D] in L1, a core for each user: what the decode kernels want."""
    _, users, heads, width = tensor.padded_shape
    grid = tensor.device().compute_with_storage_grid_size()
    shard = ttnn.create_sharded_memory_config(
        (heads, width),
        ttnn.num_cores_to_corerangeset(users, grid, row_wise=True),
        ttnn.ShardStrategy.HEIGHT,
        ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )
    return ttnn.to_memory_config(tensor, shard)


def read(tensor):
    """The logical contents, in torch's dtype of the same name."""
    return ttnn.to_torch(tensor)


def bits(values):
    """The bits of a torch tensor as integers, which compare where NaN does not."""
    as_integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.contiguous().view(as_integers[values.element_size()])


def assert_same(actual, expected):
    """Two torch tensors of one shape whose elements are equal; says where the first one is not."""
    assert tuple(actual.shape) == tuple(expected.shape)
    actual, expected = actual.double(), expected.double()
    differ = (actual != expected) & ~(actual.isnan() & expected.isnan())
    if differ.any():
        first = tuple(torch.nonzero(differ)[0].tolist())
        raise AssertionError(
            f"{int(differ.sum())} of {differ.numel()} elements differ, the first at {first}: "
            f"{actual[first]:.9g} where {expected[first]:.9g} is right."
        )
