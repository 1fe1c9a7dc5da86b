"""The checks of each tier, as its own tests make them: what is run under a fault.

A check is a name and a function of pytest's request, of which it asks what is built on the device,
so that this is built under the fault.
"""

import torch
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb

from model.config import ModelConfig
from model.optimized.rope import RotaryEmbedding
from tests.layers import layer_checks
from tests.layers.parts import rotated
from tests.ops.op_checks import check as check_op
from tests.ops.op_checks import check_repeats
from tests.ops.table import OPS
from tests.support.checkpoint import CACHE_LENGTH
from tests.support.checks import check, check_equal
from ttnn_verify.huggingface import module_floors


def checks(tier, fault, stage):
    """The tier's checks for a fault: its ops' samples, or all of a stage's layers or model."""
    if tier == "ops":
        return op_checks(fault)
    return {"layers": layer_checks_of(stage), "e2e": MODEL_CHECKS}[tier]


def caught_by(checks, request):
    """The first (name, run) that fails, None if all pass. Other errors than failures rise."""
    for name, run in checks:
        if fails(run, request):
            return name, run
    return None


def fails(run, request):
    """Whether a check says no. An error is none of its findings: the fault would be badly made."""
    try:
        run(request)
    except AssertionError:
        return True
    return False


# --- ops -----------------------------------------------------------------------------------------


def op_checks(fault):
    """All calls of the fault's ops, the likely one first; one alone if a higher tier must."""
    checks = [check for name in fault.ops for check in _checks_of(OPS[name])]
    checks.sort(key=lambda check: fault.sample not in check[0])
    return checks if fault.tier == "ops" else checks[:1]


def _checks_of(op):
    calls = [(f"{op.name}-{s.id}", _of_op(check_op, op, s)) for s in op.samples + op.references]
    twice = _of_op(check_repeats, op, op.samples[0])
    return [*calls, (f"{op.name}-twice", twice)]


def _of_op(function, op, sample):
    return lambda request: function(op, sample, request.getfixturevalue("device"))


# --- layers --------------------------------------------------------------------------------------


def _of_first_layer(layer_check, at, which=0):
    """(name, run) of a layer check, for a prompt of `at` rows or the row at position `at`."""

    def run(request):
        layer_check(
            which, at, request.getfixturevalue("parts"), request.getfixturevalue("hf_reference")
        )

    return layer_check.__name__, run


def long_rope(request):
    """Queries rotated for a long context, with the factors that its length decides."""
    hf_model, device = (request.getfixturevalue(name) for name in ("hf_model", "device"))
    config = ModelConfig.from_hf(hf_model.config)
    longest, rows = config.rope.max_position, 64
    x = torch.randn(1, config.n_heads, rows, config.head_dim).bfloat16().float()
    tables = hf_model.model.rotary_emb(x, torch.arange(longest)[None])
    cos, sin = (table[:, :rows] for table in tables)
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    rounded, _ = module_floors.rope(x, x, cos, sin)
    rope = RotaryEmbedding(config.rope, config.head_dim, 1, longest, device)
    actual = rotated(rope, x, device, long=rope.is_long(longest))
    check("layers.rotation", "long", expected, rounded, actual)


def long_rope_tables(request):
    """Tables as long as the context may be, with the factors that its length decides."""
    hf_model, parts = (request.getfixturevalue(name) for name in ("hf_model", "parts"))
    longest = ModelConfig.from_hf(hf_model.config).rope.max_position
    theirs = hf_model.model.rotary_emb(torch.zeros(1), torch.arange(longest)[None])
    for name, expected, actual in zip(
        ("cos", "sin"), theirs, parts.rope_tables(longest), strict=True
    ):
        check_equal("layers.rope_tables", f"{name}-long", expected[0], actual)


def small_rms_norm(request):
    """Rows whose mean of squares is as small as epsilon, as in padding or a first layer."""
    reference, parts = (request.getfixturevalue(name) for name in ("hf_reference", "parts"))
    config = reference.hf_model.config
    x = (torch.randn(1, 32, config.hidden_size) * config.rms_norm_eps**0.5).bfloat16().float()
    theirs = reference.hf_model.model.layers[0].input_layernorm
    rounded = module_floors.run(theirs, x, reference.by_default)
    check("layers.rms_norm", "small", theirs(x).detach(), rounded, parts.input_norm(0, x))


def layer_checks_of(stage):
    """All checks of the layers of a stage of the bring-up."""
    return [*LAYER_CHECKS, *OWN_CHECKS[stage]]


LAYER_CHECKS = [
    _of_first_layer(layer_checks.rms_norm, 33),
    _of_first_layer(layer_checks.mlp, 33),
    _of_first_layer(layer_checks.attention_prefill, 33),
    _of_first_layer(layer_checks.attention_decode, 33),
    _of_first_layer(layer_checks.decoder_layer, 33),
    ("small_rms_norm", small_rms_norm),
]

# Columns that turn slowly show their error far from the first position alone.
OWN_CHECKS = {
    "functional": [
        _of_first_layer(layer_checks.rotation, CACHE_LENGTH, "q"),
        ("long_rope_tables", long_rope_tables),
    ],
    "optimized": [("long_rope", long_rope)],
}

# --- the whole model -----------------------------------------------------------------------------

PROMPT, NEW = 33, 3  # one row more than a tile; tokens decoded after it


def teacher_forcing(request):
    """Logits of a prompt, and of tokens that are decoded after it, against Hugging Face's."""
    model, hf_model, ids = _models(request, PROMPT + NEW)
    with torch.no_grad():
        expected = hf_model(ids).logits[0]
    out = model(ids[:, :PROMPT])
    tokens = _decoded(model, ids[:, PROMPT:], out.past_key_values)
    rounded = _rounded(request, ids)
    check("e2e.prefill", "fault", expected[:PROMPT], rounded[:PROMPT], out.logits[0].float())
    check("e2e.decode", "fault", expected[PROMPT:], rounded[PROMPT:], tokens.float())


def second_sequence(request):
    """A sequence after another one is as from a fresh model, token by token or at once."""
    model, hf_model, ids = _models(request, PROMPT + NEW)
    other = ids.flip(1)[:, :NEW]
    with torch.no_grad():
        expected = hf_model(other).logits[0]
    rounded = _rounded(request, other)
    first = model(ids).logits
    check("e2e.decode", "second", expected, rounded, _decoded(model, other, None).float())
    assert torch.equal(model(ids).logits, first)


def _models(request, length):
    model, hf_model, ids = (
        request.getfixturevalue(name) for name in ("tt_model", "hf_model", "prompt_ids")
    )
    return model, hf_model, ids[:, :length]


def _rounded(request, ids):
    """Hugging Face's logits [S, V] with the roundings of the stage."""
    reference = request.getfixturevalue("hf_reference")
    return module_floors.values(reference.hf_model, ids, reference.by_default)["logits"][0]


def _decoded(model, ids, cache):
    rows = []
    for token in ids[0]:
        out = model(token.reshape(1, 1), past_key_values=cache)
        cache = out.past_key_values
        rows.append(out.logits[0, -1])
    return torch.stack(rows)


MODEL_CHECKS = [("teacher_forcing", teacher_forcing), ("second_sequence", second_sequence)]
