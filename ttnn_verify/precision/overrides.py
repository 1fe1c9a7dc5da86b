"""Makes a model compute with other formats and compute configs than its own, call by call.

The model is not changed. A call that is known by its weight gets the weight in another format, as
the host packs it, and its compute config with other fields; calls that are known by their cache get
another cache in its place.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ttnn

from ttnn_verify.drift.observation import reading, taps
from ttnn_verify.huggingface.inputs import Undetermined
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.ops import table
from ttnn_verify.precision.configuration import AS_IT_IS, Configuration, PlaceSetting
from ttnn_verify.precision.sites import CACHE, DEFAULTS, Site

# What fills a cache copies tiles as they are, so what it is given has the cache's format; what
# updates one rounds by itself.
FILLS = "fill_cache"


class Unused(Undetermined):
    """A setting met no call: the model computes in a way that taps do not see, as in a trace."""


class Overrides:
    """Settings for the sites of a model on the device.

    It keeps a copy of each weight and cache in each format that was asked for.
    """

    def __init__(self, sites: Iterable[Site]) -> None:
        # the calls of a kind, by a buffer among their operands
        self._by_buffer = {(site.kind, buffer): site for site in sites for buffer in site.buffers}
        self._copies: dict[tuple[int, str], ttnn.Tensor] = {}
        self._reader = reading.Reader()

    @contextlib.contextmanager
    def applied(self, configuration: Configuration) -> Iterator[None]:
        """Within, the model computes with a configuration.

        Raises:
            Unused: a place of the configuration met no call.
        """
        met = set()
        originals: dict[int, ttnn.Tensor] = {}  # by the buffers of their copies

        def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            operands = call.operands
            setting, places = self._setting(call, operands, configuration)
            instead = self._instead(operands, configuration, originals)
            met.update(places | {place for place, _ in instead.values()})
            if setting == AS_IT_IS and not instead:
                return run()
            args, kwargs = self._arguments(call, setting, {b: t for b, (_, t) in instead.items()})
            result = call.operation(*args, **kwargs)
            return _replaced(result, originals)

        with taps.intercept(observe):
            yield
        unused = [place for place in configuration if place not in met]
        if unused:
            raise Unused(
                f"{unused[0]}: the model makes no call for it that can be seen; a model that "
                "executes a trace shows none."
            )

    def _setting(
        self, call: taps.TtnnCall, operands: list[ttnn.Tensor], configuration: Configuration
    ) -> tuple[PlaceSetting, set]:
        """What is asked of the call's compute config, and by which places."""
        kind = table.spec_of(call.name).kind or ""
        found = {
            self._by_buffer[kind, tensor.buffer_unique_id()].place
            for tensor in operands
            if (kind, tensor.buffer_unique_id()) in self._by_buffer
        } & configuration.keys()
        setting = AS_IT_IS
        for place in found:
            setting = configuration[place].over(setting)
        return dataclasses.replace(setting, dtype=None), found

    def _instead(
        self,
        operands: list[ttnn.Tensor],
        configuration: Configuration,
        originals: dict[int, ttnn.Tensor],
    ) -> dict[int, tuple[Any, ttnn.Tensor]]:
        """Buffer of an operand -> its place, and the tensor that is given instead."""
        instead = {}
        for tensor in operands:
            buffer = tensor.buffer_unique_id()
            for kind in ("product", CACHE):
                site = self._by_buffer.get((kind, buffer))
                setting = site and configuration.get(site.place)
                if site and setting and setting.dtype and setting.dtype != site.dtype:
                    copy = self._copy(tensor, setting.dtype)
                    instead[buffer] = site.place, copy
                    originals[copy.buffer_unique_id()] = tensor
        return instead

    def _copy(self, tensor: ttnn.Tensor, dtype: str) -> ttnn.Tensor:
        """A weight or a cache in another format, packed as the host packs."""
        key = tensor.buffer_unique_id(), dtype
        if key not in self._copies:
            copy = ttnn.typecast(tensor, getattr(ttnn, dtype))  # lies where the tensor lies
            self._reader.write(copy, *self._reader.parts(tensor))
            self._copies[key] = copy
        return self._copies[key]

    def _arguments(
        self, call: taps.TtnnCall, setting: PlaceSetting, instead: dict[int, ttnn.Tensor]
    ) -> tuple[tuple, dict[str, Any]]:
        """The call's arguments with other tensors and another compute config."""
        args, kwargs = _replaced(call.args, instead), _replaced(call.kwargs, instead)
        if instead and FILLS in call.name:
            dtype = next(iter(instead.values())).dtype
            args, kwargs = (_in_format(value, dtype) for value in (args, kwargs))
        if setting != AS_IT_IS:
            kwargs = {**kwargs, **_computing(kwargs, setting, table.spec_of(call.name).kind)}
        return args, kwargs


def _replaced(value: Any, instead: dict[int, ttnn.Tensor]) -> Any:
    """Nested arguments or results with other tensors in the place of some on the device."""
    if isinstance(value, ttnn.Tensor):
        on_device = value.storage_type() == ttnn.StorageType.DEVICE
        return instead.get(value.buffer_unique_id(), value) if on_device else value
    if isinstance(value, dict):
        return {name: _replaced(one, instead) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and taps.device_tensors(value):
        return type(value)(_replaced(one, instead) for one in value)
    return value


def _in_format(value: Any, dtype: ttnn.DataType) -> Any:
    """Nested arguments with all values on the device in a format."""
    if isinstance(value, ttnn.Tensor):
        whole = value.dtype in (ttnn.int32, ttnn.uint32, ttnn.uint16, dtype)
        return value if whole else ttnn.typecast(value, dtype)
    if isinstance(value, dict):
        return {name: _in_format(one, dtype) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and taps.device_tensors(value):
        return type(value)(_in_format(one, dtype) for one in value)
    return value


def _computing(kwargs: dict[str, Any], setting: PlaceSetting, kind: str | None) -> dict[str, Any]:
    """The keywords that say how a call computes, with a setting's fields."""
    changed = {}
    if setting.fidelity is not None or setting.fp32_dest_acc is not None:
        changed["compute_kernel_config"] = _compute_config(
            kwargs.get("compute_kernel_config"), setting, kind
        )
    program = kwargs.get("program_config")
    if setting.exact_exp is not None and program is not None:
        changed["program_config"] = _with_exp(program, setting.exact_exp)
    return changed


def _compute_config(given: Any, setting: PlaceSetting, kind: str | None) -> Any:
    """A compute config with a setting's fields; 16-bit sums, where asked for, add up in L1."""
    default = DEFAULTS.get(kind or "", ComputeConfig())
    fidelity = setting.fidelity or (given.math_fidelity.name if given else default.fidelity)
    sums = setting.fp32_dest_acc
    same = sums is None
    if same:
        sums = given.fp32_dest_acc_en if given else default.fp32_dest_acc
    in_l1 = (given.packer_l1_acc if given else default.packer_l1_acc) if same else not sums
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=getattr(ttnn.MathFidelity, fidelity),
        math_approx_mode=given.math_approx_mode if given else False,
        fp32_dest_acc_en=sums,
        packer_l1_acc=in_l1,
    )


def _with_exp(program: Any, exact: bool) -> Any:
    """An attention's program config with another exponential."""
    names = [name for name in dir(program) if not name.startswith("_")]
    given = {name: getattr(program, name) for name in names}
    return ttnn.SDPAProgramConfig(**given | {"exp_approx_mode": not exact})
