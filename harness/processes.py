"""The processes of one run, as ``accelerate launch`` starts them: who is the main one, and how they tell each other.

Without a launcher there is one process, and nothing here imports torch.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

T = TypeVar("T")


def is_main() -> bool:
    """Whether this process writes tables, draws progress and tells errors; known before any group is formed."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """This process among all of its run."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self._state: Any = None
        if self.count > 1:
            import torch
            from accelerate import PartialState

            self._state = PartialState(cpu=not torch.accelerator.is_available())
            self.count = int(self._state.num_processes)

    @property
    def rank(self) -> int:
        return int(self._state.process_index) if self._state else 0

    @property
    def main(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks; each process gets them all."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def from_main(self, value: T) -> T:
        """The main process's value, in every process."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        values = [value]
        broadcast_object_list(values, from_process=0)
        return values[0]

    def close(self) -> None:
        """Leave the group once all have come this far."""
        if self._state:
            self.gather(None)
            self._state.destroy_process_group()
