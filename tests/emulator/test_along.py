"""Operations along a dimension where the table of ops does not see them: ties, chances, experts."""

import numpy as np
import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.tensors import in_rows, on_tiles
from ttnn_emulator.arithmetic.exact.along import swap_network
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.ops.common.bounds import OutOfBounds

ROWS = ttnn.ROW_MAJOR_LAYOUT


def numbers(device, values, dtype=ttnn.uint32):
    return ttnn.from_torch(torch.as_tensor(values), dtype=dtype, layout=ROWS, device=device)


@pytest.mark.parametrize("ascending", [False, True])
def test_the_network_sorts_whatever_is_equal(ascending):
    keys = np.random.default_rng(1).integers(0, 9, (300, swap_network.PLACES))
    ordered, places = keys.copy(), np.tile(np.arange(swap_network.PLACES), (300, 1))
    swap_network.sort_places(ordered, places, ascending)
    expected = np.sort(keys, 1) if ascending else np.sort(keys, 1)[:, ::-1]
    assert (ordered == expected).all()
    assert (np.take_along_axis(keys, places, 1) == ordered).all()
    assert (np.sort(places, 1) == np.arange(swap_network.PLACES)).all()


@pytest.mark.parametrize("width", [64, 96, 256])
@pytest.mark.parametrize("stable", [False, True])
def test_equal_values_keep_different_positions(width, stable, kernel_device):
    x = torch.randint(0, 20, (1, 1, 32, width)).float()
    values, places = map(ttnn.to_torch, ttnn.topk(on_tiles(kernel_device, x), 32, stable=stable))
    assert torch.equal(values.float(), x.topk(32).values)
    assert torch.equal(x.gather(-1, places.long()), values.float())
    assert (places.long().sort(-1).values.diff(dim=-1) > 0).all()
    if stable:
        expected = torch.sort(x, dim=-1, descending=True, stable=True).indices[..., :32]
        assert torch.equal(places.long(), expected)


def test_topk_names_what_its_indices_tensor_has(device):
    x = torch.rand(1, 1, 32, 64).argsort(-1).bfloat16()
    names = (torch.arange(64) * 3 + 5).expand(1, 1, 32, 64).contiguous()
    tensor = ttnn.from_torch(names.int(), dtype=ttnn.uint16, layout=ttnn.TILE_LAYOUT, device=device)
    _, found = ttnn.topk(on_tiles(device, x), 32, indices_tensor=tensor)
    assert torch.equal(ttnn.to_torch(found).long(), x.float().topk(32).indices * 3 + 5)


def test_argmax_takes_nan_for_the_largest(device):
    x = torch.randn(1, 1, 32, 64)
    x[..., 7] = float("nan")
    x[..., 9] = float("inf")
    assert (ttnn.to_torch(ttnn.argmax(on_tiles(device, x), -1)).long() == 7).all()


def test_a_compensated_sum_stays_close_where_a_plain_one_drifts(kernel_device):
    x = torch.full((4096, 1, 32, 32), 0.1)
    tensor = on_tiles(kernel_device, x, ttnn.float32)
    exact = x[:, 0, 0, 0].double().cumsum(0)

    def error(**kwargs):
        sums = ttnn.to_torch(ttnn.cumsum(tensor, 0, **kwargs))[:, 0, 0, 0].double()
        return ((sums - exact).abs() / exact).max()

    assert error() < 2.0**-23
    assert error(disable_compensated_sum=True) > 8 * error()


def test_a_scatter_passes_over_what_is_beyond(device):
    x, source = torch.zeros(1, 1, 32, 64), torch.ones(1, 1, 32, 4)
    index = numbers(device, torch.tensor([1, 64, 2, 900]).expand(1, 1, 32, 4).contiguous().int())
    found = ttnn.scatter(
        in_rows(device, x, ttnn.bfloat16), -1, index, in_rows(device, source, ttnn.bfloat16)
    )
    assert torch.nonzero(ttnn.to_torch(found)[0, 0, 0]).flatten().tolist() == [1, 2]


def test_a_gather_beyond_its_operand_is_refused(device):
    index = torch.full((1, 1, 32, 32), 64, dtype=torch.int32)
    places = ttnn.from_torch(index, dtype=ttnn.uint32, layout=ttnn.TILE_LAYOUT, device=device)
    with pytest.raises(OutOfBounds, match=r"element 64 of input"):
        ttnn.gather(on_tiles(device, torch.randn(1, 1, 32, 64)), -1, places)


def test_nonzero_counts_and_tells_where(device):
    count, places = ttnn.nonzero(numbers(device, [[[[0, 1, 2, 0, 3, 0, 0, 5]]]]))
    assert ttnn.to_torch(count).flatten()[0] == 4
    found = ttnn.to_torch(places).flatten()[:16].reshape(4, 4)
    assert found.tolist() == [[0, 0, 0, place] for place in (1, 2, 4, 7)]


