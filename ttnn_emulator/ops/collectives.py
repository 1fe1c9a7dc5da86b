"""Collectives: operations in which the chips of a mesh exchange what they hold."""

from ttnn_emulator.dispatch import Binding

BINDINGS: dict[str, Binding] = {}
