"""Replays recordings and compares them: on the emulated device, or on meshes in another process."""

import concurrent.futures
import itertools
import math
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import ttnn

import ttnn_emulator
from ttnn_emulator.fidelity import note, recordings
from ttnn_emulator.fidelity.figures import ReplayFigures, compare
from ttnn_emulator.fidelity.mesh_replay import replay_on_mesh
from ttnn_emulator.fidelity.recorded_call import NotReplayable
from ttnn_emulator.fidelity.replay import RECORDED_CORES, replay
from ttnn_emulator.machine import systems

# What `measure` returns.
Results = tuple[list[note.Measured], list[str]]


def measure(cases: Iterable[recordings.Case], device: ttnn.MeshDevice) -> Results:
    """Replay every case on a device, or on a mesh of the cases' shape.

    Returns:
        (case, figures, evidence) of each call, the evidence None where TTNN did it all on the host
        or another arithmetic computed; and a sentence for each case that was refused. A recording
        of several calls has an entry for each.
    """
    results: list[note.Measured] = []
    refusals = []
    for case in cases:
        try:
            results += list(_measured(case, device))
        except (
            NotReplayable,
            ttnn_emulator.NotEmulated,
            ttnn_emulator.OutOfBounds,
            RuntimeError,
            TypeError,
        ) as error:
            results.append((case, ReplayFigures(refused=1), None))
            text = str(error).partition("backtrace:")[0]  # TTNN's own
            sentence = " ".join(text.split()) or type(error).__name__
            refusals.append(sentence if case.name in sentence else f"{case}: {sentence}")
    return results, refusals


def _measured(case: recordings.Case, device: ttnn.MeshDevice) -> Iterator[note.Measured]:
    calls: Iterator[Mapping[str, torch.Tensor]]
    calls = iter([replay(case, device)]) if case.mesh is None else replay_on_mesh(case, device)
    before = ttnn_emulator.computed_calls()
    for outputs in calls:
        computed = ttnn_emulator.computed_calls() > before
        yield case, compare(case, outputs), ttnn_emulator.last_evidence() if computed else None
        before = ttnn_emulator.computed_calls()


def measure_all(cases: Sequence[recordings.Case], arithmetic: str) -> Results:
    """`measure` of recordings on one chip or on several, on devices opened for them.

    A process emulates one system, so those on several chips run in another process.
    """
    results: list[note.Measured] = []
    refusals: list[str] = []
    on_one = [case for case in cases if case.mesh is None]
    on_several = [case for case in cases if case.mesh is not None]
    if on_one:
        with ttnn_emulator.open_device(arithmetic=arithmetic, cores=RECORDED_CORES) as device:
            results, refusals = measure(on_one, device)
    if on_several:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
            more = process.submit(measure_on_meshes, on_several, arithmetic).result()
        results, refusals = results + more[0], refusals + more[1]
    return results, refusals


def measure_on_meshes(cases: Sequence[recordings.Case], arithmetic: str) -> Results:
    """`measure` of recordings on several chips, on the smallest system that has them all."""
    results: list[note.Measured] = []
    refusals: list[str] = []
    system = systems.smallest(max(math.prod(shape_of(case)) for case in cases))
    for shape, of_shape in itertools.groupby(sorted(cases, key=shape_of), shape_of):
        with ttnn_emulator.open_mesh_device(
            shape, system=system.name, arithmetic=arithmetic, cores=RECORDED_CORES
        ) as mesh:
            more = measure(of_shape, mesh)
        results, refusals = results + more[0], refusals + more[1]
    return results, refusals


def shape_of(case: recordings.Case) -> tuple[int, int]:
    """The (rows, columns) of chips of a recording."""
    return case.mesh or (1, 1)
