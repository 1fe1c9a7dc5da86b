"""A part of the model on Hugging Face's own input, against Hugging Face's own output.

Each check is called by a test of this folder and, with a fault injected, by `tests.faults`.

Attention is causal: the golden of a short prompt is the beginning of a long one's, and that of a
token decoded at a position is the row at that position. `i` numbers the decoder layer.
"""

import operator

from tests.support.checks import Record, check, check_row
from tests.support.hf_reference import HfReference

from .parts import StageParts

# A failed comparison is shown at the line of the test, an error of these helpers where it is.
__tracebackhide__ = operator.methodcaller("errisinstance", AssertionError)


def rms_norm(
    i: int, seq_len: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.input_norm(i, reference[f"layers.{i}.input"][:, :seq_len])
    name = f"layers.{i}.input_norm"
    compare_rows("layers.input_norm", name, seq_len, reference, actual, record)


def mlp(
    i: int, seq_len: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.mlp(i, reference[f"layers.{i}.post_norm"][:, :seq_len])
    compare_rows("layers.mlp", f"layers.{i}.down", seq_len, reference, actual, record)


def rotation(
    of: str, seq_len: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    """Of the first layer's queries, "q", or keys, "k"."""
    name = f"layers.0.{of}"
    actual = parts.rotated(reference[name + "_unrotated"][:, :, :seq_len])
    expected, rounded = (x[:, :, :seq_len] for x in (reference[name], reference.rounded(name)))
    check("layers.rotation", f"prefill-{name}-S{seq_len}", expected, rounded, actual, record)


def attention_prefill(
    i: int, seq_len: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.attention(i, reference[f"layers.{i}.input_norm"][:, :seq_len])
    compare_rows("layers.attention", f"layers.{i}.o_proj", seq_len, reference, actual, record)


def attention_decode(
    i: int, position: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.attention_at(i, reference[f"layers.{i}.input_norm"], position)
    compare_row("layers.attention", f"layers.{i}.o_proj", position, reference, actual, record)


def decoder_layer(
    i: int, seq_len: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.output(i, reference[f"layers.{i}.input"][:, :seq_len])
    name = f"layers.{i}.output"
    compare_rows("layers.decoder_layer", name, seq_len, reference, actual, record)


def decoder_layer_decode(
    i: int, position: int, parts: StageParts, reference: HfReference, record: Record | None = None
) -> None:
    actual = parts.output_at(i, reference[f"layers.{i}.input"], position)
    name = f"layers.{i}.output"
    compare_row("layers.decoder_layer", name, position, reference, actual, record)


def compare_rows(part, name, seq_len, reference, actual, record):
    """The first rows of a name, as a prefill of that length computes them."""
    expected, rounded = (x[:, :seq_len] for x in (reference[name], reference.rounded(name)))
    case = f"{reference.hf_model.config.hidden_size}-{name}-S{seq_len}"
    check(part, case, expected, rounded, actual, record)


def compare_row(part, name, position, reference, actual, record):
    """One row of a name, as a decode step computes it."""
    case = f"{reference.hf_model.config.hidden_size}-{name}-P{position}"
    expected, rounded = reference[name], reference.rounded(name)
    check_row(part, case, expected, rounded, position, actual, record)
