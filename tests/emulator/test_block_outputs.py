"""What device operations write into bfloat8_b and bfloat4_b tensors, in kernel arithmetic.

The rule is in tests/support/packing.py. Elementwise operations, heads, caches and rotations
have theirs beside their other tests.
"""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.emulated import contents
from tests.support.packing import (
    AS_IT_LIES,
    BLOCK_FORMATS,
    HOST,
    MIDDLE,
    NEXT,
    NO_SIX_BITS,
    NO_SUCH_OUTPUT,
    NOTHING,
    PACKER,
    assert_is,
    named,
    packed,
)
from tests.support.tensors import bf16_normal, in_rows, on_tiles
from ttnn_emulator.ops import creation, embedding
from ttnn_emulator.ops.data_movement import layouts, movement

L1 = ttnn.L1_MEMORY_CONFIG


@pytest.fixture
def device(device):
    with ttnn_emulator.arithmetic_settings("kernel"):
        yield device


def block(*values):
    return torch.tensor([*values, *[0.0] * (16 - len(values))])


def test_the_rule_itself():
    """Worked by hand: 1 and its neighbour lie 1/64 apart in bfloat8_b, 1/4 in bfloat4_b."""
    ties = block(1.0078125, -1.0078125, 0.5078125, 0.50390625)
    assert packed(ties, ttnn.bfloat8_b)[:4].tolist() == [1.015625, -1.015625, 0.515625, 0.515625]
    cast = packed(ties, ttnn.bfloat8_b, NO_SIX_BITS)
    assert cast[:4].tolist() == [1.015625, -1.015625, 0.515625, 0.5]
    assert packed(block(1.2265625, 0.46875), ttnn.bfloat4_b)[:2].tolist() == [1.0, 0.25]
    # Six bits make 2.0 of the largest bfloat16 below it; without them it saturates.
    assert packed(block(1.9921875), ttnn.bfloat8_b)[0] == 2.0
    assert packed(block(1.9921875), ttnn.bfloat8_b, NO_SIX_BITS)[0] == 1.984375


def sharded(device, rows, width):
    return ttnn.create_sharded_memory_config(
        (rows, width), core_grid=ttnn.CoreGrid(y=1, x=2), strategy=ttnn.ShardStrategy.HEIGHT
    )


# --- another format than the operand's -----------------------------------------------------------

# Each copies through SrcA and a 16-bit Dst, whose 16 bits the packer reads as bfloat8_b: it rounds
# to six fraction bits, then to the block (pack source and target as in the programs TTNN builds).
#
#   operation                kernel                          pack source -> target
#   assign, copy             eltwise_copy.cpp                bfloat8_b -> bfloat8_b   rounds twice
#   clone                    clone's compute_kernel.cpp      bfloat8_b -> bfloat8_b   rounds twice
#   to_memory_config         eltwise_copy_metal2.cpp         bfloat8_b -> bfloat8_b   rounds twice
#   interleaved_to_sharded   eltwise_copy_metal2.cpp         bfloat8_b -> bfloat8_b   rounds twice
#   sharded_to_interleaved   eltwise_copy_metal2.cpp         bfloat8_b -> bfloat8_b   rounds twice
#   typecast of bfloat16     eltwise_typecast.cpp            bfloat16  -> bfloat8_b   rounds once
#   typecast of float32      eltwise_typecast.cpp, 32 bits   float32   -> bfloat8_b   rounds once
COPIES = {
    "assign": lambda t, to: ttnn.assign(t, memory_config=L1, dtype=to),
    "assign into": lambda t, to: ttnn.assign(t, on_tiles(t.device(), torch.ones(64, 64), to)),
    "clone": lambda t, to: ttnn.clone(t, dtype=to),
    "copy": lambda t, to: ttnn.copy(t, on_tiles(t.device(), torch.ones(64, 64), to)),
    "interleaved_to_sharded": lambda t, to: ttnn.interleaved_to_sharded(
        t, sharded(t.device(), 64, 64), to
    ),
    "sharded_to_interleaved": lambda t, to: ttnn.sharded_to_interleaved(
        ttnn.to_memory_config(t, sharded(t.device(), 64, 64)), L1, to
    ),
    "to_memory_config": lambda t, to: ttnn.to_memory_config(t, L1, dtype=to),
}
TILIZES = {
    "tilize": lambda t, to: ttnn.tilize(t, dtype=to),
    "tilize_with_val_padding": lambda t, to: ttnn.tilize_with_val_padding(
        t, [64, 64], 1.0, dtype=to
    ),
    "to_layout": lambda t, to: ttnn.to_layout(t, ttnn.TILE_LAYOUT, dtype=to),
}


