"""The inputs and arguments of one recorded call, for the call to be made again."""

import ast
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import ttnn

from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.fidelity.recordings import Case
from ttnn_emulator.ops import BINDINGS

LAYOUTS = {"TILE": ttnn.TILE_LAYOUT, "ROW_MAJOR": ttnn.ROW_MAJOR_LAYOUT}
DTYPES = {"bf16": "bfloat16", "bf8": "bfloat8_b", "bf4": "bfloat4_b", "f32": "float32"}
PADDING = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}

# Attributes that tell about the inputs or the run what the tensors or the op itself tell too.
REMARKS = {
    *("a_dtype", "b_dtype", "w_dtype", "kv_dtype", "dtype", "frm", "weight_layout"),
    *("cache_rows", "in_place", "input_memory", "input_padding", "memory", "note", "padded_input"),
    *("residual", "sharded", "special"),
}


def _is_one(digit: str) -> bool:
    return digit == "1"


# Arguments that only some recordings have in their attributes; the others have them in the name.
NAMED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "fast_and_approximate_mode": (r"_(fast)(?=_|$)", lambda _: True),
    "numeric_stable": (r"_(f)$", lambda _: False),
    "q_chunk_size": (r"_q(\d+)k\d+(?=_|$)", int),
    "k_chunk_size": (r"_q\d+k(\d+)(?=_|$)", int),
    "exp_approx_mode": (r"_ea([01])(?=_|$)", _is_one),
    "math_fidelity": (r"_(LoFi|HiFi[234])(?=_|$)", str),
    "fp32_dest_acc_en": (r"_fp32([01])(?=_|$)", _is_one),
    "math_approx_mode": (r"_ap([01])(?=_|$)", _is_one),
    "packer_l1_acc": (r"_(l1acc)(?=_|$)", lambda _: True),
}

# What the recordings passed where a configuration is given and says nothing about these.
COMPUTE = {"fp32_dest_acc_en": False, "packer_l1_acc": False, "math_approx_mode": False}


class NotReplayable(ValueError):
    """A recorded call that cannot be made again as it is recorded."""


