"""Pure tensor maths of the device: number formats, matrix and vector unit; nothing of ttnn."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what an arithmetic lacks of the interface, a function or a keyword, fails here
    from ttnn_emulator.arithmetic.exact import exact
    from ttnn_emulator.arithmetic.interface import Arithmetic
    from ttnn_emulator.arithmetic.rounded import rounded

    _exact: Arithmetic = exact
    _rounded: Arithmetic = rounded
