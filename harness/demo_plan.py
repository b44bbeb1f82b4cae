"""The demonstrations that the options of a run ask for: what they are drawn from, by what, and in which orders they
stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.data import TaskData, normalised
from harness.embeddings import Embedder
from harness.errors import ModelError, UsageError
from harness.files import path_text
from harness.models import ModelFiles, ModelSpec, locate_model
from harness.options import RunOptions
from harness.order_choice import OrderScores, permuted_scores
from harness.progress import Reporter
from harness.records import Example, digest
from harness.run_store import stored_runs
from harness.shots import GUARD, SEEDED, Demonstrations, ListedRows, NearDuplicates, count_orders
from harness.templates import Template
from harness.tokenizer import PretrainedTokenizer


@dataclass(frozen=True, slots=True)
class CellDemos:
    """The demonstrations of a cell. ``signature``, the fields of its signature that they fill in, is all that decides
    which ones an item gets, and where they stand."""

    drawing: Demonstrations | None = None
    shots: int = 0
    order: int | None = None
    signature: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, item: Example) -> Sequence[Example]:
        """Those of an item, in the order drawn."""
        return self.drawing.draw(item, self.shots) if self.drawing else ()

    def layout(self, drawn: Sequence[Example]) -> Sequence[Example]:
        """Those drawn, in the order in which they stand before the query."""
        return self.drawing.shown(drawn, self.order) if self.drawing else drawn


class DemoPlanner:
    """Reads a list of demonstrations, or finds the encoder, once for all tasks of a run.

    Raises:
        UsageError: options that do not go together, or a list that is not there.
        DataError: the list is malformed.
    """

    def __init__(self, options: RunOptions, reporter: Reporter) -> None:
        self.options = options
        self.reporter = reporter
        self.listed = ListedRows(options.demo_file) if options.demo_file is not None and any(options.shots) else None
        if options.demo_encoder is not None and options.demo_strategy not in ("knn", "mmr"):
            raise UsageError(
                f"--demo-encoder {options.demo_encoder}: --demos {options.demos} uses no encoder; knn and mmr do"
            )

    @property
    def needs_pool(self) -> bool:
        """Whether tasks need a pool to draw from."""
        return any(self.options.shots) and (self.listed is None or self.listed.names_items)

    def of(self, data: TaskData, items: Sequence[Example]) -> TaskDemos:
        """The demonstrations of a task.

        Raises:
            HarnessError: the list does not fit the task, an encoder fails, or there are too few that may be shown.
        """
        return TaskDemos(self, data, items)

    def release(self) -> None:
        """Give the encoder's memory back."""
        if "embedder" in self.__dict__ and self.embedder is not None:
            self.embedder.release()

    @cached_property
    def permuted(self) -> list[OrderScores]:
        """What stored runs answered to selecting items under other orders."""
        tell = self.reporter.notice
        runs = stored_runs(self.options.results, tell)
        return permuted_scores(runs, {"role": "select", "control": None}, tell)

    @cached_property
    def model(self) -> ModelFiles:
        """The model under evaluation."""
        return locate_model(self.options.model_spec)

    @cached_property
    def tokenizer_hash(self) -> str:
        """How that model's tokenizer is named in signatures."""
        return PretrainedTokenizer(self.model).fingerprint

    @cached_property
    def embedder(self) -> Embedder | None:
        """What knn and mmr compare by; mmr goes by words unless an encoder is named."""
        options, how = self.options, self.options.demo_strategy
        if how not in ("knn", "mmr"):
            return None
        if options.demo_encoder is None and how == "mmr":
            self.reporter.remark(
                "mmr compares texts by shared words, as bm25 does; --demo-encoder names a model instead"
            )
            return None
        if options.demo_encoder is None:
            files = self.model
            self.reporter.remark(
                f"knn compares texts by embeddings of {files.label}; --demo-encoder names another model"
            )
        else:
            spec = ModelSpec(
                options.demo_encoder,
                device=options.device,
                tokenizer=options.tokenizer,
                trust_remote_code=options.trust_remote_code,
            )
            try:
                files = locate_model(spec)
            except ModelError as error:
                raise ModelError(f"--demo-encoder: {error}") from error
        return Embedder(files, options.results, self.reporter)


