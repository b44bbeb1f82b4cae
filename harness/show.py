"""Shows one prompt as the model gets it: its parts in colours, its answers, and, given a tokenizer, tokens and scored
spans.

It draws what rendering and encoding produced; it decides nothing of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from harness.encode import EncodedAnswer
from harness.records import Example, Prompt
from harness.terminal import visible

Part = tuple[str, str]  # a text and its style

_STYLES = {
    ("description", "prefix"): "magenta",
    ("demo", "prefix"): "cyan",
    ("demo", "answer"): "bold cyan",
    ("demo", "suffix"): "cyan",
    ("query", "prefix"): "yellow",
}
_SCORED = "bold green"
_GIVEN = "yellow"
_SHADES = ("on grey23", "on grey37")


def show_prompt(console: Console, prompt: Prompt, item: Example) -> None:
    """Print the prompt without any change, then the answers that would follow it."""
    for segment in prompt.segments:
        _print(console, [(segment.text, _STYLES.get((segment.kind, segment.part), ""))])
    console.print()
    _heading(console, "answers, each scored where it is in brackets; the right one has a star")
    for answer in prompt.answers:
        star = "*" if answer.label == item.gold else " "
        name = (f"{star} {item.options[answer.label]}: ", "")
        _print(console, [name, (answer.given, _GIVEN), (f"[{answer.scored}]", _SCORED), ("\n", "")])


def show_demos(console: Console, demos: Sequence[Example]) -> None:
    """Print where demonstrations come from; their ids may stand in a list of one's own (``--demos file:PATH``)."""
    if not demos:
        return
    _heading(console, "demonstrations in the order drawn, with their item_id")
    for number, demo in enumerate(demos, start=1):
        _print(console, [(f"{number}  {demo.item_id}  {demo.options[demo.gold]}  {demo.place}\n", "")])


def show_tokens(
    console: Console, prompt: Prompt, item: Example, answers: Sequence[EncodedAnswer], pieces: Sequence[str]
) -> None:
    """Print the tokens of the prompt with the right answer, and the scored tokens of each answer.

    Args:
        pieces: how the tokenizer spells the leading tokens (BOS), which are no part of the text.
    """
    right = next(index for index, answer in enumerate(prompt.answers) if answer.label == item.gold)
    _heading(
        console, f"{len(answers[right].ids)} tokens with the right answer, between bars; the scored ones in brackets"
    )
    text = prompt.text + prompt.answers[right].given + prompt.answers[right].scored
    lead = ("".join(f"{piece}|" for piece in pieces), "dim")
    _print(console, [lead, *_tokens(text, answers[right], 0), ("\n", "")])
    _heading(console, "scored tokens of each answer")
    for answer, encoded in zip(prompt.answers, answers, strict=True):
        text = prompt.text + answer.given + answer.scored
        star = "*" if answer.label == item.gold else " "
        count = len(encoded.ids) - encoded.start
        note = " (the first one is part context, part answer)" if encoded.straddles else ""
        name, told = f"{star} {item.options[answer.label]}: ", f"  {count} token{'s' if count > 1 else ''}{note}\n"
        _print(console, [(name, ""), *_tokens(text, encoded, encoded.start - encoded.lead), (told, "dim")])


def _tokens(text: str, encoded: EncodedAnswer, first: int) -> list[Part]:
    """Token ``first`` and what follows, bars between them; tokens that are pieces of one character show as dots."""
    line: list[Part] = []
    shown = encoded.offsets[first][0]
    for index, (_, end) in enumerate(encoded.offsets[first:], start=first):
        piece = text[shown:end] or "·"
        shown = max(shown, end)
        scored = index >= encoded.start - encoded.lead
        if scored and index == encoded.start - encoded.lead:
            line.append(("[", _SCORED))
        line.append((piece, f"{_SCORED if scored else ''} {_SHADES[index % 2]}"))
        if index < len(encoded.offsets) - 1:
            line.append(("|", "dim"))
    return [*line, ("]", _SCORED)]


def _heading(console: Console, text: str) -> None:
    console.print(f"\n-- {text}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, parts: Sequence[Part]) -> None:
    if not console.is_terminal:
        console.file.write("".join(text for text, _ in parts))  # rich would expand tabs and drop control characters
        return
    line = Text.assemble(*((visible(text), style) for text, style in parts))
    console.print(line, end="", soft_wrap=True, highlight=False)
