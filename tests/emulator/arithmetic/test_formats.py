"""Number formats as TTNN's host and the device's packer and unpacker encode them."""

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits, bits, from_bits
from ttnn_emulator.arithmetic import formats
from ttnn_emulator.arithmetic.exact import packer
from ttnn_emulator.fidelity import recordings

INFINITY = float("inf")


def _converted(case):
    """A recorded conversion's input, converted by the emulation's rules."""
    to = case.tensors["out0"]["dtype"]
    source = case.tensor("a")
    if case.op.startswith("from_torch"):
        return formats.encode(source, to)
    if to in formats.BLOCK_FORMAT_BITS:
        return packer.pack_block_float(source, to, six_fraction_bits=to == "bfloat4_b")
    return packer.pack_bfloat16(source, fp32_dest_acc=False)


@pytest.mark.parametrize("case", recordings.cases("quant"), ids=str)
def test_conversion_gives_the_recorded_bits(case):
    assert_same_bits(_converted(case), case.output())


@pytest.mark.parametrize("dtype", formats.BLOCK_FORMAT_BITS)
def test_block_values_are_their_own_encoding(dtype):
    generator = torch.Generator().manual_seed(0)
    values = formats.encode(torch.randn(64, 64, generator=generator), dtype).float()
    assert_same_bits(formats.encode(values, dtype), values)
    if dtype == "bfloat8_b":
        assert_same_bits(packer.pack_block_float(values, dtype), values)


def test_host_rounds_blocks_to_even_and_saturates():
    block = torch.zeros(16)
    block[:5] = torch.tensor([1.0, 1 + 0.5 / 64, 1 + 1.5 / 64, 1.9999, -1 / 512])
    encoded = formats.encode(block, "bfloat8_b").float()
    assert encoded[:5].tolist() == [1.0, 1.0, 1 + 2 / 64, 127 / 64, 0.0]


def test_packer_rounds_blocks_away_from_zero_and_truncates_four_bit_ones():
    block = torch.zeros(16)
    block[:3] = torch.tensor([1.0078125, -1.0078125, 1.2265625])
    assert packer.pack_block_float(block, "bfloat8_b")[:3].tolist() == [
        1.015625,
        -1.015625,
        1.234375,
    ]
    assert packer.pack_block_float(block, "bfloat4_b")[:3].tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    "encode",
    [
        lambda block: formats.encode(block, "bfloat8_b"),
        lambda block: packer.pack_block_float(block, "bfloat8_b"),
    ],
    ids=["host", "packer"],
)
def test_a_zero_of_a_block_has_no_sign(encode):
    block = torch.zeros(16)
    block[:3] = torch.tensor([1.0, -1e-6, -0.0])
    assert bits(encode(block))[1:3].tolist() == [0, 0]


def test_host_keeps_infinity_and_nan_in_a_block_and_nothing_beside_them():
    block = torch.ones(32)
    block[3], block[20] = -INFINITY, float("nan")
    encoded = formats.encode(block, "bfloat8_b").float()
    assert encoded[3] == -INFINITY
    assert encoded[20].isnan()
    assert encoded.nan_to_num(0, 0, 0).count_nonzero() == 0


def test_destination_of_32_bits_packs_half_away():
    assert packer.pack_bfloat16(
        from_bits(0x3F808000, 0xBF808000, 0x3F807FFF), fp32_dest_acc=True
    ).tolist() == [1.0078125, -1.0078125, 1.0]


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_packing_drops_negative_zero_and_denormals_and_makes_nan_infinite(fp32_dest_acc):
    values = from_bits(0x80000000, 0x00400000, 0x807F0000, 0x7FC00000, 0xFFC00000, 0x7F800000)
    packed = packer.pack_bfloat16(values, fp32_dest_acc)
    assert_same_bits(packed, torch.tensor([0, 0, 0, INFINITY, -INFINITY, INFINITY]))


def test_unpacking_truncates():
    value = from_bits(0x3F81FFFF, 0xBF81FFFF)
    assert_same_bits(packer.truncate_to_tf32(value), from_bits(0x3F81E000, 0xBF81E000))
    assert_same_bits(packer.truncate_to_bfloat16(value), from_bits(0x3F810000, 0xBF810000))


def test_sums_in_l1_round_to_even():
    values = torch.tensor([1.0, 1.0078125, -1.0])
    tie = torch.tensor([2.0**-8, 2.0**-8, -(2.0**-8)])
    assert packer.add_in_l1(values, tie, float32=False).tolist() == [1.0, 1.015625, -1.0]
    assert_same_bits(packer.add_in_l1(values, tie, float32=True), values + tie)
