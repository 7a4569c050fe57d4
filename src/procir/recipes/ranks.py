"""Several processes of one run, as torchrun or accelerate starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from procir.errors import ConfigError
from procir.model.sharded import ShardedEmbedder
from procir.protocols import ConversationEmbedder
from procir.train.distributed import Team

_PATIENCE = timedelta(days=1)
"""The first process may decode a whole catalogue while the others wait; a dead one is noticed by the launcher."""

_MEETING = timedelta(minutes=10)
"""How long processes look for each other at the start."""

_REMEDY = "start all processes with torchrun -m procir.cli, or unset WORLD_SIZE to run alone"


@dataclass(frozen=True, slots=True)
class Rank:
    """This process among `count`; `local` is its number on its machine."""

    number: int
    count: int
    local: int

    def device(self, name: str) -> str:
        """The device of that name; each process of a machine has a GPU of its own."""
        return f"cuda:{self.local}" if name == "cuda" and self.count > 1 else name

    def share(self, embedder: ConversationEmbedder) -> ConversationEmbedder:
        """The embedder, sharing the work among all processes."""
        return ShardedEmbedder(embedder, self.number, self.count) if self.count > 1 else embedder

    @property
    def team(self) -> Team:
        """The processes as training sees them."""
        return Team(self.number, self.count)


ALONE = Rank(0, 1, 0)


@contextmanager
def this_rank() -> Iterator[Rank]:
    """This process by the launcher's environment variables; alone without them.

    Raises ConfigError if they are incomplete, or if the other processes cannot be reached.
    """
    count, local = _number("WORLD_SIZE", "1"), _number("LOCAL_RANK", "0")
    if count == 1:
        yield ALONE
        return
    _meet(count)
    try:
        yield Rank(dist.get_rank(), count, local)
    finally:
        dist.destroy_process_group()


def _number(name: str, default: str) -> int:
    value = os.environ.get(name, default)
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r}, not a number: {_REMEDY}")
    return int(value)


def _meet(count: int) -> None:
    # Tensors on a GPU go through NCCL, everything else through Gloo.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, _ = next(iter(rendezvous("env://", timeout=_MEETING)))
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"WORLD_SIZE is {count}, but the others are out of reach ({reason}): {_REMEDY}") from error
