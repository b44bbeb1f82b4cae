"""The demonstrations of a run: what options ask for, how they stand in prompts, what is recorded, and what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Commands
from conftest import Project, build_gpt2

import harness as package
from harness import tables
from harness.encode import Encoder
from harness.errors import HarnessError, UsageError
from harness.grid import PlannedCell, plan_cells
from harness.models import ModelSpec, locate_model
from harness.options import RunOptions
from harness.preview import preview, print_preview
from harness.progress import QuietReporter
from harness.records import Example, Prompt
from harness.render import Renderer, without_last_demo
from harness.search_path import SearchPath
from harness.shots import SEEDED, STRATEGIES, entropy
from harness.tokenizer import PretrainedTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

NAMED = [name for name in STRATEGIES if name != "file"]

Plan = Callable[..., list[PlannedCell]]
Evaluate = Callable[..., package.Result]


@pytest.fixture
def plan(project: Project, tiny_gpt2: Path) -> Plan:
    """The cells of the project's task with the tiny model; options as keywords."""

    def call(reporter: QuietReporter | None = None, **options: Any) -> list[PlannedCell]:
        given = {"tasks": "mood", "model": str(tiny_gpt2), "data_dir": project.root / "data", "shots": 4, **options}
        return list(plan_cells(RunOptions.read(given), SearchPath.default(), reporter or QuietReporter()))

    return call


@pytest.fixture
def evaluate(project: Project, tiny_gpt2: Path) -> Evaluate:
    def call(**options: Any) -> package.Result:
        return package.run(**{"tasks": "mood", "model": str(tiny_gpt2), "data_dir": "data", "shots": 2, **options})

    return call


def rows(project: Project, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / f"data/mood/{name}.jsonl").read_text().splitlines()]


