"""Faults in how a layer is put together: every operation is right, and it is the wrong one.

The op tier cannot see them, the layer tier must.
"""

import ttnn

import model.phi3

from .inject import calls, in_layers, part

DecoderLayer = model.phi3.DecoderLayer


def attention_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = self.attention.prefill(self.input_norm(x), chunk)
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def mlp_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return self.mlp(self.mlp_norm(h))

    return faulty


def residual_after_the_norm(prefill):
    def faulty(self, x, chunk):
        normed = self.input_norm(x)
        h = ttnn.add(normed, self.attention.prefill(normed, chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def attention_and_mlp_in_parallel(prefill):
    """As GPT-J and Phi-2 have them."""

    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(x)))

    return faulty


def gate_and_up_exchanged(multiply):
    def faulty(gate, up, **kwargs):
        return multiply(up, gate, **kwargs)

    return faulty


def in_bfloat8(as_tensor):
    """Weights go to the device in a format of fewer bits."""

    def faulty(tensor, dtype=None, layout=None, **kwargs):
        if dtype == ttnn.bfloat16 and layout == ttnn.TILE_LAYOUT:
            dtype = ttnn.bfloat8_b
        return as_tensor(tensor, dtype=dtype, layout=layout, **kwargs)

    return faulty


FAULTS = [
    in_layers(
        "attention's residual dropped",
        part(DecoderLayer, "prefill", attention_residual_dropped),
        "add",
        place=("add", 0),
    ),
    in_layers(
        "MLP's residual dropped",
        part(DecoderLayer, "prefill", mlp_residual_dropped),
        "add",
        place=("add", 0),
    ),
    in_layers(
        "residual taken after the norm",
        part(DecoderLayer, "prefill", residual_after_the_norm),
        "add",
        place=("add", 0),
    ),
    in_layers(
        "attention and MLP in parallel",
        part(DecoderLayer, "prefill", attention_and_mlp_in_parallel),
        "add",
        place=("rms_norm", 0),
    ),
    in_layers(
        "gate and up exchanged",
        calls("multiply", gate_and_up_exchanged),
        "multiply_silu",
        place=("multiply", 0),
    ),
    in_layers(
        "model's weights in bfp8",
        calls("as_tensor", in_bfloat8),
        "linear",
        place=("rms_norm", 0),  # the norm's weight is the first one
    ),
]
