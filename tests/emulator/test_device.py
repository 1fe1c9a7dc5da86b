"""The emulated device itself: contents, reads, errors, lifetime."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.tensors import on_tiles

DTYPES = [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32]
SHAPES = [(32, 32), (1, 1, 37, 80), (2, 3, 1, 96), (5, 33)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name.lower())
def test_every_host_read_gives_what_ttnn_packs_on_the_host(device, dtype, shape):
    values = torch.randn(shape)
    packed = ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT).to_torch()
    tensor = on_tiles(device, values, dtype)
    for name, read in {
        "to_torch": ttnn.to_torch(tensor),
        "from_device": ttnn.from_device(tensor).to_torch(),
        "cpu": tensor.cpu().to_torch(),
        "method": tensor.to_torch(),
        "to_list": torch.tensor(tensor.to_list(), dtype=packed.dtype),
    }.items():
        assert torch.equal(read, packed), name


@pytest.mark.parametrize("layout", [ttnn.ROW_MAJOR_LAYOUT, ttnn.TILE_LAYOUT])
@pytest.mark.parametrize("dtype", [ttnn.uint32, ttnn.int32, ttnn.uint16])
def test_integers_keep_their_values(device, dtype, layout):
    values = torch.arange(70, dtype=torch.int32).reshape(2, 35)
    tensor = ttnn.from_torch(values, dtype=dtype, layout=layout, device=device)
    assert torch.equal(ttnn.to_torch(tensor).to(torch.int32), values)


def test_item_reads_a_scalar(device):
    assert ttnn.from_torch(torch.tensor([3.5]), dtype=ttnn.float32, device=device).item() == 3.5


def test_printing_shows_contents(device):
    assert "7.0000,  7.0000" in str(on_tiles(device, torch.full((32, 32), 7.0)))


def test_padding_is_part_of_the_contents(device):
    values = torch.randn(1, 1, 3, 5).bfloat16()
    tensor = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=device, pad_value=2.0)
    padded = tensor.to_torch_with_padded_shape()
    assert padded.shape == (1, 1, 32, 32)
    assert torch.equal(padded[..., :3, :5], values)
    assert padded.sum().float() == pytest.approx(
        float(values.float().sum()) + 2 * (1024 - 15), rel=0.01
    )


def test_host_tensors_move_by_method_and_by_function(device):
    values = torch.randn(37, 80).bfloat16()
    host = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT)
    for moved in (host.to(device), ttnn.to_device(host, device)):
        assert torch.equal(ttnn.to_torch(moved), values)


def test_a_device_tensor_is_no_part_of_the_host_tensor_it_came_from(device):
    host = ttnn.from_torch(torch.ones(4, 32).bfloat16())
    moved = ttnn.to_device(host, device)
    ttnn.copy_host_to_device_tensor(ttnn.from_torch(torch.zeros(4, 32).bfloat16()), moved)
    assert host.to_torch().sum() == 128
    assert ttnn.to_torch(moved).sum() == 0


def test_copy_host_to_device_overwrites_in_place(device):
    tensor = on_tiles(device, torch.zeros(32, 32))
    values = torch.randn(32, 32).bfloat16()
    ttnn.copy_host_to_device_tensor(ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT), tensor)
    assert torch.equal(ttnn.to_torch(tensor), values)


def test_a_saved_tensor_comes_back(device, tmp_path):
    values = torch.randn(37, 80).bfloat16()
    file = tmp_path / "t.tensorbin"
    ttnn.dump_tensor(file, on_tiles(device, values))
    assert torch.equal(ttnn.to_torch(ttnn.load_tensor(file, device=device)), values)


def test_as_tensor_reads_its_cache_file(device, tmp_path):
    values = torch.randn(40, 64).bfloat16()
    for source in (values, torch.zeros_like(values)):  # the second call must read the file
        tensor = ttnn.as_tensor(
            source,
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            cache_file_name=tmp_path / "w",
        )
        assert torch.equal(ttnn.to_torch(tensor), values)


def test_an_allocated_tensor_is_recognisably_undefined(device):
    tensor = ttnn.allocate_tensor_on_device(
        ttnn.Shape([32, 32]), ttnn.bfloat16, ttnn.TILE_LAYOUT, device
    )
    assert ttnn.to_torch(tensor).isnan().all()


def test_an_operation_without_arithmetic_names_itself_and_its_tensors(device):
    tensor = on_tiles(device, torch.ones(1, 1, 37, 80))
    with pytest.raises(ttnn_emulator.NotEmulated) as error:
        ttnn.upsample(tensor, 2)
    assert "ttnn.upsample(bfloat16 [1, 1, 37, 80] tile, 2)" in str(error.value)
    assert "ttnn_emulator/ops/" in str(error.value)


def test_a_tensor_nobody_wrote_cannot_be_read(device):
    spec = on_tiles(device, torch.ones(32, 32))
    unseen = ttnn._ttnn.operations.core.allocate_tensor_on_device(
        spec.shape, spec.dtype, spec.layout, device
    )
    with pytest.raises(ttnn_emulator.UnknownContents, match=r"\(32, 32\)"):
        ttnn.to_torch(unseen)


def test_a_deallocated_tensor_cannot_be_read(device):
    tensor = on_tiles(device, torch.ones(32, 32))
    ttnn.deallocate(tensor)
    with pytest.raises(RuntimeError, match=r"\(32, 32\) was deallocated"):
        ttnn.to_torch(tensor)


def test_host_only_methods_refuse_device_tensors(device):
    with pytest.raises(ttnn_emulator.NotEmulated, match="host_buffer"):
        on_tiles(device, torch.ones(32, 32)).host_buffer()


def test_ttnn_itself_refuses_mismatched_shapes(device):
    tensor = on_tiles(device, torch.ones(32, 64))
    with pytest.raises(RuntimeError, match="width of the first tensor must be equal"):
        ttnn.linear(tensor, tensor)


def test_ttnn_itself_runs_out_of_memory(device):
    def zeros():
        return ttnn.zeros((1, 32, 4096, 320), ttnn.bfloat16, ttnn.TILE_LAYOUT, device)

    with pytest.raises(RuntimeError, match="Out of Memory"):
        [zeros() for _ in range(400)]  # 32 GiB, an n150 has 12


def test_contents_go_when_their_buffers_go(device):
    tensor = on_tiles(device, torch.ones(256, 256))
    before = None
    for step in range(1200):
        ttnn.add(tensor, tensor)
        if step == 600:
            before = ttnn_emulator.contents_bytes()
    # 600 results that stay are 79 MB, of bfloat16: 24 November 2026.
    assert ttnn_emulator.contents_bytes() <= before + (64 << 20)


def test_comparison_mode_sees_the_emulated_contents(device):
    tensor = on_tiles(device, torch.randn(37, 80))
    with (
        ttnn.manage_config("enable_comparison_mode", True),
        ttnn.manage_config("comparison_mode_should_raise_exception", True),
    ):
        ttnn.add(tensor, tensor)


SCRIPT = """
import sys
import torch
import ttnn

