"""Loads a model's tokenizer, and makes sure that it is the one of the model's folder.

transformers rebuilds many tokenizers by the class that ``tokenizer_config.json`` or the model's type names, and takes
only vocabulary and merges from ``tokenizer.json``. That file is compared with what transformers made of it, and where
they differ, the file is used unless the user says otherwise. What the file describes is tried in a process of its own
first, since it can hang or kill the one that reads it.

torch is not needed; transformers and tokenizers are imported when a tokenizer is loaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from harness import hub, tokenizer_probe
from harness.errors import ModelError, UsageError, contained
from harness.fingerprint import file_digest
from harness.limited import LimitError, Limits, run_limited
from harness.memo import Memo
from harness.model_folder import read_json
from harness.models import BUILTIN, ModelFiles, ModelSpec, guarded
from harness.records import digest
from harness.segments import Cuts, Encoding, find_cuts

Notice = Callable[[str], object]

FILE = "tokenizer.json"
# Those of a vocabulary of 256,000 take 2 s and 700 MB; its file has 33 MB.
_SECONDS, _SECONDS_PER_MB, _MB, _MB_PER_MB, _WALL = 8, 1, 2_048, 32, 120
_MOST_TOKENS = 20_000_000
# Settings of tokens that are made up, or special.
_COUNTS = ("additional_special_tokens", "extra_special_tokens", "extra_ids", "num_madeup_words", "offset")
_MOST_SPECIAL = 20_000
# Added tokens and pieces of the vocabulary with which two tokenizers are compared.
_ADDED, _MOST_COMPARED = 100, 1_500


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer as transformers has it, and the one that is used: of the library ``tokenizers``, unless the model's
    is Python code (None)."""

    name: str
    wrapper: Any
    backend: Any | None
    source: str

    @property
    def bos(self) -> int | None:
        return self._id(self.wrapper.bos_token, self.wrapper.bos_token_id)

    @property
    def eos(self) -> int | None:
        return self._id(self.wrapper.eos_token, self.wrapper.eos_token_id)

    @cached_property
    def spelling(self) -> str:
        """All that the tokens of a text depend on."""
        if self.backend is None:
            return str(sorted(self.wrapper.get_vocab().items()))
        self.backend.no_truncation()
        return str(self.backend.to_str())

    def encode(self, texts: Sequence[str], *, special: bool = True, most: int | None = None) -> list[list[int]]:
        """The tokens of texts, of which ``most`` are kept, with those that the tokenizer puts around a text.

        Raises:
            ModelError: the tokenizer fails on one of them.
        """
        try:
            with contained():
                return self._encode(list(texts), special, most)
        except Exception as error:
            raise ModelError(f"{self.name}: its tokenizer fails on a text: {hub.first_line(error)}") from error

    def _encode(self, texts: list[str], special: bool, most: int | None) -> list[list[int]]:
        if self.backend is None:
            found = self.wrapper(
                texts, add_special_tokens=special, truncation=most is not None, max_length=most, verbose=False
            )
            return [list(ids) for ids in found["input_ids"]]
        if most is None:
            self.backend.no_truncation()
        else:
            self.backend.enable_truncation(most, direction=self.wrapper.truncation_side)
        return [one.ids for one in self.backend.encode_batch(texts, add_special_tokens=special)]

    def _id(self, token: str | None, number: int | None) -> int | None:
        if self.backend is None or token is None or self.source != FILE:
            return number
        found: int | None = self.backend.token_to_id(token)
        return found


def load_tokenizer(files: ModelFiles, notice: Notice) -> LoadedTokenizer:
    """Load the tokenizer of a folder: that of its file, or as transformers has it, as ``files.spec.tokenizer`` says.
    What of the folder is not read is said here, too.

    Raises:
        ModelError: it cannot be loaded, blows texts up, or takes too long to try.
    """
    spec, path = files.spec, files.path / FILE
    for remark in files.remarks:
        notice(f"{spec.name}: {remark}")
    there = path.is_file()
    trusted = spec.name == BUILTIN
    _check_settings(files.path)
    if there and not trusted:
        _try(path, spec)
    wrapper = _wrapper(files, there and spec.tokenizer == "file", notice)
    backend = _plain(wrapper.backend_tokenizer) if getattr(wrapper, "is_fast", False) else None
    own_code = not type(wrapper).__module__.startswith("transformers.")
    if there and not own_code:
        from tokenizers import Tokenizer

        read = guarded(spec, "tokenizer", lambda: _plain(Tokenizer.from_file(str(path))))
        found = guarded(spec, "tokenizer", lambda: _differences(read, wrapper, backend))
        if found:
            used = "tokenizer.json is used" if spec.tokenizer == "file" else "used as transformers has it"
            other = "transformers" if spec.tokenizer == "file" else "file"
            notice(
                f"{spec.name}: transformers reads its tokenizer as {type(wrapper).__name__}, not as tokenizer.json has"
                f" it: {'; '.join(found)}; {used} (--tokenizer {other} for the other)"
            )
        if spec.tokenizer == "file":
            loaded = LoadedTokenizer(spec.name, wrapper, read, FILE)
            told = _other_bos(files.path / "tokenizer_config.json", _around(read), loaded.bos)
            if told and spec.bos == "auto":
                notice(f"{spec.name}: {told}")
            return loaded
    elif backend is not None and not trusted:
        with tempfile.TemporaryDirectory() as folder:
            serialised = Path(folder) / FILE
            serialised.write_text(guarded(spec, "tokenizer", backend.to_str), encoding="utf-8")
            _try(serialised, spec)
    return LoadedTokenizer(spec.name, wrapper, backend, "transformers")


