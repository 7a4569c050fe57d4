"""Supervised fine-tuning: a model learns to describe products, and to say what leads from one to another (4.8, D.3)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from procir.catalog.conversations import Conversation
from procir.errors import StoppedError, TrainingError
from procir.model.ahead import ahead
from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.language_loss import language_loss
from procir.model.packing import length_groups, token_groups
from procir.train import optimizers, state
from procir.train.contrastive import learning_rate, training_mode
from procir.train.gradients import precision, require_repeatable
from procir.train.log import StepReport, TrainingLog
from procir.train.manifest import Manifest, keep, told_by
from procir.train.origin import origin
from procir.train.sft_config import SftConfig
from procir.train.sft_data import LessonRenderer, batch_indices, total_steps
from procir.train.stopping import told_to_stop


def train_sft(
    model: ProCIR,
    conversations: Sequence[Conversation],
    config: SftConfig,
    out: Path,
    *,
    data_hash: str,
    manifest: Manifest | None = None,
    report: Callable[[StepReport], None] = lambda _: None,
    resume: bool = False,
) -> None:
    """Train all weights of `model` in place on conversations that `gather` found, and leave it ready to use.

    `out` receives the log, TensorBoard events and checkpoints as in `procir.train.contrastive.train`, from which
    `resume` goes on exactly. Raises TrainingError if `out` holds another run, if the configuration, the model or the
    data changed since its checkpoint, or if the loss is no longer finite; StoppedError after SIGTERM or SIGINT, when
    the running step is saved; CheckpointError if all checkpoints are damaged, or one cannot be written.
    """
    require_repeatable(model)
    model.network.model.visual.requires_grad_(not config.freeze_vision)
    run = _Run(model, conversations, config)
    start = origin(model, config, data_hash)
    resumed = state.prepare(out, model, run.optimizers, start, resume=resume, data_changes=told_by(manifest, out))
    first = resumed.step
    state.tidy(out, resumed)
    keep(manifest, out)
    with told_to_stop() as told, training_mode(model, config.recompute), TrainingLog(out, first, config) as log:
        if resumed.damaged:
            log.warn(first, str(resumed))
        for step_report in run.steps(first):
            report(step_report)
            done = step_report.step
            if done % config.log_every == 0 or done in (1, run.total):
                log.step(step_report)
            stopped = bool(told) and done < run.total
            if stopped or (config.save_every and (done % config.save_every == 0 or done == run.total)):
                state.save(
                    out, done, model, [each.state_dict() for each in run.optimizers], start, config.keep_checkpoints
                )
            if stopped:
                raise StoppedError(f"after step {done} of {run.total}, which is saved in {out}; go on with --resume")


def backward(model: ProCIR, lessons: Sequence[Dialogue], max_tokens: int) -> float:
    """Add the gradient of the mean loss over all tokens that the lessons teach, and return that mean.

    Lessons go through the model in passes of at most `max_tokens` tokens, end to end or padded as `model.packed` says;
    the gradient is that of one pass.
    """
    learnt = sum(len(lesson.embedding_at) for lesson in lessons)
    group = token_groups if model.packed else length_groups
    mean = 0.0
    for members in group([len(lesson) for lesson in lessons], max_tokens=max_tokens):
        loss = language_loss(model, [lessons[member] for member in members]) / learnt
        loss.backward()  # type: ignore[no-untyped-call]
        mean += loss.item()
    return mean


class _Run:
    def __init__(self, model: ProCIR, conversations: Sequence[Conversation], config: SftConfig) -> None:
        self.model = model
        self.conversations = conversations
        self.config = config
        self.renderer = LessonRenderer(model, config)
        self.total = total_steps(len(conversations), config)
        self.optimizers = optimizers.build(
            model.network.named_parameters(),
            "adamw",
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def steps(self, first: int) -> Iterator[StepReport]:
        started, seen = time.perf_counter(), 0
        for step, lessons in ahead(self._lessons, range(first, self.total)):
            rate = learning_rate(step, self.total, self.config)
            loss, norm = self._step(step, lessons, rate)
            elapsed = time.perf_counter() - started
            seen += len(lessons)
            yield StepReport(
                step=step + 1,
                total=self.total,
                losses={"loss": loss},
                learning_rate=rate,
                gradient_norm=norm,
                samples_per_second=seen / elapsed,
                seconds_left=elapsed / (step + 1 - first) * (self.total - step - 1),
            )

    def _lessons(self, step: int) -> list[Dialogue]:
        chosen = batch_indices(step, len(self.conversations), self.config)
        return self.renderer.lessons([self.conversations[index] for index in chosen])

    def _step(self, step: int, lessons: Sequence[Dialogue], rate: float) -> tuple[float, float]:
        with precision(self.model, self.config):
            loss = backward(self.model, lessons, self.config.max_tokens)
        norm = torch.nn.utils.clip_grad_norm_(self.model.network.parameters(), self.config.clip).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingError(
                f"step {step + 1}: loss {loss} and gradient norm {norm} are not finite; the weights are those of the "
                "step before. Lower learning_rate, or train in fp32"
            )
        optimizers.step(self.optimizers, rate)
        return loss, norm
