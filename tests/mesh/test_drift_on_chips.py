"""Drift on models that run on several chips: healthy ones, and faults of a chip or of all."""

import dataclasses
import functools

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.bringups import parallel_llama
from tests.bringups.parallel_llama import ParallelLlama
from ttnn_emulator.memory import Contents
from ttnn_verify import drift
from ttnn_verify.drift import finding

PROMPT, DECODED = 17, 3
LINES = [(1, 2), (1, 4)]


@functools.cache
def reference(seed=0):
    return parallel_llama.hf_llama(seed)


def ids_of(seed=0):
    generator = torch.Generator().manual_seed(1 + seed)
    return torch.randint(
        3, parallel_llama.CONFIG.vocab_size, (1, PROMPT + DECODED), generator=generator
    )


def first_bad(model_class, mesh):
    """What drift finds first in a model of that class."""
    return drift.locate(model_class(reference(), mesh), reference(), ids_of(), DECODED)


def last_other(values, other):
    """Values for all chips of a line but the last one, which gets others: one behind the other."""
    return lambda chips: torch.cat([values] * (chips - 1) + [other])


# --- healthy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gathers", [False, True], ids=["joined on the host", "gathered"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [*LINES, (2, 2)], ids=str)
def test_a_healthy_model_does_not_drift(shape, seed, gathers, opened):
    if gathers and shape[0] > 1:
        pytest.skip("on rows of chips it always is")
    with opened(shape) as mesh:
        model = ParallelLlama(reference(seed), mesh, gathers=gathers)
        result = drift.measure(model, reference(seed), ids_of(seed), DECODED)
    assert result.status == 0, result.line
    assert set(result.counts) == {"ok"}
    steps = {(one.layer, one.value) for one in result.findings if one.step is not None}
    assert {(layer, "o_proj") for layer in range(2)} < steps, "sums are compared"


@pytest.mark.parametrize("shape", LINES, ids=str)
def test_nor_does_one_computed_as_the_kernels_do(shape, opened):
    with opened(shape, arithmetic="kernel") as mesh:
        result = drift.measure(ParallelLlama(reference(), mesh), reference(), ids_of(), DECODED)
    assert result.status == 0, result.line


# --- one chip is wrong ----------------------------------------------------------------------------


class InLayer(ParallelLlama):
    """With layer 1 changed by `change(layer, weights of the layer)`."""

    def layer(self, prefix):
        made = super().layer(prefix)
        if prefix.endswith("1."):
            self.change(made, lambda name: self.weights[f"{prefix}{name}.weight"].clone())
        return made


class WrongColumns(InLayer):
    def change(self, layer, weight):
        gate = weight("mlp.gate_proj")
        share = len(gate) // self.chips
        gate[-share:] = gate[-share:].flip(1)
        layer.gate = self.columns(gate)


class WrongRows(InLayer):
    def change(self, layer, weight):
        down = weight("mlp.down_proj")
        share = down.shape[1] // self.chips
        down[:, -share:] = down[:, -share:].flip(0)
        layer.down = self.rows(down)


class WrongReplica(InLayer):
    def change(self, layer, weight):
        norm = weight("input_layernorm")[None]
        layer.norm1 = self.placed(last_other(norm, norm.flip(1))(self.chips), 0)


class WrongHeads(ParallelLlama):
    def layer(self, prefix):
        if prefix.endswith("1."):
            name = f"{prefix}self_attn.q_proj.weight"
            self.weights = dict(self.weights)
            wrong = self.weights[name].clone()
            share = len(wrong) // self.chips
            wrong[-share:] = wrong[-share:].flip(1)
            self.weights[name] = wrong
        return super().layer(prefix)


class WrongTokens(ParallelLlama):
    def embedded(self, tokens):
        ids = torch.tensor([tokens], dtype=torch.int32)
        return self.placed(
            last_other(ids, ids.flip(1))(self.chips),
            0,
            dtype=ttnn.uint32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )


class WrongRotation(ParallelLlama):
    """In decode: of a whole sequence, queries and keys would turn alike."""

    def rope_rows(self, positions):
        if len(positions) > 1:
            return super().rope_rows(positions)
        rows = torch.tensor([positions], dtype=torch.int32)
        return self.placed(
            last_other(rows, rows + 5)(self.chips),
            0,
            dtype=ttnn.uint32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )


class WrongCacheRow(ParallelLlama):
    def cache_position(self, position):
        where = torch.tensor([position], dtype=torch.int32)
        return self.placed(
            last_other(where, where - 1)(self.chips),
            0,
            dtype=ttnn.int32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )


