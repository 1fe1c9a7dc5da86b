"""Matrix products."""

from emulator.ops.eltwise_unary import activated

TILE_ROWS = 32


def matmul(
    launch,
    input_tensor_a,
    input_tensor_b,
    *,
    transpose_a=False,
    transpose_b=False,
    dtype=None,
    activation=None,
    compute_kernel_config=None,
    optional_output_tensor=None,
    # how the work is spread over cores and circular buffers
    program_config=None,
    core_grid=None,
    global_cb=None,
    sub_device_id=None,
    prefetcher_pipes=(),
):
    return linear(
        launch,
        input_tensor_a,
        input_tensor_b,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        activation=activation,
        compute_kernel_config=compute_kernel_config,
        program_config=program_config,
    )


def linear(
    launch,
    input_tensor_a,
    input_tensor_b,
    *,
    bias=None,
    transpose_a=False,
    transpose_b=False,
    dtype=None,
    activation=None,
    compute_kernel_config=None,
    optional_output_tensor=None,
    # how the work is spread over cores and circular buffers
    program_config=None,
    core_grid=None,
    global_cb=None,
    sub_device_id=None,
    prefetcher_pipes=(),
):
    """a @ b + bias, then the activation. Padding of the inputs is not read; the output's is zero.

    An activation may come by `activation` or within the program_config, as TTNN takes it from both.
    """
    a = _matrix(input_tensor_a, transpose_a, vector_dim=0)
    b = _matrix(input_tensor_b, transpose_b, vector_dim=-1)
    fused_bias = bias is not None and bias.padded_shape[-2] <= TILE_ROWS
    product = launch.math.matmul(
        a,
        b,
        _first_row(bias) if fused_bias else None,
        dtype=launch.output.dtype,
        compute_kernel_config=compute_kernel_config,
    ).reshape(launch.output.shape)
    if bias is not None and not fused_bias:
        product = launch.math.binary("add", product, bias.logical)
    fused = getattr(program_config, "fused_activation", None)
    return activated(launch, product, [x for x in (fused, activation) if x is not None])


def _matrix(operand, transpose, vector_dim):
    values = operand.logical
    if values.dim() == 1:
        values = values.unsqueeze(vector_dim)
    return values.mT if transpose else values


def _first_row(bias):
    """[..., 1, N]: a bias of one tile row is fused, and the kernel adds its first row to all rows.

    A higher one is added by an operation of its own (seen in TTNN's graph of ttnn.linear).
    """
    rows = bias.logical.reshape(1, -1) if len(bias.shape) == 1 else bias.logical
    return rows[..., :1, :]


KERNELS = {"ttnn.linear": linear, "ttnn.matmul": matmul}
