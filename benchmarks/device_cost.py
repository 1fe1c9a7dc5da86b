"""Device operations, DRAM bytes and a roofline of Phi-3-mini's prefill and decode, without a card.

python -m benchmarks.device_cost [MODEL_PY ...] [--system n150] [--prompt 224] [--write]

TTNN's own graph capture on its mock system says which device operations run and where their tensors
lie. A model of one layer and one of two at full width are captured; the difference is a layer, the
rest is counted once, and 32 layers are that rest and 32 times the layer. MODEL_PY is any file with
`build_model(hf_model, tt_device, max_seq_len)`; this repository's stages come first. One sequence
is counted, whatever the rows of the cache.

Counted as bytes: every operand and result in DRAM, once and with its padding; of an embedding table
the rows taken, of a cache the positions that are live, or the tiles that are written. The roofline
is each operation's larger share of 288 GB/s and 74 TFLOP/s (n150, bf16 at HiFi4; HiFi3, HiFi2 and
LoFi are 4/3, 2 and 4 times as quick), one after the other: a bound, not a forecast.

Of several chips everything is that of one of them. What a collective sends is counted where most of
it passes, between two neighbours in one direction; two links of 100 Gbit/s are there.
"""

import argparse
import math
import os
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import loguru
import torch
import transformers
import ttnn

from benchmarks import document, opening, phi3_mini
from model.optimized import PRECISIONS
from ttnn_emulator.machine import systems, toolchain
from ttnn_emulator.machine.systems import System
from ttnn_verify.model_file import load_model_file

Node = dict[str, Any]  # of TTNN's captured graph, as its JSON has it
Operand = tuple[list[int], Node | None]  # shape, and the buffer node where there is one

BYTES_PER_SECOND = 288e9
FLOPS = 74e12  # at HiFi4
FABRIC_BYTES_PER_SECOND = 2 * 12.5e9  # links between neighbours: TTNN's descriptors of the systems
PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}
PROMPT = 224  # tokens, by default

# The settings of each stage, each with its options of `build_model`.
SETTINGS: dict[str, dict[str, dict[str, str]]] = {
    "functional": {"TTNN's defaults": {}},
    "optimized": {f"`{name}`": {"precision": name} for name in PRECISIONS},
}


class Limits(NamedTuple):
    """What a phase of a stage should not exceed."""

    operations: int | None = None  # of a layer
    bytes: float | None = None  # times weights and live cache


LIMITS = {
    "functional": {"prefill": Limits(30), "decode": Limits(30)},
    "optimized": {"prefill": Limits(20), "decode": Limits(16, 1.05)},
}
NO_LIMITS = {"prefill": Limits(), "decode": Limits()}


@dataclass(frozen=True)
class Cost:
    """The cost of a captured call, or of a part of one: count of each operation, and sums."""

    operations: Counter[str]
    bytes: float
    needed: float  # bytes of weights and live cache among them
    seconds: float
    sent: float = 0.0  # bytes between two neighbouring chips, at most

    def __sub__(self, other: "Cost") -> "Cost":
        return self.plus(other, -1)

    def plus(self, other: "Cost", times: int) -> "Cost":
        operations = Counter(self.operations)
        for name, count in other.operations.items():
            operations[name] += times * count
        return Cost(
            operations,
            self.bytes + times * other.bytes,
            self.needed + times * other.needed,
            self.seconds + times * other.seconds,
            self.sent + times * other.sent,
        )


def capture(call: Callable[[], object]) -> list[Node]:
    """Nodes of TTNN's graph of a call, those that have parameters."""
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        call()
    finally:
        graph = ttnn.graph.end_graph_capture()
    return [node for node in graph if node["params"]]