def _wrapper(files: ModelFiles, file: bool, notice: Notice) -> Any:
    """The tokenizer as transformers has it; where it cannot read the folder so, and its ``file`` is all that is wanted,
    that file with nothing but the names of special tokens."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    spec = files.spec

    def load(kind: Any) -> Any:
        return guarded(
            spec, "tokenizer", lambda: kind.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)
        )

    try:
        return load(AutoTokenizer)
    except ModelError as error:
        if not file or "--trust-remote-code" in str(error):
            raise
        try:
            found = load(PreTrainedTokenizerFast)
        except ModelError:
            raise error from None
        notice(f"{error} (so says transformers, which rebuilds it); tokenizer.json is used")
        return found


def _plain(backend: Any) -> Any:
    """Have a tokenizer leave texts as long as they are, and split them in the same way every time: dropout is for
    training."""
    backend.no_truncation()
    backend.no_padding()
    if getattr(backend.model, "dropout", None):
        backend.model.dropout = None
    return backend


# Hostile files


def _check_settings(folder: Path) -> None:
    """Some classes count up to the largest number of an added token, or make up as many tokens as they are told to; and
    the time that special ones take grows with the square of their number.

    Raises:
        ModelError: a file of settings is no JSON object, numbers a token absurdly, or asks for too many.
    """
    for path in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        stated = read_json(path) if path.is_file() else {}
        for key in _COUNTS:
            told = stated.get(key)
            count = len(told) if isinstance(told, list | dict) else told
            if isinstance(count, int | float) and not count <= _MOST_SPECIAL:
                raise ModelError(f"{path}: {key} asks for {count:,} tokens; at most {_MOST_SPECIAL:,} are made")
        added = stated.get("added_tokens_decoder")
        for number in added if isinstance(added, dict) else ():
            if not (number.isdecimal() and len(number) < 10 and int(number) <= _MOST_TOKENS):
                raise ModelError(f"{path}: added_tokens_decoder numbers a token {number:.40}")


def _try(path: Path, spec: ModelSpec) -> None:
    """Try a serialised tokenizer in a process with limits; one that stood the trial is not tried again."""
    from importlib.metadata import version

    memo = Memo("tokenizers")
    key = digest([file_digest(path), version("tokenizers"), tokenizer_probe.VERSION])
    if memo.get(key) is not None:
        return
    size = path.stat().st_size >> 20
    limits = Limits(_SECONDS + _SECONDS_PER_MB * size, _MB + _MB_PER_MB * size, _WALL + size)
    try:
        wrong = run_limited(Path(tokenizer_probe.__file__), str(path), limits)
    except LimitError as error:
        raise ModelError(f"{spec.name}: its tokenizer cannot be used: trying it on short texts {error}") from error
    if wrong is not None:
        raise ModelError(f"{spec.name}: its tokenizer cannot be used: {wrong}")
    memo.put(key, "stood the trial")
    memo.save()


# The file, and what transformers makes of it


def _differences(file: Any, wrapper: Any, backend: Any | None) -> list[str]:
    """In which ways what transformers made differs from the file, in words."""
    theirs = backend.get_added_tokens_decoder() if backend is not None else wrapper.added_tokens_decoder
    added = {token.content: number for number, token in theirs.items()}
    mine = {token.content: number for number, token in file.get_added_tokens_decoder().items()}
    specials = [content for content in dict.fromkeys([*mine, *added]) if content.strip()][:_ADDED]
    texts = [
        *tokenizer_probe.TEXTS,
        *_pieces(file),
        *(text for name in specials for text in (f"a{name}b", f"a {name} b")),
    ]
    one, other = _ids(file, texts), _their_ids(backend or wrapper, texts)
    split = [text for text, first, second in zip(texts, one, other, strict=True) if first != second]
    found = []
    if split:
        found.append(f"{len(split)} of {len(texts)} probe texts get other tokens, such as {split[0]!r:.40}")
    around, their_around = _around(file), _around(backend or wrapper)
    if around != their_around:
        names = [_spelled(wrapper.convert_ids_to_tokens, their_around), _spelled(_names(file), around)]
        found.append(f"it puts {names[0]} around a text, not {names[1]}")
    return found


def _pieces(file: Any) -> list[str]:
    """Pieces of the vocabulary as texts: those that mix kinds of characters first, since words are split there."""
    decoded = dict.fromkeys(tokenizer_probe.pieces(file))
    mixed = [piece for piece in decoded if re.search(r"\S", piece) and not re.fullmatch(r"\s?\w+", piece)]
    return [piece for piece in dict.fromkeys([*mixed, *decoded]) if piece][:_MOST_COMPARED]


def _ids(tokenizer: Any, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    """The tokens of texts, of a tokenizer of either library."""
    if hasattr(tokenizer, "encode_batch"):
        return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=special)]
    return [list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]) for text in texts]


def _their_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int] | None]:
    """The same, with None for a text on which a rebuilt tokenizer fails, as one whose unknown token is unknown does."""
    with suppress(Exception), contained():
        return [*_ids(tokenizer, texts)]
    return [None] if len(texts) == 1 else [found for text in texts for found in _their_ids(tokenizer, [text])]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that are put before and after every text."""
    (bare,), (whole,) = _ids(tokenizer, ["a"]), _ids(tokenizer, ["a"], special=True)
    places = range(len(whole) - len(bare) + 1) if bare else range(0)
    place = next((i for i in places if whole[i : i + len(bare)] == bare), 0)
    return whole[:place], whole[place + len(bare) :]


