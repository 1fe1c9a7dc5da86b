"""Exact results of recorded calls on several chips, from what all of them held."""

import torch

from ttnn_emulator.fidelity.recordings import Case


def split_name(name: str) -> tuple[str, int]:
    """A tensor's name without its chip, and the chip: "out0_chip1" -> ("out0", 1)."""
    base, _, chip = name.rpartition("_chip")
    return base, int(chip)


def on_chips(case: Case, base: str) -> list[torch.Tensor]:
    """What the chips hold of a recorded tensor, row by row of the mesh."""
    rows, columns = case.mesh or (1, 1)
    return [case.tensor(f"{base}_chip{chip}") for chip in range(rows * columns)]


def exact_on_mesh(case: Case, name: str) -> torch.Tensor | None:
    """The float64 result on one chip of a recorded call on a mesh of one row.

    Returns:
        torch float64 tensor of the output's logical shape, or None for an op that moves data and
        for statistics between two.
    """
    base, chip = split_name(name)
    if "reduce" in case.op:
        return _sum(case, chip)
    if case.op == "ttnn.rms_norm_post_all_gather" and base == "out2":
        return _rms_norm(case, chip)
    return None


def _sum(case: Case, chip: int) -> torch.Tensor:
    terms = [part.double() for part in on_chips(case, "in0")]
    total = torch.stack(terms).sum(0)
    if "scatter" not in case.op:
        return total
    return total.tensor_split(len(terms), case.attributes["dim"])[chip]


def _rms_norm(case: Case, chip: int) -> torch.Tensor:
    parts = [part.double() for part in on_chips(case, "in0")]
    mean_square = torch.cat(parts, -1).square().mean(-1, keepdim=True)
    weight = on_chips(case, "weight")[chip].double().reshape(-1)
    return parts[chip] * torch.rsqrt(mean_square + case.attributes["epsilon"]) * weight
