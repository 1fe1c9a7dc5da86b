"""RMS norm, layer norm and softmax."""

import dataclasses

import torch
import ttnn
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm

from ttnn_verify.numerics import op_floors

from .matmul import ACCURATE, compute_config
from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

BF16, FP32, BFP8 = ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b
EPSILON = 1e-5  # Phi-3's


def rms_norm_call(x, weight, *, compute, epsilon, dtype):
    config = compute and compute_config(**compute)
    return ttnn.rms_norm(x, weight=weight, epsilon=epsilon, compute_kernel_config=config)


def rms_norm_golden(x, weight, *, compute, epsilon, dtype):
    """Hugging Face's module in float64 but for its mean of squares, which it takes in float32."""
    norm = Phi3RMSNorm(x.shape[-1], eps=epsilon)
    norm.weight = torch.nn.Parameter(weight.flatten())
    with torch.no_grad():
        return norm(x)


def rms_norm_floor(golden, x, weight, *, compute, epsilon, dtype):
    return op_floors.rms_norm(
        x,
        weight.flatten(),
        epsilon,
        compute=compute and op_floors.ComputeConfig(**compute),
        out=dtype.name.lower(),
    )


def norm(shape, dtype=BF16, memory="dram", values=plain, compute=None, epsilon=EPSILON, note=""):
    def make():
        x = values(*shape)
        return Operand(x, dtype, memory=memory), Operand(1 + 0.1 * plain(1, 1, 1, shape[-1]), dtype)

    marks = (PLAIN[values], "accurate" if compute else "", note)
    return Sample(
        shape,
        make,
        dtype,
        memory,
        "-".join(filter(None, marks)),
        {"compute": compute, "epsilon": epsilon, "dtype": dtype},
    )


def scaled_rows(*shape):
    """Rows of a magnitude each; the smallest are as large as epsilon's root, the greatest 2^30."""
    return extreme(*shape, low=-9, high=30)


PLAIN[scaled_rows] = "extreme"

RMS_NORM = Op(
    "rms_norm",
    call=rms_norm_call,
    golden=rms_norm_golden,
    floor=rms_norm_floor,
    samples=(
        norm((32, 32)),
        norm((1, 1, 37, 192)),
        norm((1, 1, 37, 192), compute=ACCURATE),
        norm((2, 2, 33, 96), memory="l1", compute=ACCURATE),
        norm((1, 1, 1, 1024)),
        norm((1, 1, 37, 80), compute=ACCURATE),
        norm((1, 1, 37, 192), FP32, compute=ACCURATE),
        norm((1, 1, 64, 256), BFP8, compute=ACCURATE),
        norm((1, 1, 37, 192), epsilon=1.0, compute=ACCURATE, note="epsilon-1"),
    ),
    references=(
        norm((1, 1, 32, 3072)),
        norm((1, 1, 32, 3072), compute=ACCURATE),
        norm((1, 1, 32, 3072), values=massive),
        norm((1, 1, 128, 3072), values=massive, compute=ACCURATE),
        norm((1, 1, 1, 3072), values=massive, compute=ACCURATE),
        norm((1, 1, 64, 3072), values=scaled_rows, compute=ACCURATE),
    ),
    errors=(
        Refused(
            "layout",
            lambda device: ttnn.rms_norm(on(device, plain(32, 64), layout=ttnn.ROW_MAJOR_LAYOUT)),
            "does not support ROW_MAJOR",
        ),
        Refused(
            "width",
            lambda device: ttnn.rms_norm(
                on(device, plain(32, 64)), weight=on(device, plain(1, 96))
            ),
            "padded widths must match",
        ),
        Refused("torch", lambda device: ttnn.rms_norm(plain(32, 64)), "incompatible"),
    ),
)


def layer_norm_call(x, weight, bias, *, compute, epsilon, dtype):
    config = compute and compute_config(**compute)
    return ttnn.layer_norm(
        x, weight=weight, bias=bias, epsilon=epsilon, compute_kernel_config=config
    )


def layer_norm_golden(x, weight, bias, *, compute, epsilon, dtype):
    return torch.nn.functional.layer_norm(
        x.double(), x.shape[-1:], weight.flatten().double(), bias.flatten().double(), epsilon
    )


def layer_norm_floor(golden, x, weight, bias, *, compute, epsilon, dtype):
    return op_floors.layer_norm(
        x,
        weight.flatten(),
        bias.flatten(),
        epsilon,
        compute=compute and op_floors.ComputeConfig(**compute),
        out=dtype.name.lower(),
    )


def with_bias(*args, **kwargs):
    """As `norm`, and a bias."""
    sample = norm(*args, **kwargs)

    def make():
        x, weight = sample.make()
        return x, weight, Operand(0.1 * plain(1, 1, 1, x.values.shape[-1]), weight.dtype)

    return dataclasses.replace(sample, make=make)


SIXTEEN = {"fidelity": "HiFi4", "fp32_dest_acc": False, "packer_l1_acc": True}

LAYER_NORM = Op(
    "layer_norm",
    call=layer_norm_call,
    golden=layer_norm_golden,
    floor=layer_norm_floor,
    samples=(
        with_bias((32, 32)),
        with_bias((1, 1, 37, 192)),
        with_bias((1, 1, 37, 192), compute=SIXTEEN, note="16-bit"),
        with_bias((1, 1, 37, 192), compute=SIXTEEN | {"fidelity": "HiFi2"}, note="16-bit-hifi2"),
        with_bias((2, 2, 33, 96), memory="l1", compute=ACCURATE),
        with_bias((1, 1, 1, 1024), compute=SIXTEEN, note="16-bit"),
        with_bias((1, 1, 37, 80)),
    ),
    references=(
        with_bias((1, 1, 32, 3072)),
        with_bias((1, 1, 32, 3072), compute=SIXTEEN, note="16-bit"),
        with_bias((1, 1, 32, 3072), values=massive),
    ),
    errors=(Refused("torch", lambda device: ttnn.layer_norm(plain(32, 64)), "incompatible"),),
)


