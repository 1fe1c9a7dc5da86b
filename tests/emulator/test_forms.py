"""Every form of call that TTNN's signatures allow: by position, by name, and with each default.

What an operation accepts is read from the signatures that TTNN's C++ functions carry.
"""

import dis
import inspect

import pytest

from tests.support.signatures import Overload, operations, overloads
from ttnn_emulator.dispatch import PLACEMENT
from ttnn_emulator.ops import BINDINGS

# Operations whose forms of call give a position different meanings, which the binding tells apart.
SEVERAL_FORMS = {
    "ttnn.arange": "one, two or three bounds",
    "ttnn.assign": "input_tensor, or input_a and input_b",
    "ttnn.div": "a number is called value",
    "ttnn.experimental.all_gather_async": "three forms with other operands",
    "ttnn.experimental.all_reduce_async": "three forms with other operands",
    "ttnn.experimental.paged_fused_update_cache": "pairs of a cache and its input",
    "ttnn.experimental.typecast": "to a dtype, or from one to another",
    "ttnn.experimental.view": "a shape or four sizes",
    "ttnn.interleaved_to_sharded": "a memory configuration, or four parts of one",
    "ttnn.pad": "pairs, or a shape and a start",
    "ttnn.reshape": "a shape, or a logical and a padded one",
    "ttnn.slice": "three forms with other names",
    "ttnn.typecast": "to a dtype, or from one to another",
}

# Arguments that no result depends on beyond the plan of the output, which the host side makes: where
# it lies, its dtype, layout and shape, which cores or chips work, and which programs are kept.
OF_THE_HOST = PLACEMENT | {
    *("core_grid", "device", "dtype", "keep_l1_aligned", "layout", "mesh_coords", "mesh_device"),
    *("optional_output_tensor", "optional_tensor", "output", "output_dtype", "output_tensor"),
    *("output_memory_config", "output_shape", "preallocated_output", "program_config"),
    *("queue_id", "reshape_tile_mode", "sharded_memory_config", "sub_device_id", "subdevice_id"),
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
SHAPES = {
    "ttnn.chunk": "chunks",
    "ttnn.experimental.view": "N C H W shape",
    "ttnn.reshape": "logical_shape padded_shape",
    "ttnn.reshape_on_device": "W Z Y X",
    "ttnn.slice": "slice_dim num_devices",
    "ttnn.squeeze": "dim",
    "ttnn.tilize_with_val_padding": "output_tensor_shape",
    "ttnn.unsqueeze": "dim",
    "ttnn.untilize_with_unpadding": "output_tensor_end",
    "ttnn.view": "shape",
}

# Others that no result depends on -> why.
UNREAD = {
    ("ttnn.reshape", "skip_padding_fill"): "it leaves the padding undefined, so zeros will do",
}


NOT_NAMED: dict = {}


@pytest.fixture(scope="module")
def signatures() -> dict[str, list[Overload]]:
    return {name: overloads(operations()[name].function) for name in BINDINGS}


def unnamed(name: str, overload: Overload) -> list[str]:
    """Parameters of TTNN's that the binding does not take by name."""
    taken = inspect.signature(BINDINGS[name]).parameters
    return [p for p in overload.names if p not in taken and p not in PLACEMENT]


def misplaced(name: str, overload: Overload) -> dict[str, object]:
    """What each of the binding's parameters gets of TTNN's, by position, if another one."""
    signature = inspect.signature(BINDINGS[name])
    operands = overload.positional
    by_name = {p: p for p in overload.required if p not in operands and p in signature.parameters}
    launch, *bound = signature.bind(None, *operands, **by_name).arguments.items()
    return {parameter: value for parameter, value in bound if parameter != value}


def unread(name: str) -> list[str]:
    """The binding's parameters that its code never reads, but those that matter to the host alone.

    A parameter of any number of arguments by position stands for forms of call whose positions mean
    different things; those by name would be swallowed.
    """
    binding = BINDINGS[name]
    first, *parameters = inspect.signature(binding).parameters.values()
    read = set(binding.__code__.co_cellvars)
    for instruction in dis.get_instructions(binding):
        if instruction.opname.startswith("LOAD_"):
            argument = instruction.argval
            read |= set(argument) if isinstance(argument, tuple) else {argument}
    known = OF_THE_HOST | OF_LINKS | set(SHAPES.get(name, "").split())
    return [
        p.name
        for p in parameters
        if p.kind is not p.VAR_POSITIONAL
        and p.name not in read | known
        and (name, p.name) not in UNREAD
    ]


def swallowed(name: str) -> list[str]:
    """Parameters that take arguments of any name."""
    parameters = inspect.signature(BINDINGS[name]).parameters.values()
    return [p.name for p in parameters if p.kind is p.VAR_KEYWORD]


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_a_binding_names_what_the_operation_accepts(name, signatures):
    assert signatures[name], "TTNN keeps no signature of it"
    missing = {p for overload in signatures[name] for p in unnamed(name, overload)}
    assert sorted(missing - set(NOT_NAMED.get(name, "").split())) == []


@pytest.mark.parametrize("name", sorted(BINDINGS.keys() - SEVERAL_FORMS))
def test_a_position_means_what_it_means_to_the_operation(name, signatures):
    for overload in signatures[name]:
        assert misplaced(name, overload) == {}


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_an_argument_is_read_or_none_of_the_bindings_business(name):
    assert swallowed(name) == []
    assert unread(name) == []
