"""The part of `interface.Arithmetic` that works along a dimension: reduces, scans, sorts, samples.

Arguments and results are those of `interface`. D stands for the size of the dimension that an
operation works along.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats, GroupedGate, Split


class AlongArithmetic(Protocol):
    """Functions along a dimension, each documented here alone."""

    # --- reductions ------------------------------------------------------------------------------

    def reduce(
        self,
        operation: str,
        x: Tensor,
        dims: tuple[int, ...],
        *,
        scalar: float = 1.0,
        compute: Compute | None = None,
        fast: bool | None = None,
        dtype: str = "bfloat16",
        out: str = "bfloat16",
    ) -> Tensor:
        """Contents reduced over `dims`, which stay as ones, times a scalar.

        Args:
            operation: "sum", "mean", "max" or "min".
            x: [...] logical contents.
            dims: dimensions.
            scalar: factor of the result.
            compute: compute kernel configuration.
            fast: fast_and_approximate_mode: leave float32 to the matrix unit, which cuts it to
                tf32.
            dtype, out: the operand's and the result's format.
        """
        ...

    def variance(
        self,
        x: Tensor,
        dims: tuple[int, ...],
        correction: bool,
        *,
        scalar: float = 1.0,
        compute: Compute | None = None,
        out: str = "bfloat16",
    ) -> Tensor:
        """Variance of x * scalar over `dims`, which stay as ones.

        The divisor is the count, less one with `correction`; other arguments as for `reduce`.
        """
        ...

    def standard_deviation(
        self,
        x: Tensor,
        dims: tuple[int, ...],
        correction: bool,
        *,
        scalar: float = 1.0,
        compute: Compute | None = None,
        out: str = "bfloat16",
    ) -> Tensor:
        """The root of `variance`."""
        ...

    def tile_sum(
        self,
        x: Tensor,
        dim: int,
        *,
        compute: Compute | None = None,
        out: str = "bfloat16",
    ) -> Tensor:
        """Contents summed over a leading dimension, which stays as one, tile by tile.

        Args:
            x: [..., H, W] contents.
            dim: a dimension before the last two.
            compute: compute kernel configuration; None for a destination of 16 bits.
            out: the result's format.
        """
        ...

    def product(
        self, x: Tensor, dim: int | None, *, dtype: str = "bfloat16", out: str = "bfloat16"
    ) -> Tensor:
        """The product of contents over `dim`, which stays as one; of all of them where it is None.

        Args:
            x: contents; [..., H, W] in whole tiles, padded with ones, where `dim` is None.
            dim: a dimension, or None.
            dtype, out: the operand's and the result's format.
        """
        ...

    def group_norm(
        self,
        x: Tensor,
        groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        epsilon: float,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * weight + bias, over each group of channels.

        Args:
            x: [..., S, C] contents, without padding.
            groups: how many groups the C channels make, over which S is reduced too.
            weight, bias: [C] contents, or None.
            epsilon, compute, formats: as for `rms_norm`.

        Returns:
            [..., S, C] float32.
        """
        ...

    # --- scans -----------------------------------------------------------------------------------

    def cumulative(
        self,
        operation: str,
        x: Tensor,
        dim: int,
        *,
        reverse: bool = False,
        compensated: bool = False,
        out: str = "bfloat16",
    ) -> Tensor:
        """Running sums or products along `dim`.

        Args:
            operation: "sum" or "product".
            x: contents; integers keep 32 bits.
            dim: dimension.
            reverse: whether it starts at the end.
            compensated: whether a sum carries the rounding error of the step before (Kahan).
            out: the result's format.

        Returns:
            Values of x's shape.
        """
        ...

    def moving_average(
        self, x: Tensor, alpha: float, *, compute: Compute | None = None, out: str = "bfloat16"
    ) -> Tensor:
        """y[t] = alpha * y[t - 1] + (1 - alpha) * x[t] along the last dimension, y[-1] = 0."""
        ...

    def state_scan(
        self, a: Tensor, bx: Tensor, state: Tensor, *, compute: Compute | None = None
    ) -> Tensor:
        """h[l] = a[l] * h[l - 1] + bx[l] of each column.

        Args:
            a, bx: [..., L, W] contents of bfloat16 values.
            state: [W], h before the first row.
            compute: of which the fidelity counts; None for HiFi4.

        Returns:
            [..., L, W] states.
        """
        ...

    def latent_product(self, a: Tensor, b: Tensor, *, compute: Compute | None = None) -> Tensor:
        """a * b of one shape, by the matrix unit; `compute` as for `state_scan`."""
        ...

    def latent_sum(self, x: Tensor, *, compute: Compute | None = None) -> Tensor:
        """[..., 32 H] to [..., H]: sums of 32 columns each; `compute` as for `state_scan`."""
        ...

    def scattered(
        self,
        x: Tensor,
        index: Tensor,
        source: Tensor,
        dim: int,
        reduction: str | None = None,
    ) -> Tensor:
        """`source` written into `x` at `index` along `dim`, one element after the other.

        Args:
            x: contents of any shape.
            index: int64 of x's rank, no dimension but `dim` longer than x's. An index beyond `x`
                is passed over.
            source: contents of at least the index's shape.
            dim: dimension.
            reduction: "add", "multiply", "amax" or "amin" with what is there; None to replace it.
        """
        ...

    # --- order -----------------------------------------------------------------------------------

    def sorted_rows(
        self, x: Tensor, *, descending: bool = False, stable: bool = False, dtype: str = "bfloat16"
    ) -> tuple[Tensor, Tensor]:
        """Rows [..., D] in order, and int64 of that shape: where each element was."""
        ...

    def top_of_rows(
        self,
        x: Tensor,
        count: int,
        *,
        largest: bool = True,
        stable: bool = False,
        dtype: str = "bfloat16",
    ) -> tuple[Tensor, Tensor]:
        """The first `count` of each row [..., D] in order, and int64: where they were."""
        ...

    # --- choice of tokens and experts ------------------------------------------------------------

    def sampled(
        self, x: Tensor, k: Tensor, p: Tensor, temperature: Tensor, chances: Tensor
    ) -> Tensor:
        """int64 [B]: the place of a token of each row, sampled among the k most likely.

        Args:
            x: [B, D] logits.
            k: [B] integers in 1..32.
            p: [B] bfloat16; as many of the k as make up more than this share take part.
            temperature: [B] bfloat16 factor of the logits (one over the temperature).
            chances: [B] float32 in [0, 1).
        """
        ...

    def expert_share(self, x: Tensor, expert_mask: Tensor, top_mask: Tensor, k: int) -> Tensor:
        """[..., 1]: the softmax weight of expert 0 among the k largest of rows [..., D]; else 0.

        `expert_mask` is added to the rows, `top_mask` [..., k] to the k largest.
        """
        ...

    def grouped_gate(
        self, scores: Tensor, bias: Tensor, gate: GroupedGate
    ) -> tuple[Tensor, Tensor]:
        """Weights and int64 places [..., K] of the experts that rows [..., E] go to."""
        ...

    # --- norms of rows that are split among cores ------------------------------------------------

    def split_layer_norm(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        split: Split,
        epsilon: float,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """`layer_norm` of rows whose columns lie on several cores, as `split` says."""
        ...

    def split_rms_norm(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        split: Split,
        epsilon: float,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """`rms_norm` of rows whose columns lie on several cores, as `split` says."""
        ...

    def split_statistics(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        *,
        split: Split,
        centred: bool,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> tuple[Tensor, Tensor]:
        """What a chip tells the others of its columns, which lie on several cores.

        Other arguments are those of `norm_statistics`.

        Returns:
            Means, not sums, in the first column of each tile: of the squares [..., S, 32], or of
            the columns and then of their squares [..., S, 64] if `centred`; and x + residual.
        """
        ...

    def split_norm_from_statistics(
        self,
        x: Tensor,
        statistics: Tensor,
        parameters: Sequence[Tensor | None] = (None, None),
        *,
        centred: bool,
        epsilon: float,
        compute: Compute | None = None,
        formats: Formats = BFLOAT16,
    ) -> Tensor:
        """A chip's columns of normalised rows, from all chips' `split_statistics` side by side.

        Args:
            parameters: weight and bias, [..., W] contents or None.

        Other arguments and the result are those of `norm_from_statistics`.
        """
        ...
