"""Reading beyond an operand is refused in look-ups, attention and slices, and nothing else.

Caches and rotations have their bounds beside their other tests.
"""

import torch
import ttnn

from tests.support.edges import Edge, each, ints, refuses_what_is_beyond
from tests.support.tensors import bf16_normal, in_rows, on_tiles

transformer = ttnn.transformer


def uint32(device, ids):
    return in_rows(device, torch.tensor(ids), ttnn.uint32)


def table(device, rows=8):
    return in_rows(device, bf16_normal(rows, 64), ttnn.bfloat16)


# --- look-ups ------------------------------------------------------------------------------------


def row(device, index):
    ttnn.embedding(uint32(device, [[0, index]]), table(device))


def padding_row(device, index):
    ttnn.embedding(uint32(device, [[1, 2]]), table(device), padding_idx=index)


def cores_of_ids(device, shape, layout=ttnn.TILE_LAYOUT, rows=32):
    """Ids of a shape looked up into a shard of `rows` rows on each of two cores."""
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 0))})
    shard = ttnn.ShardSpec(cores, [rows, 64], ttnn.ShardOrientation.ROW_MAJOR)
    height = ttnn.TensorMemoryLayout.HEIGHT_SHARDED
    ids = in_rows(device, torch.zeros(shape, dtype=torch.int32), ttnn.uint32)
    place = ttnn.MemoryConfig(height, ttnn.BufferType.L1, shard)
    ttnn.embedding(ids, table(device), layout=layout, memory_config=place)


def cores_of_rows(device, shape):
    cores_of_ids(device, shape, ttnn.ROW_MAJOR_LAYOUT, rows=8)


LOOK_UPS = [
    Edge("row of a table", row, 7, 8, "reaches row 8 of weight, which has rows 0 to 7"),
    Edge("padding row", padding_row, 7, 8, "reaches row 8 of weight (padding_idx), which has"),
    Edge(
        "a tile of ids for each core",
        cores_of_ids,
        (2, 32),
        (2, 1),  # the rotary rows of a decode step as they were looked up once
        "reaches indices 0 to 63 of input_tensor (32 for each shard of its output on 2 cores), "
        "which has indices 0 to 1",
    ),
    Edge(
        "an id for each row of a core",
        cores_of_rows,
        (1, 16),
        (1, 15),
        "reaches indices 0 to 15 of input_tensor (8 for each shard of its output on 2 cores), "
        "which has indices 0 to 14",
    ),
]


# --- attention -----------------------------------------------------------------------------------


def decoded(device, position):
    q, k = bf16_normal(1, 2, 4, 64), on_tiles(device, bf16_normal(2, 2, 64, 64))
    transformer.scaled_dot_product_attention_decode(
        on_tiles(device, q), k, k, cur_pos_tensor=ints(device, [3, position])
    )


def masked(device, users):
    q, k = bf16_normal(1, 3, 4, 64), on_tiles(device, bf16_normal(3, 2, 64, 64))
    mask = on_tiles(device, bf16_normal(users, 1, 4, 64))
    transformer.scaled_dot_product_attention_decode(
        on_tiles(device, q), k, k, is_causal=False, attn_mask=mask
    )


def pages_decoded(device, pages, positions, values=8, k_chunk=32, **arguments):
    """Attention of users at positions over a cache of 8 pages of keys, and `values` of values."""
    transformer.paged_scaled_dot_product_attention_decode(
        on_tiles(device, bf16_normal(1, len(positions), 4, 64)),
        on_tiles(device, bf16_normal(8, 2, 32, 64)),
        on_tiles(device, bf16_normal(values, 2, 32, 64)),
        ints(device, pages),
        cur_pos_tensor=ints(device, positions),
        program_config=ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=k_chunk
        ),
        **arguments,
    )


def page_decoded(device, page):
    pages_decoded(device, [[0, page], [1, 2]], [40, 3])


def page_of_values(device, page):
    pages_decoded(device, [[0, page], [1, 2]], [40, 3], values=4)


def position_decoded(device, position):
    pages_decoded(device, [[0, 3], [1, 2]], [position, 3])


