"""Faults of elementwise operations: activations, broadcasting, residuals and gates of a layer."""

import dataclasses

import ttnn

from model.optimized import phi3
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.memory import DeviceTensor

from .inject import Fault, argument, arithmetic, calls, holding, in_layers, kernels, of_stage, part

DecoderLayer = phi3.DecoderLayer

# --- of the device's kernels ---------------------------------------------------------------------


def other_activation(name):
    def change(fused):
        ops = tuple(FusedOp(name) if op.name == "silu" else op for op in fused.a)
        return dataclasses.replace(fused, a=ops)

    return argument("fused", change)


def without_activation(fused):
    return dataclasses.replace(fused, a=())


def activation_of_the_other(binary):
    def faulty(*args, fused, **kwargs):
        exchanged = dataclasses.replace(fused, a=fused.b, b=fused.a)
        return binary(*args, fused=exchanged, **kwargs)

    return faulty


def second_row_broadcast(kernel):
    """The row that is broadcast is read one row too low, where its tile's padding is."""

    def faulty(launch, a, b, **kwargs):
        if isinstance(b, DeviceTensor) and b.shape[-2] == 1 < a.shape[-2]:
            b = holding(b, b.data.roll(-1, -2))
        return kernel(launch, a, b, **kwargs)

    return faulty


def gating(name, change):
    change = arithmetic("binary", change)
    return Fault(name, "ops", kernels("ttnn.multiply", change), ("multiply_silu",))


def approximate(unary):
    def faulty(x, *steps, **kwargs):
        steps = (dataclasses.replace(step, approximate=True) for step in steps)
        return unary(x, *steps, **kwargs)

    return faulty


KERNELS = [
    gating("gelu for silu", other_activation("gelu")),
    gating("hardswish for silu", other_activation("hardswish")),
    gating("activation missing", argument("fused", without_activation)),
    gating("activation of the other operand", activation_of_the_other),
    Fault(
        "addition broadcasts a row of padding",
        "ops",
        kernels("ttnn.add", second_row_broadcast),
        ("add",),
        "37x80-dram-row",
    ),
    Fault(
        "exp approximated",
        "ops",
        kernels("ttnn.exp", arithmetic("unary", approximate)),
        ("exp",),
        "bf16-32x32",
        "kernel",
    ),
]

# --- of the model --------------------------------------------------------------------------------


def attention_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = self.attention.prefill(self.input_norm(x), chunk)
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def mlp_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return self.mlp(self.mlp_norm(h))

    return faulty


def residual_after_the_norm(prefill):
    def faulty(self, x, chunk):
        normed = self.input_norm(x)
        h = ttnn.add(normed, self.attention.prefill(normed, chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def attention_and_mlp_in_parallel(prefill):
    """As GPT-J and Phi-2 have them."""

    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(x)))

    return faulty


def gate_and_up_exchanged(multiply):
    def faulty(gate, up, **kwargs):
        return multiply(up, gate, **kwargs)

    return faulty


SUM, GATE = ("add", 0), ("multiply", 0)  # places in a layer

OPTIMIZED = [
    in_layers(
        "attention's residual dropped",
        part(DecoderLayer, "prefill", attention_residual_dropped),
        "add",
        place=SUM,
    ),
    in_layers(
        "MLP's residual dropped",
        part(DecoderLayer, "prefill", mlp_residual_dropped),
        "add",
        place=SUM,
    ),
    in_layers(
        "residual taken after the norm",
        part(DecoderLayer, "prefill", residual_after_the_norm),
        "add",
        place=SUM,
    ),
    in_layers(
        "attention and MLP in parallel",
        part(DecoderLayer, "prefill", attention_and_mlp_in_parallel),
        "add",
        place=("norm", 0),
    ),
]

MODEL = [
    in_layers(
        "gate and up exchanged",
        calls("multiply", gate_and_up_exchanged),
        "multiply_silu",
        place=GATE,
    ),
]

FAULTS = [*KERNELS, *of_stage("optimized", OPTIMIZED), *MODEL]
