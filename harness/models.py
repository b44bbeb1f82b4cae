"""Finds causal language models and loads their weights with transformers; tokenizers are loaded by ``tokenizer``.

torch and transformers are imported when a function is called, never with the module: listing, previewing and
tabulating cost no start-up time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from harness import hub
from harness.errors import ModelError, UsageError, contained, failure, suggest
from harness.files import path_text
from harness.fingerprint import model_fingerprint
from harness.model_checks import check_architecture, check_leftovers, check_quantisation, check_size
from harness.model_config import position_limit, special_tokens, text_config
from harness.model_folder import check_files, look_at
from harness.search_path import builtin_folder
from harness.sentence_layout import transformer_folder

if TYPE_CHECKING:
    import torch

# The small demonstration model that is part of the package.
BUILTIN = "builtin"

BosPolicy = Literal["auto", "always", "never"]
TokenizerSource = Literal["file", "transformers"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

# Loaders of transformers keep state that two of them at once, in two threads, mix up.
_LOADING = threading.RLock()

# Arguments of the loader that are not for --model-arg, and what sets them.
_TAKEN = {
    "dtype": "--dtype",
    "torch_dtype": "--dtype",
    "device_map": "--device",
    "revision": "--revision",
    "trust_remote_code": "--trust-remote-code",
    "output_loading_info": "harness itself",
    # They would load files, or a configuration, that the fingerprint does not cover.
    **dict.fromkeys(("adapter_kwargs", "config", "gguf_file", "subfolder", "variant"), "the model's folder"),
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the user asked for it."""

    name: str
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "auto"
    bos: BosPolicy = "auto"
    tokenizer: TokenizerSource = "file"
    trust_remote_code: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine: enough to tokenise and to look scores up, with no weight loaded."""

    spec: ModelSpec
    path: Path
    revision: str | None
    fingerprint: str
    dtype: str
    device: str
    remarks: tuple[str, ...] = ()  # what of the folder is not read
    numbers: int | None = None  # in its weights, at most; None where they are packed, or that is not known

    @property
    def label(self) -> str:
        """The name that tables show."""
        if self.revision is not None or self.spec.name == BUILTIN:
            return self.spec.name
        named = Path(self.spec.name).expanduser()  # the transformer may lie in a folder below it
        return path_text(named.name if named.name not in ("", "..") else named.resolve().name)

    @cached_property
    def config(self) -> Any:
        return _load_config(self.path, self.spec)

    @property
    def max_inputs(self) -> int | None:
        """The most tokens the model reads at once, or None where its configuration sets no limit."""
        return position_limit(self.config)

    @property
    def vocabulary(self) -> int | None:
        """How many tokens the model knows, or None where its configuration does not tell."""
        size = getattr(text_config(self.config), "vocab_size", None)
        return size if isinstance(size, int) and size > 0 else None


def locate_model(spec: ModelSpec) -> ModelFiles:
    """Find a model in a folder or on the hub (fetching it), and fingerprint it.

    Raises:
        ModelError: it does not exist, cannot be fetched, or is not a model.
    """
    for name in spec.arguments:
        if name in _TAKEN:
            raise UsageError(f"--model-arg {name}: is set by {_TAKEN[name]}")
    path, revision = _local_folder(spec), None
    if path is None:
        path, revision = _hub_snapshot(spec)
    elif spec.revision is not None:
        raise UsageError(f"--revision {spec.revision}: {spec.name} is a folder, and only hub models have revisions")
    check_files(path)
    path = transformer_folder(path)
    folder = look_at(path, safetensors=spec.arguments.get("use_safetensors") is not False)
    check_quantisation(folder.config, path)
    settings = {"arguments": dict(spec.arguments)}
    fingerprint = model_fingerprint(path, settings, with_code=spec.trust_remote_code)
    device = _choose_device(spec.device)
    config = _load_config(path, spec)
    dtype = _choose_dtype(spec.dtype, device, config)
    remarks = tuple(folder.remarks(with_code=spec.trust_remote_code))
    numbers = None if "quantization_config" in folder.config else folder.numbers
    return ModelFiles(spec, path, revision, fingerprint, dtype, device, remarks, numbers)


def _local_folder(spec: ModelSpec) -> Path | None:
    if spec.name == BUILTIN:
        return builtin_folder() / "model"
    path = Path(spec.name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{spec.name}: is a file; --model takes a model's folder or a hub id")
    looks_local = spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1 or "\\" in spec.name
    if not looks_local:
        return None
    raise ModelError(f"{spec.name}: no such folder{suggest(path.name, _beside(path), what=f'models in {path.parent}')}")


def _beside(path: Path) -> list[str]:
    """The names of the model folders beside one that is not there."""
    parent = path.parent
    return sorted(p.name for p in parent.iterdir() if (p / "config.json").is_file()) if parent.is_dir() else []


def _hub_snapshot(spec: ModelSpec) -> tuple[Path, str]:
    """Fetch a hub model, its safetensors rather than pickled weights where it has both; returns folder and commit."""
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    online = hub.reachable()
    path = Path(spec.name)
    beside = _beside(path)  # the name may be meant as a folder's, with a slip
    near = suggest(path.name, beside, what=f"models in {path.parent}") if beside else ""
    try:
        skipped = ["*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot", "onnx/*", "original/*"]
        revision = spec.revision
        if online:
            info = huggingface_hub.HfApi().model_info(spec.name, revision=spec.revision)
            revision = info.sha
            if any(file.rfilename.endswith(".safetensors") for file in info.siblings or []):
                skipped += ["*.bin", "*.pt", "*.pth"]
        disable_progress_bars()
        snapshot = huggingface_hub.snapshot_download(
            spec.name, revision=revision, ignore_patterns=skipped, local_files_only=not online
        )
    except errors.HFValidationError as error:
        raise ModelError(f"{spec.name}: neither a folder here nor a valid hub id: {hub.first_line(error)}") from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{spec.name}: gated: accept its terms on the hub and log in with 'hf auth login'") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{spec.name}: the hub has no revision {spec.revision!r} of it") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{spec.name}: no such folder here, and no such model on the hub (or it is private){near}"
        ) from error
    except Exception as error:  # the HTTP client's own errors, and those of a full disk
        if online:
            raise ModelError(f"{spec.name}: cannot be fetched: {hub.first_line(error)}") from error
        raise ModelError(
            f"{spec.name}: no such folder here, {hub.unreachable_reason()}, and the model is not in the local"
            f" cache{near}"
        ) from error
    return Path(snapshot), Path(snapshot).name


def _choose_device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        from accelerate import PartialState

        state = PartialState()
        return str(state.device.type if state.num_processes == 1 else state.device)  # several: each has its own
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"--device {wanted}: must be auto, cpu, cuda, cuda:N or mps") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        present = ", ".join(name for name, there in available.items() if there)
        raise UsageError(f"--device {wanted}: not available on this machine (available: {present})")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UsageError(
            f"--device {wanted}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    return wanted


def _choose_dtype(wanted: Dtype, device: str, config: Any) -> str:
    """``auto`` is the checkpoint's own dtype on CUDA and float32 elsewhere, where half precision is slow and less
    exact."""
    if wanted != "auto":
        return wanted
    found = getattr(config, "dtype", None) or getattr(text_config(config), "dtype", None)
    own = str(found or "float32").removeprefix("torch.")
    return own if device.startswith("cuda") and own in DTYPES else "float32"


def _load_config(path: Path, spec: ModelSpec) -> Any:
    from transformers import AutoConfig

    return guarded(
        spec, "configuration", lambda: AutoConfig.from_pretrained(path, trust_remote_code=spec.trust_remote_code)
    )


def guarded(spec: ModelSpec, what: str, load: Callable[[], Any]) -> Any:
    """Call a loader of transformers; whatever it raises becomes one line."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with _LOADING, contained():
            return load()
    except Exception as error:  # model code and readers of many formats raise many kinds
        message = hub.first_line(error)
        if "trust_remote_code" in message:
            raise ModelError(
                f"{spec.name}: needs Python code of its own, which is run only with --trust-remote-code"
            ) from error
        if "ignore_mismatched_sizes" in message:
            message = "config.json gives other sizes than its weights have"
        raise ModelError(f"{spec.name}: its {what} cannot be loaded: {message}") from error


