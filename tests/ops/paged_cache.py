"""Writing every user's token into caches, and prompts and tokens into pages, in place and exact.

B batch (users), K kv heads, S sequence, D head_dim, C cache length, P pages of 32 positions.
"""

import torch
import ttnn

from .attention import ROWS
from .kv_cache import BF16, SKIP, integers
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, extreme, plain
from .paged_attention import BLOCK, table_of

# --- a token of every user at its own position ---------------------------------------------------


def paged_update(cache, positions, values=plain):
    """cache [B, K, C, D], tokens [1, B, K, D] height sharded, a core for each user."""
    users, heads, _, width = cache

    def make():
        tokens = Operand(values(1, users, heads, width), memory="height")
        return Operand(values(*cache)), tokens, integers(positions)

    note = "at-" + "-".join(map(str, positions[:4])) + ("-extreme" if values is extreme else "")
    return Sample(cache, make, memory="height", note=note)


def paged_update_call(cache, tokens, positions):
    ttnn.experimental.paged_update_cache(cache, tokens, update_idxs_tensor=positions)
    return cache


def paged_update_golden(cache, tokens, positions):
    cache = cache.clone()
    for user, position in enumerate(positions.tolist()):
        if position != SKIP:
            cache[user, :, position] = tokens[0, user]
    return cache


