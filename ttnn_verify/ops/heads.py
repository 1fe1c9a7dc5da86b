"""Operations that split a fused projection into heads and join heads again: data that moves.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from ttnn_verify.ops.comparison import in_whole_tiles, of_golden
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.spec import OpSpec, without_context


def nlp_create_qkv_heads(
    input: torch.Tensor,
    input_kv: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    kv_tied: bool = False,
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, (N + 2 K) D] -> [B, N, S, D], [B, K, S, D] or transposed, [B, K, S, D].

    Keys and values come from `input_kv` [B, 1, S, 2 K D] when it is given, and are the same columns
    when `kv_tied`.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    groups = kv_heads if kv_tied else 2 * kv_heads
    fused = input if input_kv is None else torch.cat((input, input_kv), -1)
    heads = fused[:, 0].unflatten(-1, (num_heads + groups, -1)).transpose(1, 2)
    q, k = heads[:, :num_heads], heads[:, num_heads : num_heads + kv_heads]
    v = heads[:, -kv_heads:]
    return q, k.mT if transpose_k_heads else k, v


def decode_heads(
    input_tensor: torch.Tensor, *, num_heads: int, num_kv_heads: int | None = None
) -> tuple[torch.Tensor, ...]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input_tensor[0].unflatten(-1, (num_heads + 2 * kv_heads, -1))
    return heads.split([num_heads, kv_heads, kv_heads], dim=2)


def nlp_create_qkv_heads_decode(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
) -> list[Expected]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    parts = decode_heads(input_tensor, num_heads=num_heads, num_kv_heads=num_kv_heads)
    users = context.shapes[0][1]
    return [Expected(one[:, :users]) for one in parts]


def concatenate_heads(input_tensor: torch.Tensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, S, N D]."""
    return input_tensor.transpose(1, 2).flatten(2)


def nlp_concat_heads(input_tensor: torch.Tensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, 1, S, N D]."""
    return input_tensor.transpose(1, 2).flatten(2)[:, None]


def nlp_concat_heads_decode(
    context: CallContext, input_tensor: torch.Tensor, *, num_heads: int
) -> Expected:
    """[1, B, N, D] -> [1, 1, 32, N D], of which the first B rows are written."""
    value = input_tensor[:, :, :num_heads].flatten(2)[:, None]
    return Expected(value, None, (slice(None), slice(None), slice(0, value.shape[2])))


def qkv_heads_by_group(
    input: torch.Tensor,
    input_kv: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    kv_tied: bool = False,
) -> tuple[torch.Tensor, ...]:
    """`nlp_create_qkv_heads` of columns that lie kv head by kv head, as cores hold them.

    [B, 1, S, K (N / K + 2) D]: in each group N / K query heads, a key and a value; or groups of a
    key and a value in `input_kv` [B, 1, S, K 2 D].
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    shared = num_heads // kv_heads
    last = 1 if kv_tied else 2
    own, apart = shared + last, input if input_kv is None else input_kv
    if input_kv is not None:
        own = shared
    width = input.shape[-1] // (kv_heads * own)
    q, k, v = [], [], []
    for group in range(kv_heads):
        first = group * own * width
        for head in range(shared):
            begin = first + head * width
            q.append(input[:, 0, :, begin : begin + width])
        begin = first + shared * width if input_kv is None else group * last * width
        k.append(apart[:, 0, :, begin : begin + width])
        begin += (last - 1) * width
        v.append(apart[:, 0, :, begin : begin + width])
    keys = torch.stack(k, 1)
    return torch.stack(q, 1), keys.mT if transpose_k_heads else keys, torch.stack(v, 1)


def split_heads_by_group(
    input_tensor: torch.Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_key: bool = True,
) -> tuple[torch.Tensor, ...]:
    """`qkv_heads_by_group` of [B, S, K (N / K + 2) D]."""
    return qkv_heads_by_group(
        input_tensor[:, None],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        transpose_k_heads=transpose_key,
    )


def sections(input: torch.Tensor, counts: tuple[int, ...], width: int) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, columns] -> [B, count, S, width] for each count."""
    heads = input[:, 0].unflatten(-1, (-1, width)).transpose(1, 2)
    return heads[:, : sum(counts)].split(counts, 1)


def nlp_create_qkv_heads_falcon7b(input: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, 4672]: 71 query heads, a key and a value of 64 columns."""
    return sections(input, (71, 1, 1), 64)


