"""What products, norms and elementwise operations make of their operands.

Functions as `semantics` wants them.
"""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import (
    ACCURATE,
    FUNCTIONS,
    Due,
    NoGolden,
    applied,
    compute_of,
    functions_of,
)


def linear(
    made,
    input_tensor_a,
    input_tensor_b,
    *,
    bias=None,
    transpose_a=False,
    transpose_b=False,
    activation=None,
    compute_kernel_config=None,
    program_config=None,
    **_,
):
    a = input_tensor_a.mT if transpose_a else input_tensor_a
    b = input_tensor_b.mT if transpose_b else input_tensor_b
    fused = getattr(program_config, "fused_activation", None)
    names = functions_of([one for one in (fused, activation) if one])
    product = a.double() @ b.double()
    if bias is not None:
        product = product + bias.double()
    value = applied(product, names)

    def floor():
        how = ACCURATE if made.accurate else compute_of(compute_kernel_config)
        row = None if bias is None else bias.flatten()
        if compute_kernel_config is not None and not made.accurate:
            how |= {"packer_l1_acc": compute_kernel_config.packer_l1_acc}
        parts = [op_floors.matmul(a, b, bias=row, out=made.out, **how)]
        parts += [op_floors.vector(value, made.out, name) for name in names]
        return op_floors.chain(*parts)

    return Due(value, floor)


def rms_norm(
    made,
    input_tensor,
    *,
    epsilon=1e-12,
    weight=None,
    bias=None,
    residual_input_tensor=None,
    compute_kernel_config=None,
    **_,
):
    if bias is not None:
        raise NoGolden("rms_norm with a bias has no golden.")
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    row = None if weight is None else weight.reshape(-1)
    value = x.double() * (x.double().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    if row is not None:
        value = value * row.double()

    def floor():
        how = ACCURATE if made.accurate else compute_of(compute_kernel_config)
        found = op_floors.rms_norm(x, row, epsilon, out=made.out, **how)
        return (
            found
            if residual_input_tensor is None
            else op_floors.chain(found, op_floors.output(x.double()))
        )

    return Due(value, floor)


def softmax(made, input_tensor, dim=-1, **_):
    value = torch.softmax(input_tensor.double(), dim)
    return Due(value, lambda: op_floors.softmax(input_tensor, dim=dim, out=made.out))


def binary(function):
    def semantic(
        made,
        input_tensor_a,
        input_tensor_b,
        *,
        activations=(),
        input_tensor_a_activations=(),
        input_tensor_b_activations=(),
        **_,
    ):
        lists = (input_tensor_a_activations, input_tensor_b_activations, activations)
        first, second, after = map(functions_of, lists)
        a, b = (x.double() if torch.is_tensor(x) else x for x in (input_tensor_a, input_tensor_b))
        value = applied(function(applied(a, first), applied(b, second)), after)
        names = [*first, *second, *after]

        def floor():
            parts = [op_floors.vector(value, made.out, name) for name in names]
            return op_floors.chain(op_floors.output(value, made.out), *parts)

        return Due(value, floor)

    return semantic


def unary(name):
    def semantic(made, input_tensor, **_):
        value = FUNCTIONS[name](input_tensor.double())
        return Due(value, lambda: op_floors.vector(value, made.out, name))

    return semantic


def swiglu(made, input_tensor, dim=-1, **_):
    first, gate = input_tensor.double().chunk(2, dim)
    value = first * FUNCTIONS["silu"](gate)
    return Due(value, lambda: op_floors.chain(*[op_floors.vector(value, made.out, "silu")] * 2))
