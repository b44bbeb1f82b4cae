"""Which engine each kind of model gets: the fastest that scores as one row per request does, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from naive import score_rows
from small_models import CONFIGS, LONGEST, VOCABULARY, WINDOW, build, build_new, collect, few_shot_rows, pack

from harness.columns import Requests
from harness.errors import ModelError
from harness.scorers import Engines, RowScorer, Scorer, attention, spot_check, tail, tree
from harness.scorers.probe import borders
from harness.scorers.tree import PathCache

# "whole": attention that cannot be replaced, and looks at every column. "equal rows": batches of one length.
TREE = ["tree", "tree whole", "expand", "rows", "equal rows"]
WHOLE, EXPAND, ROWS, EQUAL = TREE[1:], TREE[2:], TREE[3:], TREE[4:]

# What the probe accepts of each. A new version of transformers may move a model up, and the test below still holds.
ACCEPTED = {
    "gpt2": TREE, "gpt_neox": TREE, "opt": TREE, "phi": TREE, "biogpt": TREE, "bert": TREE, "llama": TREE,
    "qwen2": TREE, "qwen3": TREE, "gpt_bigcode": TREE, "stablelm": TREE, "olmo2": TREE, "cohere": TREE,
    "mistral": TREE, "starcoder2": TREE, "phi3": TREE, "qwen2_window": TREE, "gemma2": TREE, "gemma3": TREE,
    "cohere2": TREE, "smollm3": TREE, "gpt_oss": TREE, "gemma4": TREE, "gemma3n": TREE, "deepseek_v2": TREE,
    "deepseek_v3": TREE, "mixtral": TREE, "qwen3_moe": TREE, "llama_yarn": TREE,
    "gptj": WHOLE, "codegen": WHOLE, "xglm": WHOLE, "falcon": WHOLE,
    "mpt": EXPAND, "gpt_neo": EXPAND, "bloom": EXPAND, "falcon_alibi": EXPAND, "trocr": EXPAND, "llama4": EXPAND,
    "mamba2": EXPAND, "falcon_h1": EXPAND, "bamba": EXPAND, "granitemoehybrid": EXPAND, "zamba2": EXPAND,
    "nemotron_h": EXPAND, "lfm2": EXPAND, "qwen3_next": EXPAND,
    "mamba": ROWS, "rwkv": ROWS, "jamba": ROWS, "recurrent_gemma": ROWS, "minimax": ROWS,
    "llama_dynamic": EQUAL, "gpt_neox_dynamic": EQUAL, "phi3_longrope": EQUAL, "deepseek_v32": EQUAL,
}  # fmt: skip
# Another of their kind is tested anyway.
SLOW = {
    "phi", "bert", "codegen", "qwen2", "olmo2", "starcoder2", "phi3", "gemma4", "gemma3n", "deepseek_v2", "llama_yarn",
    "gpt_neox_dynamic", "falcon_h1", "granitemoehybrid", "rwkv", "minimax", "gpt_neox", "biogpt", "qwen3", "stablelm",
    "cohere", "qwen2_window", "gemma3", "cohere2", "mixtral", "qwen3_moe", "xglm", "falcon", "bloom", "falcon_alibi",
    "zamba2", "nemotron_h", "jamba", "phi3_longrope",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kind(scorer: Any) -> str:
    if scorer.name == "tree":
        return "tree" if scorer._blocked else "tree whole"
    return "equal rows" if scorer.name == "rows" and scorer._equal_lengths else str(scorer.name)


def longest_input(requests: Requests) -> int:
    return int(requests.lengths.max()) - 1


def first(model: Any, longest: int = 80) -> Any:
    return next(Engines(model, longest=longest).choices())


# Every kind of model


def test_every_small_model_has_its_engines() -> None:
    assert ACCEPTED.keys() == CONFIGS.keys()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in ACCEPTED])
def test_every_engine_that_is_accepted_scores_as_one_row_per_request(name: str) -> None:
    model, requests = build_new(name), pack(few_shot_rows())
    expected = score_rows(model, requests, copies=True)
    accepted = []
    for choice in Engines(model, longest=longest_input(requests)).choices():
        accepted.append(kind(choice.scorer))
        found, _ = collect(choice.scorer, requests)
        for key, (values, greedy) in zip(map(bytes, requests.keys), expected, strict=True):
            assert found[key][0] == pytest.approx(values, rel=0, abs=1e-5 * len(values)), accepted
            assert found[key][1] == greedy
    assert accepted == ACCEPTED[name]


@pytest.mark.parametrize("name", ["mpt", "gpt_neo", "trocr", "mamba2", "llama_dynamic", "phi3_longrope"])
def test_a_tree_that_fails_without_a_word_is_far_off(name: str) -> None:
    """They are rejected for their numbers alone, so these must not be near to the tolerance."""
    choice = first(build_new(name))
    assert float(choice.rejected["tree"].removeprefix("differs from plain rows by ")) > 0.3


# Borders that the configuration names


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("gpt2", []),
        ("mistral", [WINDOW, LONGEST]),
        ("gpt_neo", [WINDOW, LONGEST]),
        ("recurrent_gemma", [WINDOW, LONGEST]),
        ("llama4", [WINDOW, LONGEST]),
        ("deepseek_v32", [WINDOW, LONGEST]),
        ("bamba", [16, LONGEST]),
        ("phi3_longrope", [32, LONGEST]),
        ("llama_yarn", [32, LONGEST]),
    ],
)
def test_borders_are_found_by_what_configurations_call_them(name: str, named: list[int]) -> None:
    assert borders(build(name).config) == named


@pytest.mark.parametrize("name", ["llama_dynamic", "phi3_longrope"])
@pytest.mark.parametrize(("longest", "engine"), [(31, "tree"), (32, "tree"), (33, "equal rows"), (34, "equal rows")])
def test_other_frequencies_matter_only_where_a_real_input_reaches_them(name: str, longest: int, engine: str) -> None:
    assert kind(first(build_new(name), longest).scorer) == engine


def test_a_far_border_is_crossed_by_rows_of_several_lengths_in_one_batch() -> None:
    model = build_new("llama_dynamic", max_position_embeddings=400)
    assert kind(first(model, 400).scorer) == "tree"
    assert kind(first(model, 401).scorer) == "equal rows"


def test_rows_of_one_length_do_not_depend_on_what_the_model_saw_before() -> None:
    """Dynamic rotary embeddings keep the frequencies of the longest row until a short one comes."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 90).tolist()
    model, requests = build_new("llama_dynamic"), pack([(tokens[:length], length - 2) for length in (40, 90, 35, 60)])
    expected = score_rows(model, requests, copies=True)
    for _ in range(2):
        found, _ = collect(RowScorer(model, equal_lengths=True), requests)
        for key, (values, _) in zip(map(bytes, requests.keys), expected, strict=True):
            assert found[key][0] == pytest.approx(values, rel=0, abs=1e-5)


