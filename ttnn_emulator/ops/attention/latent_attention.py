"""Bindings of attention over latent keys, whose first columns are the values (MLA).

B batch, S queries, T keys, N heads, K kv heads, D head_dim of queries and keys, V of values,
C cache length, P pages. The kernels are those of scaled dot product attention.
"""

from collections.abc import Iterator, Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import PromptScores
from ttnn_emulator.arithmetic.formats import ceil_div
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.attending import (
    Users,
    check_read_pages,
    decoded,
    pages_of,
    scale_of,
    sink_of,
)
from ttnn_emulator.ops.common.configs import attention_program, compute_of
from ttnn_emulator.ops.common.paging import gather_pages, positions_of


def flash_mla_prefill(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    head_dim_v: int | DeviceTensor | None = None,
    *,
    input_tensor_v: DeviceTensor | None = None,
    attn_mask: DeviceTensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """[B, N, S, D], [B, K, T, D] -> [B, N, S, V]: the values are the keys' first V columns.

    Or they are `input_tensor_v` [B, M, T, V], whose heads may be more than those of the keys.
    """
    given = head_dim_v if isinstance(head_dim_v, DeviceTensor) else input_tensor_v
    key = input_tensor_k.data
    if given is not None:
        value = given.data
        key = key.repeat_interleave(value.shape[1] // key.shape[1], 1)
    else:
        value = key[..., :head_dim_v]
    return launch.math.attention(
        input_tensor_q.data,
        key,
        value,
        scores=PromptScores(
            scale=scale_of(scale, input_tensor_q),
            causal=is_causal and attn_mask is None,
            keys=input_tensor_k.shape[-2],
            mask=None if attn_mask is None else attn_mask.data,
            mask_format="bfloat16" if attn_mask is None else attn_mask.dtype,
        ),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )


def chunked_flash_mla_prefill(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    head_dim_v: int,
    page_table_tensor: DeviceTensor,
    chunk_start_idx: int,
    *,
    scale: float | None = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """`flash_mla_prefill` from position `chunk_start_idx` on, over pages [P, K, block, D].

    Raises:
        OutOfBounds: a page beyond the cache; a start that the page table has no page for.
    """
    pages, block = page_table_tensor.logical, input_tensor_k.shape[-2]
    capacity = pages.shape[-1] * block
    bounds.within(
        chunk_start_idx,
        capacity,
        op=launch.name,
        operand="the sequence in page_table_tensor",
        unit="row",
    )
    length = min(chunk_start_idx + input_tensor_q.padded_shape[-2], capacity)
    caches = {"input_tensor_k": input_tensor_k}
    check_read_pages(launch, caches, pages, length, chunk_start_idx + 1, None)
    key = gather_pages(input_tensor_k.data, pages, length)
    return launch.math.attention(
        input_tensor_q.data,
        key,
        key[..., :head_dim_v],
        scores=PromptScores(scale=scale_of(scale, input_tensor_q), start=chunk_start_idx),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )


def flash_multi_latent_attention_decode(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor | None = None,
    head_dim_v: int | None = None,
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
) -> torch.Tensor:
    """One query for each user: [1, B, N, D] over a cache [B, K, C, D] -> [1, B, N, V].

    The values are the first `head_dim_v` columns of the keys, or `input_tensor_v` [B, K, C, V].
    Otherwise as `scaled_dot_product_attention_decode`.
    """

    def live(users: Users, last: int, rows: int) -> Iterator[torch.Tensor]:
        key = input_tensor_k.data[users, :, :rows]
        own = key if input_tensor_v is None else input_tensor_v.data[users, :, :rows]
        yield from (key, own[..., :head_dim_v])

    positions = None
    if is_causal:
        positions = positions_of(cur_pos, cur_pos_tensor, input_tensor_q.shape[1])
    return decoded(
        launch,
        input_tensor_q,
        live,
        positions,
        capacity=input_tensor_k.shape[-2],
        operand="input_tensor_k",
        mask=attn_mask,
        sink=sink_of(attention_sink, input_tensor_q.shape[2]),
        scale=scale,
        window=sliding_window_size,
        program=program_config,
        compute=compute_kernel_config,
        groups=_groups(launch, input_tensor_q, program_config),
    )


def paged_flash_multi_latent_attention_decode(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor | None = None,
    head_dim_v: int | None = None,
    page_table_tensor: DeviceTensor | None = None,
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
    """`flash_multi_latent_attention_decode` over pages [P, K, block, D] and a table [B, pages]."""
    assert page_table_tensor is not None  # the host side wants one
    caches = {"input_tensor_k": input_tensor_k}
    if input_tensor_v is not None:
        caches["input_tensor_v"] = input_tensor_v
    read, capacity = pages_of(
        launch,
        input_tensor_q,
        caches,
        page_table_tensor.logical,
        window=sliding_window_size,
        program=program_config,
    )

    def live(users: Users, last: int, rows: int) -> Iterator[torch.Tensor]:
        key, *rest = read(users, last, rows)
        yield from (key, (rest[0] if rest else key)[..., :head_dim_v])

    positions = None
    if is_causal:
        positions = positions_of((), cur_pos_tensor, input_tensor_q.shape[1])
    return decoded(
        launch,
        input_tensor_q,
        live,
        positions,
        capacity=capacity,
        operand="the sequence in page_table_tensor",
        mask=attn_mask,
        sink=sink_of(attention_sink, input_tensor_q.shape[2]),
        scale=scale,
        window=sliding_window_size,
        program=program_config,
        compute=compute_kernel_config,
        groups=_groups(launch, input_tensor_q, program_config),
    )


def _groups(launch: Launch, query: DeviceTensor, program: object) -> int:
    """Groups into which sharded queries divide the heads of a user, each on cores of its own.

    Raises:
        NotEmulated: queries that lie on each of the cores that share them.
    """
    if getattr(program, "q_locally_available", None):
        raise NotEmulated(f"{launch.name} of queries that every core has is not emulated.")
    if query.shards is None:
        return 1
    return ceil_div(query.shape[2], query.shards[0])


BINDINGS = {
    "ttnn.transformer.flash_mla_prefill": flash_mla_prefill,
    "ttnn.transformer.chunked_flash_mla_prefill": chunked_flash_mla_prefill,
    "ttnn.transformer.flash_multi_latent_attention_decode": flash_multi_latent_attention_decode,
    "ttnn.transformer.paged_flash_multi_latent_attention_decode": (
        paged_flash_multi_latent_attention_decode
    ),
}
