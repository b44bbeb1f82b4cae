"""Applies a trained baseline of a stored run to new text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from harness.baselines.base import Baseline, Floats, Surroundings
from harness.baselines.registry import METHODS, Method
from harness.baselines.texts import joined
from harness.baselines.trained import TrainedCell, find_trained
from harness.embeddings import Embedder
from harness.errors import DamagedFileError, HarnessError, ModelError, UsageError, suggest
from harness.manifest import CellRecord
from harness.models import ModelSpec, TokenizerSource, locate_model
from harness.progress import Reporter
from harness.records import Example
from harness.run_store import StoredRun
from harness.signature import Signature
from harness.strict_yaml import describe

# What narrows a run to one trained cell, and the field of its signature.
KEYS = {"task": "task", "method": "method", "labels_used": "labels_used", "model": "model", "seed": "demo_seed"}


class _EncoderOptions(BaseModel, strict=True):
    """What the options of a run say of its encoder."""

    device: str = "auto"
    tokenizer: TokenizerSource = "transformers"  # what earlier versions had
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class TrainedBaseline:
    """One trained cell, loaded."""

    cell: TrainedCell
    model: Baseline

    @property
    def labels(self) -> Sequence[str]:
        return self.cell.labels

    def scores(self, examples: Sequence[Example]) -> Floats:
        """Log-probabilities of the labels in nats; shape [n examples, n labels]."""
        return self.model.scores(joined(examples))


def find_baseline(
    run: StoredRun, narrowing: str, results: Path, reporter: Reporter, *, trust_remote_code: bool
) -> TrainedBaseline:
    """The one trained cell of a run that ``narrowing``, such as ``method=tfidf,seed=0``, leaves.

    Args:
        trust_remote_code: whether Python code of its encoder may run. That the run's did is no permission: the run may
            be somebody else's.

    Raises:
        UsageError: no cell fits, or several do.
        HarnessError: its files are gone.
        DamagedFileError: its files are damaged.
        ModelError: the encoder that it was trained on is not to be had, or is another now.
    """
    name = run.path.name
    wanted = dict(_pair(part, name) for part in narrowing.split(",") if part)
    cells = [cell for cell in run.cells if cell.signature.approach == "baseline"]
    if not cells:
        raise UsageError(f"--run {name}: holds no trained baseline; 'harness baseline' trains them")
    fitting = [
        cell for cell in cells if all(str(cell.signature.value(KEYS[key])) == value for key, value in wanted.items())
    ]
    if len(fitting) != 1:
        count = "none" if not fitting else "several"
        raise UsageError(f"--run {name}:{narrowing}: {count} of its baselines fit; {_choices(fitting or cells)}")
    known = find_trained(results, fitting[0].id)
    if known is None:
        raise HarnessError(
            f"--run {name}: the trained model is not in {results / 'baselines' / fitting[0].id}; the command that"
            " made the run trains it again"
        )
    method = _method(known.signature)
    if method is None:
        raise HarnessError(f"--run {name}: the method {known.signature.method!r} is not one of {', '.join(METHODS)}")
    around = Surroundings()
    if method.needs_encoder:
        around = _surroundings(run, known.signature, results, reporter, trust_remote_code)
    model = method.make(around)
    known.load(model)
    return TrainedBaseline(known, model)


def _pair(part: str, name: str) -> tuple[str, str]:
    key, given, value = part.partition("=")
    if not given or key not in KEYS:
        raise UsageError(f"--run {name}: {part!r} is not key=value{suggest(key, KEYS, what='keys')}")
    return key, value


def _method(signature: Signature) -> Method | None:
    return next((method for name, method in METHODS.items() if name == signature.method), None)


def _choices(cells: Sequence[CellRecord]) -> str:
    told = []
    for key, name in KEYS.items():
        values = list(dict.fromkeys(str(cell.signature.value(name)) for cell in cells))
        if len(values) > 1:
            told.append(f"{key} {', '.join(values[:12])}")
    return f"narrow it by {'; '.join(told)}, as in RUN:method=tfidf,seed=0"


def _surroundings(
    run: StoredRun, signature: Signature, results: Path, reporter: Reporter, trust_remote_code: bool
) -> Surroundings:
    """With the encoder of the run, if it is still the same."""
    encoder = run.document.model.encoder
    try:
        options = _EncoderOptions.model_validate(run.document.options)
    except ValidationError as error:
        problem = describe(_EncoderOptions, error.errors(include_url=False)[0])
        raise DamagedFileError(run.path / "manifest.json", f"options: {problem}") from error
    if encoder is None:
        raise DamagedFileError(run.path / "manifest.json", "model: the key 'encoder' is missing")
    name = encoder.name
    if options.trust_remote_code and not trust_remote_code:
        raise UsageError(
            f"--run {run.path.name}: Python code that comes with the encoder {name} ran in its training;"
            " --trust-remote-code lets it run again"
        )
    spec = ModelSpec(
        name,
        device=options.device,
        tokenizer=options.tokenizer,
        trust_remote_code=options.trust_remote_code,
    )
    embedder = Embedder(locate_model(spec), results, reporter)
    method = _method(signature)
    if method is None or method.fingerprint(embedder.fingerprint) != signature.model_fingerprint:
        raise ModelError(f"{name}: the encoder, or a library, is not the one that the baseline was trained with")
    return Surroundings(embedder)
