"""Ways to break a part of the system while a `with` block lasts, and what a fault is."""

import contextlib
import dataclasses
import types
from collections.abc import Callable
from unittest import mock

import torch
import ttnn

import model.optimized.positions
import model.weights
import ttnn_emulator
from model import functional
from model.optimized import cache, phi3, rope
from tests.support.checkpoint import STAGES
from ttnn_emulator.memory import Contents

TIERS = ("ops", "layers", "e2e")  # lowest first


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that is wrong, as a bring-up may have it.

    Attributes:
        name: what is wrong, in a few words.
        tier: the lowest of `TIERS` that can see it.
        inject: makes a context manager in which it is wrong.
        ops: names in `tests.ops.table`: of the operation that is wrong, or that is used wrongly.
        sample: a part of the id of the sample that sees it, which saves running the others first.
        arithmetic: "kernel" for faults in how a kernel rounds, which "rounded" does not model.
        place: (operation, layer) that drift must name in the whole model, by the end of its name:
            the operation that is used wrongly first or, where a call is missing, the kind of
            operation that is missed. None where it is one of `ops`, in whatever layer.
        unseen: why drift does not see it though it changes bits.
        stage: of the bring-up, into whose code it is injected; None for what both stages use: the
            device, and the calls and modules that they share.
    """

    name: str
    tier: str
    inject: Callable[[], contextlib.AbstractContextManager]
    ops: tuple[str, ...] = ()
    sample: str = ""
    arithmetic: str = "rounded"
    place: tuple[str, int | None] | None = None
    unseen: str = ""
    stage: str | None = None

    @property
    def id(self):
        return self.name.replace(" ", "-").replace("'", "")

    @property
    def stages(self):
        """Those that have it."""
        return STAGES if self.stage is None else (self.stage,)


def in_layers(name, inject, *ops, **more):
    """A fault in how a layer is put together: every operation is right, and it is the wrong one."""
    return Fault(name, "layers", inject, ops, **more)


def in_model(name, inject, *ops, **more):
    """A fault in how the model is put together of layers that are right by themselves."""
    return Fault(name, "e2e", inject, ops, **more)


def of_stage(stage, faults):
    """Faults in the code of one stage of the bring-up."""
    return [dataclasses.replace(fault, stage=stage) for fault in faults]


# --- the device ----------------------------------------------------------------------------------


def kernels(names, change):
    """Kernels that are wrong: `change` makes each from the operation's own.

    Args:
        names: full names of operations, or one.
        change: `change(kernel)` returns the other `kernel(launch, *args, **kwargs)`.
    """

    @contextlib.contextmanager
    def injected():
        with contextlib.ExitStack() as stack:
            for name in [names] if isinstance(names, str) else names:
                stack.enter_context(ttnn_emulator.binding_replaced(name, change))
            yield

    return injected


def arithmetic(function, change):
    """A `change` for `kernels`: they find another function in the arithmetic.

    Args:
        function: its name, such as "matmul".
        change: `change(own)` returns the other one.
    """

    def of(kernel):
        def faulty(launch, *args, **kwargs):
            own = vars(launch.math)
            math = types.SimpleNamespace(**{**own, function: change(own[function])})
            return kernel(dataclasses.replace(launch, math=math), *args, **kwargs)

        return faulty

    return of


def argument(name, change):
    """A change of a function: its keyword `name` becomes `change(value)`; value None if unset."""

    def of(function):
        def faulty(*args, **kwargs):
            return function(*args, **{**kwargs, name: change(kwargs.get(name))})

        return faulty

    return of


def nothing(value):
    """In place of an argument that is forgotten: None."""


def first_operand(change):
    """A change of a kernel: its first operand holds `change(contents)`, of the padded shape."""

    def of(kernel):
        def faulty(launch, operand, *args, **kwargs):
            return kernel(launch, holding(operand, change(operand.data)), *args, **kwargs)

        return faulty

    return of


def result(change):
    """A change of a function: it returns `change(result)`."""

    def of(function):
        def faulty(*args, **kwargs):
            return change(function(*args, **kwargs))

        return faulty

    return of


def positions(keyword, change):
    """A change of a kernel that works at users' positions: `change(positions [B], C)` of those."""

    def of(kernel):
        def faulty(launch, first, second, *rest, **kwargs):
            own = kwargs[keyword]
            # attention has the caches second, an update first
            length = (second if keyword == "cur_pos_tensor" else first).shape[-2]
            moved = torch.where(own.data >= 0, change(own.data, length), own.data)
            kwargs[keyword] = holding(own, moved.to(own.data.dtype))
            return kernel(launch, first, second, *rest, **kwargs)

        return faulty

    return of


def holding(operand, contents):
    """A `DeviceTensor` as `operand` with other contents, of its padded shape."""
    return dataclasses.replace(
        operand, contents=Contents(contents.contiguous(), operand.padded_shape)
    )


# --- the model -----------------------------------------------------------------------------------

# Those that call TTNN.
MODULES = (
    cache,
    phi3,
    model.optimized.positions,
    rope,
    functional,
    model.weights,
)


def calls(path, change):
    """Calls that the model makes, and nobody else: `change(function)` in place of `ttnn.<path>`."""

    @contextlib.contextmanager
    def injected():
        # One function for all modules and calls: a change may count them.
        other = _Other(ttnn, path.split("."), change)
        with contextlib.ExitStack() as stack:
            for module in MODULES:
                stack.enter_context(mock.patch.object(module, "ttnn", other))
            yield

    return injected


class _Other:
    """A module in which the function at `path` is another one."""

    def __init__(self, module, path, change):
        name, *rest = path
        own = getattr(module, name)
        self._module = module
        setattr(self, name, _Other(own, rest, change) if rest else change(own))

    def __getattr__(self, name):
        return getattr(self._module, name)


def part(owner, name, change):
    """A function of the model, or a method of one of its classes, that is wrong.

    Args:
        owner: the module or class.
        change: `change(own)` returns the other function.
    """

    def injected():
        return mock.patch.object(owner, name, change(getattr(owner, name)))

    return injected


def host(tensor):
    """A device tensor's contents as a torch tensor, for faults that are made on the host."""
    return ttnn.to_torch(tensor)


def ints(values, device):
    """int32 values on the device, row-major as the kernels want positions."""
    return ttnn.from_torch(values.to(torch.int32), device=device)
