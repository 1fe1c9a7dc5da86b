"""Products: linear with weights of every format, and matmul."""

import torch
import ttnn
from torch.nn import functional

from ttnn_verify.numerics import op_floors

from .operands import on
from .opinfo import Op, Operand, Refused, Sample, massive, plain

BF16, FP32, BFP8, BFP4 = ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b, ttnn.bfloat4_b

# The model's choice: whole products, summed in float32.
ACCURATE = {"fidelity": "HiFi4", "fp32_dest_acc": True, "packer_l1_acc": False}
# TTNN's own when it is told nothing (bmm_op.cpp, get_matmul_program_attributes).
DEFAULT = {"fidelity": "HiFi2", "fp32_dest_acc": False, "packer_l1_acc": True}

ACTIVATIONS = {"relu": functional.relu, "silu": functional.silu}


def compute_config(fidelity, fp32_dest_acc, packer_l1_acc):
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=getattr(ttnn.MathFidelity, fidelity),
        math_approx_mode=False,
        fp32_dest_acc_en=fp32_dest_acc,
        packer_l1_acc=packer_l1_acc,
    )


def linear_call(x, weight, bias=None, *, compute=None, activation=None, weight_dtype=BF16):
    return ttnn.linear(
        x,
        weight,
        bias=bias,
        activation=activation,
        dtype=BF16,
        compute_kernel_config=compute and compute_config(**compute),
    )


def linear_golden(x, weight, bias=None, *, activation=None, **kwargs):
    y = functional.linear(x, weight.mT, None if bias is None else bias.flatten())
    return ACTIVATIONS[activation](y) if activation else y


def linear_floor(golden, x, weight, bias=None, *, compute=None, activation=None, weight_dtype=BF16):
    floor = op_floors.matmul(
        x.flatten(0, -2),
        weight,
        bias=bias,
        weight_dtype=weight_dtype.name.lower(),
        out="bfloat16",
        compute=op_floors.ComputeConfig(**(compute or DEFAULT)),
    )
    if activation == "silu":
        return op_floors.chain(floor, op_floors.vector(golden, "bfloat16", "silu"))
    return floor


def sample(
    mkn,
    weight=BF16,
    memory="dram",
    compute=None,
    values=plain,
    bias=False,
    activation=None,
    note="",
):
    """x [1, 1, M, K] by a weight [K, N], scaled so that the results have the size of x."""
    m, k, n = mkn

    def make():
        operands = [
            Operand(values(1, 1, m, k), memory=memory),
            Operand(plain(k, n) * k**-0.5, weight),
        ]
        if bias:
            operands.append(Operand(plain(1, n)))
        return tuple(operands)

    marks = [
        "massive" if values is massive else "",
        "accurate" if compute is ACCURATE else "",
        "bias" if bias else "",
        activation or "",
        note,
    ]
    kwargs = {"compute": compute, "activation": activation, "weight_dtype": weight}
    return Sample(mkn, make, weight, memory, "-".join(filter(None, marks)), kwargs, BF16)


