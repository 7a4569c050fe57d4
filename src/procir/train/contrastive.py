"""Contrastive training of all eight variants (paper, sections 4.3 to 4.7 and D.1)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from procir.errors import ConfigError, StoppedError, TrainingError
from procir.model.adapters import AdapterSettings, adapted, export
from procir.model.ahead import ahead
from procir.model.embedder import ProCIR
from procir.records import write_json
from procir.train import optimizers, state
from procir.train.compilation import compiled
from procir.train.config import Recompute, TrainConfig
from procir.train.contrast import require_contrast
from procir.train.data import ExampleBuilder, StepExamples, repeated
from procir.train.distributed import ALONE, Team
from procir.train.divergence import Divergence
from procir.train.gradients import Outcome, accumulate, require_repeatable
from procir.train.log import StepReport, TrainingLog, read_log
from procir.train.manifest import Manifest, keep, told_by
from procir.train.memory import Memory, estimate
from procir.train.origin import Origin, origin
from procir.train.passes import Pass, lay_out_all
from procir.train.recomputation import recompute
from procir.train.sft_config import RunConfig
from procir.train.sharding import Shards, on_host, optimizer_states, require_shardable, share_states
from procir.train.stopping import told_to_stop
from procir.types import Split

BEST = "best"
"""Folder of the model whose evaluation was best."""

ADAPTER = "adapter"
"""Folder of the adapters alone, if a run trains some."""

Evaluate = Callable[[ProCIR], Mapping[str, float]]
"""Scores a model during training: names to numbers, which are logged under eval/."""


def train(
    model: ProCIR,
    split: Split,
    config: TrainConfig,
    out: Path,
    *,
    data_hash: str,
    manifest: Manifest | None = None,
    evaluate: Evaluate | None = None,
    report: Callable[[StepReport], None] = lambda _: None,
    foretell: Callable[[Memory], None] | None = None,
    resume: bool = False,
    team: Team = ALONE,
) -> None:
    """Train `model` in place on the triplets of `split`, and leave it ready to encode.

    `out` receives `log.jsonl`, TensorBoard events under `tensorboard/`, checkpoints every `config.save_every` steps,
    and the `best` model. From a checkpoint `resume` goes on exactly: on a CPU the continued run equals the
    uninterrupted one bit for bit, and up to rounding with another `config.chunk` or another number of processes. A
    damaged checkpoint is set aside, with a warning, for the one before it. With `config.lora_rank` adapters learn: they
    are merged into `model` at the end, and are alone in `adapter`, as peft reads them.

    Every process of a `team` calls this alike, with the same model, and gets the same weights; the first one writes.
    `evaluate` is called in all of them. `foretell` is told about how much memory training will take, before it starts.
    With a `manifest` of the data, a refusal to resume says what changed there.

    Raises StoppedError after SIGTERM or SIGINT, when the running step is saved. Raises TrainingError if `out` holds
    another run, if the configuration, the model or the data changed since its checkpoint, if processes differ, if a
    batch asks for one product alone, or if the loss is no longer finite or stays above `config.diverged_above`;
    `bad-step-N.json` in `out` then tells of that step. Raises CheckpointError if all checkpoints are damaged, or one
    cannot be written.
    """
    if model.settings.two_turns != config.variant.two_turns:
        raise TrainingError(f"the model's dialogue does not fit the variant {config.variant.name}: set two_turns alike")
    if config.batch_size < team.count:
        raise ConfigError(f"a batch of {config.batch_size} is too small for {team.count} processes: raise batch_size")
    require_repeatable(model)
    if config.sharded:
        require_shardable(config)
    low_rank, shared = adapter_settings(config), config.sharded and team.count > 1
    learning = adapted(model.network, model.dialogues.vocabulary.embedding, low_rank)
    with on_host(model, wanted=shared) as device, learning:
        run = _Run(model, split, config, out, team)
        start = origin(model, config, data_hash)
        resumed = state.prepare(out, model, run.optimizers, start, resume=resume, data_changes=told_by(manifest, out))
        first = resumed.step
        settings = json.dumps(start.settings, sort_keys=True)
        team.require_equal({"the training data": data_hash, "the settings": settings, "the last step": first,
                            "the sum of weights": _sum(model)})  # fmt: skip
        if team.first:
            state.tidy(out, resumed)
            keep(manifest, out)
        if foretell and first < run.total:
            foretell(estimate(model, run.builder.examples(first, team), run.optimizers, config, team))
        with run.sharing(device) if shared else nullcontext():
            _go_on(run, start, resumed, evaluate, report)
        if low_rank and team.first:
            export(model.network, out / ADAPTER, low_rank)


def _go_on(
    run: _Run, start: Origin, resumed: state.Resumed, evaluate: Evaluate | None, report: Callable[[StepReport], None]
) -> None:
    """Take the steps that are left, and leave behind what a run leaves behind."""
    config, team = run.config, run.team
    told_alone = told_to_stop(insist=team.count == 1)
    writing = TrainingLog(run.out, resumed.step, config) if team.first else nullcontext()
    mode = training_mode(run.trained, config.recompute, compile_regions=config.compile)
    with told_alone as told, mode, writing as log:
        record = _Record(run, start, evaluate, log)
        if log and resumed.damaged:
            log.warn(resumed.step, str(resumed))
        if not resumed.step:
            record.evaluation(0)
        for step_report in run.steps(resumed.step):
            report(step_report)
            record.step(step_report)
            done = step_report.step
            stopped = team.any(bool(told)) and done < run.total
            if stopped or (config.save_every and (done % config.save_every == 0 or done == run.total)):
                record.checkpoint(done)
            if stopped:
                raise StoppedError(
                    f"after step {done} of {run.total}, which is saved in {run.out}; go on with --resume"
                )


def adapter_settings(config: TrainConfig) -> AdapterSettings | None:
    """The adapters that learn instead of all weights, if any."""
    if config.lora_rank is None:
        return None
    return AdapterSettings(rank=config.lora_rank, alpha=config.lora_alpha, seed=config.seed)


def learning_rate(step: int, total: int, config: RunConfig) -> float:
    """The rate of a step counted from 0: linear warm-up if any, then a cosine to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class _Run:
    def __init__(self, model: ProCIR, split: Split, config: TrainConfig, out: Path, team: Team) -> None:
        self.model = model
        self.config = config
        self.out = out
        self.team = team
        self.builder = ExampleBuilder(model, split, config)
        require_contrast(self.builder)
        self.trained = model
        self.shards: Shards | None = None
        self.divergence = Divergence(config.diverged_above, config.batch_size)
        self.total = self.builder.total
        self.optimizers = self._optimizers(model)

    def _optimizers(self, model: ProCIR) -> list[Optimizer]:
        return optimizers.build(
            model.network.named_parameters(),
            self.config.optimizer,
            learning_rate=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )

    @contextmanager
    def sharing(self, device: torch.device) -> Iterator[None]:
        """Weights are shared out over the processes' devices while this lasts; `model` stays whole, on the host."""
        self.shards = Shards(self.model, device, self.team)
        self.trained = self.shards.model
        before, self.optimizers = self.optimizers, self._optimizers(self.trained)
        share_states(self.optimizers, [optimizer.state_dict() for optimizer in before])
        del before  # its state is as large as all shares together
        yield
        self.shards.gather()
        self.trained, self.shards, self.optimizers = self.model, None, []

    def whole(self) -> AbstractContextManager[ProCIR]:
        """The model with all its weights, on its device; all processes enter together."""
        return self.shards.gathered() if self.shards else nullcontext(self.model)

    def up_to_date(self) -> ProCIR:
        """The model with all its weights, wherever it is; all processes call this together."""
        if self.shards:
            self.shards.gather()
        return self.model

    def steps(self, first: int) -> Iterator[StepReport]:
        started = time.perf_counter()
        for step, (examples, passes) in ahead(self._prepare, range(first, self.total), depth=2):
            rate = learning_rate(step, self.total, self.config)
            outcome, norm = self._step(step, examples, passes, rate)
            elapsed = (time.perf_counter() - started) / (step + 1 - first)
            yield StepReport(
                step=step + 1,
                total=self.total,
                losses=outcome.losses,
                learning_rate=rate,
                gradient_norm=norm,
                samples_per_second=self.config.batch_size / elapsed,
                seconds_left=elapsed * (self.total - step - 1),
                similarities=outcome.similarities,
                repeated=repeated(examples.sources, examples.targets),
            )

    def _prepare(self, step: int) -> tuple[StepExamples, list[Pass]]:
        examples = self.builder.examples(step, self.team)
        return examples, lay_out_all(self.trained, examples, self.config)

    def _step(self, step: int, examples: StepExamples, passes: Sequence[Pass], rate: float) -> tuple[Outcome, float]:
        outcome = accumulate(self.trained, examples, self.config, self.team, passes, self.shards)
        norm = clip(self.trained, self.config.clip)
        if not math.isfinite(outcome.losses["loss"]) or not math.isfinite(norm):
            raise TrainingError(
                f"step {step + 1}: loss {outcome.losses['loss']} and gradient norm {norm} are not finite; the weights "
                f"are those of the step before. {self._tell(step, outcome, norm, rate)} names the triplets. Lower "
                "learning_rate, or train in fp32"
            )
        if diverged := self.divergence.found(outcome.losses["cir"]):
            raise TrainingError(
                f"step {step + 1}: {diverged}; the weights are those of the step before. "
                f"{self._tell(step, outcome, norm, rate)} names the triplets. Start anew with a lower learning_rate or "
                "with warmup_steps; to go on all the same, raise diverged_above"
            )
        optimizers.step(self.optimizers, rate)
        return outcome, norm

    def _tell(self, step: int, outcome: Outcome, norm: float, rate: float) -> Path:
        """Write down a step that cannot be taken. Its numbers are texts, as JSON has no NaN."""
        path = self.out / f"bad-step-{step + 1}.json"
        triplets = [
            {"source": str(t.source), "target": str(t.target), "short": t.short, "long": t.long}
            for chain in self.builder.conversations(step)
            for t in chain
        ]
        numbers = {"learning_rate": rate, "gradient_norm": norm, **outcome.losses}
        told = {name: str(value) for name, value in numbers.items()}
        if self.team.first:
            write_json(path, {"step": step + 1, **told, "settings": asdict(self.config), "triplets": triplets})
        return path


