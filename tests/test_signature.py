"""The signature of a cell: its digests stay those of before, and every field says what it is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from harness.signature import ABOUT, ROW_KEY, Signature, fields_that

# Two signatures as they were stored before there was a record of them, and the ids that their cells had.
PROMPT: dict[str, Any] = {
    "kind": "prompt", "method": None, "method_version": 2, "labels_used": 4, "task": "sst2", "task_reading": "r" * 32,
    "data": "sample", "data_hash": "d" * 32, "role": "report", "split": "validation", "template": "sst2/plain",
    "template_hash": "t" * 32, "shots": 4, "demo_seed": 0, "demos": "fixed", "pool_hash": "p" * 32, "demo_guard": "g",
    "demo_encoder": None, "demo_encoder_hash": None, "demo_order": "drawn", "order": None, "rule": "sum",
    "calibration": "none", "control": None, "model": "builtin", "model_fingerprint": "f" * 32,
    "tokenizer_hash": "k" * 32, "dtype": "float32", "bos": "auto", "max_inputs": 512,
}  # fmt: skip
BASELINE: dict[str, Any] = {
    **dict.fromkeys(PROMPT),
    "kind": "baseline", "method": "tfidf", "method_version": 4, "labels_used": 16, "task": "sst2",
    "task_reading": "r" * 32, "data": "sample", "data_hash": "d" * 32, "pool_hash": "p" * 32, "demo_guard": "g",
    "role": "report", "split": "validation", "template": "tfidf", "demo_seed": 0, "model": "tfidf",
    "model_fingerprint": "f" * 32,
}  # fmt: skip
IDS = {"prompt": "9880b396bcee4d2e1b6a09006e034d8a", "baseline": "77a1b4b8ace9e445b5161dff003b312b"}


@pytest.mark.parametrize("stored", [PROMPT, BASELINE], ids=["prompt", "baseline"])
def test_a_cell_is_found_under_the_id_that_it_always_had(stored: dict[str, Any]) -> None:
    signature = Signature.model_validate(stored)
    assert signature.as_dict() == stored
    assert signature.id == IDS[stored["kind"]]
    without = {key: value for key, value in stored.items() if value is not None}
    approach = without.pop("kind")
    assert Signature(approach=approach, **without) == signature


def test_what_one_approach_alone_has_the_other_has_not() -> None:
    prompt, trained = Signature.model_validate(PROMPT), Signature.model_validate(BASELINE)
    assert not any(trained.values(fields_that(lambda about: about.of == "prompt")))
    assert not any(prompt.values(fields_that(lambda about: about.of == "baseline")))


def test_every_field_has_a_part_in_telling_cells_apart_or_follows_from_one_that_has() -> None:
    for name, about in ABOUT.items():
        assert about.row or about.cell or about.follows in ABOUT, name
        assert not (about.row and about.cell), name
    places = [about.setting for about in ABOUT.values() if about.setting is not None]
    assert sorted(places) == list(range(1, len(places) + 1))
    assert {"task", "shots", "rule", "approach"} <= set(ROW_KEY)
    assert not {"template", "demo_seed", "order", "max_inputs"} & set(ROW_KEY)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "judge"}, "kind"),
        ({"shots": None}, "'shots' is missing"),
        ({"shots": -1}, "shots"),
        ({"shots": "4"}, "shots"),
        ({"order": 24}, "no order 24"),
        ({"labels_used": None}, "'labels_used' is missing"),
        ({"task": ""}, "task"),
        ({"role": "pool?"}, "role"),
    ],
)
def test_what_no_cell_can_be_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Signature.model_validate(PROMPT | changes)
