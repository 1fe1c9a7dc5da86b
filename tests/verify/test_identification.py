"""Which of Hugging Face's values a tensor holds, and where: no device."""

import pytest
import torch

from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.observation import arrangements, columns
from ttnn_verify.drift.observation.identification import Finder
from ttnn_verify.drift.observation.pool import Pool
from ttnn_verify.huggingface.hf_values import HfValue

HEADS, WIDTH, ROWS = 2, 32, 7
HALF = WIDTH // 2


def hf_value(name, *shape):
    return HfValue(f"layers.0.{name}", "rope", (), shape, 0, "attention")


def expected_rows(values, start=0):
    return ExpectedRows(values, (len(values),), (start,))


def found_in(tensor, values, start=0, finder=None):
    candidate = hf_value("q", *values.shape[1:]), expected_rows(values, start)
    (found,) = (finder or Finder()).find(tensor, Pool([candidate]), preferred=lambda value: True)
    return found


def padded(x, *sizes):
    return torch.nn.functional.pad(x, sizes)


@pytest.mark.parametrize(
    ("place", "rows"),
    [
        pytest.param(lambda x: x.transpose(0, 1)[None], ROWS, id="heads first"),
        pytest.param(lambda x: padded(x.transpose(0, 1)[None], 0, 0, 0, 25), ROWS, id="tiles"),
        pytest.param(lambda x: padded(x.transpose(0, 1)[None], 0, 0, 25, 0), ROWS, id="left"),
        pytest.param(lambda x: padded(x[None], 0, 0, 0, 30), 1, id="token"),
        pytest.param(
            lambda x: torch.cat((x[None], torch.randn(1, 31, HEADS, WIDTH)), 1), 1, id="slots"
        ),
        pytest.param(lambda x: x.flatten(1)[None, None], ROWS, id="merged"),
        pytest.param(
            lambda x: x.repeat_interleave(3, 1).transpose(0, 1)[None], ROWS, id="repeated"
        ),
        pytest.param(lambda x: x.permute(1, 2, 0)[None], ROWS, id="transposed"),
        pytest.param(
            lambda x: padded(x.unflatten(-1, (2, HALF)), 0, 16).flatten(2).transpose(0, 1)[None],
            ROWS,
            id="halves padded",
        ),
    ],
)
def test_heads_are_found_and_replaced_wherever_they_lie(place, rows):
    first, second = torch.randn(rows, HEADS, WIDTH), torch.randn(rows, HEADS, WIDTH)
    tensor = place(first)
    found = found_in(tensor, first)
    assert found.error == 0
    assert found.positions.tolist() == list(range(rows))
    written = found.write(tensor, second)
    assert torch.equal(found.read(written), second)
    assert torch.equal(found.write(written, first), tensor)


def test_pairs_of_columns_are_found_once_rows_are_known():
    x = torch.randn(ROWS, HEADS, WIDTH)
    finder = Finder()
    found_in(x.transpose(0, 1)[None], x, finder=finder)
    pairs = torch.stack(x.chunk(2, -1), -1).flatten(2).transpose(0, 1)[None]
    found = found_in(pairs, x, finder=finder)
    assert torch.equal(found.read(pairs), x)
    assert len(finder.orders) == 1


def test_a_wrong_row_or_head_is_still_the_value():
    x = torch.randn(ROWS, 4, WIDTH)
    finder = Finder()
    found_in(x[None], x, finder=finder)
    wrong_row, wrong_head = x.clone(), x.clone()
    wrong_row[ROWS - 1] = 0
    wrong_head[:, 2] *= -1
    for wrong in (wrong_row, wrong_head):
        found = found_in(wrong[None], x, finder=finder)
        assert found.positions.tolist() == list(range(ROWS))
        assert torch.equal(found.read(wrong[None]), wrong)


def test_a_tensor_may_hold_known_rows_too_or_only_the_last():
    x = torch.randn(ROWS, 64)
    whole = found_in(padded(x, 0, 0, 0, 25)[None], x, start=ROWS - 1)
    assert whole.positions.tolist() == list(range(ROWS))
    last = found_in(x[None, -1:], x, start=ROWS - 1)
    assert last.positions.tolist() == [ROWS - 1]


def test_rows_of_several_sequences_are_found_each_in_its_place():
    first, second = torch.randn(5, 64), torch.randn(3, 64)
    rows = ExpectedRows(torch.cat((first, second)), (5, 3), (0, 0))
    tensor = torch.zeros(2, 1, 32, 64)
    tensor[0, 0, 27:], tensor[1, 0, 29:] = first, second
    (found,) = Finder().find(tensor, Pool([(hf_value("x", 64), rows)]))
    assert found.rows.tolist() == [*range(27, 32), *range(61, 64)]


@pytest.mark.parametrize("seed", range(5))
def test_a_row_that_equals_an_earlier_one_is_found_in_its_own_place(seed):
    """A token that occurs twice, in a model that computes the whole prefix again."""
    rows, earlier = 73, 14
    x = torch.randn(rows, 128, generator=torch.Generator().manual_seed(seed))
    x = (0.15 * x).bfloat16().float()
    x[-1] = x[earlier]
    found = found_in(x[None], x, start=rows - 1)
    assert found.rows.tolist() == found.positions.tolist() == list(range(rows))


