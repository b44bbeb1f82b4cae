"""Embeds texts with a transformer, in float32: as the files beside it say, else the mean of its last hidden states.

Any encoder or causal language model that ``AutoModel`` loads will do; one in the layout of sentence-transformers says
how its embeddings are made, and they are made so. Embeddings are kept in
``<results>/embeddings/<model fingerprint>/``, by a hash of the text's tokens, so that no text is ever embedded twice,
and the same text always has the same numbers.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import hub, interrupts
from harness.errors import DamagedFileError, ModelError, contained, failure
from harness.files import write_atomically
from harness.model_checks import check_leftovers, check_size
from harness.models import ModelFiles
from harness.pooling import Head, make_head
from harness.processes import Processes
from harness.progress import Reporter
from harness.records import KEY_BYTES, digest
from harness.sentence_layout import SentenceLayout, read_layout
from harness.stored_arrays import read_arrays
from harness.tokenizer import LoadedTokenizer, load_tokenizer

BATCH_TOKENS = 8_192
COMMIT_SECONDS = 10.0
_METHOD = b"mean of the last hidden states, 1"

Vectors = npt.NDArray[np.float32]


class Embedder:
    """Gives each text its vector; calling it twice with a text computes it once."""

    def __init__(self, files: ModelFiles, results: Path, reporter: Reporter) -> None:
        """Raises ModelError where the files beside the model are damaged, or name what is not supported."""
        self.label = files.label
        self._files = files
        self._folder = results / "embeddings" / files.fingerprint
        self._reporter = reporter
        self._layout: SentenceLayout = read_layout(files.path)
        # The files' own word is part of every key; the mean keeps the key that it had before there was any other way.
        self._method = self._layout.fingerprint.encode() if self._layout.stated else _METHOD
        self._model: Any = None
        self._head: Head | None = None
        self._known: dict[bytes, Vectors] | None = None
        self._timed, self._seconds = 0, 0.0

    @cached_property
    def fingerprint(self) -> str:
        """What the vector of a text depends on: the model, and how it tokenises."""
        return digest([self._files.fingerprint, self._tokenizer.spelling, self._most, self._method.decode()])

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts; shape [n texts, d].

        Raises:
            ModelError: the model cannot be loaded, or gives no finite numbers.
            HarnessError: they cannot be stored.
        """
        tokens = self._tokenise(texts)
        keys = [hashlib.blake2b(self._method + ids.tobytes(), digest_size=KEY_BYTES).digest() for ids in tokens]
        if self._known is None:
            self._known = Processes().from_main(dict(self._stored()))
        missing = {key: ids for key, ids in zip(keys, tokens, strict=True) if key not in self._known}
        if missing:
            known = next(iter(self._known.values()), None)
            found = self._embed(missing)
            if known is not None and any(vector.shape != known.shape for vector in found.values()):
                raise DamagedFileError(self._folder, "holds vectors of another length than the model gives; remove it")
            self._known |= found
        return np.stack([self._known[key] for key in keys])

    @property
    def seconds_per_text(self) -> float | None:
        """What computing a vector took, over all vectors whose time is known, stored ones included."""
        return self._seconds / self._timed if self._timed else None

    def release(self) -> None:
        """Give the model's memory back; it is loaded again if another text comes."""
        self._model = None

    # Tokens

    @cached_property
    def _tokenizer(self) -> LoadedTokenizer:
        name, loaded = self._files.spec.name, load_tokenizer(self._files, self._reporter.notice)
        if not loaded.encode(["a"], special=False)[0]:
            raise ModelError(f"{name}: its tokenizer knows no text: tokenizer.json or its like is missing")
        if self._layout.lower:
            if loaded.backend is None:
                raise ModelError(f"{name}: lower-cases texts, which its tokenizer, Python code, cannot be told to do")
            _lower(loaded.backend)
        return loaded

    @property
    def _most(self) -> int | None:
        """How many tokens of a text are read. Tokenizers without a limit of their own name an enormous one."""
        stated = self._layout.most_tokens
        limits = [self._files.max_inputs, self._tokenizer.wrapper.model_max_length if stated is None else stated]
        return min((limit for limit in limits if limit is not None and limit < 1_000_000), default=None)

    def _tokenise(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        tokenizer = self._tokenizer
        tokenizer = self._tokenizer
        given = [self._layout.prompt + text for text in texts]
        stand_in = next((token for token in (tokenizer.bos, tokenizer.eos) if token is not None), 0)
        return [np.array(ids or [stand_in], np.int64) for ids in tokenizer.encode(given, most=self._most)]

    @cached_property
    def _skipped(self) -> int:
        """How many leading tokens are the model's own prompt, where they are not to be pooled."""
        if self._layout.pools_prompt or not self._layout.prompt:
            return 0
        (ids,) = self._tokenizer.encode([self._layout.prompt])
        return len(ids) - (ids[-1] in self._tokenizer.wrapper.all_special_ids)

    # Vectors

    def _embed(self, missing: dict[bytes, npt.NDArray[np.int64]]) -> dict[bytes, Vectors]:
        """Compute vectors, shared out among the processes of the run, and store them as they come."""
        processes = Processes()
        order = sorted(missing, key=lambda key: (len(missing[key]), key))
        own = order[processes.rank :: processes.count]
        found: dict[bytes, Vectors] = {}
        pending: list[bytes] = []
        if self._model is None:
            with self._reporter.track("loading the encoder", None, ""):
                self._model = load_encoder(self._files)
            self._head = make_head(self._layout, _width(self._model), self._files.device)
        last = time.monotonic()
        with self._reporter.track("embedding", len(own), "texts") as advance:
            try:
                for batch in _batches(own, missing):
                    for key, vector in zip(batch, self._forward([missing[key] for key in batch]), strict=True):
                        found[key] = vector
                    pending += batch
                    advance(len(batch))
                    interrupts.check()
                    if time.monotonic() - last > COMMIT_SECONDS:
                        self._store(pending, found, time.monotonic() - last)
                        pending, last = [], time.monotonic()
            finally:  # also when the user stops it
                self._store(pending, found, time.monotonic() - last)
        return {key: vector for part in processes.gather(found) for key, vector in part.items()}

    def _forward(self, batch: Sequence[npt.NDArray[np.int64]]) -> Vectors:
        """The vectors of one batch, padded on the right; shape [n, d]."""
        import torch

        longest = max(map(len, batch))
        ids = torch.zeros((len(batch), longest), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.from_numpy(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self._files.device), mask.to(self._files.device)
        try:
            with torch.inference_mode(), contained():
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
                mask[:, : self._skipped] = 0
                assert self._head is not None
                vectors: Vectors = self._head(hidden, mask).cpu().numpy()
        except Exception as error:  # a model's own code may fail in any way
            name = self._files.spec.name
            raise ModelError(f"{name}: its own code fails on texts of {longest} tokens: {failure(error)}") from error
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self._files.spec.name}: gives embeddings that are not finite numbers")
        return vectors

    # The disk

    def _stored(self) -> Iterator[tuple[bytes, Vectors]]:
        """All that is stored; of files with vectors of different lengths, the first one is right."""
        width: int | None = None
        for path in sorted(self._folder.glob("*.npz")):
            try:
                parts = read_arrays(path)
                vectors = parts.vectors("vectors", None, width)
                keys = parts.bytes_("keys", len(vectors), KEY_BYTES)
                seconds = parts.floats("seconds") if "seconds" in parts else None  # an earlier version did not tell
                parts.require(seconds is None or seconds >= 0, "seconds is below 0")
            except DamagedFileError:  # a failing disk, or somebody else's file
                self._reporter.remark(f"{path}: damaged, not read")
                continue
            width = vectors.shape[1]
            if seconds is not None:
                self._timed, self._seconds = self._timed + len(keys), self._seconds + float(seconds)
            yield from zip(map(bytes, keys), vectors, strict=True)

    def _store(self, keys: Sequence[bytes], found: dict[bytes, Vectors], seconds: float) -> None:
        if not keys:
            return
        self._timed, self._seconds = self._timed + len(keys), self._seconds + seconds
        names = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        vectors = np.stack([found[key] for key in keys])

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                np.savez(stream, keys=names, vectors=vectors, seconds=np.float64(seconds))

        write_atomically(self._folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.npz", write)


def load_encoder(files: ModelFiles) -> Any:
    """Load a model without its head, in float32; of an encoder with a decoder, the encoder.

    Raises:
        ModelError: it cannot be loaded, or lacks weights.
    """
    import torch
    from transformers import AutoModel

    spec = files.spec
    check_size(AutoModel, files.config, files.numbers, spec.name, with_code=spec.trust_remote_code)
    try:
        with contained():
            model, info = AutoModel.from_pretrained(
                files.path,
                dtype=torch.float32,
                device_map={"": files.device},
                trust_remote_code=spec.trust_remote_code,
                output_loading_info=True,
                **spec.arguments,
            )
    except Exception as error:  # model code and readers of many formats raise many kinds
        raise ModelError(f"{spec.name}: cannot be loaded to embed texts: {hub.first_line(error)}") from error
    # A pooler stands on top of the hidden states, which are all that is used.
    absent = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]) if "pooler" not in str(key))
    if absent:
        raise ModelError(f"{spec.name}: its files lack {len(absent)} weights of the model, such as {absent[0]}")
    # Heads are not needed, and nothing is said of them.
    check_leftovers(model, info["unexpected_keys"], spec.name, lambda text: None, intended=bool(spec.arguments))
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model.config.use_cache = False
    return model.eval()


def _width(model: Any) -> int:
    """How many numbers the hidden state of a token has."""
    return int(model.config.get_text_config().hidden_size)


def _lower(backend: Any) -> None:
    """Have a tokenizer lower-case texts before it does anything else with them; special tokens stay as they are."""
    from tokenizers import normalizers

    own = backend.normalizer
    lowered = normalizers.Lowercase()
    backend.normalizer = lowered if own is None else normalizers.Sequence([lowered, own])


def _batches(keys: Sequence[bytes], tokens: dict[bytes, npt.NDArray[np.int64]]) -> Iterator[list[bytes]]:
    """Runs of keys, sorted by length, whose texts make at most BATCH_TOKENS when padded."""
    batch: list[bytes] = []
    for key in keys:
        if batch and (len(batch) + 1) * len(tokens[key]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch
