"""What the suite says where `-k` leaves nothing, or nothing that tells why a phase was not run."""

import inspect

import pytest

from tests.bringups import batched
from tests.support.suite_run import SuiteRun, small, suite
from ttnn_verify.suite import selection

VALUES = "ttnn_verify.suite.layers::test_value"


@pytest.fixture(scope="module", params=[0, 2], ids=["alone", "workers"])
def nothing(request, tmp_path_factory):
    """A run that selects a name which this model has not, with a prompt that it has no room for."""
    folder = tmp_path_factory.mktemp("suite")
    arguments = small(folder, inspect.getfile(batched))
    workers = ("-n", str(request.param))
    chosen = ("-k", "layer1 and no_such_part", "--prompt-lengths=33,999")
    return SuiteRun(folder, *suite(*arguments, *chosen, *workers))


def test_it_says_what_there_is(nothing):
    assert nothing.status == pytest.ExitCode.NO_TESTS_COLLECTED, nothing.out
    (line,) = [one for one in nothing.out.splitlines() if one.startswith("nothing is selected")]
    assert "layer0 to layer1;" in line
    assert "o_proj" in line
    assert "head (" in line


def test_it_says_why_a_prompt_was_not_run(nothing):
    assert "not tested: prefill999: a prompt of 999 tokens" in nothing.out


def test_layers_parts_and_values_are_read_from_the_ids():
    ids = [
        f"{VALUES}[layer{layer}-{place}]"
        for layer in (0, 11)
        for place in ("attention-c_proj-decode", "attention-q-prefill33", "MLP-fc-decode")
    ]
    line = selection.nothing_selected([*ids, f"{VALUES}[embedding-decode]", "other.py::test_x"])
    assert line == (
        "nothing is selected; there are layer0 to layer11; embedding; MLP (fc); "
        "attention (c_proj, q)."
    )


def test_ids_of_other_tests_say_how_to_list_them():
    assert "--collect-only" in selection.nothing_selected(["other.py::test_x[1]"])


def test_a_reason_that_a_selected_test_tells_is_not_told_again():
    phases = {"prefill999": "no room", "prefill9999": "nor here"}
    assert selection.untold(phases, [f"{VALUES}[prefill999]"]) == [
        "not tested: prefill9999: nor here"
    ]
