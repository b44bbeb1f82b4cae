"""How much text a model reads at once: what its configuration says, against what its code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import transformers
from commands import Commands
from conftest import Project, train_bpe
from small_models import CONFIGS, VOCABULARY
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from harness.model_config import _COUNTED_FROM_PADDING, position_limit, special_tokens, text_config

ROWS = 40
_SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
_ENCODER = {**_SIZES, "intermediate_size": 64, "max_position_embeddings": ROWS, "is_decoder": True}
_PADDED = {**_ENCODER, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_DECODER = {
    "vocab_size": VOCABULARY, "d_model": 32, "decoder_layers": 1, "encoder_layers": 1, "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "decoder_ffn_dim": 64, "encoder_ffn_dim": 64, "is_decoder": True,
    "is_encoder_decoder": False, "max_position_embeddings": ROWS, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None,
}  # fmt: skip
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": ROWS, "bos_token_id": 0,
        "eos_token_id": 0}  # fmt: skip

# Families with a table of positions: their configuration, and how many tokens they read.
TABLES: dict[str, tuple[dict[str, Any], int]] = {
    "roberta": (_PADDED, ROWS - 2),
    "xlm-roberta": (_PADDED, ROWS - 2),
    "xlm-roberta-xl": (_PADDED, ROWS - 2),
    "camembert": (_PADDED, ROWS - 2),
    "roberta-prelayernorm": (_PADDED, ROWS - 2),
    "data2vec-text": (_PADDED, ROWS - 2),
    "xmod": ({**_PADDED, "languages": ["en_XX"], "default_language": "en_XX"}, ROWS - 2),
    "bert": (_ENCODER, ROWS),
    "bert-generation": (_ENCODER, ROWS),
    "big_bird": ({**_ENCODER, "attention_type": "original_full"}, ROWS),
    "electra": ({**_ENCODER, "embedding_size": 32}, ROWS),
    "ernie": (_ENCODER, ROWS),
    "megatron-bert": (_ENCODER, ROWS),
    "rembert": ({**_ENCODER, "input_embedding_size": 32, "output_embedding_size": 32}, ROWS),
    "roc_bert": ({**_ENCODER, "pronunciation_vocab_size": VOCABULARY, "shape_vocab_size": VOCABULARY}, ROWS),
    "bart": (_DECODER, ROWS),
    "mbart": (_DECODER, ROWS),
    "mvp": (_DECODER, ROWS),
    "plbart": (_DECODER, ROWS),
    "marian": ({**_DECODER, "decoder_vocab_size": VOCABULARY}, ROWS),
    "pegasus": (_DECODER, ROWS),
    "blenderbot": (_DECODER, ROWS),
    "blenderbot-small": (_DECODER, ROWS),
    "bigbird_pegasus": (_DECODER, ROWS),
    "trocr": (_DECODER, ROWS),
    "whisper": (
        {**{key: value for key, value in _DECODER.items() if key != "max_position_embeddings"},
         "max_target_positions": ROWS, "max_source_positions": 60, "num_mel_bins": 8, "suppress_tokens": None,
         "begin_suppress_tokens": None},
        ROWS,
    ),
    "biogpt": ({**_SIZES, "intermediate_size": 64, "max_position_embeddings": ROWS}, ROWS),
    "opt": (
        {**_SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": ROWS, "pad_token_id": 1},
        ROWS,
    ),
    "gpt2": (_GPT, ROWS),
    "gpt_bigcode": (_GPT, ROWS),
    "openai-gpt": (_GPT, ROWS),
    "ctrl": ({**_GPT, "dff": 64}, ROWS),
    "gptj": ({**_GPT, "rotary_dim": 4}, ROWS),
    "codegen": ({**_GPT, "rotary_dim": 4}, ROWS),
    "gpt_neo": (
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 1, "num_heads": 4, "max_position_embeddings": ROWS,
         "attention_types": [[["global"], 1]], "bos_token_id": 0, "eos_token_id": 0},
        ROWS,
    ),
    "mpt": ({"vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 1, "max_seq_len": ROWS}, ROWS),
    "xlm": (
        {"vocab_size": VOCABULARY, "n_words": VOCABULARY, "emb_dim": 32, "n_layers": 1, "n_heads": 4, "causal": True,
         "max_position_embeddings": ROWS},
        ROWS,
    ),
}  # fmt: skip
# They go on beyond what their configuration says: positions are computed, or the last one is used again.
OPEN = ("llama", "xglm")


def runs(model: Any, length: int) -> bool:
    ids = torch.arange(length)[None] % (VOCABULARY - 5) + 5
    try:
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("family", TABLES)
def test_the_longest_input_is_read_and_none_longer(family: str) -> None:
    settings, limit = TABLES[family]
    config = CONFIG_MAPPING[family](**settings)
    assert position_limit(config) == limit
    model = AutoModelForCausalLM.from_config(config).eval()
    assert runs(model, limit)
    assert not runs(model, limit + 1)


@pytest.mark.parametrize("family", OPEN)
def test_a_limit_that_the_code_does_not_have_is_kept_all_the_same(family: str) -> None:
    name, settings = CONFIGS[family]
    model = AutoModelForCausalLM.from_config(getattr(transformers, f"{name}Config")(**settings)).eval()
    limit = position_limit(model.config)
    assert limit == 128
    assert runs(model, limit + 10)


def causal_configs() -> list[str]:
    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))


def default_config(family: str) -> Any:
    try:
        return CONFIG_MAPPING[family]()
    except Exception as error:  # some have no defaults
        pytest.skip(f"no default configuration: {type(error).__name__}")


# Recurrent, or with a bias that is computed for any distance.
UNLIMITED = {
    "bloom", "cpmant", "falcon_mamba", "mamba", "mamba2", "recurrent_gemma", "xlnet", "xlstm",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", causal_configs())
def test_every_family_says_how_much_it_reads(family: str) -> None:
    limit = position_limit(default_config(family))
    assert (limit is None) is (family in UNLIMITED)


@pytest.mark.slow
def test_the_families_that_count_from_padding_are_those_whose_code_does() -> None:
    models = Path(transformers.__file__).parent / "models"
    found = set()
    for path in models.glob("*/modeling_*.py"):
        source = path.read_text(encoding="utf-8")
        grows = "max_pos = self.padding_idx + 1" in source or "max_position_embeddings + self.padding_idx + 1" in source
        if "create_position_ids_from_input_ids" in source and not grows:
            found.add(path.parent.name)
    listed = {family.replace("-", "_").removesuffix("_text_model").removesuffix("_text") for family in
              _COUNTED_FROM_PADDING}  # fmt: skip
    # Of these, the texts that an image goes with are read elsewhere.
    assert found - listed <= {"bridgetower", "evolla", "pp_doclayout_v2"}
    assert listed <= found


def test_a_configuration_of_several_texts_is_that_of_what_is_written() -> None:
    config = CONFIG_MAPPING["musicgen"](
        text_encoder={"model_type": "t5"},
        audio_encoder={"model_type": "encodec"},
        decoder={"model_type": "musicgen_decoder"},
    )
    assert text_config(config).model_type == "musicgen_decoder"
    assert position_limit(config) == text_config(config).max_position_embeddings


def test_special_tokens_are_those_that_the_configuration_names() -> None:
    config = AutoConfig.for_model("llama", pad_token_id=7, bos_token_id=1, eos_token_id=[2, 3])
    assert special_tokens(config) == {7, 1, 2, 3}


@pytest.mark.parametrize("family", ["xlm-roberta", "whisper"])
def test_prompts_are_cut_to_what_a_model_reads(
    harness: Commands, project: Project, tmp_path: Path, family: str
) -> None:
    settings, _ = TABLES[family]
    tokenizer = train_bpe()
    tokenizer.save_pretrained(tmp_path / "model")
    length = "max_target_positions" if family == "whisper" else "max_position_embeddings"
    config = CONFIG_MAPPING[family](**{**settings, "vocab_size": len(tokenizer), length: 66})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    done = harness.ok(
        "run", "--tasks", "mood", "--data-dir", "data", "--model", tmp_path / "model", "--shots", "0,3", "--json"
    )
    zero, three = sorted(json.loads(done.out)["rows"], key=lambda row: row["shots"])
    assert zero["n"] == three["n"] == 20
    (path,) = project.root.glob("results/runs/*/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["model"]["max_inputs"] == position_limit(config) == (66 if family == "whisper" else 64)
    shots = pq.read_table(path.with_name("predictions.parquet"), columns=["shots"])["shots"].to_pylist()
    assert any(count in (1, 2) for count in shots), "some demonstrations were dropped"
