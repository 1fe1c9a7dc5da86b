"""Noise floors agree with what is documented of the arithmetic and with the emulated kernels.

Two independent statements of one arithmetic are compared: the floors, which model the roundings
alone, and the emulated kernels, which follow the kernels bit by bit. Neither imports the other.
"""

import ast
import math
import pathlib

import pytest
import torch

from ttnn_emulator.arithmetic.compute import (
    AttentionProgram,
    CacheScores,
    Compute,
    DecodeWork,
    FusedOp,
    Product,
    PromptScores,
)
from ttnn_emulator.arithmetic.exact import exact as kernels
from ttnn_verify.numerics import floors, metrics, op_floors, rounding, tolerance
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.numerics.kernel_floors.attention_floors import rounded_attention


def normal(*shape, massive=1):
    """bfloat16 values in float32; every 50th column `massive` times as large."""
    x = torch.randn(shape)
    x[..., ::50] *= massive
    return x.bfloat16().float()


def test_floors_know_nothing_of_the_emulator():
    for module in (floors, op_floors, rounding):
        tree = ast.parse(pathlib.Path(module.__file__).read_text())
        names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        assert not [name for name in names if name.startswith("ttnn_emulator")]


# --- what is documented --------------------------------------------------------------------------


def product(depth, compute=None, **options):
    a, b = normal(32, depth), normal(depth, 128) / 64
    return op_floors.matmul(a, b, compute=compute, **options)


WIDE, WIDE_HIFI4 = ComputeConfig(fp32_dest_acc=True), ComputeConfig("HiFi4", fp32_dest_acc=True)

# Expected relative errors on normal values: from the functional simulator's description of the
# units, worked out apart from this project's code; of formats, the familiar ones.
DOCUMENTED = {
    "bfloat16": (0.0017, lambda: op_floors.output(normal(64, 1024).double(), "bfloat16")),
    "bfloat8_b": (0.0073, lambda: op_floors.block_float(normal(64, 1024), "bfloat8_b")),
    "bfloat4_b": (0.120, lambda: op_floors.block_float(normal(64, 1024), "bfloat4_b")),
    "matmul": (0.0100, lambda: product(3072)),
    "matmul-8192": (0.0160, lambda: product(8192)),
    "matmul-12-tiles": (0.0210, lambda: product(3072, k_block=12)),
    "matmul-lofi": (0.0260, lambda: product(3072, ComputeConfig("LoFi"))),
    "matmul-hifi4": (0.0110, lambda: product(3072, ComputeConfig("HiFi4"))),
    "matmul-wide": (0.0045, lambda: product(3072, WIDE)),
    "matmul-wide-hifi4": (0.0017, lambda: product(3072, WIDE_HIFI4)),
    "matmul-float32": (0.0041, lambda: product(3072, WIDE, out="float32")),
    "matmul-bfp8": (0.0130, lambda: product(3072, weight_dtype="bfloat8_b")),
    "matmul-bfp4": (0.120, lambda: product(3072, weight_dtype="bfloat4_b")),
    "rms_norm": (0.0185, lambda: op_floors.rms_norm(normal(32, 3072), normal(3072), 1e-5)),
    "rms_norm-wide": (
        0.0019,
        lambda: op_floors.rms_norm(normal(32, 3072), normal(3072), 1e-5, compute=WIDE_HIFI4),
    ),
    "rotary": (0.0033, lambda: op_floors.rotary(normal(64, 96), *angles(64, 96))),
    "softmax": (0.0200, lambda: op_floors.softmax(normal(64, 1024))),
    "attention": (0.0220, lambda: op_floors.attention(*(normal(1, 2, 128, 96) for _ in "qkv"))),
}


def angles(rows, width):
    angle = torch.arange(rows)[:, None] * 10000 ** (-torch.arange(0, width, 2) / width)
    return [x.repeat(1, 2).bfloat16().float() for x in (angle.cos(), angle.sin())]


