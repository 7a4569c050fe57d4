"""Processes that train together: each reads its share of a batch, and all take the same step.

Weights and optimisers are whole in every process, and equal, unless they are shared out (`procir.train.sharding`). What
goes between processes is explicit and little: the embeddings of a batch, one sum of all gradients a step, and whether
anybody was told to stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from procir.errors import TrainingError

_Said = TypeVar("_Said")


@dataclass(frozen=True, slots=True)
class Team:
    """This process, `number` from 0, among `count` that call everything below alike."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that logs, saves and talks."""
        return self.number == 0

    def rows(self, total: int) -> slice:
        """This process's share of so many rows: neighbouring ones, shares differing by one row at most."""
        return slice(self.number * total // self.count, (self.number + 1) * total // self.count)

    def whole(self, own: Float[Tensor, "own places dim"], total: int) -> Float[Tensor, "total places dim"]:
        """All processes' rows in their order, without gradients; `own` are those of `rows(total)`."""
        if self.count == 1:
            return own.detach()
        # Rows of the others are zeros here, so that the sum is the concatenation, also of uneven shares.
        result = own.new_zeros(total, *own.shape[1:])
        result[self.rows(total)] = own.detach()
        self._sum(result)
        return result

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Replace every weight's gradient by the sum over processes, in one reduction.

        A weight without gradient counts as zeros; one that has a gradient nowhere keeps none, so that the optimiser
        leaves it alone as it does in one process.
        """
        if self.count == 1:
            return
        parts = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        used = parts[0].new_tensor([weight.grad is not None for weight in weights])
        flat = torch.cat([used, *(part.reshape(-1) for part in parts)])
        self._sum(flat)
        used, *sums = torch.split(flat, [len(weights), *(weight.numel() for weight in weights)])
        for weight, total, users in zip(weights, sums, used.tolist(), strict=True):
            weight.grad = total.view_as(weight).to(weight.dtype) if users else None

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return flag
        said = torch.tensor([int(flag)])
        self._sum(said)
        return bool(said.item())

    def said(self, own: _Said) -> list[_Said]:
        """What each process has, by its number; small things of Python."""
        found = [own] * self.count
        if self.count > 1:
            with _together():
                dist.all_gather_object(found, own)
        return found

    def require_equal(self, facts: Mapping[str, object]) -> None:
        """Raise TrainingError in every process if one differs from the first in a fact."""
        if self.count == 1:
            return
        said = self.said(facts)
        for number, other in enumerate(said):
            wrong = [f"{name}: {other[name]}, not {said[0][name]}" for name in facts if other[name] != said[0][name]]
            if wrong:
                raise TrainingError(
                    f"process {number} of {self.count} differs: {'; '.join(wrong)}; give all the same files"
                )

    @staticmethod
    def _sum(values: Tensor) -> None:
        with _together():
            dist.all_reduce(values)


ALONE = Team()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(f"another process of this run has ended, see its message: {error}") from error
