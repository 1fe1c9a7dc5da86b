"""The lines of a program that open a mesh of chips and compare what a collective makes on each."""

import torch

from ttnn_verify.drift.reproducer.as_source import source
from ttnn_verify.drift.reproducer.wanted import WantedOfChips


def opening(wanted: WantedOfChips) -> list[str]:
    """The lines that open the mesh, linked as it was in the model's run."""
    rows, columns = wanted.mesh
    return [
        f"ttnn.set_fabric_config({source(wanted.fabric)})",
        f"device = ttnn.open_mesh_device(ttnn.MeshShape({rows}, {columns}))",
    ]


def comparing(target: str, wanted: WantedOfChips) -> list[str]:
    """The lines that compare each chip's result by the rule of `numerics.tolerance`.

    Args:
        target: source of the result.
    """
    chips, shape = len(wanted.values), wanted.shape
    same_rows = tuple(wanted.values.shape[1:]) == shape
    parts = f"[ttnn.to_torch(part) for part in ttnn.get_device_tensors({target})]"
    figures = (
        "relative L2 {relative_l2[chip]:.3g} ({allowed[chip, 0]:.6g} allowed), worst row "
        "{worst[chip]:.3g} ({allowed[chip, 1]:.6g} allowed)"
    )
    says = "{'differs' if differs[chip] else 'agrees'}"
    return [
        f"actual = torch.stack({parts}).double()",
        "ttnn.close_mesh_device(device)",
        "ttnn.set_fabric_config(ttnn.FabricConfig.DISABLED)",
        f"if tuple(actual.shape[1:]) != {shape}:",
        f'    raise SystemExit(f"differs: shape {{tuple(actual.shape[1:])}}, expected {shape}")',
        *([] if same_rows else ['actual = actual.reshape(stored["expected"].shape)']),
        'expected, allowed = stored["expected"].double(), stored["allowed"]',
        f"error, size = ({_norms(wanted)} for x in ({_error(wanted)}, expected))",
        f"relative_l2, worst = error.norm(dim=1) / {_whole(wanted)}, {_worst(wanted)}",
        f"differs = {_differs(wanted)}",
        f"for chip in range({chips}):",
        f'    print(f"chip {_number(wanted.mesh)}: {figures}: {says}")',
        'print("differs" if differs.any() else "agrees")',
        "raise SystemExit(bool(differs.any()))",
    ]


def _number(mesh: tuple[int, int]) -> str:
    """A chip in a format string, with its row and column where there are several of both."""
    return "{chip}" if min(mesh) == 1 else f"{{chip}} {{divmod(chip, {mesh[1]})}}"


def _norms(wanted: WantedOfChips) -> str:
    """The source of the norms `[C, R]` of the rows of x, where something is expected."""
    known = ".masked_fill(expected.isnan(), 0)" if wanted.values.isnan().any() else ""
    return f"x{known}.norm(dim=-1).reshape({len(wanted.values)}, -1)"


def _error(wanted: WantedOfChips) -> str:
    if wanted.values.isinf().any():
        return "(actual - expected).masked_fill(actual == expected, 0)"
    return "actual - expected"


def _size(wanted: WantedOfChips) -> torch.Tensor:
    return wanted.values.nan_to_num(0.0).norm(dim=-1).reshape(len(wanted.values), -1)


def _whole(wanted: WantedOfChips) -> str:
    return "size.norm(dim=1)" if _size(wanted).any(dim=1).all() else "(size.norm(dim=1) + 1e-300)"


def _worst(wanted: WantedOfChips) -> str:
    """The greatest share of a row that is wrong; a row of zeros counts as one of the usual size."""
    if _size(wanted).all():
        return "(error / size).amax(1)"
    usual = "size.square().mean(1, True).sqrt() + 1e-300"
    return f"(error / size.where(size > 0, {usual})).amax(1)"


def _differs(wanted: WantedOfChips) -> str:
    if wanted.allowed.any():
        return "~((relative_l2 <= allowed[:, 0]) & (worst <= allowed[:, 1]))"
    bits = "(actual != expected) | (actual.signbit() != expected.signbit())"
    known = f"(({bits}) & ~expected.isnan())" if wanted.values.isnan().any() else f"({bits})"
    return f"{known}.flatten(1).any(1)"
