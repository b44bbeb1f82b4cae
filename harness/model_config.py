"""What a model's configuration says of the text it reads. It knows nothing of weights, and imports no library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Names that configurations use for the most positions a model can read.
_LIMITS = (
    "max_position_embeddings",
    "max_target_positions",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
)
# Families that count positions from the padding id + 1 on, in a table of ``max_position_embeddings`` rows.
_COUNTED_FROM_PADDING = frozenset(
    {
        "altclip_text_model", "camembert", "clap_text_model", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt",
        "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
        "xmod",
    }
)  # fmt: skip


def text_config(config: Any) -> Any:
    """The part about text; of a model that reads one text and writes another, the part about what it writes."""
    try:
        return config.get_text_config()
    except ValueError:  # it has several
        return config.get_text_config(decoder=True)


def position_limit(config: Any) -> int | None:
    """The most tokens that the model reads at once, or None where its configuration sets no limit."""
    text = text_config(config)
    limits = (getattr(text, name, None) for name in _LIMITS)
    found = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
    padding = getattr(text, "pad_token_id", None)
    if found is not None and getattr(text, "model_type", None) in _COUNTED_FROM_PADDING and isinstance(padding, int):
        return found - padding - 1
    return found


def special_tokens(config: Any) -> set[int]:
    """Ids that mean something to a model: padding, the beginning, the end, an image."""
    return {
        token
        for part in (config, text_config(config))
        for name, value in part.to_dict().items()
        if name.endswith(("_token_id", "_token_index"))
        for token in _integers(value)
    }


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _integers(one)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