def floats(source):
    return torch.randn(64, 64) if source == ttnn.float32 else bf16_normal(64, 64)


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("source", [ttnn.bfloat16, ttnn.float32], ids=str)
@pytest.mark.parametrize("name", COPIES)
def test_a_copy_into_a_block_format_is_packed(device, name, source, to):
    x = floats(source)
    assert_is(COPIES[name](on_tiles(device, x, source), to), packed(x, to))


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("source", [ttnn.bfloat16, ttnn.float32], ids=str)
@pytest.mark.parametrize("name", TILIZES)
def test_rows_tilized_into_a_block_format_are_packed(device, name, source, to):
    x = floats(source)
    assert_is(TILIZES[name](in_rows(device, x, source), to), packed(x, to))


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_eight_bits_into_four_is_cut(device, name):
    x = on_tiles(device, bf16_normal(64, 64), ttnn.bfloat8_b)
    due = packed(ttnn.to_torch(x), ttnn.bfloat4_b)
    assert_is(COPIES[name](x, ttnn.bfloat4_b), due)


@pytest.mark.parametrize(
    "source", [ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b, ttnn.bfloat4_b], ids=str
)
@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
def test_a_typecast_rounds_once_to_eight_bits(device, source, to):
    """bfloat8_b from the destination's own format; bfloat4_b from bfloat8_b."""
    x = on_tiles(device, floats(source), source)
    due = packed(ttnn.to_torch(x), to, six_bits=to == ttnn.bfloat4_b)
    assert_is(ttnn.typecast(x, to), due)


def test_a_typecast_of_float32_differs_from_the_host_only_in_ties(device):
    """Half away asks for the next bit alone, so what Dst's low bits hold does not matter."""
    torch.manual_seed(0)
    x = torch.randn(32, 32)
    got = ttnn.to_torch(ttnn.typecast(on_tiles(device, x, ttnn.float32), ttnn.bfloat8_b))
    assert got.equal(ttnn.to_torch(on_tiles(device, x, ttnn.bfloat8_b)))


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
def test_an_embedding_in_a_block_format_is_a_typecast_of_its_rows(device, to):
    table = bf16_normal(64, 64)
    ids = in_rows(device, torch.arange(32)[None], ttnn.uint32)
    got = ttnn.embedding(
        ids, in_rows(device, table, ttnn.bfloat16), layout=ttnn.TILE_LAYOUT, dtype=to
    )
    assert_is(got, packed(table[None, :32], to, six_bits=to == ttnn.bfloat4_b))


BELOW = MIDDLE - 2.0**-23  # the float32 number below


def test_float32_is_cut_where_a_copy_takes_it_through_srca(device):
    x = on_tiles(device, torch.tensor([[BELOW, MIDDLE, NEXT - 2.0**-23, -BELOW]]), ttnn.float32)
    cut = [1.0, 1.0, 1.0, -1.0]
    assert ttnn.to_torch(ttnn.clone(x, dtype=ttnn.bfloat16))[0].tolist() == cut
    assert ttnn.to_torch(ttnn.to_memory_config(x, L1, dtype=ttnn.bfloat16))[0].tolist() == cut


