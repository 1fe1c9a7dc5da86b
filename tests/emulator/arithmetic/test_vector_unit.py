"""The vector unit's instructions: the multiply-add, stores, roundings, number conversions."""

import pytest
import torch

from ttnn_emulator.arithmetic.exact.vector import vector_typecast
from ttnn_emulator.arithmetic.exact.vector import vector_unit as unit


def same_bits(a, b):
    return torch.equal(unit.bits(a), unit.bits(b))


def _normal_floats(count, seed):
    """float32 values of every sign and magnitudes around 1."""
    generator = torch.Generator().manual_seed(seed)
    significand = torch.randint(0, 1 << 23, (count,), generator=generator, dtype=torch.int32)
    exponent = torch.randint(110, 145, (count,), generator=generator, dtype=torch.int32)
    sign = torch.randint(0, 2, (count,), generator=generator, dtype=torch.int32)
    return unit.from_bits((sign << 31) | (exponent << 23) | significand)


def test_mad_without_addend_is_the_rounded_product():
    a, b = _normal_floats(20000, 1), _normal_floats(20000, 2)
    assert same_bits(unit.mad(a, b, 0.0), a * b)
    assert same_bits(unit.mul(a, b), a * b)


def test_mad_by_one_is_the_rounded_sum():
    a, b = _normal_floats(20000, 3), _normal_floats(20000, 4)
    assert same_bits(unit.mad(1.0, a, b), a + b)
    assert same_bits(unit.add(a, b), a + b)


def test_mad_is_within_a_quarter_ulp_of_the_correct_rounding_unless_it_cancels():
    a, b, c = (_normal_floats(20000, seed).abs() for seed in (5, 6, 7))
    exact = a.double() * b.double() + c.double()
    ulp = torch.exp2(torch.floor(torch.log2(exact)) - 23)
    # Half an ulp of rounding, and a quarter that the two-bit normalisation may lose.
    assert ((unit.mad(a, b, c).double() - exact).abs() / ulp).max() <= 0.75


def test_mad_keeps_27_bits_of_a_cancelling_product():
    x = _normal_floats(20000, 8).abs()
    x = unit.set_exponent(x, torch.full_like(unit.bits(x), 127))
    residual = unit.mad(-x, 1 / x, 1.0).double()
    assert torch.equal(residual * 2**27, torch.round(residual * 2**27))


def test_mad_of_many_lanes_is_that_of_few():
    a, b = _normal_floats(1 << 15, 9), _normal_floats(1 << 15, 10)
    for c in (unit.from_bits(unit.bits(a) ^ unit.bits(b)), unit.constant(-1.0)):
        few = [unit.mad(a[i : i + 1024], b[i : i + 1024], c[i : i + 1024] if c.dim() else c)
               for i in range(0, len(a), 1024)]  # fmt: skip
        assert same_bits(unit.mad(a, b, c), torch.cat(few))


def test_two_bit_normalisation_loses_a_sticky_bit():
    # Exactly, a*b + c lies nearer to 0x40951611; the documented model gives the one below.
    a, b, c = (
        unit.from_bits(torch.tensor([pattern])) for pattern in (0x3FF26C30, 0x3FC60000, 0x3FDD58E8)
    )
    assert unit.bits(unit.mad(a, b, c)).item() == 0x40951610


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (float("inf"), 0.0, 1.0, float("nan")),
        (float("inf"), 1.0, -float("inf"), float("nan")),
        (float("inf"), 1.0, 5.0, float("inf")),
        (1e30, 1e30, 0.0, float("inf")),
        (-1e30, 1e30, 0.0, -float("inf")),
        (1e-30, 1e-30, 0.0, 0.0),
        (1e-40, 1e10, 1.0, 1.0),
        (1.0, 1.0, -1.0, 0.0),
    ],
)
def test_mad_of_special_values(a, b, c, expected):
    result = unit.mad(torch.tensor([a]), b, c)
    assert torch.equal(result.isnan(), torch.tensor([expected]).isnan())
    assert result.isnan().item() or result.item() == expected


def test_a_nan_keeps_the_sign_of_its_product():
    # The packer turns it into the infinity of that sign: silu(-inf) is recorded as -inf.
    result = unit.mul(torch.tensor([-float("inf"), float("inf")]), torch.zeros(2))
    assert (unit.bits(result) < 0).tolist() == [True, False]


def test_store_truncates_in_a_16_bit_dst_only():
    third = torch.tensor([1 / 3])  # 0x3EAAAAAB
    assert unit.bits(unit.store(third, fp32_dest_acc=False)).item() == 0x3EAA0000
    assert unit.bits(unit.store(third, fp32_dest_acc=True)).item() == 0x3EAAAAAB


def test_store_flushes_denormals():
    assert unit.store(torch.tensor([1e-40, -1e-40]), fp32_dest_acc=True).tolist() == [0.0, 0.0]


def test_the_two_bf16_roundings_differ_on_ties_only():
    tie = unit.from_bits(torch.tensor([0x3F808000, 0x3F818000, 0x3F807FFF]))
    away = [hex(p) for p in unit.bits(unit.round_to_bf16(tie)).tolist()]
    even = [hex(p) for p in unit.bits(unit.round_to_bf16_even(tie)).tolist()]
    assert away == ["0x3f810000", "0x3f820000", "0x3f800000"]
    assert even == ["0x3f800000", "0x3f820000", "0x3f800000"]


def test_round_to_integer_takes_ties_away_from_zero_and_saturates():
    x = torch.tensor([0.49, 0.5, -1.5, 2.5, 70000.0, float("nan")])
    assert unit.round_to_integer(x, 65535).tolist() == [0, 1, 2, 3, 65535, 65535]


def test_a_16_bit_dst_refuses_other_tensors():
    with pytest.raises(TypeError, match=r"float32 lanes, not on torch\.bfloat16"):
        unit.on_bf16_dest(unit.round_to_bf16, torch.zeros(4, dtype=torch.bfloat16))


def test_float_to_int32_truncates_and_saturates():
    x = torch.tensor([1.9, -1.9, 0.5, 3e9, -3e9, float("inf"), -float("inf")])
    low, high = -(2**31), 2**31 - 1
    assert vector_typecast.to_int32(x).tolist() == [1, -1, 0, high, low, high, low]


def test_float_to_unsigned_clamps_negatives_to_zero():
    x = torch.tensor([1.9, -1.9, 65534.5, 5e9])
    assert vector_typecast.to_uint32(x).tolist() == [1, 0, 65534, 2**32 - 1]
    assert vector_typecast.to_uint16(x).tolist() == [2, 0, 65535, 65535]


def test_integers_reach_bf16_by_two_roundings():
    values = torch.tensor([0, 257, 259, -257, 2**24 + 1, 2**31 - 1], dtype=torch.int32)
    expected = [0.0, 258.0, 260.0, -258.0, 2.0**24, 2.0**31]
    assert vector_typecast.integer_to_bfloat16(values).tolist() == expected


def test_integers_saturate_in_uint16():
    values = torch.tensor([-5, 65535, 65536], dtype=torch.int32)
    assert vector_typecast.integer_to_uint16(values).tolist() == [0, 65535, 65535]


def test_float32_to_bfloat16_rounds_ties_to_even():
    x = unit.from_bits(torch.tensor([0x3F808000, 0x3F818000]))
    assert vector_typecast.float32_to_bfloat16(x).tolist() == [1.0, 1.015625]
