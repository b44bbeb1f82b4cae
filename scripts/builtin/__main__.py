"""From nothing to the shipped files: ``python -m scripts.builtin``, about half an hour on one core.

Writes the samples, trains the model on text that holds none of them, and measures it with the harness itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "harness" / "builtin"
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.builtin", description=__doc__)
    parser.add_argument("--output", type=Path, default=SHIPPED, help="folder for model/ and samples/")
    parser.add_argument("--checkpoints", type=Path, default=Path("build/builtin"))
    parser.add_argument("--log", type=Path, default=HERE / "log.txt")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="shorten every stage, to try the recipe")
    parser.add_argument("--resume", help="a stage whose checkpoint to go on from")
    options = parser.parse_args()

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    from scripts.builtin.documents import Writer
    from scripts.builtin.samples import write_samples
    from scripts.builtin.train import train

    torch.set_num_threads(options.threads)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("a" if options.resume else "w", encoding="utf-8") as lines:

        def log(line: str) -> None:
            print(line, flush=True)
            lines.write(line.rstrip() + "\n")
            lines.flush()

        model, samples = options.output / "model", options.output / "samples"
        held_out = write_samples(samples, options.seed)
        train(model, options.checkpoints, Writer(held_out), options.seed, log, options.scale, options.resume)
        shutil.copy(HERE / "model_card.md", model / "README.md")
        from scripts.builtin import evaluate

        for line in evaluate.report(model, samples):
            log(line)


if __name__ == "__main__":
    main()