def test_a_wide_destination_cuts_float32_to_tf32_and_packs_half_away(device):
    x = on_tiles(device, torch.tensor([[BELOW, MIDDLE, NEXT - 2.0**-23]]), ttnn.float32)
    wide = ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=True)
    copied = ttnn.clone(x, dtype=ttnn.bfloat16, compute_kernel_config=wide)
    assert ttnn.to_torch(copied)[0].tolist() == [1.0, NEXT, NEXT]


def test_float32_is_tilized_into_bfloat16_half_away(device):
    x = in_rows(device, torch.tensor([[BELOW, MIDDLE, -MIDDLE]]), ttnn.float32)
    tilized = ttnn.to_layout(x, ttnn.TILE_LAYOUT, dtype=ttnn.bfloat16)
    assert ttnn.to_torch(tilized)[0].tolist() == [1.0, NEXT, -NEXT]


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
def test_what_a_block_format_holds_is_packed_as_it_is(device, to):
    """Why the old rows of a cache need not be packed again: host's values and saturated ones."""
    values = torch.randn(64, 64) * torch.logspace(-3, 3, 64)
    values[::3, ::16] = 1.9999
    held = ttnn.to_torch(on_tiles(device, values, to)).double()
    assert torch.equal(packed(held, to), held)


# --- blocks that change --------------------------------------------------------------------------

# Calls on a [1, 2, 64, 64] tensor of a block format, and the same of torch.
MIXES = {
    "permute": (
        lambda t: ttnn.permute(t, (0, 3, 1, 2)),
        lambda x: x.permute(0, 3, 1, 2),
    ),
    "reshape": (lambda t: ttnn.reshape(t, (1, 2, 128, 32)), lambda x: x.reshape(1, 2, 128, 32)),
    "transpose": (lambda t: ttnn.transpose(t, 2, 3), lambda x: x.transpose(2, 3)),
    "repeat_interleave": (
        lambda t: ttnn.repeat_interleave(t, 2, 3),
        lambda x: x.repeat_interleave(2, 3),
    ),
}


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("name", MIXES)
def test_values_that_get_other_neighbours_are_packed_anew(device, name, to):
    x = on_tiles(device, torch.randn(1, 2, 64, 64) * torch.logspace(-2, 2, 64), to)
    call, due = MIXES[name]
    assert_is(call(x), packed(due(ttnn.to_torch(x)), to))


def test_a_sum_that_moves_into_a_row_is_packed_again_there(device):
    x = on_tiles(device, torch.randn(64, 64) * torch.logspace(-2, 2, 64)[:, None], ttnn.bfloat8_b)
    alone = ttnn.to_torch(ttnn.sum(x, -1, True))[:, 0]
    assert_is(ttnn.sum(x, -1), packed(alone, ttnn.bfloat8_b))


@pytest.mark.parametrize("name", ["max", "min"])
def test_an_extreme_in_a_block_format_has_its_block_for_itself(device, name):
    x = on_tiles(device, bf16_normal(64, 64), ttnn.bfloat8_b)
    due = getattr(ttnn.to_torch(x), name)(-1, keepdim=True).values
    assert_is(getattr(ttnn, name)(x, -1, True), due)


# Six bits make 33/64 of it, as long as 1 is beside it; seven alone make 1/2.
NUMBER = 0.50390625


@pytest.mark.parametrize(("to", "due"), [(ttnn.bfloat8_b, 0.5), (ttnn.bfloat4_b, 0.5)], ids=str)
def test_padding_filled_with_a_number_is_a_typecast(device, to, due):
    x = on_tiles(device, torch.ones(37, 40), to)
    filled = contents(ttnn.fill_implicit_tile_padding(x, NUMBER))
    assert (filled[:37, 40:48] == due).all(), "beside ones"


def test_a_number_beside_a_padded_tensor_is_a_typecast(device):
    x = on_tiles(device, torch.ones(32, 32), ttnn.bfloat8_b)
    padded = ttnn.to_torch(ttnn.pad(x, [(0, 32), (0, 32)], 1.9921875))
    assert (padded[:, 32:] == 1.984375).all()
    assert (padded[:32, :32] == 1).all()