def cost(graph: list[Node], queries: int, live: int, chips: int) -> Cost:
    """Cost of a captured call of one sequence: `queries` tokens that see `live` positions."""
    nodes = {node["counter"]: node for node in graph}
    buffers: dict[int, Node] = {}  # tensor node -> its buffer node
    for node in graph:
        if node["node_type"] == "buffer":
            buffers |= {tensor: node for tensor in node["connections"]}
    total, needed, seconds, sent = 0.0, 0.0, 0.0, 0.0
    names: Counter[str] = Counter()
    for node in graph:
        name = node["params"].get("name", "")
        if node["node_type"] != "function_start" or not name.endswith("Operation"):
            continue
        names[name] += 1
        tensors = [
            (shape(n), buffers.get(c))
            for c, n in nodes.items()
            if n["node_type"] == "tensor" and node["counter"] in n["connections"]
        ]
        reads = [read(node, tensors, i, live) for i in range(len(tensors))]
        moved = sum(reads) + sum(written(graph, node))
        if re.search("Matmul|Norm|SDPA|Sdpa", name):
            needed += sum(reads[1:])
        total += moved
        passed = between_neighbours(node, tensors, chips)
        sent += passed
        seconds += max(
            moved / BYTES_PER_SECOND,
            flops(name, tensors, queries, live) / rate(node),
            passed / FABRIC_BYTES_PER_SECOND,
        )
    return Cost(names, total, needed, seconds, sent)