def in_the_chunk(device, page):
    """A page behind the position, in the chunk of 64 keys that the kernel reads whole."""
    pages_decoded(device, [[0, page]], [20], k_chunk=64)


def in_the_window(device, page):
    """Position 95 with a window of 64 begins with page 1."""
    pages_decoded(device, [[-1, page, 2, 3]], [95], sliding_window_size=64)


def chunk(device, pages, start):
    cache = on_tiles(device, bf16_normal(9, 2, 32, 64))
    transformer.chunked_scaled_dot_product_attention(
        on_tiles(device, bf16_normal(1, 2, 64, 64)),
        cache,
        cache,
        ints(device, [pages]),
        chunk_start_idx_tensor=ints(device, [start]),
        program_config=ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32
        ),
    )


def page_of_a_chunk(device, page):
    chunk(device, [0, 1, page, -1, -1, -1, -1, -1], 32)


def start_of_a_chunk(device, start):
    chunk(device, range(8), start)


ATTENTION = [
    Edge(
        "position of a query",
        decoded,
        63,
        64,
        "reaches row 64 of input_tensor_k, which has rows 0 to 63",
    ),
    Edge(
        "negative position of a query",
        decoded,
        -1,
        -2,
        "reaches row -2 of input_tensor_k, which has",
    ),
    Edge(
        "users of a mask", masked, 3, 2, "reaches users 0 to 2 of attn_mask, which has users 0 to 1"
    ),
    Edge("page", page_decoded, 7, 8, "reaches page 8 of input_tensor_k, which has pages 0 to 7"),
    Edge(
        "page -1", page_decoded, 0, -1, "reaches page -1 of input_tensor_k, which has pages 0 to 7"
    ),
    Edge(
        "page of values", page_of_values, 3, 4, "reaches page 4 of input_tensor_v, which has pages"
    ),
    Edge(
        "position behind the pages of a query",
        position_decoded,
        63,
        64,
        "reaches row 64 of the sequence in page_table_tensor, which has",
    ),
    Edge(
        "page behind the position",
        in_the_chunk,
        7,
        -1,
        "reaches page -1 of input_tensor_k, which has",
    ),
    Edge("page of a window", in_the_window, 7, -1, "reaches page -1 of input_tensor_k, which has"),
    Edge(
        "page of a prompt",
        page_of_a_chunk,
        8,
        9,
        "reaches page 9 of input_tensor_k, which has pages",
    ),
    Edge(
        "start of a prompt",
        start_of_a_chunk,
        224,  # the second tile of queries lies beyond: the keys end with the page table
        256,
        "reaches row 256 of the sequence in page_table_tensor, which has rows 0 to 255",
    ),
    Edge(
        "negative start of a prompt", start_of_a_chunk, 0, -32, "reaches row -32 of the sequence in"
    ),
]


# --- movement ------------------------------------------------------------------------------------


def sliced(device, start):
    """32 of 64 rows, from a start that only the device knows."""
    starts, ends = (uint32(device, [0, 0, row, 0]) for row in (start, start + 32))
    x = on_tiles(device, bf16_normal(1, 1, 64, 64))
    ttnn.slice(x, starts, ends, slice_dim=2, num_devices=2)


def unpadded(device, last):
    ttnn.untilize_with_unpadding(on_tiles(device, bf16_normal(1, 1, 50, 64)), [0, 0, last, 63])


MOVEMENT = [
    Edge(
        "start in a tensor",
        sliced,
        32,
        64,
        "reaches elements 64 to 95 of input_tensor (dimension 2)",
    ),
    Edge(
        "end of the padding",
        unpadded,
        63,
        64,
        "reaches elements 0 to 64 of input_tensor (dimension 2)",
    ),
]


@each([*LOOK_UPS, *ATTENTION, *MOVEMENT])
def test_what_an_operand_does_not_hold_is_refused(device, edge):
    refuses_what_is_beyond(device, edge)


def test_pages_that_no_kernel_reads_may_be_anything(device):
    pages_decoded(device, [[0, 1, -1, 99], [-1, 99, -1, -1]], [40, -1])
