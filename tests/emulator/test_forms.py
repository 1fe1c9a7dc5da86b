"""Every form of call that TTNN's signatures allow: by position, by name, and with each default.

What an operation accepts is read from the signatures that TTNN's C++ functions carry.
"""

import dis
import inspect

import pytest
import torch
import ttnn

from tests.support.tensors import on_tiles
from ttnn_emulator import device as device_module
from ttnn_emulator.dispatch import PLACEMENT, NotEmulated
from ttnn_emulator.machine.signatures import Overload, overloads
from ttnn_emulator.ops import BINDINGS, FAMILY_OF


def table(text: str) -> dict[str, str]:
    """Operation -> what its line says."""
    lines = (line.strip().partition(" ") for line in text.strip().splitlines())
    return {f"ttnn.{name}": said for name, _, said in lines}


# Parameters of bindings that take what different forms of call give the same position -> the forms.
SEVERAL_FORMS = {
    "bounds": "one, two or three of a range",
    "bounds_and_seed": "the ends of a range, then a seed",
    "dim_or_output": "a dimension, or the tensor that takes the results",
    "dtypes": "to a dtype, or from one to another",
    "operands": "input_tensor, or input_a and input_b; or those of another binding",
    "placement": "a memory configuration, or four parts of one",
    "positional": "the operands of collectives",
    "shapes": "a shape, or a logical and a padded one",
    "sizes": "a shape, or four sizes",
    "start_and_value": "after pairs a value, after a shape a start",
}

# Arguments that no result depends on beyond the plan of the output, which the host side makes:
# where it lies, its dtype, layout and shape, which cores or chips work, which programs are kept.
OF_THE_HOST = PLACEMENT | {
    *("core_grid", "device", "dtype", "keep_l1_aligned", "layout", "mesh_coords", "mesh_device"),
    *("optional_output_tensor", "optional_tensor", "output", "output_dtype", "output_tensor"),
    "output_tile",
    *("output_memory_config", "output_shape", "preallocated_output", "program_config"),
    *(
        "output_layout",
        "queue_id",
        "reshape_tile_mode",
        "sharded_memory_config",
        "sub_device_id",
        "subdevice_id",
    ),
    *("input_dtype", "logical_shape", "num_devices", "padded_shape", "slice_dim"),
    *("compute_with_storage_grid_size", "enable_secondary_dm", "out", "overlap_qk_coregrid"),
    *("optional_output_mapping_tensor", "optional_output_reduced_tensor", "use_2d_core_grid"),
    "skip_padding_fill",  # it leaves the padding undefined, so zeros will do
    *("tile", "use_low_perf", "grid", "shard_orientation", "shard_scheme", "shard_shape"),
    *("output_tensors", "mesh_mapper", "persistent_output_buffer", "persistent_output_buffers"),
    *("persistent_output_tensor", "intermediate_tensor", "intermediate_memory_config"),
}

# How collectives travel: links, workers, semaphores. Where it chooses the order of sums, the
# binding reads it.
OF_LINKS = frozenset(
    {
        *("ag_global_semaphores", "all_gather_core_grid_offset", "barrier_semaphore"),
        *("chunks_per_sync", "memory_config_ag", "memory_config_mm", "topology", "num_devices"),
        *("multi_device_global_semaphore", "num_buffers_per_channel", "num_links"),
        *("num_workers_per_link", "use_broadcast", "use_l1_small_for_semaphores", "use_noc1_only"),
        *("use_optimal_ccl_for_llama",),
    }
)

# Shapes that the host side reads: the plan of the output has them.
SHAPES = table(
    """
    chunk chunks
    empty shape
    empty_like tensor
    full shape
    moreh_full shape
    moreh_full_like input
    ones shape
    zeros shape
    zeros_like tensor
    experimental.view N C H W shape
    reshape_on_device W Z Y X
    squeeze dim
    tilize_with_val_padding output_tensor_shape
    unsqueeze dim
    untilize_with_unpadding output_tensor_end
    view shape
    """
)

# The same of any operation, and of a family.
UNREAD_ANYWHERE = {
    "embeddings_type",  # it only keeps some rows near at hand
    "slice_size",  # the plan of the output has it
}
UNREAD_IN_FAMILIES = {"kv_cache": {"compute_kernel_config"}}  # filling a cache copies tiles

