"""The evidence for an emulated result: the setting of a call, and the recordings of it."""

import pytest
import torch
import ttnn

import ttnn_emulator
from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.exact import elementwise
from ttnn_emulator.arithmetic.exact.eltwise import binary_kernels
from ttnn_emulator.evidence import Evidence, Journal, status_of

TWO_TILES = (1, 1, 32, 64)


@pytest.fixture(autouse=True)
def kernels(device):
    with ttnn_emulator.arithmetic_settings(arithmetic="kernel"):
        yield


def random_tensor(device, *shape, dtype=ttnn.bfloat16, **options):
    options = {"layout": ttnn.TILE_LAYOUT} | options
    return ttnn.from_torch(torch.randn(shape or TWO_TILES), dtype=dtype, device=device, **options)


def compute(fidelity="HiFi4", **options):
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=getattr(ttnn.MathFidelity, fidelity), **options
    )


def of_last():
    evidence = ttnn_emulator.last_evidence()
    return evidence.setting, evidence.status


def test_a_recorded_setting_names_its_recordings(device):
    ttnn.silu(random_tensor(device))
    evidence = ttnn_emulator.last_evidence()
    assert (evidence.operation, evidence.setting, evidence.status) == (
        "ttnn.silu",
        "bf16 -> bf16",
        "recorded",
    )
    assert "first/silu_64x96" in evidence.recordings


@pytest.mark.parametrize(
    ("config", "setting", "status"),
    [
        (None, "bf16, bf16 -> bf16; default config; several blocks of K", "recorded"),
        (
            {"fp32_dest_acc_en": True, "packer_l1_acc": False},
            "bf16, bf16 -> bf16; HiFi4, 32-bit; several blocks of K",
            "recorded",
        ),
        (
            {"fidelity": "LoFi", "fp32_dest_acc_en": True, "packer_l1_acc": True},
            "bf16, bf16 -> bf16; LoFi, 32-bit, L1 sums; several blocks of K",
            "derived",
        ),
    ],
    ids=["default", "32-bit", "unrecorded"],
)
def test_the_setting_of_a_product_is_its_formats_its_config_and_its_blocks(
    device, config, setting, status
):
    config = None if config is None else compute(**config)
    ttnn.linear(
        random_tensor(device, 1, 1, 32, 96),
        random_tensor(device, 1, 1, 96, 64),
        compute_kernel_config=config,
    )
    assert of_last() == (setting, status)


def test_another_format_is_another_setting(device):
    ttnn.silu(random_tensor(device, dtype=ttnn.bfloat8_b))
    assert of_last() == ("bfp8 -> bfp8", "derived")


def test_a_sharded_operand_is_another_setting(device):
    memory = ttnn.create_sharded_memory_config(
        (32, 64), ttnn.CoreGrid(x=1, y=1), ttnn.ShardStrategy.HEIGHT
    )
    ttnn.silu(random_tensor(device, memory_config=memory))
    assert of_last() == ("bf16 sharded -> bf16 sharded", "derived")


def test_copies_have_one_setting_unless_a_block_format_is_packed_again(device):
    ttnn.concat([random_tensor(device), random_tensor(device)], 2)
    assert of_last() == ("copies", "recorded")
    blocks = [random_tensor(device, dtype=ttnn.bfloat8_b) for _ in range(2)]
    ttnn.concat(blocks, 2)
    assert of_last() == ("copies; of bfp8", "derived")


def test_a_function_that_is_not_followed_is_approximate(device, monkeypatch):
    monkeypatch.delitem(elementwise.FOLLOWED, "sinh")
    monkeypatch.setitem(elementwise.NOT_FOLLOWED, "sinh", paths.Fact("sinh in float32", True))
    ttnn.sinh(random_tensor(device))
    assert of_last() == ("bf16 -> bf16; sinh in float32", "approximate")


def test_every_unary_function_is_followed():
    assert not elementwise.NOT_FOLLOWED


def test_a_window_in_decode_attention_is_approximate(device):
    query, cache = random_tensor(device, 1, 1, 32, 64), random_tensor(device, 1, 1, 64, 64)
    ttnn.transformer.scaled_dot_product_attention_decode(
        query, cache, cache, cur_pos=[40], sliding_window_size=32
    )
    setting, status = of_last()
    assert status == "approximate"
    assert "window; " in setting
    assert setting.endswith("a window of decode attention in float32")


def test_a_sharded_norm_is_computed_as_an_interleaved_one_and_says_so(device):
    memory = ttnn.create_sharded_memory_config(
        (32, 64), ttnn.CoreGrid(x=1, y=1), ttnn.ShardStrategy.BLOCK
    )
    program = ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=(1, 1), subblock_w=2, block_h=1, block_w=2, inplace=False
    )
    x = random_tensor(device, memory_config=memory)
    ttnn.rms_norm(x, program_config=program, memory_config=memory)
    assert of_last()[1] == "approximate"
    assert "sharded as if interleaved" in of_last()[0]


def test_a_setting_with_an_unequal_recording_is_not_recorded():
    assert status_of(False, {"equal": ["a"]}) == "recorded"
    assert status_of(False, {"equal": ["a"], "unequal": ["b"]}) == "derived"
    assert status_of(False, {}) == "derived"
    assert status_of(True, {"equal": ["a"]}) == "approximate"


def test_each_setting_is_listed_once(device):
    x = random_tensor(device)
    for _ in range(3):
        ttnn.square(x)
    evidence = [
        entry for entry in ttnn_emulator.found_evidence() if entry.operation == "ttnn.square"
    ]
    assert [entry.setting for entry in evidence].count("bf16 -> bf16") == 1


def test_other_arithmetic_claims_nothing(device):
    ttnn.square(random_tensor(device))
    before, calls = ttnn_emulator.last_evidence(), ttnn_emulator.computed_calls()
    with ttnn_emulator.arithmetic_settings(arithmetic="rounded"):
        ttnn.silu(random_tensor(device))
    assert (ttnn_emulator.last_evidence(), ttnn_emulator.computed_calls()) == (before, calls)


def test_a_trace_is_noted_when_it_is_executed(device):
    x = random_tensor(device)
    ttnn.abs(x)
    calls = ttnn_emulator.computed_calls()
    trace = ttnn.begin_trace_capture(device)
    ttnn.abs(x)
    ttnn.end_trace_capture(device, trace)
    assert ttnn_emulator.computed_calls() == calls
    ttnn.execute_trace(device, trace)
    ttnn.release_trace(device, trace)
    assert ttnn_emulator.computed_calls() == calls + 1


def test_facts_of_an_interrupted_call_are_not_told_of_the_next(device):
    paths.tell(binary_kernels.POWER)
    ttnn.abs(random_tensor(device))
    assert of_last() == ("bf16 -> bf16", "recorded")


def test_evidence_reads_as_an_operation_and_its_setting():
    assert str(Evidence("ttnn.abs", "bf16 -> bf16", "derived")) == "abs (bf16 -> bf16)"
    assert Journal().distinct() == ()
