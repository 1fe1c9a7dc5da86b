"""Activations of one tensor, and functions of one value that models are made of."""

import torch
from torch.nn import functional
from transformers.activations import ACT2FN

from .eltwise import activation, by_function, of_integers, positive, unary


def function(name, golden, domain=lambda x: x, **limits):
    """An entry for a function of floats alone."""
    return unary(name, golden, by_function(name), domain, errors=(of_integers(name),), **limits)


def selu(x):
    """With the constants of TTNN, whose float32 ends earlier than torch's."""
    return 1.0506999492645264 * functional.elu(x, 1.673259973526001)


OPS = [
    activation("sigmoid"),
    activation("tanh"),
    activation("mish"),
    unary("relu6", ACT2FN["relu6"], None),  # exact
    function("hardswish", functional.hardswish),
    function("hardsigmoid", functional.hardsigmoid),
    function("elu", functional.elu),
    function("selu", selu),
    function("softsign", functional.softsign),
    function("erf", torch.erf),
    function("log", torch.log, positive),
    function("sqrt", torch.sqrt, positive),
    unary("square", torch.square, by_function("square"), low=-60, high=60),
    unary("abs", torch.abs, None),  # exact
    unary("neg", torch.neg, by_function("neg")),  # a zero of a block format has no sign
]
