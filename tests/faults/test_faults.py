"""Every fault of the catalogue is caught, by the lowest tier that can see it; nothing else is."""

import importlib
import pathlib
import re

import pytest
import ttnn

import ttnn_emulator
from tests.support.checkpoint import ROOT, STAGES

from . import fault_table
from .catalogue import FAMILIES, FAULTS
from .inject import MODULES, TIERS, Fault
from .tiers import MODEL_CHECKS, caught_by, checks, fails, layer_checks_of, op_checks


def stages(fault):
    """Those in which a fault is looked for: one is enough for what the ops show."""
    return ("optimized",) if fault.tier == "ops" else fault.stages


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        pytest.param(stage, fault, id=f"{stage}-{fault.id}")
        for fault in FAULTS
        for stage in stages(fault)
    ],
    indirect=["stage"],
)
def test_the_lowest_tier_that_can_see_it_catches(stage, fault, request, device, record_property):
    # Kernel arithmetic is slow: what only it shows is not looked for above the expected tier.
    tiers = TIERS if fault.arithmetic == "rounded" else TIERS[: TIERS.index(fault.tier) + 1]
    with ttnn_emulator.arithmetic_settings(fault.arithmetic):
        with fault.inject():
            caught = {tier: caught_by(checks(tier, fault, stage), request) for tier in tiers}
        false_alarm = caught["ops"] and fails(caught["ops"][1], request)
    names = {tier: check and check[0] for tier, check in caught.items()}
    record_property(*fault_table.row(fault, stage, names))
    assert not false_alarm, f"{names['ops']} fails without the fault too."
    lowest = next((tier for tier in tiers if caught[tier]), None)
    assert lowest, f"{fault.name}: no tier caught it, expected {fault.tier}."
    assert lowest == fault.tier, (
        f"{fault.name}: expected {fault.tier}; {names[lowest]} of {lowest} caught it first."
    )


@pytest.mark.parametrize(
    ("stage", "arithmetic", "run"),
    [
        pytest.param(stage, arithmetic, run, id=f"{stage}-{arithmetic}-{name}")
        for stage in STAGES
        for arithmetic, checks in [
            ("rounded", layer_checks_of(stage) + MODEL_CHECKS),
            ("kernel", layer_checks_of(stage)),
        ]
        for name, run in checks
    ],
    indirect=["stage"],
)
def test_without_a_fault_the_checks_pass(stage, arithmetic, run, request, device):
    with ttnn_emulator.arithmetic_settings(arithmetic):
        run(request)


def wiring():
    """Whatever a fault may replace: bindings and functions of TTNN's operations, the model's."""
    operations = ttnn.query_registered_operations(include_experimental=True)
    owners = [owner for module in MODULES for owner in (module, *classes(module))]
    return (
        ttnn_emulator.bindings_in_use(),
        [(operation.python_fully_qualified_name, operation.function) for operation in operations],
        [(owner.__name__, dict(vars(owner))) for owner in owners],
    )


def classes(module):
    return [value for value in vars(module).values() if isinstance(value, type)]


def test_a_fault_ends_with_its_block(device):
    before = wiring()

    def leave_by_error(fault):
        with fault.inject():
            assert wiring() != before, f"{fault.name}: nothing is replaced."
            raise ZeroDivisionError

    for fault in FAULTS:
        with pytest.raises(ZeroDivisionError):
            leave_by_error(fault)
        assert wiring() == before, f"{fault.name}: something stays replaced."


def test_faults_have_names_of_their_own():
    names = [fault.name for fault in FAULTS]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_fault_is_in_the_catalogue():
    """Of all modules of faults in this folder, whatever list of theirs a fault stands in."""
    files = set(pathlib.Path(__file__).parent.glob("*_faults.py")) - {pathlib.Path(__file__)}
    modules = {importlib.import_module(f".{file.stem}", __package__) for file in files}
    assert modules == set(FAMILIES)
    listed = [
        value for module in modules for value in vars(module).values() if isinstance(value, list)
    ]
    faults = {fault.id for values in listed for fault in values if isinstance(fault, Fault)}
    assert faults == {fault.id for fault in FAULTS}


def test_the_readme_says_how_many_faults_there_are():
    (count,) = re.findall(r"(\d+) faults", (ROOT / "README.md").read_text())
    assert int(count) == len(FAULTS)


def test_every_tier_has_faults_that_it_alone_can_see():
    assert {fault.tier for fault in FAULTS} == set(TIERS)


def test_faults_name_samples_that_exist():
    wrong = [
        f"{fault.name}: {fault.sample}"
        for fault in FAULTS
        if fault.ops and not any(fault.sample in name for name, _ in op_checks(fault))
    ]
    assert not wrong
