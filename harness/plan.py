"""Plans scoring: every request of a run as one prefix trie, so that what requests share is computed once.

Integers only: it knows no model and no text. A node is a token to compute; nodes are numbered in preorder, so that a
subtree is a run of numbers, and whatever a node must see of what lies before node ``c`` is on the path to ``c``:

    requests  a b c x        nodes   0 a            path of node 4: 0 1 4
              a b c y                1   b
              a b d z                2     c        reads x and y
              a b d e w              3     d        reads z
              (span: the last        4       e      reads w
               token of each)                       the last token of a request is only read, never computed
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.columns import Requests

Integers = npt.NDArray[np.int64]

_BLOCK = 4096  # neighbours compared at once
# Within this share of a unit's size, the cut goes where the path to be computed again is shortest.
_SLACK = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A trie of N nodes over n requests, and the P distinct (node, target) pairs whose log-probability is wanted.

    Shapes: order int64 [n], the requests in the order of the trie; token int32 [N]; depth int32 [N], 0 at a root;
    end int64 [N], the first node behind each node's subtree; first int64 [n + 1], where the nodes begin that request
    ``order[i]`` adds; shared int64 [n], how many tokens it has in common with the one before it; pair_node int64 [P],
    ascending, and pair_target int32 [P]; span_offsets int64 [n + 1] and span_pairs int64 [S]: the scored tokens of
    request ``order[i]`` are the pairs ``span_pairs[span_offsets[i]:span_offsets[i + 1]]``.
    """

    order: Integers
    token: npt.NDArray[np.int32]
    depth: npt.NDArray[np.int32]
    end: Integers
    first: Integers
    shared: Integers
    pair_node: Integers
    pair_target: npt.NDArray[np.int32]
    span_offsets: Integers
    span_pairs: Integers

    @property
    def n_nodes(self) -> int:
        """Distinct tokens to compute."""
        return len(self.token)

    @property
    def leaves(self) -> Integers:
        """The nodes with nothing below them, ascending."""
        return np.flatnonzero(self.end == np.arange(self.n_nodes) + 1)

    def pairs_of(self, begin: int, end: int) -> slice:
        """The pairs that are read off the nodes from ``begin`` up to ``end``."""
        low, high = np.searchsorted(self.pair_node, [begin, end])
        return slice(int(low), int(high))


def plan_requests(requests: Requests) -> Plan:
    """Merge requests into a trie. Their order does not matter, and equal ones cost nothing."""
    count = len(requests)
    inputs = requests.lengths - 1
    order = _sorted(requests)
    inputs = inputs[order]
    shared = _shared_with_previous(requests, order)
    first = np.zeros(count + 1, np.int64)
    np.cumsum(inputs - shared, out=first[1:])
    total = int(first[-1])

    token, depth, end = np.empty(total, np.int32), np.empty(total, np.int32), np.full(total, total, np.int64)
    starts = requests.starts[order]
    span_offsets = np.zeros(count + 1, np.int64)
    np.cumsum(inputs + 1 - starts, out=span_offsets[1:])
    span_node = np.empty(int(span_offsets[-1]), np.int64)
    path = np.empty(int(inputs.max(initial=0)), np.int64)  # to the request at hand
    length_before = 0
    for i, request in enumerate(order):
        keep, length, begin, stop = int(shared[i]), int(inputs[i]), int(first[i]), int(first[i + 1])
        end[path[keep:length_before]] = begin
        path[keep:length] = np.arange(begin, stop)
        token[begin:stop] = requests.row(request)[keep:length]
        depth[begin:stop] = np.arange(keep, length)
        span_node[span_offsets[i] : span_offsets[i + 1]] = path[starts[i] - 1 : length]
        length_before = length

    targets = [requests.row(request)[requests.starts[request] :] for request in order]
    target = np.concatenate(targets).astype(np.int64) if targets else np.zeros(0, np.int64)
    base = int(target.max(initial=0)) + 1
    pairs, span_pairs = np.unique(span_node * base + target, return_inverse=True)
    return Plan(
        order, token, depth, end, first, shared,
        pairs // base, (pairs % base).astype(np.int32), span_offsets, span_pairs.astype(np.int64),
    )  # fmt: skip


def work_units(plan: Plan, size: int) -> Integers:
    """Cut a plan into units of about ``size`` nodes, where little must be computed again by who starts there.

    Returns:
        Boundaries, int64 [U + 1]: unit ``u`` is ``plan.order[boundaries[u]:boundaries[u + 1]]``. Its nodes are a run,
        and before them come ``plan.shared[boundaries[u]]`` nodes of earlier units, the path to its first.
    """
    return np.array([0, *_cuts(plan, size)], np.int64)


def _cuts(plan: Plan, size: int) -> Iterator[int]:
    count, begin = len(plan.order), 0
    while begin < count:
        start = plan.first[begin]
        if begin + 1 == count or start + size >= plan.first[count]:
            begin = count
        else:
            low, high = np.searchsorted(plan.first, [start + (1 - _SLACK) * size, start + size + 1])
            high = max(int(high) - 1, begin + 1)
            low = min(max(int(low), begin + 1), high)
            begin = low + int(np.argmin(plan.shared[low : high + 1]))
        yield begin


def shares(plan: Plan, units: Integers, count: int) -> list[Integers]:
    """Divide the units among ``count`` workers: consecutive ones, of about equal cost. Gives each one's requests.

    The cost of a unit is the tokens that it computes and the rows of logits that it reads.
    """
    if len(units) < 2:
        return [np.zeros(0, np.int64) for _ in range(count)]
    cost = np.diff(plan.first[units]) + np.diff(plan.span_offsets[units])
    middle = np.cumsum(cost) - cost / 2
    owner = np.minimum((middle * count / max(1, cost.sum())).astype(np.int64), count - 1)
    bounds = units[np.searchsorted(owner, np.arange(count + 1))]
    return [plan.order[bounds[worker] : bounds[worker + 1]] for worker in range(count)]


def _sorted(requests: Requests) -> Integers:
    """Request indices by their inputs, token by token: a request comes right before those that continue it."""
    inputs = requests.tokens.astype(">u4").tobytes()  # as bytes, they compare like the numbers
    offsets = requests.offsets * 4
    keys = [inputs[begin : end - 4] for begin, end in pairwise(offsets)]
    return np.array(sorted(range(len(requests)), key=keys.__getitem__), np.int64)


def _shared_with_previous(requests: Requests, order: Integers) -> Integers:
    """How many input tokens each request has in common with the one before it in ``order``; 0 for the first."""
    shared = np.zeros(len(order), np.int64)
    inputs = requests.lengths - 1
    for begin in range(1, len(order), _BLOCK):
        one, other = order[begin - 1 : min(begin - 1 + _BLOCK, len(order) - 1)], order[begin : begin + _BLOCK]
        common = np.minimum(inputs[one], inputs[other])
        after = np.cumsum(common)
        place = np.arange(after[-1]) - np.repeat(after - common, common)
        left = requests.tokens[np.repeat(requests.offsets[one], common) + place]
        right = requests.tokens[np.repeat(requests.offsets[other], common) + place]
        differing = np.append(np.flatnonzero(left != right), after[-1])
        found = differing[np.searchsorted(differing, after - common)] - (after - common)
        shared[begin : begin + _BLOCK] = np.minimum(found, common)
    return shared
