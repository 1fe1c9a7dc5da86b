"""Traces: the operations of a capture, computed again each time the trace is executed.

TTNN's mock device crashes with a segmentation fault at the first operation of a real capture. So a
capture is ended as soon as it has begun, which gives a real trace id and makes TTNN mark later
allocations as unsafe; the emulation records what follows. As on the device, a capture computes
nothing: its results are undefined until the trace is executed.

What TTNN refuses during a capture is refused here in its words (they are in its libtt_metal.so):
reads, writes, and programs that were not compiled before.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import ttnn

from ttnn_emulator import chips
from ttnn_emulator.bound_call import BoundCall
from ttnn_emulator.described_tensors import Key, Place, dtype_name, key_of
from ttnn_emulator.memory import Contents, DeviceTensor, Memory, Replicas
from ttnn_emulator.ops.common.padding import undefined

# These create their contents on the host: TTNN's graph shows Tensor::to_device and no program.
WRITTEN_BY_HOST = frozenset({"ttnn.arange", "ttnn.full", "ttnn.ones", "ttnn.zeros"})

# (buffer type, first address, address after the last) of a buffer in each bank
Span = tuple[ttnn.BufferType, int, int]


class Trace:
    """The calls of one capture and where they write; `number` is TTNN's id of the trace."""

    def __init__(self, memory: Memory, device: ttnn.MeshDevice, number: int) -> None:
        self.number = number
        self._calls: list[tuple[BoundCall, tuple[Key, ...]]] = []  # with keys of what it returns
        self._memory, self._device = memory, device
        self._programs = device.num_program_cache_entries()
        self._spans: set[Span] = set()  # where it writes

    def record(self, call: BoundCall, tensors: Sequence[ttnn.Tensor]) -> None:
        """Keep a call whose host side has run and returned these tensors.

        Raises:
            RuntimeError: it had to compile, or the host wrote its result.
        """
        if call.launch.name in WRITTEN_BY_HOST:
            self._memory.refuse_in_capture(f"{call.launch.name}: writes are not supported")
        if self._device.num_program_cache_entries() > self._programs:
            self._memory.refuse_in_capture(
                f"{call.launch.name} was not called with such operands before: cannot load new "
                "binaries"
            )
        for tensor in tensors:
            if tensor not in self._memory:
                dtype = dtype_name(tensor.dtype)
                self._memory.write(tensor, undefined(tuple(tensor.padded_shape), dtype))
        keys = tuple(map(key_of, tensors))
        places = {place for place, _ in keys}
        self._spans |= {span for place, span in _spans(self._device) if place in places}
        self._calls.append((call, keys))

    def execute(self) -> None:
        """Compute all calls with what their operands hold now.

        Results whose buffers were freed during the capture are dropped afterwards. Other buffers
        where the trace writes were allocated later; their contents become undefined.

        Raises:
            RuntimeError: an operand from before the capture has been freed.
        """
        results: dict[Key, Replicas] = {}

        def current(tensor: DeviceTensor) -> DeviceTensor:
            replicas = results.get(tensor.key) or self._memory.contents(tensor.key)
            if replicas is None:
                raise RuntimeError(
                    f"A trace reads a {tensor.dtype} tensor {tensor.shape} that was freed after "
                    "the capture."
                )
            return dataclasses.replace(tensor, contents=replicas[0], replicas=replicas)

        def own(key: Key, replicas: Replicas) -> None:
            if key in results:
                results[key] = replicas
            else:
                self._memory.replace(key, replicas)

        for call, keys in self._calls:
            operands, named = chips.mapped((call.operands, call.named), current)
            now = dataclasses.replace(call, operands=operands, named=named)
            stored = now.results(self._memory.settings.journal, own)
            pairs = zip(keys, stored, strict=True)
            results |= {key: replicas for key, replicas in pairs if replicas is not None}
        self._memory.sweep(self._device)
        self._overwrite({key for _, keys in self._calls for key in keys})
        for key, replicas in results.items():
            if self._memory.contents(key) is not None:
                self._memory.replace(key, replicas)

    def _overwrite(self, own: set[Key]) -> None:
        for place, (kind, first, end) in _spans(self._device):
            key = self._memory.key_at(place)
            if key is None or key in own:
                continue
            if any(k == kind and first < e and f < end for k, f, e in self._spans):
                replicas = self._memory.contents(key)
                assert replicas is not None  # `key_at` has found it
                old = replicas[0].padded
                dtype = str(old.dtype).removeprefix("torch.")
                marked = undefined(tuple(old.shape), dtype).to(old.dtype)
                contents = Contents(marked, marked.shape)
                self._memory.replace(key, (contents,) * len(replicas))


class Traces:
    """What TTNN's functions for traces do on the emulated device: the methods of their names."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._genuine = {name: getattr(ttnn, name) for name in FUNCTIONS}
        self._traces: dict[int, Trace] = {}

    def begin_trace_capture(
        self, mesh_device: ttnn.MeshDevice, *, cq_id: int | None = None
    ) -> ttnn.MeshTraceId:
        """Begin to record; TTNN's id of the trace."""
        if self._memory.recording is not None:
            raise RuntimeError("A trace is being captured already; end that capture first.")
        trace_id = self._genuine["begin_trace_capture"](mesh_device, cq_id=cq_id)
        self._genuine["end_trace_capture"](mesh_device, trace_id, cq_id=cq_id)
        self._memory.recording = Trace(self._memory, mesh_device, int(trace_id))
        return trace_id

    def end_trace_capture(
        self,
        mesh_device: ttnn.MeshDevice,
        trace_id: ttnn.MeshTraceId,
        *,
        cq_id: int | None = None,
    ) -> None:
        """End the capture that `begin_trace_capture` has begun."""
        trace = self._memory.recording
        if trace is None or int(trace_id) != trace.number:
            raise RuntimeError(f"Trace {int(trace_id)} is not being captured.")
        self._traces[trace.number] = trace
        self._memory.recording = None

    def execute_trace(
        self,
        mesh_device: ttnn.MeshDevice,
        trace_id: ttnn.MeshTraceId,
        *,
        cq_id: int | None = None,
        blocking: bool = True,
    ) -> None:
        """Compute the trace's calls, at once whatever `blocking` says."""
        if self._memory.recording is not None:
            raise RuntimeError("A trace cannot be executed while one is being captured.")
        if int(trace_id) not in self._traces:
            raise RuntimeError(f"There is no trace {int(trace_id)}: not captured, or released.")
        self._traces[int(trace_id)].execute()

    def release_trace(self, mesh_device: ttnn.MeshDevice, trace_id: ttnn.MeshTraceId) -> None:
        """Forget the trace."""
        self._traces.pop(int(trace_id), None)
        self._genuine["release_trace"](mesh_device, trace_id)

    def is_trace_capture_active(self, mesh_device: ttnn.MeshDevice) -> bool:
        """Whether a trace is being captured."""
        return self._memory.recording is not None

    def clear(self) -> None:
        """Forget all traces, as when the device closes."""
        self._traces.clear()


FUNCTIONS = (
    "begin_trace_capture",
    "end_trace_capture",
    "execute_trace",
    "release_trace",
    "is_trace_capture_active",
)


def _spans(device: ttnn.MeshDevice) -> Iterator[tuple[Place, Span]]:
    """(place, (buffer type, first address, address after the last)) of a device's live buffers."""
    number = device.id()
    for buffer in ttnn._ttnn.reports.get_buffers(device):
        end = buffer.address + buffer.max_size_per_bank
        yield (
            (number, buffer.buffer_type, buffer.address),
            (buffer.buffer_type, buffer.address, end),
        )
