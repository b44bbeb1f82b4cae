"""What the benchmarks score, and with which models: everything is made up, from seeds, so that nothing is needed.

Words are syllables put together, drawn as unevenly as those of a language are; a byte-level BPE is trained on them.
Models have the shape of real ones and random weights, wide enough that their predictions are far from uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.models import ModelFiles, ModelSpec, load_model, locate_model
from harness.records import Answer, Prompt, Segment
from harness.tokenizer import PretrainedTokenizer

LEXICON, ZIPF_SHIFT = 20_000, 2.7
TRAINING_SENTENCES = 40_000
SPECIAL = "<|endoftext|>"


class Language:
    """A made-up language: its words, the most frequent first, and sentences of them."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        onsets = ["", *"bcdfghklmnprstvwz", "br", "ch", "cl", "dr", "fl", "gr", "pl", "pr", "sh", "st", "th", "tr"]
        nuclei, codas = [*"aeiouy", "ai", "ea", "ie", "oo"], ["", "", *"dklmnrst", "ng", "nd", "st", "rt"]
        found: dict[str, None] = {}
        while len(found) < LEXICON:
            parts = [[rng.choice(kind) for kind in (onsets, nuclei, codas)] for _ in range(rng.integers(1, 4))]
            found["".join(map("".join, parts))] = None
        # Frequent words are short, mostly.
        self.words = sorted(found, key=lambda word: len(word) + 4 * rng.random())
        weights = 1 / (np.arange(LEXICON) + ZIPF_SHIFT)
        self._shares = np.cumsum(weights / weights.sum())

    def sentence(self, rng: np.random.Generator, length: int) -> str:
        """A sentence of ``length`` words, with a comma here and there."""
        places = np.searchsorted(self._shares, rng.random(length))
        words = [self.words[place] + "," * (rng.random() < 0.05) for place in places[:-1].tolist()]
        return " ".join([*words, self.words[int(places[-1])]]) + "."

    def sentences(self, rng: np.random.Generator, count: int) -> list[str]:
        """Sentences of 5 to 35 words, as in film reviews: these lengths evenly spread, in any order."""
        return [self.sentence(rng, int(length)) for length in rng.permutation(np.linspace(5, 35, count).round())]


@cache
def language() -> Language:
    return Language()


# Models


def _qwen2(layers: int = 8, hidden: int = 512, vocabulary: int = 32_000) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=2, intermediate_size=hidden * 11 // 4, max_position_embeddings=8_192,
        initializer_range=0.05, tie_word_embeddings=False, use_cache=True, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


def _gpt2() -> Any:
    from transformers import GPT2Config

    return GPT2Config(vocab_size=50_257, n_embd=768, n_layer=12, n_head=12, initializer_range=0.05, bos_token_id=0,
                      eos_token_id=0)  # fmt: skip


def _llama(layers: int, hidden: int, inner: int, tied: bool, vocabulary: int = 128_256, head_width: int = 128) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, intermediate_size=inner,
        num_attention_heads=hidden // head_width, num_key_value_heads=max(1, hidden // head_width // 4),
        head_dim=head_width, max_position_embeddings=8_192, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "qwen2": _qwen2,
    "gpt2": _gpt2,
    "small": lambda: _qwen2(layers=4, hidden=256, vocabulary=8_000),
    "llama-8b": lambda: _llama(32, 4_096, 14_336, tied=False),
    "llama-1b": lambda: _llama(16, 2_048, 8_192, tied=True, head_width=64),
    "llama-tiny": lambda: _llama(2, 128, 352, tied=True, vocabulary=8_000, head_width=32),
}


@dataclass(frozen=True)
class Subject:
    """A model under both tools: one set of weights in memory, and one tokenizer in a folder."""

    files: ModelFiles
    model: Any

    @cached_property
    def tokenizer(self) -> PretrainedTokenizer:
        """As harness reads it."""
        found = PretrainedTokenizer(self.files)
        _ = found.cuts  # probed once for a tokenizer, as loading it is
        return found

    @cached_property
    def reference_tokenizer(self) -> Any:
        """As lm-eval reads it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.files.path)


def build(name: str, folder: Path) -> Subject:
    """Write a random model and a tokenizer for it into a folder, and load them as a user's would be."""
    import torch
    from transformers import AutoModelForCausalLM

    config = CONFIGURATIONS[name]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    del model
    train_tokenizer(config.vocab_size).save_pretrained(folder)
    files = locate_model(ModelSpec(str(folder), device="cpu"))
    return Subject(files, load_model(files))


def build_on(name: str, folder: Path, device: str, dtype: str) -> Subject:
    """The same with weights made on a device, where a file of them would be large; the folder gets none."""
    import torch
    from transformers import AutoModelForCausalLM

    config = CONFIGURATIONS[name]()
    config.save_pretrained(folder)
    train_tokenizer(min(config.vocab_size, 32_000)).save_pretrained(folder)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    spec = ModelSpec(str(folder), device=device)
    return Subject(ModelFiles(spec, folder, None, f"random {name}", dtype, device), model)


