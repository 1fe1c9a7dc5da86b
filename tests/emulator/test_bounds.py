"""What a kernel would read or write beyond its operand is refused, and nothing else."""

import dataclasses
import re
import types

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.tensors import bf16_normal, in_rows, on_cores, on_tiles

experimental, transformer = ttnn.experimental, ttnn.transformer


@dataclasses.dataclass(frozen=True)
class Edge:
    """A call at the last index that its operand has, and at one beyond.

    Attributes:
        name: of the test.
        call: `call(device, index)`.
        last: an index at the very edge, of any type.
        beyond: one that is too much.
        sentence: how the error goes on after the operation's name.
    """

    name: str
    call: types.FunctionType
    last: object
    beyond: object
    sentence: str


def uint32(device, ids):
    return in_rows(device, torch.tensor(ids), ttnn.uint32)


def ints(device, numbers):
    return in_rows(device, torch.tensor(numbers))


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


# --- caches --------------------------------------------------------------------------------------


def one_row_for_all(device, position):
    ttnn.update_cache(
        on_tiles(device, bf16_normal(2, 2, 64, 64)),
        on_tiles(device, bf16_normal(1, 2, 32, 64)),
        position,
    )


def listed_position(device, position):
    cache = on_tiles(device, bf16_normal(1, 2, 64, 64))
    rows = on_cores(device, bf16_normal(1, 1, 2, 64))
    experimental.paged_update_cache(cache, rows, update_idxs=[position])


def updated(device, positions, pages=None, heads=2):
    """Users' rows written into a cache of 64 rows, or of 8 pages."""
    users = len(positions)
    cache = bf16_normal(users, heads, 64, 64) if pages is None else bf16_normal(8, heads, 32, 64)
    experimental.paged_update_cache(
        on_tiles(device, cache),
        on_cores(device, bf16_normal(1, users, 2, 64)),
        update_idxs_tensor=ints(device, positions),
        page_table=None if pages is None else ints(device, pages),
    )


def position(device, index):
    updated(device, [3, index])


def position_in_pages(device, index):
    updated(device, [3, index], [[0, 1], [2, 3]])


def page_written(device, page):
    updated(device, [3, 40], [[0, 1], [2, page]])


def heads_written(device, heads):
    updated(device, [3], heads=heads)


def fused(device, page):
    caches = [on_tiles(device, bf16_normal(8, 2, 32, 64)) for _ in range(2)]
    rows = [on_cores(device, bf16_normal(1, 2, 2, 64), first_row=n) for n in range(2)]
    experimental.paged_fused_update_cache(
        caches[0],
        rows[0],
        caches[1],
        rows[1],
        update_idxs_tensor=ints(device, [3, 40]),
        page_table=ints(device, [[0, 1], [2, page]]),
    )


def filled(device, pages, user):
    experimental.paged_fill_cache(
        on_tiles(device, bf16_normal(8, 2, 32, 64)),
        on_tiles(device, bf16_normal(1, 2, 64, 64)),
        ints(device, pages),
        batch_idx_tensor=ints(device, [user]),
    )


def page_filled(device, page):
    filled(device, [[0, page], [9, 9]], 0)  # row 1 is of nobody


def user_filled(device, user):
    filled(device, [[0, 1], [2, 3]], user)


IN_CACHE = "of cache_tensor, which has pages 0 to 7"

CACHES = [
    Edge(
        "row of all users",
        one_row_for_all,
        63,
        64,
        "reaches row 64 of cache, which has rows 0 to 63",
    ),
    Edge(
        "listed position", listed_position, 63, 64, "reaches row 64 of cache_tensor, which has rows"
    ),
    Edge("position", position, 63, 64, "reaches row 64 of cache_tensor, which has rows 0 to 63"),
    Edge("negative position", position, -1, -2, "reaches row -2 of cache_tensor, which has"),
    Edge(
        "position behind the pages",
        position_in_pages,
        63,
        64,
        "reaches row 64 of the sequence in page_table, which has rows 0 to 63",
    ),
    Edge("page that is written", page_written, 7, 8, f"reaches page 8 {IN_CACHE}"),
    Edge("page -1 that is written", page_written, 0, -1, f"reaches page -1 {IN_CACHE}"),
    Edge("page that is written, fused", fused, 7, 8, "reaches page 8 of cache_tensor"),
    Edge(
        "heads of a row", heads_written, 32, 33, "reaches heads 0 to 32 of input_tensor, which has"
    ),
    Edge("page that is filled", page_filled, 7, 8, f"reaches page 8 {IN_CACHE}"),
    Edge("page -2 that is filled", page_filled, -1, -2, f"reaches page -2 {IN_CACHE}"),
    Edge(
        "user that is filled", user_filled, 1, 2, "reaches row 2 of page_table (a user), which has"
    ),
    Edge("user -1 that is filled", user_filled, 0, -1, "reaches row -1 of page_table (a user)"),
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


def turned(device, copies):
    """Decode's rotation of three users, each on a core of its own."""
    rows = (on_cores(device, bf16_normal(1, 3, heads, 64)) for heads in (2, 1, 1))
    turn = on_cores(device, torch.eye(32).repeat(copies, 1)[None, None])
    experimental.rotary_embedding_llama(*rows, turn, is_decode_mode=True)


def sliced(device, start):
    """32 of 64 rows, from a start that only the device knows."""
    starts, ends = (uint32(device, [0, 0, row, 0]) for row in (start, start + 32))
    x = on_tiles(device, bf16_normal(1, 1, 64, 64))
    ttnn.slice(x, starts, ends, slice_dim=2, num_devices=2)


def unpadded(device, last):
    ttnn.untilize_with_unpadding(on_tiles(device, bf16_normal(1, 1, 50, 64)), [0, 0, last, 63])


MOVEMENT = [
    Edge(
        "a matrix for each core",
        turned,
        3,
        2,
        "reaches copies 0 to 2 of trans_mat, which has copies",
    ),
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


EDGES = [*LOOK_UPS, *CACHES, *ATTENTION, *MOVEMENT]
each = pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name.replace(" ", "-"))


@each
def test_what_an_operand_does_not_hold_is_refused(device, edge):
    with pytest.raises(ttnn_emulator.OutOfBounds) as error:
        edge.call(device, edge.beyond)
    assert re.match(r"ttnn\.\S+ " + re.escape(edge.sentence), str(error.value))


@each
def test_the_last_that_it_holds_is_not(device, edge):
    edge.call(device, edge.last)


def test_pages_that_no_kernel_reads_may_be_anything(device):
    pages_decoded(device, [[0, 1, -1, 99], [-1, 99, -1, -1]], [40, -1])


def test_a_trace_is_refused_when_it_is_executed(device):
    ids, rows = uint32(device, [[6]]), table(device)

    def step():
        ttnn.plus_one(ids)
        return ttnn.embedding(ids, rows)

    step()  # compiles, and leaves the last row
    trace = ttnn.begin_trace_capture(device, cq_id=0)
    step()
    ttnn.end_trace_capture(device, trace, cq_id=0)
    with pytest.raises(ttnn_emulator.OutOfBounds, match="row 8 of weight"):
        ttnn.execute_trace(device, trace, cq_id=0)
    ttnn.release_trace(device, trace)
