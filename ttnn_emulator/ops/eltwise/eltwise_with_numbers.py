"""Elementwise operations of one tensor and of numbers, which the kernels get as float32."""

import ctypes
import ctypes.util
import math

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.eltwise.eltwise_unary import apply

# The C library's gamma function of float32, by which TTNN's host computes factorials: it is off by
# a unit in the last place of some, as the numbers in the programs are that TTNN builds.
tgammaf = ctypes.CDLL(ctypes.util.find_library("m")).tgammaf
tgammaf.argtypes, tgammaf.restype = [ctypes.c_float], ctypes.c_float


def softplus(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("softplus", (beta, threshold)))


def leaky_relu(
    launch: Launch,
    input_tensor: DeviceTensor,
    negative_slope: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("leaky_relu", (negative_slope,)))


def elu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    alpha: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("elu", (alpha,)))


def relu_max(
    launch: Launch,
    input_tensor: DeviceTensor,
    upper_limit: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("relu_max", (upper_limit,)))


def relu_min(
    launch: Launch,
    input_tensor: DeviceTensor,
    lower_limit: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("relu_min", (lower_limit,)))


def threshold(
    launch: Launch,
    input_tensor: DeviceTensor,
    threshold: float,
    value: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("threshold", (threshold, value)))


def hardtanh(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    min_val: float = -1.0,
    max_val: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("clamp", (min_val, max_val)))


def round_(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    decimals: int | None = 0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("round", (decimals or 0,)))


def fill(
    launch: Launch,
    input_tensor: DeviceTensor,
    fill_value: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("fill", (fill_value,)))


def celu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    alpha: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("celu", (alpha,)))


def selu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    scale: float = 1.0506999492645264,
    alpha: float = 1.673259973526001,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("selu", (scale, alpha)))


def xielu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    alpha_p: float = 0.8,
    alpha_n: float = 0.8,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("xielu", (alpha_p, alpha_n)))


def hardshrink(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    lambd: float = 0.5,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("hardshrink", (lambd,)))


def softshrink(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    lambd: float = 0.5,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("softshrink", (lambd,)))


def heaviside(
    launch: Launch,
    input_tensor: DeviceTensor,
    value: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("heaviside", (value,)))


def deg2rad(
    launch: Launch, input_tensor: DeviceTensor, *, output_tensor: DeviceTensor | None = None
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("multiply_by", (math.pi / 180,)))


def rad2deg(
    launch: Launch, input_tensor: DeviceTensor, *, output_tensor: DeviceTensor | None = None
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("multiply_by", (180 / math.pi,)))


def _logit_bounds(eps: float, dtype: str) -> tuple[float, float]:
    """`eps` and 1 - eps, the smaller first, as the host rounds them (unary_program_factory.cpp).

    To bfloat16 for a bfloat16 operand; up to 1/2, eps before it is taken from 1 as well.
    """
    values = torch.tensor(eps)
    if dtype == "bfloat16" and eps <= 0.5:
        values = values.bfloat16().float()
    values = torch.stack([values, 1.0 - values]).sort().values
    low, high = (values.bfloat16() if dtype == "bfloat16" else values).tolist()
    return low, high


def logit(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    eps: float | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """With `eps` the operand is first put between it and 1 - eps, and packed in its own format."""
    if eps is None or eps < 0:
        return apply(launch, input_tensor, FusedOp("logit"))
    dtype = launch.output.dtype
    bounds = FusedOp("clamp", _logit_bounds(eps, input_tensor.dtype))
    clamped = launch.math.unary(input_tensor.data, bounds, dtype=input_tensor.dtype, out=dtype)
    stored = launch.math.stored(clamped, dtype)
    return launch.math.unary(stored, FusedOp("logit"), dtype=dtype, out=dtype)


def polygamma(launch: Launch, input_tensor: DeviceTensor, k: int) -> torch.Tensor:
    """The k-th derivative of digamma; the host gives the kernel (-1)**(k + 1) * k! as well."""
    factorial = tgammaf(k + 1)
    return apply(
        launch, input_tensor, FusedOp("polygamma", (k, factorial if k % 2 else -factorial))
    )


def multigammaln(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """log of the multivariate gamma function of order 4: ten kernels, each result stored."""
    dtype, stored = launch.output.dtype, launch.math.stored
    x = input_tensor.data

    def lgamma(values: torch.Tensor) -> torch.Tensor:
        return stored(launch.math.unary(values, FusedOp("lgamma"), dtype=dtype, out=dtype), dtype)

    def combined(name: str, a: torch.Tensor, b: torch.Tensor | float) -> torch.Tensor:
        second = torch.as_tensor(b, dtype=x.dtype)
        kernel = launch.math.binary(name, a, second, dtypes=(dtype, dtype), out=dtype)
        return stored(kernel, dtype)

    total = lgamma(x)
    for less in (0.5, 1.0, 1.5):
        total = combined("add", total, lgamma(combined("subtract", x, less)))
    return combined("add", total, 3.434189657547)


BINDINGS = {
    "ttnn.celu": celu,
    "ttnn.deg2rad": deg2rad,
    "ttnn.elu": elu,
    "ttnn.fill": fill,
    "ttnn.hardshrink": hardshrink,
    "ttnn.hardtanh": hardtanh,
    "ttnn.heaviside": heaviside,
    "ttnn.leaky_relu": leaky_relu,
    "ttnn.logit": logit,
    "ttnn.multigammaln": multigammaln,
    "ttnn.polygamma": polygamma,
    "ttnn.rad2deg": rad2deg,
    "ttnn.relu_max": relu_max,
    "ttnn.relu_min": relu_min,
    "ttnn.round": round_,
    "ttnn.selu": selu,
    "ttnn.softplus": softplus,
    "ttnn.softshrink": softshrink,
    "ttnn.threshold": threshold,
    "ttnn.xielu": xielu,
}
