"""Host calls that TTNN makes on a card and that end the process on its mock device.

The mock device dies of a program for some chips of a mesh, of a manager of sub-devices, and of
waiting for an event. Here TTNN checks and plans such a call as ever, and does not start it.
"""

from collections.abc import Callable
from typing import Any

import ttnn

# Operations with a program for some chips of a mesh, whatever their arguments.
FOR_SOME_CHIPS = frozenset({"ttnn.point_to_point"})


class SeveralSubDevices(NotImplementedError):
    """Cores were divided among several sub-devices, which the mock device does not."""


def of_some_chips(host_call: Callable[..., Any]) -> Callable[..., Any]:
    """The host call of an operation of `FOR_SOME_CHIPS`: checked, planned and allocated alone."""

    def planned(*args: Any, output_tensor: ttnn.Tensor | None = None, **kwargs: Any) -> Any:
        device = args[0].device() if args else kwargs["input_tensor"].device()
        if device.get_num_devices() <= 2:
            return host_call(*args, output_tensor=output_tensor, **kwargs)
        ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NO_DISPATCH)
        try:
            result = host_call(*args, output_tensor=output_tensor, **kwargs)
            spec, topology = result.spec, result.tensor_topology()
            del result  # its buffer is none, and may not be freed as one
        finally:
            ttnn.graph.end_graph_capture()
        if output_tensor is not None:
            return output_tensor
        allocated = ttnn.allocate_tensor_on_device(spec, device)
        allocated.update_tensor_topology(topology)
        return allocated

    return planned


class SubDevices:
    """What `ttnn.MeshDevice` does with managers of sub-devices: one sub-device is all there is."""

    def __init__(self) -> None:
        self._counts: dict[Any, int] = {}  # manager -> number of its sub-devices

    def replacements(self) -> dict[str, Callable[..., Any]]:
        """Method of `ttnn.MeshDevice` -> the one in its place."""
        create = ttnn.MeshDevice.create_sub_device_manager

        def create_sub_device_manager(
            device: Any, sub_devices: Any, *args: Any, **named: Any
        ) -> Any:
            manager = create(device, sub_devices, *args, **named)
            self._counts[manager] = len(sub_devices)
            return manager

        def load_sub_device_manager(device: Any, manager: Any) -> None:
            if self._counts.get(manager, 1) > 1:
                raise SeveralSubDevices(
                    f"a manager of {self._counts[manager]} sub-devices: one is emulated, on which "
                    "all operations run."
                )

        def clear_loaded_sub_device_manager(device: Any) -> None:
            """Nothing was loaded."""

        return {
            function.__name__: function
            for function in (
                create_sub_device_manager,
                load_sub_device_manager,
                clear_loaded_sub_device_manager,
            )
        }


def wait_for_event(cq_id: int | None = None, mesh_event: ttnn.MeshEvent | None = None) -> None:
    """Nothing is waited for: a call has its results when it returns, on whichever queue.

    Raises:
        TypeError: no event.
    """
    event_synchronize(mesh_event)


def event_synchronize(mesh_event: ttnn.MeshEvent | None) -> None:
    """As `wait_for_event`, for the host."""
    if not isinstance(mesh_event, ttnn.MeshEvent):
        raise TypeError(f"{mesh_event!r} is no ttnn.MeshEvent.")


# Function of ttnn -> the one in its place.
WAITING: dict[str, Callable[..., None]] = {
    "event_synchronize": event_synchronize,
    "wait_for_event": wait_for_event,
}
