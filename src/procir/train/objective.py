"""The objective of a batch: what the model says about its triplets, and the losses between that (section 4.7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from procir.model.embedder import ProCIR
from procir.model.losses import false_negatives, symmetric_info_nce
from procir.train.config import TrainConfig
from procir.train.data import StepExamples
from procir.train.passes import Places, embeddings, lay_out


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
    found = embeddings(model, lay_out(model, examples, config, slice(None)))
    return objective(found, sources, targets, config)


def product_numbers(
    examples: StepExamples, device: torch.device
) -> tuple[Int64[Tensor, " batch"], Int64[Tensor, "batch turns"]]:
    """The numbers of the source and the target products of a batch, on a device."""
    return torch.from_numpy(examples.sources).to(device), torch.from_numpy(examples.targets).to(device)
