"""What an emulated result rests on: `recorded`, `derived` or `approximate`, by operation and setting.

`recorded`: recordings of the operation in this setting are equalled bit for bit. `derived`: the
kernel's steps are followed from sources, but no recording covers this setting, or one that does is
not equalled. `approximate`: some step is not followed, whatever recordings say of their values.
The recordings of each setting stand in `recordings/evidence.json`, which `python -m ttnn_emulator.fidelity
--write` makes by replaying all of them through the same `Journal` that watches a live run.
"""

import dataclasses
import functools
import inspect
import json
import pathlib

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops import FAMILY_OF
from ttnn_emulator.settings import MOVING, PLACED_BY_INTEGERS, VALUES, setting

FILE = pathlib.Path(__file__).parent / "recordings/evidence.json"
STATUSES = ("recorded", "derived", "approximate")
MOST_FORMS = 4096  # of calls that are told apart before all are forgotten


@dataclasses.dataclass(frozen=True, order=True)
class Evidence:
    """What results of one operation in one setting rest on.

    Attributes:
        operation: its full name, such as "ttnn.linear".
        setting: `settings.setting` and the facts of the arithmetic, as text.
        status: of `STATUSES`.
        recordings: paths of the recordings that are equalled bit for bit.
        unequal: those that are not.
    """

    operation: str
    setting: str
    status: str
    recordings: tuple = ()
    unequal: tuple = ()

    def __str__(self):
        return f"{self.operation.removeprefix('ttnn.')} ({self.setting})"


@functools.cache
def recorded():
    """operation -> setting -> {"equal": paths, "unequal": paths} of all recordings."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def evidence_of(kernel, launch, operands, named, facts=frozenset()):
    """What the result of one call rests on.

    Args:
        kernel: the operation's kernel, whose signature names the arguments.
        launch: its `dispatch.Launch`.
        operands, named: its arguments as the kernel sees them.
        facts: the `paths.Fact`s that the arithmetic told of it.
    """
    bound = inspect.signature(kernel).bind(launch, *operands, **named)
    told = sorted(fact.text for fact in facts)
    text = "; ".join([setting(FAMILY_OF[launch.name], launch, bound), *told])
    found = recorded().get(launch.name, {}).get(text, {})
    equal, unequal = (tuple(found.get(key, ())) for key in ("equal", "unequal"))
    status = status_of(any(fact.approximate for fact in facts), found)
    return Evidence(launch.name, text, status, equal, unequal)


def status_of(approximate, found):
    """One of `STATUSES`; `found` as `recorded` has it for one setting."""
    if approximate:
        return "approximate"
    return "recorded" if found.get("equal") and not found.get("unequal") else "derived"


class Journal:
    """The distinct settings of the operations that ran.

    Attributes:
        last: `Evidence` of the last operation, or None.
        calls: how many were computed.
    """

    def __init__(self):
        self.last = None
        self.calls = 0
        self._of_form = {}
        self._kept = []  # objects that a form knows by their address
        self._found = {}

    def note(self, call, facts):
        """A call (`dispatch.Call`) was computed with the kernels' arithmetic."""
        self.calls += 1
        form = _form(call), facts
        if form not in self._of_form:
            if len(self._of_form) >= MOST_FORMS:
                self._of_form.clear()
                self._kept.clear()
            evidence = evidence_of(call.kernel, call.launch, call.operands, call.named, facts)
            self._kept += [call.kernel, *_objects((*call.operands, *call.named.values()))]
            self._of_form[form] = self._found.setdefault(evidence, evidence)
        self.last = self._of_form[form]

    def found(self):
        """A tuple of `Evidence`, sorted."""
        return tuple(sorted(self._found))


def _form(call):
    """What tells the settings of calls apart, and more: cheap to make, since every call makes it."""
    launch, name = call.launch, call.launch.name
    values = [name, id(call.kernel)]
    values += [(x.dtype, x.tiled, x.sharded) for x in launch.outputs]
    plain = FAMILY_OF[name] in MOVING | PLACED_BY_INTEGERS
    values += [_of(value, plain) for value in call.operands]
    for key, value in call.named.items():
        values.append(key)
        values.append(_of(value, plain or key in VALUES))
    return tuple(values)


def _of(value, plain):
    """A value as a form has it: `plain` numbers by their type alone, objects by their address."""
    if isinstance(value, DeviceTensor):
        return value.dtype, value.tiled, value.sharded, len(value.shape)
    if isinstance(value, (list, tuple)):
        return tuple([_of(v, plain) for v in value])
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return type(value) if plain else value
    return id(value)


def _objects(values):
    """Those that a form has by their address: while they are kept, no other object has it."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _objects(value)
        elif not isinstance(value, (DeviceTensor, bool, int, float, str, type(None))):
            yield value


def unrecorded():
    """Names of the emulated operations of which nothing was recorded, sorted."""
    return sorted(set(FAMILY_OF) - set(recorded()))


def approximations():
    """What the arithmetic does not follow, in its own words."""
    return [fact.text for fact in paths.APPROXIMATIONS]
