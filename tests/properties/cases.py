"""Operations that a model feeds with padded tensors, each with shapes of its operands.

B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, C cache length.
"""

import dataclasses
from collections.abc import Callable

import ttnn
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.tensors import ACCURATE, TILE, moved_to_cores, read

ROWS, COLUMNS = -2, -1
BOTH = (ROWS, COLUMNS)


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation.

    Attributes:
        shapes: strategy of a shape for each operand.
        call: from device tensors to a device tensor, or several.
        grows: for each operand the dimensions along which more elements do not change those of the
            result that were there before; None where no such statement holds.
        make: from a seed and a shape to an operand's values.
        written: from a result's values and the first operand's shape to those that are defined.
    """

    shapes: st.SearchStrategy
    call: Callable
    grows: tuple | None
    make: Callable = strategies.normal
    written: Callable = lambda values, shape: values

    def results(self, tensors, shape):
        """What the operation makes of device tensors, a list of torch tensors."""
        outputs = self.call(*tensors)
        several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [self.written(read(tensor), shape) for tensor in several]


# --- shapes of operands --------------------------------------------------------------------------


def alike(count):
    """`count` operands of one shape."""
    padded = strategies.padded_shapes(largest=70, leading=2)
    return padded.map(lambda shape: (shape,) * count)


def broadcast(rows, columns):
    """An operand, and one with a single row or column or both."""
    padded = strategies.padded_shapes(largest=70, leading=2)
    return padded.map(
        lambda shape: (shape, (1, 1, 1 if rows else shape[-2], 1 if columns else shape[-1]))
    )


@st.composite
def product(draw, bias=False):
    """[1, B, S, H] by [H, O], and a bias [1, O]."""
    rows, inner, columns = (draw(strategies.sizes(70)) for _ in range(3))
    shapes = (1, draw(st.integers(1, 2)), rows, inner), (inner, columns)
    return (*shapes, (1, columns)) if bias else shapes


@st.composite
def scores(draw):
    """[B, N, S, D] by [B, N, T, D], of which the second is to be transposed."""
    queries, keys, width = (draw(strategies.sizes(70)) for _ in range(3))
    return (1, 2, queries, width), (1, 2, keys, width)


def normed():
    """[1, 1, S, H] and a weight [1, 1, 1, H]."""
    padded = strategies.padded_shapes(largest=97, leading=1)
    return padded.map(lambda shape: (shape, (1, 1, 1, shape[-1])))


def rotated(widths, *more):
    """[1, N, S, D] and tables [1, 1, C, D] that are longer, S not in whole tiles; and `more`."""
    rows = strategies.sizes(65).filter(lambda n: n % TILE)
    shape = st.tuples(st.integers(1, 2), rows, st.sampled_from(widths))
    return shape.map(lambda s: ((1, *s), *((1, 1, 96, s[-1]),) * 2, *more))


N_HEADS, N_KV_HEADS = 4, 2  # of the operations on heads


@st.composite
def fused(draw, batch=None):
    """[B, 1, S, (N + 2 K) D], or [1, 1, B, (N + 2 K) D] for decode with at most 32 users."""
    width = (N_HEADS + 2 * N_KV_HEADS) * draw(st.sampled_from([32, 64, 96]))
    if batch is not None:
        return ((1, 1, draw(st.integers(1, batch)), width),)
    return ((draw(st.integers(1, 2)), 1, draw(strategies.sizes(65)), width),)


@st.composite
def attended(draw):
    """[1, N, S, D], [1, K, S, D], [1, K, S, D]: a prompt."""
    rows = draw(strategies.sizes(65))
    width = draw(st.sampled_from([32, 64, 96]))
    return (1, N_HEADS, rows, width), *((1, N_KV_HEADS, rows, width),) * 2


@st.composite
def users(draw, heads, caches):
    """[1, B, N, D] of at most four users, and `caches` of [B, K, C, D]."""
    batch, width = draw(st.integers(1, 4)), draw(st.sampled_from([32, 64, 96]))
    length = draw(st.sampled_from([64, 96]))
    return (1, batch, heads, width), *((batch, N_KV_HEADS, length, width),) * caches


# --- calls ---------------------------------------------------------------------------------------


def positions(tensor):
    """A position for each user of [1, B, N, D], the first one 0."""
    return [user * 21 for user in range(tensor.shape[1])]


def decode_attention(query, keys, values):
    return ttnn.transformer.scaled_dot_product_attention_decode(
        query, keys, values, cur_pos=positions(query)
    )


def updated(rows, cache):
    """The cache, after a row of every user was written into it."""
    ttnn.experimental.paged_update_cache(cache, moved_to_cores(rows), update_idxs=positions(rows))
    return cache


def create_heads(x, heads=N_HEADS, kv_heads=N_KV_HEADS, transposed=False):
    return ttnn.experimental.nlp_create_qkv_heads(
        x, num_heads=heads, num_kv_heads=kv_heads, transpose_k_heads=transposed
    )


def create_heads_decode(x, heads=N_HEADS, kv_heads=N_KV_HEADS):
    return ttnn.experimental.nlp_create_qkv_heads_decode(
        x,
        num_heads=heads,
        num_kv_heads=kv_heads,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )


def concat_heads(x):
    return ttnn.experimental.nlp_concat_heads(x)


def concat_heads_decode(x):
    return ttnn.experimental.nlp_concat_heads_decode(moved_to_cores(x), num_heads=x.shape[2])


def rotate_pairs(*tensors, decode=False):
    return ttnn.experimental.rotary_embedding_llama(*tensors, is_decode_mode=decode)


def silu_times(gate, up):
    return ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])


def inner_part(x):
    starts = [n // 3 for n in x.shape]
    return ttnn.slice(x, starts, list(x.shape))


def first_rows(values, shape):
    """Rotary kernels turn S into whole tiles, which the result has for its logical shape."""
    return values[..., : shape[-2], :]


def first_users(values, shape):
    """[1, 1, 32, N D] has rows of 32 users, of which B are written."""
    return values[:, :, : shape[1]]


UNARY = {
    "silu": ttnn.silu,
    "gelu": ttnn.gelu,
    "relu": ttnn.relu,
    "sigmoid": ttnn.sigmoid,
    "exp": ttnn.exp,
    "neg": ttnn.neg,
    "rsqrt": ttnn.rsqrt,
    "reciprocal": ttnn.reciprocal,
    "multiply by a number": lambda x: ttnn.multiply(x, 0.3),
    "add a number": lambda x: ttnn.add(x, 0.3),
    "to float32": lambda x: ttnn.typecast(x, ttnn.float32),
}

MOVES = {
    "clone": ttnn.clone,
    "to rows": lambda x: ttnn.to_layout(x, ttnn.ROW_MAJOR_LAYOUT),
    "to L1": lambda x: ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG),
    "inner part": inner_part,
    "concat rows": lambda x: ttnn.concat([x, x], 2),
    "concat columns": lambda x: ttnn.concat([x, x], 3),
    "transpose": lambda x: ttnn.transpose(x, 2, 3),
    "permute": lambda x: ttnn.permute(x, (2, 0, 3, 1)),
    "reshape": lambda x: ttnn.reshape(x, (1, 1, 1, x.logical_volume())),
    "pad": lambda x: ttnn.pad(x, [(0, 0), (0, 0), (0, 40), (0, 40)], 0.0),
    "repeat": lambda x: ttnn.repeat(x, (1, 2, 1, 2)),
}

# An operation on rows sees no other row; along its columns all of them count.
CASES = {
    **{name: Case(alike(1), call, (BOTH,), strategies.positive) for name, call in UNARY.items()},
    "add": Case(alike(2), ttnn.add, (BOTH, BOTH)),
    "subtract": Case(alike(2), ttnn.subtract, (BOTH, BOTH)),
    "multiply": Case(alike(2), ttnn.multiply, (BOTH, BOTH)),
    "silu times": Case(alike(2), silu_times, (BOTH, BOTH)),
    "add a row": Case(broadcast(True, False), ttnn.add, (BOTH, (COLUMNS,))),
    "multiply by a column": Case(broadcast(False, True), ttnn.multiply, (BOTH, (ROWS,))),
    "multiply by one element": Case(broadcast(True, True), ttnn.multiply, (BOTH, ())),
    "linear": Case(product(), ttnn.linear, ((ROWS,), (COLUMNS,))),
    "linear, accurate": Case(
        product(),
        lambda x, w: ttnn.linear(x, w, compute_kernel_config=ACCURATE),
        ((ROWS,), (COLUMNS,)),
    ),
    "linear with bias": Case(
        product(bias=True),
        lambda x, w, bias: ttnn.linear(x, w, bias=bias),
        ((ROWS,), (COLUMNS,), (COLUMNS,)),
    ),
    "scores": Case(scores(), lambda q, k: ttnn.matmul(q, k, transpose_b=True), ((ROWS,), (ROWS,))),
    "rms_norm": Case(
        normed(), lambda x, w: ttnn.rms_norm(x, weight=w, epsilon=1e-5), ((ROWS,), ())
    ),
    "rms_norm, accurate": Case(
        normed(),
        lambda x, w: ttnn.rms_norm(x, weight=w, epsilon=1e-5, compute_kernel_config=ACCURATE),
        ((ROWS,), ()),
    ),
    "sum": Case(alike(1), lambda x: ttnn.sum(x, -1, keepdim=True), ((ROWS,),)),
    "mean": Case(alike(1), lambda x: ttnn.mean(x, -1, keepdim=True), ((ROWS,),)),
    "max": Case(alike(1), lambda x: ttnn.max(x, -1, keepdim=True), ((ROWS,),)),
    "rotary_embedding": Case(
        rotated([32, 64, 128]),
        ttnn.experimental.rotary_embedding,
        ((ROWS,), (), ()),
        written=first_rows,
    ),
    "rotary_embedding_llama": Case(
        rotated([32, 64, 96, 128], (1, 1, 32, 32)),
        rotate_pairs,
        ((ROWS,), (), (), ()),
    ),
    "nlp_create_qkv_heads": Case(fused(), create_heads, ((ROWS,),)),
    "nlp_create_qkv_heads_decode": Case(fused(batch=32), create_heads_decode, ((ROWS,),)),
    "nlp_concat_heads": Case(attended().map(lambda s: s[:1]), concat_heads, ((ROWS,),)),
    "nlp_concat_heads_decode": Case(
        users(N_HEADS, 0), concat_heads_decode, None, written=first_users
    ),
    "paged_update_cache": Case(users(N_KV_HEADS, 1), updated, None),
    "attention, decode": Case(users(N_HEADS, 2), decode_attention, None),
    **{name: Case(alike(1), call, None) for name, call in MOVES.items()},
}