def _names(file: Any) -> Callable[[list[int]], list[str]]:
    return lambda ids: [file.id_to_token(token) or str(token) for token in ids]


def _spelled(names: Callable[[list[int]], list[str]], around: tuple[list[int], list[int]]) -> str:
    before, after = map(names, around)
    return " ".join([*before, "...", *after]) if before or after else "nothing"


def _other_bos(config: Path, around: tuple[list[int], list[int]], bos: int | None) -> str | None:
    """In words, that ``tokenizer_config.json`` says of BOS what its file does not do."""
    stated = read_json(config).get("add_bos_token") if config.is_file() else None
    does = bos is not None and bos in around[0]
    if not isinstance(stated, bool) or stated == does or bos is None:
        return None
    then = "none is put; --bos always puts it" if stated else "it is put; --bos never leaves it out"
    return f"tokenizer_config.json says add_bos_token: {str(stated).lower()}, and tokenizer.json does not: {then}"


# For scoring


class PretrainedTokenizer:
    """A fast tokenizer, as encoding needs it."""

    def __init__(self, files: ModelFiles, notice: Notice = lambda text: None) -> None:
        spec = files.spec
        loaded = load_tokenizer(files, notice)
        if loaded.backend is None:
            raise ModelError(
                f"{spec.name}: its tokenizer ({type(loaded.wrapper).__name__}) gives no character offsets, so the"
                " scored span of an answer would have to be guessed; a fast tokenizer (tokenizer.json) is needed"
            )
        self._name, self._backend = spec.name, loaded.backend
        self.source = loaded.source
        self.opening = loaded.bos if loaded.bos is not None else loaded.eos
        self.prefix = self._prefix(spec, loaded.bos)
        self.fingerprint = digest([loaded.spelling, list(self.prefix), self.opening])

    def _prefix(self, spec: ModelSpec, bos: int | None) -> tuple[int, ...]:
        if not _ids(self._backend, ["a"])[0]:  # transformers makes up an empty tokenizer where the folder has none
            raise ModelError(f"{spec.name}: its tokenizer knows no text: tokenizer.json or its like is missing")
        own = tuple(_around(self._backend)[0])
        if spec.bos == "never":
            return ()
        if spec.bos == "always" and not own:
            if bos is None:
                raise UsageError(f"--bos always: the tokenizer of {spec.name} has no BOS token")
            return (bos,)
        return own

    @cached_property
    def cuts(self) -> Cuts:
        return find_cuts(self._backend)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            with contained():
                found = self._backend.encode_batch(list(texts), add_special_tokens=False)
        except Exception as error:
            raise ModelError(f"{self._name}: its tokenizer fails on a text: {hub.first_line(error)}") from error
        return [
            Encoding(
                np.array(one.ids, np.int32),
                np.fromiter(chain.from_iterable(one.offsets), np.int32).reshape(-1, 2),
                len(text),
            )
            for one, text in zip(found, texts, strict=True)
        ]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token as the tokenizer spells it, for people to read."""
        return [self._backend.id_to_token(token) or "?" for token in ids]
