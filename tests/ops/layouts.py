"""Other forms of the same tensor: dtypes, tiles and rows, memory configurations."""

import itertools

import torch
import ttnn

from ttnn_verify.numerics import op_floors

from .movement import BF16, BFP8, FP32, HEADS, HIDDEN, I32, ODD, ROWS, TILE, U32, moved
from .operands import memory_config, on
from .opinfo import SHORT, Op, Operand, Refused, Sample, extreme, massive, plain

BFP4, U16 = ttnn.bfloat4_b, ttnn.uint16

# --- typecast ------------------------------------------------------------------------------------

FLOATS = (BF16, FP32, BFP8, BFP4)
# Formats of which the second holds every value of the first.
WIDER = {(BF16, FP32), (BFP8, BF16), (BFP8, FP32), (BFP4, BFP8), (BFP4, BF16), (BFP4, FP32)}


def cast(source, target, shape=(1, 2, 37, 80), values=plain):
    """From a format to another; between floats and integers, values that both have.

    What follows the point is cut off for one integer type and rounded for another.
    """

    def make():
        if source in FLOATS and target in FLOATS:
            x = values(*shape)
        elif source in FLOATS:
            x = torch.randint(0, 2**7, shape).float()
        else:
            x = torch.randint(0, 2**16, shape, dtype=torch.int32)
        return (Operand(x, source),)

    marks = ("to-" + SHORT[target], {massive: "massive", extreme: "extreme"}.get(values, ""))
    note = "-".join(filter(None, marks))
    kwargs = {"source": source, "target": target}
    return Sample(shape, make, source, note=note, kwargs=kwargs, result=target)


def cast_golden(x, *, source, target):
    return x if target in FLOATS else x.to(torch.int64)


def cast_floor(golden, x, *, source, target):
    if (
        target not in FLOATS
        or (source, target) in WIDER
        or (source not in FLOATS and target == FP32)
    ):
        return op_floors.EXACT
    return op_floors.typecast(golden.double(), target.name.lower())


TYPECAST = Op(
    "typecast",
    call=lambda x, *, source, target: ttnn.typecast(x, target),
    golden=cast_golden,
    floor=cast_floor,
    samples=tuple(cast(*pair) for pair in itertools.permutations((*FLOATS, U32, I32, U16), 2)),
    references=(
        cast(BF16, BFP8, HIDDEN, massive),
        cast(BF16, BFP4, HIDDEN),
        cast(BFP8, BF16, HIDDEN, massive),
        cast(BF16, FP32, HIDDEN, extreme),
        cast(FP32, BF16, HIDDEN, extreme),
    ),
    errors=(
        Refused(
            "text",
            lambda device: ttnn.typecast(on(device, plain(32, 32)), "bfloat8_b"),
            "incompatible",
        ),
    ),
)

# --- tiles and rows ------------------------------------------------------------------------------


def same(x, **kwargs):
    return x


def laid(shape, layout, dtype=BF16, source=None, **how):
    source = source or (ROWS if layout == TILE else TILE)
    note = "to-tiles" if layout == TILE else "to-rows"
    return moved(shape, dtype, source, note=note, layout_=layout, **how)


TO_LAYOUT = Op(
    "to_layout",
    call=lambda x, *, layout_: ttnn.to_layout(x, layout_),
    golden=same,
    samples=tuple(
        laid(shape, layout, dtype)
        for layout in (TILE, ROWS)
        for dtype in (BF16, FP32, U32)
        for shape in [(32, 64), (2, 3, 37, 80)]
    ),
    references=(
        laid(HIDDEN, TILE),
        laid(HIDDEN, ROWS, values=massive),
        laid((1, 1, 155, 3072), TILE, values=massive),
        laid((1, 1, 1, 32064), ROWS),
        laid(HIDDEN, ROWS, values=extreme),
    ),
    errors=(
        Refused(
            "text", lambda device: ttnn.to_layout(on(device, plain(32, 32)), "rows"), "incompatible"
        ),
        Refused(
            "blocks-in-rows",
            lambda device: ttnn.from_torch(plain(32, 32), dtype=BFP8, layout=ROWS, device=device),
            "must be Layout::TILE",
        ),
    ),
)

