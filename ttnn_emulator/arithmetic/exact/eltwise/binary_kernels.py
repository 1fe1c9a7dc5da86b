"""Operations of two tensors as binary_ng's kernels compute them.

An operation is one that a unit has, or one between functions of its operands and of its result
(`COMPOSED`). Which unit, which functions, and when a last conversion precedes the packer was
observed in the programs that TTNN 0.81.1 builds (their generated defines: BINARY_OP,
BINARY_SFPU_OP, PROCESS_LHS_ACTIVATIONS and its like). Kernel sources:
eltwise_binary_no_bcast.cpp,
eltwise_binary_sfpu_no_bcast.cpp and their broadcasting variants.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import NOTHING_FUSED, FusedOp, FusedOps
from ttnn_emulator.arithmetic.exact import elementwise
from ttnn_emulator.arithmetic.exact.eltwise import integer_kernels
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.exact.vector import vector_binary, vector_powers, vector_typecast
from ttnn_emulator.arithmetic.exact.vector.vector_unit import flush, round_to_bf16, store
from ttnn_emulator.arithmetic.formats import BLOCK_FORMAT_BITS
from ttnn_emulator.arithmetic.rounded import rounded_eltwise

POWER = paths.approximation("pow of two float32 tensors with one sum contracted either way")


class PairKernel(NamedTuple):
    """What a unit's operation depends on beside its operands.

    Attributes:
        dtypes: the operands' formats.
        fast: fast_and_approximate_mode, None for TTNN's default.
        fp32_dest_acc: whether Dst has 32 bits.
        numbers: the operation's own numbers.
    """

    dtypes: tuple[str, str]
    fast: bool | None
    fp32_dest_acc: bool
    numbers: tuple = ()

    @property
    def all_float32(self) -> bool:
        """Whether both operands are float32."""
        return self.dtypes == ("float32", "float32")

    @property
    def has_block_format(self) -> bool:
        """Whether an operand is of a block format."""
        return any(dtype in BLOCK_FORMAT_BITS for dtype in self.dtypes)


Step = Callable[[torch.Tensor, torch.Tensor, PairKernel], torch.Tensor]


def _on_matrix_unit(
    operation: Callable[..., torch.Tensor],
    a: torch.Tensor,
    b: torch.Tensor,
    kernel: PairKernel,
    **options: str,
) -> torch.Tensor:
    wide = kernel.fp32_dest_acc
    return operation(unpack(a, wide), unpack(b, wide), fp32_dest_acc=wide, **options)


def _sums_on_vector_unit(kernel: PairKernel) -> bool:
    return kernel.all_float32 or (kernel.fast is False)


def _add(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    if _sums_on_vector_unit(kernel):
        return vector_binary.add(a, b, fp32_dest_acc=kernel.fp32_dest_acc)
    return _on_matrix_unit(eltwise_unit.add, a, b, kernel)


def _subtract(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    if _sums_on_vector_unit(kernel):
        return vector_binary.subtract(a, b, fp32_dest_acc=kernel.fp32_dest_acc)
    return _on_matrix_unit(eltwise_unit.subtract, a, b, kernel)


def _rsub(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    """b - a; on the matrix unit -a + b, which is the same."""
    return _subtract(b, a, kernel._replace(dtypes=kernel.dtypes[::-1]))


def _multiply(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    if kernel.all_float32 or not (kernel.fast or kernel.has_block_format):
        return vector_binary.multiply(a, b, fp32_dest_acc=kernel.fp32_dest_acc)
    return _on_matrix_unit(eltwise_unit.multiply, a, b, kernel, fidelity="HiFi4")


def _divide(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    if kernel.fast and not kernel.all_float32:
        inverse = _prepared(b, (FusedOp("reciprocal"),), kernel.dtypes[1], kernel.fp32_dest_acc)
        return _multiply(a, inverse, kernel)
    return vector_binary.divide(a, b, fp32_dest_acc=kernel.fp32_dest_acc)


def _power(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
    if kernel.fp32_dest_acc:
        paths.tell(POWER)
    return vector_powers.power(a, b, fp32_dest_acc=kernel.fp32_dest_acc)


def _on_vector_unit(function: Callable[..., torch.Tensor]) -> Step:
    def step(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
        return function(a, b, *kernel.numbers, fp32_dest_acc=kernel.fp32_dest_acc)

    return step


def _in_matrices(operation: Callable[..., torch.Tensor], **options: str) -> Step:
    """`ttnn.bcast`, whose kernels (bcast_h.cpp, bcast_w.cpp, bcast_hw) have a 16-bit Dst."""

    def step(a: torch.Tensor, b: torch.Tensor, kernel: PairKernel) -> torch.Tensor:
        return _on_matrix_unit(operation, a, b, kernel, **options)

    return step


FOLLOWED_BINARY: dict[str, Step] = {
    "add": _add,
    "bcast_add": _in_matrices(eltwise_unit.add),
    "bcast_multiply": _in_matrices(eltwise_unit.multiply, fidelity="HiFi4"),
    "bcast_subtract": _in_matrices(eltwise_unit.subtract),
    "atan2": _on_vector_unit(vector_binary.atan2),
    "dequantize": _on_vector_unit(vector_typecast.dequantize),
    "divide": _divide,
    "fmod": _on_vector_unit(vector_binary.fmod),
    "isclose": _on_vector_unit(vector_binary.isclose),
    "logaddexp": _on_vector_unit(vector_powers.logaddexp),
    "logaddexp2": _on_vector_unit(vector_powers.logaddexp2),
    "multiply": _multiply,
    "nextafter": _on_vector_unit(vector_binary.nextafter),
    "pow": _power,
    "quantize": _on_vector_unit(vector_typecast.quantize),
    "quantize_uint8": _on_vector_unit(vector_typecast.quantize_uint8),
    "remainder": _on_vector_unit(vector_binary.remainder),
    "rsub": _rsub,
    "subtract": _subtract,
    "xlogy": _on_vector_unit(vector_powers.xlogy),
}

NONZERO, SQUARE = (FusedOp("nez"),), (FusedOp("square"),)

# Operation -> the one that a unit has, and the functions of its operands and of its result.
COMPOSED = {
    "absolute_difference": ("subtract", FusedOps(result=(FusedOp("abs"),))),
    "bias_gelu": ("add", FusedOps(result=(FusedOp("gelu"),))),
    "hypot": ("add", FusedOps(SQUARE, SQUARE, (FusedOp("sqrt"),))),
    "ldexp": ("multiply", FusedOps(b=(FusedOp("exp2"),))),
    "logical_and": ("multiply", FusedOps(NONZERO, NONZERO, NONZERO)),
    "logical_or": ("add", FusedOps(NONZERO, NONZERO, NONZERO)),
    "logical_xor": ("subtract", FusedOps(NONZERO, NONZERO, NONZERO)),
    "squared_difference": ("subtract", FusedOps(result=SQUARE)),
}

# Comparison -> that of a difference with zero.
WITH_ZERO = {"eq": "eqz", "ne": "nez", "lt": "ltz", "le": "lez", "gt": "gtz", "ge": "gez"}

# Their unit is the matrix unit unless all is float32: an operation that TTNN gives no fast mode.
ON_MATRIX_UNIT = {"ldexp"}


def binary(
    operation: str | FusedOp,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    dtypes: tuple[str, str] = ("bfloat16", "bfloat16"),
    out: str = "bfloat16",
    fused: FusedOps = NOTHING_FUSED,
    fast: bool | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    Operations in neither table only choose (maximum, comparisons) and are exact.
    """
    op = FusedOp(operation) if isinstance(operation, str) else operation
    if any(dtype in elementwise.INTEGERS for dtype in dtypes):
        return integer_kernels.binary(op, a, b, dtypes=dtypes, out=out, fused=fused)
    name, fused = _composed(op.name, dtypes, fused)
    fast = op.name in ON_MATRIX_UNIT or fast
    wide = elementwise.has_fp32_dest(*dtypes, out) and not op.name.startswith("bcast")
    kernel = PairKernel(dtypes, fast, wide, op.numbers)
    a = _prepared(a, fused.a, dtypes[0], kernel.fp32_dest_acc)
    b = _prepared(b, fused.b, dtypes[1], kernel.fp32_dest_acc)
    if name in FOLLOWED_BINARY:
        dst = FOLLOWED_BINARY[name](a, b, kernel)
    else:
        dst = rounded_eltwise.BINARY[name](flush(a), flush(b)).float()
        dst = store(dst if kernel.fp32_dest_acc else round_to_bf16(dst), kernel.fp32_dest_acc)
    for step in fused.result:
        dst = elementwise.in_dest(step, dst, kernel.fp32_dest_acc)
    return elementwise.packed(converted(dst, dtypes[0], out), out, kernel.fp32_dest_acc)