# Operation and argument, of which no result depends on it -> why.
UNREAD = {
    tuple(line.strip().partition(": ")[0].split(" ", 1)): line.partition(": ")[2]
    for line in """
    argmax keepdim: the plan of the output has it
    bernoulli compute_kernel_config: the random numbers are others than the card's anyway
    complex_tensor imag: it is the part as it is
    complex_tensor real: it is the part as it is
    imag input_tensor: its part has the same buffer
    real input_tensor: its part has the same buffer
    experimental.all_reduce_async math_op: all_reduce_async.cpp leaves it out, the sum is taken
    experimental.isin assume_unique: isin_reader.cpp does not look at it
    experimental.paged_fused_update_cache batch_offset: the host side takes no other than 0
    experimental.paged_update_cache batch_offset: the host side takes no other than 0
    experimental.rotary_embedding compute_kernel_config: TTNN accepts it and ignores it
    experimental.split_query_key_value_and_split_heads num_heads: the plan of the output has it
    fill_rm any: it only tells the device
    fill_ones_rm any: it only tells the device
    group_norm inplace: the plan of the output has it
    group_norm num_out_blocks: sums over blocks are in float64, whichever their size
    max correction: only deviations have it
    mean correction: only deviations have it
    min correction: only deviations have it
    moe_routing_remap cluster_axis: more chips than one are refused
    moe_routing_remap expert_parallel_size: more chips than one are refused
    prod keepdim: the plan of the output has it
    randn compute_kernel_config: the random numbers are others than the card's anyway
    sparse_matmul is_input_b_sparse: the host side takes False with is_input_a_sparse alone
    std keepdim: the plan of the output has it
    sum correction: only deviations have it
    topk sorted: the kernel sorts always
    transformer.joint_scaled_dot_product_attention joint_strategy: the host side takes "rear" alone
    transformer.scaled_dot_product_attention_decode share_cache: of several users it is refused
    transformer.split_query_key_value_and_split_heads use_falcon7b_backend: moves the same
    var keepdim: the plan of the output has it
    """.strip().splitlines()
}


@pytest.fixture(scope="module")
def signatures() -> dict[str, list[Overload]]:
    registered = ttnn.query_registered_operations(include_experimental=True)
    functions = {
        operation.python_fully_qualified_name: operation.function for operation in registered
    }
    return {name: overloads(functions[name]) for name in BINDINGS}


def unnamed(name: str, overload: Overload) -> list[str]:
    """Parameters that every call has and the binding neither takes by name nor hands on."""
    taken = inspect.signature(BINDINGS[name]).parameters
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return []
    return [p for p in overload.required if p not in taken and p not in PLACEMENT]


def misplaced(name: str, overload: Overload) -> list[tuple[str, str]]:
    """(TTNN's parameter, the binding's) of each position that has two names.

    A binding that takes both tells the forms of call apart by itself.
    """
    taken = inspect.signature(BINDINGS[name]).parameters
    _first, *parameters = taken.values()
    places = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    pairs = zip(overload.positional, places, strict=False)
    return [(theirs, ours) for theirs, ours in pairs if theirs != ours and theirs not in taken]


def unread(name: str) -> list[str]:
    """The binding's parameters that its code never reads, but those that matter to the host alone.

    A parameter of any number of arguments by position stands for forms of call whose positions mean
    different things.
    """
    binding = BINDINGS[name]
    _first, *parameters = inspect.signature(binding).parameters.values()
    read = set(binding.__code__.co_cellvars)
    for instruction in dis.get_instructions(binding):
        if instruction.opname.startswith("LOAD_"):
            argument = instruction.argval
            read |= set(argument) if isinstance(argument, tuple) else {argument}
    known = OF_THE_HOST | OF_LINKS | set(SHAPES.get(name, "").split())
    known |= UNREAD_ANYWHERE | UNREAD_IN_FAMILIES.get(FAMILY_OF[name], set())
    known |= {argument for operation, argument in UNREAD if f"ttnn.{operation}" == name}
    unread = [p for p in parameters if p.kind is not p.VAR_POSITIONAL and p.name not in read]
    return [p.name for p in unread if p.name not in known]


def several(name: str) -> list[str]:
    """Parameters of any number of arguments by position that are not known to tell forms apart."""
    parameters = inspect.signature(BINDINGS[name]).parameters.values()
    return [
        p.name for p in parameters if p.kind is p.VAR_POSITIONAL and p.name not in SEVERAL_FORMS
    ]


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_a_binding_names_what_every_call_has(name, signatures):
    assert signatures[name], "TTNN keeps no signature of it"
    for overload in signatures[name]:
        assert unnamed(name, overload) == []


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_a_position_means_what_it_means_to_the_operation(name, signatures):
    assert several(name) == []
    for overload in signatures[name]:
        assert misplaced(name, overload) == []


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_an_argument_is_read_or_none_of_the_bindings_business(name):
    assert unread(name) == []


# --- arguments that a binding does not name ------------------------------------------------------


def narrow(launch, tensor):
    """A binding of one operand, whatever the operation takes."""
    return tensor.logical.clone()


def test_an_argument_at_its_default_needs_no_name(device):
    x = on_tiles(device, torch.ones(32, 32))
    with device_module.binding_replaced("ttnn.clone", lambda _: narrow):
        ttnn.clone(x, memory_config=None, dtype=None, compute_kernel_config=None)
    with device_module.binding_replaced("ttnn.sharded_to_interleaved", lambda _: narrow):
        ttnn.sharded_to_interleaved(x, ttnn.L1_MEMORY_CONFIG, None)


def test_another_value_of_it_is_refused_with_operation_argument_and_value(device):
    x = on_tiles(device, torch.ones(32, 32))
    with (
        device_module.binding_replaced("ttnn.permute", lambda _: narrow),
        pytest.raises(NotEmulated, match=r"ttnn.permute\(.*pad_value=3.0\).*'(dims|pad_value)'"),
    ):
        ttnn.permute(x, (1, 0), pad_value=3.0)
