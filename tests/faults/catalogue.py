"""The catalogue of faults: what a bring-up of a language model gets wrong, and who must notice."""

from . import (
    attention_faults,
    cache_faults,
    eltwise_faults,
    heads_faults,
    model_faults,
    movement_faults,
    norm_faults,
    plain_faults,
    product_faults,
    rotary_faults,
)

FAMILIES = (
    heads_faults,
    rotary_faults,
    attention_faults,
    cache_faults,
    norm_faults,
    eltwise_faults,
    movement_faults,
    product_faults,
    model_faults,
    plain_faults,
)

FAULTS = [fault for family in FAMILIES for fault in family.FAULTS]
