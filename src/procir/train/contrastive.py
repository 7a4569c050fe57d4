"""Contrastive training of all eight variants (paper, sections 4.3 to 4.7 and D.1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from procir.errors import TrainingError
from procir.model.ahead import ahead
from procir.model.embedder import ProCIR
from procir.model.losses import symmetric_info_nce
from procir.train import optimizers, state
from procir.train.config import TrainConfig
from procir.train.data import ExampleBuilder, StepExamples
from procir.train.log import StepReport, TrainingLog
from procir.train.sft_config import SftConfig
from procir.types import Split

Evaluate = Callable[[ProCIR], Mapping[str, float]]
"""Scores a model during training: names to numbers, which are logged under eval/."""


def train(
    model: ProCIR,
    split: Split,
    config: TrainConfig,
    out: Path,
    *,
    data_hash: str,
    evaluate: Evaluate | None = None,
    report: Callable[[StepReport], None] = lambda _: None,
    resume: bool = False,
) -> None:
    """Train `model` in place on the triplets of `split`, and leave it ready to encode.

    `out` receives `log.jsonl`, TensorBoard events under `tensorboard/`, and checkpoints every
    `config.save_every` steps, from which `resume` goes on exactly: on a CPU the continued run equals the
    uninterrupted one bit for bit. Raises TrainingError if `out` holds another run, if the configuration or the
    data changed since its checkpoint, or if the loss is no longer finite.
    """
    if model.settings.two_turns != config.variant.two_turns:
        raise TrainingError(f"the model's dialogue does not fit the variant {config.variant.name}: set two_turns alike")
    run = _Run(model, split, config)
    first = state.prepare(out, run.model, run.optimizers, config, data_hash, resume=resume)
    model.network.train()
    with TrainingLog(out, first) as log:
        if evaluate and not first:
            log.evaluation(0, _scores(model, evaluate))
        for step_report in run.steps(first):
            done = step_report.step
            report(step_report)
            if done % config.log_every == 0 or done in (1, run.total):
                log.step(step_report)
            if evaluate and (done == run.total or (config.evaluate_every and done % config.evaluate_every == 0)):
                log.evaluation(done, _scores(model, evaluate))
            if config.save_every and (done % config.save_every == 0 or done == run.total):
                state.save(out, done, model, run.optimizers, config, data_hash)
    model.network.eval()


def losses(model: ProCIR, examples: StepExamples, config: TrainConfig) -> dict[str, Tensor]:
    """The parts of the objective and their weighted sum `loss` (formula 12), for one batch."""
    parts = (examples.queries, examples.documents, examples.source_captions, examples.target_captions)
    turns = [len(part[0].embedding_at) if part else 1 for part in parts]
    embeddings = model.embed([dialogue for part in parts for dialogue in part])
    sizes = [len(part) * count for part, count in zip(parts, turns, strict=True)]
    queries, documents, source_captions, target_captions = torch.split(embeddings, sizes)
    sources = torch.from_numpy(examples.sources).to(embeddings.device)
    targets = torch.from_numpy(examples.targets).to(embeddings.device)
    tau = config.temperature
    result = {"cir": symmetric_info_nce(queries[turns[0] - 1 :: turns[0]], documents, targets, temperature=tau)}
    result["loss"] = result["cir"]
    if len(target_captions):
        result["document"] = symmetric_info_nce(documents, target_captions, targets, temperature=tau)
        result["loss"] = result["loss"] + config.document_weight * result["document"]
    if len(source_captions):
        result["source"] = symmetric_info_nce(queries[0 :: turns[0]], source_captions, sources, temperature=tau)
        result["loss"] = result["loss"] + config.source_weight * result["source"]
    return result


def learning_rate(step: int, total: int, config: TrainConfig | SftConfig) -> float:
    """The rate of a step counted from 0: linear warm-up if any, then a cosine to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class _Run:
    def __init__(self, model: ProCIR, split: Split, config: TrainConfig) -> None:
        self.model = model
        self.config = config
        self.builder = ExampleBuilder(model, split, config)
        self.total = self.builder.total
        self.optimizers = optimizers.build(
            model.network.named_parameters(),
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def steps(self, first: int) -> Iterator[StepReport]:
        started = time.perf_counter()
        for step, examples in ahead(self.builder.examples, range(first, self.total)):
            rate = learning_rate(step, self.total, self.config)
            parts, norm = self._step(step, examples, rate)
            elapsed = (time.perf_counter() - started) / (step + 1 - first)
            yield StepReport(
                step=step + 1,
                total=self.total,
                losses=parts,
                learning_rate=rate,
                gradient_norm=norm,
                samples_per_second=self.config.batch_size / elapsed,
                seconds_left=elapsed * (self.total - step - 1),
            )

    def _step(self, step: int, examples: StepExamples, rate: float) -> tuple[dict[str, float], float]:
        with precision(self.model, self.config):
            parts = losses(self.model, examples, self.config)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.network.parameters(), self.config.clip)
        values = {name: value.item() for name, value in parts.items()}
        if not math.isfinite(values["loss"]) or not math.isfinite(norm.item()):
            raise TrainingError(
                f"step {step + 1}: loss {values['loss']} and gradient norm {norm.item()} are not finite; the weights "
                "are those of the step before. Lower learning_rate, or train in fp32"
            )
        optimizers.step(self.optimizers, rate)
        return values, norm.item()


def precision(model: ProCIR, config: TrainConfig | SftConfig) -> AbstractContextManager[object]:
    """The arithmetic of a forward pass."""
    if config.precision == "fp32":
        return nullcontext()
    return torch.autocast(model.device.type, dtype=torch.bfloat16)


def _scores(model: ProCIR, evaluate: Evaluate) -> Mapping[str, float]:
    model.network.eval()
    try:
        return evaluate(model)
    finally:
        model.network.train()
