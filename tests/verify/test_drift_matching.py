"""Matching a model's calls to Hugging Face's steps by order and kind, for `drift --frugal`."""

import dataclasses

import pytest

from ttnn_verify.drift.observation import matching
from ttnn_verify.drift.observation.matching import Traced
from ttnn_verify.huggingface.hf_values import HfValue

HIDDEN, HEADS, WIDTH, INNER, WORDS, LAYERS = 64, 2, 32, 96, 50, 3


def step(name, kind, *shape):
    layer = int(name.split(".")[1]) if "." in name else None
    return HfValue(name, kind, (), shape, layer, "head" if layer is None else "MLP")


def hf_steps():
    steps = [step("embedding", "embedding", HIDDEN)]
    for i in range(LAYERS):
        at = f"layers.{i}."
        steps += [
            step(at + "input_norm", "norm", HIDDEN),
            step(at + "qkv", "product", 3 * HIDDEN),
            *(step(at + x, "heads", HEADS, WIDTH) for x in ("q_unrotated", "k_unrotated", "v")),
            *(step(at + x, "rope", HEADS, WIDTH) for x in "qk"),
            step(at + "attention", "attention", HEADS, WIDTH),
            step(at + "o_proj", "product", HIDDEN),
            step(at + "residual", "add", HIDDEN),
            step(at + "post_norm", "norm", HIDDEN),
            step(at + "gate_up", "product", 2 * INNER),
            step(at + "product", "multiply", INNER),
            step(at + "down", "product", HIDDEN),
            step(at + "output", "add", HIDDEN),
        ]
    return [*steps, step("norm", "norm", HIDDEN), step("logits", "product", WORDS)]


LAYER = [
    ("rms_norm", HIDDEN),
    ("linear", 3 * HIDDEN),
    ("split_query_key_value_and_split_heads", WIDTH, WIDTH, WIDTH),
    ("rotary_embedding", WIDTH),
    ("rotary_embedding", WIDTH),
    ("to_memory_config", WIDTH),
    ("fill_cache", WIDTH),
    ("fill_cache", WIDTH),
    ("scaled_dot_product_attention", WIDTH),
    ("concatenate_heads", HIDDEN),
    ("linear", HIDDEN),
    ("add", HIDDEN),
    ("rms_norm", HIDDEN),
    ("linear", 2 * INNER),
    ("slice", INNER),
    ("slice", INNER),
    ("multiply", INNER),
    ("linear", HIDDEN),
    ("add", HIDDEN),
]


def calls(layers, rows=32):
    ops = [("embedding", HIDDEN), *(op for layer in layers for op in layer)]
    ops += [("rms_norm", HIDDEN), ("linear", WORDS)]
    return [
        Traced(index, f"ttnn.{name}", tuple((1, rows, width) for width in widths))
        for index, (name, *widths) in enumerate(ops)
    ]


def matched(traced, start=0, count=20):
    return matching.passes(traced, hf_steps(), start, count)


def without(layer, *names):
    """A layer without the last call of each name."""
    remaining = list(layer)
    for name in names:
        del remaining[max(i for i, op in enumerate(remaining) if op[0] == name)]
    return remaining


def test_every_step_has_its_call():
    (match,) = matched(calls([LAYER] * LAYERS))
    assert match.missing == ()
    assert match.rows == range(20)
    assert [step.name for step in match.steps.values()] == [step.name for step in hf_steps()]


def test_a_missing_call_is_missing_and_no_other():
    (match,) = matched(calls([LAYER, without(LAYER, "rotary_embedding"), LAYER]))
    assert [step.name for step in match.missing] == ["layers.1.k"]
    (match,) = matched(calls([LAYER, LAYER, without(LAYER, "add")]))
    assert [step.name for step in match.missing] == ["layers.2.output"]


def test_a_missing_layer_is_the_last_one():
    (match,) = matched(calls([LAYER] * (LAYERS - 1)))
    assert {step.layer for step in match.missing} <= {LAYERS - 1, None}


def test_calls_between_match_nothing():
    more = [op for op in LAYER for op in (op, ("linear", 7), ("multiply", 7))]
    (match,) = matched(calls([more] * LAYERS))
    assert match.missing == ()


def test_a_prompt_in_pieces_is_several_passes():
    pieces = calls([LAYER] * LAYERS)
    again = [Traced(len(pieces) + call.index, call.name, call.shapes) for call in pieces]
    assert [match.rows for match in matched(pieces + again, 5, 40)] == [range(5, 37), range(37, 45)]


def over_chips(scattered=False):
    """The calls of two chips: heads, MLP columns and vocabulary are divided, and sums are made."""
    sums = [("reduce_scatter", HIDDEN // 2), ("all_gather", HIDDEN)]
    sums = sums if scattered else [("all_reduce", HIDDEN)]
    layer = []
    for name, *widths in LAYER:
        whole = name in ("rms_norm", "add", "concatenate_heads") or widths[0] in (HIDDEN, WIDTH)
        layer.append((name, *(width if whole else width // 2 for width in widths)))
        if name == "linear" and widths == [HIDDEN]:
            layer += [("to_memory_config", HIDDEN), *sums]
    traced = calls([layer] * LAYERS)
    *before, last = [dataclasses.replace(call, mesh=(1, 2)) for call in traced]
    return [*before, dataclasses.replace(last, shapes=((1, 32, WORDS // 2),))]


@pytest.mark.parametrize(("scattered", "adds"), [(False, "all_reduce"), (True, "reduce_scatter")])
def test_on_a_mesh_parts_match_and_sums_are_where_they_are_added_up(scattered, adds):
    traced = over_chips(scattered)
    (one,) = matched(traced)
    assert one.missing == ()
    for i in range(LAYERS):
        made = {x: traced[one.call_of(f"layers.{i}.{x}")[0]].short for x in ("o_proj", "down")}
        assert made == {"o_proj": adds, "down": adds}
        gate = traced[one.call_of(f"layers.{i}.gate_up")[0]]
        assert (gate.short, gate.shapes[0][-1]) == ("linear", INNER)


def test_a_table_that_is_as_wide_as_a_part_begins_no_pass():
    """Those of cos and sin have the columns of a head."""
    embedding, *rest = over_chips()
    table = dataclasses.replace(embedding, shapes=((1, 32, HIDDEN // 2),))
    ordered = [embedding, table, table, *rest]
    traced = [dataclasses.replace(call, index=index) for index, call in enumerate(ordered)]
    assert len(matched(traced)) == 1


def test_a_part_of_the_embedding_begins_one():
    embedding, *rest = over_chips()
    part = dataclasses.replace(embedding, shapes=((1, 32, HIDDEN // 2),))
    (one,) = matched([part, *rest])
    assert one.call_of("embedding") == (0, 0)
