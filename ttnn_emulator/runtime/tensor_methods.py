"""Methods of ttnn.Tensor on the emulated device that read, move or lend storage themselves."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import ttnn

from ttnn_emulator.described_tensors import on_device
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.memory import Memory
from ttnn_emulator.runtime import transfer

Method = Callable[..., Any]  # arguments and result are those of the method of its name

# Methods that read a device's buffer on the way to the host.
READING = ("to_list", "to_numpy", "item", "__repr__")

# Formats of which to_torch returns what a buffer holds, as it holds it.
AS_KEPT = (ttnn.bfloat16, ttnn.float32)

# Methods that work on host storage alone, where a mock device's zeros would pass for contents.
HOST_ONLY = ("host_buffer", "extract_shard", "unpad", "pad_to_tile", "unpad_from_tile", "pad")


class TensorMethods:
    """Makes the emulated methods from TTNN's own, which still serve tensors on the host."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def replacements(self) -> dict[str, Method]:
        """name -> the method that takes the place of ttnn.Tensor's."""
        makers = dict.fromkeys(READING, self._reading)
        makers |= dict.fromkeys(HOST_ONLY, _host_only)
        makers |= {
            "to_torch": self._to_torch,
            "to_torch_with_padded_shape": self._to_torch_with_padded_shape,
            "cpu": self._cpu,
            "to": self._to,
            "reshape": _reshape,
        }
        return {name: make(getattr(ttnn.Tensor, name)) for name, make in makers.items()}

    def _reading(self, genuine: Method) -> Method:
        def read(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> Any:
            if on_device(tensor):
                # not by attribute, which would find the emulated method again
                return genuine(transfer.to_host(self._memory, tensor), *args, **kwargs)
            return genuine(tensor, *args, **kwargs)

        return read

    def _to_torch(self, genuine: Method) -> Method:
        by_way_of_the_host = self._reading(genuine)

        def to_torch(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if args or kwargs or not on_device(tensor) or tensor.dtype not in AS_KEPT:
                return by_way_of_the_host(tensor, *args, **kwargs)
            self._memory.refuse_in_capture("Reads are not supported")
            return self._memory.read(tensor).logical.clone(memory_format=torch.contiguous_format)

        return to_torch

    def _to_torch_with_padded_shape(self, genuine: Method) -> Method:
        def to_torch_with_padded_shape(tensor: ttnn.Tensor) -> torch.Tensor:
            if not on_device(tensor):
                return genuine(tensor)
            self._memory.refuse_in_capture("Reads are not supported")
            return self._memory.read(tensor).data.clone()

        return to_torch_with_padded_shape

    def _cpu(self, genuine: Method) -> Method:
        def cpu(tensor: ttnn.Tensor, blocking: bool = True, cq_id: int | None = None) -> Any:
            # no genuine read, see `transfer`
            return transfer.to_host(self._memory, tensor) if on_device(tensor) else genuine(tensor)

        return cpu

    def _to(self, genuine: Method) -> Method:
        def to(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> ttnn.Tensor:
            layout = _layout((*args, *kwargs.values()))
            if on_device(tensor) and layout:
                return ttnn.to_layout(tensor, layout)
            result = genuine(tensor, *args, **kwargs)
            if on_device(result) and not on_device(tensor):
                transfer.to_device(self._memory, tensor, result)
            return result

        return to


def _host_only(genuine: Method) -> Method:
    def refuse(tensor: ttnn.Tensor, *args: Any, **kwargs: Any) -> Any:
        if on_device(tensor):
            raise NotEmulated(
                f"ttnn.Tensor.{genuine.__name__} reads host storage; call it on tensor.cpu()."
            )
        return genuine(tensor, *args, **kwargs)

    return refuse


def _reshape(genuine: Method) -> Method:
    def reshape(tensor: ttnn.Tensor, *shape: Any) -> ttnn.Tensor:
        if on_device(tensor):
            return ttnn.reshape(tensor, shape[0] if len(shape) == 1 else shape)
        return genuine(tensor, *shape)

    return reshape


def _layout(values: Iterable[Any]) -> ttnn.Layout | None:
    return next((value for value in values if isinstance(value, ttnn.Layout)), None)