def _opened(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes with those of a recorded configuration, a dict or its text, among them."""
    opened: dict[str, Any] = {}
    for name, value in attributes.items():
        if name not in ("program_config", "compute_kernel_config"):
            opened[name] = value
        elif isinstance(value, dict):
            opened |= value
        else:  # of no configuration the text is "None"
            opened |= {k: _number(v) for k, v in re.findall(r"(\w+)=(?:\w+\.)?(\w+)", str(value))}
    return opened


def _number(text: str) -> Any:
    return ast.literal_eval(text) if text[0].isdigit() or text in ("True", "False") else text


class RecordedCall:
    """The inputs and arguments of one recorded call."""

    def __init__(self, case: Case, device: ttnn.MeshDevice) -> None:
        self.case = case
        self.device = device
        self.names = [n for n, t in case.tensors.items() if t["role"] == "input"]
        self.outputs = [t for t in case.tensors.values() if t["role"] == "output"]
        self._unused = {k: v for k, v in _opened(case.attributes).items() if k not in REMARKS}
        self._next_core = 0

    @property
    def op(self) -> Callable[..., Any]:
        """The operation that was recorded."""
        try:
            return functools.reduce(getattr, self.case.op.split(".")[1:], ttnn)
        except AttributeError:
            raise NotReplayable(f"{self.case}: ttnn has no operation {self.case.op}.") from None

    def takes(self, name: str) -> bool:
        """Whether the operation's binding has an argument."""
        return name in inspect.signature(BINDINGS[self.case.op]).parameters

    def argument(self, name: str, default: Any = None) -> Any:
        """What was recorded for an argument, in the attributes or in the case's name."""
        if name in self._unused:
            return self._unused.pop(name)
        if name in NAMED:
            pattern, value = NAMED[name]
            if match := re.search(pattern, self.case.name):
                return value(match[1])
        return default

    def arguments(self, *names: str) -> dict[str, Any]:
        """Those of the named arguments that were recorded."""
        values = ((name, self.argument(name)) for name in names)
        return {name: value for name, value in values if value is not None}

    def finish(self) -> None:
        """Raises `NotReplayable` if an attribute was not asked for."""
        if self._unused:
            raise NotReplayable(
                f"{self.case}: the call of {self.case.op} does not know the attributes "
                f"{self._unused}; add them to it in ttnn_emulator/fidelity/replay.py."
            )

    def tensor(self, name: str, on_cores: bool = False) -> ttnn.Tensor:
        """A recorded input on the device; `on_cores`: height sharded in L1, 32 rows to a core."""
        entry, values = self.case.tensors[name], self.case.tensor(name)
        dtype = getattr(ttnn, entry.get("dtype") or "int32")
        layout = LAYOUTS.get(entry.get("layout", ""), ttnn.ROW_MAJOR_LAYOUT)
        memory = ttnn.DRAM_MEMORY_CONFIG
        if "cores" in entry:
            memory = self._sharded(values.shape, **entry["cores"])
        elif on_cores or "HEIGHT_SHARDED" in (entry.get("memory") or ""):
            memory = self._sharded(values.shape)
        elif (entry.get("memory") or "").endswith("L1"):
            memory = ttnn.L1_MEMORY_CONFIG
        tensor = ttnn.from_torch(
            values, dtype=dtype, layout=layout, device=self.device, memory_config=memory
        )
        filling = self.case.attributes.get("input_padding")
        padded = self.case.attributes.get("padded_input", name) in (name, "both", "all")
        if filling is None or not padded or list(tensor.shape) == list(tensor.padded_shape):
            return tensor
        filling = str(filling)
        return ttnn.fill_implicit_tile_padding(tensor, PADDING.get(filling) or float(filling))

    def tensors(self) -> list[ttnn.Tensor]:
        """All inputs on the device, in recorded order."""
        return [self.tensor(name) for name in self.names]

    def optional(self, **names: tuple[str, ...]) -> dict[str, ttnn.Tensor]:
        """argument -> tensor, for each input that was recorded by one of the argument's names."""
        return {
            argument: self.tensor(name)
            for argument, recorded_as in names.items()
            for name in recorded_as
            if name in self.names
        }

    def compute(self) -> dict[str, Any]:
        """The compute kernel configuration as keyword arguments: none is TTNN's own."""
        config = self.argument("config")
        if config in (None, "None", "default"):
            fields = self.arguments("math_fidelity", *COMPUTE)
        else:
            fidelity, fp32_dest_acc = (
                ast.literal_eval(config) if isinstance(config, str) else config
            )
            fields = {"math_fidelity": fidelity, "fp32_dest_acc_en": fp32_dest_acc}
        if not fields:
            return {}
        fields = COMPUTE | fields
        if "math_fidelity" in fields:
            fields["math_fidelity"] = getattr(ttnn.MathFidelity, fields["math_fidelity"])
        return {"compute_kernel_config": ttnn.WormholeComputeKernelConfig(**fields)}

    def chunks(self) -> dict[str, Any]:
        """The program configuration of an attention op as keyword arguments."""
        sizes = self.arguments("q_chunk_size", "k_chunk_size", "q_chunk", "k_chunk")
        approximate = self.arguments("exp_approx_mode", "max_cores_per_head_batch")
        if not sizes and not approximate:
            return {}
        sizes = {name.removesuffix("_size") + "_size": int(size) for name, size in sizes.items()}
        grid = self.argument("grid")
        whole = self.device.compute_with_storage_grid_size()
        config = ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=ttnn.CoreCoord(*grid) if grid else whole,
            **{"q_chunk_size": 32, "k_chunk_size": 32} | sizes | approximate,
        )
        return {"program_config": config}

    def reuse_cores(self) -> None:
        """The next sharded input lies on the same cores as those before it."""
        self._next_core = 0

    def _sharded(
        self, shape: Any, first: int | None = None, count: int | None = None
    ) -> ttnn.MemoryConfig:
        """A height sharded memory configuration on `count` cores from number `first` on.

        Where these were not recorded: as many as there are tile rows, which no other input of this
        call has.
        """
        grid = self.device.compute_with_storage_grid_size()
        if first is None:
            first = self._next_core
            count = (shape.numel() // shape[-1] // shape[-2]) * ceil_div(shape[-2], TILE)
            self._next_core = (first + count) % (grid.x * grid.y)
        first = ttnn.CoreCoord(first % grid.x, first // grid.x)
        last = ttnn.CoreCoord(grid.x - 1, grid.y - 1)
        whole = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})
        cores = ttnn.num_cores_to_corerangeset_in_subcoregrids(first, count, whole, row_wise=True)
        shard = ttnn.ShardSpec(cores, [TILE, shape[-1]], ttnn.ShardOrientation.ROW_MAJOR)
        in_l1 = (ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1)
        return ttnn.MemoryConfig(*in_l1, shard)
