"""Reads how an encoder says that its embeddings are made: the files that sentence-transformers writes beside a model.

    modules.json                        what is applied, in order: a transformer, a pooling, then further steps
    sentence_bert_config.json           the most tokens that are read, and whether texts are lower-cased
    config_sentence_transformers.json   a prompt that is put before each text, where one is the default
    1_Pooling/config.json               how the states of the tokens become one vector
    2_Normalize, 3_Dense, ...           a step each, in a folder of its own

A folder without ``modules.json`` says nothing, and gets the mean over tokens, as it does there. It knows no tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import ModelError, suggest
from harness.fingerprint import file_digest
from harness.records import digest

Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
# In this order several of them are put one after another.
_FLAGS: Mapping[str, Mode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
StepKind = Literal["Normalize", "Dense", "LayerNorm"]
_STEPS: tuple[StepKind, ...] = get_args(StepKind)
_PASSED_OVER = ("Dropout",)  # it does nothing outside of training
_MODULES = "modules.json"
_TRANSFORMERS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_MOST_BYTES = 1_000_000
_MOST_WIDTH = 100_000


@dataclass(frozen=True, slots=True)
class Step:
    """What follows the pooling: ``config`` are its settings, ``weights`` the file with its numbers, if it has any."""

    kind: StepKind
    config: Mapping[str, Any]
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class SentenceLayout:
    """How the hidden states of a text become its embedding.

    ``prompt`` is put before each text, and ``pools_prompt`` says whether its tokens are pooled, too. ``stated`` is
    False where the folder says nothing.
    """

    modes: tuple[Mode, ...] = ("mean",)
    most_tokens: int | None = None
    lower: bool = False
    prompt: str = ""
    pools_prompt: bool = True
    steps: tuple[Step, ...] = ()
    stated: bool = False

    @property
    def fingerprint(self) -> str:
        """What an embedding depends on besides the transformer."""
        steps = [[step.kind, dict(step.config), step.weights and file_digest(step.weights)] for step in self.steps]
        return digest([self.modes, self.most_tokens, self.lower, self.prompt, self.pools_prompt, steps])


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Module(_Part):
    type: Annotated[str, Field(max_length=1_000)]
    path: Annotated[str, Field(max_length=1_000)] = ""


class _Transformer(_Part):
    max_seq_length: Annotated[int, Field(ge=3, strict=True)] | None = None
    do_lower_case: bool = False


class _Pooling(_Part):
    pooling_mode: Mode | tuple[Mode, ...] | None = None
    include_prompt: bool = True


class _Dense(_Part):
    in_features: Annotated[int, Field(ge=1, le=_MOST_WIDTH, strict=True)]
    out_features: Annotated[int, Field(ge=1, le=_MOST_WIDTH, strict=True)]
    bias: bool = True
    activation_function: Annotated[str, Field(max_length=1_000)] = "torch.nn.modules.activation.Tanh"
    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None
    use_residual: bool = False


class _Normalize(_Part):
    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None


class _LayerNorm(_Part):
    dimension: Annotated[int, Field(ge=1, le=_MOST_WIDTH, strict=True)]


class _Prompts(_Part):
    prompts: dict[str, str | None] = Field(default_factory=dict)
    default_prompt_name: str | None = None


_CONFIGS: Mapping[StepKind, type[_Part]] = {"Normalize": _Normalize, "Dense": _Dense, "LayerNorm": _LayerNorm}
PartType = TypeVar("PartType", bound=_Part)


def transformer_folder(folder: Path) -> Path:
    """Where a model's transformer lies: in the folder, or below it where ``modules.json`` says so."""
    if (folder / "config.json").is_file() or not (folder / _MODULES).is_file():
        return folder
    return folder / _modules(folder)[0].path


