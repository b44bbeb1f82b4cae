"""``harness select``: the choice is made on one split, under a budget, and reported on another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import MOOD_TASK, Project

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def chosen(harness: Commands, project: Project, tiny_gpt2: Path) -> Any:
    """``harness select`` on a task with a split for choices; gives the JSON document."""
    project.write("tasks/mood.yaml", MOOD_TASK.replace("pool: train,", 'pool: train, select: "train[-20:]",'))
    project.write("prompts/mood/upside.jinja", "---\nanswers: [good, bad]\n---\nText: {{ text }}\nMood: {{ answer }}\n")

    def call(*options: object) -> dict[str, Any]:
        given = ("--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--json")
        return json.loads(harness.ok("select", *given, *options).out)  # type: ignore[no-any-return]

    return call


def test_the_budget_is_kept_and_halved_round_by_round(chosen: Any) -> None:
    found = chosen("--shots", "0,2", "--budget", "90")
    assert [len(standings) for standings in found["rounds"]] == [6, 3, 2]
    assert found["runs"] <= 90
    assert found["full"] == 6 * 20
    # floor(90 / (3 x 6)) = 5 items for six, 10 for three, and what is left of the 20 for two
    assert [standings[0]["n"] for standings in found["rounds"]] == [5, 15, 20]
    assert found["labels"] == 20
    assert found["runs"] == 6 * 5 + 3 * 10 + 2 * 5


def test_all_prompts_answer_the_same_items_and_the_better_half_goes_on(chosen: Any) -> None:
    found = chosen("--shots", "0,2", "--budget", "90")
    for standings, later in zip(found["rounds"], found["rounds"][1:], strict=False):
        assert len({standing["n"] for standing in standings}) == 1
        better = {standing["prompt"] for standing in standings[: (len(standings) + 1) // 2]}
        assert {standing["prompt"] for standing in later} == better
        accuracies = [standing["accuracy"] for standing in standings]
        assert accuracies == sorted(accuracies, reverse=True)
    assert found["winner"] == found["rounds"][-1][0]["prompt"]


def test_the_report_is_one_run_of_the_winner_on_items_that_played_no_part(chosen: Any) -> None:
    found = chosen("--budget", "60")
    (row,) = found["rows"]
    assert (row["role"], row["n"], row["templates"]) == ("report", 20, 1)
    (run,) = Path("results/runs").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    assert [cell["signature"]["role"] for cell in manifest["cells"]] == ["report"]
    assert manifest["cells"][0]["signature"]["template"] == found["winner"].split(",")[0]
    assert [cell["selection_labels"] for cell in manifest["cells"]] == [found["labels"]]
    assert row["labels_used"] == found["labels"] > 0
    assert pq.read_table(run / "predictions.parquet").num_rows == 20
    assert (manifest["options"]["split"], len(manifest["options"]["prompts"])) == ("report", 1), "not of the candidates"


def test_a_choice_made_again_computes_nothing(chosen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen("--shots", "0,2", "--budget", "90")
    monkeypatch.setattr("harness.runner.load_model", lambda *_: pytest.fail("the model was loaded"))
    assert chosen("--shots", "0,2", "--budget", "90") == first


def test_rules_cost_nothing_and_take_part(chosen: Any) -> None:
    plain, ruled = chosen("--budget", "60"), chosen("--budget", "60", "--rule", "sum,token,char")
    assert ruled["runs"] == plain["runs"]
    best = {one["prompt"].rsplit(", ", 1)[0]: one["accuracy"] for one in plain["rounds"][0]}
    for one in ruled["rounds"][0]:
        assert one["accuracy"] >= best[one["prompt"].rsplit(", ", 1)[0]]


def test_one_prompt_needs_no_choice(chosen: Any) -> None:
    found = chosen("--budget", "5", "--prompts", "plain")
    assert (found["rounds"], found["runs"], found["labels"]) == ([], 0, 0)
    assert found["winner"].startswith("mood/plain, 0-shot")


def test_mistakes_are_told(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    given = ("select", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2)
    assert "select" in harness(*given, "--budget", "90").mistake  # the task has no split for choices
    project.write("tasks/mood.yaml", MOOD_TASK.replace("pool: train,", 'pool: train, select: "train[-20:]",'))
    assert "--budget 1" in harness(*given, "--budget", "1").mistake
    project.write(
        "tasks/mood2.yaml", Path("tasks/mood.yaml").read_text().replace("name: mood", "name: mood2\nprompts: [mood]")
    )
    assert "one task at a time" in harness("select", "--tasks", "mood,mood2", *given[3:], "--budget", "90").mistake


def test_calibrations_are_readings_of_an_arm_and_never_pooled(chosen: Any) -> None:
    found = chosen("--budget", "60", "--calibrate", "none,contextual,batch", "--rule", "sum,char")
    assert max(one["n"] for standings in found["rounds"] for one in standings) <= 20
    apart = [chosen("--budget", "60", "--calibrate", name, "--rule", "sum,char") for name in ("none", "contextual")]
    together = chosen("--budget", "60", "--calibrate", "none,contextual", "--rule", "sum,char")

    def first_round(found: dict[str, Any]) -> dict[str, float]:
        return {one["prompt"].split(",")[0]: one["accuracy"] for one in found["rounds"][0]}

    best = {name: max(first_round(one)[name] for one in apart) for name in first_round(together)}
    assert first_round(together) == best
    (row,) = together["rows"]
    assert (row["calibration"] == "contextual") == together["winner"].endswith("contextual")


def test_calibrations_that_look_at_all_items_at_once_are_left_out(
    chosen: Any, harness: Commands, project: Project, tiny_gpt2: Path
) -> None:
    """A round may have fewer items than they need, and each round other ones."""
    assert chosen("--budget", "12", "--calibrate", "none,batch")["rounds"] == chosen("--budget", "12")["rounds"]
    given = ("select", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--budget", "12", "--calibrate")
    told = "batch calibration for a choice (it looks at all items at once, and a choice at a few)"
    assert f"left out: {told}" in harness.ok(*given, "batch,none").err
    assert harness(*given, "batch").mistake == f"nothing is left to choose from: {told}"


def test_notices_are_in_the_document_and_all_of_them_on_request(
    chosen: Any, harness: Commands, project: Project, tiny_gpt2: Path
) -> None:
    options = ("--budget", "60", "--controls", "content-free,partial,permuted", "--shots", "2")
    notices = [text for text in chosen(*options)["notices"] if "does not beat its control" in text]
    given = ("select", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, *options, "--notices")
    told = harness.ok(*given).err
    assert notices
    assert all(f"note: {text}" in told for text in notices)


def test_controls_are_no_arms_and_are_run_beside_the_chosen_prompt(chosen: Any) -> None:
    plain = chosen("--budget", "60")
    found = chosen("--budget", "60", "--controls", "content-free")
    assert (found["rounds"], found["runs"], found["full"]) == (plain["rounds"], plain["runs"], plain["full"])
    assert [row["control"] for row in found["rows"]] == [None, "content-free"]
