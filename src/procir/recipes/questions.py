"""Questions about garments, for lessons: every attribute asks which of its values shows, and a linear layer answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

from procir.catalog.atelier.comparison import columns
from procir.catalog.atelier.garments import GROUPS

NOT_SHOWN = -1
"""In place of a value's number where nothing shows."""

GROUP = "group"
"""The question for the kind of garment."""


@cache
def questions() -> Mapping[str, tuple[str, ...]]:
    """Every attribute with its values over all groups, and the group itself."""
    found: dict[str, dict[str, None]] = {}
    for group in GROUPS:
        for attribute in columns(group):
            found.setdefault(attribute.name, {}).update(dict.fromkeys(attribute.values))
    return {name: tuple(values) for name, values in found.items()} | {GROUP: tuple(group.name for group in GROUPS)}


def numbered(shown: Mapping[str, str]) -> list[int]:
    """The numbers of the values that show, in the order of `questions`."""
    return [values.index(shown[name]) if name in shown else NOT_SHOWN for name, values in questions().items()]


def width() -> int:
    """How many scores answer all questions: one a value."""
    return sum(map(len, questions().values()))


def cross_entropy(scores: Float[Tensor, "items values"], asked: Int16[np.ndarray, "items questions"]) -> Tensor:
    """Cross-entropy of all answers that the items give, an item."""
    answers = torch.from_numpy(asked.astype(np.int64)).to(scores.device)
    parts = [
        F.cross_entropy(part, right, ignore_index=NOT_SHOWN, reduction="sum")
        for part, right in zip(_by_question(scores), answers.unbind(1), strict=True)
    ]
    return torch.stack(parts).sum() / len(scores)


def given(scores: Float[Tensor, "items values"]) -> Int16[np.ndarray, "items questions"]:
    """The best value of every question."""
    return np.stack([part.argmax(1).cpu().numpy() for part in _by_question(scores)], axis=1).astype(np.int16)


def marks(
    answers: Int16[np.ndarray, "items questions"], asked: Int16[np.ndarray, "items questions"]
) -> dict[str, float]:
    """Share of right answers by question; a question that no item answers is left out."""
    right, shown = answers == asked, asked != NOT_SHOWN
    return {
        name: round(float(right[shown[:, column], column].mean()), 3)
        for column, name in enumerate(questions())
        if shown[:, column].any()
    }


def _by_question(scores: Float[Tensor, "items values"]) -> tuple[Float[Tensor, "items _"], ...]:
    return torch.split(scores, [len(values) for values in questions().values()], dim=1)
