"""TTNN's defaults for a matrix product without a config: blocks of K, and the compute config.

The block size changes the result, because sums are rounded once more in every block. The rules
restate TTNN's matmul_program_config.cpp. At every shape of test_matrix_plan.py they give the
`in0_block_w` that ttnn 0.81.1 builds its programs with.
"""

from ttnn_emulator.arithmetic.compute import Compute, Product
from ttnn_emulator.arithmetic.formats import TILE, TILE_BYTES, ceil_div

# Bytes of a core's L1 that tensors and circular buffers share on an n150.
L1_BYTES = 1_393_312

# A matrix more than this many times longer than wide is cut along that side alone.
_NARROW_RATIO = 8

# Tiles of K in a block when a core grid is passed (halved and so on until it divides).
_CORE_GRID_BLOCK = 4


def default_compute(activation: str, weight: str, out: str, planned: bool) -> Compute:
    """The compute config TTNN takes when none is given.

    Args:
        activation, weight, out: dtypes by name.
        planned: whether the caller passed a program config or a core grid.
    """
    blocks = {"bfloat8_b", "bfloat4_b"}
    if activation == weight == "float32":
        fidelity = "HiFi3"
    elif planned or {activation, weight} <= blocks:
        fidelity = "LoFi"
    else:
        fidelity = "HiFi2"
    return Compute(fidelity, fp32_dest_acc=out == "float32", packer_l1_acc=out != "float32")


def _is_narrow(height: int, width: int, dram: bool) -> bool:
    """Whether TTNN cuts only the longer side: one core then sees all of the other."""
    if max(height, width) // min(height, width) > _NARROW_RATIO:
        return True
    return dram and min(height, width) <= TILE


def _buffer_bytes(product: Product, height: int, width: int, block: int) -> int:
    """Estimated bytes of one core's circular buffers, sizes in tiles; inputs double buffered."""
    activation = TILE_BYTES[product.activation]
    if product.fp32_dest_acc:
        partial = TILE_BYTES["float32"]
    else:
        partial = max(TILE_BYTES[product.out], TILE_BYTES["bfloat16"])
    inputs = 2 * block * (height * activation + width * TILE_BYTES[product.weight])
    bias = width * TILE_BYTES[product.bias] if product.bias else 0
    return inputs + height * width * (activation + partial) + bias


def _divisors(value: int) -> list[int]:
    return [divisor for divisor in range(value, 0, -1) if value % divisor == 0]


def _output_blocks(height: int, width: int) -> list[tuple[int, int]]:
    """Ways to cut a core's output, largest first; of equal sizes the one nearest a square."""
    best: dict[int, tuple[int, int]] = {}
    for rows in [height, 1, *_divisors(height)[1:-1]]:
        for columns in [width, 1, *_divisors(width)[1:-1]]:
            ratio = max(rows, columns) / min(rows, columns)
            other = best.get(rows * columns)
            if other is None or ratio <= max(other) / min(other):
                best[rows * columns] = (rows, columns)
    return [best[size] for size in sorted(best, reverse=True)]


def _fitting_block(product: Product, height: int, width: int, block: int, l1_bytes: int) -> int:
    """The largest block of K that fits beside the largest output block that leaves room for one."""
    for rows, columns in _output_blocks(height, width):
        for divisor in _divisors(block):
            if _buffer_bytes(product, rows, columns, divisor) < l1_bytes:
                return divisor
    return 1


def _k_block_through_l1(
    product: Product, height: int, width: int, depth: int, grid: tuple[int, int], l1_bytes: int
) -> int:
    """The rule where an input or the output lies in L1; sizes in tiles.

    TTNN first looks for the largest square of output tiles that fits a core. Products of one such
    square, and those with more of them than cores, go to a kernel without blocks (bmm.cpp).
    """
    pairs = 2 if depth % 2 == 0 else 1
    square = next(
        (side for side in (16, 8, 4, 2) if _buffer_bytes(product, side, side, 2) < l1_bytes), 1
    )
    down, across = ceil_div(height, square), ceil_div(width, square)
    single = down == across == 1
    if down * across > grid[0] * grid[1] or (single and depth % 2):
        return depth
    if _is_narrow(height * TILE, width * TILE, dram=False):
        return pairs
    if single or down > grid[1] or across > grid[0]:
        return depth
    return pairs


def default_k_block(
    product: Product, grid: tuple[int, int] = (8, 8), l1_bytes: int = L1_BYTES
) -> int:
    """Tiles of K in one block (in0_block_w) without program config and core grid.

    Args:
        product: a `Product`; batch dimensions do not matter.
        grid: (columns, rows) of worker cores: (8, 8) on an n150, (8, 9) where 72 cores are free.
        l1_bytes: L1 of a core below the lowest tensor in it.

    Returns:
        A divisor of K in tiles; all of K where the kernel has no blocks.
    """
    height, width = ceil_div(product.rows, TILE), ceil_div(product.columns, TILE)
    depth = ceil_div(product.depth, TILE)
    if not product.dram:
        return _k_block_through_l1(product, height, width, depth, grid, l1_bytes)
    if _is_narrow(height * TILE, width * TILE, dram=True):
        return 2 if depth % 2 == 0 else 1
    if depth % grid[0]:
        return 1
    per_core = ceil_div(height, grid[1]), ceil_div(width, grid[0])
    return _fitting_block(product, *per_core, depth // grid[0], l1_bytes)


def core_grid_k_block(product: Product, core_grid: tuple[int, int]) -> int:
    """Tiles of K in one block when a `core_grid` (columns, rows) is passed to the op."""
    height, width = ceil_div(product.rows, TILE), ceil_div(product.columns, TILE)
    depth = ceil_div(product.depth, TILE)
    within_tile = min(height, width, depth) == 1
    if within_tile or _is_narrow(height * TILE, width * TILE, dram=False):
        block = ceil_div(depth, core_grid[0] * core_grid[1])
    else:
        block = _CORE_GRID_BLOCK
    while depth % block:
        block -= 1
    return block
