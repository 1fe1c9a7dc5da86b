"""Operations of three operands as the ternary kernels compute them: all on the vector unit.

Kernel sources: ternary_addc_ops_sfpu.cpp, ternary_sfpu_no_bcast_ttt.cpp and their broadcasting
variants (ternary_addc_ops_fpu_rowbcast.cpp computes on the vector unit, too), with a number in
place of a tensor ternary_sfpu_no_bcast_tts_tst.cpp and binary_ng's eltwise_where_no_bcast.cpp.
"""

from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.arithmetic.exact import elementwise
from ttnn_emulator.arithmetic.exact.eltwise import integer_kernels
from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.rounded import rounded_eltwise

FOLLOWED_TERNARY: dict[str, Callable[..., torch.Tensor]] = {
    "addcdiv": vector_binary.addcdiv,
    "addcmul": vector_binary.addcmul,
    "lerp": vector_binary.lerp,
    "mac": vector_binary.mac,
    "snake_beta": vector_binary.snake_beta,
}


def ternary(
    op: FusedOp,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    *,
    dtypes: tuple[str, ...],
    out: str,
) -> torch.Tensor:
    """See `interface.Arithmetic`. A float tensor without dimensions is a number filled into Dst."""
    if op.name == "where":
        return _where(a, b, c, dtypes, out)
    if all(dtype in elementwise.INTEGERS for dtype in dtypes):
        return integer_kernels.addcmul(a, b, c, *op.numbers)
    fp32_dest_acc = elementwise.has_fp32_dest(*dtypes, out)
    operands = [_in_dest(x, fp32_dest_acc) for x in (a, b, c)]
    dst = FOLLOWED_TERNARY[op.name](*operands, *op.numbers, fp32_dest_acc=fp32_dest_acc)
    return elementwise.packed(dst, out, fp32_dest_acc)


def _in_dest(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    return x.float() if x.dim() else vector_binary.number_in_dest(x.item(), fp32_dest_acc)


def _where(
    condition: torch.Tensor,
    if_true: torch.Tensor,
    if_false: torch.Tensor,
    dtypes: tuple[str, ...],
    out: str,
) -> torch.Tensor:
    if out in elementwise.INTEGERS:
        return rounded_eltwise.TERNARY["where"](condition, if_true.long(), if_false.long())
    fp32_dest_acc = elementwise.has_fp32_dest(*dtypes, out)
    values = [_in_dest(x, fp32_dest_acc) for x in (if_true, if_false)]
    chosen = rounded_eltwise.TERNARY["where"](condition.float(), *values)
    return elementwise.packed(chosen, out, fp32_dest_acc)
