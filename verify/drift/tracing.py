"""The first run: which calls the model makes, and which of Hugging Face's values each makes."""

from . import matching, taps, walk


class Untold(RuntimeError):
    """Drift cannot be told, and why."""


def trace(model, sequences, steps):
    """Lead the model once and look at its calls, reading nothing.

    Returns:
        For each piece of the walk (calls, passes): a list of `matching.Traced`, one of
        `matching.Matched`.
    """
    pieces, calls = [], []

    def observe(call, run):
        used = tuple(tensor.buffer_unique_id() for tensor in call.operands)
        written = tuple(
            tuple(tensor.buffer_unique_id() for tensor in pair) for pair in written_pairs(call)
        )
        result = run()
        made = taps.device_tensors([result])
        shapes = tuple(tuple(tensor.shape) for tensor in made)
        ids = tuple(tensor.buffer_unique_id() for tensor in made)
        calls.append(matching.Traced(len(calls), call.name, shapes, ids, used, written))
        return result

    def begin(piece):
        calls.clear()

    def end(piece, logits):
        seen = list(calls)
        pieces.append((seen, matching.passes(seen, steps, piece.start, piece.count)))

    with taps.tapped(observe):
        walk.lead(model, sequences, begin, end)
    if not any(passes for _, passes in pieces):
        raise Untold("the model calls no operation of TTNN.")
    return pieces


def written_pairs(call):
    """(cache, what is written) tensors for each cache that a call writes."""
    pairs = []
    for cache_at, cache_name, source_at, source_name in matching.WRITES.get(
        call.name.rpartition(".")[2], ()
    ):
        cache = _argument(call, cache_at, cache_name)
        source = _argument(call, source_at, source_name)
        if cache is not None and source is not None:
            pairs.append((cache, source))
    return pairs


def _argument(call, place, name):
    return call.kwargs.get(name, call.args[place] if place < len(call.args) else None)
