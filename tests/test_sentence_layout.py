"""Encoders in the layout of sentence-transformers: embedded as sentence-transformers itself does, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import build_gpt2, made_up_text, train_bpe
from test_embeddings import embedder, oracle, save

from harness.errors import ModelError
from harness.sentence_layout import SentenceLayout, read_layout

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["A film.", "The room was DULL, and the song felt good.", "房间 Lovely", "x", *made_up_text(3)]
PLACE = "sentence_transformers.models."
FLAGS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def state(folder: Path, *steps: tuple[str, dict[str, Any]], **files: dict[str, Any]) -> Path:
    """Write ``modules.json`` and a folder for each step behind the transformer; Pooling is the first of them."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{PLACE}Transformer"}]
    for number, (kind, config) in enumerate(steps, start=1):
        path = folder / f"{number}_{kind}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(config))
        if kind == "Dense":
            write_dense(path, config)
        modules.append({"idx": number, "name": str(number), "path": path.name, "type": f"{PLACE}{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def write_dense(path: Path, config: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    given, made = config["in_features"], config["out_features"]
    tensors = {"linear.weight": torch.randn(made, given)}
    if config["bias"]:
        tensors["linear.bias"] = torch.randn(made)
    if config.get("use_residual") and given != made:
        tensors["residual.weight"] = torch.randn(made, given)
    save_file(tensors, path / "model.safetensors")


def flags(*chosen: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 32, **{f"pooling_mode_{flag}": flag in chosen for flag in FLAGS}}


def reference(model: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """What sentence-transformers gives."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        network = SentenceTransformer(str(model), device="cpu")
        if network.tokenizer.pad_token is None:
            network.tokenizer.pad_token = network.tokenizer.eos_token
        found: np.ndarray[Any, Any] = network.encode(texts, batch_size=3, show_progress_bar=False)
    return found


NORMALIZE: tuple[str, dict[str, Any]] = ("Normalize", {})
TANH = "torch.nn.modules.activation.Tanh"


def dense(given: int, made: int, activation: str = TANH, **more: Any) -> tuple[str, dict[str, Any]]:
    return "Dense", {
        "in_features": given, "out_features": made, "bias": True, "activation_function": activation, **more,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
def test_each_pooling_is_that_of_sentence_transformers(tmp_path: Path, flag: str) -> None:
    model = state(save(tmp_path / "bert", "bert"), ("Pooling", flags(flag)))
    assert embedder(model, tmp_path)(TEXTS) == pytest.approx(reference(model, TEXTS), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        (("Pooling", flags("cls_token", "mean_tokens")), NORMALIZE),
        (("Pooling", {"embedding_dimension": 32, "pooling_mode": "max"}), dense(32, 16), NORMALIZE),
        (("Pooling", {"embedding_dimension": 32, "pooling_mode": ["mean", "lasttoken"]}), dense(64, 8, bias=False)),
        (("Pooling", flags()), ("Dropout", {"dropout": 0.5}), dense(32, 32, use_residual=True)),
        (("Pooling", flags("mean_tokens")), dense(32, 8, "torch.nn.modules.linear.Identity", use_residual=True)),
        (("Pooling", flags("mean_tokens")), dense(32, 8, "torch.nn.modules.activation.GELU"), dense(8, 4)),
    ],
    ids=["two poolings", "dense", "two poolings and dense", "residual", "projected residual", "two dense"],
)
def test_steps_are_those_of_sentence_transformers(tmp_path: Path, steps: Any) -> None:
    model = state(save(tmp_path / "bert", "bert"), *steps)
    assert embedder(model, tmp_path)(TEXTS) == pytest.approx(reference(model, TEXTS), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "files",
    [
        {"sentence_bert_config": {"max_seq_length": 7, "do_lower_case": False}},
        {"sentence_roberta_config": {"max_seq_length": 9, "do_lower_case": True}},
        {"config_sentence_transformers": {"prompts": {"query": "query: "}, "default_prompt_name": "query"}},
    ],
    ids=["length", "lower case", "prompt"],
)
@pytest.mark.parametrize("include", [True, False])
def test_length_case_and_prompt_are_those_of_sentence_transformers(tmp_path: Path, files: Any, include: bool) -> None:
    pooling = {**flags("mean_tokens"), "include_prompt": include}
    model = state(save(tmp_path / "bert", "bert"), ("Pooling", pooling), NORMALIZE, **files)
    assert embedder(model, tmp_path)(TEXTS) == pytest.approx(reference(model, TEXTS), abs=1e-5)


@pytest.mark.slow
def test_a_causal_model_that_pools_its_last_token(tmp_path: Path) -> None:
    model = state(build_gpt2(tmp_path / "gpt2"), ("Pooling", flags("lasttoken")), NORMALIZE)
    assert embedder(model, tmp_path)(TEXTS) == pytest.approx(reference(model, TEXTS), abs=1e-5)


@pytest.mark.slow
def test_a_real_sentence_encoder(minilm: Path, tmp_path: Path) -> None:
    texts = [*TEXTS, " ".join(made_up_text(60))]  # the last one has more than the 256 tokens that it reads
    found = embedder(minilm, tmp_path)(texts)
    assert found == pytest.approx(reference(minilm, texts), abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)


# The same without sentence-transformers, by hand


def test_length_and_unit_length_are_as_the_files_say(tmp_path: Path) -> None:
    model = save(tmp_path / "bert", "bert")
    plain = embedder(model, tmp_path)
    state(model, ("Pooling", flags("mean_tokens")), NORMALIZE, sentence_bert_config={"max_seq_length": 7})
    cut = [train_bpe().decode(train_bpe()(TEXTS[1])["input_ids"][:5])]
    expected = oracle(model, cut)
    stated = embedder(model, tmp_path)
    assert stated(TEXTS[1:2]) == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    # Embeddings of both kinds lie in one folder, and none is taken for the other.
    assert plain(TEXTS[1:2]) == pytest.approx(oracle(model, TEXTS[1:2]), abs=1e-4)
    assert stated.fingerprint != plain.fingerprint


def test_a_transformer_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    inner = save(tmp_path / "encoder" / "0_Transformer", "bert")
    root = state(tmp_path / "encoder", ("Pooling", flags("cls_token")))
    modules = json.loads((root / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (root / "modules.json").write_text(json.dumps(modules))
    one = embedder(root, tmp_path)
    assert one.label == "encoder"
    found = one(TEXTS[:1])
    assert found == pytest.approx(embedder(inner, tmp_path)(TEXTS[:1]))
    assert not np.allclose(found, oracle(inner, TEXTS[:1]), atol=1e-3)


def test_a_folder_that_says_nothing_gets_the_mean(tmp_path: Path) -> None:
    assert read_layout(save(tmp_path / "bert", "bert")) == SentenceLayout()


def test_other_weights_of_a_step_are_another_encoder(tmp_path: Path) -> None:
    model = state(save(tmp_path / "bert", "bert"), ("Pooling", flags("mean_tokens")), dense(32, 8))
    before = read_layout(model).fingerprint
    path = model / "2_Dense" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert read_layout(model).fingerprint != before


def _modules(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        modules = json.loads((model / "modules.json").read_text())
        change(modules)
        (model / "modules.json").write_text(json.dumps(modules))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "modules.json").write_text("[{"), r"modules\.json: cannot be read"),
        (lambda model: (model / "modules.json").write_text("{}"), r"modules\.json: must be a list of modules"),
        (lambda model: (model / "modules.json").write_text("[]"), "first module must be a Transformer"),
        (_modules(lambda m: m[1].update(path="../other")), r"'\.\./other' leads out of the model's folder"),
        (_modules(lambda m: m[1].update(path="/etc")), "leads out of the model's folder"),
        (_modules(lambda m: m[1].update(type=f"{PLACE}LSTM")), r"module '.*LSTM' is not supported"),
        (_modules(lambda m: m[1].update(type="custom.Pooling")), "module 'custom.Pooling' is not supported"),
        (_modules(lambda m: m[0].update(type=f"{PLACE}StaticEmbedding")), "StaticEmbedding' is not supported"),
        (_modules(lambda m: m.pop(1)), "second module must be a Pooling"),
        (_modules(lambda m: m[2].update(type=f"{PLACE}Pooling")), "a Pooling is not supported where it stands"),
        (lambda model: (model / "1_Pooling/config.json").unlink(), r"1_Pooling/config\.json: is missing"),
        (lambda model: (model / "1_Pooling/config.json").write_text('{"pooling_mode": "mode"}'), "pooling_mode: "),
        (lambda model: (model / "1_Pooling/config.json").write_text("[1]"), r"1_Pooling/config\.json: "),
        (lambda model: (model / "2_Dense/model.safetensors").unlink(), "2_Dense: holds no weights"),
        (lambda model: (model / "2_Dense/config.json").write_text('{"in_features": 32}'), "out_features: "),
        (
            lambda model: (model / "sentence_bert_config.json").write_text('{"max_seq_length": "many"}'),
            r"sentence_bert_config\.json: max_seq_length: ",
        ),
        (
            lambda model: (model / "config_sentence_transformers.json").write_text('{"default_prompt_name": "q"}'),
            "default_prompt_name 'q' is none of its prompts",
        ),
    ],
)
def test_what_is_damaged_or_not_supported_is_one_line(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    model = state(save(tmp_path / "bert", "bert"), ("Pooling", flags("mean_tokens")), dense(32, 8))
    damage(model)
    with pytest.raises(ModelError, match=message):
        embedder(model, tmp_path)


@pytest.mark.parametrize(
    ("step", "damage", "message"),
    [
        (dense(16, 8), None, "takes vectors of 16 numbers, and the step before gives 32"),
        (dense(32, 8, "os.system"), None, "activation_function 'os.system' is not supported"),
        (dense(32, 8, "torch.nn.Bilinear"), None, "activation_function 'torch.nn.Bilinear' is not supported"),
        (dense(32, 8), b"not tensors", "cannot be read as the weights of a Dense module"),
    ],
)
def test_a_step_that_does_not_fit_is_one_line(
    tmp_path: Path, step: tuple[str, dict[str, Any]], damage: bytes | None, message: str
) -> None:
    model = state(save(tmp_path / "bert", "bert"), ("Pooling", flags("mean_tokens")), step)
    if damage is not None:
        (model / "2_Dense" / "model.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, match=message):
        embedder(model, tmp_path)(TEXTS)
