"""Which backend is picked, what is refused, and that a device never stays open."""

import contextlib
import gc
import os
import subprocess
import sys

import pytest

import ttnn_emulator
from tests.support.checkpoint import ROOT
from ttnn_emulator.machine import systems
from ttnn_verify import backend

# Prints what torch would find when it is imported, and imports nothing.
WATCH_TORCH = """
import os, sys

class Watch:
    @staticmethod
    def find_spec(name, *_):
        if name == "torch":
            print(os.environ["OMP_WAIT_POLICY"])
            sys.exit()

sys.meta_path.insert(0, Watch)
import {module}
"""


@pytest.fixture
def no_card(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "CARDS", tmp_path / "nothing")
    monkeypatch.delenv("TT_METAL_SIMULATOR", raising=False)


@pytest.fixture
def card(tmp_path, monkeypatch):
    (tmp_path / "0").touch()
    monkeypatch.setattr(backend, "CARDS", tmp_path)
    monkeypatch.delenv("TT_METAL_SIMULATOR", raising=False)


def test_emulated_without_card_and_simulator(no_card):
    assert backend.pick() == "emulated"


def test_simulator_where_its_variable_is_set(no_card, monkeypatch):
    monkeypatch.setenv("TT_METAL_SIMULATOR", "libttsim_wh.so")
    assert backend.pick() == "simulator"


def test_silicon_where_a_card_is(card):
    assert backend.pick() == "silicon"
    assert backend.pick("emulated") == "emulated"


def test_a_card_is_not_claimed_while_ttnn_would_open_the_simulator(card, monkeypatch):
    monkeypatch.setenv("TT_METAL_SIMULATOR", "libttsim_wh.so")
    assert backend.pick() == "simulator"
    with pytest.raises(backend.BackendError, match=r"libttsim_wh\.so.*unset"):
        backend.pick("silicon")


@pytest.mark.parametrize(
    ("name", "says"),
    [("silicon", "no card"), ("simulator", "not set"), ("gpu", "silicon, simulator")],
)
def test_what_is_not_there_is_refused(no_card, name, says):
    with pytest.raises(backend.BackendError, match=f"{name}.*{says}"):
        backend.pick(name)
    with pytest.raises(backend.BackendError), backend.open_device(name):
        pass


@pytest.mark.parametrize("number", [-1, 1])
def test_an_n150_has_one_device(no_card, number):
    opening = backend.open_device("emulated", number)
    with pytest.raises(backend.BackendError, match=f"device {number}"), opening:
        pass


@pytest.mark.parametrize("name", ["silicon", "simulator"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_device_is_closed_however_the_block_ends(card, monkeypatch, name, fails):
    if name == "simulator":
        monkeypatch.setenv("TT_METAL_SIMULATOR", "libttsim_wh.so")
    calls = []
    monkeypatch.setattr("ttnn.open_device", lambda device_id: calls.append("open") or "device")
    monkeypatch.setattr("ttnn.close_device", lambda device: calls.append(f"close {device}"))
    ends = pytest.raises(RuntimeError, match="in the block")
    with ends if fails else contextlib.nullcontext(), backend.open_device(name) as device:
        assert device == "device"
        if fails:
            raise RuntimeError("in the block")
    assert calls == ["open", "close device"]


def test_a_card_that_does_not_open_is_ttnns_error(card, monkeypatch):
    def broken(device_id):
        raise RuntimeError("chip does not answer")

    monkeypatch.setattr("ttnn.open_device", broken)
    with pytest.raises(RuntimeError, match="does not answer"), backend.open_device("silicon"):
        pass


def test_the_arithmetics_are_the_emulators_the_default_first():
    assert set(backend.ARITHMETICS) == set(ttnn_emulator.ARITHMETICS)
    assert backend.ARITHMETICS[0] == ttnn_emulator.DEFAULT_ARITHMETIC


def test_the_systems_are_the_emulators_the_smallest_first():
    known = {system.name: system.chips for system in systems.SYSTEMS.values()}
    assert list(backend.SYSTEMS.items()) == list(known.items())


@pytest.mark.parametrize(
    ("system", "mesh", "picked"),
    [
        (None, None, "n150"),
        (None, (1, 1), "n150"),
        (None, (2, 1), "n300"),
        (None, (2, 4), "t3000"),
        ("t3000", None, "t3000"),
        ("t3000", (1, 2), "t3000"),
    ],
)
def test_the_smallest_system_that_holds_the_mesh(system, mesh, picked):
    assert backend.pick_system("emulated", system, mesh) == picked


@pytest.mark.parametrize(
    ("system", "mesh", "says"),
    [("n9000", None, "there are n150, n300, t3000"), ("n150", (1, 2), "an n150 has 1")],
)
def test_a_system_that_is_too_small_or_unknown(system, mesh, says):
    with pytest.raises(backend.BackendError, match=says):
        backend.pick_system("emulated", system, mesh)


@pytest.mark.parametrize("chips", [1, 8])
def test_cards_are_opened_as_a_mesh_with_the_fabric(card, monkeypatch, chips):
    calls = []
    monkeypatch.setattr("ttnn.get_num_devices", lambda: chips)
    monkeypatch.setattr("ttnn.set_fabric_config", lambda fabric: calls.append(fabric.name))
    monkeypatch.setattr("ttnn.open_mesh_device", lambda shape: calls.append(tuple(shape)) or "mesh")
    monkeypatch.setattr("ttnn.close_mesh_device", lambda mesh: calls.append(f"close {mesh}"))
    opening = backend.open_device("silicon", mesh=(1, 8))
    if chips < 8:
        with pytest.raises(backend.BackendError, match=r"is 8 chips: there are 1\."), opening:
            pass
        assert calls == []
        return
    with opening as mesh:
        assert mesh == "mesh"
    assert calls == ["FABRIC_1D", (1, 8), "close mesh", "DISABLED"]


@pytest.mark.parametrize(("threads", "numba"), [(None, None), ("1", "1"), ("3,1", "3")])
def test_waiting_threads_sleep_and_numba_has_no_more_than_torch(monkeypatch, threads, numba):
    environment = {"OMP_NUM_THREADS": threads} if threads else {}
    monkeypatch.setattr(os, "environ", environment)
    backend.spare_cores()
    assert environment["OMP_WAIT_POLICY"] == "passive"
    assert environment.get("NUMBA_NUM_THREADS") == numba


def test_what_the_environment_says_of_threads_holds(monkeypatch):
    given = {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    monkeypatch.setattr(os, "environ", dict(given))
    backend.spare_cores()
    assert os.environ == given


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_during_imports_alone(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with contextlib.suppress(ImportError), backend.imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("module", ["ttnn_verify.drift", "ttnn_verify.eval_command"])
def test_threads_are_limited_before_torch_is_imported(module):
    script, environment = WATCH_TORCH.format(module=module), dict(os.environ)
    environment.pop("OMP_WAIT_POLICY", None)
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "passive\n", run.stderr


def test_no_system_is_named_for_a_mesh_that_none_holds():
    assert backend.smallest_system(None) == "n150"
    assert backend.smallest_system((2, 4)) == "t3000"
    assert backend.smallest_system((4, 8)) is None
