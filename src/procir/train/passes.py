"""The forward passes of a step, laid out before they are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.layout import Layout
from procir.train.config import TrainConfig
from procir.train.data import StepExamples


@dataclass(frozen=True, slots=True)
class Places:
    """Where the embeddings of a triplet, or of a conversation, stand beside each other; None where a variant lacks it.

    A conversation has a query, a document and a caption for each of its texts.
    """

    source: int | None
    queries: range
    documents: range
    source_caption: int | None
    captions: range
    count: int

    @classmethod
    def of(cls, config: TrainConfig) -> Places:
        """The places of a run: s, q of each text, d of each target, t of the source, t of each target."""
        two, aligned, turns = config.variant.two_turns, config.variant.alignment, config.turns
        queries = range(int(two), int(two) + turns)
        documents = range(queries.stop, queries.stop + turns)
        first = documents.stop + int(two and aligned)
        captions = range(first, first + turns * int(aligned))
        return cls(
            source=0 if two else None,
            queries=queries,
            documents=documents,
            source_caption=documents.stop if two and aligned else None,
            captions=captions,
            count=captions.stop,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Some of a process's rows of a step, as one forward pass reads them.

    State i of the layout goes to place `to`[i] of the rows' `places` places, row by row. An `idle` pass counts for
    nothing: it is read because another process has more to read.
    """

    rows: slice
    layout: Layout
    to: Int64[Tensor, " states"]
    count: int
    places: int
    idle: bool = False


def lay_out(model: ProCIR, examples: StepExamples, config: TrainConfig, rows: slice) -> Pass:
    """The pass of some rows; a dialogue that stands in several of them is read once."""
    at = Places.of(config)
    listed: list[tuple[int, int, Dialogue]] = [(row, 0, query) for row, query in enumerate(examples.queries[rows])]
    for places, part in ((at.documents, examples.documents), (at.captions, examples.target_captions)):
        listed += [(row, places[turn], own) for row, each in enumerate(part[rows]) for turn, own in enumerate(each)]
    listed += [(row, at.source_caption or 0, own) for row, own in enumerate(examples.source_captions[rows])]
    to = [row * at.count + first + turn for row, first, own in listed for turn in range(len(own.embedding_at))]
    layout = model.lay_out([dialogue for *_, dialogue in listed])
    count = len(examples.queries[rows])
    return Pass(rows=rows, layout=layout, to=torch.tensor(to), count=count, places=at.count)


def lay_out_all(model: ProCIR, examples: StepExamples, config: TrainConfig) -> list[Pass]:
    """The passes of all rows, one for each of their `chunks`."""
    return [lay_out(model, examples, config, rows) for rows in chunks(examples, config)]


def chunks(examples: StepExamples, config: TrainConfig) -> list[slice]:
    """The rows that go through the model together: so many, those of so many tokens, or all, as the configuration says.

    Tokens are those of text and images; a dialogue of several rows of a chunk counts once. A row of more tokens than
    `config.chunk_tokens` is a chunk of its own.
    """
    count = len(examples.queries)
    if config.chunk_tokens is None:
        size = config.chunk or count
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]
    starts, held = [0], dict[int, int]()
    for row in range(count):
        own = {id(dialogue): len(dialogue) for dialogue in examples.dialogues(slice(row, row + 1))}
        if row > starts[-1] and sum((held | own).values()) > config.chunk_tokens:
            starts.append(row)
            held = {}
        held |= own
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], count], strict=True)]


def embeddings(model: ProCIR, one: Pass) -> Float[Tensor, "rows places dim"]:
    """The embeddings of a pass in their `Places`; zeros where a conversation has ended."""
    states = model.states(one.layout)
    at = one.to.to(states.device)
    found = states.new_zeros(one.count, one.places, model.dim)
    return found.index_put((at // one.places, at % one.places), states)  # no view: FSDP would warn of changing it
