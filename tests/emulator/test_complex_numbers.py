"""Complex tensors, in both arithmetics, against torch."""

import pytest
import torch
import ttnn

from tests.support.tensors import on_tiles

SHAPE = (1, 2, 37, 50)

# name -> what torch makes of a complex tensor
REAL_RESULTS = {"abs": torch.abs, "angle": torch.angle, "real": torch.real, "imag": torch.imag}
COMPLEX_RESULTS = {
    "conj": lambda z: z.conj().resolve_conj(),
    "polar": lambda z: torch.polar(z.real.contiguous(), z.imag.contiguous()),
    "reciprocal": torch.reciprocal,
}


def parts(positive=False):
    """Real and imaginary numbers that bfloat16 holds, none of them near zero."""
    signs = [torch.ones(SHAPE) if positive else torch.randn(SHAPE).sign() for _ in range(2)]
    return [((torch.rand(SHAPE) + 0.5) * sign).bfloat16().float() for sign in signs]


def complex_tensor(device, real, imag, dtype=ttnn.bfloat16):
    return ttnn.complex_tensor(on_tiles(device, real, dtype), on_tiles(device, imag, dtype))


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", REAL_RESULTS)
def test_real_results(name, dtype, kernel_device):
    real, imag = parts()
    z = complex_tensor(kernel_device, real, imag, dtype)
    got = getattr(ttnn, name)(z, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    expected = REAL_RESULTS[name](torch.complex(real, imag))
    assert torch.allclose(ttnn.to_torch(got).float(), expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", COMPLEX_RESULTS)
def test_complex_results(name, kernel_device):
    real, imag = parts(positive=True)  # a radius is
    z = complex_tensor(kernel_device, real, imag)
    got = getattr(ttnn, name)(z, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    expected = COMPLEX_RESULTS[name](torch.complex(real, imag))
    for part, exact in ((got.real, expected.real), (got.imag, expected.imag)):
        assert torch.allclose(ttnn.to_torch(part).float(), exact, rtol=0.02, atol=0.01)


@pytest.mark.parametrize(("name", "missing"), [("is_real", "imag"), ("is_imag", "real")])
def test_what_is_zero(name, missing, kernel_device):
    numbers = dict(zip(("real", "imag"), parts(), strict=True))
    numbers[missing][..., ::2] = 0
    z = complex_tensor(kernel_device, **numbers)
    flags = getattr(ttnn, name)(z, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    assert ttnn.to_torch(flags).bool().equal(numbers[missing] == 0)


def test_parts_of_a_result_are_tensors_as_any_other(device):
    real, imag = parts()
    z = ttnn.conj(
        complex_tensor(device, real, imag, ttnn.float32), memory_config=ttnn.DRAM_MEMORY_CONFIG
    )
    assert ttnn.to_torch(ttnn.add(z.real, z.imag)).equal(real - imag)
