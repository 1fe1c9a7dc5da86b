"""The interface of an arithmetic: the functions that `exact.exact` and `rounded.rounded` implement.

An arithmetic is a module. Its functions take the contents of buffers as torch tensors in the
storage dtype of their format (`formats.STORAGE`), or float32 ones with the same values. They return
the result's values, not yet in the output's storage: float32 for floats (bfloat16 where a value has
no more bits than that), an integer type for integers. `stored` turns them into a buffer's contents.

Formats are device dtypes by name: "float32", "bfloat16", "bfloat8_b", "bfloat4_b", "int32",
"uint32", "uint16", "uint8". A `compute` of None is TTNN's default for that operation. The rounded
arithmetic computes in float32 and rounds once: what only changes a rounding within an operation
(compute, blocks, programs, formats, fast variants) is an argument that it ignores.
"""

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ttnn_emulator.arithmetic.along_interface import AlongArithmetic
from ttnn_emulator.arithmetic.compute import (
    BFLOAT16,
    CAUSAL,
    NOTHING_FUSED,
    ON_ALL_CORES,
    AttentionProgram,
    Blocking,
    CacheScores,
    Compute,
    DecodeWork,
    Formats,
    FusedOp,
    FusedOps,
    Product,
    PromptScores,
)


class Arithmetic(AlongArithmetic, Protocol):
    """The functions of an arithmetic, each documented here alone.

    Attributes:
        ONE_THREAD: values of a result up to which torch had better compute it in one thread.
    """

    ONE_THREAD: int

    # --- matrix products -------------------------------------------------------------------------

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        bias: Tensor | None = None,
        *,
        product: Product,
        compute: Compute | None = None,
        blocking: Blocking = ON_ALL_CORES,
        fused: tuple[FusedOp, ...] = (),
    ) -> Tensor:
        """a @ b + bias, then the fused functions.

        Args:
            a: [..., M, K] contents.
            b: [..., K, N] contents; leading dimensions broadcast against those of `a`.
            bias: [..., 1, N] contents to add, or None.
            product: shapes and formats; its fp32_dest_acc is ignored.
            compute: compute kernel configuration.
            blocking: what determines the blocks of K; sums are rounded once more in every block.
            fused: functions applied to the sums before they are packed.

        Returns:
            [..., M, N] float32, or bfloat16 where the sums are rounded to bfloat16 at once.
        """
        ...

    def arranged(self, contents: Tensor) -> Tensor:
        """Contents that go to the device, in the memory order that is fastest to read."""
        ...

    # --- normalization ---------------------------------------------------------------------------

    def rms_norm(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        epsilon: float,
        width: int | None = None,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """x / sqrt(mean(x^2) + epsilon) * weight + bias over the last dimension.

        Args:
            x: [..., S, W] contents, W padded or not.
            weight, bias: [W] contents, or broadcastable to x; None leaves the step out.
            residual: [..., S, W] contents added to `x` first, or None.
            epsilon: number under the root.
            width: columns that are not padding; None for all W. Padding takes no part in the mean.
            compute: compute kernel configuration.
            formats: of x and of the result.

        Returns:
            [..., S, W] float32.
        """
        ...

    def layer_norm(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        epsilon: float,
        width: int | None = None,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias; arguments as for `rms_norm`."""
        ...

    def norm_statistics(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        *,
        centred: bool,
        compute: Compute | None = None,
        fast: bool = False,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """What a chip tells the others of its columns of rows that are to be normalised.

        Args:
            x: [..., S, W] contents, W in whole tiles.
            residual: [..., S, W] contents added to `x` first, or None.
            centred: whether the sum is told after the sum of squares, for `layer_norm`.
            compute: compute kernel configuration.
            fast: fast_and_approximate_mode, which leaves float32 to the matrix unit.
            formats: of x and of the result.

        Returns:
            [..., S, 32], or [..., S, 64] if `centred`: sums in the first column of each tile.
        """
        ...

    def norm_from_statistics(
        self,
        x: Tensor,
        statistics: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        centred: bool,
        epsilon: float,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """A chip's columns of normalised rows, from all chips' `norm_statistics` side by side.

        Other arguments and the result are those of `rms_norm`, or of `layer_norm` if `centred`.
        """
        ...

    def softmax(
        self,
        x: Tensor,
        dim: int = -1,
        *,
        width: int | None = None,
        scale: float | None = None,
        mask: Tensor | None = None,
        numeric_stable: bool = True,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """softmax(x * scale + mask) along `dim`.

        Args:
            x: contents of any shape.
            dim: dimension that sums to one.
            width: columns of the last dimension that are not padding; None for all.
            scale: number, or None for 1.
            mask: contents that broadcast against `x`, or None.
            numeric_stable: whether the maximum is subtracted first; without it large values
                overflow.
            compute: compute kernel configuration.
            formats: of x and of the result.

        Returns:
            Values of x's shape, 0 in columns of padding.

        Raises:
            ValueError: from the exact arithmetic for a scale without a mask, which TTNN refuses.
        """
        ...

    # --- elementwise -----------------------------------------------------------------------------

    def unary(
        self, x: Tensor, *ops: FusedOp, dtype: str = "bfloat16", out: str = "bfloat16"
    ) -> Tensor:
        """Functions of each element, one after the other.

        Args:
            x: contents of any shape.
            ops: functions with names of `rounded_eltwise.UNARY`.
            dtype, out: the operand's and the result's format.
        """
        ...

    def binary(
        self,
        operation: str | FusedOp,
        a: Tensor,
        b: Tensor,
        *,
        dtypes: tuple[str, str] = ("bfloat16", "bfloat16"),
        out: str = "bfloat16",
        fused: FusedOps = NOTHING_FUSED,
        fast: bool | None = None,
    ) -> Tensor:
        """An operation on the elements of two tensors that broadcast.

        Args:
            operation: a name of `rounded_binary.BINARY`, with its numbers if it has some.
            a, b: contents.
            dtypes, out: the operands' and the result's formats.
            fused: functions of the operands and of the result.
            fast: fast_and_approximate_mode, which picks the matrix or the vector unit; None for
                TTNN's default.
        """
        ...

    def chip_sum(self, *terms: Tensor, dtype: str, fp32_dest_acc: bool) -> Tensor:
        """The sum of what chips hold, as the kernels of reducing collectives add it.

        Args:
            terms: contents of one shape, which are added in this order, two at a time.
            dtype: the format of all, and of the result.
            fp32_dest_acc: whether Dst has 32 bits.

        Returns:
            The sum as the result's contents, which can be added to again.
        """
        ...

    def ternary(
        self, op: FusedOp, a: Tensor, b: Tensor, c: Tensor, *, dtypes: tuple[str, ...], out: str
    ) -> Tensor:
        """An operation of `rounded_binary.TERNARY` on the elements of tensors that broadcast."""
        ...

    def typecast(self, x: Tensor, from_dtype: str, to_dtype: str) -> Tensor:
        """The values of a typecast of contents from one format to another."""
        ...

    # --- moving ----------------------------------------------------------------------------------

    def moved(
        self, x: Tensor, dtype: str, out: str | None = None, *, fp32_dest_acc: bool | None = None
    ) -> Tensor:
        """Contents that a compute kernel only moves (tilize, transpose, cache update), as values.

        Args:
            x: contents of `dtype`.
            dtype, out: the operand's and the result's format, by default the same.
            fp32_dest_acc: whether Dst has 32 bits, where float32 goes through SrcA: it is truncated
                to tf32 beside a 32-bit Dst, to bfloat16 beside a 16-bit one. None where float32 is
                unpacked to Dst, which truncates nothing (tilize, untilize, transpose).
        """
        ...

    def stored(self, values: Tensor, dtype: str) -> Tensor:
        """A kernel's result as the contents of an output buffer, in the storage of `dtype`."""
        ...

    # --- attention and rotary embeddings ---------------------------------------------------------

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scores: PromptScores = CAUSAL,
        program: AttentionProgram | None = None,
        compute: Compute | None = None,
        out: str = "bfloat16",
    ) -> Tensor:
        """softmax(query @ key^T * scale + mask) @ value over a prompt.

        Args:
            query: [B, N, S, D].
            key, value: [B, K, T, D]; each kv head serves N / K query heads.
            scores: scale, mask and sink of the scores, and which keys a query sees.
            program: chunk sizes and exponential; None for TTNN's default.
            compute: compute kernel configuration.
            out: the result's format.

        Returns:
            [B, N, S, D] float32. In the rounded arithmetic a query that sees no key gets zeros.
        """
        ...

    def attention_rows(self, last: int, capacity: int, program: AttentionProgram | None) -> int:
        """How many rows of a cache of `capacity` are read for queries that see the first `last`."""
        ...

    def attention_decode(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scores: CacheScores,
        work: DecodeWork,
        program: AttentionProgram | None = None,
        compute: Compute | None = None,
        out: str = "bfloat16",
    ) -> Tensor:
        """Attention of one query for each user over a cache.

        Args:
            query: [B, N, D], of users at the same position.
            key, value: [B, K, T, D], the first T = `attention_rows(...)` rows of their caches.
            scores: scale, mask and sink of the scores, and the positions that users see.
            work: what is divided among the cores.
            program, compute, out: as for `attention`.

        Returns:
            [B, N, D] float32.
        """
        ...

    def rotary(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        *,
        table: str = "bfloat16",
        out: str = "bfloat16",
        compute: Compute | None = None,
    ) -> Tensor:
        """Rotate by halves: x * cos + rotate_half(x) * sin (`apply_rotary_pos_emb` of HF).

        Args:
            x: [..., S, D].
            cos, sin: broadcastable to x; in decode the one row of the token.
            table: format of cos and sin, in which the device packs the products too.
            out: format of x and of the result.
            compute: None for HiFi4 and a 16-bit Dst.

        Returns:
            [..., S, D] float32.
        """
        ...

    def rotary_pairs(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        transformation: Tensor,
        *,
        compute: Compute | None = None,
    ) -> Tensor:
        """Rotate pairs: x * cos + (x @ transformation) * sin, Meta's interleaved form.

        Args:
            x: [..., S, D], D a multiple of 32.
            cos, sin: broadcastable to x.
            transformation: [32, 32], applied from the right to each 32 columns of x.
            compute: compute kernel configuration.

        Returns:
            [..., S, D] float32.
        """
        ...

    def rotate_half(self, x: Tensor) -> Tensor:
        """[..., D] -> the same shape and dtype: the negated second half, then the first half."""
        ...


if TYPE_CHECKING:  # what an arithmetic lacks of the interface, a function or a keyword, fails here
    from ttnn_emulator.arithmetic.exact import exact
    from ttnn_emulator.arithmetic.rounded import rounded

    _exact: Arithmetic = exact
    _rounded: Arithmetic = rounded
