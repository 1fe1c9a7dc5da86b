"""How long the full Phi-3-mini takes to start, without and with a weight cache, and its memory.

python -m benchmarks.loading [--system n150] [--layers 32] [--precision accuracy]
    [--folder FOLDER]

A checkpoint of random weights is written to a temporary folder and loaded onto TTNN's mock
system, each time in a new process. Memory is the peak of the process's own pages above what it had
before (pages of mapped files, which the system can reclaim, do not count).
"""

import argparse
import multiprocessing
import os
import pathlib
import tempfile
import threading
import time
from multiprocessing.queues import Queue

import loguru
import safetensors.torch
import torch

from benchmarks import opening, phi3_mini
from model.optimized import PRECISIONS, Checkpoint, build
from ttnn_emulator.machine import systems, toolchain
from ttnn_verify.files import atomic

PEAK_LIMIT = 1.3  # times the largest layer and the embeddings


def own_memory() -> float:
    """GB of this process's own pages, RssAnon in kB of Linux's /proc/self/status."""
    status = pathlib.Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e9


class Peak(threading.Thread):
    """The peak of own memory while the thread runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, own_memory())


def start(folder: pathlib.Path, system: str, layers: int, precision: str, results: Queue) -> None:
    """Load the model once; puts (seconds, peak GB above the start) into `results`."""
    loguru.logger.disable("ttnn")
    found = systems.find(system)
    os.environ.update(toolchain.runtime_root(found))
    with opening.on_mock(found) as device:
        before, peak = own_memory(), Peak()
        peak.start()
        begin = time.perf_counter()
        model = build(
            phi3_mini.config(layers),
            Checkpoint(folder),
            device,
            256,
            precision=precision,
            weight_cache=folder / "converted",
        )
        seconds = time.perf_counter() - begin
        peak.done.set()
        del model
    results.put((seconds, peak.most - before))


def write_checkpoint(folder: pathlib.Path, layers: int) -> int:
    """A checkpoint of one file; returns bytes of the largest layer and the embeddings."""
    weights = dict(phi3_mini.RandomWeights(phi3_mini.config(layers)))
    file = folder / "model.safetensors"
    atomic.write(file, lambda partial: safetensors.torch.save_file(weights, partial))

    def size(part: str) -> int:
        return sum(w.numel() * 2 for name, w in weights.items() if part in name)

    return size("layers.0.") + size("embed_tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    opening.add_system(parser)
    parser.add_argument("--layers", type=int, default=phi3_mini.N_LAYERS)
    parser.add_argument("--precision", choices=PRECISIONS, default="accuracy")
    parser.add_argument("--folder", help="where the files go; default: the system's")
    args = parser.parse_args()
    torch.set_num_threads(2)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = pathlib.Path(temporary)
        allowed = PEAK_LIMIT * write_checkpoint(folder, args.layers) / 1e9
        for start_name in ("first", "second"):
            results = context.Queue()
            process = context.Process(
                target=start, args=(folder, args.system, args.layers, args.precision, results)
            )
            process.start()
            seconds, memory = results.get()
            process.join()
            verdict = "met" if memory <= allowed else "MISSED"
            print(
                f"{args.system}, {args.layers} layers, {args.precision}, {start_name} start: "
                f"{seconds:.1f} s, {memory:.3f} GB of memory ({verdict}: {allowed:.3f} GB)"
            )


if __name__ == "__main__":
    main()
