"""What packers write into bfloat8_b and bfloat4_b, computed in float64 by the rule.

A compute kernel's packer rounds half away, twice where it reads the destination as bfloat8_b, and
cuts bfloat4_b; only the host rounds to even. Which of them it is for an operation was seen in the
programs that TTNN 0.81.1 builds for it (pack_src_format of the output's buffer).
"""

import torch
import ttnn

SIX_BITS, NO_SIX_BITS = True, False
BLOCK_FORMATS = [ttnn.bfloat8_b, ttnn.bfloat4_b]

# A float32 number in the middle between 1 and the next bfloat16.
MIDDLE, NEXT = 1 + 2.0**-8, 1 + 2.0**-7

# Who encodes a block format that an operation writes; a packer where some calls have one.
PACKER = "a compute kernel's packer"
AS_IT_LIES = "nobody: tiles are copied as they lie"
HOST = "the host"
NOTHING = "nobody: nothing is written"
NO_SUCH_OUTPUT = "nobody: TTNN has no such output"


def named(encoders: dict[str, str]) -> list[str]:
    """Full names of the operations in {who encodes: names without "ttnn."}, sorted."""
    return sorted(f"ttnn.{name}" for names in encoders.values() for name in names.split())


def exponent(values: torch.Tensor) -> torch.Tensor:
    """floor(log2 |x|), of zero a number below all others."""
    return torch.where(values == 0, -300, torch.frexp(values).exponent - 1)


def half_away(values: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Rounded to multiples of `step`, ties away from zero."""
    return values.sign() * torch.floor(values.abs() / step + 0.5) * step


def power(exponents: torch.Tensor) -> torch.Tensor:
    """2 to the exponents, float64."""
    return torch.ldexp(torch.ones_like(exponents, dtype=torch.float64), exponents)


def cut_to_bf16(values: torch.Tensor) -> torch.Tensor:
    """Without the bits that bfloat16 does not have, float32."""
    return (values.float().view(torch.int32) & -0x10000).view(torch.float32)


def packed(values: torch.Tensor, dtype: ttnn.DataType, six_bits: bool = SIX_BITS) -> torch.Tensor:
    """[..., W] float64 as the packer leaves it: cut to bfloat16, to six bits after the leading one,
    to seven below the block's largest exponent, and for bfloat4_b cut to three.
    """
    values = cut_to_bf16(values).double()
    if six_bits:
        values = half_away(values, power(exponent(values) - 6))
    blocks = values.unflatten(-1, (-1, 16))
    step = power(exponent(blocks).amax(-1, keepdim=True) - 6)
    magnitude = (half_away(blocks, step).abs() / step).clamp(max=127)
    if dtype == ttnn.bfloat4_b:
        magnitude = torch.floor(magnitude / 16) * 16
    return (blocks.sign() * magnitude * step).flatten(-2)


def assert_is(tensor: ttnn.Tensor, due: torch.Tensor) -> None:
    """Fail unless a tensor holds these values, padding aside."""
    different = int((ttnn.to_torch(tensor).double() != due.double()).sum())
    assert different == 0, f"{different} of {due.numel()} elements are not what the packer writes"
