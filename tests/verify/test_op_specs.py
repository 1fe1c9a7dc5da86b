"""Operation specs: goldens refuse unknown arguments, and agree with the table of op tests.

The goldens of `tests/ops` and those of drift are written independently. Here the table's calls are
intercepted before they reach TTNN, and computed by drift's goldens: no device is needed.
"""

import inspect

import pytest
import torch
import ttnn

from tests.ops import table as op_table
from tests.ops.op_checks import as_list
from tests.ops.operands import held
from ttnn_emulator.ops import BINDINGS
from ttnn_verify.drift.observation import taps
from ttnn_verify.numerics import metrics
from ttnn_verify.ops import comparison_mode, table
from ttnn_verify.ops.expected import CallContext, NoGolden
from ttnn_verify.ops.spec import PLACEMENT, PRECISION

CONTEXT = CallContext(("bfloat16",), ((1, 1, 32, 32),))

# Float64 against float64, but for Hugging Face's own float32 within: its softmax, its tables.
CLOSE = 2e-6


# Entries of the op table that are not compared though drift has a golden: the call asks operands
# for their device or their padding, which torch tensors do not have, or makes several calls of
# them.
NOT_COMPARED = {
    "copy",
    "interleaved_to_sharded",
    "prefix_scan",
    "prefix_scan_state",
    "reshard",
    "to_memory_config",
    "to_memory_config_and_back",
}


def compared_specs():
    return [spec for spec in table.ROWS if spec.judged]


# Emulated operations whose results are not compared: they make a tensor from its shape alone, their
# numbers are random, or no device has their results.
FROM_A_SHAPE = {
    *("arange", "empty", "empty_like", "full", "full_like", "moreh_full", "moreh_full_like"),
    *("ones", "ones_like", "zeros", "zeros_like"),
}
AT_RANDOM = {"bernoulli", "manual_seed", "rand", "randn", "sampling", "uniform"}
ON_THE_HOST = {"to_dtype"}
# Those without a golden here: TTNN's own golden function computes them, and knows their arguments.
BY_TTNNS_GOLDEN = {
    "fill_cache_for_user_",
    "split_query_key_value_and_split_heads",
    "update_cache_for_token_",
}


def test_every_emulated_operation_has_a_row():
    emulated = {table.short_name(name) for name in BINDINGS}
    rows = {name: table.SPECS[name] for name in emulated & table.SPECS.keys()}
    assert sorted(emulated - rows.keys()) == []
    assert sorted(name for name, row in rows.items() if not row.judged) == sorted(
        FROM_A_SHAPE | AT_RANDOM | ON_THE_HOST
    )
    without = {name for name, row in rows.items() if row.judged and row.golden is None}
    assert sorted(without) == sorted(BY_TTNNS_GOLDEN)


def some_arguments(golden):
    """A value for each argument without a default."""
    args, kwargs = [], {}
    for parameter in inspect.signature(golden).parameters.values():
        if parameter.name == "context" or parameter.default is not parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = 1
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            args.append(None)
    return args, kwargs


def operation_of(name):
    places = (ttnn, ttnn.experimental, ttnn.transformer, ttnn.kv_cache)
    return next((getattr(place, name) for place in places if hasattr(place, name)), None)


COMPARED = [name for spec in compared_specs() for name in spec.names]


@pytest.mark.parametrize("name", COMPARED)
def test_an_unknown_argument_has_no_golden(name):
    """Called as drift calls it: arguments are checked before any operand is read."""
    spec = table.spec_of(name)
    args, kwargs = ([], {}) if spec.golden is None else some_arguments(spec.golden)
    with pytest.raises(NoGolden) as refusal:
        table.expected_results(
            f"ttnn.{name}", operation_of(name), CONTEXT, args, kwargs | {"mood": "sad"}
        )
    if spec.golden is not None:
        assert "unexpected keyword argument 'mood'" in str(refusal.value)


@pytest.mark.parametrize("name", sorted(table.SPECS))
def test_arguments_that_say_where_a_result_lives_are_known(name):
    spec = table.spec_of(name)
    placement = dict.fromkeys((*PLACEMENT, *PRECISION), "somewhere")
    assert spec.computed_arguments(placement) == {}


