"""Bindings of scaled dot product attention over a prompt, whole or a chunk of it.

B batch, S queries, T keys, N heads, K kv heads, D head_dim, P pages.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import PromptScores
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.attending import (
    check_read_pages,
    geometry_of,
    refuse,
    scale_of,
    sink_of,
)
from ttnn_emulator.ops.common.configs import attention_program, compute_of
from ttnn_emulator.ops.common.paging import gather_pages


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
    cu_window_seqlens: DeviceTensor | None = None,
    windowed_q_token_offset: int = 0,
    windowed_q_token_offset_tensor: DeviceTensor | None = None,
    output_concat_heads: bool = False,
    attn_mask_block_map: DeviceTensor | None = None,
) -> torch.Tensor:
    """[B, N, S, D], [B, K, T, D], [B, K, T, D] -> [B, N, S, D].

    The kernel works on whole tiles: padding queries attend too, padding keys are hidden by the
    causal mask, or else by one of their own. A mask [1 or B, 1 or N, S, T] that is given stands
    alone, so what its own padding columns hold decides whether padding keys are seen (sdpa.cpp).
    With `cu_window_seqlens` [0, s1, s1 + s2, ...] a query sees its own sequence of those packed in
    the rows; query 0 is row `windowed_q_token_offset` of them.

    Raises:
        NotEmulated: `attn_mask_block_map`, by which blocks of a mask are left out.
        OutOfBounds: queries, by their offset, or a sequence beyond the keys.
    """
    refuse(launch, attn_mask_block_map=attn_mask_block_map)
    start, sequences = 0, None
    if cu_window_seqlens is not None:
        start = _offset(windowed_q_token_offset, windowed_q_token_offset_tensor)
        sequences = tuple(cu_window_seqlens.logical.flatten().tolist())
        keys, rows = input_tensor_k.shape[-2], input_tensor_q.shape[-2]
        where = {"op": launch.name, "operand": "input_tensor_k", "unit": "row"}
        bounds.span(start, rows, keys, because="by the queries' offset", **where)
        bounds.span(0, max(sequences), keys, because="by cu_window_seqlens", **where)
    result = launch.math.attention(
        input_tensor_q.data,
        input_tensor_k.data,
        input_tensor_v.data,
        scores=PromptScores(
            scale=scale_of(scale, input_tensor_q),
            causal=is_causal and attn_mask is None,
            start=start,
            window=sliding_window_size,
            keys=input_tensor_k.shape[-2],
            mask=None if attn_mask is None else attn_mask.data,
            mask_format="bfloat16" if attn_mask is None else attn_mask.dtype,
            sink=sink_of(attention_sink, input_tensor_q.shape[1]),
            sequences=sequences,
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
    paged_cache_geometry: "ttnn.PagedCacheGeometryOverride | None" = None,
) -> torch.Tensor:
    """Causal attention of [B, N, S, D] over pages [P, K, block, D] -> [B, N, S, D].

    Row 0 of the queries is position `chunk_start_idx`. Keys end with the queries' last tile, or
    where the page table does (reader_interleaved.cpp). A `paged_cache_geometry` reads the tiles of
    a page in another geometry.

    Raises:
        OutOfBounds: a page beyond the cache; a start that the page table has no page for.
    """
    if chunk_start_idx_tensor is not None:
        start = int(chunk_start_idx_tensor.logical.flatten()[0])
    else:
        assert chunk_start_idx is not None  # the host side wants one of the two
        start = chunk_start_idx
    pages = page_table_tensor.logical
    geometry = geometry_of(paged_cache_geometry, input_tensor_q, input_tensor_k)
    block = input_tensor_k.shape[-2] if geometry is None else geometry.block
    capacity = pages.shape[-1] * block
    bounds.within(
        start, capacity, op=launch.name, operand="the sequence in page_table_tensor", unit="row"
    )
    length = min(start + input_tensor_q.padded_shape[-2], capacity)
    caches = {"input_tensor_k": input_tensor_k, "input_tensor_v": input_tensor_v}
    check_read_pages(launch, caches, pages, length, start + 1, sliding_window_size, block=block)
    key, value = (gather_pages(cache.data, pages, length, geometry) for cache in caches.values())
    return launch.math.attention(
        input_tensor_q.data,
        key,
        value,
        scores=PromptScores(
            scale=scale_of(scale, input_tensor_q),
            start=start,
            window=sliding_window_size,
            sink=sink_of(attention_sink, input_tensor_q.shape[1]),
        ),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )


def _offset(number: int, tensor: DeviceTensor | None) -> int:
    return number if tensor is None else int(tensor.logical.flatten()[0])


BINDINGS = {
    "ttnn.transformer.scaled_dot_product_attention": scaled_dot_product_attention,
    "ttnn.transformer.chunked_scaled_dot_product_attention": chunked_scaled_dot_product_attention,
}