@pytest.fixture
def sample(device):
    x = torch.randn(1, 1, 32, 256).bfloat16()
    names = torch.arange(256).expand(1, 1, 32, 256).contiguous().int() + 1000

    def call(k, p, factor=1.0, seed=3):
        users = (
            numbers(device, torch.full((32,), k).int()),
            numbers(device, torch.full((32,), p), ttnn.bfloat16),
            numbers(device, torch.full((32,), factor), ttnn.bfloat16),
        )
        found = ttnn.sampling(
            on_tiles(device, x), numbers(device, names, ttnn.int32), *users, seed=seed
        )
        return ttnn.to_torch(found).flatten().long() - 1000

    call.logits = x[0, 0].float()
    return call


@pytest.mark.parametrize(("k", "p"), [(1, 1.0), (32, 0.0)])
def test_a_sample_of_one_is_the_likeliest(k, p, sample):
    assert torch.equal(sample(k, p), sample.logits.argmax(-1))


def test_a_sample_is_among_the_k_likeliest_and_repeats_with_its_seed(sample):
    found = sample(5, 1.0, 0.1)
    among = sample.logits.topk(5).indices
    assert (among == found[:, None]).any(-1).all()
    assert torch.equal(found, sample(5, 1.0, 0.1))
    assert not torch.equal(found, sample(5, 1.0, 0.1, seed=4))


def test_manual_seed_begins_the_chances_again(sample, device):
    ttnn.manual_seed(7, device=device)
    first = sample(32, 1.0, 0.1, seed=None)
    again = sample(32, 1.0, 0.1, seed=None)
    ttnn.manual_seed(7, device=device)
    assert torch.equal(first, sample(32, 1.0, 0.1, seed=None))
    assert not torch.equal(first, again)


def test_the_weight_of_expert_0_is_its_share_of_the_chosen(device):
    x = torch.randn(1, 1, 32, 64).bfloat16()
    mask, top = torch.zeros(1, 1, 1, 64), torch.zeros(1, 1, 1, 32)
    mask[..., 8:], top[..., 2:] = float("-inf"), float("-inf")
    values, places = (x.float() + mask).topk(32)
    shares = torch.softmax(values + top, -1)
    expected = torch.where(places == 0, shares, 0.0).sum(-1, keepdim=True)
    found = ttnn.moe(*(on_tiles(device, t) for t in (x, mask, top)), 32)
    assert (ttnn.to_torch(found).float() - expected).abs().max() < 2.0**-8


def test_experts_that_no_chip_has_are_refused(device):
    mapping = torch.zeros(1, 1, 8, 1).int()
    mapping[0, 0, ::2] = 1
    operands = (
        in_rows(device, torch.rand(1, 1, 32, 8), ttnn.bfloat16),
        numbers(device, mapping, ttnn.uint16),
        numbers(device, torch.zeros(1, 1, 32, 2).int(), ttnn.uint16),
    )
    with pytest.raises(NotEmulated, match="has 4 experts on the chip, and 8 are planned"):
        ttnn.moe_expert_token_remap(*operands)


def test_a_slice_is_written_where_it_belongs(device):
    x, target = torch.randn(1, 2, 8, 32).bfloat16(), torch.zeros(1, 8, 8, 32).bfloat16()
    written = ttnn.experimental.slice_write(
        *(in_rows(device, t, ttnn.bfloat16) for t in (x, target)),
        [0, 2, 0, 0],
        [1, 4, 8, 32],
        [1, 1, 1, 1],
    )
    target[:, 2:4] = x
    assert torch.equal(ttnn.to_torch(written), target)


@pytest.mark.parametrize("layout", [ttnn.TILE_LAYOUT, ROWS], ids=lambda layout: layout.name)
def test_rows_of_a_convolution_are_written_as_pictures(layout, device):
    """A shard holds rows of pixels, those of tiles filled up; its columns are a tile's."""
    x, target = torch.randn(1, 4, 8, 9).bfloat16(), torch.zeros(1, 8, 8, 9).bfloat16()
    fill = 24 if layout == ttnn.TILE_LAYOUT else 0
    part = in_one_shard(device, functional.pad(x, (0, 23, 0, fill)), layout)
    whole = ttnn.to_layout(in_rows(device, target, ttnn.bfloat16), layout)
    ttnn.experimental.slice_write(part, whole, [0, 2, 0, 0], [1, 6, 8, 9], [1, 1, 1, 1])
    target[:, 2:6] = x
    assert torch.equal(ttnn.to_torch(whole), target)


def test_rows_that_are_no_pictures_are_refused(device):
    part = in_one_shard(device, torch.randn(1, 4, 8, 32), ttnn.TILE_LAYOUT)
    whole = on_tiles(device, torch.zeros(1, 8, 8, 9))
    with pytest.raises(NotEmulated, match="no rows of"):
        ttnn.experimental.slice_write(part, whole, [0, 2, 0, 0], [1, 6, 8, 9], [1, 1, 1, 1])


def in_one_shard(device, x, layout):
    """The rows of x one below the other, on one core."""
    rows = x.reshape(1, 1, -1, 32)
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 0))})
    spec = ttnn.ShardSpec(cores, tuple(rows.shape[-2:]), ttnn.ShardOrientation.ROW_MAJOR)
    place = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
    return ttnn.from_torch(rows.bfloat16(), layout=layout, device=device, memory_config=place)
