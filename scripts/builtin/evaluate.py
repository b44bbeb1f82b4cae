"""Measures a built-in model with the harness itself: zero shots, four shots, by template, and what the model must show.

The recipe was steered by ``templates/steering`` and samples of another seed; the final figures are those of the shipped
templates and samples, which it never saw.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.api import run

HERE = Path(__file__).parent
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Cell:
    """One template at one number of shots and one seed; a prediction of None is a tie."""

    template: str
    shots: int
    labels: Sequence[str]
    gold: np.ndarray
    prediction: np.ndarray

    @property
    def accuracy(self) -> float:
        return 100 * float(np.mean(self.prediction == self.gold))


@dataclass(frozen=True, slots=True)
class Figures:
    """One template: accuracy without examples and with four, and the share of the label that it favours without."""

    template: str
    zero: float
    four: float
    favoured: str
    share: float

    @property
    def gain(self) -> float:
        return self.four - self.zero

    @property
    def line(self) -> str:
        return (
            f"{self.template:20} 0 shots {self.zero:5.1f}%  4 shots {self.four:5.1f}%  {self.gain:+5.1f}   "
            f"at 0 shots {self.favoured} {self.share:.0f}%"
        )


def measure(
    model: Path, data: Path, prompts: Sequence[str], include: Sequence[Path], demos: str, limit: int | None
) -> list[Figures]:
    """The figures of every template, over the demonstration seeds."""
    with tempfile.TemporaryDirectory() as results:
        found = run(
            tasks=["sst2"],
            shots=[0, 4],
            demo_seeds=SEEDS,
            model=str(model),
            data_dir=data,
            prompts=prompts,
            include_path=tuple(include),
            demos=demos,
            limit=limit,
            results=Path(results),
        )
        by_cell = dict(iter(found.predictions.groupby("cell")))
        cells = [
            Cell(
                one["signature"]["template"],
                one["signature"]["shots"],
                one["labels"],
                by_cell[one["id"]]["gold"].astype(int).to_numpy(),
                by_cell[one["id"]]["prediction"].map(json.loads).to_numpy(),
            )
            for one in found.manifest["cells"]
        ]
    names = sorted({cell.template for cell in cells})
    return [_figures(name, [cell for cell in cells if cell.template == name]) for name in names]


def verdict(natural: Sequence[Figures], arbitrary: Sequence[Figures]) -> list[str]:
    """What the model must show, each with what it shows."""
    zero = [one.zero for one in natural]
    mean, worst = float(np.mean(zero)), min(natural, key=lambda one: one.zero)
    recovering = [one for one in natural if one.share >= 65 and one.gain >= 5]
    top = max(max(one.zero, one.four) for one in (*natural, *arbitrary))
    gains = ", ".join(f"{one.template} {one.zero:.1f}% {one.gain:+.1f}" for one in arbitrary)
    behind = float(np.median(zero)) - worst.zero
    return [
        f"{_met(65 <= mean <= 85)} mean zero-shot accuracy 65-85%: {mean:.1f}%",
        f"{_met(len(recovering) >= 2)} two templates with one label at least 65% of the time where 4 shots gain 5"
        f" points: {', '.join(one.template for one in recovering) or 'none'}",
        f"{_met(all(one.gain >= 10 for one in arbitrary))} arbitrary label words gain 10 points: {gains}",
        f"{_met(behind >= 5)} one template clearly worse: {worst.template}, {behind:.1f} points below the median",
        f"{_met(top <= 97)} nothing above 97%: at most {top:.1f}%",
    ]


def report(
    model: Path, data: Path, *, steering: bool = False, demos: str = "fixed", limit: int | None = None
) -> list[str]:
    """Every figure, then the verdict, as lines."""
    folder = HERE / "templates" / ("steering" if steering else "final")
    arbitrary_names = (
        ("sst2/steer-letters", "sst2/steer-words") if steering else ("sst2/builtin-letters", "sst2/builtin-nonsense")
    )
    found = measure(model, data, ["steer-*"] if steering else ["all"], [folder], demos, limit)
    arbitrary = [one for one in found if one.template in arbitrary_names]
    natural = [one for one in found if one.template not in arbitrary_names]
    return [*(one.line for one in (*natural, *arbitrary)), *verdict(natural, arbitrary)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.builtin.evaluate", description=__doc__)
    shipped = HERE.parents[1] / "harness" / "builtin"
    parser.add_argument("--model", type=Path, default=shipped / "model")
    parser.add_argument("--data-dir", type=Path, default=shipped / "samples")
    parser.add_argument("--demos", default="fixed", choices=["fixed", "balanced", "per-item"])
    parser.add_argument("--steering", action="store_true", help="the templates that the recipe was steered by")
    parser.add_argument("--limit", type=int, help="a seeded sample of that many items")
    options = parser.parse_args()
    for line in report(
        options.model, options.data_dir, steering=options.steering, demos=options.demos, limit=options.limit
    ):
        print(line)


def _figures(name: str, cells: Sequence[Cell]) -> Figures:
    zero = next(cell for cell in cells if cell.shots == 0)
    four = [cell.accuracy for cell in cells if cell.shots == 4]
    shares = [100 * float(np.mean(zero.prediction == label)) for label in range(len(zero.labels))]
    favoured = int(np.argmax(shares))
    return Figures(name, zero.accuracy, float(np.mean(four)), zero.labels[favoured], shares[favoured])


def _met(holds: bool) -> str:
    return "yes" if holds else "NO "


if __name__ == "__main__":
    main()
