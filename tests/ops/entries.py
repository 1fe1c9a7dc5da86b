"""Entries in a few lines: operands from shapes, and the refusal that every operation makes."""

import ttnn

from .opinfo import Op, Operand, Refused, Sample, plain

BF16 = ttnn.bfloat16


def case(*operands, note="", dtype=None, result=None, **kwargs):
    """A sample of operands, each a shape, or a function of no arguments that makes an Operand.

    Args:
        dtype: of the shapes' operands; bfloat16 by default.
        kwargs: of the call, the golden and the floor.
    """

    def make():
        return tuple(
            Operand(plain(*one), dtype or BF16) if isinstance(one, tuple) else one()
            for one in operands
        )

    first = operands[0] if isinstance(operands[0], tuple) else tuple(operands[0]().values.shape)
    kind = dtype or (BF16 if isinstance(operands[0], tuple) else operands[0]().dtype)
    return Sample(first, make, kind, note=note, kwargs=kwargs, result=result)


def given(values, dtype=BF16, layout=ttnn.TILE_LAYOUT, memory="dram"):
    """For `case`: an operand of values that a function makes."""
    return lambda: Operand(values(), dtype, layout, memory)


def entry(name, call, golden, samples, references, floor=None, operation="", refused=None):
    """An entry, by default with the refusal of tensors that are torch's."""

    def with_torch(device):
        return call(*(one.values for one in samples[0].make()), **samples[0].kwargs)

    return Op(
        name,
        call=call,
        golden=golden,
        samples=tuple(samples),
        references=tuple(references),
        errors=(refused or Refused("torch", with_torch, "incompatible"),),
        floor=floor,
        operation=operation,
    )
