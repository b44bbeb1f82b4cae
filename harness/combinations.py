"""Which readings and controls of a prompt make sense, and what is said of those that do not.

A reading is a scoring rule with a calibration. What makes no sense is left out, and ends no run as long as something is
left to evaluate; ``LeftOut`` says so in one notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from harness.calibrate import CONTENT_FREE, TRANSDUCTIVE, fewest_items
from harness.companions import filled, text_fields
from harness.controls import OF_DEMOS, control_seed, controlled_demos, controlled_items
from harness.demo_plan import CellDemos
from harness.errors import TemplateError
from harness.options import RunOptions
from harness.records import CalibrationName, ControlName, Example, Reading, RuleName
from harness.rules import COMPARED
from harness.tasks import Task
from harness.templates import Template

_MOST_NAMED = 4
_ONE_LABEL = "all demonstrations are of one label"
_NO_CLASSES = "each item has options of its own, and they are no classes"
# Calibrations that compare with the prompt of an item without its text.
_WITHOUT_TEXT: frozenset[CalibrationName] = frozenset({"contextual", "domain"})


class LeftOut:
    """What is left out, where, and why."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, what: str, where: str, why: str) -> None:
        self._found.setdefault((what, why), {})[where] = None

    @property
    def told(self) -> str:
        """What a notice says, and nothing where nothing is left out."""
        return "; ".join(f"{what} for {_named(list(where))} ({why})" for (what, why), where in self._found.items())


def numbers_of_shots(options: RunOptions, task: Task, left_out: LeftOut) -> list[int]:
    """The numbers of demonstrations asked for, in the order asked for."""
    by_entropy = options.demo_order.startswith("entropy") and task.labels is None
    if by_entropy and any(options.shots):
        left_out.add("demonstrations in the order of entropy", task.name, _NO_CLASSES)
    return [shots for shots in options.shots if not (shots and by_entropy)]


def readings(
    options: RunOptions,
    task: Task,
    template: Template,
    items: Sequence[Example],
    pool: Sequence[Example],
    left_out: LeftOut,
) -> tuple[Reading, ...]:
    """The rules and calibrations asked for, of one template, in the order asked for."""
    rules = [rule for rule in options.rule or (task.primary_rule,) if not _senseless_rule(rule, template, items[0])]
    for rule in options.rule or (task.primary_rule,):
        why = _senseless_rule(rule, template, items[0])
        if why:
            left_out.add(f"the rule {rule}", template.name, why)
    calibrations = []
    for name in options.calibrate:
        where, why = _senseless_calibration(name, task, template, items, pool)
        if why:
            left_out.add(f"{name} calibration", where, why)
        else:
            calibrations.append(name)
    found = []
    for rule, name in product(rules, calibrations):
        if rule in COMPARED and name in _WITHOUT_TEXT:
            left_out.add(f"the rule {rule} with {name} calibration", task.name, "both compare with another context")
        else:
            found.append((rule, name))
    return tuple(found)


def controls(
    wanted: Sequence[ControlName],
    task: Task,
    template: Template,
    items: Sequence[Example],
    demos: CellDemos,
    demo_seed: int | None,
    left_out: LeftOut,
) -> list[str]:
    """The controls that change a cell; ``partial`` becomes one for each text field."""
    found = []
    for name in wanted:
        if name in OF_DEMOS:
            why = _senseless_for_demos(name, task, items, demos, control_seed(task.name, demo_seed))
            if why:
                chance = f", seed {demo_seed}" if why == _ONE_LABEL and demo_seed is not None else ""
                left_out.add(f"the control {name}", f"{task.name} {demos.shots}-shot{chance}", why)
            else:
                found.append(str(name))
            continue
        fields = text_fields(items)
        if name == "partial" and len(fields) < 2:
            left_out.add("the control partial", task.name, "its items have one text field")
            continue
        for control in [f"partial:{field}" for field in fields] if name == "partial" else [name]:
            why = _senseless_for_items(control, template, items)
            if why:
                left_out.add(f"the control {control}", template.name, why)
            else:
                found.append(control)
    return found


def _senseless_rule(rule: RuleName, template: Template, item: Example) -> str:
    if rule != "pmi":
        return ""
    try:
        template.premise(item)
    except TemplateError:
        return "its last line says nothing without the text; set premise: in the front matter"
    return ""


def _senseless_calibration(
    name: CalibrationName, task: Task, template: Template, items: Sequence[Example], pool: Sequence[Example]
) -> tuple[str, str]:
    """Where a calibration makes no sense, and why; nothing where it does."""
    if name == "none":
        return "", ""
    if task.labels is None:
        return task.name, _NO_CLASSES
    if name in TRANSDUCTIVE:
        least = fewest_items(len(task.labels))
        return task.name, f"it needs at least {least} items, not {len(items)}" if len(items) < least else ""
    if name == "domain" and not pool:
        return task.name, "it draws words from the pool, which holds nothing"
    scored = template.render(items[0]).after_answer
    for text in CONTENT_FREE:
        try:
            other = template.render(filled(items[0], lambda _, text=text: text))  # type: ignore[misc]
        except TemplateError as error:
            return template.name, f"it cannot be written with {text!r} for a text: {error.message}"
        if other.after_answer != scored:
            return template.name, "the text is what is scored there, and would be missing"
    return "", ""


def _senseless_for_demos(name: str, task: Task, items: Sequence[Example], demos: CellDemos, seed: str) -> str:
    """Why a control of demonstrations changes none of them; nothing where it does."""
    if not demos.shots:
        return "there are no demonstrations"
    if demos.shots == 1:
        return "it takes two demonstrations"
    if name == "permuted" and task.labels is None:
        return _NO_CLASSES
    drawn = (demos.draw(item) for item in items)
    if any(
        [demo.gold for demo in controlled_demos(name, shown, seed)] != [demo.gold for demo in shown] for shown in drawn
    ):
        return ""
    return _ONE_LABEL


def _senseless_for_items(control: str, template: Template, items: Sequence[Example]) -> str:
    """Why a control of items cannot be shown, or changes no prompt; nothing where it does."""
    kept = control.partition(":")[2]
    if kept and template.score not in ("answer", "completion", "rest", kept):
        return f"{template.score} is what is scored there, and would be missing"
    for item, other in zip(items, controlled_items(control, items), strict=True):
        failed = _fails(template, other)
        if failed:
            return f"it cannot be written so: {failed}"
        if template.render(item) != template.render(other):
            return ""
    return "no prompt changes"


def _fails(template: Template, item: Example) -> str:
    """Why an item cannot be rendered; nothing where it can."""
    try:
        template.render(item)
    except TemplateError as error:
        return error.message
    return ""


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