def _composed(name: str, dtypes: tuple[str, str], fused: FusedOps) -> tuple[str, FusedOps]:
    """The unit's operation; the caller's functions come before the operation's own on operands.

    Only two bfloat16 or two float32 operands are compared in one instruction.
    """
    unit, own = COMPOSED.get(name, (name, NOTHING_FUSED))
    if name in WITH_ZERO and not (dtypes[0] == dtypes[1] in ("bfloat16", "float32")):
        unit, own = "subtract", FusedOps(result=(FusedOp(WITH_ZERO[name]),))
    return unit, FusedOps(fused.a + own.a, fused.b + own.b, own.result + fused.result)


def converted(dst: torch.Tensor, dtype: str, out: str) -> torch.Tensor:
    """Dst after the typecast that ends a kernel whose result has another dtype than it computed in.

    float32 for a bfloat16 result is rounded to nearest even there, before the packer would;
    integers are made. Other formats are left to the packer.
    """
    if dtype == "float32" and out == "bfloat16":
        return vector_typecast.float32_to_bfloat16(dst)
    if out in ("int32", "uint32", "uint16"):
        return getattr(vector_typecast, f"to_{out}")(dst)
    return dst


def _prepared(
    x: torch.Tensor, ops: tuple[FusedOp, ...], dtype: str, fp32_dest_acc: bool
) -> torch.Tensor:
    """An operand after its fused functions, whose result is packed in the operand's format."""
    x = x.float()
    if not ops:
        return x
    for op in ops:
        x = elementwise.in_dest(op, x, fp32_dest_acc)
    number = x.dim() == 0  # its buffer is bfloat16 beside a block format
    buffer = "bfloat16" if number and dtype in BLOCK_FORMAT_BITS else dtype
    return pack(x, buffer, fp32_dest_acc)
