"""What a run starts from, in so far as a checkpoint of it can be resumed with nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import torch

from procir.model import adapters
from procir.model.embedder import ProCIR
from procir.train.config import CONDUCT
from procir.train.sft_config import RunConfig

# Entries of a configuration that say how it was stored or loaded, not what it computes.
_HOUSEKEEPING = {"_name_or_path", "architectures", "dtype", "transformers_version", "use_cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Facts that must be the same when a run is resumed, all of them JSON."""

    settings: Mapping[str, Any]
    """The configuration of the run, but for `CONDUCT`."""
    model: Mapping[str, Any]
    """Shape, settings and vocabulary of the model."""
    frozen: int | None
    """A sum of the weights that adapters leave as they are; None where all weights are in the checkpoint."""
    data_hash: str
    """The training data."""

    def refusals(self, before: Origin) -> list[str]:
        """What is another than it was; the data aside."""
        changed = [f"{change} (setting)" for change in _changes(before.settings, self.settings)]
        changed += [f"{change} (model)" for change in _changes(before.model, self.model)]
        if not changed and before.frozen != self.frozen:
            changed.append("the weights that the adapters were trained beside are others")
        return changed


def origin(model: ProCIR, config: RunConfig, data_hash: str) -> Origin:
    """What a run of a model starts from; the model is already that which learns."""
    settings = {name: value for name, value in asdict(config).items() if name not in CONDUCT}
    facts = {
        **{part: _shape(getattr(model.network.config, f"{part}_config")) for part in ("text", "vision")},
        "dialogue": asdict(model.settings),
        "vocabulary": _vocabulary(model.tokenizer),
    }
    frozen = _sum_of_frozen(model.network) if adapters.present(model.network) else None
    return Origin(
        settings=json.loads(json.dumps(settings)), model=json.loads(json.dumps(facts, default=str)), frozen=frozen,
        data_hash=data_hash,
    )  # fmt: skip


def _shape(config: Any) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in _HOUSEKEEPING}


def _vocabulary(tokenizer: Any) -> dict[str, Any]:
    numbered = json.dumps(sorted((number, token) for token, number in tokenizer.get_vocab().items()))
    return {"tokens": len(tokenizer), "hash": sha256(numbered.encode()).hexdigest()[:12]}


def _sum_of_frozen(network: Any) -> int:
    """The bits of the weights as whole numbers, summed; the same on every device and in every order."""
    total = 0
    for place, weight in enumerate(network.parameters(), start=1):
        if not weight.requires_grad:
            total += place * int(weight.detach().contiguous().view(torch.int16).sum(dtype=torch.int64).item())
    return total


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    changes = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += _changes(old, new, f"{prefix}{name}.")
        elif old != new:
            changes.append(f"{prefix}{name} was {old!r} and is now {new!r}")
    return changes
