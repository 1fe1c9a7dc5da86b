"""The row of an operation: everything that comparing needs to know of it.

To add an operation: a row in the module of its family, with a golden if drift shall judge it.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ttnn_verify.ops.expected import CallContext, Expected, NoGolden

# Arguments that say where a result lives, which cores work on it or in which format it is kept
# (the context has that). No expected value depends on them.
PLACEMENT = frozenset(
    {
        "core_grid",
        "dtype",
        "global_cb",
        "memory_config",
        "optional_output_tensor",
        "output_dtype",
        "output_mem_config",
        "output_tensor",
        "output_tensors",
        "output_tile",
        "prefetcher_pipes",
        "queue_id",
        "sub_core_grid",
        "sub_core_grids",
        "sub_device_id",
        "use_multicore",
    }
)

# Arguments that say how precisely an operation computes; goldens find them in their context.
PRECISION = ("compute_kernel_config", "program_config")

# golden(context, *args, **kwargs), the operation's own arguments with torch tensors for tensors
# (float32; integers int64). It returns the results, or the caches that are written: one or a
# sequence of `Expected`, or of plain tensors for data that only moves.
Golden = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class CacheWrite:
    """A cache that an operation writes, and the operand it writes into it.

    Each by its position among the arguments, and by its name if it is given by name.
    """

    cache_at: int
    cache: str
    source_at: int
    source: str


@dataclasses.dataclass(frozen=True)
class OpSpec:
    """What is known of an operation.

    Attributes:
        names: short names; those after the first are other names of the same operation.
        golden: see `Golden`; None to ask TTNN's own golden function.
        kind: of Hugging Face's step that it computes, see `hf_values.HfValue`; None if none.
        data: "computes"; "keeps" the elements in their order (another shape, place or format);
            "picks": moves data, and its arguments say which elements in which order.
        pairs: whether it rotates columns in pairs, and not the halves of a head.
        writes: the caches it writes.
        page_table_at: where its page table stands among the arguments, unless it is named.
        constant: name of the argument that is a constant of Hugging Face's step, too.
        family: for attribution, which makes one family exact at a time.
        judged: whether its results are compared. Transfers and allocations compute nothing.
        ignored: further arguments on which no result depends.
        neutral: arguments that the golden does not compute, each with the values at which they
            change nothing (beside None). An enumeration's value stands there by its name.
        comparison: golden function for TTNN's comparison mode, where TTNN has none or one that
            fails; see `comparison`. It takes the operation's own arguments alone.
        spans_chips: whether a chip's result depends on what others have. Its golden is given an
            `OnChips` for each tensor on a mesh, and the context says whose result is expected.
        by_shards: its golden where its results are sharded, if each core then computes from what it
            holds alone, and that means something else.
    """

    names: tuple[str, ...]
    golden: Golden | None = None
    kind: str | None = None
    data: Literal["computes", "keeps", "picks"] = "computes"
    pairs: bool = False
    writes: tuple[CacheWrite, ...] = ()
    page_table_at: int | None = None
    constant: str | None = None
    family: str | None = None
    judged: bool = True
    ignored: frozenset[str] = frozenset()
    neutral: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
    comparison: Callable[..., Any] | None = None
    spans_chips: bool = False
    by_shards: Golden | None = None

    @property
    def moves(self) -> bool:
        """Whether it moves data and computes nothing."""
        return self.data != "computes"

    def constant_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
        """The value that a call gives its `constant`, or leaves to TTNN; None if it has none.

        A scale that is left to TTNN is D ** -0.5 of the first operand `[..., D]`.
        """
        if self.constant is None or self.golden is None:
            return None
        known = {name: value for name, value in kwargs.items() if name not in PRECISION}
        parameters = inspect.signature(self.golden).parameters
        named = {name: value for name, value in known.items() if name in parameters}
        bound = inspect.signature(self.golden).bind_partial(None, *args, **named)
        value = bound.arguments.get(self.constant, parameters[self.constant].default)
        if value is None and self.constant == "scale":
            operand = list(bound.arguments.values())[1]
            return operand.shape[-1] ** -0.5
        return None if value is None else float(value)

    def golden_of(self, kwargs: Mapping[str, Any]) -> Golden | None:
        """The golden of a call with these named arguments, which say where its results lie."""
        place = kwargs.get("memory_config")
        if self.by_shards is not None and place is not None and place.is_sharded():
            return self.by_shards
        return self.golden

    def computed_arguments(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The named arguments that the golden has to know.

        Raises:
            NoGolden: an argument has a value that the golden does not compute.
        """
        known = {}
        for name, value in kwargs.items():
            if name in PLACEMENT or name in PRECISION or name in self.ignored:
                continue
            if name not in self.neutral:
                known[name] = value
            elif not _changes_nothing(value, self.neutral[name]):
                raise NoGolden(f"{self.names[0]} has no golden for its argument {name!r}.")
        return known

    def results(
        self, context: CallContext, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[Expected]:
        """What the operation is expected to return, or to write into its caches.

        Args:
            context: without `compute_kernel_config` and `program_config`, which `kwargs` has.

        Raises:
            NoGolden: there is no golden, or none for an argument.
        """
        golden = self.golden_of(kwargs)
        if golden is None:
            raise NoGolden(f"{self.names[0]} has no golden function, here or in TTNN.")
        context = dataclasses.replace(
            context,
            compute_kernel_config=kwargs.get("compute_kernel_config"),
            program_config=kwargs.get("program_config"),
        )
        known = self.computed_arguments(kwargs)
        found = called(self.names[0], golden, context, *args, **known)
        found = list(found) if isinstance(found, (list, tuple)) else [found]
        return [one if isinstance(one, Expected) else Expected(one) for one in found]


def called(short: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`.

    Raises:
        NoGolden: the function has no such arguments. Its own TypeErrors stay what they are.
    """
    try:
        # of a golden that is wrapped its own arguments, with the context
        inspect.signature(function, follow_wrapped=False).bind(*args, **kwargs)
    except TypeError as error:
        raise NoGolden(f"the golden of {short}: {error}.") from None
    return function(*args, **kwargs)


def without_context(function: Callable[..., Any]) -> Golden:
    """A golden that needs nothing but the operation's own arguments."""

    @functools.wraps(function)
    def golden(context: CallContext, *args: Any, **kwargs: Any) -> Any:
        return called(function.__name__, function, *args, **kwargs)

    return golden


def _changes_nothing(value: Any, neutral: tuple) -> bool:
    if value is None:
        return True
    value = getattr(value, "name", value)
    return any(type(value) is type(one) and value == one for one in neutral)
