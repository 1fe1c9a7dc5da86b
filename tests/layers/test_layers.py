"""Each part of the model by itself against Hugging Face: see `layer_checks`."""

import pytest
import torch

from tests.support.checks import check, check_equal, check_row

from . import layer_checks
from .layer_checks import compare_rows

LENGTHS = [1, 5, 31, 32, 33, 64, 97, 127, 128, 155, 256]
POSITIONS = [0, 1, 31, 32, 33, 127, 254, 255]
LAYERS = [0, 3]  # at every length
INNER_LAYERS, INNER = [1, 2], 33  # at one length, and at one position
FULL_WIDTH_LENGTHS = [33, 97]
FULL_WIDTH_POSITIONS = [0, 31, 32, 33, 255]

PREFILL, AT = "prefill{}".format, "at{}".format  # ids of lengths and of positions

every_length = pytest.mark.parametrize("seq_len", LENGTHS, ids=PREFILL)
every_position = pytest.mark.parametrize("position", POSITIONS, ids=AT)


def of_each_layer(name, numbers, named):
    """Parametrize a test by the layer `i`, and by a length or position."""
    pairs = [(i, n) for i in LAYERS for n in numbers] + [(i, INNER) for i in INNER_LAYERS]
    cases = [pytest.param(i, n, id=f"layer{i}-{named(n)}") for i, n in pairs]
    return pytest.mark.parametrize(f"i, {name}", cases)


every_layer_and_length = of_each_layer("seq_len", LENGTHS, PREFILL)
every_layer_and_position = of_each_layer("position", POSITIONS, AT)


@every_length
def test_embedding(seq_len, parts, hf_reference, record_property):
    actual = parts.embedding(hf_reference.golden.tokens[:, :seq_len])
    check_equal(
        "layers.embedding",
        f"S{seq_len}",
        hf_reference["embedding"][:, :seq_len],
        actual,
        record_property,
    )


@every_layer_and_length
def test_rms_norm(i, seq_len, parts, hf_reference, record_property):
    layer_checks.rms_norm(i, seq_len, parts, hf_reference, record_property)


@every_layer_and_length
def test_mlp(i, seq_len, parts, hf_reference, record_property):
    layer_checks.mlp(i, seq_len, parts, hf_reference, record_property)


@every_layer_and_length
def test_attention_prefill(i, seq_len, parts, hf_reference, record_property):
    layer_checks.attention_prefill(i, seq_len, parts, hf_reference, record_property)


@every_layer_and_position
def test_attention_decode(i, position, parts, hf_reference, record_property):
    layer_checks.attention_decode(i, position, parts, hf_reference, record_property)


@every_layer_and_length
def test_decoder_layer(i, seq_len, parts, hf_reference, record_property):
    layer_checks.decoder_layer(i, seq_len, parts, hf_reference, record_property)


@every_layer_and_position
def test_decoder_layer_decode(i, position, parts, hf_reference, record_property):
    layer_checks.decoder_layer_decode(i, position, parts, hf_reference, record_property)


@every_length
def test_norm_and_head(seq_len, parts, hf_reference, record_property):
    actual = parts.norm_and_head(hf_reference["layers.3.output"][:, :seq_len])
    compare_rows("layers.norm_and_head", "logits", seq_len, hf_reference, actual, record_property)


@every_length
@pytest.mark.parametrize("of", ["q", "k"])
def test_rotation(of, seq_len, parts, hf_reference, record_property):
    layer_checks.rotation(of, seq_len, parts, hf_reference, record_property)


@every_position
def test_rotation_of_a_token(position, parts, hf_reference, record_property):
    names = "layers.0.q", "layers.0.k"
    heads = [hf_reference[name + "_unrotated"][:, :, position] for name in names]
    for name, actual in zip(names, parts.rotated_at(*heads, position), strict=True):
        case, actual = f"decode-{name}-P{position}", actual[:, :, None]
        check_row(
            "layers.rotation",
            case,
            hf_reference[name],
            hf_reference.rounded(name),
            position,
            actual,
            record_property,
        )


