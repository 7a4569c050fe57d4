"""A product, and what was asked of it so far: `model.start(product).refine("in navy").refine("without the hood")`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from procir.model import prefix
from procir.model.prefix import Snapshot
from procir.model.reader import Reader, unit_rows


@dataclass(frozen=True, slots=True)
class Conversation:
    """The state after some turns; every refinement is a new conversation, so that any of them may be gone back to."""

    reader: Reader
    snapshot: Snapshot

    @property
    def embedding(self) -> Float32[np.ndarray, " dim"]:
        """Of unit length: the document embedding of the product at the start, a query embedding after a refinement."""
        found: Float32[np.ndarray, " dim"] = unit_rows(self.snapshot.embedding[None])[0]
        return found

    def refine(self, text: str) -> Conversation:
        """One more turn. Raises DataError for an empty text, ContextOverflowError when the model's context is full."""
        return Conversation(self.reader, prefix.go_on(self.reader, [self.snapshot], [text])[0])
