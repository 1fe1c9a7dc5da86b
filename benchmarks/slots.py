"""One sequence decoded in a batch of 32 slots, as most bring-ups do it, on the emulated device.

    python -m benchmarks.slots [--hidden 1024] [--layers 2] [--arithmetic kernel]

Seconds of a token in the functional stage with random weights: with the other slots skipped
(position -1), with token 0 at position 0 in each of them, and with 32 sequences.
"""

import argparse
import time

from transformers import Phi3Config

import ttnn_emulator
from benchmarks import opening, phi3_mini
from model import functional
from model.generation import DeviceModel

SLOTS = 32
PROMPT = [5, 6, 7, 8] * 8
HEAD_DIM = 64
TOKENS = 8


def config(hidden: int, layers: int) -> Phi3Config:
    """Phi-3-mini with fewer columns: heads of 64 and an MLP of 2.75 times as many."""
    result = phi3_mini.config(layers)
    result.hidden_size, result.intermediate_size = hidden, hidden * 11 // 4
    result.num_attention_heads = result.num_key_value_heads = hidden // HEAD_DIM
    factors = {name: [1.0] * (HEAD_DIM // 2) for name in ("short_factor", "long_factor")}
    result.rope_parameters = {**(result.rope_parameters or {}), **factors}
    return result


def seconds(model: DeviceModel, tokens: list[int], others: int | None) -> float:
    """The quickest step of the first slot; the others at position `others`, or with it if None."""
    best = float("inf")
    for position in range(len(PROMPT), len(PROMPT) + TOKENS):
        rest = position if others is None else others
        started = time.perf_counter()
        model.decode(tokens, [position] + [rest] * (SLOTS - 1))
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument(
        "--arithmetic", choices=ttnn_emulator.ARITHMETICS, default=ttnn_emulator.DEFAULT_ARITHMETIC
    )
    options = parser.parse_args()
    if options.hidden < HEAD_DIM or options.hidden % HEAD_DIM:
        parser.error(f"--hidden {options.hidden}: give a multiple of {HEAD_DIM}.")
    hf_config = config(options.hidden, options.layers)
    weights = phi3_mini.RandomWeights(hf_config)
    one = [9] + [0] * (SLOTS - 1)
    with opening.emulated("n150", options.arithmetic) as device:
        model = functional.build(hf_config, weights, device, max_seq_len=256).model
        model.prefill(PROMPT, 0, 0, 1)
        for label, tokens, others in (
            ("one sequence, the other slots skipped", one, -1),
            ("one sequence, token 0 at position 0 in the others", one, 0),
            (f"{SLOTS} sequences", list(range(3, 3 + SLOTS)), None),
        ):
            print(f"{label}: {seconds(model, tokens, others):.3f} s a token", flush=True)


if __name__ == "__main__":
    main()
