"""Rows of a batch that are equal, of idle users say, are computed once: the same bits."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.checks import assert_same_bits
from tests.support.tensors import on_tiles
from ttnn_emulator.ops.common import attending, idle_rows, padding


def product(device, x):
    weight = on_tiles(device, torch.randn(128, 64, generator=torch.Generator().manual_seed(1)))
    return ttnn.to_torch(ttnn.linear(x, weight))


def biased(device, x):
    generator = torch.Generator().manual_seed(1)
    weight, bias = (
        on_tiles(device, torch.randn(*shape, generator=generator)) for shape in ((128, 64), (1, 64))
    )
    return ttnn.to_torch(ttnn.linear(x, weight, bias=bias, activation="silu"))


def norm(device, x):
    return ttnn.to_torch(ttnn.rms_norm(x, epsilon=1e-5))


def total(device, x):
    return ttnn.to_torch(ttnn.add(x, x))


def gated(device, x):
    row = on_tiles(device, torch.randn(1, 128, generator=torch.Generator().manual_seed(1)))
    return ttnn.to_torch(ttnn.multiply(x, row, input_tensor_a_activations=[ttnn.UnaryOpType.SILU]))


def rotated(device, x):
    heads = ttnn.concat([x, ttnn.multiply(x, 2.0)], dim=1)
    generator = torch.Generator().manual_seed(1)
    cos, sin = torch.randn(2, 1, 1, 32, 128, generator=generator)
    tables = [on_tiles(device, table.index_fill(-2, LAST_ROWS, 0.5)) for table in (cos, sin)]
    return ttnn.to_torch(ttnn.experimental.rotary_embedding(heads, *tables))


LAST_ROWS = torch.arange(4, 32)


@pytest.fixture(params=["kernel", "rounded"])
def arithmetic(request, device):
    with ttnn_emulator.arithmetic_settings(request.param):
        yield request.param


@pytest.mark.parametrize("live", [0, 1, 5, 30])
@pytest.mark.parametrize("operation", [product, biased, norm, total, gated, rotated])
def test_a_row_is_computed_as_by_itself(operation, live, arithmetic, device, monkeypatch):
    x = torch.randn(1, 1, 32, 128).bfloat16()
    x[..., live:, :] = x[..., live : live + 1, :].clone()
    together = operation(device, on_tiles(device, x))
    monkeypatch.setattr(idle_rows, "_unlike_the_last", lambda values: None)
    assert_same_bits(together, operation(device, on_tiles(device, x)))


def unwritten_rows(x, rows):
    """x, bfloat16 [..., M, K], with these rows of all matrices as nothing wrote them."""
    nothing = padding.undefined(x.shape, "bfloat16")
    return torch.where(
        torch.isin(torch.arange(x.shape[-2]), torch.tensor(rows))[:, None], nothing, x
    )


def test_rows_that_nothing_wrote_are_not_computed():
    x = unwritten_rows(torch.randn(1, 1, 4, 8).bfloat16(), [1, 3])
    rows = idle_rows.needed_rows(x)
    assert torch.equal(rows.values, x[..., [0, 2], :])
    whole = rows.whole(rows.values.float() * 2, "bfloat16")
    assert_same_bits(whole, unwritten_rows(x * 2, [1, 3]))


@pytest.mark.parametrize("shape", [(1, 1, 2, 8), (4, 8)])
def test_few_rows_and_other_ones_are_taken_whole(shape):
    x = torch.ones(shape) if len(shape) == 4 else torch.randn(shape)
    rows = idle_rows.needed_rows(x)
    assert rows.values is x
    assert rows.whole(x, "bfloat16") is x


def test_of_several_matrices_a_row_is_computed_that_one_of_them_needs():
    x = torch.ones(3, 1, 5, 8)
    x[0, 0, 1], x[2, 0, 2] = 2, 3
    rows = idle_rows.needed_rows(x)
    assert torch.equal(rows.values, x[..., [1, 2, 4], :])
    assert torch.equal(rows.whole(rows.values, "bfloat16"), x)


def test_a_row_that_only_some_matrices_have_not_written_is_zero_in_those_and_marked_again():
    x = torch.ones(3, 1, 5, 8).bfloat16()
    nothing = padding.undefined((8,), "bfloat16")
    x[:, 0, 2:] = nothing
    x[1, 0, 3] = 1
    rows = idle_rows.needed_rows(x)
    expected = torch.ones(3, 1, 3, 8).bfloat16()
    expected[[0, 2], 0, 2] = 0
    assert_same_bits(rows.values, expected)
    assert_same_bits(rows.whole(rows.values.float(), "bfloat16"), x)


@pytest.mark.parametrize("matrices", [1, 2])
def test_of_two_operands_a_row_that_nothing_wrote_in_one_is_not_computed(matrices):
    seen = []

    def total(a, b):
        seen.append(a.shape[-2])
        return a.float() + b.float()

    a = unwritten_rows(torch.randn(matrices, 6, 8).bfloat16(), [1, 4])
    b = unwritten_rows(torch.ones(matrices, 6, 8).bfloat16(), [5])
    result = idle_rows.row_by_row(total, a, b, dtype="bfloat16")
    assert seen == [3]
    assert_same_bits(result, unwritten_rows((a.float() + 1).bfloat16(), [1, 4, 5]))


USERS = 6


@pytest.mark.parametrize("own", ["query", "key", "value", "mask", "nothing"])
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
def test_users_that_are_alike_are_computed_once(own, masked, arithmetic, device, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    shapes = {"query": (USERS, 4, 64), "key": (USERS, 2, 32, 64), "value": (USERS, 2, 32, 64)}
    shapes["mask"] = (USERS, 1, 4, 32)
    operands = {
        name: torch.randn(shape, generator=generator).bfloat16() for name, shape in shapes.items()
    }
    for name, x in operands.items():
        x[2 if name == own else 1 :] = x[-1].clone()  # user 0 is not like the others, 1 in one
    tensors = {name: on_tiles(device, x) for name, x in operands.items()}
    query = on_tiles(device, operands["query"][None])
    arguments = {"cur_pos": [9] * USERS}
    if masked:
        arguments = {"is_causal": False, "attn_mask": tensors["mask"]}

    def attended():
        return ttnn.to_torch(
            ttnn.transformer.scaled_dot_product_attention_decode(
                query, tensors["key"], tensors["value"], **arguments
            )
        )[0, :, :4]

    counts = []
    unlike_users = idle_rows.unlike_users

    def counted(*operands):
        found = unlike_users(*operands)
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(attending, "unlike_users", counted)
    together = attended()
    assert counts == [2 if own == "nothing" or (own == "mask" and not masked) else 3]
    monkeypatch.setattr(attending, "unlike_users", lambda *operands: None)
    assert_same_bits(together, attended())


def test_of_two_users_and_where_the_last_ones_differ_all_are_computed():
    assert idle_rows.unlike_users(torch.zeros(2, 4)) is None
    assert idle_rows.unlike_users(torch.zeros(4, 4), torch.arange(4.0)[:, None]) is None


@pytest.mark.parametrize("width", [1, 3, 4, 8])
@pytest.mark.parametrize("start", [0, 1])
def test_users_are_alike_by_their_bits(width, start):
    # NaN and the sign of zero count as any other bits
    last = torch.tensor([-0.0, 0.0, torch.nan, torch.nan, torch.nan])
    x = torch.zeros(5, 2, 2 * width).bfloat16()
    x[:, 1, start + width - 1] = last
    chosen, which = idle_rows.unlike_users(x[..., start : start + width])
    assert chosen.tolist() == [0, 1, 4]
    assert which.tolist() == [0, 1, 2, 2, 2]
