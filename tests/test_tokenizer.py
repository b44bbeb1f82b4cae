"""The tokenizer of a model's folder is the one that its tokenizer.json describes, whatever class transformers rebuilds
it as; both are at hand, and one is told of the difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Project, build_gpt2, made_up_text
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import harness
from harness.embeddings import Embedder
from harness.errors import ModelError
from harness.models import ModelFiles, ModelSpec, locate_model
from harness.progress import QuietReporter
from harness.tokenizer import PretrainedTokenizer, load_tokenizer

# How cl100k splits, in short: up to three digits, and a mark may stand before letters.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
END = "<|endoftext|>"
TEXTS = [
    *(f"({text}) “{text}”" for text in made_up_text(30, seed=5)),
    "(very) good.\n\nIn 1999, 12345 films",
    "中文 字符",
    "naïve café",
]


def train(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator([f"({text}) “{text}”" for text in made_up_text(200)], trainer)
    return tokenizer


@cache
def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(
        made,
        trainers.BpeTrainer(vocab_size=700, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return made


@cache
def word_pieces() -> Tokenizer:
    """Cased, and with each digit by itself, as BertTokenizer is not."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)])
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    train(made, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False))
    around = [("[CLS]", 1), ("[SEP]", 2)]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return made


@cache
def unigram() -> Tokenizer:
    """Without T5's space before the text, and without its end."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False)
    return train(made, trainer)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tokenizer into a folder of its own, with what its tokenizer_config.json says."""

    def save(tokenizer: Tokenizer, **says: object) -> Path:
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(says))
        return folder

    return save


def files(folder: Path, **options: Any) -> ModelFiles:
    return ModelFiles(ModelSpec(str(folder), **options), folder, None, "f", "float32", "cpu")


def ids(tokenizer: PretrainedTokenizer) -> list[list[int]]:
    return [encoding.ids.tolist() for encoding in tokenizer.encode(TEXTS)]


def read(folder: Path) -> list[list[int]]:
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [encoding.ids for encoding in file.encode_batch(TEXTS, add_special_tokens=False)]


