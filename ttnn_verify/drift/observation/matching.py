"""Which call makes which of Hugging Face's values: by order, kind of operation and width.

Values decide nothing here, for those of a faulty operation are like no other. A model's calls and
Hugging Face's steps are two sequences; matched are the most of them that keep both orders, the early
ones first. Calls that match nothing lie between (moving data, splitting a product), steps that nothing
matches are missing.
"""

import dataclasses

KINDS = {
    "embedding": "embedding",
    "rms_norm": "norm",
    "layer_norm": "norm",
    "linear": "product",
    "matmul": "product",
    "minimal_matmul": "product",
    "nlp_create_qkv_heads": "heads",
    "nlp_create_qkv_heads_decode": "heads",
    "split_query_key_value_and_split_heads": "heads",
    "rotary_embedding": "rope",
    "rotary_embedding_hf": "rope",
    "rotary_embedding_llama": "rope",
    "rotary_embedding_llama_fused_qk": "rope",
    "scaled_dot_product_attention": "attention",
    "scaled_dot_product_attention_decode": "attention",
    "paged_scaled_dot_product_attention_decode": "attention",
    "chunked_scaled_dot_product_attention": "attention",
    "add": "add",
    "add_": "add",
    "multiply": "multiply",
    "multiply_": "multiply",
    "mul": "multiply",
    "swiglu": "multiply",
}

# Operations that write into caches: position or names of the caches and of what is written.
WRITES = {
    "fill_cache": ((0, "cache_tensor", 1, "input_tensor"),),
    "update_cache": ((0, "cache", 1, "input"),),
    "fill_cache_for_user_": ((0, "cache", 1, "input"),),
    "update_cache_for_token_": ((0, "cache", 1, "input"),),
    "paged_update_cache": ((0, "cache_tensor", 1, "input_tensor"),),
    "paged_fill_cache": ((0, "cache_tensor", 1, "input_tensor"),),
    "paged_fused_update_cache": (
        (0, "cache_tensor1", 1, "input_tensor1"),
        (2, "cache_tensor2", 3, "input_tensor2"),
    ),
}

HEADS = ("q_unrotated", "k_unrotated", "v")  # in the order in which they are split off


@dataclasses.dataclass(frozen=True)
class Traced:
    """A call of a run as matching sees it.

    Attributes:
        index: of the call in its run.
        name: the operation's full name.
        outputs: shapes of the results.
        made: ids of the results' buffers; used: of the operands'.
        written: (cache, what is written), ids, for each cache that the call writes.
    """

    index: int
    name: str
    outputs: tuple[tuple[int, ...], ...]
    made: tuple[int, ...]
    used: tuple[int, ...]
    written: tuple[tuple[int, int], ...] = ()

    @property
    def short(self):
        return self.name.rpartition(".")[2]

    @property
    def kind(self):
        return KINDS.get(self.short)


@dataclasses.dataclass(frozen=True)
class Matched:
    """What is known of a pass through the layers.

    Attributes:
        rows: the positions it computes, a range.
        first, last: indices of its calls, the last one not included.
        steps: (call, output) -> the step whose value it is.
        writes: (call, number of its cache) -> (layer, "k" or "v").
        missing: steps that no call matches.
    """

    rows: range
    first: int
    last: int
    steps: dict
    writes: dict
    missing: tuple

    def call_of(self, name):
        """The (call, output) of a value, None if it is missing."""
        return next((place for place, step in self.steps.items() if step.name == name), None)


def passes(calls, steps, start, count):
    """Match the calls of one call of the model, which is given `count` tokens from position `start` on.

    It is cut before each embedding of tokens: a model may take them in pieces.

    Args:
        calls: `Traced` in their order.
        steps: `reference.steps`.

    Returns:
        A list of `Matched`.
    """
    embedding = steps[0]
    begins = [
        i
        for i, call in enumerate(calls)
        if call.kind == "embedding" and fits((call, 0, call.outputs[0]), embedding)
    ]
    sizes = [_rows(calls[i].outputs[0]) for i in begins]
    if not calls:
        return []
    if not begins:
        begins, sizes = [0], [count]
    begins[0] = 0  # what comes before the first embedding belongs to it
    found, position = [], start
    for begin, end, size in zip(begins, [*begins[1:], len(calls)], sizes):
        rows = range(position, min(position + size, start + count))
        position = rows.stop
        if rows:
            found.append(_matched(calls[begin:end], steps, rows))
    return found


def _rows(shape):
    product = 1
    for size in shape[:-1]:
        product *= size
    return product


def _matched(calls, steps, rows):
    elements = [
        (call, output, shape)
        for call in calls
        if call.kind
        for output, shape in enumerate(call.outputs)
    ]
    pairs = aligned(elements, steps, fits)
    places = {(elements[i][0].index, elements[i][1]): steps[j] for i, j in pairs}
    found = {steps[j].name for _, j in pairs}
    missing = tuple(step for step in steps if step.name not in found)
    writes = _writes(calls, places)
    return Matched(rows, calls[0].index, calls[-1].index + 1, places, writes, missing)


def fits(element, step):
    """Whether a call's result may be a step's value, by kind and width."""
    call, output, shape = element
    if call.kind != step.kind:
        return False
    if step.kind == "heads":
        return HEADS.index(step.short) == output
    if step.kind in ("rope", "attention"):
        return True
    return shape[-1] == step.shape[0]


def aligned(elements, steps, fits):
    """Pairs (i, j) of a longest common subsequence, of the longest ones the earliest."""
    n, m = len(elements), len(steps)
    best = [[0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if best[i][j] < 1 + best[i + 1][j + 1] and fits(elements[i], steps[j]):
                best[i][j] = 1 + best[i + 1][j + 1]
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        if best[i][j] == 1 + best[i + 1][j + 1] and fits(elements[i], steps[j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] == best[i][j]:  # something later matches this step, or none does
            i += 1
        else:
            j += 1
    return pairs


def _writes(calls, places):
    """(call, number) -> (layer, "k" or "v") of the caches that are written.

    The layer is that of the step before. Keys come before values, unless what is written stems from
    the values first and from the keys then.
    """
    layer, by_layer = 0, {}
    for call in calls:
        for output in range(len(call.outputs)):
            step = places.get((call.index, output))
            if step is not None and step.layer is not None:
                layer = step.layer
        for number, pair in enumerate(call.written):
            by_layer.setdefault(layer, []).append((call.index, number, pair[1]))
    roots = _roots(calls, places)
    found = {}
    for layer, written in by_layer.items():
        names = ["k", "v"] * len(written)
        if [roots.get(source) for _, _, source in written[:2]] == ["v", "k"]:
            names = ["v", "k"] * len(written)
        for (index, number, _), name in zip(written, names):
            found[index, number] = layer, name
    return found


def _roots(calls, places):
    """Buffer -> "q", "k" or "v": which heads its contents stem from."""
    roots = {}
    for call in calls:
        inherited = next((roots[buffer] for buffer in call.used if buffer in roots), None)
        for output, buffer in enumerate(call.made):
            step = places.get((call.index, output))
            if step is not None and step.kind in ("heads", "rope"):
                roots[buffer] = step.short[0]
            elif step is None and inherited:
                roots[buffer] = inherited
    return roots