def softmax_floor(golden, x, *, dim, stable, dtype):
    return op_floors.softmax(x, dim=dim, out=dtype.name.lower())


def scores(shape, dtype=BF16, memory="dram", values=plain, dim=-1, stable=True, note=""):
    return Sample(
        shape,
        lambda: (Operand(values(*shape), dtype, memory=memory),),
        dtype,
        memory,
        "-".join(filter(None, (PLAIN[values], note))),
        {"dim": dim, "stable": stable, "dtype": dtype},
    )


def masked(*shape):
    """Scores of which each row's future is hidden, as a causal mask leaves them."""
    x = torch.randn(shape)
    hidden = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
    return x.masked_fill(hidden, -1e9)


PLAIN[masked] = "masked"


def large(*shape):
    return 50 * torch.randn(shape)


PLAIN[large] = "extreme"

SOFTMAX = Op(
    "softmax",
    call=lambda x, *, dim, stable, dtype: ttnn.softmax(x, dim=dim, numeric_stable=stable),
    golden=lambda x, *, dim, stable, dtype: x.softmax(dim),
    floor=softmax_floor,
    samples=(
        scores((32, 32)),
        scores((1, 1, 37, 80)),
        scores((2, 3, 1, 33), memory="l1"),
        scores((1, 2, 37, 80), FP32),
        scores((1, 2, 37, 80), BFP8),
        scores((1, 2, 37, 80), dim=-2, note="dim-2"),
        scores((1, 1, 37, 80), stable=False, note="unstable"),
        scores((1, 2, 64, 64), values=masked),
    ),
    references=(
        scores((1, 32, 128, 128)),
        scores((1, 32, 128, 128), values=masked),
        scores((1, 1, 32, 4096)),
        scores((1, 32, 32, 256), values=large),
    ),
    errors=(
        Refused(
            "dim", lambda device: ttnn.softmax(on(device, plain(32, 64)), dim=4), "out of range"
        ),
        Refused(
            "integers",
            lambda device: ttnn.softmax(
                on(device, torch.ones(32, 64, dtype=torch.int32), ttnn.int32), dim=-1
            ),
            "must be FLOAT32, BFLOAT16, or BFLOAT8_B",
        ),
        Refused("host", lambda device: ttnn.softmax(ttnn.from_torch(plain(32, 64))), "No device"),
    ),
)


def groups_golden(x, *, groups, dtype):
    by_channel = x.double().flatten(1, 2).mT
    y = torch.nn.functional.group_norm(by_channel, groups, eps=EPSILON)
    return y.mT.reshape(x.shape)


def steps_floor(golden, *operands, dtype, **named):
    """Four roundings, between the buffers of the kernel, and that of the result."""
    return op_floors.chain(*[op_floors.output(golden, "bfloat16")] * 4, op_floors.output(golden))


def grouped(shape, groups, values=plain):
    return Sample(
        shape,
        lambda: (Operand(values(*shape)),),
        BF16,
        "dram",
        f"{PLAIN[values]}-{groups}-groups".lstrip("-"),
        {"groups": groups, "dtype": BF16},
    )


GROUP_NORM = Op(
    "group_norm",
    call=lambda x, *, groups, dtype: ttnn.group_norm(
        x, num_groups=groups, epsilon=EPSILON, inplace=False, core_grid=ttnn.CoreGrid(x=1, y=1)
    ),
    golden=groups_golden,
    floor=steps_floor,
    samples=(
        grouped((1, 1, 32, 32), 4),
        grouped((1, 1, 96, 64), 2),
        grouped((2, 1, 32, 128), 32),
    ),
    references=(grouped((1, 1, 256, 320), 32),),
    errors=(
        Refused(
            "groups",
            lambda device: ttnn.group_norm(
                on(device, plain(1, 1, 32, 64)), num_groups=5, inplace=False
            ),
            "must be divisible by the number of groups",
        ),
    ),
)


def batch(shape, dtype=BF16):
    def make():
        rows = (1, shape[1], 1, 1)
        mean, spread = plain(*rows), 1 + plain(*rows).square()
        return tuple(Operand(x, dtype) for x in (plain(*shape), mean, spread))

    return Sample(shape, make, dtype, "dram", "", {"dtype": dtype})


BATCH_NORM = Op(
    "batch_norm",
    call=lambda x, mean, spread, *, dtype: ttnn.batch_norm(
        x, running_mean=mean, running_var=spread, eps=EPSILON
    ),
    golden=lambda x, mean, spread, *, dtype: torch.nn.functional.batch_norm(
        x.double(), mean.double().flatten(), spread.double().flatten(), eps=EPSILON
    ),
    floor=steps_floor,
    samples=(batch((1, 3, 32, 32)), batch((2, 5, 23, 37)), batch((2, 5, 23, 37), FP32)),
    references=(batch((4, 8, 64, 120)),),
    errors=(
        Refused(
            "statistics",
            lambda device: ttnn.batch_norm(on(device, plain(1, 3, 32, 32))),
            "must be defined in evaluation mode",
        ),
    ),
)

OPS = [RMS_NORM, LAYER_NORM, SOFTMAX, GROUP_NORM, BATCH_NORM]
