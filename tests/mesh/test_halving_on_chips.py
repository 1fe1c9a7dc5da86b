"""`drift --frugal` on models that run on several chips: each value as it lies over them."""

import functools

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.bringups import parallel_llama
from tests.bringups.parallel_llama import ParallelLlama
from ttnn_verify import drift
from ttnn_verify.drift import search
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.observation import walk

PROMPT, DECODED = 17, 2
LINES = [(1, 2), (1, 4)]
SHAPES = [*LINES, (2, 2)]
MOST = 1 + 1 + 4  # runs: traced, over 2 layers, over 15 steps


@functools.cache
def reference():
    return parallel_llama.hf_llama(0)


def ids():
    generator = torch.Generator().manual_seed(1)
    size = (1, PROMPT + DECODED)
    return torch.randint(3, parallel_llama.CONFIG.vocab_size, size, generator=generator)


def suspected(model_class, mesh):
    """What halving suspects, before the walk."""
    values = ExpectedValues(reference())
    sequences = [one for one in walk.sequences(ids(), DECODED) if not one.optional]
    for sequence in sequences:
        for tokens in sequence.rows:
            values.prepare(tokens)
    return search.search(model_class(reference(), mesh), sequences, values)


class Gathering(ParallelLlama):
    """With sums that are scattered and gathered."""

    def sum(self, x):
        axis = None if self.flat else 1
        part = ttnn.reduce_scatter(x, 3, cluster_axis=axis)
        return ttnn.all_gather(part, 3, cluster_axis=axis)


class InLayer(ParallelLlama):
    """With a weight of layer 1 changed, on the last chip of a row."""

    name = ""

    def layer(self, prefix):
        if not prefix.endswith("1."):
            return super().layer(prefix)
        kept, name = self.weights, f"{prefix}{self.name}.weight"
        self.weights = {**kept, name: self.changed(kept[name].clone())}
        made = super().layer(prefix)
        self.weights = kept
        return made


class WrongGate(InLayer):
    name = "mlp.gate_proj"

    def changed(self, weight):
        share = len(weight) // self.chips
        weight[-share:] = weight[-share:].flip(1)
        return weight


class WrongDown(InLayer):
    name = "mlp.down_proj"

    def changed(self, weight):
        share = weight.shape[1] // self.chips
        weight[:, -share:] = weight[:, -share:].flip(0)
        return weight


class WrongOutput(WrongDown):
    name = "self_attn.o_proj"


class WrongNorm(InLayer):
    name = "post_attention_layernorm"

    def changed(self, weight):
        return weight.flip(0)


class NotAdded(ParallelLlama):
    """Without the sum after the MLP of layer 1."""

    count = 0

    def sum(self, x):
        self.count += 1
        return super().sum(x) if self.count % 4 else x


@pytest.mark.parametrize("model_class", [ParallelLlama, Gathering])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_healthy_model_takes_one_run(model_class, shape, opened):
    with opened(shape) as mesh:
        result = drift.halve(model_class(reference(), mesh), reference(), ids(), DECODED)
    assert (result.step, result.evaluations) == (None, 1), result.line


@pytest.mark.parametrize(
    ("model_class", "value"),
    [
        (WrongGate, "gate"),
        (WrongDown, "down"),
        (WrongOutput, "o_proj"),
        (WrongNorm, "post_norm"),
        (NotAdded, "down"),
    ],
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_value_that_is_wrong_is_suspected_in_few_runs(model_class, value, shape, opened):
    with opened(shape) as mesh:
        found = suspected(model_class, mesh)
    assert found.step is not None
    assert (found.step.layer, found.step.short) == (1, value), found.line
    assert found.evaluations <= MOST, found.line


def doubled_on_the_last_chip(kernel):
    """A collective that gives one chip twice the sum."""

    def faulty(launch, *args, **kwargs):
        (parts,) = kernel(launch, *args, **kwargs)
        return [[*parts[:-1], parts[-1] * 2]]

    return faulty


@pytest.mark.parametrize("shape", LINES, ids=str)
def test_a_sum_that_is_wrong_on_one_chip_is_accused(shape, opened):
    wrong = ttnn_emulator.binding_replaced("ttnn.all_reduce", doubled_on_the_last_chip)
    with opened(shape) as mesh, wrong:
        model = ParallelLlama(reference(), mesh, gathers=True)
        result = drift.halve(model, reference(), ids(), DECODED)
    assert (result.operation, result.step.layer) == ("ttnn.all_reduce", 0), result.line
    assert result.step.short == "o_proj"