device = ttnn.open_device(device_id=0)
twos = torch.full((2, 3), 2.0)
a = ttnn.from_torch(twos, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
print(sys.argv[1:], float(ttnn.to_torch(ttnn.add(a, a)).sum()))
ttnn.close_device(device)
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ttnn_emulator", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def test_an_unmodified_script_runs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = run(str(script), "a", "--b")
    assert (result.returncode, result.stdout) == (0, "['a', '--b'] 24.0\n"), result.stderr


def test_a_missing_script_is_one_sentence():
    result = run("nowhere.py")
    assert result.returncode == 2
    assert result.stderr == "error: nowhere.py is not a file; give the path of a script.\n"


def test_a_closed_device_opens_again_and_nothing_stays_installed():
    code = """
import ttnn, torch, ttnn_emulator
genuine = ttnn.add.function
for value in (1.0, 2.0):
    with ttnn_emulator.open_device() as device:
        t = ttnn.from_torch(torch.full((4, 4), value), layout=ttnn.TILE_LAYOUT, device=device)
        print(float(ttnn.to_torch(t)[0, 0]))
assert ttnn.add.function is genuine and ttnn_emulator.contents_bytes() == 0
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "1.0\n2.0\n"), result.stderr


def test_a_binding_of_no_operation_of_ttnns_is_refused():
    code = """
import ttnn_emulator
from ttnn_emulator.ops import FAMILIES

FAMILIES["matmul"]["ttnn.liner"] = FAMILIES["matmul"]["ttnn.linear"]
ttnn_emulator.install()
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert result.returncode
    assert "'matmul' (ttnn_emulator/ops) have 'ttnn.liner', which is no operation" in result.stderr


SECOND = """
import sys, ttnn, torch, ttnn_emulator
opening = {
    "with": lambda: ttnn_emulator.open_device().__enter__(),
    "open_device": lambda: ttnn.open_device(device_id=0),
    "manage_device": lambda: ttnn.manage_device(device_id=0).__enter__(),
    "CreateDevice": lambda: ttnn.CreateDevice(0),
    "CreateDevices": lambda: ttnn.CreateDevices([0]),
    "open_mesh_device": lambda: ttnn.open_mesh_device(ttnn.MeshShape(1, 1)),
    "create_mesh_device": lambda: ttnn.create_mesh_device(ttnn.MeshShape(1, 1)).__enter__(),
}
with ttnn_emulator.open_device() as device:
    ones = ttnn.from_torch(torch.ones(32, 32), layout=ttnn.TILE_LAYOUT, device=device)
    for name, open_another in opening.items():
        try:
            open_another()
        except ttnn_emulator.SecondDevice as error:
            assert "is open" in str(error) and "ttnn.close_device" in str(error)
        else:
            sys.exit(f"{name} opens a second device")
    part = device.create_submesh(ttnn.MeshShape(1, 1))
    ttnn.close_mesh_device(part)
    assert (ttnn.to_torch(ttnn.add(ones, ones)) == 2).all()
"""


def test_a_second_device_is_refused_and_the_first_keeps_what_it_holds():
    assert ran(SECOND) == ""


IN_TURN = """
import ttnn, torch, ttnn_emulator
ttnn_emulator.install()
shape = ttnn.MeshShape(1, 1)
for open_one, close in (
    (lambda: ttnn.open_device(device_id=0), ttnn.close_device),
    (lambda: ttnn.CreateDevice(0), ttnn.CloseDevice),
    (lambda: ttnn.open_mesh_device(shape), ttnn.close_mesh_device),
    (lambda: ttnn.open_device(device_id=0), None),  # dropped, which closes it
    (lambda: ttnn.open_device(device_id=0), ttnn.close_device),
):
    device = open_one()
    t = ttnn.from_torch(torch.ones(4, 4), layout=ttnn.TILE_LAYOUT, device=device)
    print(int(ttnn.to_torch(ttnn.add(t, t)).sum()))
    if close:
        close(device)
        assert ttnn_emulator.contents_bytes() == 0
    del device, t
"""


def test_one_device_after_another_may_be_opened():
    assert ran(IN_TURN) == "32\n" * 5


def ran(code):
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_reads_may_be_many(device):
    """The mock device hangs at about the 8,190th read of its own."""
    x = ttnn.from_torch(torch.ones(1, 1), device=device)
    for _ in range(4500):
        ttnn.to_torch(x)
        x.cpu()


def test_temporaries_take_pages_that_the_process_has_already(device):
    """The second time, arrays as large as a kernel's do not have the system clear new pages."""
    faults = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        [np.ones(8 << 20, np.uint8) for _ in range(8)]
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert faults[1] < 2000  # of 16384 pages


def test_events_are_recorded_and_waited_for(device):
    x = on_tiles(device, torch.ones(32, 32))
    event = ttnn.record_event(device, 0)
    ttnn.wait_for_event(0, event)
    ttnn.wait_for_event(mesh_event=event)
    ttnn.event_synchronize(event)
    assert ttnn.to_torch(ttnn.add(x, x)).eq(2).all()
    with pytest.raises(TypeError, match=r"no ttnn\.MeshEvent"):
        ttnn.event_synchronize(x)


@pytest.mark.parametrize(
    ("arithmetic", "rows", "used"), [("kernel", 32, 1), ("kernel", 4096, 3), ("rounded", 32, 3)]
)
def test_torch_prepares_a_small_result_of_a_kernel_in_one_thread(arithmetic, rows, used, device):
    threads = []

    def counted(genuine):
        def binding(launch, a, b):
            threads.append(torch.get_num_threads())
            return genuine(launch, a, b)

        return binding

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with (
            ttnn_emulator.arithmetic_settings(arithmetic),
            ttnn_emulator.binding_replaced("ttnn.add", counted),
        ):
            x = on_tiles(device, torch.zeros(rows, 1024))
            ttnn.add(x, x)
        assert threads == [used]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
