"""The first run: which calls the model makes, and which of Hugging Face's values each makes."""

from ttnn_verify.drift.observation import matching, taps, walk


class Untold(RuntimeError):
    """Drift cannot be told, and why."""


def trace(model, sequences, steps, returned=lambda piece, logits: None):
    """Lead the model once and look at its calls, reading nothing.

    Args:
        returned: called with each piece of the walk and the logits that the model returns.

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
        returned(piece, logits)
        seen = list(calls)
        pieces.append((seen, matching.passes(seen, steps, piece.start, piece.count)))

    with taps.tapped(observe):
        walk.lead(model, sequences, begin, end)
    if not any(passes for _, passes in pieces):
        raise Untold("the model calls no operation of TTNN.")
    return pieces


def paired_heads(traced, steps):
    """(N + K, D) where the model rotates queries and keys in pairs of columns, None where by halves."""
    if not any(
        call.short.startswith("rotary_embedding_llama") for calls, _ in traced for call in calls
    ):
        return None
    shapes = {step.short: step.shape for step in steps}
    return shapes["q"][0] + shapes["k"][0], shapes["q"][1]


def rewritten(call):
    """The device tensors that a call from the host writes into."""
    return call.operands if call.name == "ttnn.copy_host_to_device_tensor" else []


def page_table(call):
    """The tensor of page numbers that a call is given, None without one."""
    for name in ("page_table", "page_table_tensor"):
        if name in call.kwargs:
            return call.kwargs[name]
    place = PAGES_AT.get(call.name.rpartition(".")[2], len(call.args))
    return call.args[place] if place < len(call.args) else None


# Where the page table stands among the arguments, unless it is named.
PAGES_AT = {
    "paged_fill_cache": 2,
    "chunked_scaled_dot_product_attention": 3,
    "paged_scaled_dot_product_attention_decode": 3,
}


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
