"""Number formats and tiles of the device, as `ttnn_verify` needs them.

They are stated independently of the emulator's `arithmetic.formats`, so that a mistake in either
one shows; tests/verify/test_formats.py compares the two.
"""

# A tile is 32 x 32 values, in four faces of 16 x 16 (tech report "tensor layouts").
TILE = 32
FACE = 16

# Significant bits of the floating-point formats, the leading one included.
SIGNIFICANT_BITS = {"float32": 24, "bfloat16": 8}

# Bits of a magnitude under a shared exponent; 16 neighbours of a row share one (tech report
# "tensor layouts"). Formats without an entry in either table are integers: only equality counts.
BLOCK_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}
BLOCK = 16

# Binary exponent of the smallest normal number, in float32 and bfloat16 alike.
LEAST_EXPONENT = -126
