"""Values that operations take are written as source that makes equal ones."""

import pytest
import torch
import ttnn

from ttnn_verify.drift.reproducer.as_source import NAMESPACE, NotWritable, same, source

CORES = ttnn.CoreRangeSet(
    [
        ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 1)),
        ttnn.CoreRange(ttnn.CoreCoord(0, 2), ttnn.CoreCoord(0, 2)),
    ]
)
SHARDS = ttnn.ShardSpec(CORES, [32, 64], ttnn.ShardOrientation.COL_MAJOR)
ND_SHARDS = ttnn.NdShardSpec(ttnn.Shape([1, 32, 64]), CORES)
BLOCKS = {"in0_block_w": 2, "out_subblock_h": 1, "out_subblock_w": 2}
PER_CORE = {"per_core_M": 3, "per_core_N": 4}
GRID = {"compute_with_storage_grid_size": (8, 7)}

PLAIN = [
    *(None, True, -3, 1.5, float("inf"), float("nan"), 1e-5, "silu", b"x", 1j, slice(1, None), ...),
    *([], [1, (2,)], (), {"a": [None]}, {1}, set(), range(3), torch.float32),
]
ENUMS = [
    *(ttnn.bfloat16, ttnn.bfloat8_b, ttnn.uint32, ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT),
    *(ttnn.MathFidelity.HiFi3, ttnn.UnaryOpType.SILU, ttnn.BufferType.L1, ttnn.Topology.Ring),
    *(ttnn.ShardStrategy.HEIGHT, ttnn.ShardOrientation.ROW_MAJOR, ttnn.ThrottleLevel.LEVEL_2),
]
PLACES = [
    *(ttnn.CoreCoord(1, 2), ttnn.CoreGrid(x=2, y=3), CORES, ttnn.CoreRangeSet([]), CORES.ranges()),
    *(ttnn.Shape([1, 32]), ttnn.Tile((32, 32)), ttnn.Tile((16, 32)), ttnn.Tile((32, 32), True)),
    *(SHARDS, ND_SHARDS, ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG),
    ttnn.MemoryConfig(ttnn.TensorMemoryLayout.BLOCK_SHARDED, ttnn.BufferType.L1, SHARDS),
    ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.L1),
    ttnn.MemoryConfig(ttnn.BufferType.L1, ND_SHARDS),
    *(ttnn.SubDeviceId(1), ttnn.QueueId(1), ttnn.MeshShape(1, 2), ttnn.MeshCoordinate(0, 1)),
]
CONFIGS = [
    ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU),
    ttnn.UnaryWithParam(ttnn.UnaryOpType.LEAKY_RELU, 0.3),
    ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi2, packer_l1_acc=True),
    ttnn.SDPAProgramConfig(**GRID, q_chunk_size=32, k_chunk_size=64, exp_approx_mode=False),
    ttnn.SDPAProgramConfig(**GRID, q_chunk_size=0, k_chunk_size=0, sub_core_grids=CORES),
    ttnn.MatmulMultiCoreReuseProgramConfig(**GRID, **BLOCKS, **PER_CORE),
    ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
        **GRID, **BLOCKS, **PER_CORE, transpose_mcast=True, fused_activation=None
    ),
    ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig(
        **GRID,
        **BLOCKS,
        **PER_CORE,
        fuse_batch=True,
        mcast_in0=False,
        fused_activation=ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 1.0),
    ),
    ttnn.MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig(
        in0_block_w=2, **PER_CORE, fused_activation=None
    ),
    ttnn.LayerNormDefaultProgramConfig(use_welford=True),
    ttnn.LayerNormShardedMultiCoreProgramConfig(
        **GRID, subblock_w=1, block_h=1, block_w=2, inplace=False
    ),
    ttnn.SoftmaxDefaultProgramConfig(),
    ttnn.SoftmaxShardedMultiCoreProgramConfig(**GRID, subblock_w=1, block_h=1, block_w=2),
    ttnn.PagedCacheGeometryOverride(block_size=32, num_kv_heads=2),
]


def named(value):
    """The same in every process."""
    printed = repr(value)
    return type(value).__name__ if " at 0x" in printed else printed


@pytest.mark.parametrize("value", [*PLAIN, *ENUMS, *PLACES, *CONFIGS], ids=named)
def test_the_source_of_a_value_makes_an_equal_one(value):
    made = eval(source(value), dict(NAMESPACE))
    assert same(made, value), source(value)
    assert "0x" not in source(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ttnn.bfloat16, "ttnn.bfloat16"),
        (ttnn.TILE_LAYOUT, "ttnn.TILE_LAYOUT"),
        (ttnn.L1_MEMORY_CONFIG, "ttnn.L1_MEMORY_CONFIG"),
        (ttnn.CoreGrid(x=2, y=3), "ttnn.CoreGrid(x=2, y=3)"),
        (torch.Size([1, 2]), "(1, 2)"),
    ],
)
def test_sources_are_written_as_people_write_them(value, text):
    assert source(value) == text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, True),
        ((1,), [1]),
        (ttnn.bfloat16, ttnn.float32),
        (ttnn.Tile((32, 32)), ttnn.Tile((32, 32), True)),
        (ttnn.CoreGrid(x=2, y=3), ttnn.CoreGrid(x=3, y=2)),
        (ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG),
        (
            ttnn.LayerNormDefaultProgramConfig(),
            ttnn.LayerNormDefaultProgramConfig(use_welford=True),
        ),
        (
            ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=True),
            ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=False),
        ),
        (
            ttnn.UnaryWithParam(ttnn.UnaryOpType.LEAKY_RELU, 0.3),
            ttnn.UnaryWithParam(ttnn.UnaryOpType.LEAKY_RELU, 0.30001),
        ),
    ],
    ids=named,
)
def test_values_that_differ_are_not_the_same(first, second):
    assert not same(first, second)


def test_a_value_that_the_program_has_is_named_wherever_it_stands():
    grid = ttnn.CoreGrid(x=1, y=1)
    text = source({"a": [grid, (2, grid)]}, lambda value: "grid" if value is grid else None)
    assert text == "{'a': [grid, (2, grid)]}"


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, [object()], ttnn.MeshMapperConfig([ttnn.PlacementReplicate()])]
)
def test_what_no_source_makes_is_refused(value):
    with pytest.raises(NotWritable):
        source(value)
