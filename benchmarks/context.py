"""The longest cache of the full Phi-3-mini on a system, and proof that it fits. Without a card.

python -m benchmarks.context [--system n150] [--precision accuracy performance] [--batch 1]
    [--layers 32]
python -m benchmarks.context --stage functional [--system n150] [--layers 32]

The length is computed from the device's free DRAM; then the model is built with it on TTNN's mock
of the system, whose allocator is the card's, prefills a chunk at the cache's end and decodes a
token. The functional stage has a length of its own: a prompt fills its last row, all rows decode.
"""

import argparse
import os
import time

import loguru
import torch
import ttnn

from benchmarks import document, opening, phi3_mini
from model import functional
from model.config import ModelConfig
from model.optimized import PRECISIONS, build
from model.optimized.capacity import Dram, longest_cache
from model.optimized.phi3 import CHUNK
from ttnn_emulator.machine import systems, toolchain

# Positions at batch 1; the model has 131,072.
GOALS = {
    "n150": {"accuracy": 12_000, "performance": 32_000, "smallest": 32_000},
    "n300": {"accuracy": 40_000, "performance": 80_000, "smallest": 80_000},
    "t3000": {"accuracy": 131_072, "performance": 131_072, "smallest": 131_072},
}


class Ones(phi3_mini.RandomWeights):
    """Weights whose contents do not matter: views of one element, which take no host memory."""

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.ones(1, dtype=torch.bfloat16).expand(self._shapes[name])


def measure(system: systems.System, precision: str, batch: int, layers: int) -> int:
    """Positions of the longest cache that fits; builds the model, uses the last, prints a line."""
    hf_config = phi3_mini.config(layers)
    with opening.on_mock(system) as device:
        setting = PRECISIONS[precision]
        config = ModelConfig.from_hf(hf_config)
        length = longest_cache(config, setting, batch, Dram.of(device), system.chips)
        start = time.perf_counter()
        model = build(hf_config, Ones(hf_config), device, length, batch=batch, precision=precision)
        model.model.prefill([1] * length, batch - 1, length - CHUNK, CHUNK)
        model.model.decode([1] * batch, [length - 1] * batch)
        name = f"{system.name}, {precision}, batch {batch}, {layers} layers"
        report(name, length, start, device)
    return length


def measure_functional(system: systems.System, layers: int) -> None:
    """Builds the functional stage, uses the last of its positions, prints a line."""
    hf_config = phi3_mini.config(layers)
    batch, length = functional.BATCH, functional.MAX_CACHE_SEQ_LEN
    with opening.on_mock(system) as device:
        start = time.perf_counter()
        model = functional.build(hf_config, Ones(hf_config), device, length)
        model.model.prefill([1] * length, batch - 1, 0, length)
        model.model.decode([1] * batch, [length - 1] * batch)
        name = f"{system.name}, functional, batch {batch}, {layers} layers"
        report(name, length, start, device)


def report(name: str, length: int, start: float, device: ttnn.MeshDevice) -> None:
    """Prints the DRAM in use, and the seconds since `start`."""
    view = ttnn.get_memory_view(device, ttnn.BufferType.DRAM)
    used = view.total_bytes_allocated_per_bank / view.total_bytes_per_bank
    print(
        f"{name}: {length} positions; built and used in {time.perf_counter() - start:.0f} s, "
        f"{used:.1%} of DRAM in use"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    opening.add_system(parser)
    parser.add_argument("--stage", default="optimized", choices=document.STAGES)
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--layers", type=int, default=phi3_mini.N_LAYERS)
    args = parser.parse_args()
    system = systems.find(args.system)
    os.environ.update(toolchain.runtime_root(system))
    loguru.logger.disable("ttnn")
    if args.stage == "functional":
        measure_functional(system, args.layers)
        return
    for precision in args.precision:
        length = measure(system, precision, args.batch, args.layers)
        if args.batch == 1 and args.layers == phi3_mini.N_LAYERS:
            goal = GOALS[system.name][precision]
            print(f"  at least {goal}: {'met' if length >= goal else 'MISSED'}")


if __name__ == "__main__":
    main()
