"""Matching a model's calls to Hugging Face's steps, and where values lie in tensors: no device."""

import types

import pytest
import torch

from ttnn_verify.drift.observation import columns, layouts, matching
from ttnn_verify.drift.observation.hf_values import HeadCounts, HfValue
from ttnn_verify.drift.observation.matching import Traced

HIDDEN, HEADS, WIDTH, INNER, WORDS, LAYERS = 64, 2, 32, 96, 50, 3


def step(name, kind, *shape):
    layer = int(name.split(".")[1]) if "." in name else None
    short = name.rpartition(".")[2]
    return types.SimpleNamespace(
        name=name, kind=kind, shape=shape, short=short, layer=layer, heads=None
    )


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
        Traced(
            index,
            f"ttnn.{name}",
            tuple((1, rows, width) for width in widths),
            tuple(1000 * index + n for n in range(len(widths))),
            (),
            ((index, -1),) if name == "fill_cache" else (),
        )
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


def test_caches_are_written_keys_first():
    (match,) = matched(calls([LAYER] * LAYERS))
    assert list(match.writes.values()) == [(i, kind) for i in range(LAYERS) for kind in "kv"]


def test_a_prompt_in_pieces_is_several_passes():
    pieces = calls([LAYER] * LAYERS)
    again = [
        Traced(len(pieces) + c.index, c.name, c.shapes, c.outputs, c.operands, c.written)
        for c in pieces
    ]
    assert [match.rows for match in matched(pieces + again, 5, 40)] == [range(5, 37), range(37, 45)]


def value(rows, *shape):
    return torch.randn(rows, *shape)


HALF = WIDTH // 2


@pytest.mark.parametrize(
    ("place", "rows"),
    [
        pytest.param(lambda x: x.transpose(0, 1)[None], 7, id="prompt"),
        pytest.param(
            lambda x: torch.nn.functional.pad(x.transpose(0, 1)[None], (0, 0, 0, 25)), 7, id="tiles"
        ),
        pytest.param(lambda x: torch.nn.functional.pad(x[None], (0, 0, 0, 30)), 1, id="token"),
        pytest.param(
            lambda x: torch.cat((x[None], torch.randn(1, 31, HEADS, WIDTH)), 1), 1, id="slots"
        ),
        pytest.param(lambda x: x.flatten(1)[None, None], 7, id="merged"),
        pytest.param(
            lambda x: torch.nn.functional.pad(
                x.unflatten(-1, (2, HALF)), (0, 64 - HALF)
            ).flatten(2).transpose(0, 1)[None],
            7,
            id="halves padded",
        ),
        pytest.param(
            lambda x: torch.stack(x.chunk(2, -1), -1).flatten(2).transpose(0, 1)[None],
            7,
            id="pairs",
        ),
    ],
)  # fmt: skip
def test_heads_are_found_and_replaced_wherever_they_lie(place, rows):
    first, second = value(rows, HEADS, WIDTH), value(rows, HEADS, WIDTH)
    tensor = place(first)
    candidates = layouts.candidates(tuple(tensor.shape), rows, (HEADS, WIDTH), permuted=HEADS)
    layout, error = layouts.nearest(candidates, tensor, first)
    assert error == 0
    assert torch.equal(layout.read(layout.write(tensor, second)), second)
    replaced = layout.write(layout.write(tensor, second), first)
    assert torch.equal(replaced, tensor)


def test_rows_of_a_cache_in_pages_are_found_by_its_table():
    rows, block = 50, 32
    keys = value(rows, HEADS, WIDTH)
    cache = torch.randn(4, HEADS, block, WIDTH)
    pages = torch.tensor([3, 1])
    cache[3] = keys[:block].transpose(0, 1)
    cache[1, :, : rows - block] = keys[block:].transpose(0, 1)
    (layout,) = layouts.in_cache(tuple(cache.shape), rows, (HEADS, WIDTH), pages=pages)
    assert torch.equal(layout.read(cache), keys)


def test_no_layout_where_a_value_does_not_fit():
    assert layouts.candidates((1, 1, 32, 60), 7, (HIDDEN,)) == []


# --- the order of columns ------------------------------------------------------------------------


def test_an_order_of_columns_is_found_in_values_with_copies_and_padding():
    """Heads of 6 columns, in another order, two of them twice and one column of padding."""
    x = torch.randn(5, 2, 6)
    order = [3, 0, 5, 1, 2, 4, 0, 3]
    tensor = torch.nn.functional.pad(x[..., order], (0, 1))
    found = columns.find(tensor.flatten(0, 1), x.flatten(0, 1))
    assert found.columns.tolist() == [*order, -1]
    assert found.places.tolist() == [1, 3, 4, 0, 5, 2]
    index = torch.arange(tensor.numel()).reshape(tensor.shape)
    layout = layouts.ordered(index, found)
    assert torch.equal(layout.read(tensor), x)
    written = layout.write(tensor, 2 * x)
    assert torch.equal(written, 2 * tensor)  # the copies too


def test_no_order_is_found_in_values_that_are_others():
    x = torch.randn(8, 6)
    assert columns.find(torch.randn(8, 9), x) is None
    twice = x[:, [0, 1, 2, 3, 4, 4]]
    assert columns.find(twice, x) is None
    assert columns.find(x[:3], x[:3]) is None  # too few rows to tell columns apart


def test_the_order_found_in_a_product_is_that_of_its_heads():
    heads, width, order = 3, 4, [2, 3, 0, 1, 2]  # of queries and keys; v is padded at its end
    step = HfValue(
        "layers.0.qkv", "product", (), (heads * width,), None, 0, "attention", HeadCounts(2, 3, 4)
    )
    value = torch.randn(6, heads, width)
    rotated, v = value[:, :2, order], torch.nn.functional.pad(value[:, 2:], (0, 1))
    tensor = torch.cat((rotated, v), 1).reshape(1, 1, 6, heads * 5)
    found = layouts.find_order(step, tensor, 6, value.flatten(1))
    (layout,) = layouts.in_order(step, tuple(tensor.shape), 6, found)
    assert torch.equal(layout.read(tensor), value.flatten(1))
    assert torch.equal(layout.write(tensor, 2 * value.flatten(1))[..., :10], 2 * tensor[..., :10])
