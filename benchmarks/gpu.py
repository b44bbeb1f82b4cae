"""Scores 16-shot sentiment with models of the shape of Llama 8B and 1B on a CUDA device, beside lm-eval.

    python -m benchmarks.gpu                                  # needs 75 GB of the device's memory, most for lm-eval
    python -m benchmarks.gpu --models llama-1b --dtypes bfloat16,float16,float32 --without-lm-eval
    python -m benchmarks.gpu --device cpu --small             # tries the program itself, with a tiny model

Weights are random and made on the device. ``ours`` and ``lm-eval`` are from rendered prompts to log-likelihoods;
``scoring`` is ours without tokenising, from requests to log-likelihoods, and what rates are of.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.measure import LmEval, Work, best_batch_size, encode, n_tokens, ours, quiet, timed
from benchmarks.tables import markdown, megabytes
from benchmarks.workloads import Subject, Workload, build_on, few_shot, labels, layouts
from harness.plan import plan_requests
from harness.scorers import Engines

ITEMS, SHOTS = 872, 16  # of SST-2's validation set
REPEATS = 3
LM_EVAL_BATCHES = (4, 8, 16, 32, 64, 128)
COLUMNS = (
    "model", "dtype", "requests", "tokens", "distinct", "ours s", "scoring s", "distinct tokens/s", "TFLOP/s",
    "mm TFLOP/s", "of mm's", "lm-eval s", "batch", "ratio", "ours MB", "lm-eval MB", "largest difference",
)  # fmt: skip


def matmul_rate(device: str, dtype: str, width: int) -> float:
    """Operations per second of a large square torch.mm, the best of five."""
    import torch

    left, right = (torch.randn(width, width, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    torch.mm(left, right)
    return 2 * width**3 / min(timed(partial(torch.mm, left, right)).seconds for _ in range(5))


def row(name: str, subject: Subject, workload: Workload, lm_eval_items: int, rate: float) -> list[str]:
    requests = encode(subject, workload)
    plan = plan_requests(requests)
    probing = timed(lambda: next(Engines(subject.model, longest=int(plan.depth.max()) + 2).choices()))
    choice = probing.value
    print(
        f"{name}, {subject.files.dtype}: in {probing.seconds:.1f} s the probe chooses {choice.scorer.name},"
        f" {choice.deviation:.1e} from plain rows",
        flush=True,
    )
    work = Work.of(plan, subject.model)

    def scoring() -> None:
        for _ in choice.scorer.score(requests):
            pass

    scoring()
    alone = min(timed(scoring).seconds for _ in range(REPEATS))
    runs = [timed(partial(ours, subject, workload)) for _ in range(REPEATS)]
    mine = min(run.seconds for run in runs)
    lm_eval = [""] * 3, "", ""
    if lm_eval_items:
        some = workload.first(lm_eval_items)
        size = best_batch_size(subject, some, LM_EVAL_BATCHES)
        theirs = timed(partial(LmEval(subject, size), some))
        seconds = theirs.seconds * workload.n_items / some.n_items
        difference = float(np.abs(runs[0].value.logprobs[: len(theirs.value)] - theirs.value).max())
        lm_eval = [f"{seconds:.1f}", f"{size}", f"{seconds / mine:.1f}"], megabytes([theirs]), f"{difference:.0e}"
    numbers, memory, off = lm_eval
    return [
        name,
        subject.files.dtype,
        f"{len(plan.order):,}",
        f"{n_tokens(plan):,}",
        f"{plan.n_nodes:,}",
        f"{mine:.2f}",
        f"{alone:.2f}",
        f"{plan.n_nodes / alone:,.0f}",
        f"{work.total / alone / 1e12:.1f}",
        f"{rate / 1e12:.1f}",
        f"{work.total / alone / rate:.0%}",
        *numbers,
        megabytes(runs),
        memory,
        off,
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", default="llama-1b,llama-8b")
    parser.add_argument("--dtypes", default="bfloat16")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--lm-eval-items", type=int, default=ITEMS, help="its time is scaled up from these")
    parser.add_argument("--without-lm-eval", action="store_true")
    parser.add_argument("--small", action="store_true", help="a tiny model and few items, in float32")
    options = parser.parse_args(arguments)
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("no CUDA device here; --device cpu --small tries the program itself")
    quiet()

    models, dtypes = ("llama-tiny", "float32") if options.small else (options.models, options.dtypes)
    items = min(options.items, 24) if options.small else options.items
    compared = 0 if options.without_lm_eval else min(items, options.lm_eval_items)
    rows = []
    for name, dtype in product(models.split(","), dtypes.split(",")):
        rate = matmul_rate(options.device, dtype, 1_024 if options.small else 8_192)
        with tempfile.TemporaryDirectory() as folder:
            subject = build_on(name, Path(folder), options.device, dtype)
            layout = layouts(1, labels(2, subject, words=2))
            workload = few_shot(f"{SHOTS}-shot", layout, items=items, shots=SHOTS)
            rows.append(row(name, subject, workload, compared, rate))
            del subject
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    print(f"\n{where}, torch {torch.__version__}; {items} items, {SHOTS} shots", end="")
    print(f"; lm-eval scaled up from {compared} items\n" if 0 < compared < items else "\n")
    print(markdown(COLUMNS, rows, words=2))


if __name__ == "__main__":
    main()
