"""The frozen encoder of the methods that classify embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from harness.baselines.options import BaselineOptions
from harness.baselines.texts import Vectors
from harness.embeddings import Embedder
from harness.errors import ModelError
from harness.models import ModelFiles, ModelSpec, locate_model
from harness.peak_memory import peak_memory
from harness.progress import Reporter


class Encoder:
    """The frozen encoder of knn and probe; a text is embedded once.

    Raises:
        ModelError: it cannot be found.
    """

    def __init__(self, options: BaselineOptions, reporter: Reporter) -> None:
        spec = ModelSpec(
            options.encoder,
            device=options.device,
            tokenizer=options.tokenizer,
            trust_remote_code=options.trust_remote_code,
        )
        if "encoder" not in options.model_fields_set:
            reporter.remark("no --encoder given: embeddings are of the small built-in model; name a real one")
        try:
            self.files: ModelFiles = locate_model(spec)
        except ModelError as error:
            raise ModelError(f"--encoder: {error}") from error
        self.label = self.files.label
        self._embedder = Embedder(self.files, options.results, reporter)
        self.vectors = Vectors(self._embedder)
        self.peak_memory: int | None = None  # of embedding in this run

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    @property
    def seconds_per_text(self) -> float | None:
        return self._embedder.seconds_per_text

    def embed(self, texts: Sequence[str]) -> None:
        """Compute what is not known yet, and give the model's memory back."""
        with peak_memory(self.files.device) as peak:
            self.vectors(texts)
        self.peak_memory = peak.bytes
        self._embedder.release()
