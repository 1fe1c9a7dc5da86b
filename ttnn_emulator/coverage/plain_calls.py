"""Plain calls of operations whose arguments cannot be guessed."""

from collections.abc import Callable
from typing import Any

import torch
import ttnn

GRID = ttnn.CoreCoord(8, 8)
CHUNKS = ttnn.SDPAProgramConfig(
    compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32
)
BLOCKS = ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig(
    compute_with_storage_grid_size=GRID,
    in0_block_w=1,
    out_subblock_h=1,
    out_subblock_w=1,
    out_block_h=1,
    out_block_w=1,
    per_core_M=1,
    per_core_N=1,
    fuse_batch=False,
    fused_activation=None,
    mcast_in0=True,
)


def _tiles(x: ttnn.Tensor, *shape: int) -> ttnn.Tensor:
    """A bfloat16 tensor in tiles on the device of x [..., 64]."""
    values = torch.linspace(0.5, 1.5, torch.Size(shape).numel()).reshape(shape)
    return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=x.device())


def _integers(x: ttnn.Tensor, numbers: list) -> ttnn.Tensor:
    return ttnn.from_torch(torch.tensor(numbers, dtype=torch.int32), device=x.device())


def _columns(x: ttnn.Tensor, *shape: int, layout: ttnn.Layout = ttnn.TILE_LAYOUT) -> ttnn.Tensor:
    """A tensor whose columns lie on two cores."""
    *_, rows, columns = shape
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 0))})
    shard = ttnn.ShardSpec(cores, [rows, columns // 2], ttnn.ShardOrientation.ROW_MAJOR)
    by_width = ttnn.TensorMemoryLayout.WIDTH_SHARDED
    place = ttnn.MemoryConfig(by_width, ttnn.BufferType.L1, shard)
    return ttnn.to_memory_config(ttnn.to_layout(_tiles(x, *shape), layout), place)


def _of_users(x: ttnn.Tensor) -> dict[str, Any]:
    return {
        "input_tensor_a": _tiles(x, 1, 2, 32, 64),
        "input_tensor_b": _tiles(x, 32, 1, 64, 64),
        "compute_with_storage_grid_size": GRID,
    }


def _latent(x: ttnn.Tensor) -> dict[str, Any]:
    return {"input_tensor_q": _tiles(x, 1, 2, 32, 64), "program_config": CHUNKS, "head_dim_v": 32}


def _wide(x: ttnn.Tensor, times: int) -> ttnn.Tensor:
    """Copies of a tensor side by side."""
    return ttnn.concat([x] * times, dim=-1)


# Operation -> its arguments, of a tensor.
PRODUCTS_AND_ATTENTION: dict[str, Callable[[ttnn.Tensor], dict[str, Any]]] = {
    "ttnn.addmm": lambda x: {
        "input_tensor": _tiles(x, 32, 32),
        "mat1_tensor": _tiles(x, 32, 64),
        "mat2_tensor": _tiles(x, 64, 32),
    },
    "ttnn.experimental.attn_matmul": _of_users,
    "ttnn.experimental.group_attn_matmul": _of_users,
    "ttnn.experimental.attn_matmul_from_cache": lambda x: (
        _of_users(x) | {"num_tokens": 40, "transpose_hw": True}
    ),
    "ttnn.experimental.matmul_decode": lambda x: {
        "input_tensor_a": _columns(x, 32, 64),
        "input_tensor_b": _columns(x, 64, 64),
    },
    "ttnn.experimental.minimal_matmul": lambda x: {
        "input_tensor": x,
        "weight_tensor": _tiles(x, 64, 32),
    },
    "ttnn.experimental.minimal_matmul_split": lambda x: {
        "input_tensor": x,
        "weight_tensor": _tiles(x, 64, 64),
        "chunks": 2,
        "dim": -1,
    },
    "ttnn.sparse_matmul": lambda x: {
        "input_tensor_a": x,
        "input_tensor_b": _tiles(x, 1, 2, 64, 32),
        "sparsity": ttnn.to_layout(_tiles(x, 1, 1, 1, 2), ttnn.ROW_MAJOR_LAYOUT),
        "program_config": BLOCKS,
    },
    "ttnn.transformer.flash_mla_prefill": lambda x: (
        _latent(x) | {"input_tensor_k": _tiles(x, 1, 1, 32, 64)}
    ),
    "ttnn.transformer.chunked_flash_mla_prefill": lambda x: (
        _latent(x)
        | {
            "input_tensor_k": _tiles(x, 8, 1, 32, 64),
            "page_table_tensor": _integers(x, [list(range(8))]),
            "chunk_start_idx": 32,
        }
    ),
    "ttnn.transformer.flash_multi_latent_attention_decode": lambda x: (
        _latent(x) | {"input_tensor_k": _tiles(x, 2, 1, 64, 64), "cur_pos": [3, 40]}
    ),
    "ttnn.transformer.paged_flash_multi_latent_attention_decode": lambda x: (
        _latent(x)
        | {
            "input_tensor_k": _tiles(x, 8, 1, 32, 64),
            "page_table_tensor": _integers(x, [[0, 1, 2, 3], [4, 5, 6, 7]]),
            "cur_pos_tensor": _integers(x, [3, 40]),
        }
    ),
    "ttnn.transformer.joint_scaled_dot_product_attention": lambda x: {
        **{f"input_tensor_{name}": _tiles(x, 1, 2, 32, 64) for name in "qkv"},
        **{f"joint_tensor_{name}": _tiles(x, 1, 2, 32, 64) for name in "qkv"},
        "joint_strategy": "rear",
        "program_config": CHUNKS,
    },
}

# Operations whose call is short -> the same; those from above are among them.
CALLS: dict[str, Callable[[ttnn.Tensor], dict[str, Any]]] = {
    "ttnn.addalpha": lambda x: {"input_tensor_a": x, "input_tensor_b": x, "alpha": 0.5},
    "ttnn.batch_norm": lambda x: {
        "input": _tiles(x, 1, 2, 32, 32),
        "running_mean": _tiles(x, 1, 2, 1, 1),
        "running_var": _tiles(x, 1, 2, 1, 1),
    },
    "ttnn.bcast": lambda x: {
        "input_a": x,
        "input_b": x,
        "dim": ttnn.BcastOpDim.H,
        "math_op": ttnn.BcastOpMath.ADD,
    },
    "ttnn.bitcast": lambda x: {"input_tensor": x, "dtype": ttnn.uint16},
    "ttnn.bitwise_not": lambda x: {"input_tensor": ttnn.typecast(x, ttnn.int32)},
    "ttnn.clamp": lambda x: {"input_tensor": x, "min": 0.5, "max": 1.0},
    "ttnn.clip": lambda x: {"input_tensor": x, "min": 0.5, "max": 1.0},
    "ttnn.dequantize": lambda x: {
        "input_tensor": ttnn.typecast(x, ttnn.int32),
        "scale": 0.5,
        "zero_point": 3,
    },
    "ttnn.gcd": lambda x: dict.fromkeys(
        ("input_tensor_a", "input_tensor_b"), ttnn.typecast(x, ttnn.int32)
    ),
    "ttnn.group_norm": lambda x: {
        "input_tensor": x.reshape(1, 1, -1, 64),
        "num_groups": 2,
        "core_grid": ttnn.CoreGrid(x=1, y=1),
        "inplace": False,
    },
    "ttnn.lcm": lambda x: dict.fromkeys(
        ("input_tensor_a", "input_tensor_b"), ttnn.typecast(x, ttnn.int32)
    ),
    "ttnn.polyval": lambda x: {"input_tensor_a": x, "coeffs": [1.0, 2.0]},
    "ttnn.quantize": lambda x: {"input_tensor": x, "scale": 0.5, "zero_point": 3},
    "ttnn.cumprod": lambda x: {"input_tensor": x, "dim": -1},
    "ttnn.cumsum": lambda x: {"input": x, "dim": -1},
    "ttnn.ema": lambda x: {"input_tensor": x, "alpha": 0.9},
    "ttnn.experimental.deepseek_grouped_gate": lambda x: {
        "scores": _wide(x, 4),
        "bias": _wide(x, 4),
    },
    "ttnn.experimental.hc_sum_reduce": lambda x: {"input": _tiles(x, 1, 1, 32, 1024)},
    "ttnn.experimental.prefix_scan": lambda x: {
        "a": _columns(x, 1, 1, 32, 64),
        "bx": _columns(x, 1, 1, 32, 64),
        "h_prev": _columns(x, 1, 1, 1, 64, layout=ttnn.ROW_MAJOR_LAYOUT),
    },
    "ttnn.experimental.repeat_and_interleave_eltwise_mul": lambda x: {
        "a": _tiles(x, 1, 1, 32, 32),
        "b": _tiles(x, 1, 1, 32, 5120),
    },
    "ttnn.experimental.fast_reduce_nc": lambda x: {"input": x, "dims": [1]},
    "ttnn.manual_seed": lambda x: {"seeds": 1, "device": x.device()},
    "ttnn.moe": lambda x: {
        "input_tensor": x,
        "expert_mask_tensor": x[:, :, :1, :],
        "topk_mask_tensor": x[:, :, :1, :32],
    },
    "ttnn.rand": lambda x: {"shape": list(x.shape), "device": x.device()},
    "ttnn.randn": lambda x: {"shape": list(x.shape), "device": x.device()},
    "ttnn.requantize": lambda x: {
        "input_tensor": ttnn.typecast(x, ttnn.int32),
        "in_scale": 0.5,
        "in_zero_point": 3,
        "out_scale": 0.25,
        "out_zero_point": 1,
    },
    "ttnn.subalpha": lambda x: {"input_tensor_a": x, "input_tensor_b": x, "alpha": 0.5},
    "ttnn.std": lambda x: {"input_tensor": x, "dim": -1},
    "ttnn.var": lambda x: {"input_tensor": x, "dim": -1},
    **PRODUCTS_AND_ATTENTION,
}

_BITWISE = ("and", "or", "xor", "left_shift", "right_shift")
CALLS |= {
    f"ttnn.{name}": lambda x: {"input_tensor_a": ttnn.typecast(x, ttnn.int32), "input_b": 3}
    for name in (*(f"bitwise_{kind}" for kind in _BITWISE), "logical_left_shift")
}
CALLS["ttnn.logical_right_shift"] = CALLS["ttnn.gcd"]
_OF_COMPLEX = ("angle", "conj", "imag", "is_imag", "is_real", "polar", "real")
CALLS |= {
    f"ttnn.{name}": lambda x: {
        "input_tensor": ttnn.complex_tensor(x, x),
        "memory_config": ttnn.DRAM_MEMORY_CONFIG,
    }
    for name in _OF_COMPLEX
}
CALLS["ttnn.complex_tensor"] = lambda x: {"real": x, "imag": x}
CALLS["ttnn.moreh_full"] = lambda x: {
    "shape": list(x.shape),
    "fill_value": 2.0,
    "device": x.device(),
}
CALLS["ttnn.moreh_full_like"] = lambda x: {"input": x, "fill_value": 2.0}
