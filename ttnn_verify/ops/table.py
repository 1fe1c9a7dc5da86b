"""All operations that comparing knows, by their short names."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops import attention, eltwise, heads, kv_caches, movement, products, rotary
from ttnn_verify.ops.along import looking_up, picking, reducing, scanning
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden, compute_of
from ttnn_verify.ops.mesh import collectives, spread_norms
from ttnn_verify.ops.spec import PLACEMENT, PRECISION, OpSpec
from ttnn_verify.ops.special import (
    binary_functions,
    channel_norms,
    complex_values,
    eltwise_pairs,
    latent_attention,
    other_products,
    quantizing,
    routing,
    state_space,
    unary_functions,
)

MODULES = (
    *(attention, collectives, eltwise, eltwise_pairs, heads, kv_caches, latent_attention),
    *(movement, other_products, picking, products, rotary, scanning, spread_norms),
    *(binary_functions, channel_norms, complex_values, looking_up, quantizing, reducing),
    *(routing, state_space, unary_functions),
)

ROWS: tuple[OpSpec, ...] = tuple(spec for family in MODULES for spec in family.SPECS)

SPECS = {name: spec for spec in ROWS for name in spec.names}

# Families of operations that compute: attribution makes each exact in turn to see what it costs.
FAMILIES: dict[str, frozenset[str]] = {
    family: frozenset(name for name, spec in SPECS.items() if spec.family == family)
    for family in ("products", "norms", "rotary", "attention", "elementwise")
}


def short_name(name: str) -> str:
    """The operation's name without TTNN's modules: "linear" of "ttnn.linear"."""
    return name.rpartition(".")[2]


def spec_of(name: str) -> OpSpec:
    """The row of an operation, by its short or its full name; of an unknown one an empty row."""
    short = short_name(name)
    return SPECS.get(short) or OpSpec((short,))


def expected_results(
    name: str, operation: Any, context: CallContext, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Expected]:
    """What a call is expected to return, or to write into each cache that it writes.

    Args:
        operation: TTNN's object, whose own golden function is asked where the row has none.
        args, kwargs: the call's own, with torch tensors for tensors (float32; integers int64).

    Raises:
        NoGolden: nothing is known of the operation or of an argument.
        Exception: whatever a golden function raises.
    """
    spec = spec_of(name)
    if spec.golden_of(kwargs) is not None:
        return spec.results(context, args, kwargs)
    return _by_ttnns_golden(operation, context, short_name(name), args, kwargs)


def _by_ttnns_golden(
    operation: Any, context: CallContext, short: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Expected]:
    try:
        golden = operation.golden_function
    except RuntimeError:
        golden = None
    if golden is None:
        raise NoGolden(f"{short} has no golden function, here or in TTNN.")
    compute = compute_of(kwargs.get("compute_kernel_config"))
    if compute is not None and not compute.fp32_dest_acc:
        raise NoGolden(f"how exactly {short} is with sums of 16 bits is not known.")
    kwargs = {n: v for n, v in kwargs.items() if n not in PLACEMENT and n not in PRECISION}
    _check_arguments(golden, short, args, kwargs)
    results = golden(*args, **kwargs)
    results = results if isinstance(results, (list, tuple)) else [results]
    # Nothing is known but the output rounding; allow the same once more for a vector function.
    return [_rounded_twice(one, out) for one, out in zip(results, context.dtypes, strict=True)]


def _rounded_twice(value: torch.Tensor, out: str) -> Expected:
    return Expected(
        value.double(),
        lambda: op_floors.chain(*[op_floors.output(value.double(), out)] * 2),
    )


def _check_arguments(
    golden: Any, short: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Refuse what TTNN's golden functions take by *args and **kwargs and do not look at."""
    parameters = inspect.signature(golden).parameters.values()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    unknown = sorted(set(kwargs) - names)
    if unknown:
        raise NoGolden(f"TTNN's golden function of {short} does not know {unknown[0]!r}.")
    if len(args) > len(by_place):
        raise NoGolden(f"TTNN's golden function of {short} knows {len(by_place)} arguments alone.")