def train_tokenizer(size: int) -> Any:
    """A byte-level BPE of at most ``size`` tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng(1)
    texts = language().sentences(rng, TRAINING_SENTENCES)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=[SPECIAL], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=SPECIAL, eos_token=SPECIAL)


# Workloads


@dataclass(frozen=True, slots=True)
class Layout:
    """A template: what stands around a text, and the answers."""

    before: str
    after: str
    answers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts in cells (one for each template), and what is expected of them.

    ``target`` is by how much ours should be faster than lm-eval on one thread of a CPU; None where nothing is said.
    """

    name: str
    cells: Sequence[Sequence[Prompt]]
    target: float | None = None

    @property
    def n_items(self) -> int:
        return len(self.cells[0])

    def first(self, count: int) -> Workload:
        """The same with the first ``count`` items."""
        return Workload(self.name, [prompts[:count] for prompts in self.cells], self.target)

    def strings(self) -> list[tuple[str, str]]:
        """Contexts and continuations, as lm-eval takes them."""
        return [
            (context + answer.given, answer.scored)
            for prompts in self.cells
            for prompt in prompts
            for context in [prompt.text]
            for answer in prompt.answers
        ]


def layouts(count: int, answers: Sequence[str]) -> list[Layout]:
    """Templates that differ from their first words on."""
    words, found = language().words, []
    for i in range(count):
        one, two, three, four = words[300 + 4 * i : 304 + 4 * i]
        before, after = [(f"{one}: ", f"\n{two}: "), (f"{one} {two} ", f"\n{three} {four} ")][i % 2]
        found.append(Layout(before.capitalize(), after.title(), answers))
    return found


def labels(count: int, subject: Subject, *, words: int) -> list[str]:
    """Label words that differ in their first token: ``words`` words, each of one token where the tokenizer has it."""
    single = _single_tokens(subject)
    return [" ".join(next(single) for _ in range(words)) for _ in range(count)]


def _single_tokens(subject: Subject) -> Iterator[str]:
    for word in language().words[40:]:
        if len(subject.tokenizer.encode([f" {word}"])[0].ids) == 1:
            yield word


def few_shot(
    name: str,
    templates: Sequence[Layout],
    *,
    items: int,
    shots: int,
    target: float | None = None,
    per_item: bool = False,
    seed: int = 0,
) -> Workload:
    """Sentences to be labelled, after ``shots`` demonstrations.

    Args:
        per_item: each item has demonstrations of its own.
    """
    rng, spoken = np.random.default_rng(seed), language()
    texts = spoken.sentences(rng, items)  # first, so that they are the same for every number of demonstrations
    pool = spoken.sentences(rng, 200 if per_item else shots)
    drawn = [rng.permutation(len(pool))[:shots] if per_item else np.arange(shots) for _ in texts]
    cells = [
        [_prompt(layout, str(i), text, [(str(d), pool[d]) for d in demos.tolist()])
         for i, (text, demos) in enumerate(zip(texts, drawn, strict=True))]
        for layout in templates
    ]  # fmt: skip
    return Workload(name, cells, target)


def _prompt(layout: Layout, item: str, text: str, demos: Sequence[tuple[str, str]]) -> Prompt:
    segments = []
    for place, shown in demos:
        label = layout.answers[int(place) % len(layout.answers)]
        segments += [
            Segment("demo", "prefix", layout.before + shown + layout.after, place),
            Segment("demo", "answer", label, place),
            Segment("demo", "separator", "\n\n", place),
        ]
    query = Segment("query", "prefix", layout.before + text + layout.after)
    answers = tuple(Answer(label, word, "", word) for label, word in enumerate(layout.answers))
    return Prompt(item, (*segments, query), answers, tuple(place for place, _ in demos))


def endings(
    name: str, subject: Subject, *, items: int, answers: int = 4, target: float | None = None, seed: int = 0
) -> Workload:
    """A passage and its ``answers`` possible endings of 20 to 40 tokens each, as in HellaSwag."""
    rng = np.random.default_rng(seed)
    prompts = []
    for item in range(items):
        context = " ".join(language().sentence(rng, int(rng.integers(12, 26))) for _ in range(3))
        ways = [_ending(rng, subject) for _ in range(answers)]
        prompts.append(
            Prompt(
                str(item),
                (Segment("query", "prefix", context),),
                tuple(Answer(label, way, "", f" {way}") for label, way in enumerate(ways)),
                (),
            )
        )
    return Workload(name, [prompts], target)


def _ending(rng: np.random.Generator, subject: Subject) -> str:
    while True:
        found = language().sentence(rng, int(rng.integers(15, 36)))
        if 20 <= len(subject.tokenizer.encode([f" {found}"])[0].ids) <= 40:
            return found


def standard(model: str, subject: Subject) -> list[Workload]:
    """The workloads of the table for a model, with the number of items at which lm-eval takes at most 90 s."""
    several, single = labels(2, subject, words=2), labels(2, subject, words=1)
    one, five = layouts(1, several), layouts(5, several)
    if model == "gpt2":
        return [
            few_shot("4-shot", one, items=20, shots=4, target=15),
            few_shot("16-shot", one, items=8, shots=16, target=19),
            endings("four endings", subject, items=8, target=3),
        ]
    return [
        few_shot("0-shot", one, items=160, shots=0, target=5),
        few_shot("4-shot", one, items=64, shots=4, target=15),
        few_shot("16-shot", one, items=24, shots=16, target=30),
        few_shot("16-shot, one-token labels", layouts(1, single), items=24, shots=16, target=15),
        few_shot("4-shot, five templates", five, items=16, shots=4, target=13),
        few_shot("4-shot, demonstrations per item", one, items=40, shots=4, target=3.5, per_item=True),
        endings("four endings", subject, items=12, target=3),
    ]