LINEAR = Op(
    "linear",
    call=linear_call,
    golden=linear_golden,
    floor=linear_floor,
    samples=(
        *(
            sample(mkn, weight)
            for mkn in [(1, 96, 64), (37, 80, 48), (64, 1024, 96)]
            for weight in (BF16, BFP8, BFP4)
        ),
        *(sample((33, 192, 160), weight, compute=ACCURATE) for weight in (BF16, BFP8, BFP4, FP32)),
        sample((32, 96, 96), memory="l1"),
        sample((64, 64, 96), bias=True),
        sample((5, 64, 96), compute=ACCURATE, bias=True),
        sample((37, 64, 96), activation="relu"),
        sample((37, 64, 96), activation="silu"),
    ),
    references=(
        sample((1, 3072, 9216)),  # qkv_proj of a token
        sample((32, 3072, 9216), compute=ACCURATE, values=massive),
        sample((1, 3072, 3072), compute=ACCURATE),  # o_proj of a token
        sample((32, 3072, 3072), values=massive),
        sample((32, 3072, 16384), BFP8, compute=ACCURATE),  # gate_up_proj
        sample((32, 8192, 3072), BFP8, compute=ACCURATE),  # down_proj
        sample((1, 8192, 3072), BFP4),  # down_proj of a token
        sample((1, 3072, 32064), compute=ACCURATE),  # lm_head
    ),
    errors=(
        Refused(
            "inner",
            lambda device: ttnn.linear(on(device, plain(32, 64)), on(device, plain(96, 32))),
            "width of the first tensor must be equal to the height of the second",
        ),
        Refused(
            "layout",
            lambda device: ttnn.linear(
                on(device, plain(32, 64)),
                on(device, plain(64, 32), layout=ttnn.ROW_MAJOR_LAYOUT),
            ),
            "must be tilized",
        ),
        Refused(
            "integers",
            lambda device: ttnn.linear(
                on(device, torch.ones(32, 64, dtype=torch.int32), ttnn.int32),
                on(device, plain(64, 32)),
            ),
            "Unsupported data format",
        ),
        Refused(
            "host",
            lambda device: ttnn.linear(
                on(device, plain(32, 64)),
                ttnn.from_torch(plain(64, 32), dtype=BF16, layout=ttnn.TILE_LAYOUT),
            ),
            "expect device tensors",
        ),
    ),
)


def matmul_call(a, b, *, transpose_a=False, transpose_b=False, compute=None):
    return ttnn.matmul(
        a,
        b,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        compute_kernel_config=compute and compute_config(**compute),
    )


def matmul_golden(a, b, *, transpose_a=False, transpose_b=False, compute=None):
    return (a.mT if transpose_a else a) @ (b.mT if transpose_b else b)


def matmul_floor(golden, a, b, *, transpose_a=False, transpose_b=False, compute=None):
    return op_floors.matmul(
        a.mT if transpose_a else a,
        b.mT if transpose_b else b,
        weight_dtype="bfloat16",
        out="bfloat16",
        compute=op_floors.ComputeConfig(**(compute or DEFAULT)),
    )


def product(a, b, note="", compute=None, **transposed):
    return Sample(
        a,
        lambda: (Operand(plain(*a)), Operand(plain(*b))),
        note="-".join(filter(None, (note, "accurate" if compute else ""))),
        kwargs={"compute": compute, **transposed},
    )


MATMUL = Op(
    "matmul",
    call=matmul_call,
    golden=matmul_golden,
    floor=matmul_floor,
    samples=(
        product((2, 3, 37, 64), (2, 3, 64, 50), "batched"),
        product((2, 3, 37, 64), (64, 50), "one-weight"),
        product((3, 37, 64), (3, 64, 50), "rank-3"),
        product((64, 33), (33, 1)),
        product((1, 2, 64, 37), (1, 2, 64, 50), "transpose-a", transpose_a=True),
        product((1, 2, 37, 64), (1, 2, 50, 64), "transpose-b", transpose_b=True),
        product((1, 2, 37, 64), (1, 2, 64, 50), compute=ACCURATE),
    ),
    references=(
        product((1, 32, 128, 96), (1, 32, 96, 128), "scores"),
        product((1, 32, 128, 128), (1, 32, 128, 96), "values", compute=ACCURATE),
        product((1, 32, 1, 96), (1, 32, 96, 256), "token"),
    ),
    errors=(
        Refused(
            "inner",
            lambda device: ttnn.matmul(on(device, plain(32, 64)), on(device, plain(32, 64))),
            "width of the first tensor must be equal to the height of the second",
        ),
        Refused(
            "batch",
            lambda device: ttnn.matmul(on(device, plain(2, 32, 64)), on(device, plain(3, 64, 32))),
            "batch dimension 0 mismatch",
        ),
        Refused("text", lambda device: ttnn.matmul(on(device, plain(32, 64)), "b"), "incompatible"),
    ),
)

OPS = [LINEAR, MATMUL]
