"""What rounding a result once allows."""

import ttnn

HALF_ULP = {ttnn.bfloat16: 2.0**-8, ttnn.float32: 2.0**-24}  # relative to the value
FLOAT32_STEPS = 2.0**-20  # rounding of the float32 steps before, relative to the terms of a sum


def assert_rounded_once(actual, exact, terms=None):
    """A ttnn tensor is float64 `exact`, rounded once to the tensor's dtype.

    Args:
        actual: ttnn tensor.
        exact: float64 values due.
        terms: size of what was summed up where that may be larger than the sum, default `exact`.
    """
    assert tuple(actual.shape) == tuple(exact.shape)
    error = (ttnn.to_torch(actual).double() - exact).abs()
    terms = exact.abs() if terms is None else terms
    allowed = exact.abs() * HALF_ULP[actual.dtype] + terms * FLOAT32_STEPS
    worst = (error - allowed).argmax()
    assert (error <= allowed).all(), (
        f"element {worst}: {exact.flatten()[worst]:.9g} is off by {error.flatten()[worst]:.3g}, "
        f"one rounding allows {allowed.flatten()[worst]:.3g}"
    )
