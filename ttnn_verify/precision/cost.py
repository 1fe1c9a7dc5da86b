"""What a configuration costs: bytes that a decode step reads, and the roofline of a workload.

The roofline is of an n150 (Wormhole B0): 288 GB/s of DRAM, 74 TFLOP/s at HiFi4, of which each
phase less is a quarter of the time. Only what has a precision is counted: products by a weight, and
reading caches.
"""

import dataclasses

from ttnn_verify.precision.configuration import AS_IT_IS, PHASES, TILE_BYTES, Configuration
from ttnn_verify.precision.sites import CACHE, TILE, Site, Sites

BYTES_PER_SECOND = 288e9
FLOPS = 74e12  # at HiFi4
# The workload of the roofline: a prompt, and tokens after it.
PROMPT, TOKENS = 1024, 128


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a configuration, on a chip.

    Attributes:
        weights: bytes of all products' weights.
        caches: bytes of all caches at the length the model is built for.
        seconds: roofline of the workload.
    """

    weights: int
    caches: int
    seconds: float

    @property
    def bytes(self) -> int:
        """That a decode step reads at most."""
        return self.weights + self.caches

    def of(self, minimized: str) -> float:
        """What is to be small: one of `configuration.MINIMIZED`."""
        return self.bytes if minimized == "bytes" else self.seconds


def of(sites: Sites, configuration: Configuration) -> Cost:
    """The cost of a model with a configuration."""
    products, caches = sites.of_kind("product"), sites.of_kind(CACHE)
    weights = sum(_bytes(site, configuration) for site in products)
    held = sum(_bytes(site, configuration) for site in caches)
    seconds = sum(_seconds(site, configuration) for site in products)
    return Cost(weights, held, seconds + TOKENS * held / BYTES_PER_SECOND)


def _bytes(site: Site, configuration: Configuration) -> int:
    dtype = configuration.get(site.place, AS_IT_IS).dtype or site.dtype
    return site.tiles * TILE_BYTES[dtype]


def _seconds(site: Site, configuration: Configuration) -> float:
    """Of a product over the workload: each step is the larger share of memory and arithmetic."""
    asked = configuration.get(site.place, AS_IT_IS).fidelity
    fidelity = asked or (site.compute.fidelity if site.compute else "HiFi4")
    reading = _bytes(site, configuration) / BYTES_PER_SECOND
    flop = 2 * site.tiles * TILE * TILE  # for a row
    row = flop / (FLOPS * PHASES["HiFi4"] / PHASES[fidelity])
    # a token takes a tile of rows
    return max(reading, PROMPT * row) + TOKENS * max(reading, TILE * row)
