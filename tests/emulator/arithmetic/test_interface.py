"""Both arithmetics have the functions of the interface, with its parameters and its defaults."""

import inspect

import pytest

from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.interface import Arithmetic
from ttnn_emulator.arithmetic.rounded import rounded

FUNCTIONS = {name: f for name, f in vars(Arithmetic).items() if inspect.isfunction(f)}
FUNCTIONS = {name: f for name, f in FUNCTIONS.items() if not name.startswith("_")}


def parameters_of(function):
    """Name, kind, default and annotation of each parameter but self."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]


@pytest.mark.parametrize("arithmetic", [exact, rounded], ids=["exact", "rounded"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_arithmetic_takes_the_arguments_of_the_interface(name, arithmetic):
    """mypy checks their types against it, but not the values of defaults."""
    expected = parameters_of(FUNCTIONS[name])
    actual = parameters_of(getattr(arithmetic, name))
    optional = {"dims", "correction"}  # may be left out of the exact statistics' own function
    assert [p[:2] for p in actual] == [p[:2] for p in expected]
    for (parameter, _, default), (_, _, theirs) in zip(actual, expected, strict=True):
        assert default == theirs or parameter in optional
