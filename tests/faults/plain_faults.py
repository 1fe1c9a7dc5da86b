"""Faults of the functional stage's own code: of its layer, its tables, its cache, its two ends.

A name begins with "plain", as there are such faults of the optimized stage too. S sequence,
D head_dim, P padded head_dim.
"""

import dataclasses
import itertools

import torch
import ttnn

from model import functional
from model.config import RopeConfig

from .attention_faults import SDPA, SDPA_DECODE, greatest_so_far
from .cache_faults import FILL, UPDATE
from .eltwise_faults import GATE, SUM
from .heads_faults import CREATE, q_and_k_exchanged
from .inject import argument, calls, host, in_layers, in_model, ints, of_stage, part
from .model_faults import (
    EMBEDDED,
    SCALED,
    TRIMMED,
    filled_up,
    layers_changed,
    offset_after_prefill,
    rows_of_the_filling,
)
from .product_faults import PRODUCT
from .rotary_faults import DISTANCES, ROTARY, every_other_call_missing, factor_dropped

PlainLayer, PlainPhi3 = functional.PlainLayer, functional.PlainPhi3

# --- a layer's sums and norms --------------------------------------------------------------------


def attention_residual_dropped(prefill):
    def faulty(self, x, *where):
        h = self.attention_prefill(self.norm(x, self.input_norm), *where)
        return ttnn.add(h, self.mlp(self.norm(h, self.mlp_norm)))

    return faulty


def mlp_residual_dropped(prefill):
    def faulty(self, x, *where):
        h = ttnn.add(x, self.attention_prefill(self.norm(x, self.input_norm), *where))
        return self.mlp(self.norm(h, self.mlp_norm))

    return faulty


def residual_after_the_norm(prefill):
    def faulty(self, x, *where):
        normed = self.norm(x, self.input_norm)
        h = ttnn.add(normed, self.attention_prefill(normed, *where))
        return ttnn.add(h, self.mlp(self.norm(h, self.mlp_norm)))

    return faulty


def norms_exchanged(prefill):
    def faulty(self, x, *where):
        h = ttnn.add(x, self.attention_prefill(self.norm(x, self.mlp_norm), *where))
        return ttnn.add(h, self.mlp(self.norm(h, self.input_norm)))

    return faulty


def attention_and_mlp_in_parallel(prefill):
    def faulty(self, x, *where):
        h = ttnn.add(x, self.attention_prefill(self.norm(x, self.input_norm), *where))
        return ttnn.add(h, self.mlp(self.norm(x, self.mlp_norm)))

    return faulty


def halves_exchanged(split):
    return lambda *args, **kwargs: split(*args, **kwargs)[::-1]


# --- heads and their rotation --------------------------------------------------------------------


def heads_as_they_are(padded_heads):
    """Filled up with zeros, their columns in Hugging Face's order."""

    def faulty(wqkv, config):
        heads = wqkv.unflatten(0, (-1, config.head_dim))
        filling = len(functional.rotated_columns(config.head_dim)) - config.head_dim
        return torch.nn.functional.pad(heads, (0, 0, 0, filling)).flatten(0, 1)

    return faulty


def values_in_the_order_of_rotation(padded_heads):
    def faulty(wqkv, config):
        columns = functional.rotated_columns(config.head_dim)
        return wqkv.unflatten(0, (-1, config.head_dim))[:, columns].flatten(0, 1)

    return faulty


def middle_tile_repeated(rotated_columns):
    """The fourth tile is the middle one as it is, its halves not exchanged."""

    def faulty(head_dim):
        columns = rotated_columns(head_dim)
        own, tile = head_dim // 2 // 32 * 32, len(columns) - head_dim
        return torch.cat((columns[:head_dim], columns[own : own + tile]))

    return faulty


def last_columns_kept(unpadded):
    def faulty(self, heads):
        one, second, third, width = heads.shape
        first = width - self.head_dim
        return ttnn.slice(heads, [0, 0, 0, first], [one, second, third, width])

    return faulty


