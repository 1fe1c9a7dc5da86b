"""What recorded calls should have given: exact results, and which elements are defined at all.

`OF_FAMILY` has a float64 function for the ops of a recorded family, `EXACT` one for each other op
that computes; those that move data have none.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.fidelity.mesh_references import exact_on_mesh
from ttnn_emulator.fidelity.recordings import Case

Attributes = dict[str, Any]  # those of a recorded call
# Results, a tuple of them where they are several, of the attributes, then the inputs by their names
Exact = Callable[..., Any]

# --- exact results -------------------------------------------------------------------------------


def exact(case: Case, name: str = "out0") -> torch.Tensor | None:
    """The float64 result of a recorded call, computed from its exact inputs; padding is not read.

    Returns:
        torch float64 tensor of the output's logical shape, or None for an op that moves data.
    """
    if case.mesh is not None:
        return exact_on_mesh(case, name)
    function = EXACT.get(case.op) or OF_FAMILY.get(case.family)
    if case.family == "binary":
        function = _binary(case.op.removeprefix("ttnn."))
    if function is None:
        return None
    inputs = {n: case.tensor(n) for n, t in case.tensors.items() if t["role"] == "input"}
    exact_inputs = {
        n: v.double() if v.dtype.is_floating_point else v.long() for n, v in inputs.items()
    }
    result = function(case.attributes, **exact_inputs)
    if isinstance(result, tuple):  # out0, out1, ...
        result = result[int(name.removeprefix("out"))]
    return _grown(result, case.tensors[name]["shape"])


def _grown(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Zero rows where TTNN's logical shape has the padded rows too."""
    if values.dim() != len(shape):
        values = values.reshape(shape)
    missing = [(0, new - old) for old, new in zip(values.shape, shape, strict=True)]
    return functional.pad(values, [n for pair in reversed(missing) for n in pair])