@pytest.mark.parametrize("case", DOCUMENTED)
def test_a_floor_is_the_documented_error(case):
    expected, floor = DOCUMENTED[case]
    assert floor().relative_l2 == pytest.approx(expected, rel=0.15)


# --- what the kernels come to --------------------------------------------------------------------


def kernel_product(
    shape,
    fidelity="HiFi2",
    fp32_dest_acc=False,
    massive=1,
    out="bfloat16",
    weight="bfloat16",
    bias=False,
):
    rows, depth, columns = shape
    a, b = normal(rows, depth, massive=massive), normal(depth, columns) / 32
    offset = normal(columns) if bias else None
    stored = b if weight == "bfloat16" else rounding.blocks(b, weight)
    actual = kernels.matmul(
        a,
        stored,
        offset[None] if bias else None,
        product=Product(rows, depth, columns, "bfloat16", weight, out, fp32_dest_acc),
        compute=Compute(fidelity, fp32_dest_acc=fp32_dest_acc, packer_l1_acc=True),
    )
    floor = op_floors.matmul(
        a,
        b,
        compute=ComputeConfig(fidelity, fp32_dest_acc),
        weight_dtype=weight,
        out=out,
        bias=offset,
    )
    return a.double() @ b.double() + (offset.double() if bias else 0), actual, floor


def kernel_norm(rows, width, fp32_dest_acc=False, massive=1):
    x, weight = normal(rows, width, massive=massive), 1 + normal(width) / 10
    weight = weight.bfloat16().float()
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    compute = Compute("HiFi4", approximate=not fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)
    actual = kernels.rms_norm(x, weight[None], epsilon=1e-5, compute=compute)
    return (
        exact * weight.double(),
        actual,
        op_floors.rms_norm(x, weight, 1e-5, compute=ComputeConfig("HiFi4", fp32_dest_acc)),
    )


def kernel_softmax(rows, width, approximate=True, fp32_dest_acc=True):
    x = normal(rows, width)
    actual = kernels.softmax(x, width=width, compute=Compute("HiFi3", approximate, fp32_dest_acc))
    floor = op_floors.softmax(x, exp_approximate=approximate, fp32_dest_acc=fp32_dest_acc)
    return torch.softmax(x.double(), -1), actual, floor


def kernel_attention_over_a_prompt(length, fp32_dest_acc=False, exp_approximate=True, causal=True):
    q, k, v = normal(1, 4, length, 96), normal(1, 2, length, 96), normal(1, 2, length, 96)
    exact = torch.nn.functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), is_causal=causal, enable_gqa=True
    )
    compute = Compute("HiFi4" if fp32_dest_acc else "HiFi2", not fp32_dest_acc, fp32_dest_acc)
    actual = kernels.attention(
        *(q, k, v),
        scores=PromptScores(causal=causal),
        program=AttentionProgram(exp_approximate=exp_approximate),
        compute=compute,
    )
    floor = op_floors.attention(
        *(q, k, v),
        causal=causal,
        compute=ComputeConfig(compute.fidelity, fp32_dest_acc),
        exp_approximate=exp_approximate,
    )
    return exact, actual, floor


def kernel_attention_over_a_cache(positions, capacity=128, heads=32, program=None):
    users = len(positions)
    q, k, v = normal(users, heads, 1, 64), *(normal(users, 8, capacity, 64) for _ in "kv")
    mask = torch.where(torch.arange(capacity) > torch.tensor(positions)[:, None], -math.inf, 0.0)[
        :, None, None
    ]
    exact = torch.nn.functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), attn_mask=mask.double(), enable_gqa=True
    )
    actual = kernels.attention_decode(
        *(q[:, :, 0], k, v),
        scores=CacheScores(scale=64**-0.5, positions=positions),
        work=DecodeWork(capacity, users),
        program=program,
    )
    approximate = program is None or program.exp_approximate
    floor = op_floors.attention(q, k, v, causal=False, mask=mask, exp_approximate=approximate)
    return exact, actual[:, :, None], floor