@pytest.mark.parametrize("first", [0, 1])
def test_a_row_is_one_sequences_though_it_is_like_an_earlier_one_of_another(first):
    """Two rows decode the same token in turn: what is known of the second is like the first's."""
    values = torch.randn(2, 4, 64)  # of two sequences
    values[1 - first, 2] = values[first, 3] + 0.05 * torch.randn(64)
    expected = ExpectedRows(values.flatten(0, 1), (4, 4), (3, 3))
    tensor = values[[first, 1 - first], 3][:, None]
    candidate = HfValue("norm", "norm", (), (64,), None, "norm"), expected
    (found,) = Finder().find(tensor, Pool([candidate]), preferred=lambda value: True)
    assert sorted(found.positions.tolist()) == [3, 7]
    assert found.error == 0


def test_a_multiple_is_found_with_its_factor():
    x = torch.randn(ROWS, 64)
    finder = Finder()
    found_in(x[None], x, finder=finder)
    candidates = [(hf_value("x", 64), expected_rows(x))]
    assert not finder.find(-3 * x[None], Pool(candidates))
    assert finder.find_multiple(-3 * x[None], Pool(candidates)).factor == pytest.approx(-3)
    assert finder.find_multiple(torch.randn(1, ROWS, 64), Pool(candidates)) is None
    off = 3 * x + 0.2 * torch.randn(ROWS, 64)  # no rounding makes so much
    assert finder.find_multiple(off[None], Pool(candidates)) is None


def test_what_a_coarse_format_makes_is_the_nearest_value():
    gate, up = torch.randn(ROWS, 64), torch.randn(ROWS, 64)
    finder = Finder()
    found_in(gate[None], gate, finder=finder)
    candidates = [
        (hf_value(name, 64), expected_rows(x)) for name, x in (("up", up), ("gate", gate))
    ]
    (found,) = finder.find_nearest((gate + 0.15 * torch.randn(ROWS, 64))[None], candidates)
    assert found.name == "layers.0.gate"
    assert found.error == pytest.approx(0.15, rel=0.2)
    assert not finder.find_nearest(torch.randn(1, ROWS, 64), candidates)


def test_values_side_by_side_are_found_in_any_order_of_columns():
    q, v = torch.randn(ROWS, 64), torch.randn(ROWS, 32)
    finder = Finder()
    found_in(q[None], q, finder=finder)
    tensor = torch.cat((v, q[:, torch.randperm(64)]), 1)[None]
    candidates = [
        (hf_value("q", 64), expected_rows(q)),
        (hf_value("v", 32), expected_rows(v)),
    ]
    found = finder.find_parts(tensor, candidates)
    assert [one.name for one in found] == ["layers.0.q", "layers.0.v"]
    assert torch.equal(found[0].read(tensor), q)
    assert torch.equal(found[1].write(tensor, 2 * v)[0, :, :32], 2 * v)
    one_row = expected_rows(torch.cat((q, q[:1])), ROWS)  # a token later on: the order is known
    assert finder.gathered
    del one_row


def test_what_is_none_of_the_values_is_none():
    x = torch.randn(ROWS, 64)
    candidates = [(hf_value("x", 64), expected_rows(x))]
    assert Finder().find(torch.randn(1, 32, 64), Pool(candidates)) == ()
    assert Finder().find(torch.full((1, 32, 64), torch.nan), Pool(candidates)) == ()
    assert Finder().find(torch.randn(1, 32, 60), Pool(candidates)) == ()
    assert Finder().find(torch.zeros(1, 32, 64), Pool(candidates)) == ()


def test_nan_beside_the_rows_is_no_evidence():
    x = torch.randn(ROWS, 64)
    tensor = torch.full((1, 32, 64), torch.nan)
    tensor[0, :ROWS] = x
    assert found_in(tensor, x).error == 0


# --- the order of columns ------------------------------------------------------------------------


def test_an_order_of_columns_is_found_in_values_with_copies_and_padding():
    """Heads of 6 columns, in another order, two of them twice and one column of padding."""
    x = torch.randn(5, 2, 6)
    order = [3, 0, 5, 1, 2, 4, 0, 3]
    tensor = torch.nn.functional.pad(x[..., order], (0, 1))
    found = columns.find(tensor.flatten(0, 1), x.flatten(0, 1))
    assert found.columns.tolist() == [*order, -1]
    assert found.places.tolist() == [1, 3, 4, 0, 5, 2]
    where = arrangements.of((1, 5, 2, 9), (2, 6), (found,))[0]
    assert torch.equal(tensor.flatten()[where.index], x)


def test_a_column_that_is_near_another_one_by_chance_is_no_copy_of_it():
    """Beside the turned half of a head lies the other; in a token's few rows columns are alike."""
    x = torch.randn(4, 6)  # a row of 4 heads
    alike = x[:, 2] + 0.05 * x[:, 2].norm() * torch.tensor([0.5, -0.5, 0.5, -0.5])
    tensor = torch.cat((x, torch.randn(4, 5), alike[:, None]), 1)
    found = columns.find(tensor, x)
    assert found.columns.tolist() == [*range(6), *[-1] * 6]
    assert not found.has_copies
    rounded = torch.cat((x, x[:, 2:3] * (1 + 2**-8)), 1)
    assert columns.find(rounded, x).columns.tolist() == [*range(6), 2]


def test_no_order_is_found_in_values_that_are_others():
    x = torch.randn(8, 6)
    assert columns.find(torch.randn(8, 9), x) is None
    twice = x[:, [0, 1, 2, 3, 4, 4]]
    assert columns.find(twice, x) is None
    assert columns.find(x[:3], x[:3]) is None  # too few rows to tell columns apart
