# Written by scripts/write_stub.py; a test compares.
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pandas import DataFrame

from harness import calibrate as calibrate
from harness import label_worth as label_worth
from harness import learning_curves as learning_curves
from harness import paired as paired
from harness import power as power
from harness import prompteval as prompteval
from harness import reliability as reliability
from harness import sequential as sequential
from harness import statistics as statistics
from harness import variance as variance
from harness.api import breakeven as breakeven
from harness.api import compare as compare
from harness.api import leaderboard as leaderboard
from harness.api_results import Choice as Choice
from harness.api_results import Comparison as Comparison
from harness.api_results import Labels as Labels
from harness.api_results import Leaderboard as Leaderboard
from harness.api_results import PromptView as PromptView
from harness.api_results import Result as Result
from harness.api_results import Worth as Worth
from harness.errors import HarnessError as HarnessError
from harness.progress import Reporter as Reporter
from harness.shots.order import choose_order as choose_order

__all__ = [
    "Choice",
    "Comparison",
    "HarnessError",
    "Labels",
    "Leaderboard",
    "PromptView",
    "Reporter",
    "Result",
    "Worth",
    "baseline",
    "breakeven",
    "calibrate",
    "choose_order",
    "compare",
    "label_worth",
    "leaderboard",
    "learning_curves",
    "paired",
    "power",
    "predict",
    "prompteval",
    "reliability",
    "run",
    "select",
    "sequential",
    "show",
    "statistics",
    "variance",
]

def baseline(
    *,
    tasks: str | Sequence[str],
    methods: str | Sequence[str] = ...,
    sizes: int | Literal["all"] | str | Sequence[int | Literal["all"]] = ...,
    seeds: int | str | Sequence[int] = ...,
    encoder: str | Path = ...,
    tokenizer: Literal["file", "transformers"] = ...,
    device: str = ...,
    trust_remote_code: bool = ...,
    split: Literal["select", "report"] = ...,
    limit: int | None = ...,
    seed: int = ...,
    data: Literal["auto", "sample", "hub"] = ...,
    data_dir: str | Path | None = ...,
    results: str | Path = ...,
    include_path: str | Path | Sequence[str | Path] = ...,
    reporter: Reporter | None = ...,
) -> Result: ...
def predict(
    text: Path | str | Sequence[object] | DataFrame,
    *,
    model: str | Path = ...,
    shots: int | str | Sequence[int] = ...,
    demo_seeds: int | str | Sequence[int] = ...,
    demos: str = ...,
    demo_encoder: str | Path | None = ...,
    demo_order: str = ...,
    rule: str | Sequence[str] = ...,
    calibrate: str | Sequence[str] = ...,
    split: Literal["select", "report"] = ...,
    data: Literal["auto", "sample", "hub"] = ...,
    data_dir: str | Path | None = ...,
    results: str | Path = ...,
    include_path: str | Path | Sequence[str | Path] = ...,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = ...,
    device: str = ...,
    revision: str | None = ...,
    model_arg: Mapping[str, Any] = ...,
    trust_remote_code: bool = ...,
    bos: Literal["auto", "always", "never"] = ...,
    tokenizer: Literal["file", "transformers"] = ...,
    run: str | None = ...,
    task: str | None = ...,
    prompt: str | None = ...,
    reporter: Reporter | None = ...,
) -> Labels: ...
def run(
    *,
    tasks: str | Sequence[str],
    model: str | Path = ...,
    shots: int | str | Sequence[int] = ...,
    prompts: str | Sequence[str] = ...,
    demo_seeds: int | str | Sequence[int] = ...,
    demos: str = ...,
    demo_encoder: str | Path | None = ...,
    demo_order: str = ...,
    rule: str | Sequence[str] = ...,
    calibrate: str | Sequence[str] = ...,
    controls: str | Sequence[str] = ...,
    split: Literal["select", "report"] = ...,
    limit: int | None = ...,
    seed: int = ...,
    data: Literal["auto", "sample", "hub"] = ...,
    data_dir: str | Path | None = ...,
    results: str | Path = ...,
    include_path: str | Path | Sequence[str | Path] = ...,
    engine: Literal["auto", "tree", "expand", "rows"] = ...,
    fresh: bool = ...,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = ...,
    device: str = ...,
    revision: str | None = ...,
    model_arg: Mapping[str, Any] = ...,
    trust_remote_code: bool = ...,
    bos: Literal["auto", "always", "never"] = ...,
    tokenizer: Literal["file", "transformers"] = ...,
    reporter: Reporter | None = ...,
) -> Result: ...
def select(
    *,
    tasks: str | Sequence[str],
    budget: int,
    model: str | Path = ...,
    shots: int | str | Sequence[int] = ...,
    prompts: str | Sequence[str] = ...,
    demo_seeds: int | str | Sequence[int] = ...,
    demos: str = ...,
    demo_encoder: str | Path | None = ...,
    demo_order: str = ...,
    rule: str | Sequence[str] = ...,
    calibrate: str | Sequence[str] = ...,
    controls: str | Sequence[str] = ...,
    limit: int | None = ...,
    seed: int = ...,
    data: Literal["auto", "sample", "hub"] = ...,
    data_dir: str | Path | None = ...,
    results: str | Path = ...,
    include_path: str | Path | Sequence[str | Path] = ...,
    engine: Literal["auto", "tree", "expand", "rows"] = ...,
    fresh: bool = ...,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = ...,
    device: str = ...,
    revision: str | None = ...,
    model_arg: Mapping[str, Any] = ...,
    trust_remote_code: bool = ...,
    bos: Literal["auto", "always", "never"] = ...,
    tokenizer: Literal["file", "transformers"] = ...,
    reporter: Reporter | None = ...,
) -> Choice: ...
def show(
    task: str,
    *,
    model: str | Path = ...,
    shots: int | str | Sequence[int] = ...,
    demo_seeds: int | str | Sequence[int] = ...,
    demos: str = ...,
    demo_encoder: str | Path | None = ...,
    split: Literal["select", "report"] = ...,
    data: Literal["auto", "sample", "hub"] = ...,
    data_dir: str | Path | None = ...,
    include_path: str | Path | Sequence[str | Path] = ...,
    device: str = ...,
    revision: str | None = ...,
    trust_remote_code: bool = ...,
    bos: Literal["auto", "always", "never"] = ...,
    tokenizer: Literal["file", "transformers"] = ...,
    prompt: str | None = ...,
    item: int | str = ...,
    reporter: Reporter | None = ...,
) -> PromptView: ...