def kernel_rotary(rows, width):
    x, (cos, sin) = normal(1, 2, rows, width), angles(rows, width)
    turned = torch.cat((-x[..., width // 2 :], x[..., : width // 2]), -1)
    exact = x.double() * cos.double() + turned.double() * sin.double()
    return exact, kernels.rotary(x, cos[None, None], sin[None, None]), op_floors.rotary(x, cos, sin)


def kernel_unary(name, dtype, approximate=False, of=lambda x: x):
    x = of(torch.randn(64, 512) * 2)
    x = x.bfloat16().float() if dtype == "bfloat16" else x
    exact = getattr(torch.nn.functional, name, getattr(torch, name, None))(x.double())
    actual = kernels.unary(x, FusedOp(name, (), approximate), dtype=dtype, out=dtype)
    return exact, actual, op_floors.vector(exact, dtype, name + "_approximate" * approximate)


def kernel_binary(operation, dtype):
    a, b = normal(64, 512), normal(64, 512)
    if dtype == "bfloat8_b":
        a, b = rounding.blocks(a, dtype), rounding.blocks(b, dtype)
    exact = getattr(torch, operation)(a.double(), b.double())
    actual = kernels.binary(operation, a, b, dtypes=(dtype, dtype), out=dtype)
    return exact, actual, op_floors.output(exact, dtype)


def kernel_reduction(op, width, dtype):
    x = torch.randn(64, width)
    x = x.bfloat16().float() if dtype == "bfloat16" else x
    exact = getattr(torch, op)(x.double(), -1, keepdim=True)
    actual = kernels.reduce(op, x, (1,), dtype=dtype, out=dtype)
    return exact, actual, op_floors.reduce(op, x, out=dtype)


SHAPE = (64, 1024, 256)
EXACT_EXP = AttentionProgram(0, 0, False, (8, 8), 16)

KERNELS = {
    "matmul": lambda: kernel_product(SHAPE),
    "matmul-massive": lambda: kernel_product(SHAPE, massive=300),
    "matmul-lofi": lambda: kernel_product(SHAPE, "LoFi"),
    "matmul-hifi4": lambda: kernel_product(SHAPE, "HiFi4"),
    "matmul-token": lambda: kernel_product((1, 3072, 64)),
    "matmul-odd": lambda: kernel_product((33, 100, 65)),
    "matmul-square": lambda: kernel_product((64, 3072, 128)),
    "matmul-wide-lofi": lambda: kernel_product(SHAPE, "LoFi", fp32_dest_acc=True),
    "matmul-wide": lambda: kernel_product(SHAPE, fp32_dest_acc=True),
    "matmul-wide-hifi4": lambda: kernel_product(SHAPE, "HiFi4", fp32_dest_acc=True),
    "matmul-wide-massive": lambda: kernel_product(SHAPE, "HiFi4", fp32_dest_acc=True, massive=300),
    "matmul-wide-bias": lambda: kernel_product(SHAPE, "HiFi4", fp32_dest_acc=True, bias=True),
    "matmul-float32": lambda: kernel_product(SHAPE, fp32_dest_acc=True, out="float32"),
    "matmul-bias": lambda: kernel_product(SHAPE, bias=True),
    "matmul-bfp8": lambda: kernel_product(SHAPE, weight="bfloat8_b"),
    "matmul-bfp4": lambda: kernel_product(SHAPE, weight="bfloat4_b"),
    "matmul-to-bfp8": lambda: kernel_product(SHAPE, out="bfloat8_b"),
    "matmul-to-bfp4": lambda: kernel_product(SHAPE, out="bfloat4_b"),
    "rms_norm-96": lambda: kernel_norm(32, 96),
    "rms_norm-3072": lambda: kernel_norm(32, 3072),
    "rms_norm-massive": lambda: kernel_norm(64, 1024, massive=50),
    "rms_norm-wide": lambda: kernel_norm(32, 3072, fp32_dest_acc=True),
    "rms_norm-wide-massive": lambda: kernel_norm(64, 1024, fp32_dest_acc=True, massive=50),
    "softmax": lambda: kernel_softmax(64, 1024),
    "softmax-exact": lambda: kernel_softmax(64, 1024, approximate=False),
    "softmax-narrow": lambda: kernel_softmax(64, 1024, fp32_dest_acc=False),
    "softmax-narrow-exact": lambda: kernel_softmax(
        64, 1024, approximate=False, fp32_dest_acc=False
    ),
    "attention": lambda: kernel_attention_over_a_prompt(128),
    "attention-full": lambda: kernel_attention_over_a_prompt(64, causal=False),
    "attention-wide": lambda: kernel_attention_over_a_prompt(96, fp32_dest_acc=True),
    "attention-wide-exact": lambda: kernel_attention_over_a_prompt(
        128, fp32_dest_acc=True, exp_approximate=False
    ),
    "attention-token": lambda: kernel_attention_over_a_cache([127]),
    "attention-users": lambda: kernel_attention_over_a_cache([0, 37, 64, 127]),
    "attention-long": lambda: kernel_attention_over_a_cache([1000], 1024),
    "attention-token-exact": lambda: kernel_attention_over_a_cache([64, 127], program=EXACT_EXP),
    "rotary-64": lambda: kernel_rotary(64, 64),
    "rotary-128": lambda: kernel_rotary(37, 128),
    **{
        f"{name}-{dtype}": lambda name=name, dtype=dtype: kernel_unary(name, dtype)
        for name in ("silu", "gelu", "sigmoid", "tanh", "sin", "cos", "square")
        for dtype in ("bfloat16", "float32")
    },
    **{
        f"{name}-{dtype}": lambda name=name, dtype=dtype: kernel_unary(
            name, dtype, of=lambda x: x.abs() + 0.01
        )
        for name in ("rsqrt", "sqrt", "reciprocal", "log")
        for dtype in ("bfloat16", "float32")
    },
    # the greatest of wider arguments would make up a row alone
    "exp-bfloat16": lambda: kernel_unary("exp", "bfloat16", of=lambda x: x / 2),
    "exp-float32": lambda: kernel_unary("exp", "float32", of=lambda x: x / 2),
    **{
        f"{name}-approximate": lambda name=name: kernel_unary(name, "bfloat16", approximate=True)
        for name in ("exp", "gelu", "tanh")
    },
    **{
        f"{operation}-{dtype}": lambda operation=operation, dtype=dtype: kernel_binary(
            operation, dtype
        )
        for operation in ("add", "subtract", "multiply")
        for dtype in ("bfloat16", "bfloat8_b")
    },
    **{
        f"{op}-{width}-{dtype}": lambda op=op, width=width, dtype=dtype: kernel_reduction(
            op, width, dtype
        )
        for op in ("sum", "mean")
        for width in (96, 3072)
        for dtype in ("bfloat16", "float32")
    },
}

# How far a kernel's error may lie from its floor, as a factor. In these cases it is 0.6 to 1.4; a
# rounding that the floor lacks, or one too many, of the size of the others, makes sqrt(2) or more.
# November 2026.
LEAST, MOST = 0.5, 1.45


@pytest.mark.parametrize("case", KERNELS)
def test_a_kernel_errs_as_much_as_its_floor(case):
    expected, actual, floor = KERNELS[case]()
    comparison = metrics.compare(expected, actual)
    assert LEAST <= comparison.relative_l2 / floor.relative_l2 <= MOST, comparison
    assert comparison.worst_row.value / floor.worst_row <= MOST, comparison


# --- no false alarm ------------------------------------------------------------------------------

FEW = {
    "a token's norm": lambda: kernel_norm(1, 512),
    "a token's product": lambda: kernel_product((1, 256, 1)),
    "one product": lambda: kernel_product((1, 64, 1), "HiFi4", fp32_dest_acc=True),
    "a few sums": lambda: kernel_reduction("sum", 96, "bfloat16"),
    "a token": lambda: kernel_attention_over_a_cache([31], 64, 8),
}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("case", FEW)
def test_few_results_are_no_false_alarm(case, seed):
    torch.manual_seed(seed)
    expected, actual, floor = FEW[case]()
    verdict = tolerance.judge(metrics.compare(expected, actual), floor)
    assert verdict.passed, verdict.line


def test_a_correct_rounding_of_one_value_passes():
    for _ in range(200):
        x = torch.randn(1).double()
        comparison = metrics.compare(x, x.bfloat16())
        assert tolerance.judge(comparison, op_floors.output(x)).passed, comparison


def test_what_is_computed_more_exactly_passes():
    a, b = normal(32, 512), normal(512, 64)
    exact = a.double() @ b.double()
    for compute in (None, WIDE_HIFI4):
        comparison = metrics.compare(exact, exact.bfloat16())
        assert tolerance.judge(comparison, op_floors.matmul(a, b, compute=compute)).used < 0.6


# --- the functions themselves --------------------------------------------------------------------


def test_independent_errors_add_as_squares():
    assert op_floors.chain(op_floors.Floor(3, 6), op_floors.Floor(4, 8)) == op_floors.Floor(5, 10)


def test_heads_of_any_size_have_a_floor_of_attention():
    for head_dim in (8, 80):
        q, k, v = (normal(1, 2, 64, head_dim) for _ in "qkv")
        assert 0.001 < op_floors.attention(q, k, v).relative_l2 < 0.05


def test_columns_left_out_of_a_wide_product_do_not_change_its_floor():
    a, b = normal(32, 64), normal(64, 3 * op_floors.MOST_COLUMNS)
    some = op_floors.matmul(a, b).relative_l2
    assert some == pytest.approx(
        op_floors.matmul(a, b[:, : op_floors.MOST_COLUMNS]).relative_l2, rel=0.05
    )


def test_extremes_are_exact():
    assert op_floors.reduce("max", normal(4, 32)) == op_floors.EXACT


def test_several_dimensions_reduce_as_one():
    x = normal(2, 3, 32, 32)
    several = op_floors.reduce("sum", x, dim=(1, 3)).relative_l2
    flattened = op_floors.reduce("sum", x.transpose(1, 2).flatten(2)).relative_l2
    assert several == pytest.approx(flattened)


def test_an_unknown_function_or_reduction_is_refused():
    with pytest.raises(ValueError, match=r"'silly'.*silu"):
        op_floors.vector(normal(4, 4), "bfloat16", "silly")
    with pytest.raises(ValueError, match="'prod'"):
        op_floors.reduce("prod", normal(4, 4))


def test_equal_rows_of_a_norm_are_one_error():
    """Idle rows of a decode step err alike: they are as likely to be unlucky as one of them."""
    row = torch.randn(1, 192, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    alone = op_floors.rms_norm(row, None, 1e-5).relative_l2
    repeated = op_floors.rms_norm(row.expand(32, -1), None, 1e-5).relative_l2
    assert repeated == pytest.approx(alone, rel=0.02)


def test_columns_of_attention_to_few_keys_share_their_errors():
    """As likely to be unlucky as a few errors; batch rows of idle users count once."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, n, 64, generator=generator) for n in (1, 2, 2))
    alone = op_floors.attention(q, k, v)
    exact, rounded = rounded_attention(q, k, v)
    assert alone.relative_l2 >= 1.3 * metrics.relative_l2(exact, rounded)
    idle = [x.expand(32, -1, -1, -1) for x in (q, k, v)]
    assert op_floors.attention(*idle).relative_l2 == pytest.approx(alone.relative_l2, rel=1e-6)
