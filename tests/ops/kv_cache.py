"""Writing keys and values into caches: in place, exact, and nothing else of a cache touched.

B batch (users), K kv heads, S sequence, D head_dim, C cache length, P pages of 32 positions.
"""

import dataclasses

import torch
import ttnn

from .attention import ROWS
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, extreme, plain

BF16 = ttnn.bfloat16
SKIP = -1  # as a position: the user's cache stays as it is


def integers(values):
    return Operand(torch.tensor(values, dtype=torch.int32), ttnn.int32, ROWS)


# --- a prompt into one user's cache --------------------------------------------------------------


def filled(cache, length, index, values=plain, memory="dram", dtype=BF16):
    """cache [B, K, C, D], a prompt [1, K, S, D] into user `index`."""
    _, heads, _, width = cache

    def make():
        prompt = values(1, heads, length, width)
        return Operand(values(*cache), dtype), Operand(prompt, dtype, memory=memory)

    note = f"{length}-rows-user-{index}" + ("-extreme" if values is extreme else "")
    return Sample(cache, make, dtype, memory, note, {"index": index})


def fill_call(cache, prompt, *, index):
    ttnn.fill_cache(cache, prompt, index)
    return cache


def fill_golden(cache, prompt, *, index):
    cache = cache.clone()
    cache[index, :, : prompt.shape[2]] = prompt[0]
    return cache


FILL = Op(
    "fill_cache",
    call=fill_call,
    golden=fill_golden,
    samples=(
        *(filled((4, 2, 96, 64), 64, user) for user in range(4)),
        filled((1, 4, 64, 96), 64, 0),
        filled((2, 2, 64, 64), 32, 1, memory="height"),
    ),
    references=(
        filled((4, 32, 256, 96), 128, 0),
        filled((32, 8, 64, 96), 64, 31, values=extreme, memory="height"),
    ),
    errors=(
        Refused(
            "heads",
            lambda device: fill_call(
                on(device, plain(2, 4, 64, 64)), on(device, plain(1, 2, 32, 64)), index=0
            ),
            "must equal cache tensor height",
        ),
        Refused(
            "length",
            lambda device: fill_call(
                on(device, plain(2, 2, 64, 64)), on(device, plain(1, 2, 96, 64)), index=0
            ),
            "must be <= cache tensor height",
        ),
        Refused(
            "user",
            lambda device: fill_call(
                on(device, plain(2, 2, 64, 64)), on(device, plain(1, 2, 32, 64)), index=2
            ),
            "must be less than cache tensor batch",
        ),
    ),
)

# --- a token of all users at one position --------------------------------------------------------


def updated(cache, position, offset=0):
    """cache [B, K, C, D], tokens [1, K, 32, D] of which rows offset .. offset + B - 1 count."""
    _, heads, _, width = cache

    def make():
        return Operand(plain(*cache)), Operand(plain(1, heads, 32, width))

    note = f"at-{position}" + (f"-offset-{offset}" if offset else "")
    return Sample(cache, make, note=note, kwargs={"position": position, "offset": offset})


def update_call(cache, tokens, *, position, offset):
    ttnn.update_cache(cache, tokens, position, batch_offset=offset)
    return cache


def update_golden(cache, tokens, *, position, offset):
    cache = cache.clone()
    cache[:, :, position] = tokens[0, :, offset : offset + len(cache)].transpose(0, 1)
    return cache


UPDATE = Op(
    "update_cache",
    call=update_call,
    golden=update_golden,
    samples=(
        updated((4, 2, 64, 64), 0),
        updated((4, 2, 64, 64), 63),
        updated((4, 2, 64, 64), 37, offset=8),
        updated((1, 4, 64, 96), 31),
    ),
    references=(updated((4, 32, 256, 96), 200), updated((32, 8, 64, 96), 32)),
    errors=(
        Refused(
            "width",
            lambda device: update_call(
                on(device, plain(2, 2, 64, 64)),
                on(device, plain(1, 2, 32, 96)),
                position=1,
                offset=0,
            ),
            "must equal cache tensor width",
        ),
        Refused(
            "heads",
            lambda device: update_call(
                on(device, plain(2, 2, 64, 64)),
                on(device, plain(1, 4, 32, 64)),
                position=1,
                offset=0,
            ),
            "must equal cache tensor height",
        ),
    ),
)

