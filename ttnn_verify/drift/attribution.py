"""Which operations the error of the logits comes from: one family of them is made exact at a time.

Exact means: the results are replaced by what the operation makes of its operands in float64, rounded once
to the format in which they are kept. That is done from outside, on whatever device.
"""

import dataclasses

import torch

from ttnn_verify.drift.observation import reading, taps, tracing, walk
from ttnn_verify.numerics import metrics
from ttnn_verify.ops import expected as dues
from ttnn_verify.ops import semantics


@dataclasses.dataclass(frozen=True)
class Share:
    """A family of operations: the logits' relative L2 error without its own, and the share that goes.

    Shares are of squares, as independent errors add; they need not add up to 1.
    """

    family: str
    error: float
    share: float


def run(model, sequences):
    """A `Share` per family, and of all of them together; what then is left is the formats' own.

    Args:
        sequences: of `walk.sequences`; the first one is taken.
    """
    whole = _error(model, sequences[:1], set())
    families = dict(semantics.FAMILIES)
    families["all of them"] = set().union(*families.values())
    shares = []
    for family, names in families.items():
        error = _error(model, sequences[:1], names)
        shares.append(Share(family, error, 1 - (error / whole) ** 2 if whole else 0.0))
    return [Share("none", whole, 0.0), *shares]


def _error(model, sequences, exact):
    """Relative L2 error of the logits with some operations made exact."""
    reader, rows = reading.Reader(), []

    def observe(call, run):
        if call.name.rpartition(".")[2] not in exact:
            result = run()
            caches = [cache for cache, _ in tracing.written_pairs(call)]
            made = taps.device_tensors([result])
            for tensor in (*made, *caches, *tracing.rewritten(call)):
                reader.written(tensor)
            return result
        args = reader.held(call.args)
        kwargs = {name: reader.held(value) for name, value in call.kwargs.items()}
        result = run()
        made = taps.device_tensors([result])
        names = tuple(reading.dtype_name(tensor) for tensor in made)
        shapes = tuple(tuple(tensor.shape) for tensor in made)
        found = semantics.due(call.name, call.operation, dues.Made(names, shapes), args, kwargs)
        for due, tensor in zip(found, made, strict=True):
            reader.written(tensor)
            values = reader.read(tensor).clone()
            values[due.region] = due.value.float()
            reader.put(tensor, values)
        return result

    with taps.tapped(observe):
        walk.lead(model, sequences, end=lambda piece, logits: rows.append(logits[0].float()))
    return metrics.relative_l2(sequences[0].values.golden["logits"], torch.cat(rows))
