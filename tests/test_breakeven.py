"""``harness breakeven``: stored prompts against stored baselines, written here as runs of known right and wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import Commands, Outcome
from test_summary import SIGNATURE

from harness import plots
from harness.breakeven import selection_labels
from harness.breakeven.pairs import few_seeds
from harness.breakeven.report import _about
from harness.errors import UsageError
from harness.learning_curves import data_advantage
from harness.records import Example, Prediction
from harness.run_store import Manifest, RunFolder
from harness.seed_samples import Sample
from harness.signature import Signature

N = 200
SIZES = (8, 32, 128)
SHARES = {8: 0.6, 32: 0.7, 128: 0.8}  # straight in log n: .75 at 64


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def right(share: float, seed: int = 0) -> list[bool]:
    """Exactly this share of the items, which ones by the seed."""
    answers = np.arange(N) < round(share * N)
    return np.random.default_rng(seed).permutation(answers).tolist()  # type: ignore[no-any-return]


def store(
    cells: Sequence[tuple[Mapping[str, Any], Sequence[bool]]],
    *,
    items: str = "item",
    flipped: bool = False,
    costs: Mapping[str, float] | None = None,
    selection_labels: int = 0,
) -> str:
    """Write a run as ``harness run`` does; gold labels alternate."""
    folder = RunFolder(Path("results"))
    parts, entries = [], []
    for values, answers in cells:
        signature = Signature.model_validate(dict(values))
        examples, predictions = [], []
        for number, answer in enumerate(answers):
            gold = (number + flipped) % 2
            examples.append(Example(f"{items}{number:04}", {}, ("low", "high"), gold, None, ""))
            label = gold if answer else 1 - gold
            predictions.append(
                Prediction(examples[-1].item_id, 0, None, gold, label, (-1.0, -2.0), "ok", signature.shots or 0, 1, 0)
            )
        parts.append((signature, examples, predictions))
        entry = {
            "id": signature.id,
            "signature": signature.as_dict(),
            "metrics": ["accuracy"],
            "labels": ["low", "high"],
        }
        entries.append({**entry, "n": len(answers), "costs": costs, "selection_labels": selection_labels})
    rows = {"mood": {"rows": {"pool": 500}}}
    manifest = Manifest(folder.id, folder.created, "done", [], {}, {}, {}, rows, entries)
    manifest.requests = {"distinct": 800, "from store": 400, "scored": 400}
    manifest.seconds, manifest.tokens_computed = {"scoring": 10.0}, 40_000
    manifest.peak_memory_bytes = 700 * 2**20
    folder.write_predictions(parts)
    folder.write_manifest(manifest)
    return folder.id


def prompt(**changes: Any) -> dict[str, Any]:
    known = SIGNATURE | {"kind": "prompt", "method": None, "method_version": 1} | changes
    shown = {"demos": "fixed", "demo_seed": 0, "pool_hash": "p0"} if known["shots"] else {}
    return {**known, **shown, "labels_used": known["shots"], **changes}


def baseline(n: int, seed: int, **changes: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("rule", "calibration", "dtype", "bos", "max_inputs", "tokenizer_hash", "template_hash"))
    own = {"kind": "baseline", "method": "tfidf", "model": "tfidf", "template": "tfidf", "shots": None}
    return SIGNATURE | nothing | own | {"labels_used": n, "demo_seed": seed} | changes


def store_baselines(seeds: int = 4, **changes: Any) -> None:
    cells = [(baseline(n, s, **changes), right(SHARES[n], 10 * s + n)) for n in SIZES for s in range(seeds)]
    costs = {"train_seconds": 0.5, "score_seconds": 0.1, "items_per_second": 2000.0}
    store(cells, costs={**costs, "trainable_parameters": 1234, "peak_memory_bytes": 3 * 2**20})


def found(harness: Commands, *options: object) -> dict[str, Any]:
    """What the command tells; its plots, which take most of its time, are drawn by tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda report, prefix: [])
        document = json.loads(harness.ok("breakeven", *options, "--json").out)
    assert document["schema"] == 1
    return document  # type: ignore[no-any-return]


