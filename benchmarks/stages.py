"""The stages of the bring-up side by side: the table that the page of each begins with.

python -m benchmarks.stages [--write]

Operations and bytes are those of `benchmarks.device_cost` with build_model's defaults; the longest
context is what the full Phi-3-mini has room for on an n150; accuracy is what `make eval` measures.
"""

import argparse
import os
from collections.abc import Callable

import loguru
import ttnn

import ttnn_emulator
from benchmarks import device_cost, document, phi3_mini
from model.config import ModelConfig
from model.functional import BATCH, MAX_CACHE_SEQ_LEN
from model.optimized import PRECISIONS
from model.optimized.capacity import Dram, longest_cache
from ttnn_emulator.machine import systems, toolchain
from ttnn_verify import evaluation, jobs, prompt_ids
from ttnn_verify.huggingface import accuracy, inputs
from ttnn_verify.model_file import load_model_file

ASSETS = document.ROOT / "assets"
NEW_TOKENS = 100  # as make eval
ROOM = 256  # positions, as eval.py's default
DIGITS = 6  # of PCC and KL, as make eval prints them


def costs(stage: str) -> list[str]:
    """Operations of a layer in prefill and decode, and DRAM bytes of a decode step."""
    path = document.model_file(stage)
    found = device_cost.layer_and_model(path, systems.N150, device_cost.PROMPT, {})
    layers = [str(found[phase][0].operations.total()) for phase in ("prefill", "decode")]
    return [*layers, f"{found['decode'][1].bytes / 1e9:.3f} GB"]


def functional_context() -> str:
    return f"{MAX_CACHE_SEQ_LEN:,}, {BATCH} rows"


def optimized_context() -> str:
    device = ttnn.open_device(device_id=0)
    try:
        config = ModelConfig.from_hf(phi3_mini.config())
        length = longest_cache(config, PRECISIONS["accuracy"], 1, Dram.of(device))
    finally:
        ttnn.close_device(device)
    return f"{length:,}, 1 row"


CONTEXTS: dict[str, Callable[[], str]] = {
    "functional": functional_context,
    "optimized": optimized_context,
}


def score(stage: str) -> accuracy.Score:
    """The trained checkpoint's score after the prompt of `make eval`, in kernel arithmetic."""
    checkpoint = inputs.find_checkpoint(str(ASSETS / "phi3-tiny"), None)
    text = prompt_ids.heldout_text()
    prompt = jobs.Prompt(checkpoint, prompt_ids.encode(text, checkpoint.tokenizer()))
    model_file = load_model_file(document.model_file(stage))
    bringup = jobs.Bringup(
        model_file, "emulated", ttnn_emulator.DEFAULT_ARITHMETIC, device_id=0, max_seq_len=ROOM
    )
    return evaluation.run(evaluation.Plan(prompt, NEW_TOKENS, NEW_TOKENS), bringup).worst.score


def scores(stage: str) -> list[str]:
    result = score(stage)
    return [
        f"{result.top1:.0%} / {result.top5:.0%}",
        f"{result.pcc:.{DIGITS}f}",
        f"{result.kl_steps.mean():.{DIGITS}f} nats",
    ]


NAMES = (
    "device operations a layer, prefill",
    "device operations a layer, decode",
    "DRAM bytes a token, decode at batch 1",
    "longest context, full model",
    "top-1 / top-5",
    "PCC of logits",
    "KL of logits",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into MODEL_BRINGUP.md of each stage")
    args = parser.parse_args()
    loguru.logger.disable("ttnn")
    os.environ.update(toolchain.runtime_root())
    # the bare mock device first: the emulation, once installed, computes what runs
    without_kernels = [[*costs(stage), CONTEXTS[stage]()] for stage in document.STAGES]
    with_kernels = [scores(stage) for stage in document.STAGES]
    columns = [a + b for a, b in zip(without_kernels, with_kernels, strict=True)]
    lines = document.table(("", *document.STAGES), zip(NAMES, *columns, strict=True))
    print(*lines, sep="\n")
    if args.write:
        for stage in document.STAGES:
            document.write(stage, "stages", lines)


if __name__ == "__main__":
    main()
