"""The plan of a run: against a trie of nested dictionaries, built from the same requests."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import Row, pack

from harness.plan import Plan, plan_requests, shares, work_units

Trie = dict[int, Any]


@st.composite
def many_rows(draw: st.DrawFn) -> list[Row]:
    """Rows over few tokens, so that they share a lot; large ids too, whose bytes must sort like numbers."""
    alphabet = st.sampled_from([0, 1, 2, 255, 256, 70_000])
    sequences = draw(st.lists(st.lists(alphabet, min_size=2, max_size=9), max_size=14))
    return [(tokens, draw(st.integers(1, len(tokens) - 1))) for tokens in sequences]


def preorder(trie: Trie, depth: int = 0) -> list[tuple[int, int, int]]:
    """(token, depth, size of its subtree) of every node."""
    found = []
    for token in sorted(trie):
        below = preorder(trie[token], depth + 1)
        found += [(token, depth, len(below) + 1), *below]
    return found


def paths(plan: Plan) -> list[tuple[int, ...]]:
    """The tokens from the root to each node, from depths alone."""
    found: list[tuple[int, ...]] = []
    stack: list[int] = []
    for token, depth in zip(plan.token.tolist(), plan.depth.tolist(), strict=True):
        stack = [*stack[:depth], token]
        found.append(tuple(stack))
    return found


@given(many_rows())
def test_nodes_are_those_of_a_trie_in_preorder(rows: list[Row]) -> None:
    trie: Trie = {}
    for tokens, _ in rows:
        at = trie
        for token in tokens[:-1]:
            at = at.setdefault(token, {})
    plan = plan_requests(pack(rows))
    sizes = plan.end - np.arange(plan.n_nodes)
    assert list(zip(plan.token.tolist(), plan.depth.tolist(), sizes.tolist(), strict=True)) == preorder(trie)


@given(many_rows())
def test_every_scored_token_is_read_off_the_node_before_it(rows: list[Row]) -> None:
    plan = plan_requests(pack(rows))
    path = paths(plan)
    read = [(path[node], int(target)) for node, target in zip(plan.pair_node, plan.pair_target, strict=True)]
    assert sorted(plan.order.tolist()) == list(range(len(rows)))
    for i, request in enumerate(plan.order):
        tokens, start = rows[request]
        wanted = [(tuple(tokens[:place]), tokens[place]) for place in range(start, len(tokens))]
        assert [read[pair] for pair in plan.span_pairs[plan.span_offsets[i] : plan.span_offsets[i + 1]]] == wanted
    assert len(set(read)) == len(read)
    assert len(read) == len(set(plan.span_pairs.tolist()))
    assert (np.diff(plan.pair_node) >= 0).all()


@given(many_rows(), st.randoms(use_true_random=False))
def test_the_order_of_requests_does_not_change_the_trie(rows: list[Row], rng: Any) -> None:
    shuffled = rng.sample(rows, len(rows))
    one, other = plan_requests(pack(rows)), plan_requests(pack(shuffled))
    for name in ("token", "depth", "end", "pair_node", "pair_target"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@given(many_rows())
def test_leaves_are_what_no_path_goes_through(rows: list[Row]) -> None:
    plan = plan_requests(pack(rows))
    path = paths(plan)
    inner = {one[:-1] for one in path}
    assert [path[leaf] for leaf in plan.leaves] == [one for one in path if one not in inner]


@given(many_rows(), st.integers(1, 30))
def test_units_hold_every_request_once_and_all_nodes(rows: list[Row], size: int) -> None:
    plan = plan_requests(pack(rows))
    units = work_units(plan, size)
    assert units[0] == 0
    assert units[-1] == len(rows)
    assert (np.diff(units) > 0).all()
    for begin, end in pairwise(units):
        nodes = plan.first[end] - plan.first[begin]
        assert nodes <= size or end - begin == 1


@given(many_rows(), st.integers(1, 12), st.integers(1, 4))
def test_shares_compute_the_trie_and_their_paths_to_it(rows: list[Row], size: int, workers: int) -> None:
    requests = pack(rows)
    plan = plan_requests(requests)
    units = work_units(plan, size)
    parts = shares(plan, units, workers)
    assert len(parts) == workers
    assert np.concatenate(parts).tolist() == plan.order.tolist()
    computed = sum(plan_requests(requests.take(part)).n_nodes for part in parts)
    begins = np.cumsum([0, *map(len, parts)])[:-1]
    again = sum(int(plan.shared[begin]) for begin, part in zip(begins, parts, strict=True) if len(part))
    assert computed == plan.n_nodes + again


def test_units_are_cut_where_paths_are_short() -> None:
    shots = [7] * 20
    rows = [([item, *shots, answer, 9], 22) for item in range(8) for answer in range(3)]
    plan = plan_requests(pack([(tokens, 22) for tokens, _ in rows]))
    assert (plan.shared[work_units(plan, 80)[:-1]] == 0).all()


def test_shares_are_even() -> None:
    rng = np.random.default_rng(0)
    rows = [(rng.integers(0, 50, 12).tolist(), 10) for _ in range(400)]
    requests = pack(rows)
    plan = plan_requests(requests)
    nodes = [plan_requests(requests.take(part)).n_nodes for part in shares(plan, work_units(plan, 64), 4)]
    assert max(nodes) < 1.1 * min(nodes)


@pytest.mark.parametrize("rows", [[], [([1, 2], 1)], [([1, 2], 1), ([1, 2], 1), ([1, 3], 1)]])
def test_degenerate_plans(rows: list[Row]) -> None:
    plan = plan_requests(pack(rows))
    assert plan.n_nodes == min(1, len(rows))
    assert len(plan.pair_node) == len({tuple(tokens) for tokens, _ in rows})
    assert [len(part) for part in shares(plan, work_units(plan, 8), 2)].count(0) >= 1