def lines(done: Outcome) -> list[str]:
    return done.out.splitlines()


def test_a_prompt_is_worth_the_labels_at_which_the_curve_crosses_it(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    (task,) = found(harness)["tasks"]
    (pair,) = task["pairs"]
    assert (task["task"], task["metric"], task["n"]) == ("mood", "accuracy", N)
    assert pair["break_even"]["n"] == pytest.approx(64)  # half-way from .7 at 32 to .8 at 128
    assert pair["net_of_labels_used"]["n"] == pytest.approx(64)
    assert pair["break_even"]["low"] < 64
    assert (pair["break_even"]["high"], pair["censored_above"] > 0.025) == (None, True)  # 200 items do not tell
    assert pair["interval"].endswith(" to > 128")
    assert pair["data_advantage"]["mean"] is None, "one number of shots has no advantage"
    (line,) = task["baselines"]
    assert (line["seeds"], line["labels"]) == (4, [8, 32, 128])
    assert line["mean"] == pytest.approx([0.6, 0.7, 0.8])
    assert pair["sentence"].startswith("on mood, tiny 0-shot is worth about 64 labels (95%: ")
    assert pair["sentence"].endswith(") of tfidf")


def test_labels_used_by_the_prompt_are_charged_to_it(harness: Commands) -> None:
    store([(prompt(shots=4), right(0.75, 99))])
    store_baselines()
    (pair,) = found(harness, "--selection-labels", 20)["tasks"][0]["pairs"]
    assert pair["net_of_labels_used"]["n"] == pytest.approx(64 - 24)
    assert "; it used 24 itself, which leaves 40" in pair["sentence"]
    (pair,) = found(harness, "--selection-labels", 100)["tasks"][0]["pairs"]
    assert pair["sentence"].endswith("; it used 104 itself, no fewer than that")


def test_what_harness_select_noted_is_charged_unless_told_otherwise(harness: Commands) -> None:
    store([(prompt(shots=4), right(0.75, 99))], selection_labels=30)
    store_baselines()
    (pair,) = found(harness)["tasks"][0]["pairs"]
    assert pair["net_of_labels_used"]["n"] == pytest.approx(64 - 34)
    (pair,) = found(harness, "--selection-labels", 0)["tasks"][0]["pairs"]
    assert pair["net_of_labels_used"]["n"] == pytest.approx(64 - 4)
    rows = json.loads(harness.ok("leaderboard", "--json").out)["rows"]
    assert {row["labels_used"] for row in rows} == {34, *SIZES}


def test_demonstrations_by_likeness_need_the_whole_pool(harness: Commands) -> None:
    store([(prompt(shots=4, demos="bm25", demo_seed=None), right(0.75, 99))])
    store_baselines()
    (one,) = found(harness)["tasks"][0]["prompts"]
    assert one["labels"]["total"] == 500


def test_labels_that_baselines_were_tuned_on_are_charged_to_them(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    (line,) = found(harness, "--development-labels", 10)["tasks"][0]["baselines"]
    assert line["labels"] == [18, 42, 138]


def test_shots_are_a_curve_with_a_data_advantage(harness: Commands) -> None:
    """The prompt goes from .65 without labels to .75 at 16; the baseline, straight in n, reaches them at 20 and 80."""
    store([(prompt(), right(0.65, 1)), (prompt(shots=16), right(0.75, 2))])
    store_baselines()
    pairs = found(harness)["tasks"][0]["pairs"]
    # In [.65, .70] the baseline needs 20 to 32, mean 26, the prompt 0 to 8, mean 4; in [.70, .75] 32 to 80 and 8 to 16.
    expected = ((26 - 4) + (56 - 12)) / 2
    assert [pair["data_advantage"]["mean"] for pair in pairs] == pytest.approx([expected, expected])


def test_what_no_size_reaches_is_said_so(harness: Commands) -> None:
    store([(prompt(), right(0.95, 99)), (prompt(model="weak"), right(0.4, 98))])
    store_baselines()
    best, weak = found(harness)["tasks"][0]["pairs"]
    assert (best["break_even"]["n"], best["censored"], best["n_max"]) == (None, "above", 128)
    assert best["censored_above"] == pytest.approx(1)
    assert best["sentence"] == (
        "on mood, tiny 0-shot is worth more than 128 labels of tfidf, the most tried (confidence > 99%)"
    )
    assert (weak["censored"], weak["censored_below"]) == ("below", pytest.approx(1, abs=1e-3))
    assert "weak 0-shot is worth at most 8 labels of tfidf, the fewest tried (confidence > 99%)" in weak["sentence"]


def test_table_sentence_costs_and_plots_are_written(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99)), (prompt(shots=4), right(0.78, 97))])
    store_baselines()
    done = harness.ok("breakeven", "--price-per-hour", 3.6, "--price-per-million-tokens", 2, "-o", "plots/worth")
    table = lines(done)
    assert table[0].split()[:3] == ["task", "prompt", "accuracy"]
    assert table[1].split()[:5] == ["mood", "tiny", "0-shot", "75.0", "0"]
    assert sum(line.startswith("on mood, tiny") for line in table) == 2
    # 800 requests of which half came from the store: 20 s and 80,000 tokens for 2 x 200 predictions.
    cost = next(line for line in table if line.split()[:4] == ["mood", "tiny", "0-shot", "200"])
    assert cost.split()[3:] == ["200", "-", "50", "200", "0", "700", "MiB", "-", "0.05", "0.4"]
    trained = next(line for line in table if line.split()[:2] == ["mood", "tfidf"])
    assert trained.split()[2:] == ["2,400", "0.5", "0.5", "-", "1,234", "3", "MiB", "0.0005", "0.0005", "-"]
    assert Path("plots/worth-mood.png").read_bytes().startswith(b"\x89PNG")
    drawing = Path("plots/worth-mood.svg").read_text(encoding="utf-8")
    for text in ("tfidf (4 seeds)", "tiny 0-shot: 75.0%, 0 labels", "break-even", "labels used"):
        assert text in drawing


