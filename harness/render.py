"""Puts description, demonstrations and query together into the prompt that a model reads. It knows no tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Answer, Example, Prompt, Segment
from harness.templates import Rendered, Template

# Gives demonstrations, which come in the order drawn, the order in which they stand.
Layout = Callable[[Sequence[Example]], Sequence[Example]]


class Renderer:
    """Renders prompts of one template; each demonstration is rendered once and kept.

    Args:
        layout: without one, demonstrations stand as they were drawn.
    """

    def __init__(self, template: Template, layout: Layout = tuple) -> None:
        self.template = template
        self._layout = layout
        self._demos: dict[tuple[str, int], tuple[Segment, ...]] = {}
        separator = template.front.separator
        self._description: tuple[Segment, ...] = ()
        if template.front.description:
            self._description = (
                Segment("description", "prefix", template.front.description),
                Segment("description", "separator", separator),
            )

    def prompt(self, item: Example, demos: Sequence[Example]) -> Prompt:
        """The prompt of an item after ``demos``, which come in the order drawn.

        Raises:
            TemplateError: the template fails on the item or on a demonstration.
        """
        query = self.template.render(item)
        shown = [segment for demo in self._layout(demos) for segment in self._demo(demo)]
        return Prompt(
            item_id=item.item_id,
            segments=(*self._description, *shown, Segment("query", "prefix", query.prefix)),
            answers=tuple(_answer(label, word, query) for label, group in enumerate(query.words) for word in group),
            demo_ids=tuple(demo.item_id for demo in demos),
        )

    def _demo(self, demo: Example) -> tuple[Segment, ...]:
        known = self._demos.get((demo.item_id, demo.gold))
        if known is None:
            rendered = self.template.render(demo)
            parts = (
                ("prefix", rendered.prefix),
                ("answer", rendered.words[demo.gold][0]),
                ("suffix", rendered.suffix),
                ("separator", self.template.front.separator),
            )
            known = tuple(Segment("demo", part, text, demo.item_id) for part, text in parts if text)  # type: ignore[arg-type]
            self._demos[demo.item_id, demo.gold] = known
        return known


def without_last_demo(prompt: Prompt) -> Prompt:
    """The prompt without the demonstration drawn last."""
    dropped = prompt.demo_ids[-1]
    segments = tuple(segment for segment in prompt.segments if segment.demo_id != dropped)
    return Prompt(prompt.item_id, segments, prompt.answers, prompt.demo_ids[:-1])


def _answer(label: int, word: str, query: Rendered) -> Answer:
    if query.scored is None:
        return Answer(label, word, "", word + query.tail)
    return Answer(label, word, word + query.suffix[: query.scored.start], query.suffix[query.scored])
