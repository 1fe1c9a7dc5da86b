"""TTNN's own comparison mode, with our golden functions for the ops that lack one.

TTNN compares by PCC. That each op is right, and by how much it may be off, is test_ops.py's part;
here it is that nothing on the model's way is left out, up to the accumulated golden of the logits.
"""

import contextlib

import pytest
import ttnn
from loguru import logger

from model.optimized import build_model
from ttnn_verify.ops import comparison_mode, table

from .op_checks import outputs
from .table import OPS

# The entries of the ops that get a golden function; some have two, for a prompt and for a token.
ATTACHED = [op.name for op in OPS.values() if table.spec_of(op.operation).comparison]

# Attention's exponential costs 0.0003 (ttnn_verify.numerics.op_floors); the whole model's error is
# bounded elsewhere.
LOCAL_PCC, GLOBAL_PCC = 0.9995, 0.995

# Ops whose results are no tensors, or are there before anything is computed.
NOT_COMPARED = {
    "ttnn.copy_host_to_device_tensor",
    "ttnn.deallocate",
    "ttnn.synchronize_device",
}


class Recorder:
    """What TTNN compared: op names of calls, comparisons as (op, level, pcc), and its warnings."""

    def __init__(self):
        self.calls, self.comparisons, self.warnings = [], [], []

    def count(self, level):
        return [op for op, where, _ in self.comparisons if where == level]

    def worst(self, level):
        return min((pcc, op) for op, where, pcc in self.comparisons if where == level)


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    """Comparison mode with a report, so with accumulated goldens too, and a record of it."""
    record = Recorder()
    compare = ttnn.decorators.compare_tensors_using_pcc

    def compare_and_tell(name, golden, output, desired_pcc, level, *rest, **kwargs):
        results = compare(name, golden, output, desired_pcc, level, *rest, **kwargs)
        if "output_path" not in kwargs:  # with it, a part of several results, of which all return
            record.comparisons.extend((name, level, result["actual_pcc"]) for result in results)
        return results

    def called(operation, args, kwargs, output):
        record.calls.append(operation.python_fully_qualified_name)

    monkeypatch.setattr(ttnn.decorators, "compare_tensors_using_pcc", compare_and_tell)
    handler = logger.add(lambda line: record.warnings.append(str(line)), level="WARNING")
    settings = {
        "enable_comparison_mode": True,
        "comparison_mode_should_raise_exception": True,
        "comparison_mode_pcc": GLOBAL_PCC,
        "root_report_path": tmp_path,
        "report_name": "comparison",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(comparison_mode.attached())
        for name, value in settings.items():
            stack.enter_context(ttnn.manage_config(name, value))
        stack.enter_context(ttnn.register_post_operation_hook(called))
        yield record
    logger.remove(handler)
    ttnn.decorators.TENSOR_ID_TO_GLOBAL_LEVEL_GOLDEN_TENSOR.clear()


def test_a_whole_forward_pass_is_compared_up_to_its_logits(hf_model, prompt_ids, device, recorder):
    """A prompt that fills no tile, and a token; the weights and caches are made in the mode too."""
    model = build_model(hf_model, device, 64)
    first = model(input_ids=prompt_ids[:, :37])
    model(input_ids=prompt_ids[:, 37:38], past_key_values=first.past_key_values)

    left_out = [line for line in recorder.warnings if "skipped" in line]
    assert not left_out, f"{len(left_out)} comparisons were left out, the first: {left_out[0]}"
    locally, globally = recorder.count("locally"), recorder.count("globally")
    assert set(recorder.calls) - NOT_COMPARED == set(locally) == set(globally)
    assert len(locally) == len(globally) > 200
    assert globally[-1] == "ttnn.to_torch", "the logits have no accumulated golden"
    for level, least in (("locally", LOCAL_PCC), ("globally", GLOBAL_PCC)):
        pcc, op = recorder.worst(level)
        assert pcc >= least, f"{op} compared {level}: PCC {pcc}"


@pytest.mark.parametrize("name", ATTACHED)
def test_attached_golden_is_what_the_op_computes(name, device, recorder):
    """For every sample of the table; a comparison that fails, or a golden that does, raises."""
    op = OPS[name]
    for sample in op.samples:
        recorder.comparisons.clear()
        operands = sample.make()
        outputs(op, sample, operands, device)
        compared = {where for _, where, _ in recorder.comparisons}
        assert compared == {"locally", "globally"}, sample.id
    assert not [line for line in recorder.warnings if "skipped" in line]


def test_every_op_without_a_golden_got_one():
    with comparison_mode.attached() as goldens:
        for operation, golden in goldens.items():
            assert operation.golden_function is golden
    assert all(operation.golden_function is not golden for operation, golden in goldens.items())


def test_every_golden_is_of_an_op_of_the_table():
    names = {spec.names[0] for spec in table.ROWS if spec.comparison}
    assert sorted(names - {op.operation for op in OPS.values()}) == []