def between_neighbours(operation: Node, tensors: list[Operand], chips: int) -> float:
    """Bytes of a collective that pass between two chips of a line or a ring, where most do."""
    name = operation["params"]["name"]
    if not re.search("AllGather|ReduceScatter|AllReduce|AllBroadcast", name):
        return 0
    dims, buffer = tensors[0]
    tiles = math.prod(-(-n // 32) * 32 if i >= len(dims) - 2 else n for i, n in enumerate(dims))
    size = buffer["params"]["size"] if buffer else 2 * tiles  # of bfloat16
    in_turn = (chips - 1) if "Topology::Linear" in str(operation["arguments"]) else chips / 2
    return in_turn * size / (chips if "Scatter" in name else 1)


def shape(tensor: Node) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", tensor["params"]["shape"])]


def read(operation: Node, tensors: list[Operand], i: int, live: int) -> float:
    """DRAM bytes that an operation reads of its i-th operand, or writes into a cache."""
    name, dims, buffer = operation["params"]["name"], *tensors[i]
    if buffer is None or buffer["params"]["type"] != "DRAM":
        return 0
    size = buffer["params"]["size"]
    if "Embedding" in name and i == 1:  # tokens' rows of the table
        return size * torch.tensor(tensors[0][0]).prod().item() / dims[0 if len(dims) == 2 else -2]
    if len(dims) == 4 and re.search("SDPA|Sdpa", name) and i in (1, 2):
        return size * min(live / (dims[0] * dims[2]), 1)  # one sequence's share of [B, K, C, D]
    fills = "FillCache" in name or "OpType::FILL" in " ".join(map(str, operation["arguments"]))
    if fills and i == 0:
        return tensors[1][1]["params"]["size"] if tensors[1][1] else 0  # written
    if re.search("Update(KV)?Cache", name) and len(dims) == 4:
        return 2 * size * 32 / (dims[0] * dims[2])  # a tile row of each head, read and written back
    return size


def written(graph: list[Node], operation: Node) -> Iterator[int]:
    """DRAM bytes of the results that an operation allocates."""
    inside = False
    for node in graph:
        if node is operation:
            inside = True
        elif inside and node["node_type"] == "function_end":
            if node["params"]["name"] == operation["params"]["name"]:
                return
        elif inside and node["node_type"] == "buffer_allocate" and node["params"]["type"] == "DRAM":
            yield node["params"]["size"]


def flops(name: str, tensors: list[Operand], queries: int, live: int) -> float:
    """Floating point operations, counted in whole tiles of rows."""
    if "Matmul" in name:
        a, b = tensors[0][0], tensors[1][0]
        rows = torch.tensor(a[:-1]).prod().item()
        return 2 * -(-rows // 32) * 32 * a[-1] * b[-1]
    if re.search("SDPA|Sdpa", name):  # scores and weighted sum, half of it hidden in a prompt
        heads, width = tensors[0][0][-3] if queries > 1 else tensors[0][0][-2], tensors[0][0][-1]
        return 4 * heads * width * queries * live / (2 if queries > 1 else 1)
    return 0


def rate(node: Node) -> float:
    """FLOP/s of the math fidelity that an operation asks for."""
    fidelity = re.search("math_fidelity=(\\w+)", " ".join(map(str, node["arguments"])))
    return FLOPS * 4 / PHASES.get(fidelity[1] if fidelity else "HiFi4", 4)


def measure(
    path: pathlib.Path, system: System, layers: int, prompt: int, options: Mapping[str, str]
) -> dict[str, Cost]:
    """Costs of prefill and decode, on a chip, of a model file's model with so many layers."""
    config = phi3_mini.config(layers)
    hf_model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with opening.on_mock(system) as device:
        room = -(-(prompt + 2) // 256) * 256
        model = load_model_file(path).build_model(hf_model, device, room, **options)
        ids = torch.randint(3, config.vocab_size, (1, prompt))
        outputs = []
        prefill = capture(lambda: outputs.append(model(ids, logits_to_keep=1)))
        past = outputs[0].past_key_values
        model(ids[:, :1], past_key_values=past)
        decode = capture(lambda: model(ids[:, :1], past_key_values=past))
        return {
            "prefill": cost(prefill, prompt, prompt, system.chips),
            "decode": cost(decode, 1, prompt + 2, system.chips),
        }


def layer_and_model(
    path: pathlib.Path, system: System, prompt: int, options: Mapping[str, str]
) -> dict[str, tuple[Cost, Cost]]:
    """Costs of prefill and decode: of a layer, and of the full model."""
    one_layer, two_layers = (measure(path, system, n, prompt, options) for n in (1, 2))
    costs = {}
    for phase, one in one_layer.items():
        layer = two_layers[phase] - one
        costs[phase] = layer, one.plus(layer, phi3_mini.N_LAYERS - 1)
    return costs


def header(first: str, chips: int) -> list[str]:
    """Of `rows`."""
    between = [] if chips == 1 else ["between two chips"]
    counted = ["operations a layer", "in all", "DRAM bytes", "of weights and live cache"]
    return [first, *counted, *between, "roofline", "of a layer"]


def rows(
    name: str, costs: dict[str, tuple[Cost, Cost]], limits: dict[str, Limits], chips: int
) -> Iterator[list[str]]:
    """Table rows of a model's prefill and decode."""
    for phase, (layer, model) in costs.items():
        kinds = ", ".join(
            f"{n} {re.sub('(Device)?Operation', '', kind)}"
            for kind, n in layer.operations.items()
            if n
        )
        yield [
            f"{name}, {phase}",
            with_verdict(layer.operations.total(), limits[phase].operations),
            f"{model.operations.total()}",
            f"{model.bytes / 1e9:.3f} GB",
            with_verdict(round(model.bytes / model.needed, 3), limits[phase].bytes),
            *([] if chips == 1 else [f"{model.sent / 1e6:.1f} MB"]),
            f"{model.seconds * 1e3:.1f} ms",
            kinds,
        ]


def with_verdict(figure: float, limit: float | None) -> str:
    """A figure and whether it meets its limit, if it has one."""
    if limit is None:
        return f"{figure}"
    return f"{figure} ({'met' if figure <= limit else 'MISSED'}: {limit})"


def stage_rows(stage: str, system: System, prompt: int) -> list[list[str]]:
    """Table rows of all settings of a stage."""
    table_rows: list[list[str]] = []
    limits = LIMITS[stage] if system.chips == 1 else NO_LIMITS
    for name, options in SETTINGS[stage].items():
        costs = layer_and_model(document.model_file(stage, system.name), system, prompt, options)
        table_rows += rows(name, costs, limits, system.chips)
    return table_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_py", nargs="*", type=pathlib.Path)
    opening.add_system(parser)
    parser.add_argument("--prompt", type=int, default=PROMPT, help=f"tokens, default {PROMPT}")
    parser.add_argument("--write", action="store_true", help="into MODEL_BRINGUP.md of each stage")
    args = parser.parse_args()
    system = systems.find(args.system)
    loguru.logger.disable("ttnn")  # it warns of graph capture in fast mode, which suffices here
    os.environ.update(toolchain.runtime_root(system))
    columns = header(f"prompt of {args.prompt}, batch 1", system.chips)
    for stage in document.STAGES:
        lines = document.table(columns, stage_rows(stage, system, args.prompt))
        print(f"{stage} stage", *lines, sep="\n", flush=True)
        if args.write:
            document.write(stage, "device cost", lines, system.name)
    for path in args.model_py:
        costs = layer_and_model(path, system, args.prompt, {})
        print(
            path,
            *document.table(columns, rows("its", costs, NO_LIMITS, system.chips)),
            sep="\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
