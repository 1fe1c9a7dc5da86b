"""The catalogue of faults: what a bring-up of a language model gets wrong, and who must notice."""

from . import arithmetic_faults, device_faults, layer_faults, model_faults, product_faults

FAMILIES = (device_faults, arithmetic_faults, product_faults, layer_faults, model_faults)

FAULTS = [fault for family in FAMILIES for fault in family.FAULTS]
