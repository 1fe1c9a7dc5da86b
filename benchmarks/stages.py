"""The stages of the bring-up side by side: the table that the page of each begins with.

python -m benchmarks.stages [--system n150] [--write]

Operations and bytes are those of `benchmarks.device_cost` with build_model's defaults, of a chip;
the longest context is what the full Phi-3-mini has room for on the system; accuracy is what
`make eval` measures.
"""

import argparse
import os
from collections.abc import Callable

import loguru

import ttnn_emulator
from benchmarks import device_cost, document, opening, phi3_mini
from model.config import ModelConfig
from model.functional import BATCH, MAX_CACHE_SEQ_LEN
from model.optimized import PRECISIONS
from model.optimized.capacity import Dram, longest_cache
from ttnn_emulator.machine import systems, toolchain
from ttnn_verify import evaluation, jobs, prompt_ids
from ttnn_verify.huggingface import accuracy, inputs
from ttnn_verify.model_file import load_model_file, mesh_shape

ASSETS = document.ROOT / "assets"
NEW_TOKENS = 100  # as make eval
ROOM = 256  # positions, as eval.py's default
DIGITS = 6  # of PCC and KL, as make eval prints them


def costs(stage: str, system: systems.System) -> list[str]:
    """Operations of a layer in prefill and decode, and DRAM bytes of a decode step, on a chip."""
    path = document.model_file(stage, system.name)
    found = device_cost.layer_and_model(path, system, device_cost.PROMPT, {})
    layers = [str(found[phase][0].operations.total()) for phase in ("prefill", "decode")]
    return [*layers, f"{found['decode'][1].bytes / 1e9:.3f} GB"]


def functional_context(system: systems.System) -> str:
    return f"{MAX_CACHE_SEQ_LEN:,}, {BATCH} rows"


def optimized_context(system: systems.System) -> str:
    config = ModelConfig.from_hf(phi3_mini.config())
    with opening.on_mock(system) as device:
        dram = Dram.of(device)
        length = longest_cache(config, PRECISIONS["accuracy"], 1, dram, system.chips)
    return f"{length:,}, 1 row"


CONTEXTS: dict[str, Callable[[systems.System], str]] = {
    "functional": functional_context,
    "optimized": optimized_context,
}


def score(stage: str, system: systems.System) -> accuracy.Score:
    """The trained checkpoint's score after the prompt of `make eval`, in kernel arithmetic."""
    checkpoint = inputs.find_checkpoint(str(ASSETS / "phi3-tiny"), None)
    text = prompt_ids.heldout_text()
    prompt = jobs.Prompt(checkpoint, prompt_ids.encode(text, checkpoint.tokenizer()))
    model_file = load_model_file(document.model_file(stage, system.name))
    bringup = jobs.Bringup(
        model_file,
        "emulated",
        ttnn_emulator.DEFAULT_ARITHMETIC,
        device_id=0,
        max_seq_len=ROOM,
        system=system.name,
        mesh=mesh_shape(model_file),
    )
    return evaluation.run(evaluation.Plan(prompt, NEW_TOKENS, NEW_TOKENS), bringup).worst.score


def scores(stage: str, system: systems.System) -> list[str]:
    result = score(stage, system)
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
    opening.add_system(parser)
    parser.add_argument("--write", action="store_true", help="into MODEL_BRINGUP.md of each stage")
    args = parser.parse_args()
    system = systems.find(args.system)
    loguru.logger.disable("ttnn")
    os.environ.update(toolchain.runtime_root(system))
    stages = document.STAGES
    # the bare mock device first: the emulation, once installed, computes what runs
    without_kernels = [[*costs(stage, system), CONTEXTS[stage](system)] for stage in stages]
    with_kernels = [scores(stage, system) for stage in stages]
    columns = [a + b for a, b in zip(without_kernels, with_kernels, strict=True)]
    lines = document.table(("", *stages), zip(NAMES, *columns, strict=True))
    print(*lines, sep="\n")
    if args.write:
        for stage in stages:
            document.write(stage, "stages", lines, system.name)


if __name__ == "__main__":
    main()