def test_names_are_drawn_as_they_are(harness: Commands) -> None:
    """Dollars are no formula, a name that begins with a low line is in the legend, too, and the SVG is XML."""
    store([(prompt(model="_a$\\frac$b\x1b模"), right(0.75, 99)), (prompt(), right(0.75, 99))])
    store_baselines()
    done = harness.ok("breakeven", "-o", "worth")
    assert "Warning" not in done.err
    texts = "".join(ElementTree.parse("worth-mood.svg").getroot().itertext())  # noqa: S314 - our own file
    assert "_a$\\frac$b\u241b模 0-shot: 75.0%, 0 labels" in texts


def test_prompts_on_fewer_items_are_left_out_and_said_so(harness: Commands) -> None:
    store([(prompt(model="some"), right(0.75, 99)[:50])])
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    (task,) = found(harness)["tasks"]
    assert [one["name"] for one in task["prompts"]] == ["tiny 0-shot"]
    assert "mood: 1 stored prompts on other items or data are left out" in task["notices"]


def test_templates_are_averaged_or_chosen(harness: Commands) -> None:
    store([(prompt(template=f"mood/{name}"), right(share, 99)) for name, share in (("plain", 0.7), ("terse", 0.8))])
    store_baselines()
    (one,) = found(harness)["tasks"][0]["prompts"]
    assert (one["score"], one["templates"]) == (pytest.approx(0.75), 2)
    assert one["name"] == "tiny 0-shot (mean of 2 templates)"
    (task,) = found(harness, "--prompt", "terse")["tasks"]
    (one,) = task["prompts"]
    assert (one["score"], one["templates"]) == (pytest.approx(0.8), 1)


def test_a_prompt_picked_by_hand_is_named_and_said_to_be_picked(harness: Commands) -> None:
    store([(prompt(template=f"mood/{name}"), right(share, 99)) for name, share in (("plain", 0.7), ("terse", 0.75))])
    store_baselines()
    done = harness.ok("breakeven", "--prompt", "terse")
    assert " ".join(lines(done)[1].split()).startswith("mood tiny 0-shot (terse, picked by hand) 75.0")
    assert "on mood, tiny 0-shot (terse, picked by hand) is worth about 64 labels (95%: " in done.out
    assert "note: mood: terse was picked by hand; if it was picked by scores like these, it looks better" in done.err


