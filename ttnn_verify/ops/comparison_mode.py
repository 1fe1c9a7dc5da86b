"""TTNN's comparison mode with golden functions for the operations that lack one."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import ttnn

from ttnn_emulator.interpose import Layer, Level
from ttnn_verify.ops import table
from ttnn_verify.ops.spec import OpSpec, called

# What TTNN keeps of an operation's golden. The last is what runs in comparison mode: it is made of
# the operation on its first call there.
OF_GOLDEN = (
    "golden_function",
    "preprocess_golden_function_inputs",
    "postprocess_golden_function_outputs",
    "output_tensor_kwarg_names",
    "_slow_operation",
)

# To functions with the mark TTNN passes the accumulated goldens themselves, and the argument.
IN_PLACE_MARK, IN_PLACE_ARGUMENT = "_ttnn_mutates_global_inputs", "_ttnn_global_golden"


@contextlib.contextmanager
def attached() -> Iterator[dict[Any, Callable[..., Any]]]:
    """Within the block TTNN's operations have the golden functions of `comparison`.

    Yields {operation: golden function}. A comparison of a call with an argument that the golden
    function does not know raises `NoGolden`.
    """
    goldens = {_operation(spec): _golden(spec) for spec in table.ROWS if spec.comparison}
    with Layer("golden functions", Level.STAND_IN) as layer:
        for operation, golden in goldens.items():
            for name in OF_GOLDEN:
                layer.replace(operation, name, getattr(operation, name))
            ttnn.attach_golden_function(operation, golden)
            operation._slow_operation = None
        yield goldens


def writes_in_place(spec: OpSpec) -> bool:
    """Whether an operation writes into an operand, as its golden function for TTNN says."""
    if spec.comparison is None:
        return False
    return IN_PLACE_ARGUMENT in inspect.signature(spec.comparison).parameters


def _operation(spec: OpSpec) -> Any:
    short = spec.names[0]
    return getattr(ttnn.experimental, short, None) or getattr(ttnn, short)


def _golden(spec: OpSpec) -> Callable[..., Any]:
    assert spec.comparison is not None
    function = spec.comparison

    @functools.wraps(function)
    def golden(*args: Any, **kwargs: Any) -> Any:
        return called(spec.names[0], function, *args, **spec.computed_arguments(kwargs))

    if writes_in_place(spec):
        setattr(golden, IN_PLACE_MARK, True)
    return golden
