"""Checkpoint directories in the Hub's format: read with named errors, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Qwen3_5ForConditionalGeneration,
)

from procir.errors import CheckpointError, ConfigError
from procir.model import adapters
from procir.model.pixels import MEAN, STD, PixelSettings
from procir.model.tokenizers import special_id
from procir.records import replacing_folder

SETTINGS_FILE = "procir.json"
_SENTENCE_TRANSFORMERS: Mapping[str, Mapping[str, Any] | list[Any]] = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "procir.model.sentence_module.ProCIRModule"}],
    "config_sentence_transformers.json": {
        "model_type": "SentenceTransformer", "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine",
    },
}  # fmt: skip
"""Files by which sentence-transformers finds `procir.model.sentence_module`."""
_NEEDED = ("config.json", "tokenizer.json")
_RESTORE = "restore the file, or remove it to read the checkpoint with the published model's settings"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory; `settings` are the keyword arguments of `EmbedderSettings` that it names."""

    network: Any
    tokenizer: Any
    settings: Mapping[str, Any]


def load(path: str | Path, *, dtype: torch.dtype) -> Loaded:
    """Read a checkpoint directory, or a Hub id that is downloaded first; raises CheckpointError."""
    folder = _folder(path)
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not list(folder.glob("*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        raise CheckpointError(f"{folder} is no model checkpoint: it lacks {', '.join(missing)}")
    kind = _read_json(folder / "config.json").get("model_type")
    if kind != "qwen3_5":
        raise CheckpointError(f"{folder}/config.json describes a {kind!r} model; procir reads 'qwen3_5' checkpoints")
    config, tokenizer = _config(folder), _tokenizer(folder)
    settings = _settings(folder, config.vision_config)
    return Loaded(_network(folder, config, dtype), tokenizer, settings)


def save(
    path: Path, *, network: Any, tokenizer: Any, settings: Any, card: str | None, dtype: torch.dtype | None
) -> None:
    """Write network, tokenizer, processor, settings and card; replaces a checkpoint that is already there.

    Adapters are merged into what is written. Raises CheckpointError if something else is there, or the disk is full.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "config.json").is_file()):
        raise CheckpointError(f"{path} is no checkpoint that could be replaced: choose a new or an empty folder")
    try:
        with replacing_folder(path, durable=True) as folder:
            _write(folder, network, tokenizer, settings, card or _CARD, dtype)
    except SafetensorError as error:
        raise CheckpointError(f"{path} could not be written: {error}; make room there, or choose another") from error


def _write(folder: Path, network: Any, tokenizer: Any, settings: Any, card: str, dtype: torch.dtype | None) -> None:
    state = adapters.merged_state(network)
    if network.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    if dtype is not None:
        state = {name: weight.to(dtype) for name, weight in state.items()}
    network.save_pretrained(folder, state_dict=state)
    for weights in folder.glob("*.safetensors"):  # which safetensors writes for its owner alone
        weights.chmod((folder / "config.json").stat().st_mode)
    _state_dtype(folder / "config.json", dtype or network.dtype)
    tokenizer.save_pretrained(folder)
    _write_json(folder / "preprocessor_config.json", _processor(settings.pixels))
    _write_json(folder / SETTINGS_FILE, asdict(settings))
    for name, content in _SENTENCE_TRANSFORMERS.items():
        _write_json(folder / name, content)
    (folder / "README.md").write_text(card, encoding="utf-8")


def require_embedding_row(network: Any, tokenizer: Any, token: str) -> None:
    """Raise unless the tokenizer has the token and the embedding matrix a row for it."""
    number = special_id(tokenizer, token)
    rows = network.get_input_embeddings().num_embeddings
    if number >= rows:
        raise CheckpointError(
            f"the token {token!r} has id {number}, but the embedding matrix has {rows} rows: the checkpoint was saved "
            "without resizing its embeddings"
        )


def add_embedding_token(network: Any, tokenizer: Any, token: str) -> None:
    """Make sure that the tokenizer knows the token and that the embedding matrix has a row for it."""
    if tokenizer.convert_ids_to_tokens(tokenizer.convert_tokens_to_ids(token) or 0) != token:
        tokenizer.add_special_tokens({"additional_special_tokens": [token]}, replace_extra_special_tokens=False)
    if special_id(tokenizer, token) >= network.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():  # new rows are drawn; every process and every resumed run must draw the same
            torch.manual_seed(0)
            network.resize_token_embeddings(len(tokenizer))


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    if isinstance(path, Path) or path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise CheckpointError(f"{path} is not a folder, and no Hub id of the form owner/name")
    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{path} is no folder here and could not be fetched from the Hub: {error}; "
            "pass a folder, or download the checkpoint first"
        ) from error


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder)
    except Exception as error:  # transformers checks its fields with exceptions of its own
        raise CheckpointError(f"{folder}/config.json is no configuration of a Qwen3.5 model: {error}") from error


def _network(folder: Path, config: Any, dtype: torch.dtype) -> Any:
    try:
        network, report = Qwen3_5ForConditionalGeneration.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"the weights in {folder} cannot be read: {error}") from error
    except Exception as error:  # safetensors raises its own SafetensorError, straight from Exception
        if type(error).__name__ != "SafetensorError":
            raise
        raise CheckpointError(f"the weights in {folder} are damaged: {error}; copy or download them again") from error
    _require_all_weights(folder, report)
    return network


def _require_all_weights(folder: Path, report: Mapping[str, Any]) -> None:
    missing = sorted(name for name in report["missing_keys"] if name != "lm_head.weight")
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} weights, among them {', '.join(missing[:3])}")
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"{folder}: the weight {name} has shape {tuple(stored)}, its config.json asks for {tuple(expected)}; "
            "restore the config.json that belongs to these weights"
        )


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises plain exceptions, transformers stumbles in many ways
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be read: {error!r}; copy or download it again"
        ) from error


def _settings(folder: Path, vision: Any) -> dict[str, Any]:
    """What procir.json says; the published checkpoint has none and is read with the defaults of EmbedderSettings."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return {}
    content = _read_json(path)
    kinds = {"two_turns": bool, "embedding_token": str, "pixels": dict}
    wrong = [name for name in {**kinds, **content} if not isinstance(content.get(name), kinds.get(name, ()))]
    if wrong:
        raise CheckpointError(f"{path}: missing, unknown or of the wrong type: {', '.join(wrong)}; {_RESTORE}")
    try:
        pixels = PixelSettings(**content["pixels"])
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: the pixels are wrong: {error}; {_RESTORE}") from error
    if (pixels.patch, pixels.merge) != (vision.patch_size, vision.spatial_merge_size):
        raise CheckpointError(
            f"{path}: patch {pixels.patch} and merge {pixels.merge} are not the vision tower's "
            f"{vision.patch_size} and {vision.spatial_merge_size}; {_RESTORE}"
        )
    return content | {"pixels": pixels}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return content


def _write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _state_dtype(path: Path, dtype: torch.dtype) -> None:
    """Let config.json name the type of the stored weights; transformers writes that of the weights in memory."""
    config, name = _read_json(path), str(dtype).removeprefix("torch.")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if "dtype" in part:
            part["dtype"] = name
    _write_json(path, config)


def _processor(pixels: PixelSettings) -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "size": {"shortest_edge": pixels.min_pixels, "longest_edge": pixels.max_pixels},
        "patch_size": pixels.patch,
        "merge_size": pixels.merge,
        "temporal_patch_size": 2,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }


_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags: [composed-image-retrieval, multimodal-embeddings, procir]
---
# ProCIR checkpoint
A Qwen3.5 model whose hidden state at the embedding token is the embedding of a product, a composed query or a caption.

```python
from procir.model.embedder import ProCIR
model = ProCIR.from_pretrained("path/to/this/folder")
```
"""
