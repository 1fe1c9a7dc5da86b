"""The key/value cache on the device against a torch tensor that is written in the same way.

B users, S rows of a prompt, K kv heads, D head_dim, C cache length, P pages of a paged cache.
"""

import torch
import ttnn
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import TILE, in_rows, moved_to_cores, on_tiles, read

from .profiles import of_machines

USERS = st.sampled_from([1, 2, 3, 4])
N_KV_HEADS = st.sampled_from([1, 2, 8])
WIDTHS = st.sampled_from([32, 64, 96])

SKIP = -1  # as a position: the kernel leaves this user alone


def into_whole_tiles(rows):
    """[..., S, D] with zero rows behind, as a tensor's padding has them."""
    return torch.nn.functional.pad(rows, (0, 0, 0, -rows.shape[-2] % TILE))


class Cache(RuleBasedStateMachine):
    """Fills, updates and reads of a cache [B, K, C, D], bfloat16."""

    device = None  # of the test that runs the machine

    @initialize(
        users=USERS, heads=N_KV_HEADS, tiles=st.integers(1, 3), width=WIDTHS, seed=strategies.seeds
    )
    def a_cache_that_holds_something(self, users, heads, tiles, width, seed):
        self.model = strategies.wide_range(seed, users, heads, tiles * TILE, width)
        self.cache = on_tiles(self.device, self.model)
        self.buffer = self.cache.buffer_unique_id()
        self.model = self.model.clone()

    @property
    def length(self):
        return self.model.shape[2]

    @rule(data=st.data(), seed=strategies.seeds)
    def fill(self, data, seed):
        """A prompt into one user's rows from 0 on: whole tiles of them."""
        users, heads, length, width = self.model.shape
        user = data.draw(st.integers(0, users - 1), label="user")
        rows = data.draw(st.integers(1, length), label="rows")
        prompt = strategies.wide_range(seed, 1, heads, rows, width)
        ttnn.fill_cache(self.cache, on_tiles(self.device, prompt), user)
        padded = into_whole_tiles(prompt)[0]
        self.model[user, :, : padded.shape[1]] = padded

    @rule(data=st.data(), seed=strategies.seeds, as_tensor=st.booleans())
    def update(self, data, seed, as_tensor):
        """A row into every user's cache, each at a position of its own; some are skipped."""
        users, heads, length, width = self.model.shape
        lowest = SKIP if as_tensor else 0  # a list of positions knows no skipping
        positions = data.draw(
            st.lists(st.integers(lowest, length - 1), min_size=users, max_size=users),
            label="positions",
        )
        rows = strategies.wide_range(seed, 1, users, heads, width)
        where = {"update_idxs": positions}
        if as_tensor:
            where = {"update_idxs_tensor": in_rows(self.device, torch.tensor(positions))}
        ttnn.experimental.paged_update_cache(
            self.cache, moved_to_cores(on_tiles(self.device, rows)), **where
        )
        for user, position in enumerate(positions):
            if position != SKIP:
                self.model[user, :, position] = rows[0, user]

    @rule(data=st.data())
    def read_a_part(self, data):
        starts, ends = data.draw(strategies.slices(self.model.shape), label="starts, ends")
        part = self.model[tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))]
        assert_same(read(ttnn.slice(self.cache, starts, ends)), part)

    @rule(data=st.data())
    def attend_to_one_row(self, data):
        """Decode attention at position 0 reads one row of every user: that row is its result."""
        users, heads, _, width = self.model.shape
        q = on_tiles(self.device, torch.ones(1, users, heads, width))
        output = ttnn.transformer.scaled_dot_product_attention_decode(
            q, self.cache, self.cache, cur_pos=[0] * users
        )
        row = self.model[:, :, 0].double()
        # one weight, see test_attention_properties.py
        assert ((read(output)[0].double() - row).abs() <= 4 * 2.0**-7 * row.abs()).all()

    @invariant()
    def every_row_is_as_it_was_written(self):
        if hasattr(self, "cache"):
            assert_same(read(self.cache), self.model)

    @invariant()
    def the_cache_stays_where_it_is(self):
        if hasattr(self, "cache"):
            assert self.cache.buffer_unique_id() == self.buffer

    def teardown(self):
        self.__dict__.pop("cache", None)  # hypothesis keeps machines that failed


class PagedCache(RuleBasedStateMachine):
    """Fills and updates of pages [P, K, TILE, D] that a table [B, pages of a user] names."""

    device = None

    @initialize(
        data=st.data(),
        users=USERS,
        heads=N_KV_HEADS,
        pages=st.integers(1, 3),
        width=WIDTHS,
        seed=strategies.seeds,
    )
    def pages_that_hold_something(self, data, users, heads, pages, width, seed):
        spare = data.draw(st.integers(0, 3), label="spare pages")
        order = data.draw(st.permutations(range(users * pages + spare)), label="order")
        self.table = torch.tensor(order[: users * pages]).reshape(users, pages)
        self.model = strategies.wide_range(seed, len(order), heads, TILE, width)
        self.cache = on_tiles(self.device, self.model)
        self.model = self.model.clone()
        self.table_on_device = in_rows(self.device, self.table)

    @rule(data=st.data(), seed=strategies.seeds)
    def fill(self, data, seed):
        _, heads, _, width = self.model.shape
        users, pages = self.table.shape
        user = data.draw(st.integers(0, users - 1), label="user")
        rows = data.draw(st.integers(1, pages * TILE), label="rows")
        prompt = strategies.wide_range(seed, 1, heads, rows, width)
        ttnn.experimental.paged_fill_cache(
            self.cache, on_tiles(self.device, prompt), self.table_on_device, batch_idx=user
        )
        for page, part in zip(
            self.table[user], into_whole_tiles(prompt)[0].split(TILE, 1), strict=False
        ):
            self.model[page] = part

    @rule(data=st.data(), seed=strategies.seeds)
    def update(self, data, seed):
        _, heads, _, width = self.model.shape
        users, pages = self.table.shape
        position = st.integers(SKIP, pages * TILE - 1)
        positions = data.draw(st.lists(position, min_size=users, max_size=users), label="positions")
        rows = strategies.wide_range(seed, 1, users, heads, width)
        ttnn.experimental.paged_update_cache(
            self.cache,
            moved_to_cores(on_tiles(self.device, rows)),
            update_idxs_tensor=in_rows(self.device, torch.tensor(positions)),
            page_table=self.table_on_device,
        )
        for user, at in enumerate(positions):
            if at != SKIP:
                self.model[self.table[user, at // TILE], :, at % TILE] = rows[0, user]

    @invariant()
    def every_page_is_as_it_was_written(self):
        if hasattr(self, "cache"):
            assert_same(read(self.cache), self.model)

    def teardown(self):
        self.__dict__.pop("cache", None)


def run_on(device, machine):
    """hypothesis makes machines without arguments, so the device comes with the class."""
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"device": device}), settings=of_machines()
    )


def test_a_cache_holds_what_was_written_last(device):
    run_on(device, Cache)


def test_pages_hold_what_was_written_last(device):
    run_on(device, PagedCache)
