"""Common to the tests of composite kernels: inputs as they were on the device, bitwise equality."""

import math

import torch

# The recordings filled padding with fill_implicit_tile_padding, whose packer makes NaN an infinity.
PADDING = {"7.0": 7.0, "nan": math.inf}


def device_input(case, name):
    """An input of a recorded case with its tile padding, float32."""
    attributes = case.attributes
    padding = 0.0
    if attributes.get("padded_input", name) == name:
        padding = PADDING.get(attributes.get("input_padding"), 0.0)
    values = case.tensor(name)
    padded = torch.full(case.tensors[name]["padded_shape"], padding)
    padded[tuple(slice(0, size) for size in values.shape)] = values
    return padded


def bits(values):
    """The int32 patterns of values as float32."""
    return values.float().contiguous().view(torch.int32)


def assert_same_bits(actual, expected):
    """Both of one shape, compared as float32; infinities and the sign of zero count."""
    different = bits(actual) != bits(expected)
    count = int(different.sum())
    if count:
        place = tuple(different.nonzero()[0].tolist())
        raise AssertionError(
            f"{count} of {different.numel()} elements differ; the first at {place} is "
            f"{actual[place].item()!r}, expected {expected[place].item()!r}"
        )


def assert_reproduces(case, actual):
    """`actual`, with its padding, is the recorded output: padding too where it was recorded."""
    padded = case.tensors["out0"].get("stored") == "padded"
    expected = case.tensor("out0", padded=padded)
    assert_same_bits(actual[tuple(slice(0, size) for size in expected.shape)], expected)


def from_bits(*patterns):
    """float32 values of the given float32 patterns."""
    return torch.tensor(patterns, dtype=torch.int64).to(torch.int32).view(torch.float32)


def from_patterns(*patterns):
    """float32 values of the given bfloat16 patterns."""
    return (torch.tensor(patterns, dtype=torch.int64) << 16).to(torch.int32).view(torch.float32)
