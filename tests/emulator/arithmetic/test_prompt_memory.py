"""Attention over a prompt keeps nothing of the size S x T; centred windows and packed sequences."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttnn_emulator.arithmetic.compute import AttentionProgram, PromptScores
from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.rounded import rounded, rounded_attention

WIDTH = 32
CHUNKS = AttentionProgram(q_chunk=32, k_chunk=32)


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation returns."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.nbytes = max(self.nbytes, result.untyped_storage().nbytes())
        return result


def largest_of(arithmetic, length, **scores):
    q, k, v = (torch.randn(1, 1, length, WIDTH).bfloat16() for _ in range(3))
    with Largest() as largest:
        arithmetic.attention(q, k, v, scores=PromptScores(**scores), program=CHUNKS)
    return largest.nbytes


@pytest.mark.parametrize("arithmetic", [exact, rounded], ids=["kernel", "rounded"])
@pytest.mark.parametrize(
    "scores",
    [{}, {"window": 40}, {"causal": False, "keys": 500}, {"sequences": (0, 100, 1024)}],
    ids=["causal", "window", "full", "packed"],
)
def test_the_largest_intermediate_grows_as_the_prompt_does(monkeypatch, arithmetic, scores):
    monkeypatch.setattr(rounded_attention, "SCORES_AT_ONCE", 1 << 13)
    short, long = (largest_of(arithmetic, length, **scores) for length in (512, 1024))
    assert long <= 2 * short + (1 << 16)
    assert long < 1024 * 1024  # bytes: one for each query and key


def reference(q, k, v, seen):
    scores = q.double() @ k.double().mT * WIDTH**-0.5
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), -1) @ v.double()


@pytest.mark.parametrize("arithmetic", [exact, rounded], ids=["kernel", "rounded"])
@pytest.mark.parametrize("window", [16, 40, 64])
def test_a_centred_window_hides_both_sides(arithmetic, window):
    q, k, v = (torch.randn(1, 1, 160, WIDTH).bfloat16() for _ in range(3))
    scores = PromptScores(causal=False, window=window, keys=160)
    result = arithmetic.attention(q, k, v, scores=scores, program=CHUNKS).double()
    distance = torch.arange(160)[:, None] - torch.arange(160)
    expected = reference(q, k, v, distance.abs() <= window // 2)
    assert (result - expected).norm() < 0.04 * expected.norm()


@pytest.mark.parametrize("arithmetic", [exact, rounded], ids=["kernel", "rounded"])
@pytest.mark.parametrize("causal", [False, True])
def test_packed_sequences_do_not_see_each_other(arithmetic, causal):
    q, k, v = (torch.randn(1, 1, 128, WIDTH).bfloat16() for _ in range(3))
    scores = PromptScores(causal=causal, sequences=(0, 50, 96, 128))
    result = arithmetic.attention(q, k, v, scores=scores, program=CHUNKS).double()
    number = torch.tensor([0] * 50 + [1] * 46 + [2] * 32)
    seen = number[:, None] == number
    if causal:
        seen = seen.tril()
    expected = reference(q, k, v, seen)
    assert (result - expected).norm() < 0.04 * expected.norm()
