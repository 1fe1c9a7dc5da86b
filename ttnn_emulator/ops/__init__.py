"""Kernels of TTNN's operations, one module per family.

Each module has a table `KERNELS` from an operation's full name to its kernel, a function
`kernel(launch, *args, **kwargs)` with the operation's own parameter names (see
`ttnn_emulator.dispatch.launching`).
"""

from ttnn_emulator.ops import (
    attention,
    creation,
    eltwise_binary,
    eltwise_unary,
    embedding,
    heads,
    kv_cache,
    matmul,
    movement,
    normalization,
    reduction,
    rotary,
)

FAMILIES = (
    attention,
    creation,
    eltwise_binary,
    eltwise_unary,
    embedding,
    heads,
    kv_cache,
    matmul,
    movement,
    normalization,
    reduction,
    rotary,
)

KERNELS = {name: kernel for family in FAMILIES for name, kernel in family.KERNELS.items()}

# Operation -> the module of its kernel, such as "attention".
FAMILY_OF = {
    name: family.__name__.rpartition(".")[2] for family in FAMILIES for name in family.KERNELS
}