def nlp_create_qkv_heads_vit(input: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, 2304]: 12 heads of 64 columns, three times."""
    return sections(input, (12, 12, 12), 64)


def nlp_create_qkv_heads_segformer(input: torch.Tensor) -> list[Expected]:
    """[B, 1, S, N 32] -> queries [B, N, S, 32]; what the other two outputs hold nobody wrote."""
    (queries,) = sections(input, (input.shape[-1] // 32,), 32)
    nothing = (torch.empty(0, dtype=torch.long),) * queries.dim()
    unwritten = Expected(queries[nothing], None, nothing)
    return [Expected(queries), unwritten, unwritten]


def nlp_create_q_heads_split(
    input: torch.Tensor, *, num_heads: int, split_head_dim: int
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, N D] -> [B, N, S, split_head_dim], and the other columns."""
    (heads,) = sections(input, (num_heads,), input.shape[-1] // num_heads)
    return heads.tensor_split((split_head_dim,), -1)


def nlp_kv_cache_load_slice(
    input_tensor: torch.Tensor, *, seq_len_start: int, seq_len_end: int
) -> torch.Tensor:
    """Rows of [B, K, C, D]."""
    return input_tensor.narrow(2, seq_len_start, seq_len_end - seq_len_start)


def nlp_create_qkv_heads_boltz(
    input: torch.Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
) -> tuple[torch.Tensor, ...]:
    """[1, S, S, (N + 2 K) D] -> [N, S, S, D], [K, S, S, D] twice.

    Raises:
        NoGolden: transposed keys.
    """
    if transpose_k_heads:
        raise NoGolden("nlp_create_qkv_heads_boltz has no golden for transposed keys.")
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input[0].unflatten(-1, (num_heads + 2 * kv_heads, -1)).movedim(2, 0)
    return heads.split((num_heads, kv_heads, kv_heads), 0)


def nlp_concat_heads_boltz(input_tensor: torch.Tensor) -> torch.Tensor:
    """[N, S, S, D] -> [1, S, S, N D]."""
    return torch.cat(input_tensor.unbind(0), -1)[None]


SPECS = (
    OpSpec(
        ("nlp_create_qkv_heads",),
        without_context(nlp_create_qkv_heads),
        kind="heads",
        data="picks",
        comparison=nlp_create_qkv_heads,
        by_shards=without_context(qkv_heads_by_group),
    ),
    OpSpec(
        ("nlp_create_qkv_heads_decode",),
        nlp_create_qkv_heads_decode,
        kind="heads",
        data="picks",
        ignored=frozenset({"overlap_qk_coregrid"}),
        neutral={"batch_offset": (), "slice_size": ()},
        comparison=decode_heads,
    ),
    OpSpec(  # TTNN's own golden, but of shards
        ("split_query_key_value_and_split_heads",),
        kind="heads",
        by_shards=without_context(split_heads_by_group),
    ),
    OpSpec(
        ("nlp_concat_heads",),
        without_context(nlp_concat_heads),
        data="picks",
        comparison=nlp_concat_heads,
    ),
    OpSpec(
        ("nlp_concat_heads_decode",),
        nlp_concat_heads_decode,
        data="picks",
        comparison=in_whole_tiles(of_golden(nlp_concat_heads_decode)),
    ),
    *(
        OpSpec((function.__name__,), without_context(function), kind="heads", data="picks")
        for function in (
            nlp_create_q_heads_split,
            nlp_create_qkv_heads_boltz,
            nlp_create_qkv_heads_falcon7b,
            nlp_create_qkv_heads_segformer,
            nlp_create_qkv_heads_vit,
        )
    ),
    *(
        OpSpec((name,), without_context(qkv_heads_by_group), kind="heads", data="picks")
        for name in ("create_qkv_heads", "create_qkv_heads_from_separate_tensors")
    ),
    OpSpec(("concatenate_heads",), without_context(concatenate_heads), data="picks"),
    OpSpec(("nlp_concat_heads_boltz",), without_context(nlp_concat_heads_boltz), data="picks"),
    OpSpec(("nlp_kv_cache_load_slice",), without_context(nlp_kv_cache_load_slice), data="picks"),
)
