"""Every recorded call of TTNN's kernels, repeated on the emulated device."""

import dataclasses
import functools

import pytest
import torch
import ttnn

import ttnn_emulator
from ttnn_emulator.evidence import recorded
from ttnn_emulator.fidelity import note, recordings
from ttnn_emulator.fidelity.__main__ import EXACT
from ttnn_emulator.fidelity.measure import measure
from ttnn_emulator.fidelity.recorded_call import NotReplayable, RecordedCall
from ttnn_emulator.fidelity.references import defined, exact
from ttnn_emulator.fidelity.replay import RECORDED_CORES, replay


def moves(case):
    """Whether a case copies values into the format that they have already."""
    formats = {t["dtype"] for t in case.tensors.values() if "float" in (t.get("dtype") or "")}
    return case.family in ("data_movement", "embedding", "heads", "cache") and len(formats) <= 1


# Roundings of float32 tip a tie here and there.
SLACK = 1.001


def path(case):
    return case.path


@functools.cache
def replayed(device, case):
    """The case's figures and evidence."""
    with ttnn_emulator.arithmetic_settings(arithmetic="kernel", cores=RECORDED_CORES):
        [(_, figures, evidence)], refusals = measure([case], device)
    assert not refusals
    return figures, evidence


@pytest.mark.parametrize("case", recordings.one_chip_cases(), ids=path)
def test_replay_gives_the_recorded_bits(device, case):
    figures, _ = replayed(device, case)
    assert figures.meets(EXACT), f"{figures} is not within {EXACT}"


@pytest.mark.parametrize("case", recordings.one_chip_cases(), ids=path)
def test_evidence_of_a_replayed_call_is_what_the_note_says(device, case):
    figures, evidence = replayed(device, case)
    kind = "equal" if note.equal(figures) else "unequal"
    noted = {
        (operation, setting, kind)
        for operation, settings in recorded().items()
        for setting, paths in settings.items()
        for kind in paths
        if case.path in paths[kind]
    }
    measured = set() if evidence is None else {(evidence.operation, evidence.setting, kind)}
    assert noted == measured, "bring the note up to date: python -m ttnn_emulator.fidelity --write"


def test_the_note_is_of_recordings_that_are_there():
    noted = {
        name
        for settings in recorded().values()
        for paths in settings.values()
        for names in paths.values()
        for name in names
    }
    assert noted <= {case.path for case in recordings.all_cases()}


def test_the_readme_has_the_note_of_the_recordings():
    text = note.README.read_text()
    assert "\n".join(note.current()) in text, "run python -m ttnn_emulator.fidelity --write"


@pytest.mark.parametrize("case", [c for c in recordings.one_chip_cases() if moves(c)], ids=path)
def test_rounded_arithmetic_moves_the_same_values(device, case):
    with ttnn_emulator.arithmetic_settings(arithmetic="rounded"):
        outputs = replay(case, device)
    for name, ours in outputs.items():
        padded = case.tensors[name].get("stored") == "padded"
        equal = ours == case.tensor(name, padded=padded)
        assert equal[defined(case, name)].all(), f"{name} differs in {int((~equal).sum())} elements"


def rounds_once(case):
    """Whether float32 rounded once must be nearer to exact: not if padding or infinities decide."""
    return (
        exact(case) is not None
        and case.tensors["out0"]["dtype"] in ("bfloat16", "float32")
        and "special" not in case.attributes
        and not ("softmax" in case.op and "input_padding" in case.attributes)
        and not ("sdpa" in case.name and case.attributes.get("padded_input") == "k")
    )


@pytest.mark.parametrize(
    "case", [c for c in recordings.one_chip_cases() if rounds_once(c)], ids=path
)
def test_rounded_arithmetic_is_nearer_to_exact_than_the_kernels(device, case):
    with ttnn_emulator.arithmetic_settings(arithmetic="rounded"):
        outputs = replay(case, device)
    for name, values in outputs.items():
        logical = tuple(slice(0, size) for size in case.tensors[name]["shape"])
        counts, reference = defined(case, name)[logical], exact(case, name)
        ours, theirs = (
            (x.double() - reference)[counts].norm() / reference[counts].norm()
            for x in (values[logical], case.output(name))
        )
        assert ours <= theirs * SLACK, name


def test_arguments_are_in_the_attributes_or_in_the_name():
    case = recordings.case("exp_fast_37x80")
    assert RecordedCall(case, None).argument("fast_and_approximate_mode") is True
    named = dataclasses.replace(case, name="exp_fast_q32k64_ea0_HiFi4_fp321_ap0")
    call = RecordedCall(named, None)
    assert call.arguments("q_chunk_size", "k_chunk_size", "exp_approx_mode") == {
        "q_chunk_size": 32,
        "k_chunk_size": 64,
        "exp_approx_mode": False,
    }
    config = call.compute()["compute_kernel_config"]
    assert (config.math_fidelity, config.fp32_dest_acc_en) == (ttnn.MathFidelity.HiFi4, True)
    attributes = {
        "fast_and_approximate_mode": False,
        "program_config": "C(q_chunk_size=128, z=A.B)",
    }
    call = RecordedCall(dataclasses.replace(named, attributes=attributes), None)
    assert call.argument("fast_and_approximate_mode") is False
    assert (call.argument("q_chunk_size"), call.argument("z")) == (128, "B")
    call.finish()


@pytest.mark.parametrize("config", ["default", "None", None])
def test_without_a_configuration_ttnn_chooses_its_own(config):
    case = recordings.case("linear_128x512x96_wbf16_default")
    assert (
        RecordedCall(dataclasses.replace(case, attributes={"config": config}), None).compute() == {}
    )


@pytest.fixture
def case():
    return recordings.case("swiglu_32x128")


def test_an_unknown_op_is_refused(case, device):
    with pytest.raises(NotReplayable, match=r"no call is known for 'ttnn\.hyperbole'"):
        replay(dataclasses.replace(case, op="ttnn.hyperbole"), device)


def test_an_unknown_attribute_is_refused(case, device):
    with pytest.raises(NotReplayable, match=r"does not know the attributes \{'mood': 'sad'\}"):
        replay(dataclasses.replace(case, attributes={"mood": "sad"}), device)


def test_an_output_of_another_shape_is_refused(case, device):
    output = case.tensors["out0"] | {"shape": [1, 1, 64, 32]}
    with pytest.raises(NotReplayable, match=r"bfloat16 \[1, 1, 32, 64\], recorded is bfloat16"):
        replay(dataclasses.replace(case, tensors=case.tensors | {"out0": output}), device)


def test_undefined_elements_are_those_without_a_user_or_a_head():
    joined = recordings.case("nlp_concat_heads_decode_h4b8d64")
    assert defined(joined, "out0").sum(-1).flatten().tolist() == [256] * 8 + [0] * 24
    split = recordings.case("nlp_create_qkv_heads_decode_h4kv2d64b1")
    assert defined(split, "out1").sum(-1).flatten().tolist() == [64] * 2 + [0] * 30


def test_references_are_those_of_torch():
    case = recordings.case("linear_silu_64x96x128")
    product = case.tensor("a").double() @ case.tensor("w").double()
    assert torch.equal(exact(case), torch.nn.functional.silu(product))
    assert exact(recordings.case("concat_h")) is None
