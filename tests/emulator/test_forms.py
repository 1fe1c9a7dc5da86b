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

# Arguments that the host side alone uses: they choose where results lie, which dtype and layout
# they have (the plan of the output says it), which cores or chips work, and which programs are
# kept.
OF_THE_HOST = PLACEMENT | {
    "core_grid",
    "cq_id",
    "device",
    "dtype",
    "grid",
    "keep_l1_aligned",
    "layout",
    "mesh_coords",
    "mesh_device",
    "optional_output_tensor",
    "optional_tensor",
    "output",
    "output_dtype",
    "output_memory_config",
    "output_shape",
    "output_tensor",
    "preallocated_output",
    "queue_id",
    "reshape_tile_mode",
    "shard_orientation",
    "shard_scheme",
    "shard_shape",
    "sharded_memory_config",
    "sub_device_id",
    "tile",
    "use_low_perf",
}


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
    operands = [*overload.positional]
    by_name = {p: p for p in overload.required if p not in operands and p in signature.parameters}
    bound = signature.bind(None, *operands, **by_name).arguments
    launch, *_ = bound
    return {k: v for k, v in bound.items() if k != launch and k != v}


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_a_binding_names_what_the_operation_accepts(name, signatures):
    assert signatures[name], "TTNN keeps no signature of it"
    for overload in signatures[name]:
        assert unnamed(name, overload) == []


@pytest.mark.parametrize("name", sorted(BINDINGS.keys() - SEVERAL_FORMS))
def test_a_position_means_what_it_means_to_the_operation(name, signatures):
    for overload in signatures[name]:
        assert misplaced(name, overload) == {}


@pytest.mark.parametrize("name", sorted(BINDINGS))
def test_no_argument_is_swallowed(name):
    """Neither by `**named` nor by a parameter that is never read, but those of the host side."""
    binding = BINDINGS[name]
    parameters = inspect.signature(binding).parameters.values()
    assert [p.name for p in parameters if p.kind is p.VAR_KEYWORD] == []
    read = {i.argval for i in dis.get_instructions(binding) if i.opname.startswith("LOAD_")}
    read = {
        part
        for argument in read
        for part in (
            [argument]
            if isinstance(argument, str)
            else argument
            if isinstance(argument, tuple)
            else []
        )
    }
    read |= set(binding.__code__.co_cellvars)
    named = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    assert [n for n in named[1:] if n not in read and n not in OF_THE_HOST] == []
