"""Common to attention over a prompt and over a cache: pages that are read, masks, sinks, users.

B batch, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import CacheScores, DecodeWork, default_scale
from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import attention_program, compute_of
from ttnn_emulator.ops.common.idle_rows import unlike_users
from ttnn_emulator.ops.common.padding import undefined
from ttnn_emulator.ops.common.paging import Geometry, check_pages, gather_pages

Users = slice | list[int]  # which users of a batch
# Reads the first rows of some users' keys and values, of which so many are seen.
Live = Callable[[Users, int, int], Iterator[torch.Tensor]]


def refuse(launch: Launch, **arguments: Any) -> None:
    """Refuse arguments that are not computed, unless they are None, 0 or False.

    Raises:
        NotEmulated: names the first one.
    """
    for name, value in arguments.items():
        if value is not None and value is not False and value != 0:
            raise NotEmulated(f"{launch.name} with {name} is not emulated; leave it out.")


def geometry_of(
    override: "ttnn.PagedCacheGeometryOverride | None", query: DeviceTensor, cache: DeviceTensor
) -> Geometry | None:
    """How the pages of a cache are read that was allocated for another layer; None as they are."""
    if override is None or not (override.block_size or override.num_kv_heads):
        return None
    return Geometry(
        override.num_kv_heads or cache.shape[1],
        override.block_size or cache.shape[2],
        query.padded_shape[-1],
    )


def pages_of(
    launch: Launch,
    query: DeviceTensor,
    caches: Mapping[str, DeviceTensor],
    pages: torch.Tensor,
    *,
    window: int | None,
    program: object,
    geometry: Geometry | None = None,
    modulo: int | None = None,
) -> tuple[Live, int]:
    """What reads users' rows through a page table [B, pages], and how many rows that covers.

    Pages are read for whole chunks of keys, also behind the position, and none is skipped (read_k
    of sdpa_decode's dataflow_common.hpp). With `modulo` a row is looked up in a ring of so many.

    Raises:
        OutOfBounds: fewer rows of the table than users, or a page beyond the caches.
    """
    rows = query.shape[1]
    bounds.span(0, rows, len(pages), op=launch.name, operand="page_table_tensor", unit="row")
    block = next(iter(caches.values())).shape[2] if geometry is None else geometry.block
    # the chunk that the kernel chooses by itself has a tile at least
    chunk = getattr(program, "k_chunk_size", 0) or TILE

    def live(users: Users, last: int, rows: int) -> Iterator[torch.Tensor]:
        named = pages[users]
        read = ceil_div(last, chunk) * chunk
        if modulo:
            named = named[:, torch.arange(ceil_div(max(read, rows), block)) % (modulo // block)]
        read = min(read, named.shape[-1] * block)
        check_read_pages(launch, caches, named, read, last, window, chunk, block)
        return (gather_pages(cache.data, named, rows, geometry) for cache in caches.values())

    return live, pages.shape[-1] * block


def decoded(
    launch: Launch,
    query: DeviceTensor,
    live: Live,
    positions: torch.Tensor | None,
    *,
    capacity: int,
    operand: str,
    mask: DeviceTensor | None,
    sink: torch.Tensor | None,
    scale: float | None,
    window: int | None,
    program: object,
    compute: ttnn.DeviceComputeKernelConfig | None,
    endless: bool = False,
    groups: int = 1,
) -> torch.Tensor:
    """The users' results in an output that is undefined elsewhere.

    `live(users, last, rows)` reads the first rows of some users' keys and values, of which `last`
    are seen: nothing else of a cache is touched. Users at the same position are computed together.
    `positions` is None where every user sees its whole cache, `capacity` rows of `operand`, which
    is no end if `endless`. Cores are divided among the `groups` of a user's heads, too.
    """
    users, heads = query.shape[1:3]
    if launch.output.shape[1] != users:  # with share_cache
        raise NotEmulated(
            f"{launch.name} of {users} users: TTNN plans an output for {launch.output.shape[1]}."
        )
    if positions is not None:
        given = len(positions)
        bounds.span(0, users, given, op=launch.name, operand="cur_pos", unit="position")
    scale = scale_of(scale, query)
    program = attention_program(program)
    output = undefined(launch.output.padded_shape, launch.output.dtype)
    lengths = [capacity] * users if positions is None else [n + 1 for n in positions.tolist()]
    last_rows = [n - 1 for n in lengths if n]  # -1 skips its user (reader_decode_all.cpp)
    beyond = 1 << 31 if endless else capacity
    bounds.within(last_rows, beyond, op=launch.name, operand=operand, unit="row")
    for last in sorted({length for length in lengths if length > 0}):
        members = [user for user, length in enumerate(lengths) if length == last]
        count, first = len(members), members[0]
        neighbours = members[-1] - first + 1 == count  # a slice copies nothing
        group: Users = slice(first, first + count) if neighbours else members
        rows = launch.math.attention_rows(last, capacity, program)
        if endless:  # whole chunks, wherever they lie in the ring
            chunk = launch.math.attention_rows(1, capacity, program)
            rows = ceil_div(last, chunk) * chunk
        key, value = live(group, last, rows)
        asked = trimmed(query.data, (*query.shape[:-1], query.padded_shape[-1]))[0][group]
        hidden = None if mask is None else _users_mask(launch, mask, group, users)[..., :rows]
        hides = [] if hidden is None else [hidden.expand(count, *hidden.shape[1:])]
        alike = unlike_users(asked, key, value, *hides)
        if alike is not None:
            asked, key, value, *hides = (x[alike[0]] for x in (asked, key, value, *hides))
        result = launch.math.attention_decode(
            asked,
            key,
            value,
            scores=CacheScores(
                scale=scale,
                positions=None if positions is None else [last - 1] * len(asked),
                mask=hides[0] if hides else None,
                window=window,
                sink=sink,
            ),
            work=DecodeWork(capacity, users * groups, launch.cores),
            program=program,
            compute=compute_of(compute),
            out=launch.output.dtype,
        )
        result = result if alike is None else result[alike[1]]
        output[0, :users][group, :heads] = result.to(output.dtype)
    return output


def check_read_pages(
    launch: Launch,
    caches: Mapping[str, DeviceTensor],
    pages: torch.Tensor,
    rows: int,
    last: int,
    window: int | None,
    chunk: int = TILE,
    block: int | None = None,
) -> None:
    """Refuse pages of the first `rows` positions that the caches do not have.

    With a window, chunks that lie before that of the first query, whose position is `last` - 1, are
    not read (get_workload_for_core).
    """
    block = block or next(iter(caches.values())).shape[2]
    first = max(last - window, 0) // chunk * chunk if window else 0
    read = pages[:, first // block : ceil_div(rows, block)]
    for operand, cache in caches.items():
        check_pages(launch, read, cache, operand)


def _users_mask(launch: Launch, mask: DeviceTensor, group: Users, users: int) -> torch.Tensor:
    """[U, N, C]; it is added to scores that are not scaled yet (sdpa_flash_decode.cpp)."""
    rows = mask.logical
    if rows.shape[0] == 1 and rows.shape[1] > 1:
        raise NotEmulated(
            f"A decode mask {list(mask.shape)}: the kernel takes the users from the first "
            "dimension and would give all of them the first one's mask. Use [B, 1, N, C]."
        )
    if rows.shape[0] == 1:
        return rows[:, 0]
    bounds.span(0, users, rows.shape[0], op=launch.name, operand="attn_mask", unit="user")
    return rows[group, 0]


def scale_of(scale: float | None, query: DeviceTensor) -> float:
    """`scale`, or TTNN's default: that of the padded head_dim (decode allows a padded one)."""
    return default_scale(query.padded_shape[-1]) if scale is None else scale


def sink_of(tensor: DeviceTensor | None, heads: int) -> torch.Tensor | None:
    """[N] logits before scaling, from [1, N, 1, 1] or, for decode, the first column of [N, 32].

    Decode reads whole tiles of the latter, whatever part of them is padding.
    """
    if tensor is None:
        return None
    if len(tensor.shape) == 2:
        return tensor.data[:heads, 0].float()
    return tensor.logical.float().flatten()
