"""Snapshots: the state of a model after some turns of a dialogue, from which any number of further turns go on.

A source product is read once (turn 1), and each modification text continues from that state (turn 2) instead of
reading the views again. A snapshot holds what later tokens can see: keys and values of the full-attention layers,
recurrent and convolution states of the linear ones, and the next position. The continuation is exact.

Qwen3.5 in transformers keeps the position offset of the last images that it read on the model itself. Here positions
travel with the snapshot, so that dialogues may take their turns in any order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import DynamicCache

from procir.errors import ConfigError, MissingDataError, SnapshotError
from procir.model import quantization
from procir.model.dialogue import Dialogue
from procir.model.packing import Batch, length_groups, pad, unique_views
from procir.model.pixels import ViewPixels
from procir.model.reader import Reader
from procir.model.transfer import to_device
from procir.records import write_bytes

Storage = Literal["full", "bf16", "int8"]
"""How states are kept: as computed, as bfloat16, or as int8 with a scale for every vector."""

_FORMAT = "procir-snapshot-1"
_SCALE = ".scale"
_INT8_MAX = 127
# Entries of a configuration that say how it was stored or loaded, not what it computes; the weights tell their dtype.
_HOUSEKEEPING = {"_name_or_path", "architectures", "dtype", "transformers_version", "use_cache"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """The state of a dialogue after its last embedding token; nothing changes it, every operation gives a new one.

    `states` maps "LAYER.keys" and "LAYER.values" (heads, length, head dim) of full-attention layers, "LAYER.conv"
    (channels, kernel) and "LAYER.recurrent" (heads, key dim, value dim) of linear ones to tensors on one device.
    `embedding` is the hidden state at that token: the source embedding after turn 1, not of unit length. `model` and
    `views` are fingerprints of what read what.
    """

    states: Mapping[str, Tensor]
    embedding: Float[Tensor, " dim"]
    length: int
    next_position: int
    model: str
    views: str
    storage: Storage = "full"

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (*self.states.values(), self.embedding))

    def to(self, device: str | torch.device) -> Snapshot:
        """The snapshot on another device."""
        states = {name: tensor.to(device) for name, tensor in self.states.items()}
        return replace(self, states=states, embedding=self.embedding.to(device))

    def stored(self, storage: Storage) -> Snapshot:
        """The snapshot in a narrower form; the embedding stays as it is.

        Raises ConfigError for a form that is not narrower than its own: what was lost does not come back.
        """
        forms = get_args(Storage)
        if storage not in forms or forms.index(storage) < forms.index(self.storage):
            raise ConfigError(f"a snapshot stored as {self.storage} cannot become {storage!r}: start from the product")
        if storage == self.storage:
            return self
        states: dict[str, Tensor] = {}
        for name, tensor in self.states.items():
            states |= {name: tensor.bfloat16()} if storage == "bf16" else _as_int8(name, tensor)
        return replace(self, states=states, storage=storage)

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        about = {"format": _FORMAT, "length": self.length, "next_position": self.next_position}
        about |= {"model": self.model, "views": self.views, "storage": self.storage}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.states.items()}
        tensors["embedding"] = self.embedding.cpu().contiguous()
        write_bytes(path, save(tensors, {name: str(value) for name, value in about.items()}))

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> Snapshot:
        """Read what `save` wrote. Raises MissingDataError without the file, SnapshotError if it is damaged."""
        if not path.is_file():
            raise MissingDataError(f"{path}: no such snapshot: start from the product, and save it")
        try:
            with safe_open(path, "pt", str(device)) as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if about.get("format") != _FORMAT:
                raise SnapshotError(f"{path}: not a snapshot of this version: start again from the product")
            return cls(
                embedding=tensors.pop("embedding"),
                states=tensors,
                length=int(about["length"]),
                next_position=int(about["next_position"]),
                model=about["model"],
                views=about["views"],
                storage=about["storage"],
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise SnapshotError(f"{path}: a damaged snapshot ({error}): start again from the product") from error

    def require(self, model: Reader, views: Sequence[ViewPixels] | None = None) -> None:
        """Raise SnapshotError unless this model made the snapshot, from these views if they are given."""
        if self.model != fingerprint(model):
            raise SnapshotError(
                "the snapshot was made by another model, or with other settings: start again from the product"
            )
        if views is not None and self.views != views_fingerprint(views):
            raise SnapshotError("the snapshot was made from other images: start again from the product")


def start(model: Reader, dialogues: Sequence[Dialogue]) -> list[Snapshot]:
    """The snapshots after the first turns of dialogues with one embedding each, such as documents."""
    features, rows = model.view_features(unique_views(dialogues))
    found: dict[int, Snapshot] = {}
    made_by = fingerprint(model)
    with torch.inference_mode():
        for group in length_groups([len(dialogue) for dialogue in dialogues], max_tokens=model.max_batch_tokens):
            # Padding on the left: what stood to the right of a dialogue would enter its recurrent state.
            batch = to_device(pad(dialogues, group, rows, left=True), model.device)
            cache = DynamicCache(config=model.network.config)
            embeddings = model.read(batch, features, cache)
            lengths = [len(dialogues[member]) for member in group]
            pieces = zip(group, _split(cache, lengths), embeddings.unbind(0), strict=True)
            for member, states, embedding in pieces:
                dialogue = dialogues[member]
                found[member] = Snapshot(
                    states=states,
                    embedding=embedding.clone(),
                    length=len(dialogue),
                    next_position=_after(dialogue),
                    model=made_by,
                    views=views_fingerprint(dialogue.views),
                )
    return [found[member] for member in range(len(dialogues))]


def ask(model: Reader, snapshots: Sequence[Snapshot], texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
    """Hidden states at the embedding tokens of one more turn: text i after snapshot i, which may stand repeatedly.

    Raises SnapshotError if another model made a snapshot.
    """
    turns = _turns(model, snapshots, texts)
    found: dict[int, Tensor] = {}
    lengths = [snapshot.length + len(turn) for snapshot, turn in zip(snapshots, turns, strict=True)]
    with torch.inference_mode():
        for group in length_groups(lengths, max_tokens=model.max_batch_tokens):
            embeddings = _continue(model, snapshots, turns, group)[0]
            found |= dict(zip(group, embeddings.unbind(0), strict=True))
    return torch.stack([found[member] for member in range(len(texts))]) if texts else _none(model)


def go_on(model: Reader, snapshots: Sequence[Snapshot], texts: Sequence[str]) -> list[Snapshot]:
    """The snapshots after one more turn: text i after snapshot i, which may stand repeatedly.

    Raises SnapshotError if another model made a snapshot.
    """
    turns = _turns(model, snapshots, texts)
    found: dict[int, Snapshot] = {}
    with torch.inference_mode():
        for group in _of_equal_turns(snapshots, turns, model.max_batch_tokens):
            embeddings, cache = _continue(model, snapshots, turns, group)
            lengths = [snapshots[member].length + len(turns[member]) for member in group]
            pieces = zip(group, _split(cache, lengths), embeddings.unbind(0), lengths, strict=True)
            for member, states, embedding, length in pieces:
                found[member] = replace(
                    snapshots[member],
                    states=states,
                    embedding=embedding.clone(),
                    length=length,
                    next_position=_after(turns[member]),
                    storage="full",
                )
    return [found[member] for member in range(len(texts))]


def snapshot_bytes(model: Reader, tokens: int) -> int:
    """Bytes of a snapshot of so many tokens, as computed."""
    text, number = model.network.config.text_config, model.network.dtype.itemsize
    linear = sum(kind == "linear_attention" for kind in text.layer_types)
    keys = text.linear_num_key_heads * text.linear_key_head_dim
    values = text.linear_num_value_heads * text.linear_value_head_dim
    conv = (2 * keys + values) * text.linear_conv_kernel_dim * number
    recurrent = values * text.linear_key_head_dim * torch.float32.itemsize
    full = 2 * text.num_key_value_heads * text.head_dim * number * tokens
    return int(linear * (conv + recurrent) + (len(text.layer_types) - linear) * full + model.dim * number)


def fingerprint(model: Reader) -> str:
    """SHA-256 over weights, configuration, settings and the tokens of the dialogue; computed again when they change."""
    weights = dict(model.network.named_parameters())
    versions = len(weights), sum(weight._version for weight in weights.values())
    state = (versions, repr(asdict(model.settings)), model.network.dtype)
    known = _FINGERPRINTS.get(model.network)
    if known is None or known[0] != state:
        digest = sha256(repr((asdict(model.settings), asdict(model.dialogues.vocabulary))).encode())
        config = model.network.config
        for part in (config.text_config.to_dict(), config.vision_config.to_dict()):
            shape = {name: value for name, value in part.items() if name not in _HOUSEKEEPING}
            digest.update(json.dumps(shape, sort_keys=True, default=str).encode())
        for name, weight in weights.items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            for part in quantization.parts(weight.detach()):
                digest.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
        known = _FINGERPRINTS[model.network] = (state, digest.hexdigest())
    return known[1]


_FINGERPRINTS: WeakKeyDictionary[Any, tuple[object, str]] = WeakKeyDictionary()


def views_fingerprint(views: Sequence[ViewPixels]) -> str:
    """SHA-256 over the digests of resized views, in their order."""
    return sha256(b"".join(view.digest for view in views)).hexdigest()


def _turns(model: Reader, snapshots: Sequence[Snapshot], texts: Sequence[str]) -> list[Dialogue]:
    for snapshot in {id(snapshot): snapshot for snapshot in snapshots}.values():
        snapshot.require(model)
    return [
        model.dialogues.turn(text, length=snapshot.length, next_position=snapshot.next_position)
        for snapshot, text in zip(snapshots, texts, strict=True)
    ]


def _continue(
    model: Reader, snapshots: Sequence[Snapshot], turns: Sequence[Dialogue], group: Sequence[int]
) -> tuple[Float[Tensor, "group dim"], DynamicCache]:
    """Embeddings of a group's turns, and the state after them if all turns of the group are equally long."""
    before = [snapshots[member] for member in group]
    batch = to_device(pad(turns, group, {}), model.device)
    cache = _join(model, before)
    lengths = [snapshot.length for snapshot in before]
    batch = replace(batch, mask=_mask(lengths, batch))
    return model.read(batch, None, cache), cache


