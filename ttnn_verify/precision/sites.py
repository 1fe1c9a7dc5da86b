"""Where a model has a precision to choose, by the values that its calls make.

A walk of drift names the calls: which of Hugging Face's values a product makes. From then on the
call is known by its weight's buffer, an attention by its cache's, so that the order of calls, the
length of a prompt and the kind of a step no longer matter.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from ttnn_verify.drift import isolated
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.observation import walk
from ttnn_verify.drift.observed import Observed, ReadTensor
from ttnn_verify.drift.session import Session
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics.compute_config import HIFI4, ComputeConfig
from ttnn_verify.ops.expected import compute_of
from ttnn_verify.precision.configuration import FORMATS, Place

TILE = 32
PROMPT = 33  # tokens of the walk, one more than a tile
CACHE = "cache"

OF_PRODUCTS = ("heads",)  # kinds of steps that are a part of a product

# What TTNN computes with where a call has no compute config, by the kind of the step.
DEFAULTS = {"product": ComputeConfig(), "attention": ComputeConfig(), "norm": HIFI4}


@dataclasses.dataclass(frozen=True)
class Site:
    """A place, and how its calls are known.

    Attributes:
        kind: "product", "norm", "attention" or "cache".
        buffers: of the weights, or of the caches.
        dtype: format of weights or caches as the model has them.
        tiles: of 32x32, of all weights or caches, on a chip.
        compute: what the model asks for; None of a cache.
        exact_exp: whether an attention computes exponentials exactly.
    """

    place: Place
    kind: str
    buffers: frozenset[int]
    dtype: str
    tiles: int
    compute: ComputeConfig | None
    exact_exp: bool | None = None

    def and_again(self, other: "Site") -> "Site":
        """The same place in another call, with weights or caches of its own or the same ones."""
        if other.buffers <= self.buffers:
            return self
        return dataclasses.replace(
            self, buffers=self.buffers | other.buffers, tiles=self.tiles + other.tiles
        )


@dataclasses.dataclass(frozen=True)
class Sites:
    """All sites of a model, and the products with weights that none of Hugging Face's matches."""

    sites: tuple[Site, ...]
    unmatched: tuple[str, ...]

    def of_kind(self, kind: str) -> list[Site]:
        return [site for site in self.sites if site.kind == kind]

    def at(self, place: Place) -> Site:
        return next(site for site in self.sites if site.place == place)


def find(model: Any, hf_model: Any, ids: torch.Tensor, session: Session) -> Sites:
    """The sites of a model, from a walk along a prompt and another along a token after one.

    Args:
        hf_model: in float32, of eager attention.
        ids: `[1, S]`, at least two tokens, of which `PROMPT` + 1 are used.
    """
    tokens = ids[0, : PROMPT + 1]
    before = len(tokens) - 1
    found: dict[Place, Site] = {}
    unmatched: dict[str, None] = {}
    for counts in ((before,), (before, 1)):
        sequence = walk.TokenSequence((tokens[: sum(counts)],), tuple((n,) for n in counts))
        reference = ExpectedValues(hf_model, session.record)
        walked = isolated.run(model, [sequence], reference, session=session)
        steps = {step.name: step for step in walked.reference.steps}
        for call in walked.calls:  # those of the last call of the model
            site = _site(call, steps)
            if site is None:
                if call.kind == "product" and _weight(call) is not None:
                    unmatched[_described(call)] = None
                continue
            found[site.place] = found.get(site.place, site).and_again(site)
        for cache in _caches(found.values(), walked.calls):
            found[cache.place] = found.get(cache.place, cache).and_again(cache)
    return Sites(tuple(found.values()), tuple(unmatched))


def _site(call: Observed, steps: Mapping[str, HfValue]) -> Site | None:
    """The site of a product, norm or attention that makes what that step of Hugging Face's does."""
    if call.kind not in DEFAULTS:
        return None
    kinds = (call.kind, *OF_PRODUCTS) if call.kind == "product" else (call.kind,)
    held = [steps[one.name] for one in call.held(0) if steps[one.name].kind in kinds]
    if not held:
        return None
    place = Place(held[0].layer, "+".join(dict.fromkeys(one.short for one in held)))
    asked = compute_of(call.operands.kwargs.get("compute_kernel_config"))
    compute = asked or DEFAULTS[call.kind]
    if call.kind == "attention":
        caches = _persistent(call.operands.tensors)
        if not caches:
            return None
        program = call.operands.kwargs.get("program_config")
        approximate = getattr(program, "exp_approx_mode", None)
        buffers, dtype, tiles = _held(caches)
        exact = approximate is False
        return Site(place, "attention", buffers, dtype, tiles, compute, exact)
    weight = _weight(call)
    if weight is None:
        return None
    return Site(place, call.kind, *_held([weight]), compute)


def _weight(call: Observed) -> ReadTensor | None:
    """The weight of a product or norm: the largest operand that no call of the model has made."""
    weights = _persistent(call.operands.tensors)
    return max(weights, key=lambda one: math.prod(one.shape), default=None)


def _persistent(tensors: Iterable[ReadTensor]) -> list[ReadTensor]:
    """Operands with values in a device format, that no call of the model has made."""
    return [one for one in tensors if one.origin is None and one.dtype in FORMATS]


def _held(tensors: Sequence[ReadTensor]) -> tuple[frozenset[int], str, int]:
    """Buffers, format and tiles of weights or caches."""
    distinct = {one.buffer: one for one in tensors}
    tiles = sum(
        math.prod(one.shape[:-2]) * -(-one.shape[-2] // TILE) * -(-one.shape[-1] // TILE)
        for one in distinct.values()
    )
    return frozenset(distinct), tensors[0].dtype, tiles


def _caches(sites: Iterable[Site], calls: Iterable[Observed]) -> list[Site]:
    """A site for the caches of each attention, those that a call writes."""
    written = {result.buffer for call in calls if call.operands.sources for result in call.results}
    return [
        Site(Place(one.place.layer, CACHE), CACHE, one.buffers, one.dtype, one.tiles, None)
        for one in sites
        if one.kind == "attention" and one.buffers <= written
    ]


def _described(call: Observed) -> str:
    weight = _weight(call)
    return f"{call.name} with a weight {list(weight.shape) if weight else ''}"