OF_ONE_CHIP = {
    WrongColumns: ("ttnn.linear", 1, "gate"),
    WrongRows: ("ttnn.linear", 1, "down"),
    WrongReplica: ("ttnn.rms_norm", 1, "input_norm"),
    WrongHeads: ("ttnn.linear", 1, "q_proj"),
    WrongTokens: ("ttnn.embedding", None, "embedding"),
    WrongCacheRow: ("ttnn.experimental.paged_update_cache", 0, "k cache"),
}


@pytest.mark.parametrize("shape", LINES, ids=str)
@pytest.mark.parametrize("model_class", OF_ONE_CHIP, ids=lambda one: one.__name__)
def test_the_call_and_the_chip_are_named(model_class, shape, opened):
    with opened(shape) as mesh:
        found = first_bad(model_class, mesh)
    operation, layer, value = OF_ONE_CHIP[model_class]
    assert (found.operation, found.value) == (operation, value), found.line
    assert found.chip == f"chip {shape[1] - 1}", found.line
    assert found.status == finding.MISUSED
    assert layer in (None, found.layer) or value == "k cache"


@pytest.mark.parametrize("shape", LINES, ids=str)
def test_a_rotation_of_another_position_is_named(shape, opened):
    with opened(shape) as mesh:
        found = first_bad(WrongRotation, mesh)
    assert found.chip == f"chip {shape[1] - 1}", found.line
    assert found.part == "attention"
    assert found.layer == 0


def test_chips_of_rows_and_columns_are_named_with_their_coordinates(opened):
    with opened((2, 2)) as mesh:
        found = first_bad(WrongHeads, mesh)
    assert found.chip == "chips 1 (0, 1) and 3 (1, 1)", found.line


# --- a kernel is wrong on one chip ----------------------------------------------------------------


def given_twice_on_the_last_chip(kernel):
    """A kernel whose operand the last chip doubles."""

    def faulty(launch, operand, *args, **kwargs):
        values = operand.data
        if len(operand.shape) > 4:  # chips share the call: their parts are its first dimension
            values = torch.cat((values[:-1], values[-1:] * 2))
        elif _is_last(operand):
            values = values * 2
        operand = dataclasses.replace(operand, contents=Contents(values, operand.padded_shape))
        return kernel(launch, operand, *args, **kwargs)

    return faulty


def _is_last(operand):
    return operand.contents is operand.replicas[-1] and operand.contents is not operand.replicas[0]


@pytest.mark.parametrize("name", ["ttnn.silu", "ttnn.neg"])
@pytest.mark.parametrize("shape", LINES, ids=str)
def test_a_kernel_that_is_wrong_on_a_chip_is_named_with_it(name, shape, opened):
    with opened(shape) as mesh, ttnn_emulator.binding_replaced(name, given_twice_on_the_last_chip):
        found = first_bad(ParallelLlama, mesh)
    assert (found.status, found.operation) == (finding.WRONG, name), found.line
    assert found.chip == f"chip {shape[1] - 1}"
    assert found.layer == 0
    assert f"{name}" in found.line
    assert f" on {found.chip}" in found.line


# --- what chips exchange --------------------------------------------------------------------------


class OtherSum(ParallelLlama):
    """With another sum after the attention of layer 1."""

    count = 0

    def sum(self, x):
        self.count += 1
        return self.other(x) if self.count % 4 == 3 else super().sum(x)


class Forgotten(OtherSum):
    def other(self, x):
        return x


class Twice(OtherSum):
    def other(self, x):
        return ParallelLlama.sum(self, ParallelLlama.sum(self, x))


class WrongAxis(OtherSum):
    def other(self, x):
        return ttnn.all_reduce(x, cluster_axis=0)


@pytest.mark.parametrize("shape", [*LINES, (2, 2)], ids=str)
def test_a_forgotten_sum_is_missing(shape, opened):
    with opened(shape) as mesh:
        found = first_bad(Forgotten, mesh)
    assert (found.status, found.layer, found.value) == (finding.MISSING, 1, "o_proj"), found.line
    assert "the chips' parts add up to layers.1.o_proj, and no call adds them up" in found.note


@pytest.mark.parametrize("shape", LINES, ids=str)
def test_a_sum_of_sums_is_named(shape, opened):
    with opened(shape) as mesh:
        found = first_bad(Twice, mesh)
    assert (found.operation, found.layer, found.value) == ("ttnn.all_reduce", 1, "o_proj")
    assert f"{shape[1]} x layers.1.o_proj" in found.note


def test_a_sum_along_the_wrong_axis_is_named(opened):
    with opened((2, 2)) as mesh:
        found = first_bad(WrongAxis, mesh)
    assert (found.operation, found.layer, found.value) == ("ttnn.all_reduce", 1, "o_proj")
    assert "add up to layers.1.o_proj along cluster axis 1" in found.note, found.line