def test_a_prompt_chosen_by_labels_is_charged_and_the_mean_of_all_is_not(harness: Commands) -> None:
    """A choice by 291 labels, of which the mean of three templates knows nothing; the baseline ends at 128."""
    store(
        [(prompt(template=f"mood/{name}"), right(0.75, seed)) for seed, name in enumerate(("plain", "terse", "long"))]
    )
    store([(prompt(template="mood/terse"), right(0.95, 1))], selection_labels=291)
    store_baselines()
    pairs = {pair["prompt"]: pair for pair in found(harness)["tasks"][0]["pairs"]}
    mean, chosen = pairs["tiny 0-shot (mean of 3 templates)"], pairs["tiny 0-shot (terse, chosen by select)"]
    assert (mean["break_even"]["n"], mean["net_of_labels_used"]["n"]) == (pytest.approx(64), pytest.approx(64))
    assert chosen["sentence"].endswith("; it used 291 itself")
    out = harness.ok("breakeven").out
    assert "> -" not in out
    line, _cost = (line for line in out.splitlines() if line.startswith("mood") and "chosen by select" in line)
    assert re.split(r" {2,}", line)[5:8] == ["> 128", "> 128", "unknown"]


def test_of_a_bound_a_bound_is_left(harness: Commands) -> None:
    """The fewest labels tried are 8, and the prompt used 4 of its own; of one that used 8, nothing is left."""
    store([(prompt(shots=k, labels_used=k), right(0.5, 99)) for k in (4, 8)])
    store_baselines()
    said = {pair["prompt"]: pair["sentence"] for pair in found(harness)["tasks"][0]["pairs"]}
    assert "is worth at most 8 labels" in said["tiny 4-shot"]
    assert said["tiny 4-shot"].endswith("; it used 4 itself, which leaves at most 4")
    assert said["tiny 8-shot"].endswith("; it used 8 itself, no fewer than that")


def test_of_repeated_runs_the_latest_counts(harness: Commands) -> None:
    store([(prompt(), right(0.95, 99))])
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    (one,) = found(harness)["tasks"][0]["prompts"]
    assert one["score"] == pytest.approx(0.75)


def test_a_baseline_without_labels_has_no_curve(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    store([(baseline(0, 0, method="chance", model="chance"), right(0.5))])
    (task,) = found(harness)["tasks"]
    assert [one["name"] for one in task["baselines"]] == ["tfidf"]
    assert "chance: uses no label, so it has no curve; left out" in task["notices"]


def test_the_commonest_label_is_a_floor_and_no_curve_unless_asked_for(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    floor = {"method": "majority", "model": "majority"}
    store([(baseline(n, seed, **floor), right(0.5)) for n in (16, 64) for seed in (0, 1)])
    (task,) = found(harness)["tasks"]
    assert [one["name"] for one in task["baselines"]] == ["tfidf"]
    assert "majority: looks at no text, so it is a floor and no curve; left out" in task["notices"]
    (task,) = found(harness, "--method", "majority")["tasks"]
    assert [one["name"] for one in task["baselines"]] == ["majority"]


@pytest.mark.parametrize(
    ("n", "told"),
    [(0.4, "0"), (8.47, "8"), (13.4, "13"), (13.6, "14"), (99.4, "99"), (104.4, "100"), (1_249, "1,200"), (-3.6, "-4")],
)
def test_numbers_of_labels_are_rounded_once(n: float, told: str) -> None:
    assert _about(n) == told


def test_tables_and_sentences_round_alike_and_what_is_left_comes_from_what_was_computed(harness: Commands) -> None:
    store([(prompt(shots=4), right(0.755, 99))])
    store_baselines()
    (pair,) = found(harness)["tasks"][0]["pairs"]
    n = pair["break_even"]["n"]
    assert f"about {_about(n)} labels" in pair["sentence"]
    assert pair["sentence"].endswith(f"which leaves {_about(n - 4)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda report, prefix: [])
        table = lines(harness.ok("breakeven"))
    assert f"{_about(n)} " in table[1]
    assert f"{_about(n - 4)} " in table[1]


# Mistakes


def test_nothing_stored_of_one_kind_names_the_command_that_makes_it(harness: Commands) -> None:
    assert "'harness run' and 'harness baseline' make them" in harness("breakeven").mistake
    store([(prompt(), right(0.75, 99))])
    assert "'harness baseline --tasks mood' makes one" in harness("breakeven").mistake


def test_baselines_alone_ask_for_a_run(harness: Commands) -> None:
    store_baselines()
    assert "holds no prompt on mood; 'harness run --tasks mood' makes one" in harness("breakeven").mistake


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (("--method", "tfdif"), "did you mean 'tfidf'?"),
        (("--model", "tony"), "did you mean 'tiny'?"),
        (("--prompt", "plian"), "nothing of that name is stored"),
        (("--shots", "3"), "--shots 3: no such prompt is stored (shots: 0)"),
        (("--shots", "few"), "must be numbers of demonstrations"),
        (("--tasks", "mod"), "did you mean 'mood'?"),
        (("--monotone", "max"), "--monotone: unknown value 'max'"),
        (("--curve", "bset"), "--curve: unknown value 'bset'; did you mean 'best'?"),
        (("--selection-labels", "none.json"), "neither a number nor a file"),
        (("--csv", "none.csv"), "none.csv: cannot be read: No such file"),
    ],
)
def test_what_is_not_there_is_named(harness: Commands, options: tuple[str, ...], fragment: str) -> None:
    store([(prompt(), right(0.75, 99))])
    store_baselines()
    done = harness("breakeven", *options)
    assert done.status in (1, 2)
    assert fragment in done.mistake


def test_other_items_cannot_be_compared(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))], items="other")
    store_baselines()
    assert "have no item in common" in harness("breakeven").mistake


