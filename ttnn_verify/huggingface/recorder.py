"""Records what a Hugging Face model computes, while it runs.

Hooks tell which module runs, and a `TorchFunctionMode` sees every torch function that it calls. A
*step* is a module without children (a product, a norm, an activation), one of `SHARED_FUNCTIONS`,
or any other torch function outside of these. Functions within a step are its *inner* steps.

B batch, S sequence, W width, N heads, D head_dim.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Functions of transformers' modeling files that are a step each: name -> (kind, short names of
# the operands, of the results).
SHARED_FUNCTIONS = {
    "apply_rotary_pos_emb": ("rope", ("q_unrotated", "k_unrotated"), ("q", "k")),
    "eager_attention_forward": ("attention", ("q", "k", "v"), ("attention",)),
}

# Longest sequence whose inner steps are recorded: attention's have S x S numbers per head.
LONGEST_INNER = 160

# Fewest columns of a value that is recorded; numbers per row, as variances are, say too little.
FEWEST_COLUMNS = 8

# Torch functions that hand on their first operand in another shape, and those that hand on parts of
# it.
_KEEPING = """bfloat16 clone contiguous detach dropout expand expand_as flatten float movedim
    permute repeat repeat_interleave reshape squeeze swapaxes to transpose type type_as unflatten
    unsqueeze view view_as"""
_PICKING = "__getitem__ chunk narrow select split split_with_sizes tensor_split"
_KEEPS, _PICKS = frozenset(_KEEPING.split()), frozenset(_PICKING.split())

_KINDS = {
    "linear": "product",
    "embedding": "embedding",
    "add": "add",
    "__add__": "add",
    "__radd__": "add",
    "mul": "multiply",
    "__mul__": "multiply",
    "__rmul__": "multiply",
    "matmul": "matmul",
    "softmax": "softmax",
}

# Short names of modules that have a usual one.
_MODULE_NAMES = {
    "embed_tokens": "embedding",
    "wte": "embedding",
    "input_layernorm": "input_norm",
    "qkv_proj": "qkv",
    "gate_up_proj": "gate_up",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "final_layernorm": "norm",
    "lm_head": "logits",
}


@dataclasses.dataclass
class Entry:
    """A value while it is being recorded."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    tensor: torch.Tensor
    isolated: torch.Tensor
    path: str
    layer: int | None
    inner: int | None  # the number of the region it is within
    heads_first: bool | None = None
    region: int | None = None  # the number of its own region
    made_of: tuple[str, ...] = ()  # inputs of the inner step that made it
    heads: tuple[int, int] | None = None  # (N, D) of a row that is taken apart later
    constants: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Region:
    """A step of several functions that is running."""

    number: int
    arguments: tuple
    named: dict[str, Any]
    first: int  # number of entries before it
    tables: bool  # whether it takes tables, which a device keeps as bfloat16, too