# A tree that is wrong somewhere

Break = Callable[[pytest.MonkeyPatch], None]


def sees(change: Callable[..., torch.Tensor]) -> Break:
    """Change what is visible: boolean [queries, columns], of their numbers and depths."""
    right = attention._sees

    def wrong(query: Any, query_depth: Any, columns: Any, ends: Any, depth: Any, window: int | None) -> torch.Tensor:
        return change(right, query, query_depth, columns, ends, depth, window)

    return lambda patch: patch.setattr(attention, "_sees", wrong)


def once(other: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Break:
    """Toggle one pair of a query and an earlier column, among those that ``other`` gives, in all of the probe."""
    done: list[bool] = []

    def change(right: Any, query: Any, query_depth: Any, columns: Any, *rest: Any) -> torch.Tensor:
        seen = right(query, query_depth, columns, *rest).clone()
        places = other(seen, columns[..., None, :] < query[..., None]).nonzero()
        if len(places) and not done:
            done.append(True)
            seen[tuple(places[len(places) // 2].tolist())] ^= True
        return seen

    return sees(change)


def one_node_too_long(right: Any, query: Any, query_depth: Any, columns: Any, ends: Any, *rest: Any) -> torch.Tensor:
    return right(query, query_depth, columns, ends + 1, *rest)


def all_before(right: Any, query: Any, query_depth: Any, columns: Any, ends: Any, *rest: Any) -> torch.Tensor:
    return right(query, query_depth, columns, torch.full_like(ends, 10**6), *rest)


def window_of(change: Callable[[int], int | None]) -> Break:
    return sees(lambda right, *rest: right(*rest[:-1], None if rest[-1] is None else change(rest[-1])))


def plan_with(change: Callable[[Any], None]) -> Break:
    right = tree.plan_requests

    def wrong(requests: Requests) -> Any:
        plan = right(requests)
        change(plan)
        return plan

    return lambda patch: patch.setattr(tree, "plan_requests", wrong)


def below_is_deeper(plan: Any) -> None:
    plan.depth[plan.depth > 20] += 1


def one_is_deeper(plan: Any) -> None:
    plan.depth[np.flatnonzero(plan.depth == plan.depth.max() // 2)[0]] += 1


def cache_with(change: Callable[[Any], Any]) -> Break:
    """Choose other columns of what is kept: of nodes and states alike."""
    right = PathCache.keep

    def wrong(self: PathCache, *place: Any) -> None:
        right(self, *place)
        if len(self.nodes) > 2:
            kept = change(np.arange(len(self.nodes)))
            self.nodes = self.nodes[kept]
            for layer in self.states.layers:
                layer.keys, layer.values = layer.keys[:, :, kept], layer.values[:, :, kept]

    return lambda patch: patch.setattr(PathCache, "keep", wrong)


def states_of_a_neighbour(patch: pytest.MonkeyPatch) -> None:
    right = PathCache.keep

    def wrong(self: PathCache, *place: Any) -> None:
        right(self, *place)
        if len(self.nodes) > 2:
            for layer in self.states.layers:
                layer.keys = torch.cat([layer.keys[:, :, 1:], layer.keys[:, :, :1]], dim=2)

    patch.setattr(PathCache, "keep", wrong)


BROKEN: dict[str, Break] = {
    "a subtree is a node too long": sees(one_node_too_long),
    "siblings are seen": sees(all_before),
    "everything below a depth is one deeper": plan_with(below_is_deeper),
    "one node is one deeper": plan_with(one_is_deeper),
    "the cache lacks its first node": cache_with(lambda kept: kept[1:]),
    "the cache lacks its last node": cache_with(lambda kept: kept[:-1]),
    "the cache has a node twice": cache_with(lambda kept: kept[[0, *kept]]),
    "the cache has keys of another node": states_of_a_neighbour,
}
BROKEN_WINDOWS: dict[str, Break] = {
    "the window is wider by one": window_of(lambda width: width + 1),
    "the window is narrower by one": window_of(lambda width: width - 1),
    "there is no window": window_of(lambda width: None),
}
# One model that has everything, in sharp and in flat, is enough for a fast run, with one of learned positions.
FAST = {("gemma2", "sharp"), ("gemma2", "flat"), ("gpt2", "sharp"), ("mistral", "sharp")}
CASES = [
    *((name, how) for name in ("gpt2", "llama", "gemma2") for how in BROKEN),
    *((name, how) for name in ("mistral", "gemma2") for how in BROKEN_WINDOWS),
]
WEIGHTS = {"sharp": (0.3, torch.float32), "flat": (0.02, torch.float32), "half": (0.3, torch.bfloat16)}


@cache
def accepted_tree(name: str, weights: str) -> Any:
    """A model whose tree, which nothing has broken yet, is accepted."""
    initializer_range, dtype = WEIGHTS[weights]
    model = build_new(name, initializer_range=initializer_range).to(dtype)
    assert kind(first(model).scorer) == "tree"
    return model


@pytest.mark.parametrize(
    ("name", "how", "weights"),
    [
        pytest.param(name, how, weights, marks=[] if (name, weights) in FAST else pytest.mark.slow)
        for weights in WEIGHTS
        for name, how in CASES
    ],
)
def test_a_tree_that_is_wrong_somewhere_is_rejected(
    name: str, how: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = accepted_tree(name, weights)
    {**BROKEN, **BROKEN_WINDOWS}[how](monkeypatch)
    choice = first(model)
    assert kind(choice.scorer) == "expand"
    assert choice.rejected["tree"]


@pytest.mark.parametrize("initializer_range", [0.3, 0.02], ids=["sharp", "flat"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("which", ["more", "less"])
def test_a_single_query_that_sees_one_column_more_or_less_is_enough(
    which: str, name: str, initializer_range: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    once((lambda seen, earlier: ~seen & earlier) if which == "more" else torch.logical_and)(monkeypatch)
    choice = first(build(name, initializer_range=initializer_range))
    assert kind(choice.scorer) == "tree whole"  # which comes second, and is right
    assert choice.rejected["tree"].startswith("differs from plain rows")


class ShiftedRows(tail._Rows):
    def __init__(self, kept: Any, count: int) -> None:
        super().__init__((kept + 1) % count, count)


class LostRows(tail._Rows):
    def spread(self, *call: Any) -> torch.Tensor:
        return torch.zeros_like(super().spread(*call))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("rows", [ShiftedRows, LostRows])
def test_a_tail_that_is_wrong_is_rejected(
    rows: type[tail._Rows], name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = accepted_tree(name, weights)
    monkeypatch.setattr(tail, "_Rows", rows)
    choice = first(model)
    assert kind(choice.scorer) == "tree whole"
    assert choice.rejected["tree"].startswith("differs from plain rows")


def test_a_tail_that_begins_too_early_is_rejected() -> None:
    model = build_new("llama")
    assert kind(first(model).scorer) == "tree"
    tail._TAILS[model] += (model.model.layers[-1].self_attn.k_proj,)
    assert kind(first(model).scorer) == "tree whole"


def test_a_window_is_crossed_by_what_is_cached() -> None:
    """Or a window that cuts cached nodes wrongly would not show; the width of the probe's forwards is below it."""
    model = build_new("mistral", sliding_window=100)
    with pytest.MonkeyPatch.context() as patch:
        window_of(lambda width: width + 1)(patch)
        assert kind(first(model, 90).scorer) == "tree"
        assert kind(first(model, 110).scorer) == "expand"


# What is asked for by name, and what goes wrong


@pytest.mark.parametrize(("wanted", "name"), [("tree", "llama"), ("expand", "llama"), ("rows", "mpt")])
def test_an_engine_can_be_asked_for_by_name(wanted: Any, name: str) -> None:
    engines = list(Engines(build(name), longest=40, wanted=wanted).choices())
    assert {choice.scorer.name for choice in engines} == {wanted}


def test_an_engine_that_is_not_right_for_a_model_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"--engine tree: .*differs from plain rows by"):
        list(Engines(build("mpt"), longest=40, wanted="tree").choices())


def test_a_model_that_gives_no_numbers_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_new("llama")
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a finite number"):
        first(model)


def test_tokens_that_are_read_but_never_predicted_are_no_trouble() -> None:
    """Multimodal models have more embeddings than logits."""
    model = build_new("llama")
    model.model.embed_tokens = torch.nn.Embedding(VOCABULARY + 50, 32)
    assert kind(first(model).scorer) == "tree"


def test_the_check_on_real_requests_measures_the_largest_difference_per_token() -> None:
    model, requests = build("llama"), pack(few_shot_rows())
    deviation, accepted = spot_check(RowScorer(model), model, requests)
    assert accepted
    assert deviation < 1e-5

    class Off(Scorer):
        name = "off"

        def score(self, requests: Requests) -> Iterator[Any]:
            for scores, tokens in RowScorer(model).score(requests):
                scores.logprobs[:] += 0.001
                yield scores, tokens

    deviation, accepted = spot_check(Off(), model, requests)
    assert not accepted
    assert deviation == pytest.approx(0.001, abs=1e-5)


# Half precision


def test_a_tree_in_bfloat16_is_accepted_and_near_to_single_precision() -> None:
    model, requests = build_new("llama"), pack(few_shot_rows())
    expected = score_rows(model, requests)
    choice = first(model.to(torch.bfloat16))
    assert kind(choice.scorer) == "tree"
    found, _ = collect(choice.scorer, requests)
    differences = [
        np.abs(np.array(found[key][0]) - values).max()
        for key, (values, _) in zip(map(bytes, requests.keys), expected, strict=True)
    ]
    assert 0.001 < max(differences) < 0.5