def read_layout(transformer: Path) -> SentenceLayout:
    """What a model says of its embeddings; ``transformer`` is its folder, or that of its transformer below it.

    Raises:
        ModelError: one of its files is damaged, or names what is not supported.
    """
    root = transformer
    if not (root / _MODULES).is_file():
        above = transformer.resolve().parent
        if not (above / _MODULES).is_file() or (above / _modules(above)[0].path).resolve() != transformer.resolve():
            return SentenceLayout()
        root = above
    modules = _modules(root)
    if len(modules) < 2 or _kind(modules[1], root) != "Pooling":
        raise ModelError(f"{root / _MODULES}: its second module must be a Pooling, which makes one vector of a text")
    settings = _optional(_Transformer, transformer, [f"sentence_{name}_config.json" for name in _TRANSFORMERS])
    pooling, modes = _pooling(root / modules[1].path / "config.json")
    prompts = _optional(_Prompts, root, ["config_sentence_transformers.json"])
    return SentenceLayout(
        modes=modes,
        most_tokens=settings.max_seq_length,
        lower=settings.do_lower_case,
        prompt=_default_prompt(prompts, root),
        pools_prompt=pooling.include_prompt,
        steps=tuple(step for module in modules[2:] if (step := _step(module, root)) is not None),
        stated=True,
    )


def _modules(root: Path) -> Sequence[_Module]:
    path = root / _MODULES
    try:
        found = TypeAdapter(list[_Module]).validate_python(_json(path))
    except ValidationError as error:
        raise ModelError(f"{path}: must be a list of modules, each with type and path") from error
    if not found or _kind(found[0], root) != "Transformer":
        raise ModelError(f"{path}: its first module must be a Transformer; other models cannot embed texts here")
    for module in found:
        parts = Path(module.path).parts
        if Path(module.path).is_absolute() or ".." in parts:
            raise ModelError(f"{path}: the path {module.path!r} leads out of the model's folder")
    return found


def _kind(module: _Module, root: Path) -> str:
    package, _, name = module.type.rpartition(".")
    known = ("Transformer", "Pooling", *_STEPS, *_PASSED_OVER)
    if package.partition(".")[0] != "sentence_transformers" or name not in known:
        raise ModelError(
            f"{root / _MODULES}: module {module.type!r} is not supported{suggest(name, known, what='known')}"
        )
    return name


def _pooling(path: Path) -> tuple[_Pooling, tuple[Mode, ...]]:
    values = _json(path)
    if isinstance(values, dict) and "pooling_mode" not in values:
        values["pooling_mode"] = [mode for flag, mode in _FLAGS.items() if values.get(flag)] or ["mean"]
    found = _fit(_Pooling, values, path)
    modes = found.pooling_mode or ("mean",)
    return found, (modes,) if isinstance(modes, str) else modes


def _step(module: _Module, root: Path) -> Step | None:
    name, folder = _kind(module, root), root / module.path
    kind = next((step for step in _STEPS if step == name), None)
    if kind is None:
        if name in _PASSED_OVER:
            return None
        raise ModelError(f"{root / _MODULES}: a {name} is not supported where it stands")
    config = folder / "config.json"
    shape = _CONFIGS[kind]
    found = _fit(shape, _json(config) if kind != "Normalize" or config.is_file() else {}, config)
    if kind == "Normalize":
        return Step(kind, {})
    files = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    weights = next((path for path in files if path.is_file()), None)
    if weights is None:
        raise ModelError(f"{folder}: holds no weights: neither model.safetensors nor pytorch_model.bin")
    return Step(kind, found.model_dump(), weights)


def _default_prompt(prompts: _Prompts, root: Path) -> str:
    name = prompts.default_prompt_name
    if name is None:
        return ""
    if name not in prompts.prompts:
        raise ModelError(
            f"{root / 'config_sentence_transformers.json'}: default_prompt_name {name!r} is none of its prompts"
            f"{suggest(name, prompts.prompts, what='prompts')}"
        )
    return prompts.prompts[name] or ""


def _optional(shape: type[PartType], folder: Path, names: Sequence[str]) -> PartType:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    return shape() if path is None else _fit(shape, _json(path), path)


def _fit(shape: type[PartType], values: object, path: Path) -> PartType:
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        raise ModelError(f"{path}: {f'{key}: ' if key else ''}{first['msg']}") from error


def _json(path: Path) -> Any:
    try:
        if not path.is_file():
            raise ModelError(f"{path}: is missing, and {_MODULES} names its folder")
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: is larger than any such file")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
