"""``harness compare``: two stored results on the same items, and what cannot be paired."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project, build_gpt2
from scipy import stats

pytestmark = pytest.mark.usefixtures("one_thread")


def run(harness: Commands, model: Path, *options: str) -> str:
    """Evaluate, and give the run's id."""
    before = set(Path("results/runs").glob("*"))
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", model, *options)
    (new,) = set(Path("results/runs").glob("*")) - before
    return new.name


def right(run_id: str, shots: int) -> list[bool]:
    """Whether each item is answered rightly by the one cell of these shots, by item id; from the files alone."""
    folder = Path("results/runs") / run_id
    cells = json.loads((folder / "manifest.json").read_text())["cells"]
    (cell,) = (cell["id"] for cell in cells if cell["signature"]["shots"] == shots)
    rows = [row for row in pq.read_table(folder / "predictions.parquet").to_pylist() if row["cell"] == cell]
    return [row["correct"] == 1 for row in sorted(rows, key=lambda row: row["item_id"])]


def test_a_comparison_is_paired_by_item(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    project.write_rows("data/mood/test.jsonl", 60, seed=2)
    one = run(harness, tiny_gpt2, "--shots", "0,3", "--prompts", "plain")
    done = harness.ok("compare", f"{one}:shots=0", f"{one}:shots=3", "--json")
    (pair,) = json.loads(done.out)["pairs"]
    zero, three = right(one, 0), right(one, 3)
    wins = sum(not a and b for a, b in zip(zero, three, strict=True))
    losses = sum(a and not b for a, b in zip(zero, three, strict=True))
    assert (pair["n"], pair["second_better"], pair["first_better"]) == (60, wins, losses)
    assert pair["difference"]["mean"] == pytest.approx((wins - losses) / 60)
    assert len(pair["changed"]) == wins + losses
    assert pair["p_value"] == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    interval = stats.ttest_rel(np.array(three, float), np.array(zero, float)).confidence_interval()
    assert pair["difference"]["low"] == pytest.approx(interval.low)
    assert pair["differs"]["shots"] == [0, 3]


def test_a_run_against_itself_changes_nothing(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    run(harness, tiny_gpt2, "--shots", "0,3")
    done = harness.ok("compare", "latest", "latest", "--fail-if-worse")
    assert done.out.count("difference +0.0") == 2
    assert done.out.count("B is better on 0 items and worse on 0") == 2


def test_rows_are_matched_across_runs(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--shots", "0,3", "--prompts", "plain")
    other = run(harness, tiny_gpt2, "--shots", "3,0", "--prompts", "terse")
    found = json.loads(harness.ok("compare", one, other, "--json").out)["pairs"]
    assert [(pair["first"]["shots"], pair["second"]["shots"]) for pair in found] in ([(0, 0), (3, 3)], [(3, 3), (0, 0)])
    assert all(pair["differs"]["template"] == ["mood/plain", "mood/terse"] for pair in found)


def test_only_common_items_count(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2)
    some = run(harness, tiny_gpt2, "--limit", "7")
    (pair,) = json.loads(harness.ok("compare", one, some, "--json").out)["pairs"]
    assert (pair["n"], pair["differs"]["items"]) == (7, [20, 7])


def test_a_changed_template_is_told(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--prompts", "plain")
    project.write("prompts/mood/plain.jinja", "---\nanswers: [bad, good]\n---\n{{ text }}\nMood: {{ answer }}\n")
    other = run(harness, tiny_gpt2, "--prompts", "plain")
    assert "template hash: " in harness.ok("compare", one, other).out


def test_each_block_is_headed_by_what_a_and_b_are(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--shots", "0,3", "--rule", "sum,char", "--controls", "content-free")
    other = run(harness, tiny_gpt2, "--shots", "0,3", "--rule", "sum,char", "--prompts", "plain")
    blocks = harness.ok("compare", f"{one}:shots=0", f"{one}:shots=0").out.split("\n\n")
    heads = [tuple(block.splitlines()[:2]) for block in blocks]
    assert len(set(heads)) == len(heads) == 4
    assert (
        f"A: tiny-gpt2, mood, 0-shot, control content-free (rule sum), 2 prompts, run {one}",
        f"B: tiny-gpt2, mood, 0-shot, control content-free (rule sum), 2 prompts, run {one}",
    ) in heads
    (block,) = harness.ok("compare", f"{one}:shots=3,rule=sum,control=None", f"{other}:shots=0,rule=char").out.split(
        "\n\n"
    )
    assert block.splitlines()[:2] == [
        f"A: tiny-gpt2, mood, 3-shot, 2 prompts, run {one}",
        f"B: tiny-gpt2, mood, 0-shot, prompt plain, run {other}",
    ]


def test_differences_that_follow_from_others_are_not_listed(
    harness: Commands, project: Project, tiny_gpt2: Path, tmp_path: Path
) -> None:
    """Another model has another fingerprint, another template another hash, and no shots no demonstrations."""
    shutil.copytree(tiny_gpt2, "other-model")
    build_gpt2(Path("other-model"), seed=1)
    one = run(harness, tiny_gpt2, "--prompts", "plain", "--shots", "0")
    other = run(harness, Path("other-model"), "--prompts", "terse", "--shots", "3")
    (pair,) = json.loads(harness.ok("compare", one, other, "--json").out)["pairs"]
    assert set(pair["differs"]) == {"model", "template", "shots"}
    harness.ok(
        "baseline", "--tasks", "mood", "--data-dir", "data", "--methods", "tfidf", "--sizes", "8", "--seeds", "0"
    )
    (pair,) = json.loads(harness.ok("compare", one, "latest", "--json").out)["pairs"]
    assert set(pair["differs"]) == {"kind", "method", "model", "labels used"}


def test_a_side_is_narrowed_to_a_seed(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--shots", "3", "--demo-seeds", "0,1", "--prompts", "plain")
    (pair,) = json.loads(harness.ok("compare", f"{one}:demo_seed=0", f"{one}:demo_seed=1", "--json").out)["pairs"]
    assert pair["differs"] == {"demo seed": [0, 1]}
    assert "has no demo seed '2'" in harness("compare", f"{one}:demo_seed=2", one).mistake


def test_an_item_is_told_by_its_id(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--shots", "0,3")
    sides = (f"{one}:shots=0", f"{one}:shots=3")
    item = pq.read_table(f"results/runs/{one}/predictions.parquet")["item_id"][0].as_py()
    told = harness.ok("compare", *sides, "--item", item[:10]).out.splitlines()
    assert told[0] == "A: tiny-gpt2, mood, 0-shot; B: tiny-gpt2, mood, 3-shot"
    assert told[1].startswith(f"  item {item}: gold ")
    (found,) = json.loads(harness.ok("compare", *sides, "--item", item, "--json").out)["items"]
    assert found["gold"] == told[1].split()[-1]
    table = pq.read_table(next(Path("results/runs").iterdir()) / "predictions.parquet").to_pylist()
    stored = sorted(line["text"] for line in table if line["item_id"] == item)
    answers = [answer for side in ("first", "second") for answer in found[side]]
    assert sorted(answer["prediction"] for answer in answers for _ in answer["by"]) == stored
    assert {name for answer in answers for name in answer["by"]} == {"plain", "terse"}
    assert "no item that both have" in harness("compare", *sides, "--item", "zzz").mistake
    assert "--item : fits 20 items" in harness("compare", *sides, "--item", "").mistake
    shown = harness.ok("show", "mood", "--data-dir", "data", "--item", item[:12]).out
    assert f"({item}, data/mood/test.jsonl:" in shown


@pytest.mark.parametrize(
    ("sides", "fragment"),
    [
        (("latest", "latesd"), "no finished run of that name in results; did you mean 'latest'?"),
        (("latest:shot=0", "latest"), "'shot=0' is not key=value with a key of a row; did you mean 'shots'?"),
        (("latest:shots=5", "latest"), "no row of that run fits; its rows are: task=mood, shots=0"),
        (("latest:template=plan", "latest"), "did you mean 'plain'?"),
    ],
)
def test_what_is_not_there_is_named(
    harness: Commands, project: Project, tiny_gpt2: Path, kept: Path, sides: tuple[str, str], fragment: str
) -> None:
    if kept.exists():
        shutil.copytree(kept, "results")
    else:
        run(harness, tiny_gpt2, "--shots", "0,3")
        shutil.copytree("results", kept)
    done = harness("compare", *sides)
    assert done.status == 2
    assert fragment in done.mistake


def test_other_data_cannot_be_paired(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2)
    project.write_rows("data/mood/test.jsonl", 20, seed=9, change=lambda row: row.update(text=f"other {row['text']}"))
    other = run(harness, tiny_gpt2)
    assert "they have no item in common" in harness("compare", one, other).mistake


def test_a_changed_task_file_cannot_be_paired(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2)
    task = Path("tasks/mood.yaml")
    project.write("tasks/mood.yaml", task.read_text().replace("labels: [low, high]", "labels: [high, low]"))
    other = run(harness, tiny_gpt2)
    assert "the task file changed between them" in harness("compare", one, other).mistake


def test_being_worse_fails_only_when_asked_and_beyond_chance(
    harness: Commands, project: Project, tiny_gpt2: Path
) -> None:
    """One template answers with the labels turned round, so that one of two runs is worse on every item."""
    body = "---\nText: {{ text }}\nMood: {{ answer }}\n"
    project.write("prompts/mood/as.jinja", "---\nanswers: [bad, good]\n" + body)
    project.write("prompts/mood/turned.jinja", "---\nanswers: [good, bad]\n" + body)
    project.write_rows("data/mood/test.jsonl", 40, seed=2, change=lambda row: row.update(label=1))
    runs = [run(harness, tiny_gpt2, "--prompts", name) for name in ("as", "turned")]
    first, second = sorted(runs, key=lambda name: -sum(right(name, 0)))
    assert sum(right(first, 0)) > 30
    harness.ok("compare", first, second)
    harness.ok("compare", second, first, "--fail-if-worse")
    done = harness("compare", first, second, "--fail-if-worse")
    assert done.status == 1
    assert f"{second} is worse than {first}: mood" in done.err


def test_a_mean_over_seeds_and_orders_is_told_as_one(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    one = run(harness, tiny_gpt2, "--shots", "0", "--prompts", "plain")
    options = ("--prompts", "plain", "--demo-seeds", "0,1", "--demo-order")
    many = run(harness, tiny_gpt2, "--shots", "2", *options, "permuted:2")
    told = harness.ok("compare", one, many).out
    assert "  demo seeds: none and 0, 1\n" in told
    assert "  orders: none and 0, 1\n" in told
    assert "None" not in told
    (pair,) = json.loads(harness.ok("compare", many, many, "--json").out)["pairs"]
    assert not {"orders", "demo seeds", "order", "demo seed"} & pair["differs"].keys()
