"""Embeddings of texts: means of hidden states against plain transformers, and what is kept on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import build_gpt2, made_up_text, train_bpe

from harness import embeddings
from harness.embeddings import Embedder
from harness.errors import ModelError
from harness.models import ModelSpec, locate_model
from harness.progress import QuietReporter

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["A film.", "The room was dull, and the song felt good.", "房间 lovely", "A film.", "x"]


class Told(QuietReporter):
    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[str] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)


def embedder(model: Path, results: Path, reporter: QuietReporter | None = None) -> Embedder:
    return Embedder(locate_model(ModelSpec(str(model))), results, reporter or QuietReporter())


def oracle(model: Path, texts: list[str], most: int | None = None) -> np.ndarray[Any, Any]:
    """One text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"][:most]])
        with torch.no_grad():
            hidden = (network.get_encoder() if network.config.is_encoder_decoder else network)(ids).last_hidden_state
        found.append(hidden[0].double().mean(0).numpy())
    return np.stack(found)


def save(folder: Path, kind: str) -> Path:
    """A random encoder with a tokenizer that puts its own tokens around a text."""
    import torch
    import transformers
    from tokenizers.processors import TemplateProcessing

    tokenizer = train_bpe()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = len(tokenizer)
    if kind == "bert":
        config: Any = transformers.BertConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=64, initializer_range=0.4,
        )  # fmt: skip
        transformers.BertForMaskedLM(config).save_pretrained(folder)  # without a pooler
    else:
        config = transformers.T5Config(
            vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, initializer_factor=3.0
        )
        transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_a_causal_model_gives_the_mean_of_its_hidden_states(tiny_gpt2: Path, tmp_path: Path) -> None:
    found = embedder(tiny_gpt2, tmp_path)(TEXTS)
    assert found.dtype == np.float32
    assert found == pytest.approx(oracle(tiny_gpt2, TEXTS), abs=1e-4)
    assert (found[0] == found[3]).all()


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_an_encoder_does_too_with_the_tokens_that_it_puts_around(tmp_path: Path, kind: str) -> None:
    model = save(tmp_path / kind, kind)
    assert embedder(model, tmp_path)(TEXTS) == pytest.approx(oracle(model, TEXTS), abs=1e-4)


def test_batches_do_not_matter(tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = made_up_text(60)
    together = embedder(tiny_gpt2, tmp_path / "one")(texts)
    monkeypatch.setattr(embeddings, "BATCH_TOKENS", 50)
    assert embedder(tiny_gpt2, tmp_path / "other")(texts) == pytest.approx(together, abs=1e-4)


def test_what_is_too_long_is_cut_and_what_is_empty_is_something(tmp_path: Path) -> None:
    model = build_gpt2(tmp_path / "short", n_positions=8)
    text = made_up_text(1)[0]
    found = embedder(model, tmp_path)([text, ""])
    assert found[0] == pytest.approx(oracle(model, [text], most=8)[0], abs=1e-4)
    assert found[1] == pytest.approx(oracle(model, ["<|endoftext|>"])[0], abs=1e-4)


def test_no_text_is_embedded_twice(tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedder(tiny_gpt2, tmp_path)
    found = first(TEXTS[:3])
    (path,) = (tmp_path / "embeddings").glob("*/*.npz")
    assert path.parent.name == locate_model(ModelSpec(str(tiny_gpt2))).fingerprint
    monkeypatch.setattr(embeddings, "load_encoder", lambda files: pytest.fail("the model was loaded"))
    assert (embedder(tiny_gpt2, tmp_path)(TEXTS[2::-1]) == found[::-1]).all()
    first.release()
    assert (first(TEXTS[:3]) == found).all()


def test_other_texts_are_added_to_what_is_there(tiny_gpt2: Path, tmp_path: Path) -> None:
    embedder(tiny_gpt2, tmp_path)(TEXTS[:2])
    embedder(tiny_gpt2, tmp_path)(TEXTS)
    kept = [len(np.load(path)["keys"]) for path in sorted((tmp_path / "embeddings").glob("*/*.npz"))]
    assert kept == [2, 2]


def test_a_damaged_file_is_passed_over(tiny_gpt2: Path, tmp_path: Path) -> None:
    found = embedder(tiny_gpt2, tmp_path)(TEXTS)
    (path,) = (tmp_path / "embeddings").glob("*/*.npz")
    path.write_bytes(path.read_bytes()[:200])
    np.savez(path.with_name("other.npz"), keys=np.zeros(3), vectors=np.zeros(3))
    reporter = Told()
    assert (embedder(tiny_gpt2, tmp_path, reporter)(TEXTS) == found).all()
    assert reporter.remarks == [f"{path}: damaged, not read", f"{path.with_name('other.npz')}: damaged, not read"]


def test_what_is_done_is_kept_when_the_rest_fails(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = embedder(tiny_gpt2, tmp_path)
    forward, calls = one._forward, 0

    def interrupted(batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return forward(batch)

    monkeypatch.setattr(embeddings, "BATCH_TOKENS", 1)
    monkeypatch.setattr(one, "_forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one(TEXTS)
    (path,) = (tmp_path / "embeddings").glob("*/*.npz")
    assert len(np.load(path)["keys"]) == 1


def test_a_model_whose_own_code_fails_is_told_in_one_line(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, **arguments: Any) -> None:
        raise IndexError("index out of range in self")

    monkeypatch.setattr("transformers.GPT2Model.forward", fails)
    with pytest.raises(ModelError, match=r"its own code fails on texts of \d+ tokens: IndexError: index out of range"):
        embedder(tiny_gpt2, tmp_path)(TEXTS)


def test_the_fingerprint_tells_models_and_tokenizers_apart(tiny_gpt2: Path, tmp_path: Path) -> None:
    other = build_gpt2(tmp_path / "other", seed=1)
    fingerprints = [embedder(model, tmp_path).fingerprint for model in (tiny_gpt2, tiny_gpt2, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    train_bpe(400).save_pretrained(other)
    assert embedder(other, tmp_path).fingerprint not in fingerprints


def test_a_model_without_some_of_its_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = save(tmp_path / "bert", "bert")
    weights = load_file(model / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 weights of the model, such as .*layer\.1"):
        embedder(model, tmp_path)(TEXTS)
