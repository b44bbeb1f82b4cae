"""What identifies a model: the files that decide what it computes, and the name that tables show."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.fingerprint import model_fingerprint
from harness.models import ModelFiles, ModelSpec


@pytest.fixture(autouse=True)
def _no_memo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with weights in both formats, of which transformers loads one."""
    path = tmp_path / "model"
    path.mkdir()
    for name in ("config.json", "consolidated.safetensors", "pytorch_model.bin", "README.md"):
        (path / name).write_text(name)
    return path


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", True),
        ("consolidated.safetensors", True),
        ("pytorch_model.bin", True),
        ("README.md", False),
    ],
)
def test_the_fingerprint_changes_with_every_file_that_may_be_loaded(folder: Path, name: str, changes: bool) -> None:
    before = model_fingerprint(folder, {}, with_code=False)
    (folder / name).write_text("another")
    assert (model_fingerprint(folder, {}, with_code=False) != before) is changes


@pytest.mark.parametrize(
    ("name", "revision", "label"),
    [(".", None, "inner"), ("..", None, "outer"), ("../inner", None, "inner"), ("some/model", "c0ffee", "some/model")],
)
def test_a_folder_goes_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, revision: str | None, label: str
) -> None:
    (tmp_path / "outer/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "outer/inner")
    assert ModelFiles(ModelSpec(name), Path(name), revision, "f", "float32", "cpu").label == label