def _mask(lengths: Sequence[int], batch: Batch) -> Tensor | None:
    """Which earlier and new tokens are real, if the earlier ones are padded on the left; later ones need no mask."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    mask = torch.ones(len(lengths), longest + batch.token_ids.shape[1], dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, : longest - length] = 0
    return mask.to(batch.token_ids.device)


def _of_equal_turns(snapshots: Sequence[Snapshot], turns: Sequence[Dialogue], max_tokens: int) -> Iterator[list[int]]:
    """Groups of members whose turns are equally long: padding after them would enter their recurrent states."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for member, turn in enumerate(turns):
        by_length[len(turn)].append(member)
    for length, members in by_length.items():
        lengths = [snapshots[member].length + length for member in members]
        for group in length_groups(lengths, max_tokens=max_tokens):
            yield [members[index] for index in group]


def _split(cache: DynamicCache, lengths: Sequence[int]) -> Iterator[dict[str, Tensor]]:
    """The states of every row of a cache, without the padding on the left of its keys and values."""
    for row, length in enumerate(lengths):
        states: dict[str, Tensor] = {}
        for number, layer in enumerate(cache.layers):
            if _is_linear(layer):
                states[f"{number}.conv"] = layer.conv_states[0][row].clone()
                states[f"{number}.recurrent"] = layer.recurrent_states[0][row].clone()
            else:
                states[f"{number}.keys"] = layer.keys[row, :, -length:].clone()
                states[f"{number}.values"] = layer.values[row, :, -length:].clone()
        yield states


