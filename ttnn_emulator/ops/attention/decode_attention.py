"""Bindings of scaled dot product attention over a cache, one query for each user.

B batch, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

from collections.abc import Iterator, Sequence

import torch
import ttnn

from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.attending import (
    Users,
    decoded,
    geometry_of,
    pages_of,
    refuse,
    sink_of,
)
from ttnn_emulator.ops.common.paging import positions_of


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
    paged_cache_geometry: "ttnn.PagedCacheGeometryOverride | None" = None,
    cache_position_modulo: int | None = None,
    spec_multi_pos_tiles: int = 0,
) -> torch.Tensor:
    """`scaled_dot_product_attention_decode` over pages [P, K, block, D].

    Row b of the page table [B, pages] names the pages of user b's sequence in order, or of a ring
    of `cache_position_modulo` positions of it. A `paged_cache_geometry` reads the tiles of a page
    in another geometry.

    Raises:
        NotEmulated: `spec_multi_pos_tiles`, several positions of a user at once.
        OutOfBounds: besides the above, a page beyond the cache among those that are read.
    """
    refuse(launch, spec_multi_pos_tiles=spec_multi_pos_tiles)
    caches = {"input_tensor_k": input_tensor_k, "input_tensor_v": input_tensor_v}
    live, capacity = pages_of(
        launch,
        input_tensor_q,
        caches,
        page_table_tensor.logical,
        window=sliding_window_size,
        program=program_config,
        geometry=geometry_of(paged_cache_geometry, input_tensor_q, input_tensor_k),
        modulo=cache_position_modulo,
    )
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
        endless=bool(cache_position_modulo),
    )


BINDINGS = {
    "ttnn.transformer.scaled_dot_product_attention_decode": scaled_dot_product_attention_decode,
    "ttnn.transformer.paged_scaled_dot_product_attention_decode": (
        paged_scaled_dot_product_attention_decode
    ),
}
