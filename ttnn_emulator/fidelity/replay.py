"""Recorded calls of TTNN's kernels, made again through ttnn on an emulated device.

`OF_FAMILY` has a function for the ops of a recorded family, `CALLS` one for each other op.
Everything that was recorded is honoured: dtypes, layouts and padding of the inputs, and every
attribute; one that no call asks for is an error.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
import ttnn

from ttnn_emulator.fidelity.recorded_call import DTYPES, LAYOUTS, NotReplayable, RecordedCall
from ttnn_emulator.fidelity.recordings import Case

# Columns and rows of worker cores of the device that the recordings ran on.
RECORDED_CORES = (8, 9)

# Numbers of elementwise ops that are passed under their own names.
NUMBERS = (
    *("alpha", "beta", "decimals", "exponent", "lower_limit", "negative_slope", "threshold"),
    *("upper_limit", "value", "min", "max", "min_val", "max_val", "vector_mode"),
)


def replay(case: Case, device: ttnn.MeshDevice) -> dict[str, torch.Tensor]:
    """Make a recorded call again.

    Args:
        case: the recorded call.
        device: an open emulated device.

    Returns:
        output name -> torch tensor, float32 or int32, of the recorded shape: padded where the
        padding was recorded.

    Raises:
        NotReplayable: the op or an attribute is not known, or TTNN's output is not of the recorded
            shape and dtype.
    """
    made_again = CALLS.get(case.op) or OF_FAMILY.get(case.family)
    if made_again is None:
        raise NotReplayable(f"{case}: no call is known for {case.op!r}; add it to CALLS.")
    call = RecordedCall(case, device)
    outputs = made_again(call)
    call.finish()
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    names = [name for name, tensor in case.tensors.items() if tensor["role"] == "output"]
    if len(outputs) != len(names):
        raise NotReplayable(
            f"{case}: TTNN returned {len(outputs)} tensors, recorded are {len(names)}."
        )
    return {
        name: _values(case, name, tensor)
        for name, tensor in zip(sorted(names), outputs, strict=True)
    }


def _values(case: Case, name: str, tensor: ttnn.Tensor) -> torch.Tensor:
    entry = case.tensors[name]
    shape, dtype = list(tensor.shape), tensor.dtype.name.lower()
    if (shape, dtype) != (list(entry["shape"]), entry["dtype"]):
        raise NotReplayable(
            f"{case}: TTNN made {name} as {dtype} {shape}, recorded is {entry['dtype']} "
            f"{entry['shape']}."
        )
    if entry.get("stored") == "padded":
        values = tensor.to_torch_with_padded_shape()
    else:
        values = ttnn.to_torch(tensor)
    return values.float() if values.dtype.is_floating_point else values.to(torch.int32)


# --- elementwise, products, norms ----------------------------------------------------------------


def _unary(call: RecordedCall) -> Any:
    return call.op(*call.tensors(), **call.arguments("fast_and_approximate_mode", *NUMBERS))


def _sigmoid(call: RecordedCall) -> Any:
    options = call.arguments("vector_mode")
    if call.argument("fast_and_approximate_mode"):
        options["mode"] = ttnn.SigmoidMode.FastApproximate
    return call.op(*call.tensors(), **options)


def _binary(call: RecordedCall) -> Any:
    operands = [*call.tensors(), *call.arguments("scalar").values()]
    options = call.arguments("fast_and_approximate_mode")
    for name in ("input_tensor_a_activations", "input_tensor_b_activations", "activations"):
        if kinds := call.argument(name):
            options[name] = [getattr(ttnn.UnaryOpType, kind.upper()) for kind in kinds]
    return call.op(*operands, **options)


def _product(call: RecordedCall) -> Any:
    """The third tensor, if there is one, is the bias."""
    a, b, *bias = call.tensors()
    options = call.arguments("activation", "transpose_a", "transpose_b") | call.compute()
    if bias:
        (options["bias"],) = bias
    if (out := call.argument("out_dtype")) or call.outputs[0]["dtype"] != a.dtype.name.lower():
        out = out or call.outputs[0]["dtype"]
        options["dtype"] = getattr(ttnn, DTYPES.get(out, out))
    if grid := call.argument("core_grid"):
        options["core_grid"] = _core_grid(grid)
    return call.op(a, b, **options)


def _core_grid(recorded: Any) -> ttnn.CoreGrid:
    """From a dict, ttnn.CoreGrid's text, or columns and rows."""
    named = dict(re.findall(r"([xy])\W*[=:]\s*(\d+)", str(recorded)))
    x, y = (named["x"], named["y"]) if named else re.findall(r"\d+", str(recorded))
    return ttnn.CoreGrid(x=int(x), y=int(y))


def _norm(call: RecordedCall) -> Any:
    more = call.optional(weight=("w", "weight"), bias=("b", "bias"))
    more |= call.optional(residual_input_tensor=("r", "residual"))
    return call.op(call.tensor("a"), **more, **call.arguments("epsilon"), **call.compute())