UNARY: dict[str, Exact] = {
    "abs": torch.abs,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "gelu": functional.gelu,
    "hardswish": functional.hardswish,
    "identity": torch.clone,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "mish": functional.mish,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "rsqrt": torch.rsqrt,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": functional.softplus,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}


def _unary(function: Callable[..., torch.Tensor]) -> Exact:
    return lambda attributes, a: function(a)


def _binary(name: str) -> Exact:
    """torch's function of the same name as the operation."""
    function = getattr(torch, name)

    def exact_binary(
        attributes: Attributes, a: torch.Tensor, b: torch.Tensor | None = None
    ) -> torch.Tensor:
        b = torch.tensor(attributes["scalar"], dtype=torch.float64) if b is None else b
        a = _activated(a, attributes.get("input_tensor_a_activations"))
        b = _activated(b, attributes.get("input_tensor_b_activations"))
        return _activated(function(a, b), attributes.get("activations"))

    return exact_binary


def _activated(x: torch.Tensor, names: Iterable[str] | None) -> torch.Tensor:
    for name in names or ():
        x = UNARY[name.lower()](x)
    return x


def _product(
    attributes: Attributes,
    a: torch.Tensor,
    *bias: torch.Tensor,
    w: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    **more: torch.Tensor,
) -> torch.Tensor:
    """The right operand is `w` or, of a matmul, `b`; whatever else there is, is the bias."""
    if w is None:
        w, b = b, None
    assert w is not None
    a = a.mT if attributes.get("transpose_a") else a
    w = w.mT if attributes.get("transpose_b") else w
    product = a @ w
    for summand in (b, *more.values()):
        product = product if summand is None else product + summand
    return _activated(product, [attributes["activation"]] if "activation" in attributes else ())


def _rms_norm(
    attributes: Attributes,
    a: torch.Tensor,
    w: torch.Tensor | float = 1.0,
    r: torch.Tensor | float = 0.0,
    b: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    x = a + r
    mean_square = x.square().mean(-1, keepdim=True)
    if torch.is_tensor(w):
        w = w.reshape(-1)  # a row-major weight may come as rows of 32
    return x * torch.rsqrt(mean_square + attributes.get("epsilon", 1e-12)) * w + b


def _layer_norm(
    attributes: Attributes,
    a: torch.Tensor,
    w: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
) -> torch.Tensor:
    w, b = (x if x is None else x.reshape(-1) for x in (w, b))
    return functional.layer_norm(a, a.shape[-1:], w, b, attributes.get("epsilon", 1e-12))


def _softmax(attributes: Attributes, a: torch.Tensor) -> torch.Tensor:
    return a.softmax(attributes.get("dim", -1))


def _swiglu(attributes: Attributes, a: torch.Tensor) -> torch.Tensor:
    value, gate = a.chunk(2, attributes.get("dim", -1))
    return value * functional.silu(gate)


def _reduction(function: Callable[..., torch.Tensor]) -> Exact:
    def exact_reduction(attributes: Attributes, a: torch.Tensor) -> torch.Tensor:
        dims = attributes.get("dim", -1)
        dims = tuple(dims) if isinstance(dims, list) else dims
        return attributes.get("scalar", 1.0) * function(a, dims, True)

    return exact_reduction


def _rotary(
    attributes: Attributes,
    cos: torch.Tensor,
    sin: torch.Tensor,
    a: torch.Tensor | None = None,
    q: torch.Tensor | None = None,
    k: torch.Tensor | None = None,
    trans_mat: torch.Tensor | None = None,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Of `a`, of halves or, with a transformation matrix, of pairs; or of the pairs of q and k.

    For q and k the tables have users' rows for q first, then those for k.
    """
    if trans_mat is None:
        assert a is not None
        return _rotary_halves(attributes, a, cos, sin)
    if a is not None:
        rows = slice(0, 1 if attributes.get("is_decode_mode") else a.shape[-2])
        return _rotary_pairs(a, cos[..., rows, :], sin[..., rows, :], trans_mat)
    assert q is not None
    assert k is not None
    users = q.shape[1]
    parts = ((q, slice(0, users)), (k, slice(users, 2 * users)))
    return tuple(_rotary_pairs(x, cos[:, p, :1], sin[:, p, :1], trans_mat) for x, p in parts)


def _rotary_halves(
    attributes: Attributes, a: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    token = attributes.get("token_idx")
    rows = slice(0, a.shape[-2]) if token is None else slice(token, token + 1)
    first, second = a.chunk(2, -1)
    return a * cos[..., rows, :] + torch.cat((-second, first), -1) * sin[..., rows, :]


def _rotary_pairs(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, trans_mat: torch.Tensor
) -> torch.Tensor:
    turned = (x.unflatten(-1, (-1, TILE)) @ trans_mat[0, 0, :TILE]).flatten(-2)
    return x * cos + turned * sin


# --- exact attention -----------------------------------------------------------------------------


def _attention(
    attributes: Attributes,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None = None,
    attn_mask: torch.Tensor | None = None,
    page_table: torch.Tensor | None = None,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    if start is not None and page_table is not None:
        return _attention_from(attributes, q, k, v, page_table, start)
    mask = attn_mask if mask is None else mask
    if attributes.get("is_causal", mask is None):
        mask = torch.full(q.shape[-2:-1] + k.shape[-2:-1], -math.inf).triu(1).double()
    return _attended(q, k, v, attributes.get("scale"), mask)


def _attention_from(
    attributes: Attributes,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    page_table: torch.Tensor,
    start: torch.Tensor,
) -> torch.Tensor:
    """q [B, N, S, D], of which row 0 is at position `start`; k and v in pages [P, K, 32, D]."""
    first = int(start)
    k, v = (cache[page_table].transpose(1, 2).flatten(2, 3) for cache in (k, v))
    seen = torch.arange(k.shape[2]) <= first + torch.arange(q.shape[2])[:, None]
    hidden = torch.zeros(seen.shape).double().masked_fill(~seen, -math.inf)
    return _attended(q, k, v, attributes.get("scale"), hidden)


def _attention_decode(
    attributes: Attributes,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pos: torch.Tensor | None = None,
    page_table: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    attn_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """q [1, B, N, D], k and v [B, K, T, D] or pages [P, K, 32, D]; NaN for users at position -1."""
    if page_table is not None:
        k, v = (cache[page_table].transpose(1, 2).flatten(2, 3) for cache in (k, v))
    mask = attn_mask if mask is None else mask
    scale = attributes.get("scale") or q.shape[-1] ** -0.5
    rows = []
    for user in range(q.shape[1]):
        seen = k.shape[2] if pos is None else int(pos[user]) + 1
        keys, values = k[user : user + 1, :, :seen], v[user : user + 1, :, :seen]
        # the kernel adds the mask before it scales
        bias = None if mask is None else mask.reshape(-1, *mask.shape[-2:])[user, :, None] * scale
        if seen:
            rows.append(_attended(q[0, user, None, :, None], keys, values, scale, bias)[0, :, 0])
        else:
            rows.append(torch.full_like(q[0, user], math.nan))
    return torch.stack(rows)[None]


def _attended(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    scores = q @ k.mT * scale
    return (scores if bias is None else scores + bias).softmax(-1) @ v


EXACT = {f"ttnn.{name}": _unary(function) for name, function in UNARY.items()} | {
    "ttnn.layer_norm": _layer_norm,
    "ttnn.max": _reduction(torch.amax),
    "ttnn.mean": _reduction(torch.mean),
    "ttnn.min": _reduction(torch.amin),
    "ttnn.rms_norm": _rms_norm,
    "ttnn.softmax": _softmax,
    "ttnn.sum": _reduction(torch.sum),
    "ttnn.swiglu": _swiglu,
    "ttnn.typecast": lambda attributes, a: a,
}

# Of the ops of these families, which the inputs tell apart.
OF_FAMILY: dict[str, Exact] = {
    "matmul": _product,
    "rotary": _rotary,
    "sdpa": _attention,
    "sdpa_decode": _attention_decode,
}

# --- defined elements ----------------------------------------------------------------------------


def defined(case: Case, name: str) -> torch.Tensor:
    """Which elements of a recorded output a kernel writes.

    Returns:
        bool tensor of the output's recorded shape, padded where the padding was recorded.
    """
    padded = case.tensors[name].get("stored") == "padded"
    mask = torch.ones(case.tensor(name, padded=padded).shape, dtype=torch.bool)
    if case.family == "heads" and case.op.endswith("_decode"):
        splits = "out1" in case.tensors
        (_rows_without_head if splits else _rows_without_user)(case, name, mask)
    if case.family == "sdpa_decode":
        _rows_without_head_or_position(case, name, mask)
    if case.op == "ttnn.reshape":
        _padding(case, name, mask)
    if not name.endswith(case.attributes.get("only", "")):  # the one chip whose output is written
        mask[:] = False
    return mask


def _rows_without_user(case: Case, name: str, mask: torch.Tensor) -> None:
    """Rows beyond the batch: two recorded runs differ in them."""
    mask[:, :, case.tensors["a"]["shape"][1] :] = False


def _rows_without_head(case: Case, name: str, mask: torch.Tensor) -> None:
    """Rows of a tile beyond the heads: the kernel copies heads, the rest of the shard stays."""
    mask[:, :, case.tensors[name]["shape"][2] :] = False


def _rows_without_head_or_position(case: Case, name: str, mask: torch.Tensor) -> None:
    """Two recorded runs differ in the rows beyond the heads; a user at position -1 is skipped."""
    _rows_without_head(case, name, mask)
    if "pos" in case.tensors:
        mask[:, case.tensor("pos") < 0] = False


def _padding(case: Case, name: str, mask: torch.Tensor) -> None:
    """The kernel copies rows of the logical tensor into a buffer that it does not clear."""
    logical = tuple(slice(0, size) for size in case.tensors[name]["shape"])
    inside = torch.zeros_like(mask)
    inside[logical] = True
    mask &= inside
