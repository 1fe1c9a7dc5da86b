"""Two statements of the device's formats, the emulator's and that of `ttnn_verify`, agree."""

import ttnn

from ttnn_emulator.arithmetic import formats as emulated
from ttnn_verify.numerics import formats


def test_a_tile_is_ttnns():
    assert formats.TILE == ttnn.TILE_SIZE


def test_block_formats_are_the_emulators():
    assert formats.BLOCK_BITS == emulated.BLOCK_FORMAT_BITS
    assert formats.BLOCK == emulated.BLOCK


def test_every_floating_format_of_the_emulator_has_bits():
    floating = {name for name, dtype in emulated.STORAGE.items() if dtype.is_floating_point}
    assert floating == formats.SIGNIFICANT_BITS.keys() | formats.BLOCK_BITS.keys()