class Recorder(TorchFunctionMode):
    """Records the values of one pass over tokens `[batch, length]`.

    Attributes:
        entries: the values, in the order in which they were computed.
    """

    def __init__(self, batch: int, length: int) -> None:
        super().__init__()
        self.batch, self.length = batch, length
        self.entries: list[Entry] = []
        self.names: dict[int, str] = {}  # of a tensor's id
        self.parts: dict[int, str] = {}  # id of a tensor that is a part of a value -> that value
        self.kept: list[torch.Tensor] = []  # so that no id is used again
        self.alone: dict[int, torch.Tensor] = {}  # id of a tensor -> what its step makes by itself
        self.path: list[str] = []
        self.regions: list[_Region] = []
        self.region_count = 0
        self.off = 0

    # --- watching -------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.off:
            return result
        name = getattr(func, "__name__", "")
        if name in _KEEPS or name in _PICKS:
            self._hand_on(func, args, kwargs, result, name in _PICKS)
        elif isinstance(result, torch.Tensor) and result.is_floating_point():
            self._step_of(func, name, args, kwargs, result)
        return result

    @contextlib.contextmanager
    def hooked(self, hf_model: torch.nn.Module) -> Iterator[None]:
        """Within the block, modules and shared functions report to the recorder."""
        with contextlib.ExitStack() as stack:
            for path, module in hf_model.named_modules():
                if not path or _is_no_step(module):
                    continue
                atomic = not any(True for _ in module.children())
                before, after = self._on_step if atomic else self._on_composite
                stack.callback(
                    module.register_forward_pre_hook(
                        before(path, module), prepend=True, with_kwargs=True
                    ).remove
                )
                stack.callback(
                    module.register_forward_hook(after(path, module), with_kwargs=True).remove
                )
            for modeling in {type(module).__module__ for module in hf_model.modules()}:
                stack.enter_context(self._functions_watched(sys.modules[modeling]))
            yield

    @property
    def _on_composite(self) -> tuple[Callable, Callable]:
        def before(path: str, module: torch.nn.Module) -> Callable:
            return lambda module, args, kwargs: self.path.append(path)

        def after(path: str, module: torch.nn.Module) -> Callable:
            def done(module: Any, args: Any, kwargs: Any, result: Any) -> None:
                self.path.pop()
                self._leave(path, result)

            return done

        return before, after

    @property
    def _on_step(self) -> tuple[Callable, Callable]:
        def before(path: str, module: torch.nn.Module) -> Callable:
            def begin(module: Any, args: Any, kwargs: Any) -> None:
                self.path.append(path)
                self._begin(args, kwargs, (), _kind_of(module))

            return begin

        def after(path: str, module: torch.nn.Module) -> Callable:
            def done(module: Any, args: Any, kwargs: Any, result: Any) -> None:
                self.path.pop()
                short = path.rpartition(".")[2]
                short = _MODULE_NAMES.get(short, short)
                self._end(_kind_of(module), module.forward, (short,), (), path, result)

            return done

        return before, after

    @contextlib.contextmanager
    def _functions_watched(self, modeling: Any) -> Iterator[None]:
        """Within the block, the shared functions of a modeling file are steps."""
        own = {name: vars(modeling)[name] for name in SHARED_FUNCTIONS if name in vars(modeling)}
        for name, function in own.items():
            setattr(modeling, name, self._watched(function, *SHARED_FUNCTIONS[name]))
        try:
            yield
        finally:
            for name, function in own.items():
                setattr(modeling, name, function)

    def _watched(
        self, function: Callable, kind: str, operands: Sequence[str], results: Sequence[str]
    ) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.off:
                return function(*args, **kwargs)
            self._begin(args, kwargs, operands, kind)
            result = function(*args, **kwargs)
            self._end(kind, function, results, operands, self.path[-1], result)
            return result

        return call

    # --- recording ------------------------------------------------------------------------------

    def _begin(
        self, args: tuple, kwargs: dict[str, Any], operands: Sequence[str], kind: str
    ) -> None:
        if not self.regions:  # parts of values become values of that name
            arguments = [t for t in _flat((args, kwargs)) if t.is_floating_point()]
            self._inputs(arguments, operands, self.path[-1] if self.path else "")
        self.region_count += 1
        region = _Region(self.region_count, args, kwargs, len(self.entries), kind == "rope")
        self.regions.append(region)

    def _end(
        self,
        kind: str,
        function: Callable,
        shorts: Sequence[str],
        operands: Sequence[str],
        path: str,
        result: Any,
    ) -> None:
        region = self.regions.pop()
        if self.off or self.regions:
            return  # a step within another one is inner: its functions were recorded
        tensors = [t for t in _flat(result) if t.is_floating_point()][: len(shorts)]
        arguments = [t for t in _flat((region.arguments, region.named)) if t.is_floating_point()]
        inputs = self._inputs(arguments, operands, path)
        if not inputs and kind != "embedding":
            return
        with self._unseen():
            rounded = self._rounded((region.arguments, region.named), region.tables)
            again = function(*rounded[0], **rounded[1])
        isolated = [t for t in _flat(again) if t.is_floating_point()]
        heads_first = kind == "rope" or None
        for number, (short, tensor) in enumerate(zip(shorts, tensors, strict=False)):
            of_result = inputs if kind != "rope" else inputs[number : number + 1]
            entry = self._entry(short, kind, of_result, tensor, isolated[number], path)
            entry.heads_first, entry.region = heads_first, region.number
            entry.made_of = self._drop(tensor, region)
            entry.constants = _constants(kind, function, region.named)
            self._add(entry)

    def _step_of(
        self, func: Any, name: str, args: tuple, kwargs: dict, result: torch.Tensor
    ) -> None:
        """Record a torch function that is called outside of a step, or an inner one."""
        if self.regions and self.length > LONGEST_INNER:
            return
        arguments = [t for t in _flat((args, kwargs)) if t.is_floating_point()]
        if any(id(t) == id(result) for t in arguments):
            return
        if not any(id(t) in self.names or id(t) in self.parts for t in arguments):
            return
        if not self._has_rows(result):
            return
        path = self.path[-1] if self.path else ""
        inputs = self._inputs(arguments, (), path)
        with self._unseen():
            rounded = self._rounded((args, kwargs), bool(self.regions) and self.regions[-1].tables)
            isolated = func(*rounded[0], **rounded[1])
        kind = _KINDS.get(name, name.strip("_"))
        self._add(self._entry(kind, kind, inputs, result, isolated, path))

    def _hand_on(
        self, func: Any, args: tuple, kwargs: dict[str, Any], result: Any, picks: bool
    ) -> None:
        operand = next(_flat(args), None)
        if operand is None:
            return
        whole = self.names.get(id(operand))
        part_of = self.parts.get(id(operand))
        if whole is None and part_of is None:
            return
        with self._unseen():
            alone = func(self.alone[id(operand)], *args[1:], **kwargs)
        for tensor, twin in zip(_flat(result), _flat(alone), strict=True):
            if tensor is operand:
                continue
            self.kept.append(tensor)
            self.alone[id(tensor)] = twin
            if whole is not None and not (picks and tensor.numel() < operand.numel()):
                self.names[id(tensor)] = whole
            else:
                self.parts[id(tensor)] = part_of or whole or ""

    def _inputs(
        self, arguments: Sequence[torch.Tensor], operands: Sequence[str], path: str
    ) -> tuple[str, ...]:
        """The names of the values among the arguments; parts of values become values here."""
        names = []
        for number, tensor in enumerate(arguments):
            short = operands[number] if number < len(operands) else None
            if id(tensor) in self.parts and id(tensor) not in self.names:
                self._part(tensor, short, path)
            name = self.names.get(id(tensor))
            if name is not None:
                names.append(name)
                entry = self._named(name)
                if tensor.dim() == 4 and entry.tensor.dim() == 3:
                    third = rows_are_third(tensor, self.length, short is not None or None)
                    entry.heads = tensor.shape[1 if third else 2], tensor.shape[3]
        return tuple(names)

    def _part(self, tensor: torch.Tensor, short: str | None, path: str) -> None:
        """Make a value of a part of one."""
        if not self._has_rows(tensor):
            return
        root = self._named(self.parts[id(tensor)])
        short = short or f"{root.name.rpartition('.')[2]}_part"
        alone = self.alone[id(tensor)]
        self._add(self._entry(short, "heads", (root.name,), tensor, alone, path))

    def _entry(
        self,
        short: str,
        kind: str,
        inputs: tuple[str, ...],
        tensor: torch.Tensor,
        isolated: torch.Tensor,
        path: str,
    ) -> Entry:
        layer = layer_of(path)
        before = "" if layer is None else f"layers.{layer}."
        taken = {entry.name for entry in self.entries}
        name, number = before + short, 2
        while name in taken:
            name, number = f"{before}{short}_{number}", number + 1
        inner = self.regions[-1].number if self.regions else None
        return Entry(name, kind, inputs, tensor, isolated, path, layer, inner)

    def _add(self, entry: Entry) -> None:
        if not self._has_rows(entry.tensor):
            return
        self.entries.append(entry)
        self.kept.append(entry.tensor)
        self.names[id(entry.tensor)] = entry.name
        self.alone[id(entry.tensor)] = entry.isolated

    def _drop(self, tensor: torch.Tensor, region: _Region) -> tuple[str, ...]:
        """Forget the inner steps whose result a step returns: they are the same value.

        Returns the inputs of the first of them.
        """
        inputs: tuple[str, ...] = ()
        name = self.names.get(id(tensor))
        with self._unseen():
            for entry in self.entries[region.first :]:
                if entry.inner != region.number:
                    continue
                same = entry.tensor.shape == tensor.shape and torch.equal(entry.tensor, tensor)
                if entry.name == name or same:
                    self.entries.remove(entry)
                    inputs = inputs or entry.inputs
        return inputs

    def _named(self, name: str) -> Entry:
        return next(entry for entry in reversed(self.entries) if entry.name == name)

    def rename(self, tensor: torch.Tensor, name: str) -> None:
        """Give the value that a tensor is another name."""
        old = self.names.get(id(tensor))
        if old is None or old == name:
            return
        for entry in self.entries:
            if entry.name == name:
                entry.name = f"{name}_before"
            entry.inputs = tuple(f"{name}_before" if x == name else x for x in entry.inputs)
        for key, value in self.names.items():
            if value == name:
                self.names[key] = f"{name}_before"
        for entry in self.entries:
            if entry.name == old:
                entry.name = name
            entry.inputs = tuple(name if x == old else x for x in entry.inputs)
        for key, value in self.names.items():
            if value == old:
                self.names[key] = name

    def _leave(self, path: str, result: Any) -> None:
        """A composite module has run: a decoder layer's result is its output."""
        if path.rpartition(".")[2].isdigit():
            tensor = next(_flat(result), None)
            if tensor is not None:
                self.rename(tensor, f"layers.{layer_of(path)}.output")

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        self.off += 1
        try:
            yield
        finally:
            self.off -= 1

    def _rounded(self, value: Any, every: bool) -> Any:
        """Arguments with the values among them rounded to bfloat16; with `every` all of them."""
        if isinstance(value, torch.Tensor):
            known = every or id(value) in self.names or id(value) in self.parts
            if known and value.is_floating_point() and not isinstance(value, torch.nn.Parameter):
                return value.bfloat16().to(value.dtype)
            return value
        if isinstance(value, (list, tuple)):
            return type(value)(self._rounded(x, every) for x in value)
        if isinstance(value, dict):
            return {name: self._rounded(x, every) for name, x in value.items()}
        return value

    def _has_rows(self, tensor: torch.Tensor) -> bool:
        shape = tensor.shape
        return (
            tensor.dim() in (3, 4)
            and shape[0] == self.batch
            and self.length in shape[1:-1]
            and (shape[-1] >= FEWEST_COLUMNS or tuple(shape[2:]) == (self.length,) * 2)
        )


