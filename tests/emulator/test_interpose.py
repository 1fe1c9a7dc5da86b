"""Layers over other people's attributes: their order is checked, and they undo themselves."""

import types

import pytest
import ttnn

import ttnn_emulator
from ttnn_emulator.interpose import Layer, Level, OutOfOrder


@pytest.fixture
def owner():
    return types.SimpleNamespace(call="genuine")


def test_a_block_puts_back_what_it_replaced(owner):
    def fails_within():
        with Layer("one", Level.STAND_IN) as layer:
            layer.replace(owner, "call", "other")
            assert owner.call == "other"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_within()
    assert owner.call == "genuine"


def test_an_outer_layer_wraps_an_inner_one(owner):
    with Layer("inner", Level.STAND_IN) as inner:
        inner.replace(owner, "call", "stand-in")
        with Layer("outer", Level.OBSERVER) as outer:
            outer.wrap(owner, "call", lambda below: f"observed {below}")
            assert owner.call == "observed stand-in"
        assert owner.call == "stand-in"
    assert owner.call == "genuine"


def test_an_inner_layer_cannot_come_after_an_outer_one(owner):
    with Layer("outer", Level.OBSERVER) as outer:
        outer.replace(owner, "call", "observed")
        with pytest.raises(OutOfOrder, match=r"inner must replace .*call before outer does"):
            Layer("inner", Level.STAND_IN).replace(owner, "call", "stand-in")
        assert owner.call == "observed"
    assert owner.call == "genuine"


def test_an_inner_layer_cannot_end_before_an_outer_one(owner):
    inner, outer = Layer("inner", Level.STAND_IN), Layer("outer", Level.FRAME)
    inner.replace(owner, "call", "stand-in")
    outer.replace(owner, "call", "framed")
    with pytest.raises(OutOfOrder, match="inner cannot end before outer does"):
        inner.undo()
    assert owner.call == "framed"
    outer.undo()
    inner.undo()
    assert owner.call == "genuine"


def test_attributes_have_an_order_of_their_own(owner):
    """Layers are ordered for each attribute separately."""
    other = types.SimpleNamespace(call="genuine too")
    with Layer("outer", Level.OBSERVER) as outer, Layer("inner", Level.STAND_IN) as inner:
        outer.replace(owner, "call", "observed")
        inner.replace(other, "call", "stand-in")


def test_the_emulation_stays_under_what_observes_it(device):
    with Layer("an observer", Level.OBSERVER) as layer:
        layer.wrap(ttnn.add, "function", lambda below: below)
        with pytest.raises(OutOfOrder, match=r"the emulated device cannot end before an observer"):
            ttnn_emulator.uninstall()
        assert ttnn_emulator.installed_arithmetic() is not None


def test_a_replaced_binding_ends_with_its_block(device):
    originals = ttnn_emulator.bindings_in_use()
    ones = ttnn.full([32, 32], 1.0, layout=ttnn.TILE_LAYOUT, device=device)
    with ttnn_emulator.binding_replaced("ttnn.abs", _negated):
        assert ttnn_emulator.bindings_in_use()["ttnn.abs"] is not originals["ttnn.abs"]
        assert (ttnn.to_torch(ttnn.abs(ones)) == -1).all()
    assert ttnn_emulator.bindings_in_use() == originals
    assert (ttnn.to_torch(ttnn.abs(ones)) == 1).all()


def _negated(binding):
    def negated(launch, *operands, **named):
        return -binding(launch, *operands, **named)

    return negated