@pytest.mark.parametrize(
    ("name", "argument", "harmless", "value"),
    [
        pytest.param(spec.names[0], argument, harmless, value, id=f"{spec.names[0]}-{argument}")
        for spec in compared_specs()
        for argument, harmless in spec.neutral.items()
        for value in (7,)
    ],
)
def test_an_argument_that_is_not_computed_has_no_golden(name, argument, harmless, value):
    spec = table.spec_of(name)
    for harmless_value in (None, *harmless):
        assert spec.computed_arguments({argument: harmless_value}) == {}
    for other in (value, torch.ones(4)):
        with pytest.raises(NoGolden, match=argument):
            spec.computed_arguments({argument: other})


def test_a_window_or_a_sink_has_no_golden():
    for name in table.FAMILIES["attention"]:
        args, _ = some_arguments(table.spec_of(name).golden)
        for more in ({"sliding_window_size": 8}, {"attention_sink": torch.ones(2)}):
            with pytest.raises(NoGolden, match=next(iter(more))):
                table.expected_results(f"ttnn.{name}", None, CONTEXT, args, more)


def test_what_ttnns_golden_does_not_look_at_has_no_golden():
    class Summing:
        @staticmethod
        def golden_function(input_tensor, dim, *args, keepdim=False, **kwargs):
            return input_tensor.sum(dim, keepdim)

    x = torch.ones(4, 4)

    def results(*args, **kwargs):
        return table.expected_results("ttnn.summing", Summing, CONTEXT, args, kwargs)

    assert torch.equal(results(x, 0, keepdim=True, memory_config="l1")[0].value, 4 * x[:1].double())
    with pytest.raises(NoGolden, match="'correction'"):
        results(x, 0, correction=1)
    with pytest.raises(NoGolden, match="knows 2 arguments"):
        results(x, 0, True)


# --- the same as the op table's goldens ----------------------------------------------------------


# Operations whose two results are the parts of a complex tensor.
COMPLEX = {"ttnn.complex_tensor", "ttnn.conj", "ttnn.polar"}


def samples():
    return [
        pytest.param(op, sample, id=f"{op.name}-{sample.id}")
        for op, sample in op_table.calls("samples")
        if op.name not in NOT_COMPARED and table.spec_of(op.operation).golden
    ]


def context_of(op, sample, golden):
    dtype = (sample.result or sample.dtype).name.lower()
    return CallContext((dtype,) * len(golden), tuple(tuple(result.shape) for result in golden))


@pytest.mark.parametrize(("op", "sample"), samples())
@pytest.mark.usefixtures("device")  # by which TTNN knows the tiles of block formats
def test_goldens_agree_with_the_op_table(op, sample):
    operands = [held(operand) for operand in sample.make()]
    exact = [x.double() if op.floor and x.is_floating_point() else x for x in operands]
    golden = as_list(op.golden(*exact, **sample.kwargs))
    compared = []

    def observe(call, run):
        spec = table.spec_of(call.name)
        context = context_of(op, sample, golden)
        results = spec.results(context, call.args, call.kwargs)
        compared.extend(results)
        values = [result.value for result in results]
        if call.name in COMPLEX:
            return torch.complex(*values)
        return written(spec, call, results) or unpacked(values)

    values = [x.float() if x.is_floating_point() else x for x in operands]
    with taps.intercept(observe):
        actual = as_list(op.call(*values, **sample.kwargs))
    assert len(actual) == len(golden)
    for expected, value, result in zip(golden, actual, compared[-len(actual) :], strict=True):
        if value.shape != expected.shape:  # what the operation does not write is left out
            expected = expected[result.region]
        if op.floor is None:
            assert torch.equal(value.double(), expected.double())
        else:
            assert metrics.relative_l2(expected.double(), value.double()) <= CLOSE


def written(spec, call, results):
    """Write results into the caches of the call; whether it has any."""
    caches = [call.kwargs.get(write.cache, call.args[write.cache_at]) for write in spec.writes]
    if not caches and comparison_mode.writes_in_place(spec):
        caches = [call.args[0]]
    for cache, result in zip(caches, results, strict=bool(caches)):
        cache[result.region] = result.value
    return bool(caches)


def unpacked(values):
    return values[0] if len(values) == 1 else values