def input_device(model: torch.nn.Module) -> torch.device:
    """Where a model takes its input; weights that accelerate keeps elsewhere until they are needed are on ``meta``."""
    return next(parameter.device for parameter in model.parameters() if parameter.device.type != "meta")


def load_model(files: ModelFiles, notice: Callable[[str], object] = lambda text: None) -> torch.nn.Module:
    """Load the weights, place them, and make sure that what was loaded is a complete, causal language model.

    Raises:
        ModelError: it cannot be loaded, lacks weights, or looks at later tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM

    spec = files.spec
    if files.dtype == "float32":  # convolutions of CUDA would round to 10 bits of mantissa
        torch.backends.cudnn.allow_tf32 = False
    with _LOADING:
        check_size(AutoModelForCausalLM, files.config, files.numbers, spec.name, with_code=spec.trust_remote_code)
    given = "".join(f" with {name}={value}" for name, value in spec.arguments.items())
    placement: Any = "auto" if spec.device == "auto" and files.device == "cuda" else {"": files.device}
    model, info = guarded(
        spec,
        f"model{given}",
        lambda: AutoModelForCausalLM.from_pretrained(
            files.path,
            dtype=getattr(torch, files.dtype),
            device_map=placement,
            trust_remote_code=spec.trust_remote_code,
            output_loading_info=True,
            **spec.arguments,
        ),
    )
    check_leftovers(model, info["unexpected_keys"], spec.name, notice, intended=bool(spec.arguments))
    check_architecture(model, files.config, spec.name, notice)
    absent = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
    if absent:
        raise ModelError(
            f"{spec.name}: its files lack {len(absent)} weights of a causal language model, such as {absent[0]}"
        )
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    spilled = (places or {weight.device.type for weight in model.parameters()}) & {"cpu", "disk"}
    if spilled and not files.device.startswith("cpu"):
        notice(f"{spec.name}: does not fit on {files.device}; parts of it are kept on {' and '.join(sorted(spilled))}")
    model.eval()
    _check_causal(model, spec.name)
    return model  # type: ignore[no-any-return]


def _check_causal(model: torch.nn.Module, name: str) -> None:
    """Scores mean nothing if a position sees what comes after it, as in BERT loaded for generation."""
    import torch

    # Some tokens have a meaning to the model (where padding is, say) that its configuration does not tell: a model
    # that looks ahead does so whichever the tokens are.
    try:
        with torch.inference_mode(), contained():
            ahead = all(_looks_ahead(model, _ordinary_tokens(model, seed)) for seed in range(3))
            wavers = ahead and _differ(model, *[_ordinary_tokens(model, 0)[:8]] * 2)
    except Exception as error:  # a model's own code may fail in any way
        raise ModelError(f"{name}: its own code fails on eight tokens: {failure(error)}") from error
    if wavers:
        raise ModelError(f"{name}: predicts something else each time for the same text, as dropout or noise would do")
    if ahead:
        raise ModelError(f"{name}: is not a causal language model: its predictions depend on later tokens")


def _ordinary_tokens(model: Any, seed: int) -> list[int]:
    """Nine distinct tokens that mean nothing special, or as many as there are."""
    special = special_tokens(model.config) | {getattr(model.get_input_embeddings(), "padding_idx", None)}
    count = int(model.get_input_embeddings().num_embeddings)
    ordinary = [token for token in range(min(count, 1_000)) if token not in special] or list(range(count))
    order = np.random.default_rng(seed).permutation(len(ordinary))
    return [ordinary[place] for place in np.resize(order, 9)]


def _looks_ahead(model: Any, tokens: Sequence[int]) -> bool:
    """Whether another last token changes what is predicted before it."""
    return _differ(model, tokens[:8], [*tokens[:7], tokens[8]])


def _differ(model: Any, first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether predictions from two texts of the same length differ before their last tokens."""
    import torch

    ids = torch.tensor([first, second], device=input_device(model))
    one, other = (
        model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False).logits[0, :-1].float()
        for row in (ids[:1], ids[1:])
    )
    # Against their own spread: the logits of a barely trained model are nearly flat.
    tolerance = (1e-3 if one.dtype == model.dtype else 5e-2) * float(one.std())
    return float((one - other).abs().max()) > tolerance
