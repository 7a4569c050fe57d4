"""The exact gradient of a batch's objective, however many processes and passes share the work.

The objective needs all embeddings of the batch at once, but not all that led to them. So the embeddings of a process's
rows are computed, those of all processes put together, and the gradient of the objective is taken at the embeddings;
then each process sends the part of its rows back through its model. In chunks (GradCache, Gao et al. 2021), embeddings
are first computed without what a backward pass needs, and chunk by chunk a second time with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.model.packed import by_way_of
from procir.train.config import TrainConfig
from procir.train.data import StepExamples
from procir.train.distributed import ALONE, Team
from procir.train.objective import objective, product_numbers, similarities
from procir.train.passes import Pass, embeddings, lay_out_all
from procir.train.sft_config import RunConfig
from procir.train.sharding import Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a batch came to: the parts of the objective, and mean cosines."""

    losses: Mapping[str, float]
    similarities: Mapping[str, float]


def accumulate(
    model: ProCIR,
    examples: StepExamples,
    config: TrainConfig,
    team: Team = ALONE,
    passes: Sequence[Pass] | None = None,
    shards: Shards | None = None,
) -> Outcome:
    """Put the gradient of the batch's objective into the weights; it is the same in every process.

    `examples` has this process's dialogues and all product numbers; `passes` are its rows as `lay_out_all` gives them,
    which is done here unless it was done before. Memory for the backward pass is that of a chunk's triplets; a view
    that several chunks show is read in each. With `shards` the model is theirs, and sums the gradients of all processes
    on the way back.
    """
    if passes is None:
        passes = lay_out_all(model, examples, config)
    if shards is not None:
        passes = shards.level(passes)
    alone = len(passes) == 1
    with torch.set_grad_enabled(alone):
        parts = [_embeddings(model, one, config) for one in passes]
    sources, targets = product_numbers(examples, model.device)
    own_parts = [part for one, part in zip(passes, parts, strict=True) if not one.idle]
    found = team.whole(torch.cat(own_parts), len(targets)).requires_grad_()
    values = objective(found, sources, targets, config)
    (gradient,) = torch.autograd.grad(values["loss"], found)
    own = gradient[team.rows(len(targets))]
    for one, part in zip(passes, parts, strict=True):
        states = part if alone else _embeddings(model, one, config)
        states.backward(torch.zeros_like(states) if one.idle else own[one.rows])  # type: ignore[no-untyped-call]
    if shards is None:
        team.sum_gradients([weight for weight in model.network.parameters() if weight.requires_grad])
    return Outcome(
        losses={name: value.item() for name, value in values.items()},
        similarities=similarities(found, targets, config),
    )


def require_repeatable(model: ProCIR) -> None:
    """Refuse dropout: what is read twice, or in another process, must come out the same."""
    layers = [module.p for module in model.network.modules() if isinstance(module, nn.Dropout)]
    if any(layers) or model.network.config.text_config.attention_dropout:
        raise ConfigError(
            "the model has dropout, with which training is not repeatable: set it to 0 in its config.json"
        )


def _embeddings(model: ProCIR, one: Pass, config: TrainConfig) -> torch.Tensor:
    with precision(model, config, sharded=config.sharded):
        return by_way_of(model.network, embeddings, model, one)


def precision(model: ProCIR, config: RunConfig, *, sharded: bool = False) -> AbstractContextManager[object]:
    """The arithmetic of a forward pass, of weights that are `sharded` or not."""
    if config.precision == "fp32":
        return nullcontext()
    # Weights that autocast remembers are not narrowed again, but selective recomputation must meet the same operations,
    # and of weights that are shared out a copy of every layer would stay whole.
    remember = config.recompute != "selective" and not sharded
    return torch.autocast(model.device.type, dtype=torch.bfloat16, cache_enabled=remember)