def rows_are_third(tensor: torch.Tensor, length: int, heads_first: bool | None) -> bool:
    """Whether a tensor is [B, N, S, D], and not [B, S, N, D] or [B, S, W].

    Args:
        length: S.
        heads_first: whether it is, as far as known.
    """
    if tensor.dim() == 3:
        return False
    if heads_first is not None:
        return heads_first
    second, third = tensor.shape[1:3]
    if (second == length) != (third == length):
        return third == length
    return tensor.stride(1) < tensor.stride(2)  # a transposed view of [B, S, N, D]


def _flat(value: Any) -> Iterator[torch.Tensor]:
    """The tensors within nested lists, tuples and dicts, in their order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _flat(element)


def _constants(kind: str, function: Callable, named: dict[str, Any]) -> dict[str, float]:
    """The constants of a step: a norm's epsilon, attention's scale."""
    if kind == "attention":
        return {"scale": float(named["scaling"])} if named.get("scaling") else {}
    if kind == "norm":
        module = getattr(function, "__self__", None)
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        return {"epsilon": epsilon} if isinstance(epsilon, float) else {}
    return {}


def layer_of(path: str) -> int | None:
    """The first number in a module's path."""
    return next((int(part) for part in path.split(".") if part.isdigit()), None)


def _is_no_step(module: torch.nn.Module) -> bool:
    """Whether a module hands on what it is given, or makes the tables of rotary embeddings."""
    if isinstance(module, (torch.nn.Dropout, torch.nn.Identity)):
        return True
    return "rotary" in type(module).__name__.lower()


def _kind_of(module: torch.nn.Module) -> str:
    if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D":
        return "product"
    if isinstance(module, torch.nn.Embedding):
        return "embedding"
    if "norm" in type(module).__name__.lower():
        return "norm"
    return "activation"
