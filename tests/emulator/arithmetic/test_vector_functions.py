"""The vector unit's functions: the recorded kernels bit for bit, and mathematics."""

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.exact import elementwise
from ttnn_emulator.arithmetic.exact.vector import (
    vector_activations,
    vector_binary,
    vector_exponential,
    vector_logarithms,
    vector_roots,
    vector_trigonometry,
)
from ttnn_emulator.arithmetic.exact.vector import vector_unit as unit
from ttnn_emulator.fidelity import recordings

BF16_ULP = 2.0**-7  # relative to a significand of 1, where it is largest
# Recorded with fast_and_approximate_mode=True, which the recordings tell by the name alone.
APPROXIMATE = "_fast_"


def packed(x):
    """A 16-bit Dst as the packer writes it out: no -0, no denormals, infinities for NaNs."""
    pattern = torch.where(unit.exponent(x) == 255, unit.bits(x) & -0x800000, unit.bits(x))
    return unit.from_bits(torch.where(unit.is_zero(x), 0, pattern))


@pytest.mark.parametrize("case", recordings.cases("unary"), ids=str)
def test_function_equals_the_recorded_kernel(case):
    options = {}
    if APPROXIMATE in case.name:
        options["approximate"] = True
    fp32_dest_acc = case.attributes.get("dtype") == "f32"
    if fp32_dest_acc:
        options["fp32_dest_acc"] = True
    function = elementwise.FOLLOWED[case.op.removeprefix("ttnn.")]
    result = function(case.tensor("a"), **options)
    assert_same_bits(result if fp32_dest_acc else packed(result), case.output())


@pytest.mark.parametrize(
    "name", ["mul_1x1x64x96", "mul_1x2x1x50", "mul_bcastrow_64x96", "mul_f32_64x96"]
)
def test_multiply_equals_the_recorded_kernel(name):
    case = recordings.case(name)
    fp32_dest_acc = case.attributes.get("dtype") == "f32"
    product = vector_binary.multiply(
        case.tensor("a"), case.tensor("b"), fp32_dest_acc=fp32_dest_acc
    )
    assert_same_bits(product if fp32_dest_acc else packed(product), case.output())


def test_multiply_by_a_python_scalar_rounds_the_scalar_to_bf16_first():
    case = recordings.case("mul_pyscalar_64x96")
    scalar = torch.tensor(case.attributes["scalar"]).bfloat16().float()
    assert_same_bits(packed(vector_binary.multiply(case.tensor("a"), scalar)), case.output())


def test_divide_equals_the_recorded_kernel():
    case = recordings.case("divide_64x96")
    quotient = vector_binary.divide(case.tensor("a"), case.tensor("b"))
    assert_same_bits(packed(quotient), case.output())


def test_multiply_with_fused_silu_is_silu_then_multiply():
    case = recordings.case("mul_silu_fused_32x256")
    gate = packed(vector_activations.silu(case.tensor("a")))
    assert_same_bits(packed(vector_binary.multiply(gate, case.tensor("b"))), case.output())


def test_swiglu_is_the_first_half_times_silu_of_the_second():
    case = recordings.case("swiglu_32x128")
    value, gate = case.tensor("a").chunk(2, dim=-1)
    gate = packed(vector_activations.silu(gate))
    assert_same_bits(packed(vector_binary.multiply(value, gate)), case.output())


