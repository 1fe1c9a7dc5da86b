"""Models that compute in float32 and keep their weights in the dtype that they are stored in.

Each module's own weights are cast for as long as its forward runs, so that one module's are in
memory beside the stored ones, or alone where these are pages of a file. Exact: float32 has every
value of bfloat16 and float16. What a module computes from another one's weights is not cast.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ttnn_verify.weights import mapped

_MARK = "_computes_in_float32"  # of a model for which it was installed


def install(model: torch.nn.Module, again: Callable[[], torch.nn.Module]) -> None:
    """Let a model of any dtype compute in float32 from now on; its weights stay as they are.

    Args:
        again: makes the same model in float32, with whatever weights, for the buffers that a model
            computes from its configuration: those of a narrower one are rounded.
    """
    _widen_buffers(model, again)
    _wrap(model)
    setattr(model, _MARK, True)


@contextlib.contextmanager
def in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Within, a model of any dtype computes in float32."""
    with _wrap(model):
        yield


def dtype_of(model: Any) -> torch.dtype:
    """What a model of transformers computes in."""
    return torch.float32 if getattr(model, _MARK, False) else model.dtype


def _widen_buffers(model: torch.nn.Module, again: Callable[[], torch.nn.Module]) -> None:
    narrow = {name: buffer for name, buffer in model.named_buffers() if _is_narrow(buffer)}
    if not narrow:
        return
    stored = model.state_dict().keys()
    with _no_weights():
        computed = dict(again().named_buffers())
    for name, buffer in narrow.items():
        place, _, short = name.rpartition(".")
        wide = buffer.float() if name in stored else computed[name]
        model.get_submodule(place)._buffers[short] = wide


@contextlib.contextmanager
def _no_weights() -> Iterator[None]:
    """Within, modules are made whose parameters have no values, and whose buffers do."""
    own = torch.nn.Module.register_parameter

    def register(module: Any, name: str, parameter: torch.nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = torch.nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        own(module, name, parameter)

    torch.nn.Module.register_parameter = register  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = own  # type: ignore[method-assign]


def _is_narrow(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float32


def _wrap(model: torch.nn.Module) -> contextlib.ExitStack:
    """Wrap what casts; closing the result undoes it.

    The forward itself, not hooks: what calls it directly is cast, too, whatever hooks there are.
    """
    undo = contextlib.ExitStack()
    for module in model.modules():
        if not _narrow(module):
            continue
        own = vars(module).get("forward")
        function = getattr(module.forward, "__func__", None) or _without_self(module.forward)
        vars(module)["forward"] = types.MethodType(_casting(function), module)
        undo.callback(_unwrap, module, own)
    return undo


def _unwrap(module: torch.nn.Module, own: Any) -> None:
    if own is None:
        vars(module).pop("forward", None)
    else:
        vars(module)["forward"] = own


def _without_self(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function that somebody has put in a method's place, as a method."""

    @functools.wraps(forward)
    def function(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return function


def _narrow(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """A module's own weights of another floating dtype."""
    return [parameter for parameter in module.parameters(recurse=False) if _is_narrow(parameter)]


def _casting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def casting(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():  # nobody who watches the model sees this
            stored = {parameter: parameter.data for parameter in _narrow(module)}
            for parameter, data in stored.items():
                parameter.data = data.float()
        try:
            return function(module, *args, **kwargs)
        finally:
            with torch._C.DisableTorchFunction():
                for parameter, data in stored.items():
                    parameter.data = data
                mapped.release(stored.values())

    return casting
