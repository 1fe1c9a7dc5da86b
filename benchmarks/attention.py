"""The error of each setting of attention: the table of the optimized stage's page.

python -m benchmarks.attention [--system n150] [--write]

Random queries, keys and values at Phi-3-mini's widths, N(0, 1) in bfloat16, in kernel arithmetic
against float64 of the same values: 512 positions of 4 heads in prefill (8 on a T3000); 8 users at
different positions and 32 heads in decode. Heads are divided among the chips, and decode's kernel
computes 16 heads or fewer of a chip differently. In a column "x 30" four channels of queries, keys
and values are 30 times larger, as massive activations are.
"""

import argparse
import itertools
from collections.abc import Sequence

import loguru
import torch
import ttnn

from benchmarks import document, opening
from model.optimized.phi3 import ATTENTION_CHUNK
from model.optimized.precision import PRECISIONS, AttentionPrecision, compute_config

HEAD_DIM = 96
POSITIONS = 512
PROMPT_HEADS, STEP_HEADS = 4, 32
USERS = tuple(range(63, POSITIONS, 64))  # the position of each
MASSIVE = [1, 7, 20, 33]  # channels
FACTORS = (1, 30, 100, 300)
LOST = 0.5  # relative L2 from which a row counts as lost

SETTINGS = [
    AttentionPrecision(fidelity, fp32_dest_acc, exact_exp)
    for fidelity, fp32_dest_acc, exact_exp in itertools.product(
        (ttnn.MathFidelity.HiFi2, ttnn.MathFidelity.HiFi4), (False, True), (False, True)
    )
]


def operands(heads: int, factor: float) -> list[torch.Tensor]:
    """Queries, keys, values [1, N, S, D] bfloat16 with four channels `factor` times larger."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, heads, POSITIONS, HEAD_DIM, generator=generator)
    for x in (q, k, v):
        x[..., MASSIVE] *= factor
    return [x.bfloat16() for x in (q, k, v)]


def exact(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, positions: Sequence[int]
) -> torch.Tensor:
    """float64 [1, N, len(positions), D]: causal attention of the queries at some positions."""
    scores = q[:, :, positions].double() @ k.double().mT * HEAD_DIM**-0.5
    hidden = torch.arange(POSITIONS) > torch.tensor(positions)[:, None]
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v.double()


def program(setting: AttentionPrecision, device: ttnn.MeshDevice) -> dict[str, object]:
    """The arguments that Phi-3's attention passes for a setting."""
    return {
        "program_config": ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=device.compute_with_storage_grid_size(),
            q_chunk_size=ATTENTION_CHUNK,
            k_chunk_size=ATTENTION_CHUNK,
            exp_approx_mode=not setting.exact_exp,
        ),
        "compute_kernel_config": compute_config(setting.fidelity, setting.fp32_dest_acc),
    }


def prefill(setting: AttentionPrecision, factor: float, device: ttnn.MeshDevice) -> torch.Tensor:
    """Relative L2 of each row [1, N, S]."""
    q, k, v = operands(max(PROMPT_HEADS, device.get_num_devices()), factor)
    on_device = [_to_device(x, 1, device) for x in (q, k, v)]
    result = ttnn.transformer.scaled_dot_product_attention(
        *on_device, is_causal=True, **program(setting, device)
    )
    joined = torch.cat([ttnn.to_torch(part) for part in ttnn.get_device_tensors(result)], dim=1)
    return _rows(joined, exact(q, k, v, range(POSITIONS)))


def decode(setting: AttentionPrecision, factor: float, device: ttnn.MeshDevice) -> torch.Tensor:
    """Relative L2 of each row [1, N, B]."""
    q, k, v = operands(STEP_HEADS, factor)
    users = len(USERS)
    result = ttnn.transformer.scaled_dot_product_attention_decode(
        _to_device(q[:, :, USERS].transpose(1, 2), 2, device),  # [1, B, N, D]
        *(_to_device(x.expand(users, -1, -1, -1), 1, device) for x in (k, v)),
        cur_pos=list(USERS),
        **program(setting, device),
    )
    own = STEP_HEADS // device.get_num_devices()  # the kernel fills up a tile of them
    parts = [ttnn.to_torch(part)[:, :, :own] for part in ttnn.get_device_tensors(result)]
    return _rows(torch.cat(parts, dim=2).transpose(1, 2), exact(q, k, v, USERS))


def _to_device(x, heads, device):
    return ttnn.from_torch(
        x,
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=device,
        mesh_mapper=ttnn.ShardTensorToMesh(device, dim=heads),
    )


def _rows(result, expected):
    return (result.double() - expected).norm(dim=-1) / expected.norm(dim=-1)


def cell(rows: torch.Tensor) -> str:
    """Median of the rows that are not lost, and the share of those that are."""
    lost = ~(rows < LOST)  # a NaN too
    median = rows[~lost].median().item() if (~lost).any() else float("nan")
    return f"{median:.4f}" + (f", {lost.double().mean().item():.1%} lost" if lost.any() else "")


def name(setting: AttentionPrecision) -> str:
    """A setting in words, with the model's precisions that use it."""
    words = [setting.fidelity.name, "float32 sums" if setting.fp32_dest_acc else "16-bit sums"]
    words += ["exact exp"] if setting.exact_exp else []
    having = [f"`{key}`" for key, value in PRECISIONS.items() if value.attention == setting]
    return ", ".join(words) + (f" ({', '.join(having)})" if having else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    opening.add_system(parser)
    parser.add_argument("--write", action="store_true", help="into its MODEL_BRINGUP.md")
    args = parser.parse_args()
    loguru.logger.disable("ttnn")
    columns = list(itertools.product((prefill, decode), FACTORS))
    header = ["attention", *(f"{run.__name__}, x {factor}" for run, factor in columns)]
    table = []
    with opening.emulated(args.system) as device:
        for setting in SETTINGS:
            cells = (cell(run(setting, factor, device)) for run, factor in columns)
            table.append([name(setting), *cells])
            print(*table[-1], sep=" | ", flush=True)
    if args.write:
        lines = document.table(header, table)
        document.write("optimized", "attention", lines, args.system)


if __name__ == "__main__":
    main()
