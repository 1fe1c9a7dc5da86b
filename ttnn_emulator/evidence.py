"""What emulated results rest on: `recorded`, `derived` or `approximate`, by operation and setting.

`recorded`: recordings of the operation in this setting are equalled bit for bit. `derived`: the
kernel's steps are followed from sources, but no recording covers this setting, or one that does is
not equalled. `approximate`: some step is not followed, whatever recordings say of their values.
The recordings of each setting are listed in `recordings/evidence.json`, which
`python -m ttnn_emulator.fidelity --write` makes by replaying all of them through the same `Journal`
that watches a live run.
"""

import dataclasses
import functools
import inspect
import json
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.bound_call import Binding, BoundCall, Launch
from ttnn_emulator.call_settings import MOVING, PLACED_BY_INTEGERS, VALUES, setting_of
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops import FAMILY_OF

FILE = pathlib.Path(__file__).parent / "recordings/evidence.json"
STATUSES = ("recorded", "derived", "approximate")
# operation -> setting -> {"equal": paths, "unequal": paths} of recordings
Recordings = dict[str, dict[str, dict[str, list[str]]]]

MOST_FORMS = 4096  # of calls that are kept before all are dropped


@dataclasses.dataclass(frozen=True, order=True)
class Evidence:
    """The evidence for results of one operation in one setting.

    Attributes:
        operation: its full name, such as "ttnn.linear".
        setting: `call_settings.setting_of` and the facts of the arithmetic, as text.
        status: of `STATUSES`.
        recordings: paths of the recordings that are equalled bit for bit.
        unequal: paths of those that are not.
    """

    operation: str
    setting: str
    status: str
    recordings: tuple[str, ...] = ()
    unequal: tuple[str, ...] = ()

    @property
    def not_followed(self) -> tuple[str, ...]:
        """The steps of the kernel that are not followed: what is computed in their place."""
        return not_followed(self.setting)

    def __str__(self) -> str:
        return f"{self.operation.removeprefix('ttnn.')} ({self.setting})"


@functools.cache
def recorded() -> Recordings:
    """All recordings, as `fidelity.note` has written them."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def evidence_of(
    binding: Binding,
    launch: Launch,
    operands: tuple[Any, ...],
    named: dict[str, Any],
    facts: Collection[paths.Fact] = frozenset(),
) -> Evidence:
    """The evidence for the result of one call.

    Args:
        binding: the operation's binding, whose signature names the arguments.
        launch: the binding's first argument.
        operands, named: the other arguments as the binding gets them.
        facts: those that the arithmetic recorded while computing.
    """
    bound = inspect.signature(binding).bind(launch, *operands, **named)
    texts = sorted(fact.text for fact in facts)
    text = "; ".join([setting_of(FAMILY_OF[launch.name], launch, bound), *texts])
    recordings = recorded().get(launch.name, {}).get(text, {})
    equal, unequal = (tuple(recordings.get(key, ())) for key in ("equal", "unequal"))
    status = status_of(any(fact.approximate for fact in facts), recordings)
    return Evidence(launch.name, text, status, equal, unequal)


def status_of(approximate: bool, recordings: Mapping[str, Collection[str]]) -> str:
    """One of `STATUSES`; `recordings` as `recorded` has them for one setting."""
    if approximate:
        return "approximate"
    equalled = recordings.get("equal") and not recordings.get("unequal")
    return "recorded" if equalled else "derived"


class Journal:
    """The distinct settings of the operations that ran.

    Attributes:
        last: `Evidence` of the last operation, or None.
        calls: how many were computed.
    """

    def __init__(self) -> None:
        self.last: Evidence | None = None
        self.calls = 0
        self._of_form: dict[object, Evidence] = {}
        self._referenced: list[object] = []  # objects that a form identifies by their address
        self._evidence: dict[Evidence, Evidence] = {}

    def note(self, call: BoundCall, facts: frozenset[paths.Fact]) -> None:
        """Record a call that the kernel arithmetic has computed."""
        self.calls += 1
        form = _form(call), facts
        if form not in self._of_form:
            if len(self._of_form) >= MOST_FORMS:
                self._of_form.clear()
                self._referenced.clear()
            evidence = evidence_of(call.binding, call.launch, call.operands, call.named, facts)
            self._referenced.append(call.binding)
            self._referenced += _objects((*call.operands, *call.named.values()))
            self._of_form[form] = self._evidence.setdefault(evidence, evidence)
        self.last = self._of_form[form]

    def distinct(self) -> tuple[Evidence, ...]:
        """The evidence for all calls, each setting once, sorted."""
        return tuple(sorted(self._evidence))


def _form(call: BoundCall) -> tuple[object, ...]:
    """A key that differs between calls of different settings; cheap, as every call makes one."""
    launch, name = call.launch, call.launch.name
    values: list[object] = [name, id(call.binding)]
    values += [(x.dtype, x.tiled, x.sharded) for x in launch.outputs]
    plain = FAMILY_OF[name] in MOVING | PLACED_BY_INTEGERS
    values += [_of(value, plain) for value in call.operands]
    for key, value in call.named.items():
        values.append(key)
        values.append(_of(value, plain or key in VALUES))
    return tuple(values)


def _of(value: Any, plain: bool) -> object:
    """A value's part of a form: `plain` numbers by their type alone, objects by their address."""
    if isinstance(value, DeviceTensor):
        return value.dtype, value.tiled, value.sharded, len(value.shape)
    if isinstance(value, (list, tuple)):
        return tuple([_of(v, plain) for v in value])
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return type(value) if plain else value
    return id(value)


def _objects(values: Iterable[Any]) -> Iterator[object]:
    """The objects that a form identifies by address, to be kept so that none is reused."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _objects(value)
        elif not isinstance(value, (DeviceTensor, bool, int, float, str, type(None))):
            yield value


def unrecorded() -> list[str]:
    """Names of the emulated operations of which nothing was recorded, sorted."""
    return sorted(set(FAMILY_OF) - set(recorded()))


def not_followed(setting: str) -> tuple[str, ...]:
    """The arithmetic's approximations in a setting, as text, sorted."""
    return tuple(sorted(set(approximations()) & set(setting.split("; "))))


def approximations() -> list[str]:
    """The arithmetic's approximations as text, in alphabetical order."""
    return sorted(fact.text for fact in paths.APPROXIMATIONS)