TILIZE = Op(
    "tilize",
    call=lambda x: ttnn.tilize(x),
    golden=same,
    samples=(
        moved((32, 32), BF16, ROWS),
        moved((2, 3, 64, 96), BF16, ROWS),
        moved((1, 1, 64, 96), FP32, ROWS),
        moved((1, 1, 64, 96), U32, ROWS),
    ),
    references=(
        moved(HIDDEN, BF16, ROWS),
        moved(HIDDEN, BF16, ROWS, values=massive),
        moved(HIDDEN, BF16, ROWS, values=extreme),
    ),
    errors=(
        Refused(
            "unaligned",
            lambda device: ttnn.tilize(on(device, plain(1, 1, 37, 64), layout=ROWS)),
            "must be divisible by tile height",
        ),
        Refused(
            "width",
            lambda device: ttnn.tilize(on(device, plain(1, 1, 32, 80), layout=ROWS)),
            "must be divisible by tile",
        ),
    ),
)

TILIZE_PADDED = Op(
    "tilize_with_val_padding",
    call=lambda x, *, padded, value: ttnn.tilize_with_val_padding(x, padded, value),
    golden=same,
    samples=(
        moved((1, 1, 37, 80), BF16, ROWS, padded=(1, 1, 64, 96), value=3.0),
        moved((2, 3, 1, 33), BF16, ROWS, padded=(2, 3, 32, 64), value=0.0),
        moved((1, 1, 37, 80), FP32, ROWS, padded=(1, 1, 64, 96), value=3.0),
    ),
    references=(
        moved((1, 1, 155, 3072), BF16, ROWS, padded=(1, 1, 160, 3072), value=0.0),
        moved((1, 1, 155, 3072), BF16, ROWS, values=massive, padded=(1, 1, 160, 3072), value=-1.0),
    ),
    errors=(
        Refused(
            "smaller",
            lambda device: ttnn.tilize_with_val_padding(
                on(device, plain(1, 1, 37, 80), layout=ROWS), (1, 1, 32, 96), 0.0
            ),
            "must be greater than or equal to input shape",
        ),
        Refused(
            "unaligned",
            lambda device: ttnn.tilize_with_val_padding(
                on(device, plain(1, 1, 37, 80), layout=ROWS), (1, 1, 40, 96), 0.0
            ),
            "must be divisible by tile size",
        ),
    ),
)

UNTILIZE = Op(
    "untilize",
    call=lambda x: ttnn.untilize(x),
    golden=same,
    samples=(
        moved((32, 32)),
        moved((2, 3, 64, 96)),
        moved((1, 1, 64, 96), FP32),
        moved((1, 1, 64, 96), U32),
    ),
    references=(moved(HIDDEN), moved(HIDDEN, values=massive), moved(HIDDEN, values=extreme)),
    errors=(
        Refused(
            "rows",
            lambda device: ttnn.untilize(on(device, plain(32, 32), layout=ROWS)),
            "only untilize tile",
        ),
        Refused("torch", lambda device: ttnn.untilize(plain(32, 32)), "incompatible"),
    ),
)

UNTILIZE_CUT = Op(
    "untilize_with_unpadding",
    call=lambda x, *, last: ttnn.untilize_with_unpadding(x, last),
    golden=lambda x, *, last: x[tuple(slice(0, end + 1) for end in last)],
    samples=(
        moved((1, 1, 37, 80), last=(0, 0, 36, 79)),
        moved((1, 1, 37, 80), last=(0, 0, 30, 63), note="cut"),
        moved((2, 3, 64, 96), last=(1, 2, 32, 95)),
        moved((1, 1, 37, 80), FP32, last=(0, 0, 36, 79)),
    ),
    references=(
        moved((1, 1, 155, 3072), last=(0, 0, 154, 3071)),
        moved((1, 1, 1, 32064), last=(0, 0, 0, 32063)),
        moved((1, 1, 155, 3072), values=extreme, last=(0, 0, 154, 3071)),
    ),
    errors=(
        Refused(
            "rows",
            lambda device: ttnn.untilize_with_unpadding(
                on(device, plain(1, 1, 32, 64), layout=ROWS), (0, 0, 30, 63)
            ),
            "only untilize tile",
        ),
    ),
)

# --- memory configurations -----------------------------------------------------------------------

SHARDS = ("height", "width", "block")
# shapes whose tiles divide among the cores, and whose do not: 70 tile rows, 9 and 3 tile columns
SHAPES = [(1, 8, 64, 256), (1, 10, 224, 288), (1, 1, 37, 80)]


def elsewhere(shape, to, memory="dram", **how):
    return moved(shape, memory=memory, note=f"to-{to}", to=to, **how)


def to_memory(x, *, to):
    return ttnn.to_memory_config(x, memory_config(to, tuple(x.shape), x.device()))


