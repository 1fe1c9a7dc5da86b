"""Bytes and accuracy of each setting of precision: the table of the optimized stage's page.

python -m benchmarks.precision [--system n150] [--tokens 100] [--write]

Accuracy is that of the trained checkpoint in assets, led along Hugging Face's continuation of its
prompt as eval.py does, in kernel arithmetic. Bytes are those of the full Phi-3-mini on a chip:
weights and 1000 positions of cache as they lie in DRAM, and the longest cache at batch 1.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

import loguru
import torch
import transformers
import ttnn

from benchmarks import document, opening, phi3_mini
from model.config import ModelConfig
from model.optimized import PRECISIONS, build_model
from model.optimized.capacity import Dram, longest_cache, weights_bytes
from model.optimized.precision import AttentionPrecision, MatmulPrecision
from ttnn_emulator.machine import systems
from ttnn_verify import prompt_ids
from ttnn_verify.huggingface import accuracy

ASSETS = document.ROOT / "assets"
ACCURACY = PRECISIONS["accuracy"]
BFP8 = MatmulPrecision(ttnn.bfloat8_b, ttnn.MathFidelity.HiFi3)
HIFI2 = MatmulPrecision(ttnn.bfloat16, ttnn.MathFidelity.HiFi2)
DEFAULT = MatmulPrecision(ttnn.bfloat16, ttnn.MathFidelity.HiFi2, fp32_dest_acc=False)
TTNN_ATTENTION = AttentionPrecision(ttnn.MathFidelity.HiFi2, fp32_dest_acc=False, exact_exp=False)
MATMULS = ("qkv", "o", "gate", "up", "down", "lm_head")


def matmuls(precision: MatmulPrecision) -> dict[str, MatmulPrecision]:
    """Fields of a Precision with one setting for all matmuls."""
    return dict.fromkeys(MATMULS, precision)


def attention(**fields: Any) -> dict[str, AttentionPrecision]:
    return {"attention": dataclasses.replace(ACCURACY.attention, **fields)}


SETTINGS: dict[str, dict[str, Any]] = {  # fields of `accuracy` that are replaced
    "`accuracy`": {},
    "lm_head in bfp8": {"lm_head": BFP8},
    "MLP in bfp8": {"gate": BFP8, "up": BFP8, "down": BFP8},
    "cache in bfp8": {"cache": ttnn.bfloat8_b},
    "attention in HiFi2": attention(fidelity=ttnn.MathFidelity.HiFi2),
    "attention with TTNN's exponential": attention(exact_exp=False),
    "attention with 16-bit sums": attention(fp32_dest_acc=False),
    "attention as TTNN's default": {"attention": TTNN_ATTENTION},
    "products in HiFi2": matmuls(HIFI2),
    "products as TTNN's default": matmuls(DEFAULT),
    **{
        f"`{name}`": {f.name: getattr(precision, f.name) for f in dataclasses.fields(ACCURACY)}
        for name, precision in PRECISIONS.items()
        if precision != ACCURACY
    },
}


def rows(tokens: int, system: systems.System) -> Iterator[tuple[str, ...]]:
    """A row of the table for each setting."""
    hf_model = transformers.AutoModelForCausalLM.from_pretrained(
        ASSETS / "phi3-tiny", dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "phi3-tiny")
    text = prompt_ids.heldout_text()
    reference = accuracy.reference(hf_model, tokenizer(text, return_tensors="pt").input_ids, tokens)
    full = ModelConfig.from_hf(phi3_mini.config())
    chips = system.chips
    with opening.emulated(system.name) as device:
        dram = Dram.of(device)
        for name, fields in SETTINGS.items():
            precision = dataclasses.replace(ACCURACY, **fields)
            score = accuracy.score(
                build_model(hf_model, device, 256, precision=precision), reference
            )
            weights = weights_bytes(full, precision, dram, chips) * dram.banks
            tiles = 2 * full.n_layers * full.share(chips).n_kv_heads * full.head_dim / 1024
            cache = 1000 * tiles * (2048 if precision.cache == ttnn.bfloat16 else 1088)
            yield (
                name,
                f"{weights / 1e9:.2f} GB",
                f"{cache / 1e9:.3f} GB",
                f"{longest_cache(full, precision, 1, dram, chips)}",
                f"{score.top1:.0%} / {score.top5:.0%}",
                f"{1 - score.pcc:.1e}",
                f"{score.kl_steps.mean():.1e}",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    opening.add_system(parser)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="into its MODEL_BRINGUP.md")
    args = parser.parse_args()
    system = systems.find(args.system)
    loguru.logger.disable("ttnn")
    header = (
        "setting",
        "weights",
        "1000 positions",
        "longest cache",
        "top-1 / top-5",
        "1 - PCC of logits",
        "KL, nats",
    )
    table = []
    for row in rows(args.tokens, system):
        table.append(row)
        print(*row, sep=" | ", flush=True)
    lines = document.table(header, table)
    if args.write:
        document.write("optimized", "precision", lines, system.name)


if __name__ == "__main__":
    main()
