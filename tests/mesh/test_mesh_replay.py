"""Every recorded call of TTNN's kernels on several chips, repeated on an emulated mesh."""

import pytest

from ttnn_emulator.evidence import recorded
from ttnn_emulator.fidelity import note, recordings
from ttnn_emulator.fidelity.__main__ import EXACT
from ttnn_emulator.fidelity.figures import ReplayFigures
from ttnn_emulator.fidelity.measure import measure
from ttnn_emulator.fidelity.replay import RECORDED_CORES

CASES = [case for case in recordings.all_cases() if case.mesh is not None]


@pytest.fixture(scope="module")
def calls(opened):
    """Path of a case -> (figures, evidence) of its calls, and sentences on those refused."""
    of_path, refusals = {case.path: [] for case in CASES}, []
    for shape in sorted({case.mesh for case in CASES}):
        with opened(shape, "kernel", cores=RECORDED_CORES) as mesh:
            results, refused = measure([case for case in CASES if case.mesh == shape], mesh)
        refusals += refused
        for case, figures, evidence in results:
            of_path[case.path].append((figures, evidence))
    return of_path, refusals


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_every_chip_has_the_recorded_bits(calls, case):
    of_path, refusals = calls
    assert not [sentence for sentence in refusals if case.name in sentence]
    figures = sum((figures for figures, _ in of_path[case.path]), ReplayFigures())
    assert figures.elements
    assert figures.meets(EXACT), f"{figures} is not within {EXACT}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_evidence_is_what_the_note_says(calls, case):
    of_path, _ = calls
    noted = {
        (operation, setting)
        for operation, settings in recorded().items()
        for setting, paths in settings.items()
        if case.path in paths.get("equal", ())
    }
    measured = {(evidence.operation, evidence.setting) for _, evidence in of_path[case.path]}
    assert noted == measured, "bring the note up to date: python -m ttnn_emulator.fidelity --write"


def test_only_what_a_send_arrives_at_is_compared(calls):
    """Of a chip that receives nothing, a card's buffer holds what was there before."""
    of_path, _ = calls
    [(figures, _)] = of_path["two_chips/point_to_point_bf16"]
    assert figures.undefined == figures.elements


def test_all_figures_are_of_the_kernels_arithmetic(calls):
    of_path, _ = calls
    assert all(evidence is not None for calls in of_path.values() for _, evidence in calls)
    assert all(note.equal(figures) for calls in of_path.values() for figures, _ in calls)