def test_labels_that_changed_cannot_be_compared(harness: Commands) -> None:
    store([(prompt(), right(0.75, 99))], flipped=True)
    store_baselines()
    assert "the labels of items changed between stored runs" in harness("breakeven").mistake


# Files


SCORES = "method,n,seed,score\n" + "".join(
    f"{method},{n},{seed},{score + shift}\n"
    for method, scores in (("head", (0.5, 0.6, 0.8)), ("prompt", (0.6, 0.7, 0.8)))
    for n, score in zip((0, 100, 200), scores, strict=True)
    for seed, shift in ((0, -0.02), (1, 0.02))
)


def table_of_scores(heads: int, prompts: int) -> str:
    """``SCORES`` with these numbers of seeds a side, around the same means."""
    return "method,n,seed,score\n" + "".join(
        f"{method},{n},{seed},{score + shift}\n"
        for method, seeds, scores in (("head", heads, (0.5, 0.6, 0.8)), ("prompt", prompts, (0.6, 0.7, 0.8)))
        for n, score in zip((0, 100, 200), scores, strict=True)
        for seed, shift in enumerate(np.linspace(-0.002, 0.002, seeds) if seeds > 1 else [0.0])
    )


def test_a_table_of_scores_gives_the_papers_data_advantage(harness: Commands) -> None:
    Path("scores.csv").write_text(SCORES, encoding="utf-8")
    (task,) = json.loads(harness.ok("breakeven", "--csv", "scores.csv", "--json").out)["tasks"]
    assert (task["task"], task["n"]) == ("scores", None)
    assert [pair["data_advantage"]["mean"] for pair in task["pairs"]] == pytest.approx([50, 50, 50])
    # .6 at 100; half-way, in log n, from 100 to 200; .8 at 200.
    assert [pair["break_even"]["n"] for pair in task["pairs"]] == pytest.approx([100, 100 * 2**0.5, 200])
    assert Path("results/breakeven-scores.png").is_file()


def test_any_method_of_a_table_may_be_the_prompt(harness: Commands) -> None:
    Path("scores.csv").write_text(SCORES, encoding="utf-8")
    (task,) = found(harness, "--csv", "scores.csv", "--prompt", "head")["tasks"]
    assert [pair["data_advantage"]["mean"] for pair in task["pairs"]] == pytest.approx([-50, -50, -50])