PAGED_UPDATE = Op(
    "paged_update_cache",
    call=paged_update_call,
    golden=paged_update_golden,
    samples=(
        paged_update((1, 2, 64, 64), [0]),
        paged_update((4, 2, 64, 96), [0, 31, 32, 63]),
        paged_update((4, 4, 96, 64), [5, SKIP, 95, SKIP]),
    ),
    references=(
        paged_update((32, 32, 64, 96), [63, *[SKIP] * 31]),  # a single sequence, as the model has
        paged_update((8, 8, 256, 96), [36 * user for user in range(8)], values=extreme),
    ),
    errors=(
        Refused(
            "dram",
            lambda device: paged_update_call(
                on(device, plain(2, 2, 64, 64)),
                on(device, plain(1, 2, 2, 64)),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "to be sharded",
        ),
        Refused(
            "users",
            lambda device: paged_update_call(
                on(device, plain(4, 2, 64, 64)),
                on(device, plain(1, 2, 2, 64), memory="height"),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "match the batch in cache",
        ),
        Refused(
            "width",
            lambda device: paged_update_call(
                on(device, plain(2, 2, 64, 64)),
                on(device, plain(1, 2, 2, 96), memory="height"),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "must match last dim of cache",
        ),
    ),
)

# --- the same through a table of pages -----------------------------------------------------------


def table_update(users, heads, pages, width, positions):
    """cache [P, K, 32, D], tokens [1, B, K, D], positions [B], page table [B, pages of a user]."""
    cache = (users * pages, heads, BLOCK, width)

    def make():
        return (
            Operand(plain(*cache)),
            Operand(plain(1, users, heads, width), memory="height"),
            integers(positions),
            Operand(table_of(users, pages), ttnn.int32, ROWS),
        )

    note = "at-" + "-".join(map(str, positions[:4]))
    return Sample(cache, make, memory="height", note=note)


def table_update_call(cache, tokens, positions, table):
    ttnn.experimental.paged_update_cache(
        cache, tokens, update_idxs_tensor=positions, page_table=table
    )
    return cache


def table_update_golden(cache, tokens, positions, table):
    cache = cache.clone()
    for user, position in enumerate(positions.tolist()):
        if position != SKIP:
            cache[table[user, position // BLOCK], :, position % BLOCK] = tokens[0, user]
    return cache


TABLE_UPDATE = Op(
    "paged_update_cache_table",
    operation="paged_update_cache",
    call=table_update_call,
    golden=table_update_golden,
    samples=(
        table_update(2, 2, 2, 64, [3, 40]),
        table_update(4, 2, 3, 96, [0, 31, 32, 95]),
        table_update(3, 1, 2, 64, [63, SKIP, 5]),
    ),
    references=(table_update(8, 8, 8, 96, [36 * user for user in range(8)]),),
    errors=(
        Refused(
            "table-in-float",
            lambda device: table_update_call(
                on(device, plain(4, 2, 32, 64)),
                on(device, plain(1, 2, 2, 64), memory="height"),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
                on(device, torch.ones(2, 2), BF16, ROWS),
            ),
            "datatype INT32",
        ),
    ),
)

# --- a prompt into pages -------------------------------------------------------------------------


def paged_fill(users, heads, pages, width, user, length):
    """cache [P, K, 32, D], a prompt [1, K, S, D], page table [B, pages of a user]."""
    cache = (users * pages, heads, BLOCK, width)

    def make():
        return (
            Operand(plain(*cache)),
            Operand(plain(1, heads, length, width)),
            Operand(table_of(users, pages), ttnn.int32, ROWS),
        )

    return Sample(cache, make, note=f"{length}-rows-user-{user}", kwargs={"user": user})


def paged_fill_call(cache, prompt, table, *, user):
    ttnn.experimental.paged_fill_cache(cache, prompt, table, batch_idx=user)
    return cache


def paged_fill_golden(cache, prompt, table, *, user):
    cache = cache.clone()
    for page, rows in zip(table[user].tolist(), prompt[0].split(BLOCK, dim=1), strict=False):
        cache[page, :, : rows.shape[1]] = rows
    return cache


PAGED_FILL = Op(
    "paged_fill_cache",
    call=paged_fill_call,
    golden=paged_fill_golden,
    samples=(
        *(paged_fill(3, 2, 3, 64, user, 96) for user in range(3)),
        paged_fill(2, 2, 3, 96, 1, 64),
        paged_fill(1, 4, 2, 64, 0, 32),
    ),
    references=(paged_fill(2, 32, 8, 96, 1, 256), paged_fill(32, 8, 2, 96, 31, 64)),
    errors=(
        Refused(
            "table-in-float",
            lambda device: paged_fill_call(
                on(device, plain(4, 2, 32, 64)),
                on(device, plain(1, 2, 64, 64)),
                on(device, torch.ones(2, 2), BF16, ROWS),
                user=0,
            ),
            "datatype INT32",
        ),
        Refused(
            "heads",
            lambda device: paged_fill_call(
                on(device, plain(4, 2, 32, 64)),
                on(device, plain(1, 4, 64, 64)),
                on(device, table_of(2, 2), ttnn.int32, ROWS),
                user=0,
            ),
            "geometry mismatch",
        ),
    ),
)

# --- keys and values at once ---------------------------------------------------------------------


def fused_update(cache, positions):
    """Two caches [B, K, C, D], their tokens [1, B, K, D] on cores apart from each other."""
    users, heads, _, width = cache

    def make():
        return (
            Operand(plain(*cache)),
            Operand(plain(1, users, heads, width), memory="height"),
            Operand(plain(*cache)),
            Operand(plain(1, users, heads, width), memory="lower"),
            integers(positions),
        )

    note = "at-" + "-".join(map(str, positions[:4]))
    return Sample(cache, make, memory="height", note=note)


def fused_update_call(keys, k, values, v, positions):
    ttnn.experimental.paged_fused_update_cache(keys, k, values, v, update_idxs_tensor=positions)
    return keys, values


def fused_update_golden(keys, k, values, v, positions):
    return paged_update_golden(keys, k, positions), paged_update_golden(values, v, positions)


FUSED_UPDATE = Op(
    "paged_fused_update_cache",
    call=fused_update_call,
    golden=fused_update_golden,
    samples=(
        fused_update((1, 2, 64, 64), [0]),
        fused_update((4, 2, 64, 96), [0, 31, 32, 63]),
        fused_update((4, 4, 96, 64), [5, SKIP, 95, 1]),
    ),
    references=(fused_update((8, 8, 256, 96), [36 * user for user in range(8)]),),
    errors=(
        Refused(
            "same-cores",
            lambda device: fused_update_call(
                *(
                    on(device, plain(*shape), memory=memory)
                    for shape, memory in [((2, 2, 64, 64), "dram"), ((1, 2, 2, 64), "height")] * 2
                ),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "must not overlap",
        ),
    ),
)

# --- keys and values at once through a table of pages --------------------------------------------


def fused_table_update(users, heads, pages, width, positions):
    """As `table_update`, of two caches; positions [B] and the page table come last."""
    cache, tokens = (users * pages, heads, BLOCK, width), (1, users, heads, width)

    def make():
        return (
            Operand(plain(*cache)),
            Operand(plain(*tokens), memory="height"),
            Operand(plain(*cache)),
            Operand(plain(*tokens), memory="lower"),
            integers(positions),
            Operand(table_of(users, pages), ttnn.int32, ROWS),
        )

    note = "at-" + "-".join(map(str, positions[:4]))
    return Sample(cache, make, memory="height", note=note)


def fused_table_call(keys, k, values, v, positions, table):
    ttnn.experimental.paged_fused_update_cache(
        keys, k, values, v, update_idxs_tensor=positions, page_table=table
    )
    return keys, values


def fused_table_golden(keys, k, values, v, positions, table):
    return [
        table_update_golden(cache, tokens, positions, table)
        for cache, tokens in ((keys, k), (values, v))
    ]


FUSED_TABLE_UPDATE = Op(
    "paged_fused_update_cache_table",
    operation="paged_fused_update_cache",
    call=fused_table_call,
    golden=fused_table_golden,
    samples=(
        fused_table_update(1, 4, 8, 96, [33]),
        fused_table_update(4, 2, 8, 64, [0, 31, 32, 255]),
        fused_table_update(3, 1, 8, 64, [63, SKIP, 5]),
    ),
    references=(fused_table_update(8, 8, 8, 96, [36 * user for user in range(8)]),),
    errors=(
        Refused(
            "same-cores",
            lambda device: fused_table_call(
                *(
                    on(device, plain(*shape), memory=memory)
                    for shape, memory in [((16, 2, 32, 64), "dram"), ((1, 2, 2, 64), "height")] * 2
                ),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
                on(device, table_of(2, 8), ttnn.int32, ROWS),
            ),
            "must not overlap",
        ),
    ),
)

OPS = [
    PAGED_UPDATE,
    TABLE_UPDATE,
    PAGED_FILL,
    FUSED_UPDATE,
    FUSED_TABLE_UPDATE,
]
