"""Bindings of scaled dot product attention, over a prompt and over a cache.

B batch, S queries, T keys, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import (
    CacheScores,
    DecodeWork,
    PromptScores,
    default_scale,
)
from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import attention_program, compute_of
from ttnn_emulator.ops.common.padding import undefined
from ttnn_emulator.ops.common.paging import check_pages, gather_pages, positions_of

Users = slice | list[int]  # which users of a batch


def scaled_dot_product_attention(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor,
    *,
    attn_mask: DeviceTensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    attention_sink: DeviceTensor | None = None,
    output_concat_heads: bool = False,
) -> torch.Tensor:
    """[B, N, S, D], [B, K, T, D], [B, K, T, D] -> [B, N, S, D].

    The kernel works on whole tiles: padding queries attend too, padding keys are hidden by the
    causal mask, or else by one of their own. A mask [1 or B, 1 or N, S, T] that is given stands
    alone, so what its own padding columns hold decides whether padding keys are seen (sdpa.cpp).
    """
    result = launch.math.attention(
        input_tensor_q.data,
        input_tensor_k.data,
        input_tensor_v.data,
        scores=PromptScores(
            scale=_scale(scale, input_tensor_q),
            causal=is_causal and attn_mask is None,
            window=sliding_window_size,
            keys=input_tensor_k.shape[-2],
            mask=None if attn_mask is None else attn_mask.data,
            mask_format="bfloat16" if attn_mask is None else attn_mask.dtype,
            sink=_sink(attention_sink, input_tensor_q.shape[1]),
        ),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )
    return result.transpose(1, 2).flatten(2)[:, None] if output_concat_heads else result


def chunked_scaled_dot_product_attention(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor,
    page_table_tensor: DeviceTensor,
    chunk_start_idx: int | None = None,
    *,
    chunk_start_idx_tensor: DeviceTensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    attention_sink: DeviceTensor | None = None,
) -> torch.Tensor:
    """Causal attention of [B, N, S, D] over pages [P, K, block, D] -> [B, N, S, D].

    Row 0 of the queries is position `chunk_start_idx`. Keys end with the queries' last tile, or
    where the page table does (reader_interleaved.cpp).

    Raises:
        OutOfBounds: a page beyond the cache; a start that the page table has no page for.
    """
    if chunk_start_idx_tensor is not None:
        start = int(chunk_start_idx_tensor.logical.flatten()[0])
    else:
        assert chunk_start_idx is not None  # the host side wants one of the two
        start = chunk_start_idx
    pages = page_table_tensor.logical
    capacity = pages.shape[-1] * input_tensor_k.shape[-2]
    bounds.within(
        start, capacity, op=launch.name, operand="the sequence in page_table_tensor", unit="row"
    )
    length = min(start + input_tensor_q.padded_shape[-2], capacity)
    caches = {"input_tensor_k": input_tensor_k, "input_tensor_v": input_tensor_v}
    _check_read_pages(launch, caches, pages, length, start + 1, sliding_window_size)
    key, value = (gather_pages(cache.data, pages, length) for cache in caches.values())
    return launch.math.attention(
        input_tensor_q.data,
        key,
        value,
        scores=PromptScores(
            scale=_scale(scale, input_tensor_q),
            start=start,
            window=sliding_window_size,
            sink=_sink(attention_sink, input_tensor_q.shape[1]),
        ),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )


def scaled_dot_product_attention_decode(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor,
    *,
    is_causal: bool = True,
    attn_mask: DeviceTensor | None = None,
    cur_pos: Sequence[int] = (),
    cur_pos_tensor: DeviceTensor | None = None,
    attention_sink: DeviceTensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    share_cache: bool | None = None,
) -> torch.Tensor:
    """One query for each user: [1, B, N, D] over a cache [B, K, C, D] -> [1, B, N, D].

    User b sees rows 0 .. position of its cache, the last `sliding_window_size` of them if that is
    given; without `is_causal` all C, with a mask [B, 1, N, C] or [1, 1, N, C]. A position of -1 in
    `cur_pos_tensor` skips its user: that result, and the padding rows of all, are not written.

    Raises:
        NotEmulated: a mask [1, B, N, C]; `share_cache` with several users, for which TTNN plans the
            output of one.
        OutOfBounds: a position beyond the cache, or a mask of fewer users.
    """

    def live(users: Users, last: int, rows: int) -> Iterator[torch.Tensor]:
        return (cache.data[users, :, :rows] for cache in (input_tensor_k, input_tensor_v))

    positions = None
    if is_causal:
        positions = positions_of(cur_pos, cur_pos_tensor, input_tensor_q.shape[1])
    return _decode(
        launch,
        input_tensor_q,
        live,
        positions,
        capacity=input_tensor_k.shape[-2],
        operand="input_tensor_k",
        mask=attn_mask,
        sink=_sink(attention_sink, input_tensor_q.shape[2]),
        scale=scale,
        window=sliding_window_size,
        program=program_config,
        compute=compute_kernel_config,
    )


def paged_scaled_dot_product_attention_decode(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor,
    page_table_tensor: DeviceTensor,
    *,
    is_causal: bool = True,
    attn_mask: DeviceTensor | None = None,
    cur_pos_tensor: DeviceTensor | None = None,
    attention_sink: DeviceTensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """`scaled_dot_product_attention_decode` over pages [P, K, block, D].

    Row b of the page table [B, pages] names the pages of user b's sequence in order. Pages are read
    for whole chunks of keys, also behind the position, and none is skipped (read_k of sdpa_decode's
    dataflow_common.hpp).

    Raises:
        OutOfBounds: besides the above, a page beyond the cache among those that are read.
    """
    pages = page_table_tensor.logical
    caches = {"input_tensor_k": input_tensor_k, "input_tensor_v": input_tensor_v}
    # the chunk that the kernel chooses by itself has a tile at least
    chunk = getattr(program_config, "k_chunk_size", 0) or TILE

    def live(users: Users, last: int, rows: int) -> Iterator[torch.Tensor]:
        read = min(ceil_div(last, chunk) * chunk, pages.shape[-1] * input_tensor_k.shape[-2])
        _check_read_pages(launch, caches, pages[users], read, last, sliding_window_size, chunk)
        return (gather_pages(cache.data, pages[users], rows) for cache in caches.values())

    positions = None
    if is_causal:
        positions = positions_of((), cur_pos_tensor, input_tensor_q.shape[1])
    return _decode(
        launch,
        input_tensor_q,
        live,
        positions,
        capacity=pages.shape[-1] * input_tensor_k.shape[-2],
        operand="the sequence in page_table_tensor",
        mask=attn_mask,
        sink=_sink(attention_sink, input_tensor_q.shape[2]),
        scale=scale,
        window=sliding_window_size,
        program=program_config,
        compute=compute_kernel_config,
    )


def _decode(
    launch: Launch,
    query: DeviceTensor,
    live: Callable[[Users, int, int], Iterator[torch.Tensor]],
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
) -> torch.Tensor:
    """The users' results in an output that is undefined elsewhere.

    `live(users, last, rows)` reads the first rows of some users' keys and values, of which `last`
    are seen: nothing else of a cache is touched. Users at the same position are computed together.
    `positions` is None where every user sees its whole cache, `capacity` rows of `operand`.
    """
    users, heads = query.shape[1:3]
    if launch.output.shape[1] != users:  # with share_cache
        raise NotEmulated(
            f"{launch.name} of {users} users: TTNN plans an output for {launch.output.shape[1]}."
        )
    scale = _scale(scale, query)
    program = attention_program(program)
    output = undefined(launch.output.padded_shape, launch.output.dtype)
    lengths = [capacity] * users if positions is None else [n + 1 for n in positions.tolist()]
    last_rows = [n - 1 for n in lengths if n]  # -1 skips its user (reader_decode_all.cpp)
    bounds.within(last_rows, capacity, op=launch.name, operand=operand, unit="row")
    for last in sorted({length for length in lengths if length > 0}):
        members = [user for user, length in enumerate(lengths) if length == last]
        count, first = len(members), members[0]
        neighbours = members[-1] - first + 1 == count  # a slice copies nothing
        group: Users = slice(first, first + count) if neighbours else members
        rows = launch.math.attention_rows(last, capacity, program)
        key, value = live(group, last, rows)
        result = launch.math.attention_decode(
            trimmed(query.data, (*query.shape[:-1], query.padded_shape[-1]))[0][group],
            key,
            value,
            scores=CacheScores(
                scale=scale,
                positions=None if positions is None else [last - 1] * count,
                mask=None if mask is None else _users_mask(launch, mask, group, users)[..., :rows],
                window=window,
                sink=sink,
            ),
            work=DecodeWork(capacity, users, launch.cores),
            program=program,
            compute=compute_of(compute),
            out=launch.output.dtype,
        )
        output[0, :users][group, :heads] = result.to(output.dtype)
    return output


def _check_read_pages(
    launch: Launch,
    caches: Mapping[str, DeviceTensor],
    pages: torch.Tensor,
    rows: int,
    last: int,
    window: int | None,
    chunk: int = TILE,
) -> None:
    """Refuse pages of the first `rows` positions that the caches do not have.

    With a window, chunks that lie before that of the first query, whose position is `last` - 1, are
    not read (get_workload_for_core).
    """
    block = next(iter(caches.values())).shape[2]
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


def _scale(scale: float | None, query: DeviceTensor) -> float:
    """`scale`, or TTNN's default: that of the padded head_dim (decode allows a padded one)."""
    return default_scale(query.padded_shape[-1]) if scale is None else scale


def _sink(tensor: DeviceTensor | None, heads: int) -> torch.Tensor | None:
    """[N] logits before scaling, from [1, N, 1, 1] or, for decode, the first column of [N, 32].

    Decode reads whole tiles of the latter, whatever part of them is padding.
    """
    if tensor is None:
        return None
    if len(tensor.shape) == 2:
        return tensor.data[:heads, 0].float()
    return tensor.logical.float().flatten()


BINDINGS = {
    "ttnn.transformer.scaled_dot_product_attention": scaled_dot_product_attention,
    "ttnn.transformer.chunked_scaled_dot_product_attention": chunked_scaled_dot_product_attention,
    "ttnn.transformer.scaled_dot_product_attention_decode": scaled_dot_product_attention_decode,
    "ttnn.transformer.paged_scaled_dot_product_attention_decode": (
        paged_scaled_dot_product_attention_decode
    ),
}
