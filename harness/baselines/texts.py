"""What a baseline reads of an example, and the vectors of such texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import Example, plain_text


def joined(examples: Iterable[Example]) -> list[str]:
    """The text of each example: its fields in the order of the task file, a line each; an absent value is empty."""
    return ["\n".join(map(plain_text, example.fields.values())) for example in examples]


class Vectors:
    """Gives texts their vectors and remembers them, so that many cells share what ``embed`` computed once."""

    def __init__(self, embed: Callable[[Sequence[str]], npt.NDArray[np.float32]]) -> None:
        self._embed = embed
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape [n texts, d]; there must be at least one text."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            self._known.update(zip(missing, self._embed(missing), strict=True))
        return np.stack([self._known[text] for text in texts])
