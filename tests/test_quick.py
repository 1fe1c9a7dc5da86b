"""What `--quick` leaves out is there, and leaves something of every tier."""

import pytest

from tests.support import quick

TIERS = sorted(
    path
    for path in quick.TESTS.iterdir()
    if any(path.glob("test_*.py")) and quick.LEFT_OUT.get(path.name) != quick.ANOTHER_SYSTEM
)


def test_what_is_left_out_exists():
    assert [place for place in quick.LEFT_OUT if not (quick.TESTS / place).exists()] == []


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_something_of_every_tier_is_run(tier):
    assert not quick.is_left_out(tier)
    assert [file for file in tier.glob("test_*.py") if not quick.is_left_out(file)]