# --- the same by other names ---------------------------------------------------------------------


def fill_for_user(cache, prompt, *, index):
    return ttnn.kv_cache.fill_cache_for_user_(cache, prompt, index)


def update_for_token(cache, tokens, *, position, offset):
    return ttnn.kv_cache.update_cache_for_token_(cache, tokens, position, offset)


def refused_width(call, **how):
    """A cache of other heads than what is written."""
    return Refused(
        "heads",
        lambda device: call(
            on(device, plain(2, 4, 64, 64)), on(device, plain(1, 2, 32, 64)), **how
        ),
        "must equal cache tensor height",
    )


def another(op, name, call, **how):
    """An operation that writes the same, with fewer samples."""
    return dataclasses.replace(
        op,
        name=name,
        operation=name,
        call=call,
        samples=op.samples[2:5],
        references=op.samples[:1],
        errors=(refused_width(call, **how),),
    )


FILL_FOR_USER = another(FILL, "fill_cache_for_user_", fill_for_user, index=0)
UPDATE_FOR_TOKEN = another(
    UPDATE, "update_cache_for_token_", update_for_token, position=1, offset=0
)

# --- rows at given places ------------------------------------------------------------------------


def at_places(cache, places):
    """Keys and values [P, K, C, D] of pages, rows [1, K, B, D] of users, a place for each user."""
    _, heads, _, width = cache

    def make():
        rows = (1, heads, len(places), width)
        tensors = (Operand(plain(*shape)) for shape in (cache, rows, cache, rows))
        return (*tensors, integers([places]))

    return Sample(cache, make, note=f"{len(places)}-users")


def at_places_call(keys, key_rows, values, value_rows, places):
    ttnn.experimental.indexed_fused_update_cache(keys, key_rows, values, value_rows, places)
    return keys, values


def at_places_golden(keys, key_rows, values, value_rows, places):
    caches = keys.clone(), values.clone()
    length = keys.shape[2]
    for cache, rows in zip(caches, (key_rows, value_rows), strict=True):
        for user, place in enumerate(places.flatten().tolist()):
            if 0 <= place < len(cache) * length:  # others are passed over
                cache[place // length, :, place % length] = rows[0, :, user]
    return caches


AT_PLACES = Op(
    "indexed_fused_update_cache",
    call=at_places_call,
    golden=at_places_golden,
    samples=(at_places((2, 1, 32, 64), [40, -1]), at_places((2, 2, 32, 64), [40, SKIP, 999, 3])),
    references=(at_places((8, 8, 64, 96), [0, 511, 100, 300]),),
    errors=(
        Refused(
            "torch",
            lambda device: at_places_call(*[plain(2, 2, 32, 64)] * 4, plain(1, 2)),
            "incompatible",
        ),
    ),
)

# --- positions -----------------------------------------------------------------------------------


def counted(positions, dtype=ttnn.int32, skip=False):
    return Sample(
        tuple(torch.tensor(positions).shape),
        lambda: (Operand(torch.tensor(positions, dtype=torch.int32), dtype, ROWS),),
        dtype,
        note="skipping" if skip else "",
        kwargs={"skip_negative_entries": skip},
    )


def plus_one_call(positions, **kwargs):
    ttnn.plus_one(positions, **kwargs)
    return positions


PLUS_ONE = Op(
    "plus_one",
    call=plus_one_call,
    golden=lambda positions, *, skip_negative_entries: (
        positions + ((positions >= 0) if skip_negative_entries else 1)
    ),
    samples=(
        counted([0, 31, 254, 7]),
        counted([5, SKIP, 0, SKIP], skip=True),
        counted([[3], [90]], ttnn.uint32),
    ),
    references=(counted([*range(32)]), counted([[131071] * 32], ttnn.uint32)),
    errors=(
        Refused(
            "float",
            lambda device: ttnn.plus_one(on(device, plain(4), BF16, ROWS)),
            "Only INT32 and UINT32",
        ),
        Refused(
            "tiles",
            lambda device: ttnn.plus_one(
                on(device, torch.ones(32, 32, dtype=torch.int32), ttnn.int32)
            ),
            "Only ROW_MAJOR layout",
        ),
    ),
)

OPS = [FILL, FILL_FOR_USER, UPDATE, UPDATE_FOR_TOKEN, AT_PLACES, PLUS_ONE]
