"""The catalogue of faults: what a bring-up of a language model gets wrong, and who must notice."""

from . import arithmetic_faults, device_faults, model_faults

FAULTS = [*device_faults.FAULTS, *arithmetic_faults.FAULTS, *model_faults.FAULTS]
