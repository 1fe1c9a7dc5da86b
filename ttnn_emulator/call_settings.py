"""The setting of a call, in words: what selects the kernel's code path, but shapes and values.

Two calls of an operation in the same setting take the same path through its kernel; they differ in
shapes and values. Where sizes select the path, the arithmetic reports it (`arithmetic.paths`).
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ttnn_emulator.arithmetic.formats import BLOCK_FORMAT_BITS
from ttnn_emulator.bound_call import Launch
from ttnn_emulator.dispatch import PLACEMENT
from ttnn_emulator.memory import DeviceTensor, Output

SHORT = {"bfloat16": "bf16", "bfloat8_b": "bfp8", "bfloat4_b": "bfp4", "float32": "fp32"}

SHORTER = {
    "activations": "then",
    "fast_and_approximate_mode": "fast",
    "input_tensor_a_activations": "first",
    "input_tensor_b_activations": "second",
    "is_decode_mode": "decode",
}

# Families whose kernels copy values. Their settings name only formats that may be packed again.
MOVING = frozenset(
    {
        *("by_index", "collectives", "creation", "embedding", "heads", "layouts", "model_heads"),
        *("movement", "parts", "shifting"),
    }
)

ATTENTION = frozenset({"attention", "decode_attention", "latent_attention"})
# Families in which integer operands are positions or pages, not values to compute with.
PLACED_BY_INTEGERS = ATTENTION | {"kv_cache", "rotary"}

# Arguments that are values or places, or choose a result's format, which the setting names anyway.
VALUES = frozenset(
    {
        *("batch_idx", "batch_index", "batch_offset", "beta", "bounds", "cache_position_modulo"),
        *("chunk_start_idx", "cur_pos", "dtype", "dtypes", "epsilon", "exponent", "fill_value"),
        *("input_dtype", "k", "keepdim", "layout", "lower_limit", "max_val", "mesh_coords"),
        *("min_val", "negative_slope", "optional_output_tensor", "output_dtype", "output_layout"),
        *("output_tensor", "scalar", "scale", "sub_device_id", "threshold", "token_index"),
        *("update_idx", "update_idxs", "update_index", "upper_limit", "value", "value1", "value2"),
        *("alpha", "atol", "coeffs", "equal_nan", "in_scale", "in_zero_point", "out_scale"),
        *("out_zero_point", "rtol", "weight", "zero_point"),
    }
)

VALUES |= PLACEMENT

# Arguments of collectives that say between which chips and by which means values travel. Where they
# choose the order of sums, the arithmetic tells it.
VALUES |= {
    *("barrier_semaphore", "barrier_semaphores", "ag_global_semaphores", "rs_global_semaphores"),
    *("buffer_tensor", "chunks_per_sync", "cluster_axis", "intermediate_memory_config"),
    *("math_op", "mesh_device", "multi_device_global_semaphore", "num_buffers_per_channel"),
    *("num_devices", "num_links", "num_workers_per_link", "persistent_output_buffers"),
    *("subdevice_id", "topology", "use_l1_small_for_semaphores", "use_noc1_only"),
    *("use_optimal_ccl_for_llama", "all_gather_core_grid_offset", "memory_config_ag"),
    *("memory_config_mm", "persistent_output_buffer"),
}

# Arguments of attention, of heads and of products that say which rows, columns or cores are meant.
VALUES |= {
    *("alpha", "block_size", "chunks", "compute_with_storage_grid_size", "head_dim_v", "nnz"),
    *("num_kv_heads", "num_tokens", "paged_cache_geometry", "windowed_q_token_offset"),
}


def setting_of(family: str, launch: Launch, bound: inspect.BoundArguments) -> str:
    """The setting of one call.

    Args:
        family: the module of the operation's binding, such as "attention".
        launch: the first argument of the binding.
        bound: arguments of the binding, defaults not applied.

    Returns:
        Text: formats of operands and results, then whatever else selects the code path.

    >>> setting_of("matmul", ...)  # doctest: +SKIP
    'bf16, bfp8 -> bf16; HiFi2, 16-bit, L1 sums'
    """
    if family in MOVING:
        return _moved(launch, bound)
    operands: list[str] = []
    words: list[str] = []
    for name, parameter in bound.signature.parameters.items():
        value = bound.arguments.get(name, parameter.default)
        if value is launch:
            continue
        if name == "dim":
            words.append(getattr(value, "name", None) or _dimension(value, bound))
        elif name not in bound.arguments:
            continue
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            words += [_word(family, n, v) for n, v in value.items()]
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            operands += [_operand(family, v) for v in value if name not in VALUES]
        elif _is_operand(parameter, value):
            operands.append(_operand(family, value))
        elif name not in VALUES and value is not parameter.default and value != parameter.default:
            words.append(_word(family, name, value))
    outputs = [_format(output) for output in launch.outputs]
    formats = ", ".join(filter(None, operands))
    if outputs:
        formats += f" -> {', '.join(dict.fromkeys(outputs))}"
    takes_compute = "compute_kernel_config" in bound.signature.parameters
    if (
        takes_compute
        and family != "kv_cache"
        and bound.arguments.get("compute_kernel_config") is None
    ):
        words.append("default config")
    return "; ".join([formats, *filter(None, words)])


def _moved(launch: Launch, bound: inspect.BoundArguments) -> str:
    tensors = list(_tensors(bound.arguments.values()))
    formats = {x.dtype for x in tensors} | {x.dtype for x in launch.outputs}
    packed = sorted(SHORT[dtype] for dtype in formats & set(BLOCK_FORMAT_BITS))
    floats = {x.dtype for x in tensors if x.dtype in SHORT}
    converted = any(x.dtype in SHORT and floats and x.dtype not in floats for x in launch.outputs)
    words = [f"of {', '.join(packed)}"] if packed else []
    return "; ".join(["copies", *words, *(["into another format"] if converted else [])])


def _tensors(values: Iterable[Any]) -> Iterator[DeviceTensor]:
    for value in values:
        if isinstance(value, DeviceTensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _is_operand(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether an argument has no default: the operation's tensors, or a number in place of one."""
    return parameter.default is parameter.empty and (
        isinstance(value, DeviceTensor)
        or (isinstance(value, (int, float)) and parameter.name not in VALUES)
    )