class _Record:
    """What a run leaves behind: log, best model and checkpoints. Only the first process, which has a log, writes."""

    def __init__(self, run: _Run, start: Origin, evaluate: Evaluate | None, log: TrainingLog | None) -> None:
        self.run = run
        self.start = start
        self.evaluate = evaluate
        self.log = log
        self.measure = run.config.keep_best if run.config.evaluate_every else None
        rows = read_log(run.out) if log else []
        self.best = max((row[self.measure] for row in rows if self.measure in row), default=-math.inf)

    def step(self, report: StepReport) -> None:
        """Log a step where that is due, and evaluate after it where that is due."""
        config, last = self.run.config, report.step == self.run.total
        if self.log and (last or report.step == 1 or report.step % config.log_every == 0):
            self.log.step(report)
        if last or (config.evaluate_every and report.step % config.evaluate_every == 0):
            self.evaluation(report.step)

    def evaluation(self, step: int) -> None:
        """Score the model, if there is a way to, and keep it if it is the best so far."""
        if self.evaluate is None:
            return
        with self.run.whole() as model:
            scores = _scores(model, self.evaluate)
        if self.measure and self.measure not in scores:
            raise TrainingError(
                f"keep_best is {self.measure}, which the evaluation does not measure: take one of "
                f"{', '.join(scores)}, or None"
            )
        if self.log is None:
            return
        self.log.evaluation(step, scores)
        if self.measure and scores[self.measure] > self.best:
            self.best = scores[self.measure]
            self.run.model.save_pretrained(self.run.out / BEST)

    def checkpoint(self, step: int) -> None:
        """Save everything that a resumed run needs; all processes call this, for their shares of it."""
        states, model = optimizer_states(self.run.optimizers, wanted=self.run.team.first), self.run.up_to_date()
        if self.log:
            state.save(self.run.out, step, model, states, self.start, self.run.config.keep_checkpoints)


@contextmanager
def training_mode(model: ProCIR, how: Recompute, *, compile_regions: bool = False) -> Iterator[None]:
    """The network in training mode; it is ready to encode afterwards, however that ends."""
    model.network.train()
    recompute(model.network, how)
    try:
        with compiled(model.network, wanted=compile_regions):
            yield
    finally:
        recompute(model.network, "off")
        model.network.eval()


def clip(model: ProCIR, most: float) -> float:
    """Scale the gradients down to a norm of at most `most`; returns the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(model.network.parameters(), most)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _scores(model: ProCIR, evaluate: Evaluate) -> Mapping[str, float]:
    learning = model.network.training  # where weights are shared out this model does not
    model.network.eval()
    try:
        return evaluate(model)
    finally:
        model.network.train(learning)


def _sum(model: ProCIR) -> float:
    """A number that differs if weights do."""
    return math.fsum(weight.double().sum().item() for weight in model.network.parameters())
