"""The command line as its user meets it: one clear line for each mistake, and tables that other programs can read."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import Commands, Outcome, outcome, start
from conftest import MOOD_TASK, Project

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., Outcome]


@pytest.fixture
def run(harness: Commands, project: Project) -> Run:
    """``harness run`` of the project's task with a model that is not there, so that other mistakes must show first."""

    def call(*options: object, tasks: str = "mood", model: object = "./nothing", data: object = "data") -> Outcome:
        given = ("--tasks", tasks, "--model", model, "--data-dir", data)
        return harness("run", *given, *options)

    return call


@pytest.fixture
def run_tiny(run: Run, tiny_gpt2: Path) -> Run:
    """``harness run`` of the project's task with a model that works."""
    return lambda *options, **more: run(*options, **{"model": tiny_gpt2, **more})


def expect(outcome: Outcome, status: int, *fragments: str) -> None:
    """A command must have failed with this status and a line that holds the fragments in this order."""
    line = outcome.mistake
    assert outcome.status == status, line
    pattern = ".*".join(map(re.escape, fragments))
    assert re.search(pattern, line), f"{line!r} lacks {fragments}"


# What is typed


@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        (["leaderbord"], ["'leaderbord'", "did you mean 'leaderboard'?", "list", "run", "show"]),
        (["xyzzy"], ["'xyzzy'", "commands: ", "leaderboard", "list", "run", "show"]),
        (["run", "--task", "mood"], ["--task", "--tasks"]),
        (["run", "--xyzzy"], ["--xyzzy"]),
        (["list", "task"], ["'task'", "did you mean 'tasks'?", "tasks, prompts, runs"]),
        (["list"], ["tasks|prompts|runs"]),
        (["list", "prompts", "--tasks", "mod"], ["unknown task 'mod'", "did you mean 'mood'?"]),
        (["show"], ["TASK"]),
        (["show", "mod"], ["unknown task 'mod'", "did you mean 'mood'?"]),
        (["show", "mood", "--shots", "-1"], ["--shots", "-1"]),
        (["show", "mood", "--shots", "two"], ["--shots", "'two'"]),
        (["run"], ["--tasks", "harness list tasks"]),
        (["run", "--model", "./nothing"], ["--tasks"]),
        (["run", "--tasks"], ["--tasks"]),
        (["run", "one.yaml", "two.yaml"], ["two.yaml"]),
        (["leaderboard", "--format", "md"], ["--format", "'md'", "table, markdown, csv, latex, json"]),
        (["leaderboard", "--format", "jsn"], ["--format", "did you mean 'json'?"]),
        (["leaderboard", "--json", "--format", "csv"], ["--json and --format csv", "name one format"]),
        (["run", "--tasks", "mood", "--json", "--format", "table"], ["--json and --format table"]),
        (["baseline", "--tasks", "mood", "--format", "latex", "--json"], ["--json and --format latex"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_that_names_the_choices(
    harness: Commands, project: Project, typed: list[str], fragments: list[str]
) -> None:
    expect(harness(*typed), 2, *fragments)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--shots", "-1"], ["--shots", "at least 0", "-1"]),
        (["--shots", "0,-4"], ["--shots", "at least 0", "-4"]),
        (["--shots", "two"], ["--shots", "whole number", "'two'"]),
        (["--shots", "2.5"], ["--shots", "whole number", "'2.5'"]),
        (["--shots", "--1"], ["--shots", "whole number", "'--1'"]),
        (["--shots", "²"], ["--shots", "whole number", "'²'"]),
        (["--shots", ""], ["--shots", "names nothing"]),
        (["--demo-seeds", "-1"], ["--demo-seeds", "-1"]),
        (["--demo-seeds", "a"], ["--demo-seeds", "'a'"]),
        (["--limit", "0"], ["--limit", "at least 1", "0"]),
        (["--limit", "-3"], ["--limit", "-3"]),
        (["--limit", "ten"], ["--limit", "'ten'", "integer"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--demos", "balance"], ["--demos", "'balance'", "did you mean 'balanced'?", "fixed, balanced, per-item"]),
        (["--demos", "xyzzy"], ["--demos", "'xyzzy'", "fixed, balanced, per-item"]),
        (["--rule", "tokens"], ["--rule", "'tokens'", "did you mean 'token'?", "sum, token, char, byte"]),
        (["--rule", "sum,pmx"], ["--rule", "'pmi'", "sum, token, char, byte"]),
        (["--dtype", "float23"], ["--dtype", "did you mean 'float32'?", "auto, float32, bfloat16, float16"]),
        (["--bos", "alway"], ["--bos", "did you mean 'always'?", "auto, always, never"]),
        (["--split", "reprt"], ["--split", "did you mean 'report'?", "select, report"]),
        (["--split", "pool"], ["--split", "'pool'", "select, report"]),
        (["--format", "markdwon"], ["--format", "did you mean 'markdown'?"]),
        (["--data", "smaple"], ["--data", "did you mean 'sample'?", "auto, sample, hub"]),
        (["--prompts", "plane"], ["unknown prompt 'plane'", "did you mean 'plain'?", "plain, terse"]),
        (["--prompts", "z*"], ["'z*'", "plain, terse"]),
        (["--model-arg", "x"], ["--model-arg x", "NAME=VALUE"]),
        (["--model-arg", "=1"], ["--model-arg =1", "NAME=VALUE"]),
        (["--model-arg", "x=[1"], ["--model-arg", "YAML"]),
        (["--model-arg", "dtype=float16"], ["--model-arg dtype", "--dtype"]),
        (["--model-arg", "trust_remote_code=true"], ["--model-arg trust_remote_code", "--trust-remote-code"]),
        (["--include-path", "nowhere"], ["--include-path nowhere", "no such folder"]),
        (["--include-path", "data"], ["--include-path data", "neither a tasks nor a prompts folder"]),
    ],
    ids=" ".join,
)
def test_wrong_option_of_run_is_named_before_the_missing_model(
    run: Run, options: list[str], fragments: list[str]
) -> None:
    expect(run(*options), 2, *fragments)


@pytest.mark.parametrize(
    ("tasks", "fragments"),
    [
        ("sst", ["unknown task 'sst'", "did you mean 'sst2'?", "mood", "sst2"]),
        ("mood,sst", ["unknown task 'sst'"]),
        ("qqq_*", ["'qqq_*'", "mood"]),
        (",", ["--tasks", "names nothing"]),
    ],
)
def test_unknown_task_is_named_with_the_nearest(run: Run, tasks: str, fragments: list[str]) -> None:
    expect(run(tasks=tasks), 2, *fragments)


def test_no_arguments_show_the_help_as_it_is(harness: Commands) -> None:
    outcome = harness()
    assert outcome.status == 2
    assert outcome.err.startswith("Usage: ")
    assert "\n  leaderboard " in outcome.err


def test_version_and_help_succeed(harness: Commands) -> None:
    assert metadata.version("harness") in harness.ok("--version").out
    assert "--shots" in harness.ok("run", "--help").out


# The model


def test_missing_model_folder_suggests_its_neighbour(run: Run, tiny_gpt2: Path) -> None:
    expect(run(model=tiny_gpt2.parent / "tiny-gtp2"), 1, "tiny-gtp2: no such folder", "did you mean 'tiny-gpt2'?")


@pytest.mark.parametrize("model", ["mine/tiny-gtp2", "tiny-gtp2"])
def test_name_that_may_be_a_folder_or_a_hub_id_suggests_the_folder(
    run: Run, project: Project, tiny_gpt2: Path, model: str
) -> None:
    shutil.copytree(tiny_gpt2, project.root / "mine" / "tiny-gpt2")
    shutil.copytree(tiny_gpt2, project.root / "tiny-gpt2")
    expect(run(model=model), 1, f"{model}: no such folder here", "did you mean 'tiny-gpt2'?")


def test_model_that_is_a_file_is_refused(run: Run) -> None:
    expect(run(model="tasks/mood.yaml"), 1, "tasks/mood.yaml: is a file", "--model")


def _cut_weights(model: Path) -> None:
    os.truncate(model / "model.safetensors", 50_000)


def _drop_weight(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    del weights["transformer.ln_f.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def _drop_tokenizer(model: Path) -> None:
    for path in model.glob("token*"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "fragments"),
    [
        pytest.param(lambda m: (m / "config.json").unlink(), ["no config.json"], id="no config"),
        pytest.param(lambda m: (m / "model.safetensors").unlink(), ["no weights", ".safetensors"], id="no weights"),
        pytest.param(_cut_weights, ["model.safetensors: is cut off"], id="truncated weights"),
        pytest.param(_drop_weight, ["lack 1 weights", "transformer.ln_f.weight"], id="a weight is missing"),
        pytest.param(
            lambda m: (m / "config.json").write_text("{]"), ["config.json: cannot be read"], id="garbage config"
        ),
        pytest.param(
            lambda m: (m / "config.json").write_text("{}"), ["config.json: names no model_type"], id="empty config"
        ),
        pytest.param(
            lambda m: (m / "config.json").write_text('{"model_type": "gtp2"}'), ["gtp2"], id="unknown architecture"
        ),
        pytest.param(
            lambda m: (m / "config.json").rename(m / "adapter_config.json"), ["PEFT adapter"], id="adapter only"
        ),
        pytest.param(_drop_tokenizer, ["tokenizer", "tokenizer.json"], id="no tokenizer"),
        pytest.param(lambda m: (m / "tokenizer.json").write_text("{}"), ["tokenizer"], id="garbage tokenizer"),
    ],
)
def test_broken_model_folder_is_named_with_what_is_wrong(
    run: Run, project: Project, tiny_gpt2: Path, spoil: Callable[[Path], object], fragments: list[str]
) -> None:
    model = project.root / "broken"
    shutil.copytree(tiny_gpt2, model)
    spoil(model)
    expect(run(model="./broken"), 1, "broken", *fragments)


def test_revision_of_a_folder_is_refused(run_tiny: Run) -> None:
    expect(run_tiny("--revision", "main"), 2, "--revision main", "folder", "hub")


@pytest.mark.parametrize(
    ("device", "fragments"),
    [
        ("gpu", ["--device gpu", "auto, cpu, cuda, cuda:N or mps"]),
        ("meta", ["--device meta", "not available", "cpu"]),
        ("cuda:77", ["--device cuda:77"]),
    ],
)
def test_unavailable_device_is_refused(run_tiny: Run, device: str, fragments: list[str]) -> None:
    expect(run_tiny("--device", device), 2, *fragments)


def test_cuda_on_a_machine_without_is_refused(run_tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expect(run_tiny("--device", "cuda"), 2, "--device cuda: not available on this machine", "cpu")


def test_loader_argument_that_the_model_does_not_take_is_named(run_tiny: Run) -> None:
    expect(run_tiny("--model-arg", "bogus=1"), 1, "bogus=1", "unexpected")


def test_hub_id_while_offline_fails_within_seconds(project: Project) -> None:
    given = ["run", "--tasks", "mood", "--data-dir", "data", "--model", "nobody/nothing"]
    failed = outcome(start(given, project.root, HF_HUB_OFFLINE="1"))
    expect(failed, 1, "nobody/nothing", "HF_HUB_OFFLINE", "not in the local cache")
    assert failed.seconds < 5


@pytest.mark.slow
def test_hub_that_never_answers_fails_within_seconds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(model="nobody/nothing")  # what is imported for it is imported now
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        failed = run(model="nobody/nothing")
    expect(failed, 1, "nobody/nothing", "http://127.0.0.1:", "cannot be reached")
    assert failed.seconds < 5


@pytest.mark.slow
def test_model_and_data_in_folders_ask_nothing_of_the_hub(project: Project, tiny_gpt2: Path) -> None:
    given = ["run", "--tasks", "mood", "--model", tiny_gpt2, "--data-dir", "data"]
    with socket.create_server(("127.0.0.1", 0)) as hub:
        endpoint = f"http://127.0.0.1:{hub.getsockname()[1]}"
        done = outcome(start(given, project.root, HF_HUB_OFFLINE="", HF_ENDPOINT=endpoint))
        hub.setblocking(False)
        with pytest.raises(BlockingIOError):
            hub.accept()
    assert done.status == 0, done.err


# Demonstrations


def test_more_shots_than_the_pool_holds(run_tiny: Run, project: Project) -> None:
    project.write_rows("data/mood/train.jsonl", 3, seed=7)
    expect(run_tiny("--shots", "0,4"), 2, "mood", "4 demonstrations", "the pool holds 3")


def test_task_without_a_pool_refuses_shots(run: Run, project: Project) -> None:
    project.write("tasks/mood.yaml", MOOD_TASK.replace("pool: train, ", ""))
    expect(run("--shots", "4"), 1, "mood.yaml", "splits", "'pool'", "0 shots")


def test_task_without_the_role_asked_for_names_those_it_has(run: Run) -> None:
    expect(run("--split", "select"), 1, "mood.yaml", "splits", "'select'", "pool, report")


def test_item_of_show_that_is_not_there_names_the_range(harness: Commands, project: Project) -> None:
    expect(harness("show", "mood", "--data-dir", "data", "--item", 20), 2, "--item 20", "0 to 19")


# Data


def test_missing_data_folder(run: Run) -> None:
    expect(run(data="dta"), 1, "dta: no such data folder", "--data-dir")


def test_missing_data_folder_of_the_environment_is_no_fallback(
    harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA_DIR", "dta")
    expect(harness("run", "--tasks", "mood", "--model", "./nothing"), 1, "dta: no such data folder", "HARNESS_DATA_DIR")


def test_data_folder_without_the_task(run: Run, project: Project) -> None:
    (project.root / "data" / "mood").rename(project.root / "data" / "moods")
    expect(run(), 1, "data", "no folder 'mood'", "did you mean 'moods'?")


def test_data_folder_without_the_split(run: Run, project: Project) -> None:
    folder = project.root / "data" / "mood"
    (folder / "test.jsonl").rename(folder / "tset.jsonl")
    expect(run(), 1, "data/mood", "test{.jsonl,.json,.ndjson,.csv,.tsv,.parquet,.arrow}", "did you mean 'tset'?")


def test_task_with_a_folder_only_and_none_named(harness: Commands, project: Project) -> None:
    failed = harness("run", "--tasks", "mood", "--model", "./nothing")
    expect(failed, 1, "mood.yaml", "source", "--data-dir")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "", "HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
    ],
    ids=["told to be offline", "refused"],
)
def test_hub_data_while_offline_fails_within_seconds(
    project: Project, environment: dict[str, str], reason: str
) -> None:
    project.write("tasks/mood.yaml", MOOD_TASK.replace("{folder: mood}", "{hub: nobody/mood}"))
    given = ["run", "--tasks", "mood", "--model", "./nothing"]
    failed = outcome(start(given, project.root, HF_HOME=str(project.root / "hub"), **environment))
    expect(failed, 1, "nobody/mood", reason, "not in the local cache", "--data-dir")
    assert failed.seconds < 5
    assert len(failed.err.splitlines()) == 1


def test_sample_of_a_task_that_has_none(harness: Commands, project: Project) -> None:
    failed = harness("run", "--tasks", "mood", "--model", "./nothing", "--data", "sample")
    expect(failed, 2, "--data sample", "'mood'")


_GOOD = '{"text": "fine", "label": 1}\n'


@pytest.mark.parametrize(
    ("file", "text", "fragments"),
    [
        ("test.jsonl", _GOOD + '{"text": "fine", "label": \n', ["test.jsonl:2", "JSON"]),
        ("test.jsonl", _GOOD + "[1, 2]\n", ["test.jsonl:2", "object"]),
        ("test.jsonl", _GOOD + '{"sentence": "x", "label": 1}\n', ["test.jsonl:2", "'text'", "mood.yaml", "sentence"]),
        ("test.jsonl", _GOOD + '{"text": "x", "lable": 1}\n', ["test.jsonl:2", "'label'", "did you mean 'lable'?"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": 2}\n', ["test.jsonl:2", "label", "0 to 1", "low, high", "2"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": "hi"}\n', ["test.jsonl:2", "label", "low, high", "'hi'"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": 0.5}\n', ["test.jsonl:2", "label", "0.5"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": true}\n', ["test.jsonl:2", "label", "True"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": null}\n', ["test.jsonl:2", "label", "null"]),
        ("test.jsonl", _GOOD + '{"text": "x", "label": -1}\n', ["test.jsonl:2", "-1", "no public labels"]),
        (
            "test.jsonl",
            _GOOD + '{"text": "x", "label": ' + "1" * 5000 + "}\n",
            ["test.jsonl:2", "low, high", "1111"],
        ),
        ("test.jsonl", _GOOD + '{"text": "x\\ud83d", "label": 1}\n', ["test.jsonl:2", "surrogate"]),
        ("test.jsonl", _GOOD + '{"text": ' + "[" * 100_000 + "\n", ["test.jsonl:2", "JSON"]),
        ("test.jsonl", "", ["test.jsonl", "no row"]),
        ("test.csv", "text,label\nfine,1\nfine\n", ["test.csv:3", "1 values for 2 columns"]),
        ("test.csv", "text,label\nfine,1\nso, so,1\n", ["test.csv:3", "3 values for 2 columns"]),
        ("test.csv", "text,text\nfine,1\n", ["test.csv:1", "twice"]),
        ("test.csv", 'text,label\n"fine,1\n', ["test.csv", "CSV"]),
        ("test.tsv", "text\tlabel\nfine\t1\nfine\t1\t1\n", ["test.tsv:3", "3 values for 2 columns"]),
        ("test.parquet", "text,label\n", ["test.parquet", "Parquet"]),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_malformed_row_is_named_by_file_and_line(
    run: Run, project: Project, file: str, text: str, fragments: list[str]
) -> None:
    (project.root / "data" / "mood" / "test.jsonl").unlink()
    project.write(f"data/mood/{file}", text)
    expect(run(), 1, *fragments)


def test_text_that_is_no_utf8_is_named(run: Run, project: Project) -> None:
    (project.root / "data" / "mood" / "test.jsonl").write_bytes(b'{"text": "caf\xe9", "label": 1}\n')
    expect(run(), 1, "test.jsonl:1", "UTF-8", "0xe9", "Latin-1")


def test_field_that_is_null_is_named_by_template_and_row(run_tiny: Run, project: Project) -> None:
    project.write("data/mood/test.jsonl", _GOOD + '{"text": null, "label": 1}\n')
    expect(run_tiny(), 1, "plain.jinja:4", "None", "test.jsonl:2")


# Task files


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (("metrics:", "metrcs:"), ["mood.yaml:8", "'metrcs'", "did you mean 'metrics'?"]),
        (("{folder: mood}", "{foldr: mood}"), ["mood.yaml:3", "foldr", "did you mean 'folder'?"]),
        (("{folder: mood}", "{folder: ../mood}"), ["mood.yaml:3", "folder"]),
        (("{folder: mood}", "{}"), ["mood.yaml:3", "source", "folder", "hub"]),
        (("source: {folder: mood}", "source: mood"), ["mood.yaml:3", "source", "'mood'"]),
        (("target: label", "target: [label]"), ["mood.yaml:6", "target", "string"]),
        (("family: sentiment", "family: 3"), ["mood.yaml:2", "family", "string", "3"]),
        (("target: label\n", ""), ["mood.yaml", "'target'", "missing"]),
        (("target: label", "target: label\ntarget: label"), ["mood.yaml:7", "'target'", "twice"]),
        (("macro_f1", "macro_f2"), ["mood.yaml:8", "metrics", "'macro_f2'", "did you mean 'macro_f1'?"]),
        (("report: test", "report: 'test[1-2]'"), ["mood.yaml:4", "splits", "report", "train[-256:]", "test[1-2]"]),
        (("report: test", "test: test"), ["mood.yaml:4", "splits", "report"]),
        (("metrics:", 'options: "{{ text }}"\nmetrics:'), ["mood.yaml", "labels", "options"]),
        (("labels: [low, high]\n", ""), ["mood.yaml", "labels", "options"]),
        (("labels: [low, high]", "labels: [low]"), ["mood.yaml", "labels", "two"]),
        (("labels: [low, high]", "labels: [low, low]"), ["mood.yaml", "labels", "once"]),
        (("labels: [low, high]", "labels: [0, 1]"), ["mood.yaml:7", "labels", "string", "0"]),
        (("name: mood", "name: moods"), ["mood.yaml:1", "name", "'moods'", "'mood'"]),
        (("metrics:", "rule: summ\nmetrics:"), ["mood.yaml:8", "rule", "did you mean 'sum'?"]),
        (("fields: [text]", "fields: [[text]]"), ["mood.yaml:5", "fields", "[['text']]"]),
        (("fields: [text]", "fields: [answer]"), ["mood.yaml:5", "fields", "'answer'"]),
        (("fields: [text]", 'fields: {text: "{{ text | uper }}"}'), ["mood.yaml:5", "uper", "did you mean 'upper'?"]),
        (("fields: [text]", "fields: [text"), ["mood.yaml:6", "YAML"]),
        (("name: mood", "name: !!python/object/apply:os.system [true]"), ["mood.yaml:1", "YAML", "python"]),
        (("name: mood", "? [a]\n: b\nname: mood"), ["mood.yaml:1", "YAML", "keys must be strings"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else repr(value[1]),
)
def test_mistake_in_a_task_file_is_named_by_line_and_key(
    run: Run, project: Project, change: tuple[str, str], fragments: list[str]
) -> None:
    assert change[0] in MOOD_TASK
    project.write("tasks/mood.yaml", MOOD_TASK.replace(*change))
    expect(run(), 1, *fragments)


def test_alias_bomb_is_refused_soon(run: Run, project: Project) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    project.write("tasks/mood.yaml", bomb)
    failed = run()
    expect(failed, 1, "mood.yaml:2", "YAML", "alias")
    assert failed.seconds < 1


def test_broken_task_file_fails_only_the_commands_that_use_it(
    harness: Commands, run_tiny: Run, project: Project
) -> None:
    project.write("tasks/wrong.yaml", "name: wrong\nfamly: x\n")
    listed = harness.ok("list", "tasks")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("wrong ")]
    assert line.split() == ["wrong", "invalid"]
    assert "wrong.yaml" in listed.err
    assert any(line.startswith("mood ") and "sentiment" in line for line in listed.out.splitlines())
    assert run_tiny().status == 0
    expect(run_tiny(tasks="mood,wrong"), 1, "wrong.yaml")
    expect(harness("show", "wrong"), 1, "wrong.yaml")


# Template files


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("{{ text }} {{ answer }}\n", ["plain.jinja:1", "front matter", "answers:"]),
        ("---\nanswers: [bad, good]\n{{ text }} {{ answer }}\n", ["plain.jinja:1", "front matter"]),
        ("---\n---\n{{ text }} {{ answer }}\n", ["plain.jinja", "'answers'", "missing"]),
        ("---\nanswrs: [bad, good]\n---\n{{ answer }}\n", ["plain.jinja", "'ans"]),
        ("---\nanswers: [bad, good]\nscor: rest\n---\n{{ answer }}\n", ["plain.jinja:3", "did you mean 'score'?"]),
        (
            "---\nanswers: [bad, good]\nscore: rst\n---\n{{ answer }}\n",
            ["plain.jinja:3", "score", "did you mean 'rest'?"],
        ),
        ("---\nanswers: [bad, ok, good]\n---\n{{ answer }}\n", ["plain.jinja:2", "answers", "3", "2 labels low, high"]),
        ("---\nanswers: [bad, 1]\n---\n{{ answer }}\n", ["plain.jinja:2", "answers", "1"]),
        ("---\nanswers: [bad, '']\n---\n{{ answer }}\n", ["plain.jinja:2", "answers", "non-empty"]),
        ("---\nanswers: leters\n---\n{{ answer }}\n", ["plain.jinja:2", "answers", "letters", "'leters'"]),
        (
            "---\nanswers: [bad, good]\n---\n{{ text }}\n{{ txet }} {{ answer }}\n",
            ["plain.jinja:5", "'txet'", "did you mean 'text'?"],
        ),
        ("---\nanswers: [bad, good]\n---\n{{ label }} {{ answer }}\n", ["plain.jinja:4", "'label'", "text"]),
        ("---\nanswers: [bad, good]\n---\n{{ text }}\n", ["plain.jinja", "{{ answer }}"]),
        ("---\nanswers: [bad, good]\n---\n{{ answer }} {{ answer }}\n", ["plain.jinja", "exactly once", "2 times"]),
        ("---\nanswers: [bad, good]\n---\n{% if false %}{{ answer }}{% endif %}\n", ["plain.jinja", "never"]),
        ("---\nanswers: [bad, good]\n---\n{{ text }}\n{{ answer | upper }}\n", ["plain.jinja:5", "'answer'", "filter"]),
        ("---\nanswers: [bad, good]\n---\n{{ answer }} it is.\n", ["plain.jinja", "'it is.'", "score: completion"]),
        ("---\nanswers: [bad, good]\n---\n{{ text }}\n{{ answer \n", ["plain.jinja:5"]),
        ("---\nanswers: [bad, good]\n---\n{% if text %}\n{{ answer }}\n", ["plain.jinja:"]),
        ("---\nanswers: [bad, good]\n---\n{% include 'x' %}{{ answer }}\n", ["plain.jinja:4", "include", "for, if"]),
        (
            "---\nanswers: [bad, good]\n---\n\n{{ text | uper }} {{ answer }}\n",
            ["plain.jinja:5", "'uper'", "did you mean 'upper'?"],
        ),
        ("---\nanswers: [bad, good\n---\n{{ answer }}\n", ["plain.jinja:", "YAML"]),
    ],
)
def test_mistake_in_a_template_is_named_by_line(
    run_tiny: Run, project: Project, text: str, fragments: list[str]
) -> None:
    project.write("prompts/mood/plain.jinja", text)
    expect(run_tiny("--prompts", "plain"), 1, *fragments)


def test_broken_template_spoils_no_run_without_it_and_is_flagged(
    harness: Commands, run_tiny: Run, project: Project
) -> None:
    project.write("prompts/mood/wrong.jinja", "{{ text }}")
    listed = harness.ok("list", "prompts", "--tasks", "mood")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("mood/wrong")]
    assert line.split() == ["mood/wrong", "invalid"]
    assert "wrong.jinja" in listed.err
    assert run_tiny("--prompts", "plain,terse").status == 0
    expect(run_tiny(), 1, "wrong.jinja")


def test_task_without_a_template_names_where_they_go(run: Run, project: Project) -> None:
    shutil.rmtree(project.root / "prompts")
    expect(run(), 2, "'mood'", ".jinja", "prompts/mood")


# Grid files


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("tasks: mood\nshot: 4\n", ["grid.yaml:2", "'shot'", "did you mean 'shots'?"]),
        ("tasks: mood\nshots: [0, four]\n", ["grid.yaml:2", "shots", "whole number", "'four'"]),
        ("tasks: mood\nlimit: 0\n", ["grid.yaml:2", "limit", "at least 1", "0"]),
        ("tasks: mood\ndemos: fxed\n", ["grid.yaml:2", "demos", "did you mean 'fixed'?"]),
        ("tasks: []\n", ["grid.yaml:1", "tasks"]),
        ("model: [a, b]\n", ["grid.yaml:1", "model", "string"]),
        ("- tasks\n", ["grid.yaml", "mapping", "list"]),
        ("tasks: [mood\n", ["grid.yaml", "YAML"]),
    ],
)
def test_mistake_in_a_grid_file_is_named_by_line_and_key(
    harness: Commands, project: Project, text: str, fragments: list[str]
) -> None:
    project.write("grid.yaml", text)
    expect(harness("run", "grid.yaml", "--model", "./nothing"), 1, *fragments)


def test_missing_grid_file(harness: Commands, project: Project) -> None:
    expect(harness("run", "gird.yaml", "--model", "./nothing"), 2, "gird.yaml: no such grid file", "--tasks")


# The results folder


@pytest.mark.parametrize("results", ["taken", "taken/deeper"])
def test_results_folder_that_is_a_file(run_tiny: Run, project: Project, results: str) -> None:
    project.write("taken", "not a folder")
    failed = run_tiny("--results", results)
    expect(failed, 1, f"{results}/runs/", "cannot be written", "director")
    assert ".tmp" not in failed.err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_results_folder_that_may_not_be_written(run_tiny: Run, project: Project) -> None:
    (project.root / "results").mkdir(mode=0o500)
    expect(run_tiny(), 1, "results/runs/", "cannot be written", "Permission denied")


def _full_disk(path: object, *rest: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_full_disk_while_scores_are_stored(
    run_tiny: Run, harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", _full_disk)
        expect(run_tiny(), 1, "results/scores/", "cannot be written", "No space left on device")
    assert not list((project.root / "results").rglob("*.tmp"))
    assert "failed" in harness.ok("list", "runs").out
    assert run_tiny().status == 0


def test_disk_that_fills_up_when_scores_are_in_keeps_them(
    run_tiny: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pq.write_table

    def first_only(table: Any, where: Any, **more: Any) -> None:  # a path, or a file that is open
        if "scores" not in (where if isinstance(where, Path) else Path(where.name)).parts:
            _full_disk(where)
        write(table, where, **more)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", first_only)
        expect(run_tiny(), 1, "candidates.parquet", "No space left on device")
    assert "were in the store" in run_tiny().err


@pytest.mark.slow
def test_file_size_limit_of_the_system_is_told_in_one_line(project: Project, tiny_gpt2: Path) -> None:
    """A real failure of the system's own write, in the middle of a file."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    driver = project.write("limited.py", f"import resource\nfrom harness.cli import main\n{limit}\nmain()\n")
    given = ["run", "--tasks", "mood", "--model", tiny_gpt2, "--data-dir", "data"]
    expect(outcome(start(given, project.root, driver=driver)), 1, "results/", "cannot be written", "File too large")


def test_leaderboard_without_runs_says_how_to_make_one(harness: Commands, project: Project) -> None:
    expect(harness("leaderboard", "--results", "nowhere"), 1, "nowhere", "no finished run", "harness run")


def test_leaderboard_of_a_task_without_runs_names_those_with(harness: Commands, run_tiny: Run) -> None:
    run_tiny("--limit", "2")
    expect(harness("leaderboard", "--tasks", "mod"), 2, "'mod'", "did you mean 'mood'?")


def test_damaged_run_is_passed_over_with_a_line(harness: Commands, run_tiny: Run, project: Project) -> None:
    run_tiny("--limit", "2")
    project.write("results/runs/20200101T000000-aaaaaa/manifest.json", "{")
    ranked = harness.ok("leaderboard", "--json")
    assert len(json.loads(ranked.out)["rows"]) == 1
    assert "20200101T000000-aaaaaa: damaged" in ranked.err
    assert "20200101T000000-aaaaaa: damaged" in harness.ok("list", "runs").err


# Output


def strict_json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("limit", [[], ["--limit", "1"]], ids=["all items", "one item"])
def test_json_document_keeps_the_contract(run_tiny: Run, limit: list[str]) -> None:
    printed = run_tiny("--shots", "0,2", "--demo-seeds", "0,1,2", "--json", *limit)
    document = strict_json(printed.out)
    assert list(document) == ["schema", "rows", "notices"]
    assert document["schema"] == 1
    for row, shots, seeds in zip(document["rows"], (0, 2), (1, 3), strict=True):
        assert row["task"] == "mood"
        assert row["data"] == "folder"
        assert row["model"] == "tiny-gpt2"
        assert (row["shots"], row["seeds"], row["templates"]) == (shots, seeds, 2)
        assert row["n"] == (1 if limit else 20)
        accuracy = row["accuracy"]
        assert {"mean", "low", "high", "worst", "best"} <= set(accuracy)
        assert row["macro_f1"]["low"] is None if limit else accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
        assert accuracy["worst"] <= accuracy["mean"] <= accuracy["best"]


def test_format_json_is_json(run_tiny: Run) -> None:
    assert strict_json(run_tiny("--json").out)["rows"] == strict_json(run_tiny("--format", "json").out)["rows"]


def test_one_item_has_no_nan_in_any_format(harness: Commands, run_tiny: Run) -> None:
    run_tiny("--limit", "1")
    for format_ in ("table", "markdown", "latex"):
        assert "nan" not in harness.ok("leaderboard", "--format", format_).out.lower()


def test_accuracy_of_the_document_is_that_of_the_predictions_file(run_tiny: Run, project: Project) -> None:
    (row,) = strict_json(run_tiny("--json").out)["rows"]
    (path,) = project.root.glob("results/runs/*/predictions.parquet")
    stored = pq.read_table(path, partitioning=None).to_pylist()
    hits = [line["gold"] == line["prediction"] for line in stored]
    assert len(hits) == 2 * 20
    assert row["accuracy"]["mean"] == pytest.approx(sum(hits) / 40)
    said = [json.loads(line["prediction"]) for line in stored]
    assert row["predicted"] == pytest.approx({"low": said.count(0) / 40, "high": said.count(1) / 40})


@pytest.mark.parametrize("format_", ["table", "markdown", "csv", "latex", "json"])
def test_standard_output_holds_the_table_alone(run_tiny: Run, project: Project, format_: str) -> None:
    data = project.root / "data/mood"
    (data / "train.jsonl").write_text((data / "train.jsonl").read_text() + (data / "test.jsonl").read_text())
    printed = run_tiny("--shots", "2", "--format", format_)
    assert printed.status == 0
    assert "20 rows of the pool equal a reported item" in printed.err
    for said in ("stored in", "note: ", *([] if format_ == "json" else ["rows of the pool"])):
        assert said not in printed.out


def test_notices_stand_in_the_json_document_or_on_standard_error(run_tiny: Run, project: Project) -> None:
    long = "word " * 300
    project.write(
        "prompts/mood/plain.jinja",
        f"---\nanswers: [bad, good]\ndescription: {long}\n---\n{{{{ text }}}} {{{{ answer }}}}\n",
    )
    printed = run_tiny("--prompts", "plain", "--json")
    (notice,) = strict_json(printed.out)["notices"]
    assert "20 of 20 prompts do not fit" in notice
    assert f"note: {notice}" in run_tiny("--prompts", "plain").err


ODD = r"a|b%c_d&e"


@pytest.fixture
def odd_results(harness: Commands, project: Project, tiny_gpt2: Path, kept: Path) -> Commands:
    """Results of a model and a template whose names hold what Markdown and LaTeX give a meaning to."""
    if kept.exists():
        shutil.copytree(kept, "results")
        return harness
    shutil.copytree(tiny_gpt2, project.root / ODD)
    (project.root / "prompts/mood/plain.jinja").rename(project.root / f"prompts/mood/{ODD}.jinja")
    given = ("--tasks", "mood", "--data-dir", "data", "--limit", 8)
    harness.ok("run", *given, "--model", f"./{ODD}", "--prompts", ODD)
    harness.ok("run", *given, "--model", tiny_gpt2, "--prompts", "terse", "--shots", "0,1")
    shutil.copytree("results", kept)
    return harness


def test_markdown_parses_back(odd_results: Commands) -> None:
    lines = odd_results.ok("leaderboard", "--format", "markdown").out.splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert set(cells[1]) == {"---", "---:"}
    rows = [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    assert sorted((row["model"].replace("\\|", "|"), row["k"]) for row in rows) == [
        (ODD, "0"), ("tiny-gpt2", "0"), ("tiny-gpt2", "1"),
    ]  # fmt: skip
    assert all(row["n"] == "8" for row in rows)


def test_csv_parses_back_to_the_numbers_of_the_json_document(odd_results: Commands) -> None:
    table = list(csv.DictReader(io.StringIO(odd_results.ok("leaderboard", "--format", "csv").out)))
    rows = strict_json(odd_results.ok("leaderboard", "--json").out)["rows"]
    assert [line["model"] for line in table] == [row["model"] for row in rows]
    assert ODD in {line["model"] for line in table}
    for line, row in zip(table, rows, strict=True):
        assert (int(line["n"]), int(line["shots"])) == (row["n"], row["shots"])
        assert float(line["accuracy"]) == row["accuracy"]["mean"]
        assert float(line["accuracy_low"]) == row["accuracy"]["low"]
        assert line["accuracy_best_template"] == row["accuracy"]["best_template"]


def test_latex_escapes_what_has_a_meaning(odd_results: Commands) -> None:
    text = odd_results.ok("leaderboard", "--format", "latex").out
    assert r"a\textbar{}b\%c\_d\&e" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    assert not re.search(r"(?<!\\)[%_#$]", "".join(lines))


def test_text_table_shows_odd_names_as_they_are(odd_results: Commands) -> None:
    assert ODD in odd_results.ok("leaderboard").out


@pytest.mark.parametrize("name", ["[red]x", ":smile:", "[b]x"])
def test_text_table_takes_no_name_for_markup(harness: Commands, project: Project, tiny_gpt2: Path, name: str) -> None:
    shutil.copytree(tiny_gpt2, project.root / name)
    printed = harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", name, "--limit", 2)
    assert name in printed.out
    assert name in harness.ok("list", "runs").out


def test_shadowing_files_are_mentioned(harness: Commands, run_tiny: Run, project: Project) -> None:
    project.write("mine/tasks/mood.yaml", MOOD_TASK)
    project.write("mine/prompts/mood/plain.jinja", "---\nanswers: [bad, good]\n---\n{{ text }}: {{ answer }}\n")
    said = run_tiny("--include-path", "mine", "--limit", "2")
    assert said.status == 0
    assert re.search(r"task mood: \S*mine/tasks/mood.yaml is used instead of \S+/tasks/mood.yaml", said.err)
    assert re.search(r"prompt mood/plain: \S*mine/prompts\S+ is used instead of \S+plain.jinja", said.err)
    listed = harness.ok("list", "tasks", "--include-path", "mine")
    assert "shadowed" in listed.err
    assert "shadowed" not in listed.out
    assert "instead of" not in run_tiny("--limit", "2").err


def test_shadowed_shipped_task_is_mentioned(harness: Commands, project: Project) -> None:
    project.write("tasks/sst2.yaml", MOOD_TASK.replace("name: mood", "name: sst2"))
    assert re.search(r"tasks/sst2.yaml is shadowed by \S+tasks/sst2.yaml", harness.ok("list", "tasks").err)


def test_grid_file_equals_the_same_options(harness: Commands, run_tiny: Run, project: Project, tiny_gpt2: Path) -> None:
    project.write(
        "grid.yaml",
        f"tasks: [mood]\nmodel: {tiny_gpt2}\nshots: [0, 2]\ndemo_seeds: 0,1\n"
        "data_dir: data\nlimit: 5\ndemos: balanced\n",
    )
    typed = run_tiny("--shots", "0,2", "--demo-seeds", "0,1", "--limit", "5", "--demos", "balanced", "--json")
    assert strict_json(harness.ok("run", "grid.yaml", "--json").out) == strict_json(typed.out)


def test_typed_options_override_the_grid(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    project.write("grid.yaml", f"tasks: [mood]\nmodel: {tiny_gpt2}\nshots: [0, 2]\ndata_dir: data\nlimit: 5\n")
    printed = harness.ok("run", "grid.yaml", "--shots", "1", "--limit", "3", "--prompts", "terse", "--json")
    (row,) = strict_json(printed.out)["rows"]
    assert (row["shots"], row["n"], row["templates"]) == (1, 3, 1)


def test_grid_file_may_leave_the_model_to_the_command_line(harness: Commands, project: Project) -> None:
    project.write("grid.yaml", "tasks: [mood]\ndata_dir: data\n")
    expect(harness("run", "grid.yaml", "--model", "./nothing"), 1, "nothing: no such folder")


def test_runs_are_listed_with_their_state(harness: Commands, run_tiny: Run) -> None:
    run_tiny("--limit", "2")
    title, line = harness.ok("list", "runs").out.splitlines()
    assert title.split() == ["run", "status", "model", "tasks", "cells", "seconds"]
    assert line.split()[1] == "done"
    assert line.split()[3:5] == ["mood", "2"]


def test_results_without_runs_are_said_to_be_so(harness: Commands, project: Project) -> None:
    assert "nowhere: holds no run" in harness.ok("list", "runs", "--results", "nowhere").err


def test_emoji_in_data_are_characters(run_tiny: Run, project: Project) -> None:
    project.write("data/mood/test.jsonl", _GOOD + '{"text": "\\ud83d\\ude00 \U0001f600", "label": 1}\n')
    assert run_tiny().status == 0


def test_reader_that_leaves_early_is_no_error_message(project: Project) -> None:
    process = start(["list", "tasks"], project.root)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("columns", ["", "wide", "40"])
def test_width_that_is_no_number_changes_nothing_but_the_width(
    harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "mood" in harness.ok("list", "tasks").out
    text = json.loads((project.root / "data/mood/test.jsonl").read_text().splitlines()[0])["text"]
    assert text in harness.ok("show", "mood", "--data-dir", "data").out, "a prompt is never wrapped"


def test_output_that_is_not_utf8_shows_escapes_for_what_it_lacks(project: Project) -> None:
    project.write("prompts/mood/plain.jinja", "---\nanswers: [差, 好]\n---\n{{ text }} {{ answer }}\n")
    shown = outcome(start(["list", "prompts", "--tasks", "mood"], project.root, PYTHONIOENCODING="ascii"))
    assert shown.status == 0, shown.err
    assert r"\u5dee / \u597d" in shown.out


# Cost


def _cpu_seconds(arguments: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = outcome(start(arguments, folder))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.status == 0, done.err
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


@pytest.mark.parametrize("arguments", [["--help"], ["list", "tasks"]], ids=" ".join)
def test_help_and_list_cost_less_than_half_a_second_of_cpu(project: Project, arguments: list[str]) -> None:
    assert any(_cpu_seconds(arguments, project.root) < 0.5 for _ in range(6))  # other work slows some tries


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["list", "tasks"], ["list", "prompts"]], ids=" ".join
)
def test_help_and_list_import_nothing_heavy(project: Project, arguments: list[str]) -> None:
    script = (
        "import sys\nfrom harness.cli import main\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    driver = project.write("driver.py", script)
    loaded = outcome(start([], project.root, driver=driver)).err.split()
    assert "harness.cli" in loaded
    assert not {"torch", "transformers", "pandas", "scipy", "sklearn", "datasets", "pyarrow"} & set(loaded)


def test_installed_command_is_the_module(project: Project) -> None:
    script = Path(sys.executable).with_name("harness")
    if not script.exists():
        pytest.skip("the package is not installed as a command")
    found = subprocess.run(
        [script, "list", "tasks"], cwd=project.root, env=os.environ, capture_output=True, text=True, check=True
    )
    assert found.stdout == outcome(start(["list", "tasks"], project.root)).out


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("run", "--tasks --model --shots --prompts"),
        ("select", "--budget --tasks --model --shots --prompts"),
        ("predict", "--run --task --model --shots --prompt"),
        ("show", "--model --shots --prompt"),
        ("baseline", "--tasks --methods --sizes"),
    ],
)
def test_help_begins_with_what_a_user_gives_first(harness: Commands, command: str, first: str) -> None:
    listed = re.findall(r"^  (--[a-z-]+)", harness.ok(command, "--help").out, re.MULTILINE)
    assert listed[: len(first.split())] == first.split()
