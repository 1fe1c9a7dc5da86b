"""Table look-ups on the emulated device."""

import pytest
import torch
import ttnn

from tests.support.tensors import bf16_normal, in_rows
from ttnn_emulator import NotEmulated

LAYOUTS = {"rows": ttnn.ROW_MAJOR_LAYOUT, "tiles": ttnn.TILE_LAYOUT}


@pytest.mark.parametrize("out", LAYOUTS)
@pytest.mark.parametrize("table", LAYOUTS)
@pytest.mark.parametrize("ids", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 5), (2, 37), (2, 1, 1, 64)], ids=str)
def test_every_layout_gives_the_tables_rows(device, shape, ids, table, out):
    values, indices = bf16_normal(50, 96), torch.randint(0, 50, shape)
    result = ttnn.embedding(
        ttnn.from_torch(indices, dtype=ttnn.uint32, layout=LAYOUTS[ids], device=device),
        ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=LAYOUTS[table], device=device),
        layout=LAYOUTS[out],
    )
    expected = values[indices].reshape(shape[0], shape[-1], 96)
    assert torch.equal(ttnn.to_torch(result).float(), expected)


def test_bfloat16_indices_are_taken_by_value(device):
    values, indices = bf16_normal(200, 64), torch.tensor([[0, 1, 7, 128, 199]])
    ids = in_rows(device, indices.float(), ttnn.bfloat16)
    out = ttnn.embedding(ids, in_rows(device, values, ttnn.bfloat16))
    assert torch.equal(ttnn.to_torch(out).float(), values[indices])


def test_the_padding_row_is_what_the_table_holds(device):
    values, indices = bf16_normal(50, 64), torch.tensor([[3, 0, 3, 49]])
    out = ttnn.embedding(
        in_rows(device, indices, ttnn.uint32),
        in_rows(device, values, ttnn.bfloat16),
        padding_idx=3,
        embeddings_type=ttnn.EmbeddingsType.PADDED,
    )
    assert torch.equal(ttnn.to_torch(out).float(), values[indices])


def test_a_float32_output_holds_the_tables_values(device):
    values, indices = bf16_normal(50, 64), torch.tensor([[3, 1]])
    out = ttnn.embedding(
        in_rows(device, indices, ttnn.uint32),
        in_rows(device, values, ttnn.bfloat16),
        layout=ttnn.TILE_LAYOUT,
        dtype=ttnn.float32,
    )
    assert torch.equal(ttnn.to_torch(out), values[indices])


def test_indices_with_a_dimension_in_the_middle_are_refused(device):
    ids = in_rows(device, torch.zeros(1, 2, 1, 8, dtype=torch.int32), ttnn.uint32)
    with pytest.raises(NotEmulated, match="first and last dimension"):
        ttnn.embedding(ids, in_rows(device, bf16_normal(50, 64), ttnn.bfloat16))
