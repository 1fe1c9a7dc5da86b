"""Emulated prefill and decode against Hugging Face in bf16 on the same CPU, as ratios of time.

    python -m benchmarks.speed [--stage optimized] [--arithmetic kernel] [--system n150]
        [--layers 4] [--rounds 3] [--without-amx]

Full Phi-3-mini width, random weights. The models take turns, so that other load on the machine
affects both; the ratio is that of the fastest rounds.

A CPU with AMX multiplies bfloat16 matrices in tiles, five to eight times faster than in vectors of
AVX-512. Tiles round as no Tensix does, so that the emulation has no use for them. Ratios are
comparable between machines where Hugging Face's model does without them, too: `--without-amx`.
"""

import argparse
import os

import torch
import transformers

import ttnn_emulator
from benchmarks import opening, phi3_mini
from model import functional, optimized
from ttnn_emulator.machine import systems
from ttnn_verify.huggingface import accuracy

PROMPT_TOKENS = 155
NEW_TOKENS = 33
BUILDS = {"functional": functional.build, "optimized": optimized.build}
# Times Hugging Face's without AMX: prefill, decode.
LIMITS = {"kernel": (7.0, 2.5), "rounded": (1.5, 1.5)}


def measure(
    stage: str, layers: int, rounds: int, system: str, arithmetic: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(Hugging Face, TTNN) seconds of the quickest round: of the prompt, of a decoded token."""
    config = phi3_mini.config(layers)
    weights = phi3_mini.RandomWeights(config)
    hf = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    hf.load_state_dict(weights)
    ids = torch.randint(3, config.vocab_size, (1, PROMPT_TOKENS))
    with opening.emulated(system, arithmetic) as device:
        tt = BUILDS[stage](config, weights, device, max_seq_len=256)
        seconds = []
        for _ in range(rounds + 1):  # the first one warms up
            reference = accuracy.reference(hf, ids, NEW_TOKENS)
            score = accuracy.score(tt, reference)
            seconds.append(
                (
                    reference.prefill_seconds,
                    score.prefill_seconds,
                    reference.decode_seconds / (NEW_TOKENS - 1),
                    score.decode_seconds / (NEW_TOKENS - 1),
                )
            )
    best = [min(column) for column in zip(*seconds[1:], strict=True)]
    return (best[0], best[1]), (best[2], best[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=BUILDS, default="optimized")
    opening.add_system(parser)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--arithmetic", choices=ttnn_emulator.ARITHMETICS, default=ttnn_emulator.DEFAULT_ARITHMETIC
    )
    parser.add_argument("--without-amx", action="store_true", help="Hugging Face in AVX-512")
    options = parser.parse_args()
    if options.without_amx:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"  # read at the first product
    prefill, decode = measure(
        options.stage, options.layers, options.rounds, options.system, options.arithmetic
    )
    print(
        f"{options.system}, {options.stage} stage, {options.layers} layers at full Phi-3-mini "
        f"width, {options.arithmetic} arithmetic, {torch.get_num_threads()} threads"
    )
    for name, (hf, tt), limit in (
        (f"prefill of {PROMPT_TOKENS} tokens", prefill, LIMITS[options.arithmetic][0]),
        ("decode of a token", decode, LIMITS[options.arithmetic][1]),
    ):
        comparable = options.without_amx and options.system == systems.N150.name
        of = f" (limit {limit})" if comparable else ""
        print(f"{name}: HF {hf:.3f} s, emulated {tt:.3f} s, ratio {tt / hf:.2f}{of}")


if __name__ == "__main__":
    main()