def _softmax(call: RecordedCall) -> Any:
    dim = call.argument("dim", -1)
    return call.op(call.tensor("a"), dim, **call.arguments("numeric_stable"), **call.compute())


def _swiglu(call: RecordedCall) -> Any:
    return call.op(call.tensor("a"), call.argument("dim", -1))


def _reduction(call: RecordedCall) -> Any:
    """Without a recorded `dim` the last was reduced; its rank tells whether it was kept."""
    a = call.tensor("a")
    keepdim = len(call.outputs[0]["shape"]) == len(a.shape)
    options = call.compute() | call.arguments("scalar")
    return call.op(a, call.argument("dim", -1), call.argument("keepdim", keepdim), **options)


def _argmax(call: RecordedCall) -> Any:
    a = call.tensor("a")
    keepdim = len(call.outputs[0]["shape"]) == len(a.shape)
    return call.op(a, dim=call.argument("dim", -1), keepdim=call.argument("keepdim", keepdim))


def _typecast(call: RecordedCall) -> Any:
    to = call.outputs[0]["dtype"]
    call.arguments("to")  # the output's dtype
    return call.op(call.tensor("a"), getattr(ttnn, to))


# --- data movement -------------------------------------------------------------------------------


def _host(call: RecordedCall) -> Any:
    return ttnn.from_torch(
        call.case.tensor("a"), dtype=getattr(ttnn, call.outputs[0]["dtype"]), layout=LAYOUTS["TILE"]
    )


def _moved(call: RecordedCall) -> Any:
    """The input as it lies on the device: a round trip, or padding that was filled."""
    return call.tensor("a")


def _window(call: RecordedCall) -> Any:
    """The first rows, or the last if the name says so; how many, the output's shape tells."""
    a, shape = call.tensor("a"), call.outputs[0]["shape"]
    if re.search("last|suffix", call.case.name):
        return a[tuple(slice(size - n, size) for size, n in zip(a.shape, shape, strict=True))]
    return a[tuple(slice(0, n) for n in shape)]


def _concat(call: RecordedCall) -> Any:
    return ttnn.concat(call.tensors(), call.argument("dim"))


def _rearranged(call: RecordedCall) -> Any:
    """A counter that is changed in place, or data in another order or shape."""
    a = call.tensor("a")
    moved = call.op(a, *call.arguments("dims", "shape", "begin", "end", "step").values())
    return a if call.case.attributes.get("in_place") else moved


def _transpose(call: RecordedCall) -> Any:
    return call.op(call.tensor("a"), *call.argument("dims"))


def _to_layout(call: RecordedCall) -> Any:
    return call.op(call.tensor("a"), LAYOUTS[call.argument("to")])


def _created(call: RecordedCall) -> Any:
    (out,) = call.outputs
    value = call.arguments("fill_value")
    options = {"dtype": getattr(ttnn, out["dtype"]), "layout": LAYOUTS[out["layout"]]}
    return call.op(out["shape"], **value, **options, device=call.device)


def _embedding(call: RecordedCall) -> Any:
    layout = LAYOUTS[call.argument("layout", call.outputs[0]["layout"])]
    return call.op(call.tensor("ids"), call.tensor("w"), layout=layout)


# --- heads, caches -------------------------------------------------------------------------------


def _heads(call: RecordedCall) -> Any:
    """Heads split or joined.

    Whether keys were transposed is not among every case's attributes, but in their shape.
    """
    options = call.arguments("num_heads", "num_kv_heads", "overlap_qk_coregrid")
    if call.takes("transpose_k_heads"):
        queries, keys = (out["shape"][-2:] for out in call.outputs[:2])
        options["transpose_k_heads"] = call.argument("transpose_k_heads", queries != keys)
    if memory := call.argument("memory_config"):
        options["memory_config"] = getattr(ttnn, f"{memory}_MEMORY_CONFIG")
    sharded = "sharded" in call.case.attributes.get("input_memory", "")
    return call.op(*(call.tensor(name, on_cores=sharded) for name in call.names), **options)


def _cache(call: RecordedCall) -> Any:
    """Two caches, tokens `x` or a prompt `a` into pages or into rows, as the inputs are named."""
    if "cache1" in call.names:
        return _update_caches(call)
    if "x" in call.names:
        return _update_cache(call)
    return _fill_pages(call) if "page_table" in call.names else _fill_cache(call)


def _fill_cache(call: RecordedCall) -> Any:
    """User 1 where none is recorded, as the recorded caches show."""
    cache = call.tensor("cache")
    rows = call.tensor("a", on_cores=bool(call.case.attributes.get("sharded")))
    call.op(cache, rows, call.argument("batch_idx", 1))
    return cache


def _fill_pages(call: RecordedCall) -> Any:
    cache = call.tensor("cache")
    user = call.arguments("batch_idx")
    call.op(cache, call.tensor("a"), call.tensor("page_table"), **user)
    return cache


def _update_cache(call: RecordedCall) -> Any:
    cache = call.tensor("cache")
    where = call.optional(update_idxs_tensor=("pos",), page_table=("page_table",))
    call.op(cache, call.tensor("x", on_cores=True), **where)
    return cache