# Worked by hand from the constants of ckernel_sfpu_exp.h.
SCHRAUDOLPH = {
    0.0: (0.9765625, 0.978515625),
    -0.5: (0.6171875, 0.6171875),
    -1.0: (0.376953125, 0.3779296875),
    -2.0: (0.1337890625, 0.1337890625),
    -88.0: (0.0, 0.0),
    -float("inf"): (0.0, 0.0),
}


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_schraudolph_exponential_at_known_points(fp32_dest_acc):
    x = torch.tensor(list(SCHRAUDOLPH))
    expected = [values[fp32_dest_acc] for values in SCHRAUDOLPH.values()]
    assert (
        vector_exponential.exp(x, approximate=True, fp32_dest_acc=fp32_dest_acc).tolist()
        == expected
    )
    assert (
        vector_exponential.attention_score_exp(x, 1.0, fp32_dest_acc=fp32_dest_acc).tolist()
        == expected
    )


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_attention_score_exp_folds_in_the_scale(fp32_dest_acc):
    scale = 96**-0.5
    x = torch.linspace(-60, 0, 4001).bfloat16().float()
    result = vector_exponential.attention_score_exp(x, scale, fp32_dest_acc=fp32_dest_acc)
    error = result.double() / torch.exp(x.double() * scale) - 1
    # Schraudolph's sawtooth (3.1 %), and truncation by up to 2**-8 in a 16-bit Dst.
    assert error.max() <= 0.0312
    assert error.min() >= (-0.0312 if fp32_dest_acc else -0.0350)


@pytest.mark.parametrize(("fp32_dest_acc", "bound"), [(False, BF16_ULP), (True, 2.0**-21)])
def test_accurate_attention_score_exp_is_accurate_where_the_scaled_score_is_exact(
    fp32_dest_acc, bound
):
    x = torch.linspace(-60, 0, 4001).bfloat16().float()
    result = vector_exponential.attention_score_exp_accurate(x, 0.125, fp32_dest_acc=fp32_dest_acc)
    assert (result.double() / torch.exp(x.double() * 0.125) - 1).abs().max() <= bound


CORRECTIONS = {
    # (function, fp32_dest_acc): relative error. In a 16-bit Dst under one ulp of bf16, as exp_21f's
    # source claims and as half an ulp and a 2-term polynomial allow. In a 32-bit one a few fp32
    # ulp of |x| for the reduction in one step, of which |x*scale| < 6 here. The polynomial of a few
    # terms is off by 3.6e-6 (measured on 29 November 2026).
    (vector_exponential.attention_correction_exp, False): BF16_ULP,
    (vector_exponential.attention_correction_exp, True): 2.0**-21,
    (vector_exponential.attention_correction_exp_polynomial, False): BF16_ULP,
    (vector_exponential.attention_correction_exp_polynomial, True): 1e-5,
}


@pytest.mark.parametrize(
    ("function", "fp32_dest_acc"), CORRECTIONS, ids=lambda p: getattr(p, "__name__", None)
)
def test_attention_correction_uses_the_scale_cut_to_bf16(function, fp32_dest_acc):
    scale = 96**-0.5
    cut = unit.store(torch.tensor(scale), fp32_dest_acc=False).double()
    x = torch.linspace(-60, 0, 4001).bfloat16().float()
    error = (
        function(x, scale, fp32_dest_acc=fp32_dest_acc).double() / torch.exp(x.double() * cut) - 1
    )
    assert error.abs().max() <= CORRECTIONS[function, fp32_dest_acc]


@pytest.mark.parametrize(
    "function",
    [
        vector_exponential.attention_correction_exp,
        vector_exponential.attention_correction_exp_polynomial,
    ],
)
def test_attention_correction_of_an_unmoved_maximum_is_one(function):
    assert function(torch.zeros(1), 96**-0.5).item() == 1.0


