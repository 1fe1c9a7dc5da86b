"""Bindings of TTNN's operations: what their arguments mean to the arithmetic. A module per family.

Each module has a table `BINDINGS` from an operation's full name to its binding, a function
`binding(launch, *args, **kwargs)` with the operation's own parameter names
(`ttnn_emulator.dispatch.Binding` says what it gets and returns). Where bindings write into their
operands, a table `WRITES` names these; `BY_BATCH` names operations that compute each part of any
first dimension by itself.

To add an operation:

1. Write its binding in the module of its family and enter it in that module's `BINDINGS`. A new
   family is a new module, named in `FAMILIES`.
2. If no function of `arithmetic/interface.py` computes it, declare one there and write it in both
   `arithmetic/exact/exact.py` and `arithmetic/rounded/rounded.py`. A function of one value goes
   into the tables of `arithmetic/exact/elementwise.py` and `arithmetic/rounded/rounded_eltwise.py`
   instead, its name into `eltwise_unary.py`.
3. If an argument is a value or a place and does not choose the kernel's way, name it in
   `call_settings.VALUES`.
4. Test it against torch in `tests/emulator`; if it copies or makes values, say there who encodes
   those of block formats.
5. Write what is recorded of it into the README: `python -m ttnn_emulator.fidelity --write`. A new
   recording that its family's function does not make again needs its call in `fidelity/replay.py`
   and, if it computes, its exact result in `fidelity/references.py`.
"""

import importlib
import pkgutil
from collections.abc import Collection

from ttnn_emulator.dispatch import Binding

_MODULES = {
    module.name.rpartition(".")[2]: importlib.import_module(module.name)
    for module in pkgutil.walk_packages(__path__, f"{__name__}.")
    if not module.ispkg and not module.name.startswith(f"{__name__}.common.")
}

# Family, which is the name of its module -> the bindings of its operations.
FAMILIES: dict[str, dict[str, Binding]] = {
    name: module.BINDINGS for name, module in _MODULES.items()
}

# Operation -> its binding.
BINDINGS = {name: binding for family in FAMILIES.values() for name, binding in family.items()}

# Operation -> its family, such as "attention".
FAMILY_OF = {name: family for family, bindings in FAMILIES.items() for name in bindings}

# Operation -> the operands that its binding writes in place.
WRITES: dict[str, tuple[str, ...]] = {
    name: operands
    for module in _MODULES.values()
    for name, operands in getattr(module, "WRITES", {}).items()
}

# Operations that may be computed for several chips as for a batch.
BY_BATCH = frozenset().union(*(getattr(module, "BY_BATCH", ()) for module in _MODULES.values()))

# Operations whose bindings see all chips of a mesh at once; see `ttnn_emulator.chips`.
COLLECTIVE = frozenset().union(
    *(FAMILIES[name] for name in ("collectives", "chip_sums", "fused_collectives"))
)


def check_names(known: Collection[str]) -> None:
    """Raises ValueError for a binding whose name is none of TTNN's operations, which are `known`.

    Nothing would ever call it: a name is misspelt, or of another version of TTNN.
    """
    for family, bindings in FAMILIES.items():
        unknown = sorted(bindings.keys() - set(known))
        if unknown:
            raise ValueError(
                f"the bindings of {family!r} (ttnn_emulator/ops) have {unknown[0]!r}, which is no "
                "operation of the installed TTNN: names are such as 'ttnn.linear', as "
                "ttnn.query_registered_operations(include_experimental=True) has them."
            )