def _join(model: Reader, snapshots: Sequence[Snapshot]) -> DynamicCache:
    """A cache whose rows are the snapshots: keys and values padded on the left, fixed states side by side."""
    cache = DynamicCache(config=model.network.config)
    longest = max(snapshot.length for snapshot in snapshots)
    dtype, device = model.network.dtype, model.device

    def rows(name: str, wanted: torch.dtype) -> list[Tensor]:
        return [_expanded(snapshot.states, name, wanted, device) for snapshot in snapshots]

    for number, layer in enumerate(cache.layers):
        if _is_linear(layer):
            layer.update_conv_state(torch.stack(rows(f"{number}.conv", dtype)))
            layer.update_recurrent_state(torch.stack(rows(f"{number}.recurrent", torch.float32)))
        else:
            layer.update(*(_padded(rows(f"{number}.{part}", dtype), longest) for part in ("keys", "values")))
    return cache


def _is_linear(layer: Any) -> bool:
    return hasattr(layer, "recurrent_states")


def _padded(rows: Sequence[Tensor], longest: int) -> Tensor:
    return torch.stack([F.pad(row, (0, 0, longest - row.shape[1], 0)) for row in rows])


def _as_int8(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Rounded to 127 steps of the largest value of each vector."""
    values = tensor.float()
    scale = values.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _INT8_MAX
    return {name: torch.round(values / scale).to(torch.int8), name + _SCALE: scale}


def _expanded(states: Mapping[str, Tensor], name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    values, scale = states[name].to(device), states.get(name + _SCALE)
    return values.to(dtype) if scale is None else (values * scale.to(device)).to(dtype)


def _after(dialogue: Dialogue) -> int:
    """The position after the last token, which is text."""
    return int(dialogue.position_ids[0, -1]) + 1


def _none(model: Reader) -> Tensor:
    return torch.empty(0, model.dim, device=model.device)
