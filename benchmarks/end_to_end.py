"""Times the two command lines on SST-2's whole validation set, from the start of the process to the table.

    python -m benchmarks.end_to_end --data path/to/data --model path/to/stories260K

Ours is one command for all numbers of shots; lm-eval takes one for each. Both read the same local files, render the
same prompt and show the same kind of demonstrations (fixed ones of the training set).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.tables import markdown

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    train: {data}/train.jsonl
    validation: {data}/validation.jsonl
output_type: multiple_choice
training_split: train
validation_split: validation
fewshot_split: train
fewshot_config: {{sampler: first_n}}
doc_to_text: "Review: {{{{sentence | trim}}}}\\nSentiment:"
doc_to_target: label
doc_to_choice: [negative, positive]
metric_list:
  - {{metric: acc}}
metadata: {{version: 1}}
"""
NAME = "sst2_plain"


def seconds(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, str]:
    """Wall time of a command and what it printed; a failure ends the benchmark."""
    begin = time.perf_counter()
    surroundings = {**os.environ, **environment}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    taken = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    return taken, done.stdout


def harness_command(model: Path, data: Path, shots: Sequence[str], results: Path) -> list[str]:
    return [
        sys.executable, "-m", "harness", "run", "--tasks", "sst2", "--shots", ",".join(shots), "--prompts", "plain",
        "--model", str(model), "--data-dir", str(data), "--results", str(results), "--device", "cpu",
    ]  # fmt: skip


def lm_eval_command(model: Path, tasks: Path, shots: str, batch: str, limit: int | None) -> list[str]:
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
        "--tasks", NAME, "--include_path", str(tasks), "--num_fewshot", shots, "--batch_size", batch, "--device", "cpu",
    ]  # fmt: skip
    return [*command, "--limit", str(limit)] if limit else command


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with sst2/train.jsonl and validation.jsonl")
    parser.add_argument("--model", type=Path, required=True, help="a small model's folder")
    parser.add_argument("--shots", default="0,4")
    parser.add_argument("--batch-size", default="8,32,64", help="lm-eval's, tried on 100 items if several")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="how often both take their turn; medians are shown")
    parser.add_argument("--show", action="store_true", help="print what both printed")
    options = parser.parse_args(arguments)
    for path in (options.data / "sst2" / "train.jsonl", options.model / "config.json"):
        if not path.is_file():
            print(f"skipped: {path} is not there")
            return
    shots = options.shots.split(",")
    threads = str(options.threads)
    environment = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment["HF_DATASETS_CACHE"] = str(folder / "cache")
        tasks = folder / "tasks"
        tasks.mkdir()
        (tasks / f"{NAME}.yaml").write_text(TASK.format(name=NAME, data=(options.data / "sst2").resolve()))

        batch = _best_batch(options.model, tasks, shots[-1], options.batch_size.split(","), environment)
        commands = [
            (f"lm-eval, batch {batch}", k, lm_eval_command(options.model, tasks, k, batch, None)) for k in shots
        ]
        runs: dict[tuple[str, str], list[float]] = {}
        for turn in range(options.repeats):
            own = harness_command(options.model, options.data, shots, folder / f"results{turn}")
            for name, k, command in [("harness", ", ".join(shots), own), *commands]:
                taken, printed = seconds(command, environment)
                runs.setdefault((name, k), []).append(taken)
                if options.show:
                    print(printed)
    print(f"sst2, all of validation, {options.model.name}, {threads} thread(s), from process start to table")
    print(f"medians of {options.repeats} runs\n")
    print(markdown(("tool", "shots", "seconds", "over harness", "runs"), _rows(runs), words=2))


def _rows(runs: Mapping[tuple[str, str], Sequence[float]]) -> list[list[str]]:
    """A line for each command, ours first, and one for lm-eval's commands together."""
    (_, mine), *theirs = ((key, statistics.median(times)) for key, times in runs.items())
    rows = []
    for (name, k), times in runs.items():
        middle = statistics.median(times)
        ratio = "" if name == "harness" else f"{middle / mine:.1f}"
        rows.append([name, k, f"{middle:.1f}", ratio, " ".join(f"{taken:.1f}" for taken in times)])
    together = sum(middle for _, middle in theirs)
    return [*rows, ["lm-eval, together", rows[0][1], f"{together:.1f}", f"{together / mine:.1f}", ""]]


def _best_batch(model: Path, tasks: Path, shots: str, sizes: Sequence[str], environment: Mapping[str, str]) -> str:
    if len(sizes) == 1:
        return sizes[0]
    taken = {size: seconds(lm_eval_command(model, tasks, shots, size, 100), environment)[0] for size in sizes}
    return min(taken, key=taken.__getitem__)


if __name__ == "__main__":
    main()
