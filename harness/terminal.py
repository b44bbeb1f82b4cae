"""Makes text safe to print on a terminal: files, data and models bring text that must not drive it."""

from __future__ import annotations

# C0 controls and DEL as their pictures, C1 controls (which some terminals obey, too) as the replacement character.
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
# Of a file's name that is not UTF-8, Python makes halves of characters, which no output takes.
_PICTURES |= {code: f"\\u{code:x}" for code in range(0xD800, 0xE000)}
_PICTURES |= {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")


def visible(text: str) -> str:
    """The text with every control character but tab and newline, and every half of one, as what can be seen."""
    return text.translate(_PICTURES)


# What would end a line of a table, as its picture, or turn the direction of what follows.
_LINE_ENDS = {0x09: "␉", 0x0A: "␊", 0x2028: "␤", 0x2029: "␤"}
_DIRECTIONS = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def one_line(text: str) -> str:
    """The text with every character that would move out of its line, too, as one that can be seen."""
    return visible(text).translate(_LINE_ENDS | _DIRECTIONS)
