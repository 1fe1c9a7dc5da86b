"""Sites and points that no device is needed for: errors that add up, as a search expects."""

import torch

from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.precision.configuration import FORMATS, Place, as_json
from ttnn_verify.precision.measuring import Measured
from ttnn_verify.precision.sites import CACHE, Site, Sites

ASKED = ComputeConfig("HiFi3", fp32_dest_acc=True, packer_l1_acc=False)
LAYERS = 4
# KL that each part's weights in bfloat4_b add in a layer; in bfloat8_b 1/256 of it.
LOSSES = {"qkv": 8e-4, "down": 4e-4, "gate": 1e-4}
AS_IT_IS = 2e-4


def sites(layers=LAYERS, dtype="bfloat16"):
    """Products of `LOSSES`, 64 tiles each, an lm_head and a cache for each layer."""
    found = []
    for layer in range(layers):
        for part in LOSSES:
            buffers = frozenset((len(found),))
            found.append(Site(Place(layer, part), "product", buffers, dtype, 64, ASKED))
        caches = frozenset((100 + layer,))
        found.append(Site(Place(layer, CACHE), CACHE, caches, "bfloat16", 16, None))
    found.append(Site(Place(None, "logits"), "product", frozenset((99,)), dtype, 256, ASKED))
    return Sites(tuple(found), ())


def measured(configuration):
    """A model whose KL is the sum of what its settings add."""
    kl = AS_IT_IS
    for place, setting in configuration.items():
        if setting.dtype:
            lost = LOSSES.get(place.part, 2e-5)
            kl += lost / 256 ** (FORMATS.index("bfloat4_b") - FORMATS.index(setting.dtype))
        if setting.fidelity:
            kl += 1e-5
    noise = torch.linspace(-1e-5, 1e-5, 64, dtype=torch.float64)
    same = torch.ones(64, dtype=torch.bool)
    return Measured(kl + noise, same, 1 - kl, str(as_json(configuration)))