def _operand(family: str, value: Any) -> str:
    if not isinstance(value, DeviceTensor):
        return "number"
    if family in PLACED_BY_INTEGERS and value.dtype not in SHORT:
        return ""
    return _format(value)


def _format(tensor: DeviceTensor | Output) -> str:
    words = [SHORT.get(tensor.dtype, tensor.dtype)]
    if not tensor.tiled and tensor.dtype in SHORT:
        words.append("row-major")
    if tensor.sharded:
        words.append("sharded")
    return " ".join(words)


def _word(family: str, name: str, value: Any) -> str:
    """One argument in words; "" if it does not select the code path."""
    if isinstance(value, DeviceTensor):
        if name in VALUES:
            return ""
        if value.dtype in SHORT:
            return f"{name} {_format(value)}"
        return "page table" if name == "page_table" else ""
    if name in VALUES or value is None or (isinstance(value, (list, tuple)) and not value):
        return ""
    if name == "compute_kernel_config":
        return _compute(family, value)
    if name == "program_config":
        return _program(family, value)
    if name == "sliding_window_size":
        return "window"
    return f"{SHORTER.get(name, name)}={_short(value)}"


def _compute(family: str, config: Any) -> str:
    """A compute config in words; math_approx_mode does not affect matrix products."""
    words = [config.math_fidelity.name, "32-bit" if config.fp32_dest_acc_en else "16-bit"]
    words += ["L1 sums"] if config.packer_l1_acc else []
    words += ["approximate"] if config.math_approx_mode and family != "matmul" else []
    return ", ".join(words)


def _program(family: str, config: Any) -> str:
    if family in ATTENTION:  # else only the numbers of chunks and of cores matter
        return "exact exp" if config.exp_approx_mode is False else ""
    name = type(config).__name__
    flags = [field for field in dir(config) if getattr(config, field) is True]
    return " ".join([name.removesuffix("ProgramConfig"), *flags])


def _dimension(value: Any, bound: inspect.BoundArguments) -> str:
    """Reduced dimensions in words, such as "over columns", by the rank of the first operand."""
    if value is None:
        return "over all"
    (first, *_) = _tensors(bound.arguments.values())
    rank = len(first.shape)
    names = {rank - 1: "columns", rank - 2: "rows"}
    dims = [value] if isinstance(value, int) else value
    if not rank:
        return ""
    return "over " + " and ".join(sorted({names.get(d % rank, "leading") for d in dims}))


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(_short, value))
    if isinstance(value, (bool, int, float, str)):
        return str(value)
    kind = getattr(value, "op_type", value)
    return getattr(kind, "name", None) or type(value).__name__
