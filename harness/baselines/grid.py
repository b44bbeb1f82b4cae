"""What is to be trained: every task, method, number of labels and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness import interrupts
from harness.baselines.options import BaselineOptions
from harness.baselines.registry import METHODS, Method
from harness.baselines.subsets import doubling_sizes, stratified_order
from harness.data import TaskData, limited, open_data, told_of
from harness.errors import HarnessError, UsageError
from harness.progress import Reporter
from harness.records import Example, Role
from harness.search_path import SearchPath
from harness.shots import NearDuplicates
from harness.tasks import Catalogue


@dataclass(frozen=True, slots=True)
class PlannedBaseline:
    """One method on one training set: ``order[:labels]``."""

    data: TaskData
    items: Sequence[Example]
    method: Method
    labels: int
    seed: int
    order: Sequence[Example]

    @property
    def training(self) -> Sequence[Example]:
        return self.order[: self.labels]


def plan_baselines(options: BaselineOptions, reporter: Reporter) -> Iterator[PlannedBaseline]:
    """Every cell of tasks x methods x sizes x seeds; a method that reads no labels has no sizes.

    Raises:
        HarnessError: anything wrong with a task or its data, or more labels asked for than there are.
    """
    catalogue = Catalogue(SearchPath.default(options.include_path))
    tasks = catalogue.select(options.tasks)
    unlabelled = [task.name for task in tasks if task.labels is None]
    told = f"{', '.join(unlabelled)}: each item has options of its own and no labels, so there is nothing to learn"
    if len(unlabelled) == len(tasks):
        raise UsageError(f"{told}; baselines need a task with labels")
    if unlabelled:
        reporter.notice(f"left out: {told}")
    for task in tasks:
        interrupts.check()
        if task.labels is None:
            continue
        if task.name in catalogue.shadowed:
            reporter.notice(f"task {task.name}: {task.path} is used instead of {catalogue.shadowed[task.name]}")
        roles: set[Role] = {options.split, "pool"}
        data = open_data(task, options, roles, reporter.notice)
        for told in told_of(data, options.split):
            reporter.notice(told)
        pool = _guarded(data, options.split, reporter)
        sizes = _sizes(options, task.name, len(pool))
        items = limited(data.role(options.split), options.limit, options.seed)
        orders = {seed: stratified_order(pool, seed, task.name, max(sizes)) for seed in options.seeds}
        for name in options.methods:
            method = METHODS[name]
            for size in sizes if method.reads_labels else [0]:
                for seed in options.seeds:
                    yield PlannedBaseline(data, items, method, size, seed, orders[seed])


def _guarded(data: TaskData, split: Role, reporter: Reporter) -> list[Example]:
    """The pool without what prompts may not show either: near-duplicates of the items, whatever the limit."""
    guard = NearDuplicates(data.role("pool"))
    near = set().union(*map(guard.of, data.role(split)))
    count = data.duplicates + len(near)
    if count:
        rows, are = ("1 row", "is") if count == 1 else (f"{count} rows", "are")
        reporter.notice(
            f"{data.task.name}: {rows} of the pool with the text of a reported item, or nearly so, {are} not trained on"
        )
    return [example for example in data.role("pool") if example.item_id not in near]


def _sizes(options: BaselineOptions, task: str, most: int) -> list[int]:
    if not most:
        raise HarnessError(f"{task}: its pool holds no example to train on")
    found = [most if size == "all" else size for size in options.sizes] or doubling_sizes(most)
    for size in found:
        if size > most:
            raise UsageError(f"--sizes {size}: the pool of {task} has only {most} labelled examples")
    return sorted(set(found))