@pytest.mark.parametrize("length", [1, 31, 32, 33, 255, 256, 257, 1024], ids=PREFILL)
def test_rope_tables(length, parts, hf_reference):
    """Computed on the host in float32, by the same steps as Hugging Face's: the same bits.

    Hugging Face takes the long factors from the first position beyond original_max_position.
    """
    theirs = hf_reference.hf_model.model.rotary_emb(torch.zeros(1), torch.arange(length)[None])
    for name, expected, actual in zip(
        ("cos", "sin"), theirs, parts.rope_tables(length), strict=True
    ):
        check_equal("layers.rope_tables", f"{name}-S{length}", expected[0], actual)


@pytest.mark.parametrize("layers", [1, 2, 3, 4], ids="layers{}".format)
def test_error_grows_through_a_stack_as_its_roundings_do(
    layers, stack_outputs, hf_reference, record_property
):
    """Layers amplify their input's error, but no more than Hugging Face's rounded modules do."""
    name = f"layers.{layers - 1}.output"
    expected, rounded = hf_reference[name], hf_reference.rounded_stack(name)
    check(
        "layers.stack",
        f"of-{layers}",
        expected,
        rounded,
        stack_outputs[layers - 1],
        record_property,
    )


@pytest.fixture(scope="module")
def stack_outputs(parts, hf_reference):
    return parts.stack(hf_reference["layers.0.input"])


@pytest.mark.parametrize("seq_len", [33, 155], ids=PREFILL)
def test_filling_rows_never_reach_a_result(seq_len, parts, hf_reference):
    x = hf_reference["layers.0.input_norm"][:, :seq_len]
    padded = torch.nn.functional.pad(x, (0, 0, 0, -seq_len % 32), value=100.0)
    dirty = parts.attention(0, padded)[:, :seq_len]
    assert torch.equal(parts.attention(0, x), dirty)


# --- one layer at Phi-3-mini's full width --------------------------------------------------------


def among(reference, position):
    """Skip where the reference has no such position."""
    rows = reference.golden.tokens.shape[1]
    if position >= rows:
        pytest.skip(f"the wide layer's roundings by default are computed for {rows} rows")


@pytest.mark.parametrize("seq_len", FULL_WIDTH_LENGTHS, ids=PREFILL)
def test_wide_decoder_layer(seq_len, full_width_parts, full_width_reference, record_property):
    among(full_width_reference, seq_len - 1)
    layer_checks.decoder_layer(0, seq_len, full_width_parts, full_width_reference, record_property)


@pytest.mark.parametrize("position", FULL_WIDTH_POSITIONS, ids=AT)
def test_wide_attention_decode(position, full_width_parts, full_width_reference, record_property):
    among(full_width_reference, position)
    layer_checks.attention_decode(
        0, position, full_width_parts, full_width_reference, record_property
    )


def test_wide_parts(full_width_parts, full_width_reference, record_property):
    """The residual adds hide an update's error in a layer's output; each part by itself."""
    for part, run, input_name, name in (
        ("input_norm", full_width_parts.input_norm, "input", "input_norm"),
        ("attention", full_width_parts.attention, "input_norm", "o_proj"),
        ("mlp", full_width_parts.mlp, "post_norm", "down"),
    ):
        actual = run(0, full_width_reference[f"layers.0.{input_name}"][:, :33])
        compare_rows(
            f"layers.{part}", f"layers.0.{name}", 33, full_width_reference, actual, record_property
        )


def test_wide_norm_and_head(full_width_parts, full_width_reference, record_property):
    actual = full_width_parts.norm_and_head(full_width_reference["layers.0.output"][:, :33])
    compare_rows(
        "layers.norm_and_head",
        "logits",
        actual.shape[1],
        full_width_reference,
        actual,
        record_property,
    )