# Two exponentials, two products and a sum, each stored in the destination: one unit of bfloat16 in
# the sum (0.0077), and less than 2^-23 in 32 bits, measured on 29 November 2026. Twice is allowed.
@pytest.mark.parametrize(("fp32_dest_acc", "bound"), [(False, 2 * BF16_ULP), (True, 2.0**-22)])
def test_attention_merge_agrees_with_the_log_sum_exp_of_both_parts(fp32_dest_acc, bound):
    generator = torch.Generator().manual_seed(9)
    own_max, other_max = (torch.randn(2, 64, generator=generator) * 4).bfloat16().float()
    own_sum, other_sum = (torch.rand(2, 64, generator=generator) * 30 + 1).bfloat16().float()
    own_factor, other_factor, maximum, total = vector_exponential.attention_merge(
        own_max, other_max, own_sum, other_sum, 0.125, fp32_dest_acc=fp32_dest_acc
    )
    assert torch.equal(maximum, torch.maximum(own_max, other_max))
    exact_own = torch.exp((own_max - maximum).double() * 0.125)
    exact_other = torch.exp((other_max - maximum).double() * 0.125)
    exact = exact_own * own_sum + exact_other * other_sum
    assert (own_factor.double() / exact_own - 1).abs().max() <= bound
    assert (other_factor.double() / exact_other - 1).abs().max() <= bound
    assert (total.double() / exact - 1).abs().max() <= bound


def test_approximate_reciprocal_truncates_in_a_16_bit_dst():
    x = torch.tensor([3.0, 5.0, 7.0, 100.0])
    expected = [0.33203125, 0.19921875, 0.142578125, 0.00994873046875]
    assert vector_roots.reciprocal(x, approximate=True).tolist() == expected
    assert vector_roots.attention_reciprocal(x).tolist() == expected
    rounded = [0.333984375, 0.2001953125, 0.142578125, 0.010009765625]
    assert vector_roots.reciprocal(x).tolist() == rounded
    assert vector_roots.attention_reciprocal(x, approximate=False).tolist() == rounded


def test_softmax_reciprocal_is_accurate_in_a_32_bit_dst():
    x = torch.linspace(1, 2000, 5000)
    result = vector_roots.softmax_reciprocal(x, approximate=True, fp32_dest_acc=True)
    # One unit of float32; 0.63 of it, 29 November 2026.
    assert (result.double() * x.double() - 1).abs().max() <= 2.0**-23


# The table has ten bits; a 16-bit Dst rounds by half a unit more, 0.63 in all (0.55 was measured,
# 29 November 2026).
@pytest.mark.parametrize(("fp32_dest_acc", "bound"), [(False, 0.66 * BF16_ULP), (True, 2.0**-10)])
def test_approximate_rsqrt_has_ten_bits(fp32_dest_acc, bound):
    x = torch.logspace(-6, 6, 5000).bfloat16().float()
    result = vector_roots.rsqrt(x, approximate=True, fp32_dest_acc=fp32_dest_acc)
    assert (result.double() * x.double().sqrt() - 1).abs().max() <= bound


# function: (exact, arguments, bound in fp32 ulp as its kernel source claims or implies). Measured
# on 29 November 2026: 0.6 to 2.6 of them, none above 0.9 of its bound.
FP32 = {
    vector_activations.sigmoid: (torch.sigmoid, (-30.0, 30.0), 4),
    vector_activations.silu: (torch.nn.functional.silu, (-30.0, 30.0), 4),
    vector_activations.tanh: (torch.tanh, (-10.0, 10.0), 2),
    vector_exponential.exp: (torch.exp, (-80.0, 80.0), 2),
    vector_logarithms.log: (torch.log, (1e-3, 1e4), 2),
    vector_roots.reciprocal: (torch.reciprocal, (1e-3, 1e4), 1),
    vector_roots.rsqrt: (torch.rsqrt, (1e-3, 1e4), 2),
    vector_roots.sqrt: (torch.sqrt, (1e-3, 1e4), 2),
}


@pytest.mark.parametrize("function", FP32, ids=lambda function: function.__name__)
def test_32_bit_dst_is_accurate_to_a_few_ulp(function):
    exact_function, limits, bound = FP32[function]
    x = torch.linspace(*limits, 20001)
    exact = exact_function(x.double())
    ulp = torch.exp2(torch.floor(torch.log2(exact.abs().clamp(min=2.0**-120))) - 23)
    error = (function(x, fp32_dest_acc=True).double() - exact).abs() / ulp
    assert error.max() <= bound


