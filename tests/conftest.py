"""Shared fixtures: small random models built on the spot, generated data, and the real data where a machine has it."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from commands import Commands
    from transformers import PreTrainedTokenizerFast

# One thread each for torch, BLAS and OpenMP, here and in processes that tests start: tiny models and tables gain
# nothing from more, and wait for those that are busy elsewhere. They read it when they are loaded, which is after this.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell has what it starts in the background ignore Ctrl-C, and so would the processes that tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, however busy the machine is.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is imported by now: statsmodels collects at every adjusted p-value."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's environment, hub, or cache."""
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


version = cache(metadata.version)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run forces its files to the disk, whose loss of power no test sees, and looks versions up in files."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(metadata, "version", version)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The command line: ``harness("run", "--tasks", "mood")`` gives its status and what it printed."""
    from commands import Commands

    return Commands(monkeypatch, capsys)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module keeps the results of its first run for those of its tests that would make the same."""
    return tmp_path_factory.mktemp("kept") / "results"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: a tiny model gains nothing from more, and waits for those that are busy elsewhere."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; skips where there is none."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set HARNESS_SHARED)")
    return folder


@pytest.fixture(scope="session")
def stories_model() -> Path:
    """A small trained Llama model; skips where there is none."""
    folder = SHARED / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"real model not found at {folder} (set HARNESS_SHARED)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A sentence encoder as sentence-transformers ships it; skips where there is none."""
    folder = SHARED / "models" / "minilm-l6"
    if not folder.is_dir():
        pytest.skip(f"real encoder not found at {folder} (set HARNESS_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2-shaped model of 128 positions with a byte-level BPE trained on generated text, in a folder."""
    return build_gpt2(tmp_path_factory.mktemp("models") / "tiny-gpt2")


def build_gpt2(folder: Path, *, seed: int = 0, n_positions: int = 128) -> Path:
    """Write a random GPT-2-shaped model whose scores are far from flat."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = train_bpe()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=n_positions, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def train_bpe(size: int = 500) -> PreTrainedTokenizerFast:
    """A byte-level BPE without a BOS of its own, as GPT-2's."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(made_up_text(400), vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def made_up_text(count: int, seed: int = 0) -> list[str]:
    """Sentences of a small grammar."""
    rng = random.Random(seed)
    things = ["film", "story", "meal", "room", "song", "garden", "lamp", "road", "电影", "房间"]
    words = {0: ["dull", "bad", "terrible", "awful", "weak"], 1: ["bright", "good", "great", "lovely", "fine"]}

    def sentence() -> str:
        first, second = (rng.choice(words[rng.randrange(2)]) for _ in range(2))
        verb = rng.choice(["stayed", "felt", "looked"])
        one, other = rng.choice(things), rng.choice(things)
        return f"The {one} was {first} and the {other} {verb} {second} to number {rng.randrange(1000)}."

    return [sentence() for _ in range(count)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty folder of a user's own, with one small task, two prompts and its data, as the current folder."""
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.write("tasks/mood.yaml", MOOD_TASK)
    made.write("prompts/mood/plain.jinja", "---\nanswers: [bad, good]\n---\nText: {{ text }}\nMood: {{ answer }}\n")
    terse = '---\nanswers: [no, yes]\nseparator: "\\n"\n---\n{{ text }} good? {{ answer }}\n'
    made.write("prompts/mood/terse.jinja", terse)
    made.write_rows("data/mood/train.jsonl", 40, seed=1)
    made.write_rows("data/mood/test.jsonl", 20, seed=2)
    return made


MOOD_TASK = """\
name: mood
family: sentiment
source: {folder: mood}
splits: {pool: train, report: test}
fields: [text]
target: label
labels: [low, high]
metrics: [accuracy, macro_f1]
"""


class Project:
    """A user's folder under test."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def write_rows(
        self, name: str, count: int, seed: int, change: Callable[[dict[str, object]], object] | None = None
    ) -> Path:
        rng = random.Random(seed)
        rows: list[dict[str, object]] = [
            {"text": text, "label": rng.randrange(2)} for text in made_up_text(count, seed)
        ]
        for row in rows:
            if change is not None:
                change(row)
        return self.write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture(scope="session")
def kept_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs ``results`` keeps them for the others."""
    return tmp_path_factory.mktemp("kept") / "results"


@pytest.fixture
def results(harness: Commands, project: Project, kept_results: Path, tiny_gpt2: Path) -> Path:
    """A results folder with a run of no shots, one of two, one of permuted orders, and trained baselines."""
    from damage import MOOD, ORDERS

    project.write("tasks/mood.yaml", MOOD_TASK.replace("report: test", "select: 'train[-6:]', report: test"))
    folder = Path("results")
    if not kept_results.exists():
        for options in (("--shots", "0"), ("--shots", "2", "--limit", "10"), ORDERS):
            harness.ok("run", *MOOD, "--model", tiny_gpt2, *options)
        harness.ok("baseline", *MOOD, "--methods", "majority,random,tfidf,knn,probe", "--sizes", "16", "--seeds", "0,1",
                   "--encoder", tiny_gpt2)  # fmt: skip
        shutil.copytree(folder, kept_results)
    else:
        shutil.copytree(kept_results, folder)
    return folder
