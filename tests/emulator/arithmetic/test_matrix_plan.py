"""Blocks of K and compute configs against what TTNN asked its kernels for."""

import pytest

from ttnn_emulator.arithmetic.compute import Compute, Product
from ttnn_emulator.arithmetic.exact.matrix.matrix_plan import (
    core_grid_k_block,
    default_compute,
    default_k_block,
)

# Read from the compile-time arguments of ttnn 0.81.1 on a mocked n150 of 8x8 cores: M, and
# in0_block_w for (K, N) = Phi-3-mini's attention, gate-up and down projections.
PHI3_MINI = [
    # M, 3072x3072, 3072x9216, 3072x16384, 8192x3072
    (32, 2, 2, 2, 2),
    (128, 2, 2, 2, 2),
    (160, 2, 2, 2, 2),
    (256, 2, 2, 2, 2),
    (352, 12, 2, 2, 16),
    (512, 12, 2, 2, 16),
    (768, 12, 2, 2, 16),
    (1024, 12, 2, 2, 16),
    (1536, 12, 2, 2, 8),
    (2048, 12, 1, 2, 8),
    (4096, 4, 1, 2, 4),
]
SHAPES = [(3072, 3072), (3072, 9216), (3072, 16384), (8192, 3072)]


@pytest.mark.parametrize("row", PHI3_MINI)
def test_blocks_of_phi3_mini_are_those_ttnn_asks_for(row):
    rows, *blocks = row
    chosen = [default_k_block(Product(rows, *shape)) for shape in SHAPES]
    assert chosen == blocks


@pytest.mark.parametrize("rows", [32, 160, 512, 2048])
def test_the_vocabulary_is_wide_enough_to_be_cut_along_itself(rows):
    assert default_k_block(Product(rows, 3072, 32064)) == 2


def test_rows_of_cores_change_the_block_only_where_memory_does():
    # 72 cores have 9 rows: 16 instead of 15 tile rows a core, and the larger block fits no more.
    assert default_k_block(Product(1536, 8192, 3072), grid=(8, 8)) == 8
    assert default_k_block(Product(1536, 8192, 3072), grid=(8, 9)) == 8
    assert default_k_block(Product(2048, 3072, 9216), grid=(8, 8)) == 1
    assert default_k_block(Product(1280, 8192, 3072), grid=(8, 9)) == 16


# Read in the same way, tensors in L1: no blocks in a product of one square of output tiles.
@pytest.mark.parametrize(
    ("rows", "depth", "columns", "block"),
    [(96, 256, 256, 8), (256, 64, 32, 2), (128, 384, 64, 12), (32, 3072, 3072, 2)],
)
def test_tensors_in_l1_have_rules_of_their_own(rows, depth, columns, block):
    assert default_k_block(Product(rows, depth, columns, dram=False)) == block


def test_a_core_grid_has_rules_of_its_own():
    assert core_grid_k_block(Product(32, 3072, 3072), (8, 8)) == 2
    assert core_grid_k_block(Product(512, 3072, 3072), (8, 8)) == 4
    assert core_grid_k_block(Product(512, 96, 3072 // 8), (8, 8)) == 3


@pytest.mark.parametrize(
    ("activation", "weight", "out", "planned", "expected"),
    [
        (
            "bfloat16",
            "bfloat16",
            "bfloat16",
            False,
            Compute("HiFi2", fp32_dest_acc=False, packer_l1_acc=True),
        ),
        (
            "bfloat16",
            "bfloat8_b",
            "bfloat16",
            False,
            Compute("HiFi2", fp32_dest_acc=False, packer_l1_acc=True),
        ),
        (
            "bfloat16",
            "bfloat16",
            "bfloat16",
            True,
            Compute("LoFi", fp32_dest_acc=False, packer_l1_acc=True),
        ),
        (
            "bfloat16",
            "bfloat16",
            "float32",
            False,
            Compute("HiFi2", fp32_dest_acc=True, packer_l1_acc=False),
        ),
        (
            "bfloat8_b",
            "bfloat4_b",
            "bfloat8_b",
            False,
            Compute("LoFi", fp32_dest_acc=False, packer_l1_acc=True),
        ),
        (
            "float32",
            "float32",
            "float32",
            True,
            Compute("HiFi3", fp32_dest_acc=True, packer_l1_acc=False),
        ),
        (
            "float32",
            "float32",
            "bfloat16",
            False,
            Compute("HiFi3", fp32_dest_acc=False, packer_l1_acc=True),
        ),
    ],
)
def test_compute_defaults_are_those_ttnn_builds_its_kernels_with(
    activation, weight, out, planned, expected
):
    assert default_compute(activation, weight, out, planned) == expected
