"""The command that measures the emulation against recorded kernels."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from ttnn_emulator.fidelity import __main__ as fidelity
from ttnn_emulator.fidelity import recordings
from ttnn_emulator.fidelity.figures import Limit, ReplayFigures, compare, ulps
from ttnn_emulator.fidelity.measure import measure


def record(folder, op, family, attributes, dtype="bfloat16", **tensors):
    """A folder of recordings with one case, `tiny`: float32 tensors, the output is `out0`."""
    entries = {
        name: {
            "role": "output" if name == "out0" else "input",
            "shape": list(values.shape),
            "padded_shape": list(values.shape),
            "dtype": dtype,
            "layout": "TILE",
            "memory": "INTERLEAVED/DRAM",
            "encoding": "f32",
            "key": name,
        }
        for name, values in tensors.items()
    }
    case = {"name": "tiny", "op": op, "file": f"{family}.npz", "attributes": attributes}
    (folder / "index.json").write_text(json.dumps({"cases": [case | {"tensors": entries}]}))
    np.savez(folder / f"{family}.npz", **{name: v.numpy() for name, v in tensors.items()})
    (recorded,) = recordings.cases_of(folder)
    return recorded


def run(*arguments):
    command = [sys.executable, "-m", "ttnn_emulator.fidelity", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recordings", "nowhere"], "nowhere has no index.json; give a folder of recordings."),
        (["--family", "poetry"], "no recordings of poetry; there are all_gather, all_reduce,"),
        (["--arithmetic", "mental"], "invalid choice: 'mental'"),
        (["--set", "third"], "invalid choice: 'third'"),
        (["--write", "--family", "unary"], "--write is of all recordings and of the kernel"),
    ],
    ids=["folder", "family", "arithmetic", "set", "part"],
)
def test_bad_input_is_told_in_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as exit:
        fidelity.main(arguments)
    assert exit.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("chosen", "tables"), [([], ["first", "second"]), (["--set", "second"], ["second"])]
)
def test_each_set_has_a_table_of_its_own(chosen, tables):
    process = run("--family", "embedding", *chosen)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    headings = [line.split(":")[0] for line in lines if "recorded calls" in line]
    assert headings == tables


def test_a_family_without_a_line_in_the_table_is_bad_input(tmp_path, capsys):
    record(tmp_path, "ttnn.add", "poetry", {}, out0=torch.zeros(1, 1, 32, 32))
    with pytest.raises(SystemExit) as exit:
        fidelity.main(["--recordings", str(tmp_path)])
    assert exit.value.code == 2
    assert "no row for recordings of the family 'poetry'" in capsys.readouterr().err


@pytest.mark.parametrize("changed", [0, 1])
def test_one_changed_element_of_an_exact_family_is_not_met(changed, tmp_path):
    values = torch.randn(1, 1, 32, 64).bfloat16().float()
    moved = values.clone()
    moved[..., :changed] += 1.0
    record(tmp_path, "from_torch/to_torch", "data_movement", {}, a=values, out0=moved)
    process = run("--recordings", tmp_path, "--arithmetic", "rounded", "--cases")
    assert process.returncode == (1 if changed else 0), process.stderr
    header, _, family, case = process.stdout.splitlines()
    assert "1 recorded calls, arithmetic rounded, 8 x 9 cores, ttnn 0.81.1, " in header
    assert family.endswith("not met" if changed else " met")
    assert ("98.437" if changed else "100.000") in family
    assert case.split()[0] == "tiny"


def test_a_call_that_cannot_be_made_is_told_and_not_met(tmp_path, device):
    case = record(tmp_path, "ttnn.hyperbole", "unary", {}, out0=torch.zeros(1, 1, 32, 32))
    results, refusals = measure([case], device)
    assert refusals == ["tiny: no call is known for 'ttnn.hyperbole'; add it to CALLS."]
    lines, limits_met = fidelity.table(results)
    assert not limits_met
    assert lines[1].endswith("not met")


def test_a_call_that_ttnn_refuses_is_told_without_its_backtrace(tmp_path, device):
    a, b, out = torch.zeros(1, 1, 32, 64), torch.zeros(1, 1, 32, 64), torch.zeros(1, 1, 32, 64)
    case = record(tmp_path, "ttnn.matmul", "matmul", {}, a=a, b=b, out0=out)
    [(_, figures, _)], [sentence] = measure([case], device)
    assert figures.refused == 1
    assert sentence.startswith("tiny: TT_FATAL")
    assert "backtrace" not in sentence


# --- figures -------------------------------------------------------------------------------------


def test_figures_of_an_example_worked_by_hand(tmp_path):
    """The kernel is off by (+1, -1, +1, -1) ULP; the second result differs and is exact."""
    ulp = 2.0**-7
    exact = torch.ones(1, 1, 1, 4)
    theirs = exact + torch.tensor([ulp, -ulp, ulp, -ulp])
    ours = exact + torch.tensor([ulp, 0.0, ulp, -ulp])
    case = record(
        tmp_path, "ttnn.add", "binary", {}, a=exact, b=torch.zeros_like(exact), out0=theirs
    )
    figures = compare(case, {"out0": ours})
    assert (figures.elements, figures.equal, figures.undefined) == (4, 3, 0)
    assert figures.ulp == 2.0, "below 1 the units are half as large"
    assert figures.distance == pytest.approx(1 / 2)
    # our error less its mean: 3/4, -1/4, 3/4, -5/4
    assert figures.correlation == pytest.approx(3 / math.sqrt(4 * 11 / 4))
    assert figures.meets(Limit(0.75, ulp=2, distance=0.5, correlation=0.9))
    for missed in (Limit(0.76), Limit(0.5, ulp=1), Limit(0.5, distance=0.4)):
        assert not figures.meets(missed)
    assert not figures.meets(Limit(0.5, correlation=0.91))


def test_a_negative_zero_is_not_a_zero(tmp_path):
    zeros = torch.zeros(1, 1, 1, 4)
    case = record(tmp_path, "ttnn.abs", "unary", {}, a=zeros, out0=zeros)
    figures = compare(case, {"out0": -zeros})
    assert (figures.equal, figures.ulp) == (0, 0.0)


def test_undefined_elements_are_counted_and_not_compared(tmp_path):
    values = torch.randn(1, 1, 32, 64)
    case = record(
        tmp_path,
        "ttnn.experimental.nlp_concat_heads_decode",
        "heads",
        {"num_heads": 2},
        a=torch.zeros(1, 8, 2, 32),
        out0=values,
    )
    ours = values.clone()
    ours[:, :, 8:] = 7.0
    figures = compare(case, {"out0": ours})
    assert (figures.elements, figures.equal, figures.undefined) == (8 * 64, 8 * 64, 24 * 64)


def test_figures_of_several_cases_are_sums_and_the_worst():
    first = ReplayFigures(elements=10, equal=10, ulp=0.0, distance=None, correlation=None)
    second = ReplayFigures(elements=30, equal=20, ulp=3.0, distance=0.2, correlation=0.9)
    third = ReplayFigures(elements=60, equal=60, ulp=1.0, distance=0.1, correlation=0.8)
    total = first + second + third
    assert (total.share, total.ulp, total.distance, total.correlation) == (0.9, 3.0, 0.2, 0.8)


def test_a_share_below_one_is_never_shown_as_all(tmp_path):
    assert fidelity._percent(1.0) == "100.000"
    assert fidelity._percent(1 - 1e-9) == "99.999"


@pytest.mark.parametrize(
    ("dtype", "ours", "theirs", "apart"),
    [
        ("bfloat16", 1.0078125, 1.0, 1.0),
        ("bfloat16", 1.0, 0.99609375, 1.0),
        ("bfloat16", -0.0, 0.0, 0.0),
        ("bfloat16", -(2.0**-126), 2.0**-126, 256.0),
        ("float32", 1 + 2.0**-23, 1.0, 1.0),
        ("bfloat8_b", 1 + 2.0**-6, 1.0, 1.0),
        ("bfloat4_b", 1.25, 1.0, 1.0),
    ],
)
def test_units_in_the_last_place_are_those_of_the_format(dtype, ours, theirs, apart):
    ours, theirs = (torch.full((1, 16), value) for value in (ours, theirs))
    assert ulps(ours, theirs, dtype).tolist() == [[apart] * 16]


def test_integers_are_apart_by_their_difference():
    assert ulps(torch.tensor([3, 7]), torch.tensor([5, 7]), "uint32").tolist() == [2.0, 0]