def sign_of_the_middle_tile(cos_sin):
    """The tables of sin have Hugging Face's one sign, as if all columns were in its order."""

    def faulty(rope, head_dim, *lengths):
        cos, sin = cos_sin(rope, head_dim, *lengths)
        places = torch.arange(sin.shape[1])
        first = functional.rotated_columns(head_dim) < head_dim // 2
        return cos, torch.where((places < len(places) // 2) == first, sin, -sin)

    return faulty


def tables_one_late(cos_sin):
    def faulty(rope, head_dim, max_seq_len, length):
        return [table[1:] for table in cos_sin(rope, head_dim, max_seq_len, length + 1)]

    return faulty


def factors(long):
    """Always the long factors, or never."""

    def of(cos_sin):
        def faulty(rope, head_dim, _, rows):
            return cos_sin(rope, head_dim, long, rows)

        return faulty

    return of


def other_theta(cos_sin):
    def faulty(rope, *others):
        return cos_sin(dataclasses.replace(rope, theta=500000.0), *others)

    return faulty


def in_steps(change):
    """Positions of a step, which do not count from 0 on, become `change(positions)`."""

    def of(embed):
        def faulty(self, tokens, positions):
            if positions != list(range(len(positions))):
                positions = change(positions)
            return embed(self, tokens, positions)

        return faulty

    return of


def cos_for_sin(embed):
    def faulty(self, *args):
        x, cos, sin = embed(self, *args)
        return x, sin, cos

    return faulty


# --- the cache, attention ------------------------------------------------------------------------


def keys_for_values(fill):
    turns, keys = itertools.cycle([True, False]), []

    def faulty(cache, new, **kwargs):
        if next(turns):
            keys[:] = [new]
        return fill(cache, *keys, **kwargs)

    return faulty


def nothing_cached(update):
    return lambda *args, **kwargs: None


def one_later(positions):
    own = host(positions)
    return ints(torch.where(own >= 0, own + 1, own), positions.device())


def those_of_the_first(init):
    """All layers write into one cache."""
    first = []

    def faulty(self, *args):
        init(self, *args)
        first.append(self)
        self.keys, self.values = first[0].keys, first[0].values

    return faulty


# --- the model -----------------------------------------------------------------------------------


def weights_of_the_first(init):
    def faulty(self, config, weights, number, length):
        init(self, config, weights, 0, length)

    return faulty


def without_the_final_norm(head):
    return lambda self, x: ttnn.linear(x, self.lm_head)


def scaled_embedding(embed):
    def faulty(self, *args):
        x, *tables = embed(self, *args)
        return ttnn.multiply(x, x.shape[-1] ** 0.5), *tables

    return faulty


def next_ids(embed):
    def faulty(self, tokens, positions):
        count = self.embedding.shape[0]
        return embed(self, [(token + 1) % count for token in tokens], positions)

    return faulty


def filled_in_front(prefill):
    def faulty(self, tokens, *args):
        return prefill(self, [0] * filled_up(tokens) + tokens, *args)

    return faulty


def rolled(function):
    """Logits of each row are those of the one before."""
    return lambda self, *args: function(self, *args).roll(1, 0)


def goes_on_where_the_last_one_ended(decode):
    """A new sequence does not begin at position 0."""
    state = {"last": -1, "start": 0}

    def faulty(self, tokens, positions):
        own, *others = positions
        if own == 0:
            state["start"] = state["last"] + 1
        state["last"] = own + state["start"]
        return decode(self, tokens, [state["last"], *others])

    return faulty


ROTATION = ROTARY.rpartition(".")[2]
TABLES = (ROTATION, 0)  # the place where a wrong table is used first


def path(operation):
    return operation.removeprefix("ttnn.")


def at(operation, layer=0):
    return operation.rpartition(".")[2], layer


def layer(name, change, place, method="prefill"):
    return in_layers(f"plain: {name}", part(PlainLayer, method, change), place=place)


def table(name, change, place=TABLES, function="cos_sin"):
    return in_layers(f"plain: {name}", part(functional, function, change), place=place)


def call(name, operation, change, place=None):
    return in_layers(f"plain: {name}", calls(path(operation), change), place=place or at(operation))


def whole(name, method, change, place):
    return in_model(f"plain: {name}", part(PlainPhi3, method, change), place=place)


LAYER = [
    layer("attention's residual dropped", attention_residual_dropped, SUM),
    layer("MLP's residual dropped", mlp_residual_dropped, SUM),
    layer("residual taken after the norm", residual_after_the_norm, SUM),
    layer("the layer's norms exchanged", norms_exchanged, ("norm", 0)),
    layer("attention and MLP in parallel", attention_and_mlp_in_parallel, ("norm", 0)),
    call("halves of gate and up exchanged", "ttnn.split", halves_exchanged, GATE),
    # the rotation knows no names: attention is the first to which it makes a difference
    call("q and k exchanged after the projection", CREATE, q_and_k_exchanged, at(SDPA)),
]
ROTATED = [
    call("keys not rotated", ROTARY, every_other_call_missing, ("rope", 0)),
    table("weights not in the order of rotation", heads_as_they_are, function="padded_heads"),
    table(
        "values in the order of rotation",
        values_in_the_order_of_rotation,
        PRODUCT,
        "padded_heads",
    ),
    table("middle tile's halves not exchanged", middle_tile_repeated, function="rotated_columns"),
    layer("wrong end of the padded heads kept", last_columns_kept, TRIMMED, "_unpadded"),
    table("sign of sin on the middle tile", sign_of_the_middle_tile),
    in_layers(
        "plain: rotary tables one position late",
        part(functional, "cos_sin", tables_one_late),
        place=TABLES,
        unseen=DISTANCES,
    ),
    in_layers(
        "plain: attention factor dropped",
        part(RopeConfig, "scaling", factor_dropped),
        place=TABLES,
    ),
    table("long factors for short", factors(long=True)),
    table("short factors for long", factors(long=False), None),
    table("theta of another model", other_theta),
    in_layers("plain: tables exchanged", part(PlainPhi3, "embed", cos_for_sin), place=TABLES),
    in_layers(
        "plain: decode rotates by the next position",
        part(PlainPhi3, "embed", in_steps(lambda positions: [p + 1 for p in positions])),
        place=TABLES,
    ),
    in_layers(
        "plain: all rows rotated by the first one's position",
        part(PlainPhi3, "embed", in_steps(lambda positions: positions[:1] * len(positions))),
        place=TABLES,
    ),
]
ATTENDING = [
    call("prompt's keys cached for values", FILL, keys_for_values),
    call("prompt into another row of the cache", FILL, argument("batch_idx", lambda row: row + 1)),
    call("decode caches nothing", UPDATE, nothing_cached, ("cache update", 0)),
    call("decode caches one position late", UPDATE, argument("update_idxs_tensor", one_later)),
    call("attention sees later keys", SDPA, argument("is_causal", lambda causal: False)),
    call("scale of 128 columns", SDPA, argument("scale", lambda scale: 128**-0.5)),
    call("scale of 128 in decode", SDPA_DECODE, argument("scale", lambda scale: 128**-0.5)),
]
ENDS = [
    in_model(
        "plain: one cache for all layers",
        part(PlainLayer, "__init__", those_of_the_first),
        place=at(FILL, 1),
    ),
    in_model(
        "plain: first layer's weights in all layers",
        part(PlainLayer, "__init__", weights_of_the_first),
        place=("norm", 1),
    ),
    whole("layers in reverse", "__init__", layers_changed(lambda x: x[::-1]), ("norm", 0)),
    whole("last layer left out", "__init__", layers_changed(lambda x: x[:-1]), ("norm", 3)),
    whole("final norm left out", "head", without_the_final_norm, ("norm", None)),
    whole("embeddings scaled", "embed", scaled_embedding, SCALED),
    whole("token ids one too large", "embed", next_ids, EMBEDDED),
    whole("logits of the filling tokens", "prefill", rows_of_the_filling, ("to_torch", None)),
    # the tokens' vectors are right wherever they lie; at their new positions they are rotated
    whole("prompt filled up in front", "prefill", filled_in_front, TABLES),
    whole("last token trimmed wrongly", "prefill", rolled, ("to_torch", None)),
    whole("logits of another row", "decode", rolled, ("to_torch", None)),
    in_model(
        "plain: decode counts the filling tokens",
        offset_after_prefill(filled_up, PlainPhi3),
        place=TABLES,
    ),
    in_model(
        "plain: decode begins at position 0",
        offset_after_prefill(lambda ids: -len(ids), PlainPhi3),
        place=TABLES,
    ),
    in_model(
        "plain: stale rows attended after a reset",
        calls(path(SDPA_DECODE), greatest_so_far),
        place=at(SDPA_DECODE),
    ),
    whole(
        "position not reset for a new sequence", "decode", goes_on_where_the_last_one_ended, TABLES
    ),
]

FAULTS = of_stage("functional", [*LAYER, *ROTATED, *ATTENDING, *ENDS])
