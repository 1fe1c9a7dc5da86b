"""Faults of norms and of softmax: epsilon, weight, padding, sums, and norms in the wrong place."""

import ttnn

from model.optimized import phi3

from .inject import Fault, argument, arithmetic, calls, in_layers, kernels, nothing, part
from .product_faults import narrow_sums

DecoderLayer = phi3.DecoderLayer

# --- of the device's kernels ---------------------------------------------------------------------


def epsilon_outside_the_root(rms_norm):
    def faulty(x, weight=None, *rest, epsilon, width=None, **kwargs):
        x = x.float()
        root = x[..., :width].square().mean(-1, keepdim=True).sqrt()
        x = x / (root + epsilon)
        return x if weight is None else x * weight.float()

    return faulty


def weight_as(change):
    def of(rms_norm):
        def faulty(x, weight=None, *rest, **kwargs):
            return rms_norm(x, None if weight is None else change(weight), *rest, **kwargs)

        return faulty

    return of


def mean_subtracted(rms_norm):
    """LayerNorm for RMSNorm."""

    def faulty(x, *rest, width=None, **kwargs):
        x = x.float()
        centred = x - x[..., :width].mean(-1, keepdim=True)
        return rms_norm(centred, *rest, width=width, **kwargs)

    return faulty


def normalising(name, change, sample, arithmetic_="rounded"):
    inject = kernels("ttnn.rms_norm", arithmetic("rms_norm", change))
    return Fault(name, "ops", inject, ("rms_norm",), sample, arithmetic_)


ODD = "bf16-1x1x37x192-dram"  # the usual sample; others where only they see it

KERNELS = [
    normalising("epsilon missing", argument("epsilon", lambda epsilon: 0.0), "epsilon-1"),
    normalising("epsilon outside the root", epsilon_outside_the_root, "epsilon-1"),
    normalising("norm weight missing", weight_as(lambda weight: None), ODD),
    normalising("norm weight added as 1 + w", weight_as(lambda weight: 1 + weight.float()), ODD),
    normalising("mean subtracted by rms_norm", mean_subtracted, ODD),
    normalising("mean of squares over padding too", argument("width", nothing), "37x80"),
    normalising(
        "sum of squares in 16 bits", argument("compute", narrow_sums), ODD + "-accurate", "kernel"
    ),
    Fault(
        "softmax counts padding columns",
        "ops",
        kernels("ttnn.softmax", arithmetic("softmax", argument("width", nothing))),
        ("softmax",),
        "bf16-1x1x37x80",
    ),
]

# --- of the model --------------------------------------------------------------------------------


def norms_exchanged(prefill):
    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.mlp_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.input_norm(h)))

    return faulty


MODEL = [
    in_layers(
        "the layer's norms exchanged",
        part(DecoderLayer, "prefill", norms_exchanged),
        "rms_norm",
        place=("rms_norm", 0),
        stage="optimized",
    ),
    in_layers(
        "norm called without epsilon",
        calls("rms_norm", argument("epsilon", lambda epsilon: 1e-12)),
        "rms_norm",
        place=("rms_norm", 0),
    ),
    in_layers(
        "norm called without its weight",
        calls("rms_norm", argument("weight", nothing)),
        "rms_norm",
        place=("rms_norm", 0),
    ),
    in_layers(
        "norms without a compute configuration",
        calls("rms_norm", argument("compute_kernel_config", nothing)),
        "rms_norm",
        arithmetic="kernel",
        place=("rms_norm", 0),
        stage="optimized",
    ),
]

FAULTS = [*KERNELS, *MODEL]
