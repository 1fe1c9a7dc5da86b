"""How exactly the device computes: formats of weights and cache, fidelity and sums of each matmul.

A setting is a `Precision`; `PRECISIONS` has some by name. To make another, replace fields of one:
`dataclasses.replace(PRECISIONS["accuracy"], cache=ttnn.bfloat8_b)`; or read the file that a search
wrote (`python -m ttnn_verify.precision --json FILE`), where each layer has settings of its own.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ttnn


@dataclass(frozen=True)
class MatmulPrecision:
    """A matmul with a weight: the weight's format, and how it is multiplied and summed.

    A default ttnn.linear (HiFi2, 16-bit sums) errs by 0.0105 at K = 3072; with float32 sums by
    0.0043 at HiFi2 and 0.0017 at HiFi3, as at HiFi4: its fourth phase is the product of both
    operands' lowest bits, 2^-14 of the whole, for a third more time.
    """

    weights: ttnn.DataType
    fidelity: ttnn.MathFidelity
    fp32_dest_acc: bool = True


@dataclass(frozen=True)
class AttentionPrecision:
    """How attention computes; without `exact_exp` each exponential errs by up to 3.4 %."""

    fidelity: ttnn.MathFidelity
    fp32_dest_acc: bool
    exact_exp: bool


@dataclass(frozen=True)
class Precision:
    """The settings of every operation that has a choice; activations are bfloat16.

    Norms have no choice here: TTNN's default sums squares in bfloat16, 1.7 % low at width 3072.

    Attributes:
        layers: by their numbers, those with settings of their own.
    """

    qkv: MatmulPrecision
    o: MatmulPrecision
    gate: MatmulPrecision
    up: MatmulPrecision
    down: MatmulPrecision
    lm_head: MatmulPrecision
    attention: AttentionPrecision
    cache: ttnn.DataType
    layers: "Mapping[int, Precision]" = dataclasses.field(default_factory=dict)

    def of_layer(self, number: int) -> "Precision":
        return self.layers.get(number, self)


def _same_for_all(
    matmul: MatmulPrecision, attention: AttentionPrecision, cache: ttnn.DataType
) -> Precision:
    return Precision(
        qkv=matmul,
        o=matmul,
        gate=matmul,
        up=matmul,
        down=matmul,
        lm_head=matmul,
        attention=attention,
        cache=cache,
    )


PRECISIONS = {
    "accuracy": _same_for_all(
        MatmulPrecision(ttnn.bfloat16, ttnn.MathFidelity.HiFi3),
        AttentionPrecision(ttnn.MathFidelity.HiFi4, fp32_dest_acc=True, exact_exp=True),
        ttnn.bfloat16,
    ),
    "performance": _same_for_all(
        MatmulPrecision(ttnn.bfloat8_b, ttnn.MathFidelity.HiFi2),
        AttentionPrecision(ttnn.MathFidelity.HiFi2, fp32_dest_acc=False, exact_exp=False),
        ttnn.bfloat8_b,
    ),
    # what `python -m ttnn_verify.precision` finds for 0.002 nats, by parts: of no part the weights
    # may be bfloat4_b in all layers
    "smallest": _same_for_all(
        MatmulPrecision(ttnn.bfloat8_b, ttnn.MathFidelity.HiFi3),
        AttentionPrecision(ttnn.MathFidelity.HiFi4, fp32_dest_acc=True, exact_exp=True),
        ttnn.bfloat8_b,
    ),
}


# What a file calls the places of this model: Hugging Face's values, as drift names them.
PLACES = {
    "qkv": "qkv",
    "o_proj": "o",
    "gate": "gate",
    "up": "up",
    "down": "down",
    "attention": "attention",
    "cache": "cache",
    "logits": "lm_head",
}


def named(precision: "str | os.PathLike | Precision") -> Precision:
    """The setting of that name, or of a file; a Precision is itself.

    Raises:
        ValueError: an unknown name, or a file that is none of settings.
    """
    if isinstance(precision, Precision):
        return precision
    if precision in PRECISIONS:
        return PRECISIONS[str(precision)]
    if not pathlib.Path(precision).is_file():
        raise ValueError(
            f"precision {os.fspath(precision)!r}: it must be "
            f"{', '.join(map(repr, PRECISIONS))}, a Precision, or a file of settings."
        )
    return from_file(precision)


def from_file(path: str | os.PathLike) -> Precision:
    """`accuracy` with the settings of a file of `ttnn_verify.precision`.

    Raises:
        ValueError: the file is none of settings, or has one that this model has no place for.
    """
    try:
        settings = json.loads(pathlib.Path(path).read_text())["settings"]
        return _with_settings(PRECISIONS["accuracy"], settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} holds no settings for this model ({error}); a file that "
            "`python -m ttnn_verify.precision --json FILE` wrote for it does."
        ) from error


def _with_settings(precision: Precision, settings: list[dict[str, Any]]) -> Precision:
    """A precision with settings as a file has them: a layer, a part and what it computes with."""
    layers: dict[int, Precision] = {}
    for setting in settings:
        layer, field = setting["layer"], PLACES[setting["part"]]
        before = precision if layer is None else layers.get(layer, precision)
        changed: dict[str, Any] = {field: _changed(getattr(before, field), setting)}
        after = dataclasses.replace(before, **changed)
        if layer is None:
            precision = after
        else:
            layers[layer] = after
    return dataclasses.replace(precision, layers=layers)


def _changed(
    value: MatmulPrecision | AttentionPrecision | ttnn.DataType, setting: dict[str, Any]
) -> MatmulPrecision | AttentionPrecision | ttnn.DataType:
    """A field's value with what a setting says."""
    dtype = getattr(ttnn, setting["dtype"]) if "dtype" in setting else None
    if isinstance(value, ttnn.DataType):
        return dtype or value
    fields: dict[str, Any] = {
        name: setting[name] for name in ("fp32_dest_acc", "exact_exp") if name in setting
    }
    if dtype is not None:
        fields["weights"] = dtype
    if "fidelity" in setting:
        fields["fidelity"] = getattr(ttnn.MathFidelity, setting["fidelity"])
    return dataclasses.replace(value, **fields)


def compute_config(
    fidelity: ttnn.MathFidelity, fp32_dest_acc: bool = True
) -> ttnn.WormholeComputeKernelConfig:
    """16-bit sums accumulate in L1 (packer_l1_acc): the most accurate 16-bit option."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity,
        math_approx_mode=False,
        fp32_dest_acc_en=fp32_dest_acc,
        packer_l1_acc=not fp32_dest_acc,
    )