def as_lines(values: Sequence[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def texts(demos: Sequence[Example]) -> list[str]:
    return [str(demo.fields["text"]) for demo in demos]


def draws(cell: PlannedCell) -> dict[str, list[str]]:
    return {item.item_id: texts(cell.demos.draw(item)) for item in cell.items}


def prompts(cell: PlannedCell) -> list[Prompt]:
    renderer = Renderer(cell.template, cell.demos.layout)
    return [renderer.prompt(item, cell.demos.draw(item)) for item in cell.items]


# What is drawn


@pytest.mark.parametrize("demos", NAMED)
def test_templates_and_numbers_of_shots_share_draws(plan: Plan, demos: str) -> None:
    two, terse, four, other = plan(demos=demos, shots="2,4")
    assert draws(two) == draws(terse)
    assert draws(four) == draws(other)
    assert {name: drawn[:2] for name, drawn in draws(four).items()} == draws(two)


@pytest.mark.parametrize("demos", NAMED)
def test_models_share_draws_but_where_the_model_is_the_encoder(plan: Plan, tmp_path: Path, demos: str) -> None:
    other = str(build_gpt2(tmp_path / "other", seed=1))
    own, others = (draws(plan(demos=demos, prompts="plain", **chosen)[0]) for chosen in ({}, {"model": other}))
    assert (own == others) == (demos != "knn")


def test_an_encoder_that_is_named_makes_models_share_draws(plan: Plan, tiny_gpt2: Path, tmp_path: Path) -> None:
    other = str(build_gpt2(tmp_path / "other", seed=1))
    given = {"demos": "knn", "demo_encoder": str(tiny_gpt2), "prompts": "plain"}
    assert draws(plan(**given)[0]) == draws(plan(**given, model=other)[0]) == draws(plan(demos="knn")[0])


@pytest.mark.parametrize("demos", NAMED)
def test_limit_takes_items_away_and_changes_nothing_else(plan: Plan, demos: str) -> None:
    some, everything = (draws(plan(demos=demos, prompts="plain", **more)[0]) for more in ({"limit": 3}, {}))
    assert len(some) == 3
    assert some == {name: everything[name] for name in some}


@pytest.mark.parametrize("demos", NAMED)
def test_seeds_count_only_where_chance_has_a_part(plan: Plan, demos: str) -> None:
    cells = plan(demos=demos, demo_seeds="3,4,5", prompts="plain")
    assert [cell.seed for cell in cells] == ([3, 4, 5] if demos in SEEDED else [None])
    assert len({str(draws(cell)) for cell in cells}) == len(cells)


# How they stand


@pytest.mark.parametrize("demos", ["fixed", "bm25"])
def test_the_most_similar_stands_last_and_the_least_similar_is_dropped_first(plan: Plan, demos: str) -> None:
    (cell,) = plan(demos=demos, prompts="plain", shots=3)
    for item, prompt in zip(cell.items, prompts(cell), strict=True):
        first, second, third = texts(cell.demos.draw(item))
        order = [third, second, first] if demos == "bm25" else [first, second, third]
        shown = [f"Text: {text}\n" for text in order]
        places = [prompt.text.index(text) for text in shown]
        assert places == sorted(places)
        shorter = without_last_demo(prompt)
        assert f"Text: {third}\n" not in shorter.text
        (two,) = [one for one in prompts(plan(demos=demos, prompts="plain", shots=2)[0]) if one.item_id == item.item_id]
        assert shorter == two


def test_a_prompt_that_is_too_long_keeps_the_most_similar(plan: Plan, tiny_gpt2: Path) -> None:
    files = locate_model(ModelSpec(str(tiny_gpt2)))
    (cell,) = plan(demos="bm25", prompts="plain", shots=8, limit=5)
    encoder = Encoder(PretrainedTokenizer(files), scope="s", max_inputs=files.max_inputs)
    encoded, _ = encoder.cell(prompts(cell))
    for item, shots in zip(cell.items, encoded.shots, strict=True):
        assert 0 < shots < 8
        (kept,) = [p for p in prompts(plan(demos="bm25", prompts="plain", shots=shots)[0]) if p.item_id == item.item_id]
        assert max(len(answer.ids) for answer in encoder.answers([kept])[0]) - 1 <= 128


def test_permuted_orders_show_the_same_demonstrations_in_different_places(plan: Plan) -> None:
    cells = plan(demos="bm25", demo_order="permuted:6", shots="0,3", prompts="plain")
    assert [(cell.shots, cell.demos.order) for cell in cells] == [(0, None), *((3, order) for order in range(6))]
    assert all(draws(cell) == draws(cells[1]) for cell in cells[1:])
    shown = [tuple(texts(cell.demos.layout(cell.demos.draw(cell.items[0])))) for cell in cells[1:]]
    assert len(set(shown)) == 6
    assert len({tuple(sorted(one)) for one in shown}) == 1
    more = plan(demos="bm25", demo_order="permuted:99", shots=3, prompts="plain")
    assert [tuple(texts(cell.demos.layout(cell.demos.draw(cell.items[0])))) for cell in more] == shown


# A user's own list


def test_a_list_of_rows_in_the_columns_of_the_task(plan: Plan, project: Project) -> None:
    own = [{"text": f"My own {word} words", "label": label} for word, label in (("first", "low"), ("last", "high"))]
    project.write("mine.jsonl", as_lines(own))
    two, one = (plan(demos="file:mine.jsonl", shots=shots, prompts="plain")[0] for shots in (2, 1))
    assert set(map(tuple, draws(two).values())) == {("My own first words", "My own last words")}
    assert [demo.gold for demo in two.demos.draw(two.items[0])] == [0, 1]
    assert set(map(tuple, draws(one).values())) == {("My own first words",)}


def test_a_list_of_items_of_the_pool_and_rows_among_them(plan: Plan, project: Project) -> None:
    (cell,) = plan(prompts="plain", shots=5)
    chosen = cell.demos.draw(cell.items[0])
    own = {"text": "My own words", "label": 0}
    project.write("ids.jsonl", as_lines([{"item_id": chosen[4].item_id}, own, {"item_id": chosen[1].item_id}]))
    (listed,) = plan(demos="file:ids.jsonl", shots=3, prompts="plain")
    assert texts(listed.demos.draw(cell.items[0])) == [*texts(chosen[4:]), "My own words", *texts(chosen[1:2])]


def test_a_list_of_rows_needs_no_pool(plan: Plan, project: Project) -> None:
    path = project.root / "tasks/mood.yaml"
    path.write_text(path.read_text().replace("pool: train, ", ""))
    project.write("mine.jsonl", as_lines([{"text": "My own words", "label": 0}]))
    (cell,) = plan(demos="file:mine.jsonl", shots=1, prompts="plain")
    assert texts(cell.demos.draw(cell.items[0])) == ["My own words"]


def test_listed_rows_that_are_reported_items_are_not_used(plan: Plan, project: Project) -> None:
    item = rows(project, "test")[3]
    listed = [{"text": item["text"].upper() + "!", "label": 0}, {"text": "My own words", "label": 0}]
    project.write("mine.jsonl", as_lines(listed))
    reporter = QuietReporter()
    (cell,) = plan(reporter, demos="file:mine.jsonl", shots=1, prompts="plain")
    assert set(map(tuple, draws(cell).values())) == {("My own words",)}
    assert reporter.notices == ["mood: 1 of 2 listed demonstrations have the text of a reported item and are not used"]


# Guards


@pytest.mark.parametrize("demos", NAMED)
def test_near_duplicates_are_counted_and_passed_over(plan: Plan, project: Project, demos: str) -> None:
    item = rows(project, "test")[3]
    near = {"text": item["text"].replace(".", " again."), "label": 0}
    path = project.root / "data/mood/train.jsonl"
    path.write_text(as_lines([near, *rows(project, "train")]))
    reporter = QuietReporter()
    (cell,) = plan(reporter, demos=demos, prompts="plain", shots=40)
    drawn = draws(cell)
    found = {name for name, demos in drawn.items() if near["text"] in demos}
    owner = next(one.item_id for one in cell.items if one.fields["text"] == item["text"])
    assert owner not in found
    assert found
    assert reporter.notices == [
        "mood: 1 of 20 items has near-duplicates in the pool (1 in all), which are not shown before it"
    ]


# What is recorded


def test_cells_record_everything_that_decides_what_is_shown(
    evaluate: Evaluate, project: Project, tiny_gpt2: Path
) -> None:
    project.write("mine.jsonl", as_lines([{"text": "One", "label": 0}, {"text": "Two", "label": 1}]))

    def signature(**options: Any) -> dict[str, Any]:
        cells = evaluate(prompts="plain", limit=2, **options).manifest["cells"]
        found: dict[str, Any] = cells[-1]["signature"]
        return found

    keys = ("demos", "demo_seed", "demo_encoder", "demo_order", "order")
    plain = signature(demo_seeds=7)
    assert [plain[key] for key in keys] == ["fixed", 7, None, "drawn", None]
    assert plain["demo_guard"] == "jaccard 0.5, containment 0.8 of 8, fields"
    assert all(signature(shots=0)[key] is None for key in (*keys, "demo_guard", "demo_encoder_hash", "pool_hash"))
    assert [signature(demos="bm25", demo_order="permuted:2")[key] for key in keys] == [
        "bm25",
        None,
        None,
        "permuted",
        1,
    ]
    knn = signature(demos="knn")
    assert [knn[key] for key in keys] == ["knn", None, "tiny-gpt2", "drawn", None]
    assert knn["demo_encoder_hash"]
    assert [signature(demos="mmr")[key] for key in ("demo_encoder", "demo_encoder_hash")] == ["bm25", None]
    assert signature(demos="mmr", demo_encoder=str(tiny_gpt2))["demo_encoder_hash"] == knn["demo_encoder_hash"]
    listed = signature(demos="file:mine.jsonl")
    assert listed["demos"] == "file:mine.jsonl"
    project.write("mine.jsonl", as_lines([{"text": "Two", "label": 1}, {"text": "One", "label": 0}]))
    assert signature(demos="file:mine.jsonl")["pool_hash"] != listed["pool_hash"] != plain["pool_hash"]


def test_orders_are_averaged_as_seeds_are(evaluate: Evaluate) -> None:
    result = evaluate(demo_order="permuted:2", demo_seeds="0,1,2", shots="0,2")
    few, none = (row for row in sorted(result.rows, key=lambda row: -row.signature.shots))
    assert (few.templates, few.seeds, few.orders, few.predictions) == (2, 3, 2, 2 * 3 * 2 * 20)
    assert (none.templates, none.seeds, none.orders, none.predictions) == (2, 1, 1, 2 * 20)
    by_cell = result.predictions.groupby("cell").correct.mean()
    shown = [cell for cell in result.manifest["cells"] if cell["signature"]["shots"] == 2]
    means = [
        np.mean([by_cell[cell["id"]] for cell in shown if cell["signature"]["template"] == template])
        for template in ("mood/plain", "mood/terse")
    ]
    accuracy = few.metrics["accuracy"]
    assert accuracy.mean == pytest.approx(np.mean(means))
    assert [accuracy.worst, accuracy.best] == pytest.approx(sorted(means))


def test_orders_of_several_runs_are_one_row_and_a_choice_is_another(evaluate: Evaluate) -> None:
    evaluate(demo_order="permuted:2", shots=3)
    evaluate(demo_order="permuted:4", shots=3)
    evaluate(shots=3)
    told = {row.signature.demo_order: row.orders for row in package.leaderboard().rows}
    assert told == {"permuted": 4, "drawn": 1}
    assert set(package.leaderboard().table["orders"]) == {4, 1}


def test_tables_tell_orders_and_encoders_where_rows_differ_in_them(evaluate: Evaluate, tiny_gpt2: Path) -> None:
    rows = evaluate(demo_order="permuted:2", demos="mmr").rows
    rows += evaluate(demos="mmr", demo_encoder=str(tiny_gpt2)).rows
    lines = tables.as_markdown(rows).splitlines()
    assert "| encoder | order |" in lines[0]
    assert sum("| bm25 | permuted | mmr | 20 | 2 x 2 orders |" in line for line in lines) == 1
    assert sum("| tiny-gpt2 | drawn | mmr | 20 | 2 |" in line for line in lines) == 1


# The choice of an order


def with_choices(project: Project) -> None:
    """Give the task items to choose by."""
    path = project.root / "tasks/mood.yaml"
    path.write_text(path.read_text().replace("pool: train, ", 'pool: train, select: "train[:12]", '))


@pytest.mark.parametrize("measure", ["global", "local"])
def test_entropy_takes_the_order_under_which_answers_to_other_items_are_most_even(
    evaluate: Evaluate, project: Project, measure: str
) -> None:
    with_choices(project)
    probe = evaluate(shots=3, demo_order="permuted:6", demo_seeds="0,1", split="select")
    scores: dict[tuple[str, int], dict[int, Any]] = {}
    for cell in probe.manifest["cells"]:
        known = cell["signature"]
        found = probe.predictions.query(f"cell == '{cell['id']}'").scores
        scores.setdefault((known["template"], known["demo_seed"]), {})[known["order"]] = np.stack(found)
    assert all(len(orders) == 6 for orders in scores.values())
    name = "entropy" if measure == "global" else "entropy:local"
    run = evaluate(shots="0,3", demo_order=name, demo_seeds="0,1")
    chosen = {
        (cell["signature"]["template"], cell["signature"]["demo_seed"]): cell["signature"]["order"]
        for cell in run.manifest["cells"]
        if cell["signature"]["shots"]
    }
    assert chosen == {prompt: package.choose_order(found, measure) for prompt, found in scores.items()}  # type: ignore[arg-type]
    assert len(set(chosen.values())) > 1
    told = probe.orders(measure)  # type: ignore[arg-type]
    assert len(told) == 24
    assert {(row.template, row.demo_seed): row.order for row in told[told.chosen].itertuples()} == chosen
    for row in told.itertuples():
        assert row.entropy == pytest.approx(entropy(scores[row.template, row.demo_seed][row.order], measure))  # type: ignore[arg-type]
    (few, _) = sorted(run.rows, key=lambda row: -row.signature.shots)
    assert (few.signature.demo_order, few.seeds, few.orders) == (name, 2, 1)


def test_a_choice_needs_scores_of_the_same_prompt_on_the_split_for_choices(
    evaluate: Evaluate, project: Project
) -> None:
    with_choices(project)
    evaluate(demo_order="permuted:2")  # on reported items
    evaluate(demo_order="permuted:2", split="select", demo_seeds=1)
    evaluate(demo_order="permuted:2", split="select", demos="bm25")
    with pytest.raises(UsageError, match=r"--demo-order entropy: results holds no scores .*--split select"):
        evaluate(demo_order="entropy")
    evaluate(demo_order="permuted:2", split="select")
    assert evaluate(demo_order="entropy").rows


def test_items_with_options_of_their_own_have_no_labels_to_be_even_between(
    evaluate: Evaluate, project: Project
) -> None:
    path = project.root / "tasks/mood.yaml"
    text = path.read_text().replace("labels: [low, high]", "options: \"{{ ['low', 'high'] }}\"")
    path.write_text(text.replace(", macro_f1", ""))
    project.write("prompts/mood/plain.jinja", '---\nanswers: "{{ options }}"\n---\n{{ text }} {{ answer }}\n')
    with pytest.raises(UsageError, match="in the order of entropy for mood"):
        evaluate(demo_order="entropy", prompts="plain")


# Showing


@pytest.mark.parametrize(
    ("demos", "told"),
    [
        ("balanced", "(balanced, seed 3)"),
        ("bm25", "(bm25)"),
        ("mmr", "(mmr, by bm25)"),
        ("knn", "(knn, by tiny-gpt2)"),
    ],
)
def test_show_tells_how_demonstrations_were_drawn(
    plan: Plan, project: Project, tiny_gpt2: Path, capsys: pytest.CaptureFixture[str], demos: str, told: str
) -> None:
    (cell,) = plan(demos=demos, prompts="plain", shots=3, demo_seeds=3)
    expected = prompts(cell)[2]
    capsys.readouterr()
    values = {"shots": 3, "demo_seeds": 3, "demos": demos, "data_dir": project.root / "data"}
    more = {"demo_encoder": str(tiny_gpt2)} if demos == "knn" else {}
    print_preview(preview("mood", None, 2, {**values, **more}, QuietReporter()), QuietReporter())
    shown = capsys.readouterr().out
    assert f"3 demonstrations {told}\n{expected.text}" in shown
    drawn = cell.demos.draw(cell.items[2])
    lines = [f"{n}  {demo.item_id}  {demo.options[demo.gold]}  {demo.place}" for n, demo in enumerate(drawn, start=1)]
    assert "-- demonstrations in the order drawn, with their item_id\n" + "\n".join(lines) + "\n" in shown


# Mistakes


def test_mistakes_are_one_clear_line(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    project.write("mine.jsonl", as_lines([{"text": "My own words", "label": 0}]))
    project.write("columns.jsonl", as_lines([{"txt": "My own words", "label": 0}]))
    project.write("label.jsonl", as_lines([{"text": "My own words", "label": "middling"}]))
    project.write("unknown.jsonl", as_lines([{"item_id": "123"}]))
    project.write("broken.jsonl", "{")
    project.write("list.txt", "")
    given = ["run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--shots"]

    def mistake(*arguments: object) -> str:
        return harness(*given, *arguments).mistake

    assert "mood: 2 demonstrations were asked for, but the list of demonstrations holds 1; --shots takes at most 1" in (
        mistake(2, "--demos", "file:mine.jsonl")
    )
    assert "columns.jsonl:1: has no column 'text'" in mistake(1, "--demos", "file:columns.jsonl")
    assert "label.jsonl:1: target (label): must be an id from 0 to 1 or one of low, high" in (
        mistake(1, "--demos", "file:label.jsonl")
    )
    assert "unknown.jsonl:1: the pool of mood has no item '123'" in mistake(1, "--demos", "file:unknown.jsonl")
    assert "broken.jsonl:1: not valid JSON" in mistake(1, "--demos", "file:broken.jsonl")
    assert "file:list.txt: must be one of .jsonl, .json, .ndjson, .csv, .tsv, .parquet, .arrow" in mistake(
        1, "--demos", "file:list.txt"
    )
    assert "file:no.jsonl: no such file" in mistake(1, "--demos", "file:no.jsonl")
    assert "--demos: must be file:PATH" in mistake(1, "--demos", "file")
    assert "--demos: must be file:PATH" in mistake(1, "--demos", "file:")
    assert "did you mean 'bm25'? (choices: fixed, balanced," in mistake(1, "--demos", "bm26")
    assert "--demo-order: must be permuted:N" in mistake(1, "--demo-order", "permuted")
    assert "unknown value 'permuted:0' (choices: drawn, permuted:N, entropy, entropy:local)" in (
        mistake(1, "--demo-order", "permuted:0").replace("; did you mean 'permuted:N'?", "")
    )
    assert "--demo-encoder: ./nowhere: no such folder" in mistake(1, "--demos", "knn", "--demo-encoder", "./nowhere")
    assert "--demo-encoder tiny: --demos fixed uses no encoder; knn and mmr do" in mistake(1, "--demo-encoder", "tiny")
    assert "mood: 41 demonstrations were asked for, but the pool holds 40; --shots takes at most 40" in (
        mistake(41, "--demos", "bm25")
    )


def test_an_item_listed_twice(plan: Plan, project: Project) -> None:
    (cell,) = plan(prompts="plain")
    name = cell.demos.draw(cell.items[0])[0].item_id
    project.write("ids.jsonl", as_lines([{"item_id": name}] * 2))
    with pytest.raises(HarnessError, match=rf"ids.jsonl:2: lists the item {name} again"):
        plan(demos="file:ids.jsonl", shots=1)


@pytest.mark.parametrize("demos", NAMED)
def test_a_task_without_a_pool_says_so(plan: Plan, project: Project, demos: str) -> None:
    path = project.root / "tasks/mood.yaml"
    path.write_text(path.read_text().replace("pool: train, ", ""))
    with pytest.raises(HarnessError, match=r"mood.yaml: splits: the task has no role 'pool'"):
        plan(demos=demos)