def test_one_seed_has_no_interval(harness: Commands) -> None:
    Path("s.csv").write_text("method,n,seed,score\nhead,100,0,.7\nhead,1000,0,.9\nprompt,0,0,.8\n", encoding="utf-8")
    (pair,) = found(harness, "--csv", "s.csv")["tasks"][0]["pairs"]
    assert pair["break_even"] == {"n": pytest.approx(316.2278, abs=1e-3), "low": None, "high": None}
    assert pair["sentence"] == "on s, prompt is worth about 320 labels of head"
    assert "  320  unknown  " in re.sub(r" {3,}", "  ", harness.ok("breakeven", "--csv", "s.csv").out)


@pytest.mark.parametrize(("seeds", "known"), [((3, 1), False), ((1, 3), False), ((3, 3), True), ((2, 2), True)])
def test_a_single_seed_of_either_side_is_told(harness: Commands, seeds: tuple[int, int], known: bool) -> None:
    Path("s.csv").write_text(table_of_scores(*seeds), encoding="utf-8")
    (task,) = found(harness, "--csv", "s.csv")["tasks"]
    pair = task["pairs"][1]
    assert (pair["interval_complete"], pair["data_advantage"]["interval_complete"]) == (known, known)
    assert pair["data_advantage"]["low"] < 50 < pair["data_advantage"]["high"]
    told = harness.ok("breakeven", "--csv", "s.csv").out
    assert (" or wider" in told) is not known
    few = [text for text in task["notices"] if "seed" in text and "file has no items" not in text]
    if min(seeds) == 1:
        assert all(": one seed; what another would change is not known" in text for text in few)
    assert bool(few) == (min(seeds) < 3)


def test_what_is_true_of_several_is_one_line() -> None:
    one, two, three = (Sample(np.full((seeds, 2), 0.5)) for seeds in (1, 2, 3))
    named = [("p", two), ("q", one), ("r", two), ("s", three), ("t", two), ("u", two)]
    wide = "which tell little of others; intervals are wide, and rough"
    assert few_seeds(named, "draw of demonstrations") == [
        f"p; r; t; 1 more: two draws of demonstrations, {wide}",
        "q: one draw of demonstrations; what another would change is not known, so intervals are too narrow",
    ]
    assert few_seeds([("p", two)], "seed") == [f"p: two seeds, {wide}"]
    assert few_seeds([("p", Sample(np.full((1, 1), 0.5), random=False))], "seed") == []


def test_a_data_advantage_of_one_seed_has_no_interval(harness: Commands) -> None:
    """A file with one seed on both sides tells nothing of others; it does not tell that they would not differ."""
    Path("s.csv").write_text(table_of_scores(1, 1), encoding="utf-8")
    (task,) = found(harness, "--csv", "s.csv")["tasks"]
    gains = [pair["data_advantage"] for pair in task["pairs"]]
    assert [(gain["mean"], gain["low"], gain["high"]) for gain in gains] == [(pytest.approx(50), None, None)] * 3
    assert harness.ok("breakeven", "--csv", "s.csv").out.count("50 [unknown]") == 3


def test_how_often_an_advantage_is_undefined_is_in_the_table(harness: Commands) -> None:
    """The prompt starts about where the head ends, so that in a part of the draws there is no window."""
    rows = "".join(
        f"{method},{n},{seed},{score + shift}\n"
        for method, scores in (("head", {0: 0.5, 200: 0.8}), ("prompt", {0: 0.79, 100: 0.85}))
        for n, score in scores.items()
        for seed, shift in ((0, -0.02), (1, 0.02), (2, 0.0))
    )
    Path("s.csv").write_text("method,n,seed,score\n" + rows, encoding="utf-8")
    (task,) = found(harness, "--csv", "s.csv")["tasks"]
    share = task["pairs"][0]["data_advantage"]["undefined"]
    assert 0.1 < share < 0.9
    assert f", {share:.0%} undefined" in harness.ok("breakeven", "--csv", "s.csv").out


