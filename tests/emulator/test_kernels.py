"""The table of bindings as a whole."""

import collections

import ttnn

from ttnn_emulator.ops import BINDINGS, FAMILIES
from ttnn_emulator.runtime.transfer import TRANSFERS


def test_an_operation_has_one_kernel():
    """If two tables had the same name, the later one would silently win."""
    counts = collections.Counter(name for bindings in FAMILIES.values() for name in bindings)
    counts.update(list(TRANSFERS))
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_kernel_belongs_to_an_operation_that_ttnn_has():
    """A misspelt name would never be called."""
    operations = {
        operation.python_fully_qualified_name
        for operation in ttnn.query_registered_operations(include_experimental=True)
    }
    assert sorted((set(BINDINGS) | set(TRANSFERS)) - operations) == []
