"""The binding of table look-ups: `ttnn.embedding`."""

import math

import torch
import ttnn

from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds


def embedding(
    launch: Launch,
    input_tensor: DeviceTensor,
    weight: DeviceTensor,
    *,
    padding_idx: int | None = None,
    layout: object = None,
    embeddings_type: object = None,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """Rows of a table: indices [B, S] or [B, 1, 1, S] and a table [1, 1, V, H] -> [B, S, H].

    Indices are uint32 or bfloat16 (exact up to 256). `padding_idx` and `embeddings_type` only keep
    the rows that they name in faster memory (embeddings_common.hpp); the result is the same.
    Another dtype than the table's is made by a typecast behind it.

    Raises:
        NotEmulated: indices of another shape, of which TTNN plans for the first and the last
            dimension alone.
        OutOfBounds: an index beyond the table; fewer indices than a sharded output has rows.
    """
    table = weight.logical.reshape(-1, weight.shape[-1])
    indices = input_tensor.logical.reshape(-1).long()
    if len(indices) * weight.shape[-1] != math.prod(launch.output.shape):
        raise NotEmulated(
            f"ttnn.embedding of indices {list(input_tensor.shape)} gives "
            f"{list(launch.output.shape)}: TTNN looks at their first and last dimension. Use "
            "[B, S] or [B, 1, 1, S]."
        )
    if not input_tensor.tiled:
        _check_shards(launch, len(indices))
    place = {"op": launch.name, "operand": "weight", "unit": "row"}
    bounds.within(indices, len(table), **place)
    if padding_idx is not None:  # read before any index is (prepare_local_cache)
        bounds.within(padding_idx, len(table), **place, because="padding_idx")
    rows = table[indices].reshape(launch.output.shape)
    return launch.math.typecast(rows, weight.dtype, launch.output.dtype)


def _check_shards(launch: Launch, count: int) -> None:
    """Each core of a sharded output takes an index for every row of its shard.

    Both readers do, embeddings.cpp by rows and embeddings_tilize.cpp by tiles of 32, and ask
    nowhere how many indices there are.
    """
    if launch.output.shards is None:
        return
    rows, columns, cores = launch.output.shards
    reads = rows * cores * columns // launch.output.padded_shape[-1]
    because = f"{rows} for each shard of its output on {cores} cores"
    bounds.span(
        0, reads, count, op=launch.name, operand="input_tensor", unit="index", because=because
    )


BINDINGS = {"ttnn.embedding": embedding}