def test_32_bit_gelu_inherits_the_absolute_error_of_erf_near_minus_one():
    x = torch.linspace(-5.5, 8, 20001)
    exact = torch.nn.functional.gelu(x.double())
    error = (vector_activations.gelu(x, fp32_dest_acc=True).double() - exact).abs()
    # Two units of float32 beside 1, which erf is near; 0.79 of the bound, 29 November 2026.
    assert (error / x.abs().clamp(min=2.0**-20)).max() <= 2.0**-22


@pytest.mark.parametrize(
    ("function", "exact"),
    [(vector_trigonometry.sin, torch.sin), (vector_trigonometry.cos, torch.cos)],
)
def test_32_bit_sine_and_cosine_are_accurate_in_absolute_terms(function, exact):
    x = torch.linspace(-50, 50, 20001)
    error = (function(x, fp32_dest_acc=True).double() - exact(x.double())).abs()
    # Two units of float32 beside 1; 0.36 of the bound, 29 November 2026.
    assert error.max() <= 2.0**-22


@pytest.mark.parametrize(
    ("function", "exact", "bound"),
    [
        # Steps of the tables of six lines: ckernel_sfpu_tanh.h states 0.01896 before bf16.
        (vector_activations.tanh, torch.tanh, 0.019 + 2.0**-8),
        # gelu's table has no such statement: 0.024, 29 November 2026
        (vector_activations.gelu, torch.nn.functional.gelu, 0.03),
    ],
)
def test_tables_of_lines_stay_near_their_function(function, exact, bound):
    x = torch.linspace(-6, 6, 5000).bfloat16().float()
    error = (function(x, approximate=True).double() - exact(x.double())).abs()
    assert error.max() <= bound


def test_32_bit_division_is_within_one_ulp():
    a, b = torch.randn(2, 20000, generator=torch.Generator().manual_seed(10))
    quotient = vector_binary.divide(a, b, fp32_dest_acc=True).double()
    exact = a.double() / b.double()
    ulp = torch.exp2(torch.floor(torch.log2(exact.abs())) - 23)
    # The reciprocal's half unit and that of the product; 0.83, 29 November 2026.
    assert ((quotient - exact).abs() / ulp).max() <= 1.0


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_division_by_zero_gives_infinities_and_nan(fp32_dest_acc):
    a = torch.tensor([1.0, -1.0, 0.0, 0.0, float("inf")])
    b = torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0])
    quotient = vector_binary.divide(a, b, fp32_dest_acc=fp32_dest_acc)
    assert quotient[:2].tolist() == [float("inf"), -float("inf")]
    # A 16-bit Dst keeps the NaN's upper half, so it is still one.
    assert quotient[2].isnan()
    assert quotient[3:].tolist() == [0.0, float("inf")]


def test_zero_times_infinity_is_zero_in_a_16_bit_dst_only():
    zero, infinity = torch.zeros(1), torch.full((1,), float("inf"))
    assert vector_binary.multiply(zero, infinity).item() == 0.0
    assert vector_binary.multiply(zero, infinity, fp32_dest_acc=True).isnan()


def test_scalar_kernels_truncate_where_binary_ones_round():
    x = torch.tensor([1.0])
    nearly = 1 + 2.0**-7 - 2.0**-12  # just under the next bf16
    assert vector_binary.multiply_by_scalar(x, nearly).item() == 1.0
    assert vector_binary.multiply(x, torch.tensor([nearly])).item() == 1 + 2.0**-7
    assert vector_binary.add_scalar(x, nearly - 1).item() == 1.0
    assert vector_binary.add(x, torch.tensor([nearly - 1])).item() == 1 + 2.0**-7
    assert vector_binary.subtract(x, torch.tensor([1 - nearly])).item() == 1 + 2.0**-7