# --- made from a number --------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "due"), [(ttnn.bfloat8_b, 1.0), (ttnn.bfloat4_b, 1.0)], ids=str)
def test_a_number_in_a_new_tensor_is_the_host_s(device, to, due):
    """full of 1 + 1/128, a tie: to even."""
    made = ttnn.full([32, 40], 1.0078125, dtype=to, layout=ttnn.TILE_LAYOUT, device=device)
    assert (ttnn.to_torch(made) == due).all()


def test_a_number_in_tiles_like_others_is_filled_in_by_a_kernel(device):
    """bfloat8_b and bfloat16 on the device, padding included; bfloat4_b comes from the host."""
    like = on_tiles(device, torch.ones(32, 40), ttnn.bfloat8_b)
    assert (contents(ttnn.full_like(like, 1.0078125)) == 1.015625).all()
    assert (contents(ttnn.full_like(on_tiles(device, torch.ones(32, 40)), MIDDLE)) == 1).all()
    four = on_tiles(device, torch.ones(32, 40), ttnn.bfloat4_b)
    made = contents(ttnn.full_like(four, 1.2265625))
    assert (made[:, :40] == 1.25).all()
    assert (made[:, 40:] == 0).all()


# --- all of them ---------------------------------------------------------------------------------

WHOLE_BLOCKS = {
    # Calls on a [1, 2, 64, 64] tensor that move tiles as they lie in memory, and the same of torch.
    "chunk": (lambda t: ttnn.chunk(t, 2, 3)[1], lambda x: x[..., 32:]),
    "concat": (lambda t: ttnn.concat([t, t], 3), lambda x: torch.cat([x, x], 3)),
    "expand": (lambda t: ttnn.expand(t, (3, 2, 64, 64)), lambda x: x.expand(3, 2, 64, 64)),
    "move": (ttnn.move, lambda x: x),
    "repeat": (lambda t: ttnn.repeat(t, (1, 1, 1, 2)), lambda x: x.repeat(1, 1, 1, 2)),
    "slice": (
        lambda t: ttnn.slice(t, [0, 0, 32, 0], [1, 2, 64, 64]),
        lambda x: x[:, :, 32:],
    ),
    "split": (lambda t: ttnn.split(t, 32, 3)[1], lambda x: x[..., 32:]),
    "stack": (lambda t: ttnn.stack([t, t], 0), lambda x: torch.stack([x, x])),
}


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("name", WHOLE_BLOCKS)
def test_whole_blocks_move_as_they_are(device, name, to):
    x = on_tiles(device, torch.randn(1, 2, 64, 64) * torch.logspace(-2, 2, 64), to)
    call, due = WHOLE_BLOCKS[name]
    before = ttnn.to_torch(x)
    assert_is(call(x), due(before))


def test_of_every_operation_that_moves_or_makes_values_it_is_known_who_encodes_them():
    """Heads, caches and rotations say it in their own tests; all others end in a packer."""
    encoders = {
        PACKER: """assign clone copy experimental.broadcast_to expand interleaved_to_sharded permute
            pad fill_implicit_tile_padding repeat repeat_interleave reshape reshape_on_device
            sharded_to_interleaved squeeze tilize tilize_with_val_padding tilize_with_zero_padding
            to_layout to_memory_config transpose unsqueeze view experimental.view full_like
            ones_like zeros_like rand embedding""",
        AS_IT_LIES: "chunk concat move reallocate reshard slice split stack",
        HOST: "full ones zeros",
        NOTHING: "empty empty_like",
        NO_SUCH_OUTPUT: """arange moreh_full moreh_full_like randn narrow to_dtype untilize
            untilize_with_unpadding""",
    }
    families = (creation, embedding, layouts, movement)
    assert named(encoders) == sorted(name for family in families for name in family.BINDINGS)
