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
from procir.train.passes import embeddings, lay_out


def objective(
    found: Float[Tensor, "batch places dim"],
    sources: Int64[Tensor, " batch"],
    targets: Int64[Tensor, " batch"],
    config: TrainConfig,
) -> dict[str, Float[Tensor, ""]]:
    """The parts of the objective and their weighted sum `loss` (formula 12), of a whole batch's `embeddings`.

    Equal numbers in `sources` or in `targets` are equal products.
    """
    variant, tau = config.variant, config.temperature
    turns = 2 if variant.two_turns else 1
    documents = found[:, turns]
    result = {"cir": symmetric_info_nce(found[:, turns - 1], documents, targets, temperature=tau)}
    result["loss"] = result["cir"]
    if variant.alignment:
        result["document"] = symmetric_info_nce(documents, found[:, -1], targets, temperature=tau)
        result["loss"] = result["loss"] + config.document_weight * result["document"]
    if variant.alignment and variant.two_turns:
        result["source"] = symmetric_info_nce(found[:, 0], found[:, turns + 1], sources, temperature=tau)
        result["loss"] = result["loss"] + config.source_weight * result["source"]
    return result


@torch.no_grad()
def similarities(
    found: Float[Tensor, "batch places dim"], targets: Int64[Tensor, " batch"], config: TrainConfig
) -> dict[str, float]:
    """Mean cosine of queries to their targets (`positive`) and to the batch's other products (`negative`).

    `negative` is left out where all triplets of a batch have one target.
    """
    turns = 2 if config.variant.two_turns else 1
    queries, documents = (F.normalize(found[:, place].float(), dim=-1) for place in (turns - 1, turns))
    cosines = queries @ documents.T
    other = ~false_negatives(targets) & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    result = {"positive": cosines.diagonal().mean().item()}
    return result | ({"negative": cosines[other].mean().item()} if other.any() else {})


def losses(model: ProCIR, examples: StepExamples, config: TrainConfig) -> dict[str, Float[Tensor, ""]]:
    """The `objective` of a batch that this process has all dialogues of, with gradients."""
    sources, targets = product_numbers(examples, model.device)
    found = embeddings(model, lay_out(model, examples, slice(None)))
    return objective(found, sources, targets, config)


def product_numbers(
    examples: StepExamples, device: torch.device
) -> tuple[Int64[Tensor, " batch"], Int64[Tensor, " batch"]]:
    """The numbers of the source and the target products of a batch, on a device."""
    return torch.from_numpy(examples.sources).to(device), torch.from_numpy(examples.targets).to(device)