def _update_cache_of_all(call: RecordedCall) -> Any:
    """One position for all users."""
    cache = call.tensor("cache")
    rows = call.tensor(next(name for name in call.names if name != "cache"))
    where = call.arguments("update_idx", "update_index", "batch_offset")
    call.op(cache, rows, *where.values())
    return cache


def _update_caches(call: RecordedCall) -> Any:
    caches = [call.tensor(name) for name in ("cache1", "cache2")]
    rows = [call.tensor(name, on_cores=True) for name in ("x1", "x2")]
    where = call.optional(update_idxs_tensor=("pos",), page_table=("page_table",))
    call.op(caches[0], rows[0], caches[1], rows[1], **where)
    return caches


# --- attention -----------------------------------------------------------------------------------


def _rotary(call: RecordedCall) -> Any:
    """Of halves, of pairs, or of the pairs of q and k at once: the inputs tell which."""
    if "trans_mat" not in call.names:
        token = call.argument("token_idx")
        tensors = (call.tensor(name) for name in ("a", "cos", "sin"))
        return call.op(*tensors, token, **call.compute())
    return _rotary_pairs(call) if "a" in call.names else call.op(*call.tensors(), **call.compute())


def _rotary_pairs(call: RecordedCall) -> Any:
    decode = call.argument("is_decode_mode", False)
    tensors = []
    for name in ("a", "cos", "sin", "trans_mat"):
        tensors.append(call.tensor(name, on_cores=decode))
        call.reuse_cores()
    return call.op(*tensors, is_decode_mode=decode, **call.compute())


def _attention(call: RecordedCall) -> Any:
    if "start" in call.names:
        return _attention_from(call)
    masks = call.optional(attn_mask=("mask", "attn_mask"))
    causal = call.argument("is_causal", not masks)
    options = call.arguments("scale", "sliding_window_size") | call.chunks() | call.compute()
    return call.op(*map(call.tensor, "qkv"), **masks, is_causal=causal, **options)


def _attention_from(call: RecordedCall) -> Any:
    """The position of the first query was passed as a tensor; `chunk_start` tells it too."""
    if call.argument("chunk_start") != int(call.case.tensor("start")):
        raise NotReplayable(f"{call.case}: chunk_start is not what the tensor start holds.")
    options = call.arguments("scale") | call.chunks() | call.compute()
    q, k, v, pages = (call.tensor(name) for name in ("q", "k", "v", "page_table"))
    return call.op(q, k, v, pages, chunk_start_idx_tensor=call.tensor("start"), **options)


def _attention_decode(call: RecordedCall) -> Any:
    sharded = "sharded" in call.case.attributes.get("input_memory", "")
    more = call.optional(cur_pos_tensor=("pos",), attn_mask=("mask", "attn_mask"))
    tables = [call.tensor(name) for name in call.names if name == "page_table"]
    options = call.arguments("is_causal", "scale", "sliding_window_size")
    options |= call.chunks() | call.compute()
    operands = (call.tensor("q", on_cores=sharded), call.tensor("k"), call.tensor("v"))
    return call.op(*operands, *tables, **more, **options)


ELEMENTWISE = (
    "abs cos erf exp exp2 expm1 gelu hardswish identity leaky_relu log log1p log2 mish neg"
)
ELEMENTWISE += " reciprocal relu relu6 rsqrt selu sign silu sin sinh softplus sqrt square tan tanh"

# Of the ops of these families the inputs tell how they were called.
OF_FAMILY: dict[str, Callable[[RecordedCall], Any]] = {
    "binary": _binary,
    "cache": _cache,
    "data_movement": _rearranged,
    "heads": _heads,
    "matmul": _product,
    "norm": _norm,
    "quant": _typecast,
    "rotary": _rotary,
    "sdpa": _attention,
    "sdpa_decode": _attention_decode,
}

# Any other op -> its call again: one tensor, or several in the order out0, out1, ...
CALLS: dict[str, Callable[[RecordedCall], Any]] = (
    {f"ttnn.{name}": _unary for name in ELEMENTWISE.split()}
    | {f"ttnn.{name}": _reduction for name in ("max", "mean", "min", "sum")}
    | {f"ttnn.{name}": _created for name in ("zeros", "ones", "full")}
    | {f"from_torch {name} (host)": _host for name in DTYPES.values()}
    | {
        "from_torch/to_torch": _moved,
        "ttnn.argmax": _argmax,
        "ttnn.concat": _concat,
        "ttnn.embedding": _embedding,
        "ttnn.fill_implicit_tile_padding": _moved,
        "ttnn.getitem": _window,
        "ttnn.sigmoid": _sigmoid,
        "ttnn.softmax": _softmax,
        "ttnn.swiglu": _swiglu,
        "ttnn.to_layout": _to_layout,
        "ttnn.transpose": _transpose,
        "ttnn.update_cache": _update_cache_of_all,
    }
)