def test_the_best_seed_of_each_size_is_an_option(harness: Commands) -> None:
    """.52, .62, .82 against .62, .72, .82: with a shift for all, the advantage is the same, and so without a seed."""
    Path("scores.csv").write_text(SCORES, encoding="utf-8")
    (task,) = found(harness, "--csv", "scores.csv", "--curve", "best")["tasks"]
    assert task["baselines"][0]["mean"] == pytest.approx([0.52, 0.62, 0.82])
    assert task["baselines"][0]["low"] == [None] * 3
    assert [one["score"] for one in task["prompts"]] == pytest.approx([0.62, 0.72, 0.82])
    gain = task["pairs"][0]["data_advantage"]
    assert (gain["mean"], gain["low"]) == (pytest.approx(50), None)
    # Without the better seed of one side: 30 or 70; without either better one, or the worse ones, 50.
    assert gain["deviation"] == pytest.approx(np.std(advantages_left_out()))
    done = harness.ok("breakeven", "--csv", "scores.csv", "--curve", "best", "--monotone", "maximum")
    assert f"50 +- {gain['deviation']:.0f}" in done.out
    assert "note: best seed of each size on both sides, by the very scores that are reported" in done.err
    assert "95%: " not in done.out


def advantages_left_out() -> list[float]:
    """The data advantage without each seed of either side, of ``SCORES``."""
    sizes, head, prompt = (np.array(values) for values in ((0, 100, 200), (0.5, 0.6, 0.8), (0.6, 0.7, 0.8)))
    shifts = (-0.02, 0.02)
    return [data_advantage(sizes, head + one, sizes, prompt + other) for one in shifts for other in shifts]


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("method,n,score\n", "has no column 'seed'"),
        ("method,n,seed,score\n", "has no row"),
        ("method;n;seed;score\nprompt;8;0;.5\n", "scores.csv:1: its columns are separated by semicolons"),
        ("method,n,seed,score\nprompt,8,0,high\n", "scores.csv:2: score is 'high', not a number"),
        ("method,n,seed,score\nprompt,8.5,0,.5\n", "scores.csv:2: n is '8.5', not a whole number"),
        ("method,n,seed,score\nprompt,inf,0,.5\n", "scores.csv:2: n is 'inf'"),
        ("method,n,seed,score\nprompt,8,0,\n", "scores.csv:2: score is empty"),
        ("method,n,seed,score\nprompt,8,0,.5\nprompt,8,0,.6\n", "scores.csv:3: prompt has two scores"),
        ("method,n,seed,score\nhead,8,0,.5\n", "--prompt prompt: scores.csv has no such method"),
        ("method,n,seed,score\nprompt,8,0,.5\n", "has no method but prompt"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(harness: Commands, text: str, fragment: str) -> None:
    Path("scores.csv").write_text(text, encoding="utf-8")
    assert fragment in harness("breakeven", "--csv", "scores.csv").mistake


def test_selection_labels_are_a_number_or_what_select_printed() -> None:
    Path("chosen.json").write_text('{"schema": 1, "labels": 96}', encoding="utf-8")
    assert [selection_labels(text) for text in (None, "12", "chosen.json")] == [None, 12, 96]
    with pytest.raises(UsageError, match="neither a number nor a file"):
        selection_labels("-3")


def test_costs_name_their_task_and_a_note_of_all_tasks_is_told_once(
    harness: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda report, prefix: [])
    floor = {"method": "majority", "model": "majority", "template": "majority"}
    for task, seeds in (("mood", 4), ("tone", 1)):
        store([(prompt(task=task, template=f"{task}/plain"), right(0.75, 99))])
        store_baselines(seeds, task=task)
        store([(baseline(8, 0, task=task, **floor), right(0.5, 98))])
    done = harness.ok("breakeven")
    costs = lines(done)[lines(done).index("") + 1 :]
    assert costs[0].split()[:2] == ["task", "system"]
    assert [line.split()[0] for line in costs[1:5]] == ["mood", "mood", "tone", "tone"]
    assert [line for line in done.err.splitlines() if "majority" in line] == [
        "note: majority: looks at no text, so it is a floor and no curve; left out"
    ]
    assert [line[:25] for line in done.err.splitlines() if ": one " in line] == ["note: tone: tfidf: one tr"]
