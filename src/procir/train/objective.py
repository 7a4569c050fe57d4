"""The objective of a batch: what the model says about its triplets, and the losses between that (section 4.7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.losses import false_negatives, symmetric_info_nce
from procir.train.config import TrainConfig
from procir.train.data import StepExamples

ALL = slice(None)


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


def embeddings(
    model: ProCIR, examples: StepExamples, config: TrainConfig, rows: slice = ALL
) -> Float[Tensor, "rows places dim"]:
    """The embeddings of some triplets in their `Places`; zeros where a conversation has ended.

    A dialogue that stands in several of these rows is read once.
    """
    at = Places.of(config)
    count = len(examples.queries[rows])
    listed: list[tuple[int, int, Dialogue]] = [(row, 0, query) for row, query in enumerate(examples.queries[rows])]
    for places, part in ((at.documents, examples.documents), (at.captions, examples.target_captions)):
        listed += [(row, places[turn], own) for row, each in enumerate(part[rows]) for turn, own in enumerate(each)]
    listed += [(row, at.source_caption or 0, own) for row, own in enumerate(examples.source_captions[rows])]
    states = model.embed([dialogue for *_, dialogue in listed])
    flat = [row * at.count + first + turn for row, first, own in listed for turn in range(len(own.embedding_at))]
    found = states.new_zeros(count * at.count, model.dim)
    return found.index_copy(0, torch.tensor(flat, device=states.device), states).view(count, at.count, model.dim)


def objective(
    found: Float[Tensor, "batch places dim"],
    sources: Int64[Tensor, " batch"],
    targets: Int64[Tensor, "batch turns"],
    config: TrainConfig,
) -> dict[str, Float[Tensor, ""]]:
    """The parts of the objective and their weighted sum `loss` (formula 12), of a whole batch's `embeddings`.

    Equal numbers in `sources` or in a column of `targets` are equal products; -1 is none. In conversations each part is
    taken turn by turn, and a turn counts by how many rows get as far.
    """
    variant, tau, at = config.variant, config.temperature, Places.of(config)
    queries, documents, captions = (
        found[:, part.start : part.stop] for part in (at.queries, at.documents, at.captions)
    )
    result = {"cir": _turn_by_turn(queries, documents, targets, tau)}
    result["loss"] = result["cir"]
    if variant.alignment:
        result["document"] = _turn_by_turn(documents, captions, targets, tau)
        result["loss"] = result["loss"] + config.document_weight * result["document"]
    if at.source is not None and at.source_caption is not None:
        source, caption = found[:, at.source], found[:, at.source_caption]
        result["source"] = symmetric_info_nce(source, caption, sources, temperature=tau)
        result["loss"] = result["loss"] + config.source_weight * result["source"]
    return result


def _turn_by_turn(
    left: Float[Tensor, "batch turns dim"],
    right: Float[Tensor, "batch turns dim"],
    targets: Int64[Tensor, "batch turns"],
    temperature: float,
) -> Float[Tensor, ""]:
    going = targets >= 0
    shares = (going.sum(0) / going.sum()).tolist()
    parts = [
        share * symmetric_info_nce(left[rows, turn], right[rows, turn], targets[rows, turn], temperature=temperature)
        for turn, (rows, share) in enumerate(zip(going.T, shares, strict=True))
        if share
    ]
    return torch.stack(parts).sum()


@torch.no_grad()
def similarities(
    found: Float[Tensor, "batch places dim"], targets: Int64[Tensor, "batch turns"], config: TrainConfig
) -> dict[str, float]:
    """Mean cosine of queries to their targets (`positive`) and to the batch's other products (`negative`).

    Those of later turns are `positive_2`, `negative_2` and so on. A mean of nothing is left out.
    """
    at = Places.of(config)
    result: dict[str, float] = {}
    for turn, (query, document) in enumerate(zip(at.queries, at.documents, strict=True)):
        rows, name = targets[:, turn] >= 0, f"_{turn + 1}" if turn else ""
        queries, documents = (F.normalize(found[rows, place].float(), dim=-1) for place in (query, document))
        cosines, numbers = queries @ documents.T, targets[rows, turn]
        other = ~false_negatives(numbers) & ~torch.eye(len(numbers), dtype=torch.bool, device=numbers.device)
        means = {"positive": cosines.diagonal(), "negative": cosines[other]}
        result |= {f"{kind}{name}": values.mean().item() for kind, values in means.items() if len(values)}
    return result


def losses(model: ProCIR, examples: StepExamples, config: TrainConfig) -> dict[str, Float[Tensor, ""]]:
    """The `objective` of a batch that this process has all dialogues of, with gradients."""
    sources, targets = product_numbers(examples, model.device)
    return objective(embeddings(model, examples, config), sources, targets, config)


def product_numbers(
    examples: StepExamples, device: torch.device
) -> tuple[Int64[Tensor, " batch"], Int64[Tensor, "batch turns"]]:
    """The numbers of the source and the target products of a batch, on a device."""
    return torch.from_numpy(examples.sources).to(device), torch.from_numpy(examples.targets).to(device)