def there_and_back(x, *, to):
    return ttnn.to_memory_config(to_memory(x, to=to), ttnn.DRAM_MEMORY_CONFIG)


TO_MEMORY_CONFIG = Op(
    "to_memory_config",
    call=to_memory,
    golden=same,
    samples=(
        elsewhere(ODD, "l1"),
        elsewhere(ODD, "dram", "l1"),
        *(elsewhere(shape, to) for shape in SHAPES for to in SHARDS),
        *(elsewhere((1, 8, 64, 256), to, "height") for to in ("dram", "width", "block")),
        *(elsewhere((1, 8, 64, 256), "dram", memory) for memory in ("width", "block")),
        elsewhere((1, 8, 64, 256), "height", dtype=FP32),
        elsewhere((1, 8, 64, 256), "height", dtype=BFP8),
    ),
    references=(
        elsewhere(HEADS, "height"),
        elsewhere(HIDDEN, "width", values=massive),
        elsewhere(HIDDEN, "block", values=extreme),
    ),
    errors=(
        Refused(
            "shards-of-another-shape",
            lambda device: ttnn.to_memory_config(
                on(device, plain(1, 1, 32, 96)), memory_config("height", (1, 1, 32, 64), device)
            ),
            "must match physical width",
        ),
        Refused(
            "host",
            lambda device: ttnn.to_memory_config(
                ttnn.from_torch(plain(32, 32)), ttnn.L1_MEMORY_CONFIG
            ),
            "expect device tensors",
        ),
        Refused(
            "too-large",
            lambda device: ttnn.to_memory_config(
                on(device, torch.zeros(1, 1, 8192, 8192)), ttnn.L1_MEMORY_CONFIG
            ),
            "Out of Memory",
        ),
    ),
)

ROUND_TRIP = Op(
    "to_memory_config_and_back",
    operation="to_memory_config",
    call=there_and_back,
    golden=same,
    samples=tuple(elsewhere(shape, to) for shape in SHAPES for to in SHARDS),
    references=(elsewhere(HEADS, "height", values=extreme), elsewhere(HIDDEN, "block")),
    errors=TO_MEMORY_CONFIG.errors[:1],
)


def shards_call(x, *, to):
    return ttnn.interleaved_to_sharded(x, memory_config(to, tuple(x.shape), x.device()))


TO_SHARDS = Op(
    "interleaved_to_sharded",
    call=shards_call,
    golden=same,
    samples=tuple(elsewhere((1, 8, 64, 256), to) for to in SHARDS),
    references=(elsewhere(HEADS, "height", values=massive), elsewhere(HIDDEN, "block")),
    errors=(
        Refused(
            "interleaved",
            lambda device: ttnn.interleaved_to_sharded(
                on(device, plain(32, 32)), ttnn.L1_MEMORY_CONFIG
            ),
            "must be sharded",
        ),
    ),
)

FROM_SHARDS = Op(
    "sharded_to_interleaved",
    call=lambda x: ttnn.sharded_to_interleaved(x, ttnn.DRAM_MEMORY_CONFIG),
    golden=same,
    samples=tuple(moved((1, 8, 64, 256), memory=memory) for memory in SHARDS),
    references=(moved(HEADS, memory="height", values=massive), moved(HIDDEN, memory="block")),
    errors=(
        Refused(
            "to-shards",
            lambda device: ttnn.sharded_to_interleaved(
                on(device, plain(64, 64), memory="height"),
                memory_config("height", (64, 64), device),
            ),
            "must be Interleaved",
        ),
    ),
)

RESHARD = Op(
    "reshard",
    call=lambda x, *, to: ttnn.reshard(x, memory_config(to, tuple(x.shape), x.device())),
    golden=same,
    samples=tuple(
        elsewhere((1, 8, 64, 256), to, memory) for memory, to in itertools.permutations(SHARDS, 2)
    ),
    references=(elsewhere(HIDDEN, "width", "block"), elsewhere(HIDDEN, "block", "width")),
    errors=(
        Refused(
            "interleaved",
            lambda device: ttnn.reshard(
                on(device, plain(32, 32)), memory_config("height", (32, 32), device)
            ),
            "must be sharded",
        ),
    ),
)

OPS = [
    TYPECAST,
    TO_LAYOUT,
    TILIZE,
    TILIZE_PADDED,
    UNTILIZE,
    UNTILIZE_CUT,
    TO_MEMORY_CONFIG,
    ROUND_TRIP,
    TO_SHARDS,
    FROM_SHARDS,
    RESHARD,
]
