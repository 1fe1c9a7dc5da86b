"""The checks of each tier, as its own tests make them: what is run under a fault.

A check is a name and a function of pytest's request, of which it asks what is built on the device,
so that this is built under the fault.
"""

import torch
import ttnn
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm, apply_rotary_pos_emb

from model.config import ModelConfig
from model.optimized.phi3 import RMSNorm
from model.optimized.rope import RotaryEmbedding
from model.weights import DeviceWeights
from tests.layers import layer_checks
from tests.layers.parts import rotated
from tests.ops.op_checks import check as check_op
from tests.ops.op_checks import check_repeats
from tests.ops.table import OPS
from tests.support.checks import check
from tests.support.tensors import on_tiles
from ttnn_verify.huggingface import module_floors


def checks(tier, fault):
    """The tier's checks for a fault: its ops' samples, or all checks of the layers or the model."""
    if tier == "ops":
        return op_checks(fault)
    return {"layers": LAYER_CHECKS, "e2e": MODEL_CHECKS}[tier]


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


def _of_first_layer(layer_check, at):
    """(name, run) of a layer check, for a prompt of `at` rows or the row at position `at`."""

    def run(request):
        layer_check(
            0, at, request.getfixturevalue("parts"), request.getfixturevalue("hf_reference")
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


def small_rms_norm(request):
    """Rows whose mean of squares is as small as epsilon, as in padding or a first layer."""
    hf_model, device = (request.getfixturevalue(name) for name in ("hf_model", "device"))
    hidden, eps = hf_model.config.hidden_size, hf_model.config.rms_norm_eps
    x = (torch.randn(1, 32, hidden) * eps**0.5).bfloat16().float()
    weights = DeviceWeights({"ones": torch.ones(hidden)}, device)
    theirs, ours = Phi3RMSNorm(hidden, eps), RMSNorm(weights, "ones", eps)
    actual = ttnn.to_torch(ours(on_tiles(device, x[None])))[0].float()
    check("layers.rms_norm", "small", theirs(x).detach(), module_floors.run(theirs, x), actual)


LAYER_CHECKS = [
    _of_first_layer(layer_checks.rms_norm, 33),
    _of_first_layer(layer_checks.mlp, 33),
    _of_first_layer(layer_checks.attention_prefill, 33),
    _of_first_layer(layer_checks.attention_decode, 33),
    _of_first_layer(layer_checks.decoder_layer, 33),
    ("long_rope", long_rope),
    ("small_rms_norm", small_rms_norm),
]

# --- the whole model -----------------------------------------------------------------------------

PROMPT, NEW = 33, 3  # one row more than a tile; tokens decoded after it


def teacher_forcing(request):
    """Logits of a prompt, and of tokens that are decoded after it, against Hugging Face's."""
    model, hf_model, ids = _models(request, PROMPT + NEW)
    with torch.no_grad():
        expected = hf_model(ids).logits[0]
    out = model(ids[:, :PROMPT])
    tokens = _decoded(model, ids[:, PROMPT:], out.past_key_values)
    rounded = module_floors.values(hf_model, ids)["logits"][0]
    check("e2e.prefill", "fault", expected[:PROMPT], rounded[:PROMPT], out.logits[0].float())
    check("e2e.decode", "fault", expected[PROMPT:], rounded[PROMPT:], tokens.float())


def second_sequence(request):
    """A sequence after another one is as from a fresh model, token by token or at once."""
    model, hf_model, ids = _models(request, PROMPT + NEW)
    other = ids.flip(1)[:, :NEW]
    with torch.no_grad():
        expected = hf_model(other).logits[0]
    rounded = module_floors.values(hf_model, other)["logits"][0]
    first = model(ids).logits
    check("e2e.decode", "second", expected, rounded, _decoded(model, other, None).float())
    assert torch.equal(model(ids).logits, first)


def _models(request, length):
    model, hf_model, ids = (
        request.getfixturevalue(name) for name in ("tt_model", "hf_model", "prompt_ids")
    )
    return model, hf_model, ids[:, :length]


def _decoded(model, ids, cache):
    rows = []
    for token in ids[0]:
        out = model(token.reshape(1, 1), past_key_values=cache)
        cache = out.past_key_values
        rows.append(out.logits[0, -1])
    return torch.stack(rows)


MODEL_CHECKS = [("teacher_forcing", teacher_forcing), ("second_sequence", second_sequence)]
