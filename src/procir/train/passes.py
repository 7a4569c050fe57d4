"""The forward passes of a step, laid out before they are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from procir.model.embedder import ProCIR
from procir.model.layout import Layout
from procir.train.data import StepExamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Some of a process's rows of a step, as one forward pass reads them; `sizes` are states by kind of dialogue."""

    rows: slice
    layout: Layout
    sizes: tuple[int, ...]


def lay_out(model: ProCIR, examples: StepExamples, rows: slice) -> Pass:
    """The pass of some rows; a dialogue that stands in several of them is read once."""
    listed = (examples.queries, examples.documents, examples.source_captions, examples.target_captions)
    parts = [part[rows] for part in listed if part]
    sizes = tuple(len(part) * len(part[0].embedding_at) for part in parts)
    return Pass(rows=rows, layout=model.lay_out([dialogue for part in parts for dialogue in part]), sizes=sizes)


def lay_out_all(model: ProCIR, examples: StepExamples, chunk: int | None) -> list[Pass]:
    """The passes of all rows, `chunk` at a time, or in one."""
    count = len(examples.queries)
    size = chunk or count
    return [lay_out(model, examples, slice(start, start + size)) for start in range(0, count, size)]


def embeddings(model: ProCIR, one: Pass) -> Float[Tensor, "rows places dim"]:
    """The embeddings of a pass: one place each for s (two turns only), q, d, t of the source, t of the target.

    Places that the variant does without are left out.
    """
    count = one.sizes[-1]  # documents and captions have one embedding each
    parts = torch.split(model.states(one.layout), list(one.sizes))
    return torch.cat([part.view(count, -1, model.dim) for part in parts], dim=1)
