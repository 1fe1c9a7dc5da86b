"""The table of ops: adding an op is adding an entry to the module of its family."""

from . import (
    activations,
    along,
    attention,
    binary_functions,
    creation,
    eltwise,
    eltwise_pairs,
    heads,
    heads_on_cores,
    indexes,
    kv_cache,
    latent_attention,
    layouts,
    matmul,
    movement,
    moves,
    normalization,
    other_products,
    paged_attention,
    paged_cache,
    reductions,
    rotary,
    rotary_pairs,
    state_space,
    unary_functions,
)

FAMILIES = (
    movement,
    matmul,
    eltwise,
    activations,
    eltwise_pairs,
    normalization,
    rotary,
    rotary_pairs,
    heads,
    heads_on_cores,
    attention,
    latent_attention,
    other_products,
    paged_attention,
    kv_cache,
    paged_cache,
    layouts,
    along,
    moves,
    reductions,
    creation,
    indexes,
    unary_functions,
    binary_functions,
    state_space,
)

OPS = {op.name: op for family in FAMILIES for op in family.OPS}


def calls(kind):
    """(op, sample) of all entries; kind "samples" or "references"."""
    return [(op, sample) for op in OPS.values() for sample in getattr(op, kind)]


def sample_of(id):
    """(op, sample) of a test's id, such as "rms_norm-bf16-1x1x37x192-dram".

    Raises:
        KeyError: there is no such call.
    """
    return {
        f"{op.name}-{sample.id}": (op, sample)
        for op, sample in calls("samples") + calls("references")
    }[id]