class TaskDemos:
    """The demonstrations of one task, for every number of shots, seed and order asked for."""

    def __init__(self, planner: DemoPlanner, data: TaskData, items: Sequence[Example]) -> None:
        self._options = planner.options
        self._planner = planner
        self._data = data
        self._drawings: dict[int | None, Demonstrations] = {}
        if not any(planner.options.shots):
            return
        pool: Sequence[Example] = data.role("pool") if planner.needs_pool else ()
        if planner.listed is not None:
            pool = self._cleaned(planner.listed.examples(data.task, pool))
        self._pool = pool
        self._guard = NearDuplicates(pool)
        found = [len(near) for item in items if (near := self._guard.of(item))]
        if found:
            have, them = ("has", "it") if len(found) == 1 else ("have", "them")
            planner.reporter.notice(
                f"{data.task.name}: {len(found)} of {len(items)} items {have} near-duplicates in the pool ({sum(found)}"
                f" in all), which are not shown before {them}"
            )
        for seed in self.seeds(max(planner.options.shots)):
            drawing = Demonstrations(
                data.task.name, pool, self._options.demo_strategy, seed, embed=planner.embedder, guard=self._guard
            )
            drawing.prepare(items, max(planner.options.shots))
            self._drawings[seed] = drawing

    def seeds(self, shots: int) -> Sequence[int | None]:
        """The seeds of the draw; where chance has no part in it, there is none."""
        return self._options.demo_seeds if shots and self._options.demo_strategy in SEEDED else (None,)

    def orders(self, shots: int, seed: int | None, template: Template) -> Sequence[int | None]:
        """The numbers of the permutations in which demonstrations stand; None is the order of the draw.

        Raises:
            UsageError: an order is to be chosen by entropy, and no stored run has what it takes.
        """
        how, _, detail = self._options.demo_order.partition(":")
        if not shots or how == "drawn":
            return (None,)
        if how == "permuted":
            return range(count_orders(shots, int(detail)))
        return (self._chosen_order(shots, seed, template),)

    def cell(self, shots: int, seed: int | None, order: int | None) -> CellDemos:
        """The demonstrations of one cell."""
        if not shots:
            return CellDemos()
        return CellDemos(self._drawings[seed], shots, order, self._signature(order))

    def _cleaned(self, listed: Sequence[Example]) -> Sequence[Example]:
        """Those listed whose text no reported or selecting item has."""
        others = {normalised(item) for role, items in self._data.roles.items() if role != "pool" for item in items}
        kept = [example for example in listed if normalised(example) not in others]
        if len(kept) < len(listed):
            self._planner.reporter.notice(
                f"{self._data.task.name}: {len(listed) - len(kept)} of {len(listed)} listed demonstrations have the"
                " text of a reported item and are not used"
            )
        return kept

    def _signature(self, order: int | None) -> Mapping[str, Any]:
        options, embedder, listed = self._options, self._planner.embedder, self._planner.listed
        name = options.demos if options.demo_file is None else f"file:{path_text(options.demo_file.name)}"
        return {
            "demos": name,
            "pool_hash": digest([e.item_id for e in self._pool]) if listed else self._data.hashes["pool"],
            "demo_guard": GUARD,
            "demo_encoder": embedder.label if embedder else "bm25" if options.demos == "mmr" else None,
            "demo_encoder_hash": embedder and embedder.fingerprint,
            # Orders 0 to 7 are the same cells, whether 8 or 24 were asked for.
            "demo_order": "permuted" if options.demo_order.startswith("permuted") else options.demo_order,
            "order": order,
        }

    def _chosen_order(self, shots: int, seed: int | None, template: Template) -> int:
        options, data, model = self._options, self._data, self._planner.model
        if data.task.labels is None:
            raise UsageError(
                f"--demo-order {options.demo_order}: {data.task.name} has options of each item's own, and no labels"
            )
        signature = self._signature(None)
        wanted: dict[str, Any] = {
            **{key: signature[key] for key in ("demos", "pool_hash", "demo_guard", "demo_encoder_hash")},
            "task": data.task.name,
            "task_reading": data.task.reading,
            "template_hash": template.fingerprint,
            "shots": shots,
            "demo_seed": seed,
            "rule": (options.rule or (data.task.primary_rule,))[0],
            "calibration": options.calibrate[0],
            "model_fingerprint": model.fingerprint,
            "dtype": model.dtype,
            "bos": options.bos,
            "tokenizer_hash": self._planner.tokenizer_hash,
        }
        found = [
            scores
            for scores in self._planner.permuted
            if all(scores.signature.value(name) == value for name, value in wanted.items())
        ]
        if not found:
            raise UsageError(
                f"--demo-order {options.demo_order}: {options.results} holds no scores of {template.name} with {shots}"
                " demonstrations in other orders; first give the same command with --split select --demo-order"
                " permuted:24"
            )
        return found[-1].choice("local" if options.demo_order.endswith("local") else "global")
