"""Reads the scores of prompts and baselines of any origin from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from harness.breakeven.pairs import BEST, few_seeds, pairs_of, sample_of, trained_curve
from harness.breakeven.report import Baseline, Budget, Prompt, Report
from harness.breakeven.wanted import Wanted
from harness.errors import FileError, UsageError, suggest
from harness.label_worth import Level
from harness.row_files import check_header
from harness.text_files import UserFile

COLUMNS = ("method", "n", "seed", "score")


def read_csv(path: Path, wanted: Wanted) -> Report:
    """A report from scores of any origin: a CSV file with the columns method, n, seed and score.

    The rows of the prompt are those of the method ``wanted.prompt`` (default: "prompt"), whose n counts the labels that
    it used; every other method is a baseline. Intervals are over seeds alone: a file has no items.

    Raises:
        FileError: the file cannot be read, or a row is wrong.
        UsageError: no method is the prompt, or none is a baseline.
    """
    methods: dict[str, dict[tuple[str, int], float]] = {}
    for line, row in _rows(path):
        place = (row["seed"], int(_value(path, line, row, "n")))
        scores = methods.setdefault(row["method"], {})
        if place in scores:
            raise FileError(path, f"{row['method']} has two scores for n {place[1]} and seed {place[0]}", line)
        scores[place] = _value(path, line, row, "score")
    name = wanted.prompt or "prompt"
    if name not in methods:
        raise UsageError(f"--prompt {name}: {path} has no such method{suggest(name, methods, what='methods')}")
    if wanted.method is not None and wanted.method not in set(methods) - {name}:
        others = sorted(set(methods) - {name})
        raise UsageError(f"--method {wanted.method}: {path} has no such baseline{suggest(wanted.method, others)}")
    if len(methods) < 2:
        raise UsageError(f"{path}: has no method but {name}; a baseline is a method of another name")
    notices: list[str] = []
    prompts = _file_prompts(name, methods[name], wanted, notices)
    baselines = []
    for method in sorted(set(methods) - {name}):
        if wanted.method not in (None, method):
            continue
        known = {place: (value, None) for place, value in methods[method].items()}
        baselines.append(Baseline(method, trained_curve(method, known, 0, wanted, notices, seed_name="seed")))
    over = f"{path}: intervals are over seeds alone, as the file has no items"
    notices.append(over if wanted.curve == "mean" else BEST)
    task = path.stem
    return Report(task, "score", None, prompts, baselines, pairs_of(task, prompts, baselines, wanted), notices)


def _file_prompts(
    name: str, scores: Mapping[tuple[str, int], float], wanted: Wanted, notices: list[str]
) -> list[Prompt]:
    sizes = sorted({n for _, n in scores})
    for k in wanted.shots:
        if k not in sizes:
            raise UsageError(f"--shots {k}: {name} has no such n (n: {', '.join(map(str, sizes))})")
    found = []
    for n in sizes:
        if wanted.shots and n not in wanted.shots:
            continue
        sample = sample_of({(seed, 0): (value, None) for (seed, size), value in scores.items() if size == n}, 0)
        told = name if len(sizes) == 1 else f"{name} at n {n}"
        found.append(Prompt(told, "file ", Budget(n, wanted.charged()), 1, Level(sample, wanted.curve)))
    if wanted.curve == "mean":
        notices += few_seeds([(one.name, one.level.sample) for one in found], "seed")
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    file = UserFile(path)
    reader = csv.DictReader(file.lines(newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
        titles = list(reader.fieldnames or [])
    except csv.Error as error:
        raise FileError(path, f"not valid CSV: {error}", reader.line_num) from error
    if titles:
        check_header(file, titles, "CSV", ",", 1)
    missing = [name for name in COLUMNS if name not in titles]
    if missing:
        raise FileError(path, f"has no column {missing[0]!r}; the columns are {', '.join(COLUMNS)}")
    if not rows:
        raise FileError(path, "has no row")
    for line, row in rows:
        empty = [name for name in COLUMNS if not (row[name] or "").strip()]
        if empty:
            raise FileError(path, f"{empty[0]} is empty", line)
    return [(line, {name: row[name].strip() for name in COLUMNS}) for line, row in rows]


def _value(path: Path, line: int, row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if name == "n" and (value < 0 or value != math.floor(value) if math.isfinite(value) else True):
        raise FileError(path, f"n is {row['n']!r}, not a whole number of labels", line)
    if not math.isfinite(value):
        raise FileError(path, f"{name} is {row[name]!r}, not a number", line)
    return value
