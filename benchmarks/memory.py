"""Host memory of an emulated full-size Phi-3-mini: its peak, and its growth while decoding.

python -m benchmarks.memory [--arithmetic kernel] [--system n150] [--layers 32] [--tokens 200]
"""

import argparse
import pathlib
import resource

import torch
from tqdm import tqdm

import ttnn_emulator
from benchmarks import opening, phi3_mini
from model.optimized import build

PROMPT_TOKENS = 32
PEAK_LIMIT = 12.0  # GB


def resident() -> float:
    """This process's resident memory in GB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9


def peak() -> float:
    """This process's peak resident memory in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    opening.add_system(parser)
    parser.add_argument("--layers", type=int, default=phi3_mini.N_LAYERS)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument(
        "--arithmetic", choices=ttnn_emulator.ARITHMETICS, default=ttnn_emulator.DEFAULT_ARITHMETIC
    )
    options = parser.parse_args()
    config = phi3_mini.config(options.layers)
    with opening.emulated(options.system, options.arithmetic) as device:
        model = build(config, phi3_mini.RandomWeights(config), device, max_seq_len=256)
        print(f"{options.system}, {options.arithmetic} arithmetic")
        print(f"{options.layers} layers loaded: {resident():.2f} GB, peak {peak():.2f} GB")
        cache = model(torch.randint(3, config.vocab_size, (1, PROMPT_TOKENS))).past_key_values
        used = []
        for _ in tqdm(range(options.tokens), disable=None, desc="decode"):
            token = torch.randint(3, config.vocab_size, (1, 1))
            cache = model(token, past_key_values=cache).past_key_values
            used.append(resident())
    half = len(used) // 2
    first, second = max(used[:half]), max(used[half:])
    print(f"{options.tokens} tokens decoded: {used[-1]:.2f} GB, peak {peak():.2f} GB")
    print(f"most in the first half {first:.3f} GB, in the second {second:.3f} GB")
    print(f"peak limit {PEAK_LIMIT} GB: {'met' if peak() < PEAK_LIMIT else 'MISSED'}")


if __name__ == "__main__":
    main()
