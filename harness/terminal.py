"""Makes text safe to print on a terminal: files, data and models bring text that must not drive it."""

from __future__ import annotations

# C0 controls and DEL as their pictures, C1 controls (which some terminals obey, too) as the replacement character.
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")


def visible(text: str) -> str:
    """The text with every control character but tab and newline as a character that can be seen."""
    return text.translate(_PICTURES)
