"""The matrix unit against recorded kernels, bit for bit, and against its definition in integers."""

import numpy as np
import pytest
import torch

from tests.emulator.arithmetic.integer_products import exact_product, operand
from tests.emulator.arithmetic.recorded import assert_same_bits, from_bits
from ttnn_emulator.arithmetic.compute import FIDELITY_PHASES, Compute, Product
from ttnn_emulator.arithmetic.exact import packer
from ttnn_emulator.arithmetic.exact.matrix import (
    eltwise_unit,
    matrix_accumulator,
    matrix_unit,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_kernels import Accumulation
from ttnn_emulator.arithmetic.exact.matrix.matrix_plan import default_compute, default_k_block
from ttnn_emulator.fidelity import recordings

RECORDED_GRID = (8, 9)
INFINITY = float("inf")


def _configuration(case, right):
    """Compute config and blocks of a recorded product, from its attributes or TTNN's defaults."""
    dtypes = [case.tensors[name]["dtype"] for name in ("a", right, "out0")]
    compute = default_compute(*dtypes, planned=False)
    attributes = case.attributes
    if "math_fidelity" in attributes:
        compute = Compute(
            attributes["math_fidelity"],
            fp32_dest_acc=attributes["fp32_dest_acc_en"],
            packer_l1_acc=attributes["packer_l1_acc"],
        )
    elif attributes.get("config") == "('HiFi4', True)":
        compute = Compute("HiFi4", fp32_dest_acc=True)
    rows, depth = case.tensors["a"]["padded_shape"][-2:]
    columns = case.tensors[right]["padded_shape"][-1]
    product = Product(rows, depth, columns, *dtypes, fp32_dest_acc=compute.fp32_dest_acc)
    return {
        "compute": compute,
        "k_block_tiles": default_k_block(product, RECORDED_GRID),
        "out": dtypes[2],
    }


PRODUCTS = [case for case in recordings.cases("matmul") if "activation" not in case.attributes]


@pytest.mark.parametrize("case", PRODUCTS, ids=str)
def test_product_gives_the_recorded_bits(case):
    right = "w" if "w" in case.tensors else "b"
    computed = matrix_unit.matmul(
        case.tensor("a"), case.tensor(right), **_configuration(case, right)
    )
    assert_same_bits(computed, case.output())


SUMS = [case for case in recordings.cases("binary") if case.name.startswith(("add", "subtract"))]


@pytest.mark.parametrize("case", SUMS, ids=str)
def test_sum_gives_the_recorded_bits(case):
    if "scalar" in case.attributes:
        second = torch.tensor([case.attributes["scalar"]]).bfloat16()
    else:
        second = case.tensor("b")
    compute = eltwise_unit.subtract if case.op == "ttnn.subtract" else eltwise_unit.add
    out = case.tensors["out0"]["dtype"]
    assert_same_bits(packer.pack(compute(case.tensor("a"), second), out, False), case.output())


def _packed(values):
    return packer.pack_bfloat16(values, fp32_dest_acc=False)


def _rotated(case, values):
    """The operand with its halves swapped or, by a transformation matrix, its pairs."""
    if "trans_mat" in case.tensors:
        swap = case.tensor("trans_mat")[0, 0, :32, :32]
        tiles = values.unflatten(-1, (-1, 32))
        return matrix_unit.matmul(tiles, swap, compute=Compute("HiFi4")).flatten(-2)
    first, second = values.chunk(2, -1)
    negative = _packed(eltwise_unit.multiply(second, torch.tensor(-1.0)))
    return torch.cat([negative, first], -1)


@pytest.mark.parametrize("case", recordings.cases("rotary"), ids=str)
def test_rotary_embedding_from_the_units_steps_gives_the_recorded_bits(case):
    values, cosine, sine = (case.tensor(name) for name in ("a", "cos", "sin"))
    token = case.attributes.get("token_idx")
    if "trans_mat" not in case.tensors:
        rows = slice(0, values.shape[-2]) if token is None else slice(token, token + 1)
        cosine, sine = cosine[..., rows, :], sine[..., rows, :]
    straight = _packed(eltwise_unit.multiply(values, cosine))
    turned = _packed(eltwise_unit.multiply(_rotated(case, values), sine))
    computed = _packed(eltwise_unit.add(straight, turned))
    assert_same_bits(computed, case.output()[..., : values.shape[-2], :])


REDUCTIONS = [case for case in recordings.cases("reduce") if case.op != "ttnn.argmax"]


@pytest.mark.parametrize("case", REDUCTIONS, ids=str)
def test_row_reduction_gives_the_recorded_bits(case):
    values = case.tensor("a")
    if case.op == "ttnn.max":
        computed = packer.pack_bfloat16(matrix_unit.row_max(values), fp32_dest_acc=False)
    else:
        scaler = 1 / values.shape[-1] if case.op == "ttnn.mean" else 1.0
        computed = packer.pack_bfloat16(
            matrix_unit.row_sum(values, scaler=scaler), fp32_dest_acc=True
        )
    assert_same_bits(computed, case.output())


@pytest.mark.parametrize("rows", [2, 9], ids=["few", "many"])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
@pytest.mark.parametrize("fidelity", FIDELITY_PHASES)
@pytest.mark.parametrize(
    ("spread", "tf32", "scale"),
    [(0, False, 0), (3, False, 0), (20, False, 0), (3, True, 0), (5, False, -62)],
    ids=["equal", "near", "far", "tf32", "underflow"],
)
def test_vector_code_is_the_integer_definition(fidelity, fp32_dest_acc, spread, tf32, scale, rows):
    generator = torch.Generator().manual_seed(spread)
    activation = operand(generator, (rows, 192), spread, tf32, scale)
    weight = operand(generator, (192, 64), spread, tf32, scale)
    prepared = matrix_unit.prepare_weight(weight)
    assert prepared.tiles.dtype == (np.uint32 if tf32 else np.uint16)
    phases = FIDELITY_PHASES[fidelity]
    computed = matrix_unit._accumulate(
        activation, prepared, Accumulation(phases, fp32_dest_acc, block=6)
    )
    assert_same_bits(
        torch.from_numpy(computed[0]), exact_product(activation, weight, phases, fp32_dest_acc)
    )


@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
@pytest.mark.parametrize("rows", [1, 2, 32, 33, 70])
def test_rows_do_not_depend_on_how_many_are_taken_together(rows, fp32_dest_acc):
    # One tile has a channel 300 times as large as the others, whose groups are then far apart.
    generator = torch.Generator().manual_seed(rows)
    activation = operand(generator, (rows, 160), 0)
    activation[:, 100] *= 300
    weight = operand(generator, (160, 192), 0)
    computed = matrix_unit._accumulate(
        activation, matrix_unit.prepare_weight(weight), Accumulation(4, fp32_dest_acc, block=5)
    )
    assert_same_bits(
        torch.from_numpy(computed[0]), exact_product(activation, weight, 4, fp32_dest_acc)
    )


def _eight_terms(total):
    """Eight integers of at most 5 significant bits, the largest 1984, that add up to `total`."""
    terms = []
    while len(terms) < 8:
        term = min(total, 1984)
        term -= term % (1 << max(term.bit_length() - 5, 0))
        terms.append(term)
        total -= term
    assert total == 0
    return torch.tensor(terms)


@pytest.mark.parametrize("distance", [13, 14])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_group_far_below_the_destination_rounds_twice(distance, sign):
    # Near a half of the destination's unit, first to 23 and then to 10 fraction bits. The other
    # group puts the sum where that unit decides between two bfloat16 values.
    weight = torch.zeros(64, 64)
    weight[0] = 1.0  # what the destination holds when the groups of rows 32 to 47 come
    weight[40] = (3 if sign > 0 else 4) * 2.0**-10
    half = 1 << (distance - 1)
    for lane in range(32):
        weight[32:40, lane] = sign * _eight_terms(half - 16 + lane) * 2.0 ** -(10 + distance)
    activation = torch.ones(1, 64)
    computed = matrix_unit._accumulate(
        activation, matrix_unit.prepare_weight(weight), Accumulation(1, False, block=2)
    )
    assert_same_bits(torch.from_numpy(computed[0]), exact_product(activation, weight, 1, False))
    assert set(computed[0, 0, :32].tolist()) == {1.0, 1.0078125}


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
def test_blocks_of_special_values_are_summed_like_ordinary_ones(
    block, bias, fp32_dest_acc, monkeypatch
):
    generator = torch.Generator().manual_seed(block)
    activation = operand(generator, (2, 3, 180), 2)
    weight = operand(generator, (180, 104), 2)
    arguments = {
        "compute": Compute("HiFi2", fp32_dest_acc=fp32_dest_acc, packer_l1_acc=True),
        "k_block_tiles": block,
        "bias": torch.ones(104) if bias else None,
        "out": "float32" if fp32_dest_acc else "bfloat16",
    }
    fast = matrix_unit.matmul(activation, weight, **arguments)
    monkeypatch.setattr(matrix_accumulator, "LARGEST_PRODUCT", -1)
    assert_same_bits(matrix_unit.matmul(activation, weight, **arguments), fast)


@pytest.mark.parametrize("fidelity", FIDELITY_PHASES)
def test_products_of_small_integers_are_exact(fidelity):
    generator = torch.Generator().manual_seed(1)
    activation = torch.randint(-3, 4, (5, 40), generator=generator).float()
    weight = torch.randint(-3, 4, (40, 7), generator=generator).float()
    computed = matrix_unit.matmul(
        activation, weight, compute=Compute(fidelity, fp32_dest_acc=True), out="float32"
    )
    assert torch.equal(computed, activation @ weight)


def test_destination_of_16_bits_rounds_every_step_away():
    activation = torch.zeros(1, 96)
    activation[0, ::32] = torch.tensor([256.0, 1.0, 0.75])
    computed = matrix_unit.matmul(activation, torch.ones(96, 1))
    assert computed.item() == 258.0


def test_hifi2_drops_the_activations_last_bit_and_keeps_the_weights():
    odd, ones = torch.full((1, 32), 1.0078125), torch.ones(32, 1)
    assert matrix_unit.matmul(odd, ones).item() == 32.0
    assert matrix_unit.matmul(odd, ones, compute=Compute("HiFi4")).item() == 32.5
    assert matrix_unit.matmul(ones.T, odd.T).item() == 32.5


def test_zero_times_infinity_is_zero_and_infinity_minus_infinity_too():
    activation = torch.zeros(1, 32)
    weight = torch.full((32, 1), INFINITY)
    assert_same_bits(matrix_unit.matmul(activation, weight), torch.zeros(1, 1))
    activation[0, :2] = torch.tensor([1.0, -1.0])
    assert_same_bits(matrix_unit.matmul(activation, weight), torch.zeros(1, 1))
    activation[0, 1] = 0
    assert matrix_unit.matmul(activation, weight).item() == INFINITY
    assert matrix_unit.matmul(activation, torch.full((32, 1), float("nan"))).item() == INFINITY


def test_denormals_count_as_zero():
    denormal = from_bits(0x00400000).expand(1, 32)
    huge = torch.full((32, 1), 2.0**100)
    assert_same_bits(matrix_unit.matmul(denormal, huge), torch.zeros(1, 1))
    assert_same_bits(matrix_unit.matmul(huge.T, denormal.T), torch.zeros(1, 1))


def test_a_total_of_minus_one_unit_is_normalised_wrongly():
    # tt-metal's known rare wrong power of two: -1 - 2^-23 + 1 gives -16 in a 32-bit destination.
    dst = np.array([[0xBF800001]], np.uint32).view(np.float32).repeat(64, 1)[None]
    weight = matrix_unit.prepare_weight(torch.ones(32, 64))
    activation = torch.zeros(1, 32)
    activation[0, 0] = 1.0
    computed = matrix_unit._accumulate(
        activation, weight, Accumulation(1, True, block=1), dst.copy()
    )
    assert set(computed.reshape(-1).tolist()) == {-16.0}


def test_a_prepared_weight_shares_the_tensors_memory():
    weight = torch.randn(64, 128).bfloat16()
    tiles = matrix_unit.prepare_weight(weight).tiles
    assert tiles.ctypes.data == weight.data_ptr()
    assert tiles.nbytes == 2 * weight.numel()


def test_batched_products_are_the_products_of_each_batch():
    generator = torch.Generator().manual_seed(2)
    activation = operand(generator, (2, 3, 5, 64), 1)
    weight = operand(generator, (2, 1, 64, 33), 1)
    computed = matrix_unit.matmul(activation, weight)
    assert computed.shape == (2, 3, 5, 33)
    for batch in range(2):
        for head in range(3):
            alone = matrix_unit.matmul(activation[batch, head], weight[batch, 0])
            assert_same_bits(computed[batch, head], alone)


def test_spilling_in_a_block_format_costs_accuracy_and_l1_accumulation_does_not():
    generator = torch.Generator().manual_seed(3)
    activation, weight = operand(generator, (4, 256), 1), operand(generator, (256, 32), 1)
    spilled, in_l1, one_block = (
        matrix_unit.matmul(
            activation,
            weight,
            compute=Compute("HiFi2", packer_l1_acc=l1),
            k_block_tiles=block,
            out="bfloat8_b",
        )
        for block, l1 in ((1, False), (4, True), (None, False))
    )
    assert_same_bits(in_l1, one_block)  # two blocks: the second accumulates onto the first
    assert not torch.equal(spilled, one_block)


def test_a_block_that_does_not_divide_k_is_refused():
    with pytest.raises(ValueError, match="does not divide the 3 tiles"):
        matrix_unit.matmul(torch.ones(1, 96), torch.ones(96, 1), k_block_tiles=2)


def test_operands_of_different_depth_are_refused():
    with pytest.raises(ValueError, match="must be equal"):
        matrix_unit.matmul(torch.ones(1, 64), torch.ones(96, 1))


def test_sums_align_to_ten_bits_and_round_away():
    first = torch.tensor([1.0, 1.0, 1.0078125, 3.0, -1.0, 1.0, 0.0])
    second = torch.tensor([2.0**-8, -(2.0**-8), -(2.0**-9), 2.0**-7, -(2.0**-8), -1.0, -0.0])
    expected = torch.tensor([1.0078125, 0.99609375, 1.0078125, 3.015625, -1.0078125, 0.0, 0.0])
    assert_same_bits(eltwise_unit.add(first, second), expected)


@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
@pytest.mark.parametrize(
    ("spread", "tf32", "scale"),
    [(0, False, 0), (6, False, 0), (6, True, 0), (30, False, -100), (60, False, 0)],
    ids=["near", "far", "tf32", "underflow", "wide"],
)
def test_vector_code_of_elementwise_ops_is_the_integer_definition(
    fp32_dest_acc, spread, tf32, scale, monkeypatch
):
    generator = torch.Generator().manual_seed(spread)
    first = operand(generator, (5000,), spread, tf32, scale)
    second = operand(generator, (5000,), spread, tf32, scale // 4)
    computed = [eltwise_unit.add(first, second, fp32_dest_acc=fp32_dest_acc)]
    for fidelity in FIDELITY_PHASES:
        computed.append(
            eltwise_unit.multiply(first, second, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc)
        )
    monkeypatch.setattr(eltwise_unit, "_LARGEST", -128)
    assert_same_bits(computed[0], eltwise_unit.add(first, second, fp32_dest_acc=fp32_dest_acc))
    for fidelity, fast in zip(FIDELITY_PHASES, computed[1:], strict=True):
        exact = eltwise_unit.multiply(first, second, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc)
        assert_same_bits(fast, exact)


def test_a_mask_of_minus_infinity_survives_a_sum():
    scores = torch.tensor([3.0, -1e30, 0.0])
    masked = eltwise_unit.add(scores, torch.full((3,), -INFINITY))
    assert masked.tolist() == [-INFINITY] * 3


@pytest.mark.parametrize(
    ("fidelity", "expected"),
    [("LoFi", 3.84375), ("HiFi2", 3.953125), ("HiFi3", 3.96875), ("HiFi4", 3.96875)],
)
def test_multiply_rounds_after_every_phase(fidelity, expected):
    value = torch.tensor([1.9921875])
    assert eltwise_unit.multiply(value, value, fidelity=fidelity).item() == expected
    exact = eltwise_unit.multiply(value, value, fp32_dest_acc=True).item()
    assert exact == 1.9921875**2


def test_largest_of_a_row_orders_by_sign_and_magnitude():
    rows = torch.tensor([[-3.0, -1.0, -2.0], [-INFINITY, 5.0, 1.0], [-1.0, -0.0, -2.0]])
    assert_same_bits(matrix_unit.row_max(rows), torch.tensor([[-1.0], [5.0], [0.0]]))
