"""A model's folder is scored as what it is, or refused in one line: nothing in it hangs, floods or kills whoever reads
it, and nothing that makes it another model is passed over in silence."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Project
from tokenizers import Tokenizer

from harness import tokenizer_probe
from harness.embeddings import load_encoder
from harness.errors import ModelError
from harness.limited import LimitError, Limits, run_limited
from harness.model_folder import check_files, look_at
from harness.models import ModelSpec, load_model, locate_model
from harness.tokenizer import PretrainedTokenizer

Change = Callable[[Path], object]


@pytest.fixture
def model(tiny_gpt2: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    return folder


def config(**values: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def tokenizer(**parts: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))

    return change


def weights(rename: Callable[[str], str] = str, **more: tuple[int, ...]) -> Change:
    """Other names for the weights, and further ones of a shape."""

    def change(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        kept = {rename(name): tensor.clone() for name, tensor in load_file(path).items()}
        made = {name.replace("__", "."): torch.zeros(shape) for name, shape in more.items()}
        save_file({**kept, **made}, path, metadata={"format": "pt"})

    return change


def write(name: str, content: str | bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def instead(name: str, make: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def refused(folder: Path, what: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ModelError) as caught:
        use(folder)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 60


def use(folder: Path) -> list[str]:
    """Find, tokenise and load, as a run does; gives the notices."""
    found = locate_model(ModelSpec(str(folder), device="cpu"))
    notices: list[str] = []
    PretrainedTokenizer(found, notices.append).encode(["The film was good."])
    load_model(found, notices.append)
    return notices


# Files that are none


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json", "vocab.json", "merges.txt"]
)
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (bind, "is no regular file"),
        (lambda path: path.mkdir(), "is a folder, where a file is expected"),
        (lambda path: path.symlink_to(path.name), "is a link to nothing"),
        (lambda path: path.symlink_to("absent"), "is a link to nothing"),
    ],
    ids=["pipe", "device", "socket", "folder", "loop", "dangling"],
)
def test_only_regular_files_are_opened(model: Path, name: str, make: Callable[[Path], object], what: str) -> None:
    instead(name, make)(model)
    refused(model, f"{name}: {what}")


def test_nor_are_others_opened_in_the_folders_of_an_encoder_s_steps(model: Path) -> None:
    (model / "1_Pooling").mkdir()
    os.mkfifo(model / "1_Pooling" / "config.json")
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json: is no regular file"):
        check_files(model)


def test_what_a_folder_below_holds_is_its_own_affair(model: Path) -> None:
    for name in ("checkpoint-5/trainer_state.json", "runs/events.bin"):
        write(name, "")(model)
    (model / "checkpoint-5" / "optimizer.bin").symlink_to("absent")
    assert use(model) == []


def _sparse(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 4 * 10**12)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (write("config.json", ""), "config.json: is empty"),
        (write("config.json", "[1]"), "config.json: must be a JSON object, not list"),
        (write("config.json", b'{"a": "\xff"}'), "config.json: cannot be read"),
        (write("config.json", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), "config.json: cannot be read"),
        (write("config.json", '{"n_layer": ' + "9" * 5_000 + "}"), "config.json: cannot be read"),
        (write("config.json", '{"a": "' + "a" * 9_000_000 + '"}'), "config.json: has 9 MB"),
        (write("tokenizer.json", "null"), "its tokenizer cannot be used: it cannot be read"),
        (
            write("tokenizer.json", '{"model": ' + "[" * 100_000 + "}"),
            "its tokenizer cannot be used: it cannot be read",
        ),
        (write("tokenizer_config.json", "[1, 2]"), "tokenizer_config.json: must be a JSON object, not list"),
        (write("tokenizer_config.json", "[" * 100_000), "tokenizer_config.json: cannot be read"),
        (
            write("tokenizer_config.json", '{"added_tokens_decoder": {"99999999999": {"content": "x"}}}'),
            "added_tokens_decoder numbers a token 99999999999",
        ),
        (
            write("tokenizer_config.json", '{"tokenizer_class": "PegasusTokenizer", "offset": 1000000000}'),
            "tokenizer_config.json: offset asks for 1,000,000,000 tokens; at most 20,000 are made",
        ),
        (write("tokenizer_config.json", '{"extra_ids": 1e300}'), "extra_ids asks for"),
        (
            write("special_tokens_map.json", json.dumps({"additional_special_tokens": ["<a>"] * 30_000})),
            "special_tokens_map.json: additional_special_tokens asks for 30,000 tokens",
        ),
        (write("model.safetensors", (1 << 60).to_bytes(8, "little") + b"{}"), "its header would have 1,152,921"),
        (write("model.safetensors", b"\x02" + bytes(7) + b"[]"), "its header cannot be read"),
        (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (_sparse, "claims 4,000 GB, of which 0.0 are on the disk"),
        (_cut, "model.safetensors: is cut off or damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_damaged_or_endless_file_is_named(model: Path, change: Change, what: str) -> None:
    change(model)
    refused(model, what)


# Configurations


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"n_layer": 100_000}, "n_layer is 100,000, and no model has more than 500"),
        ({"n_layer": 10**18}, "n_layer is 1,000,000,000,000,000,000"),
        ({"n_layer": float("nan")}, "n_layer is nan"),
        ({"n_embd": float("inf")}, "n_embd is inf"),
        ({"text_config": {"num_hidden_layers": 100_000}}, "text_config.num_hidden_layers is 100,000"),
        ({"layer_types": ["full_attention"] * 100_000}, "layer_types.layers is 100,000"),
        ({"num_labels": 10**9}, "num_labels is 1,000,000,000, and no model has more than 100,000"),
        ({"attention_types": [[["global"], 10**9]]}, "attention_types is 1,000,000,000"),
        ({"num_codebooks": 10**7}, "num_codebooks is 10,000,000"),
        ({f"setting_{i}": i for i in range(6_000)}, "settings; at most 5,000 are read"),
        ({"text_config": {f"{i}": i for i in range(6_000)} | {"model_type": "llama"}}, "has 6,001 settings"),
        ({"n_head": 10**9}, "n_head is 1,000,000,000"),
        ({"vocab_size": 10**12}, "vocab_size is 1,000,000,000,000"),
        ({"n_positions": 10**12}, "n_positions is 1,000,000,000,000"),
        ({"vocab_size": 10_000_000}, "config.json describes a model of 320,029,568 numbers, and its weights are 45,"),
        ({"n_embd": 65_536}, "config.json describes a model of 103,"),
        ({"n_inner": 9_000_000}, "config.json describes a model of 1,"),
        ({"n_positions": 300}, "config.json gives other sizes than its weights have"),
        ({"n_layer": 1}, "hold 11 weights that GPT2LMHeadModel would leave out of its own parts"),
        ({"n_layer": 4}, "its files lack 24 weights"),
        ({"n_head": 0}, "cannot be loaded"),
        ({"model_type": None}, "names no model_type"),
        ({"model_type": ["gpt2"]}, "names no model_type"),
        ({"transformers_weights": "../x.safetensors"}, "transformers_weights '../x.safetensors' is no name of a file"),
    ],
    ids=str,
)
def test_a_configuration_of_another_or_an_absurd_model_is_refused(
    model: Path, values: dict[str, object], what: str
) -> None:
    config(**values)(model)
    refused(model, what)


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ({"quant_method": "exl9", "bits": 4}, "quant_method 'exl9', which transformers would pass over"),
        ({"quant_method": "gtpq"}, "did you mean 'gptq'?"),
        ({"bits": 4}, "names no quant_method, so that transformers would pass it over"),
        ("awq", "names no quant_method, so that transformers would pass it over"),
        ({"quant_method": "awq", "bits": 4}, "cannot be loaded"),
        ({"load_in_4bit": True}, "cannot be loaded"),
    ],
    ids=str,
)
def test_a_quantisation_is_applied_or_refused(model: Path, stated: object, what: str) -> None:
    config(quantization_config=stated)(model)
    refused(model, what)


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_a_quantisation_that_another_file_states_is_refused(model: Path, name: str) -> None:
    write(name, '{"bits": 4}')(model)
    refused(model, f"{name} says that its weights are quantised")


# Parts of a model


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_beside_the_weights_is_never_left_out(
    harness: Commands, project: Project, model: Path, name: str
) -> None:
    write(name, '{"peft_type": "LORA", "base_model_name_or_path": "x"}')(model)
    common = ("--tasks", "mood", "--data-dir", "data", "--model", model)
    assert f"holds a PEFT adapter ({name})" in harness("run", *common).mistake
    (model / "config.json").unlink()
    assert f"holds a PEFT adapter ({name}), which is no model by itself" in harness("run", *common).mistake


@pytest.mark.parametrize(
    "more",
    [
        {"transformer__h__0__attn__c_attn__lora_A__weight": (2, 32)},
        {"transformer__h__0__mlp__c_fc__weight_scale": (1,)},
        {"transformer__h__2__attn__c_attn__weight": (32, 96)},
        {"transformer__h__0__mlp__gate__bias": (4,)},
    ],
    ids=str,
)
def test_weights_of_a_part_that_would_be_left_out_are_refused(model: Path, more: dict[str, Any]) -> None:
    weights(**more)(model)
    refused(model, f"such as {next(iter(more)).replace('__', '.')}: an adapter that is not merged")
    with pytest.raises(ModelError, match="leave out of its own parts"):
        load_encoder(locate_model(ModelSpec(str(model), device="cpu")))


def test_weights_under_the_names_of_an_adapter_s_wrapper_are_no_model(model: Path) -> None:
    weights(rename=lambda name: f"base_model.model.{name}")(model)
    refused(model, "its files lack ")


def _index(folder: Path, names: dict[str, str]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def _missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    _index(folder, {"transformer.wte.weight": "model-1.safetensors", "x": "model-2.safetensors"})


def _shard_outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    _index(folder, {"transformer.wte.weight": "../other.safetensors"})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_missing_shard, "names 1 of 2 files that are not there, such as model-2.safetensors"),
        (_shard_outside, "names '../other.safetensors', which is no file of this folder"),
    ],
)
def test_an_index_names_files_of_the_folder(model: Path, change: Change, what: str) -> None:
    change(model)
    refused(model, what)


def _other_format(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    other = {name: tensor * 0 for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.save(other, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "notices"),
    [
        (lambda folder: None, []),
        (weights(v_head__weight=(1, 32)), ["1 weights in its files are not used, such as v_head.weight"]),
        (_other_format, ["its weights are read from model.safetensors; pytorch_model.bin is not read"]),
        (write("consolidated.safetensors", "x"), ["; consolidated.safetensors is not read"]),
        (write("default/adapter_config.json", "{}"), ["the adapter in default is not applied"]),
        (
            config(auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
            ["(modeling_x.X), which is run only with --trust-remote-code; what transformers has for 'gpt2' is used"],
        ),
        (
            config(architectures=["GPT2ForSequenceClassification"]),
            ["config.json names the architecture GPT2ForSequenceClassification; it is scored as GPT2LMHeadModel"],
        ),
    ],
    ids=["nothing", "a head", "another format", "another file", "an adapter below", "code", "an architecture"],
)
def test_what_is_not_read_is_said(model: Path, change: Change, notices: list[str]) -> None:
    change(model)
    found = use(model)
    assert len(found) == len(notices)
    assert all(notice in told for notice, told in zip(notices, found, strict=True))


def test_what_is_not_read_is_kept_with_the_run(harness: Commands, project: Project, model: Path) -> None:
    _other_format(model)
    weights(v_head__weight=(1, 32))(model)
    told = harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", model, "--prompts", "plain").err
    (manifest,) = Path("results/runs").glob("*/manifest.json")
    kept = json.loads(manifest.read_text())["notices"]
    for text in ("pytorch_model.bin is not read", "such as v_head.weight"):
        assert text in told
        assert any(text in notice for notice in kept)


def test_a_tied_head_that_differs_is_used(model: Path) -> None:
    weights(lm_head__weight=(500, 32))(model)
    loaded = load_model(locate_model(ModelSpec(str(model), device="cpu")))
    assert float(loaded.lm_head.weight.detach().abs().max()) == 0  # type: ignore[union-attr]


def test_a_tokenizer_of_more_tokens_than_the_model_knows_ends_in_one_line(
    harness: Commands, project: Project, model: Path
) -> None:
    path = model / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["vocab"] = {piece: number + 1_000 for piece, number in document["model"]["vocab"].items()}
    path.write_text(json.dumps({**document, "added_tokens": []}))
    outcome = harness("run", "--tasks", "mood", "--data-dir", "data", "--model", model)
    assert "and the model knows 500 tokens, counted from 0: they do not belong together" in outcome.mistake


# Tokenizers that blow texts up, hang or crash


def replaces(content: str, times: int, pattern: dict[str, str]) -> dict[str, object]:
    one = {"type": "Replace", "pattern": pattern, "content": content}
    return {"type": "Sequence", "normalizers": [one] * times}


def spells(*parts: tuple[dict[str, str], str]) -> dict[str, object]:
    """A decoder that puts texts in the place of others, one after another."""
    return {
        "type": "Sequence",
        "decoders": [{"type": "Replace", "pattern": pattern, "content": content} for pattern, content in parts],
    }


def test_a_normaliser_as_albert_has_it_is_no_flood(model: Path) -> None:
    from tokenizers import Regex, normalizers

    backend = Tokenizer.from_file(str(model / "tokenizer.json"))
    quotes = [normalizers.Replace(mark, '"') for mark in ("``", "''")]
    folds = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFKC()]
    backend.normalizer = normalizers.Sequence([*quotes, *folds, normalizers.Replace(Regex(" {2,}"), " ")])
    assert tokenizer_probe.check(backend.to_str()) is None


def test_dropout_is_for_training(model: Path) -> None:
    path = model / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["dropout"] = 0.5
    path.write_text(json.dumps(document))
    notices: list[str] = []
    found = PretrainedTokenizer(locate_model(ModelSpec(str(model), device="cpu")), notices.append)
    texts = ["The film was good and the garden felt lovely to number 7."] * 20
    assert len({tuple(encoding.ids) for encoding in found.encode(texts)}) == 1
    assert notices == []


def splits(pattern: str) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


HOSTILE = {
    "a text a thousand times as long, five times": (
        tokenizer(normalizer=replaces("e" * 1_000, 5, {"String": "e"})),
        "its normalizer may make 1,000,000,000,000,000 characters of one",
    ),
    "ten times as long, nine times": (tokenizer(normalizer=replaces("e" * 10, 9, {"String": "e"})), "its normalizer"),
    "something between all characters": (tokenizer(normalizer=replaces("y" * 600, 1, {"Regex": ""})), "its normalizer"),
    "a long beginning": (tokenizer(normalizer={"type": "Prepend", "prepend": "x" * 10**6}), "its normalizer may make"),
    "a table that is none": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        "cannot be used",
    ),
    "a regular expression without an end": (tokenizer(pre_tokenizer=splits(r"^(([a-z])+.)+[A-Z]([a-z])+$")), "cannot"),
    "a regular expression that is none": (tokenizer(pre_tokenizer=splits("(")), "cannot"),
    "a token of a huge number": (
        tokenizer(model={"type": "WordLevel", "vocab": {"a": 4_000_000_000, "u": 0}, "unk_token": "u"}),
        "it has a token of the number 4,000,000,000",
    ),
    "many tokens around a text": (
        tokenizer(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}] * 5_000
                + [{"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
            }
        ),
        "it puts 5,000 tokens around every text",
    ),
    "a token that is spelled with ten million characters": (
        tokenizer(decoder=spells(({"String": "e"}, "x" * 10**7))),
        "characters of a token",
    ),
    "one that is spelled with ten times as many, five times": (
        tokenizer(decoder=spells(*[({"Regex": "."}, "x" * 10)] * 5)),
        "its tokenizer cannot be used",
    ),
    "a spelling without an end": (
        tokenizer(decoder=spells(({"String": "e"}, "a" * 60), ({"Regex": r"^(([a-z])+.)+[A-Z]([a-z])+$"}, "b"))),
        "its tokenizer cannot be used",
    ),
    "a model that is none": (tokenizer(model=None), "its tokenizer cannot be used"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tokenizer_that_floods_hangs_or_crashes_is_refused(
    harness: Commands, project: Project, model: Path, name: str
) -> None:
    change, what = HOSTILE[name]
    change(model)
    common = ("--tasks", "mood", "--data-dir", "data")
    outcome = harness("run", *common, "--model", model)
    assert what in outcome.mistake
    assert outcome.seconds < 120
    shown = harness("show", "mood", "--data-dir", "data", "--model", model)
    assert (shown.status, what in shown.err) == (1, True)


def test_a_fixed_length_of_padding_is_no_part_of_a_text(model: Path) -> None:
    tokenizer(
        padding={
            "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "x",
        },
    )(model)  # fmt: skip
    found = PretrainedTokenizer(locate_model(ModelSpec(str(model), device="cpu")))
    assert len(found.encode(["The film"])[0].ids) < 10


PROGRAM = """
import json, resource, sys
document = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (document["limits"]["cpu"],) * 2)
resource.setrlimit(resource.RLIMIT_AS, (document["limits"]["memory"] << 20,) * 2)
exec(document["given"])
"""


@pytest.mark.parametrize(
    ("does", "what"),
    [
        ("while True: pass", "takes more than 1 s of processor time"),
        ("x = 'x' * 10**10", "takes more than 500 MB of memory"),
        ("import time; time.sleep(60)", "takes longer than 2 s"),
        ("import os; os.abort()", "crashes (status -6)"),
        ("sys.exit('gone')", "crashes (status 1): gone"),
    ],
)
def test_a_process_that_breaks_its_limits_is_ended_and_told_of(tmp_path: Path, does: str, what: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    with pytest.raises(LimitError) as caught:
        run_limited(script, does, Limits(cpu=1, memory=500, wall=2 if "sleep" in does else 60))
    assert str(caught.value) == what


def test_a_process_that_keeps_to_them_answers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    assert run_limited(script, "print(json.dumps([1, 'two']))", Limits(cpu=5, memory=500, wall=60)) == [1, "two"]


def test_the_texts_of_the_trial_are_long_enough_to_tell(tiny_gpt2: Path) -> None:
    assert max(map(len, tokenizer_probe.texts())) >= 20_000
    assert tokenizer_probe.check((tiny_gpt2 / "tokenizer.json").read_text()) is None


def test_a_panic_of_the_library_is_one_line(tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As pyo3 has it."""

    found = PretrainedTokenizer(locate_model(ModelSpec(str(tiny_gpt2), device="cpu")))

    class Panics:
        def encode_batch(self, texts: list[str], add_special_tokens: bool) -> None:
            raise PanicException("index out of bounds")

    monkeypatch.setattr(found, "_backend", Panics())
    with pytest.raises(ModelError, match="its tokenizer fails on a text: PanicException: index out of bounds"):
        found.encode(["a"])


def test_real_folders_are_found_whole(stories_model: Path) -> None:
    for folder in (stories_model, stories_model.parent / "minilm-l6"):
        looked = look_at(folder)
        assert looked.numbers > 200_000
        assert list(looked.remarks(with_code=False)) == []
        assert tokenizer_probe.check((folder / "tokenizer.json").read_text()) is None
        assert Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size() > 500
