"""Several processes of one run, as torchrun or accelerate starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from procir.model.sharded import ShardedEmbedder
from procir.protocols import TurnEmbedder

_PATIENCE = timedelta(days=1)
"""The first process may decode a whole catalogue while the others wait; a dead one is noticed by the launcher."""


@dataclass(frozen=True, slots=True)
class Rank:
    """This process among `count`; `local` is its number on its machine."""

    number: int
    count: int
    local: int

    def device(self, name: str) -> str:
        """The device of that name; each process of a machine has a GPU of its own."""
        return f"cuda:{self.local}" if name == "cuda" and self.count > 1 else name

    def share(self, embedder: TurnEmbedder) -> TurnEmbedder:
        """The embedder, sharing the work among all processes."""
        return ShardedEmbedder(embedder, self.number, self.count) if self.count > 1 else embedder


ALONE = Rank(0, 1, 0)


@contextmanager
def this_rank() -> Iterator[Rank]:
    """This process by the launcher's environment variables; alone without them."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Rank(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()