@pytest.mark.parametrize(
    ("made", "kind", "told"),
    [
        (byte_level, "GPT2Tokenizer", "probe texts get other tokens"),
        (byte_level, "GPTNeoXTokenizer", "it puts nothing around a text, not <|endoftext|> ..."),
        (byte_level, "Qwen2Tokenizer", "such as '1234'"),
        (byte_level, "GemmaTokenizer", "such as 'The film was good.'"),
        (byte_level, "RobertaTokenizer", "it puts <s> ... </s> around a text, not <|endoftext|> ..."),
        (word_pieces, "BertTokenizer", "probe texts get other tokens"),
        (unigram, "LlamaTokenizer", "probe texts get other tokens"),
        (unigram, "T5Tokenizer", "it puts ... </s> around a text, not nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:20],
)
def test_texts_are_split_as_the_file_says_and_not_as_a_class_would(
    saved: Callable[..., Path], made: Callable[[], Tokenizer], kind: str, told: str
) -> None:
    specials = {"bos_token": END, "eos_token": END} if made is byte_level else {}
    folder = saved(made(), tokenizer_class=kind, **specials)
    notices: list[str] = []
    own = PretrainedTokenizer(files(folder), notices.append)
    assert ids(own) == read(folder)
    assert len(notices) == 1
    assert f"transformers reads its tokenizer as {kind}, not as tokenizer.json has it: " in notices[0]
    assert told in notices[0]
    assert notices[0].endswith("; tokenizer.json is used (--tokenizer transformers for the other)")
    notices.clear()
    theirs = PretrainedTokenizer(files(folder, tokenizer="transformers"), notices.append)
    assert notices[0].endswith("; used as transformers has it (--tokenizer file for the other)")
    assert own.fingerprint != theirs.fingerprint
    if kind == "GemmaTokenizer":  # as it is rebuilt, it asks for a token that the file does not know
        with pytest.raises(ModelError, match="its tokenizer fails on a text: Unk token"):
            ids(theirs)
    else:
        assert (ids(theirs), theirs.prefix) != (ids(own), own.prefix)


def test_the_bos_that_both_files_ask_for_is_put(saved: Callable[..., Path]) -> None:
    folder = saved(byte_level(), tokenizer_class="GPTNeoXTokenizer", bos_token=END, eos_token=END, add_bos_token=True)
    assert PretrainedTokenizer(files(folder)).prefix == (0,)
    assert PretrainedTokenizer(files(folder, tokenizer="transformers")).prefix == ()
    assert PretrainedTokenizer(files(folder, bos="never")).prefix == ()


@pytest.mark.parametrize(
    ("puts", "says", "told"),
    [
        (True, False, "tokenizer_config.json says add_bos_token: false, and tokenizer.json does not: it is put"),
        (False, True, "tokenizer_config.json says add_bos_token: true, and tokenizer.json does not: none is put"),
        (True, True, None),
        (False, False, None),
        (True, None, None),
    ],
)
def test_two_files_that_disagree_about_bos_are_told_of(
    saved: Callable[..., Path], puts: bool, says: bool | None, told: str | None
) -> None:
    made = Tokenizer.from_str(byte_level().to_str())
    if not puts:
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    stated = {} if says is None else {"add_bos_token": says}
    folder = saved(made, tokenizer_class="PreTrainedTokenizerFast", bos_token=END, **stated)
    notices: list[str] = []
    assert PretrainedTokenizer(files(folder), notices.append).prefix == ((0,) if puts else ())
    assert [notice.partition(": ")[2].partition(";")[0] for notice in notices] == ([told] if told else [])
    notices.clear()
    PretrainedTokenizer(files(folder, bos="always"), notices.append)
    assert notices == []


def test_where_both_agree_nothing_is_said_and_signatures_stay(saved: Callable[..., Path], tiny_gpt2: Path) -> None:
    agreeing = saved(byte_level(), tokenizer_class="PreTrainedTokenizerFast", bos_token=END, eos_token=END)
    for folder in (agreeing, tiny_gpt2):
        notices: list[str] = []
        one = PretrainedTokenizer(files(folder), notices.append)
        other = PretrainedTokenizer(files(folder, tokenizer="transformers"), notices.append)
        assert notices == []
        assert (ids(one), one.fingerprint, one.opening) == (ids(other), other.fingerprint, other.opening)


def test_a_class_that_cannot_read_the_file_does_not_stand_in_its_way(saved: Callable[..., Path]) -> None:
    folder = saved(byte_level(), tokenizer_class="AlbertTokenizer", bos_token=END, eos_token=END)
    notices: list[str] = []
    found = PretrainedTokenizer(files(folder), notices.append)
    assert (ids(found), found.opening) == (read(folder), 0)
    assert "cannot be loaded: " in notices[0]
    assert notices[0].endswith(" (so says transformers, which rebuilds it); tokenizer.json is used")


def test_without_the_file_the_tokenizer_is_what_transformers_makes(saved: Callable[..., Path]) -> None:
    folder = saved(byte_level(), tokenizer_class="GPT2Tokenizer", bos_token=END, eos_token=END)
    byte_level().model.save(str(folder))  # vocab.json and merges.txt
    (folder / "tokenizer.json").unlink()
    notices: list[str] = []
    found = PretrainedTokenizer(files(folder), notices.append)
    assert (found.source, notices) == ("transformers", [])
    assert len(ids(found)[0]) > 5


def test_a_token_that_transformers_alone_adds_is_none_of_the_file(saved: Callable[..., Path]) -> None:
    folder = saved(byte_level(), tokenizer_class="PreTrainedTokenizerFast", eos_token=END, bos_token="<bos>")
    notices: list[str] = []
    assert PretrainedTokenizer(files(folder), notices.append).opening == 0  # the end of a text, which it knows
    assert "such as 'a<bos>b'" in notices[0]


def test_embeddings_are_of_the_file_s_tokens(saved: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    folder = saved(word_pieces(), tokenizer_class="BertTokenizer", do_lower_case=True, model_max_length=16)
    BertModel(
        BertConfig(
            vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16,
        )
    ).save_pretrained(folder)  # fmt: skip
    reporter = QuietReporter()
    embedder = Embedder(locate_model(ModelSpec(str(folder))), tmp_path / "results", reporter)
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    file.enable_truncation(16)
    assert [tokens.tolist() for tokens in embedder._tokenise(TEXTS)] == [file.encode(text).ids for text in TEXTS]
    assert "transformers reads its tokenizer as BertTokenizer" in reporter.notices[0]
    before = embedder.fingerprint
    rebuilt = Embedder(locate_model(ModelSpec(str(folder), tokenizer="transformers")), tmp_path / "results", reporter)
    assert rebuilt.fingerprint != before
    assert [len(tokens) for tokens in rebuilt._tokenise(TEXTS[:1])] == [16]


@pytest.fixture
def rebuilt(tmp_path: Path) -> Path:
    """A model whose tokenizer transformers reads otherwise than its file says."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = build_gpt2(tmp_path / "rebuilt")
    for old in folder.glob("*token*"):
        old.unlink()
    byte_level().save(str(folder / "tokenizer.json"))
    says = {"tokenizer_class": "GPT2Tokenizer", "bos_token": END, "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(says))
    config = json.loads((folder / "config.json").read_text())
    GPT2LMHeadModel(GPT2Config(**{**config, "vocab_size": 700})).save_pretrained(folder)
    return folder


def test_the_option_is_one_of_run_show_grid_files_and_python(
    harness: Commands, project: Project, rebuilt: Path
) -> None:
    common = ("--tasks", "mood", "--data-dir", "data", "--prompts", "plain", "--model", rebuilt)
    own = harness.ok("run", *common, "--results", "results")
    assert "transformers reads its tokenizer as GPT2Tokenizer" in own.err
    theirs = harness.ok("run", *common, "--tokenizer", "transformers", "--results", "results")
    assert "used as transformers has it" in theirs.err
    runs = [json.loads(path.read_text()) for path in sorted(Path("results/runs").glob("*/manifest.json"))]
    hashes = {run["options"]["tokenizer"]: run["cells"][0]["signature"]["tokenizer_hash"] for run in runs}
    assert set(hashes) == {"file", "transformers"}
    assert len(set(hashes.values())) == 2
    assert all(any("reads its tokenizer as" in notice for notice in run["notices"]) for run in runs)

    project.write("grid.yaml", f"tasks: mood\nmodel: {rebuilt}\ndata_dir: data\ntokenizer: transformers\n")
    assert "used as transformers has it" in harness.ok("run", "grid.yaml").err
    wrong = harness("run", *common, "--tokenizer", "transformer")
    assert wrong.status == 2
    assert (
        wrong.mistake
        == "--tokenizer: unknown value 'transformer'; did you mean 'transformers'? (choices: file, transformers)"
    )

    shown = harness.ok("show", "mood", "--data-dir", "data", "--model", rebuilt, "--tokenizer", "transformers")
    assert "used as transformers has it" in shown.err


def test_the_option_is_one_of_python(project: Project, rebuilt: Path) -> None:
    found = harness.run(tasks="mood", prompts="plain", data_dir="data", model=str(rebuilt), tokenizer="transformers")
    assert "used as transformers has it" in found.notices[0]


def test_a_model_that_is_also_the_encoder_is_told_of_once(harness: Commands, project: Project, rebuilt: Path) -> None:
    common = ("--tasks", "mood", "--data-dir", "data", "--prompts", "plain", "--limit", "2")
    told = harness.ok("run", *common, "--model", rebuilt, "--shots", "1", "--demos", "knn").err
    assert told.count("transformers reads its tokenizer as GPT2Tokenizer") == 1


def test_baselines_have_the_option_for_their_encoder(harness: Commands, project: Project, rebuilt: Path) -> None:
    common = (
        "--tasks",
        "mood",
        "--data-dir",
        "data",
        "--methods",
        "knn",
        "--sizes",
        "8",
        "--seeds",
        "0",
        "--limit",
        "4",
    )
    for source, used in (("file", "tokenizer.json is used"), ("transformers", "used as transformers has it")):
        assert used in harness.ok("baseline", *common, "--encoder", rebuilt, "--tokenizer", source).err
    runs = [json.loads(path.read_text()) for path in sorted(Path("results/runs").glob("*/manifest.json"))]
    assert len({run["cells"][0]["signature"]["model_fingerprint"] for run in runs}) == 2
    Path("new.txt").write_text("The film was good.\n")
    for run in runs:
        assert "used" in harness.ok("predict", "new.txt", "--run", run["id"]).err


def test_a_trial_is_remembered(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(unigram(), tokenizer_class="PreTrainedTokenizerFast")
    load_tokenizer(files(folder), print)
    monkeypatch.setattr("harness.tokenizer.run_limited", lambda *_: pytest.fail("it was tried again"))
    load_tokenizer(files(folder), print)
