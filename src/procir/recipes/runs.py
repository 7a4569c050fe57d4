"""The pieces that recipes and commands share: train a model with a progress bar, evaluate it, write its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from procir.errors import ConfigError
from procir.evaluate import outcomes
from procir.evaluate.conversations import conversation_rows
from procir.evaluate.outcomes import write_outcomes
from procir.evaluate.protocol import Evaluation, Row, cir_row, evaluate, plain_rows, truncated_rows
from procir.evaluate.results import build_results, write_results
from procir.model.embedder import ProCIR
from procir.protocols import ConversationEmbedder, Embedder
from procir.recipes.console import console, say, stage
from procir.recipes.ranks import ALONE, Rank
from procir.records import data_hash
from procir.report.cases import choose
from procir.report.figures import Curve
from procir.report.page import ReportContent, write_report
from procir.train import manifest
from procir.train.config import TrainConfig
from procir.train.contrastive import train
from procir.train.log import StepReport, read_log
from procir.types import Query, Split

WATCHED = 200
"""Validation triplets, evenly spread over the split, that are evaluated while training runs."""


@dataclass(slots=True)
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Book the time since the last lap under a name."""
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 1)
        self._last = now


def train_watched(
    model: ProCIR,
    training: Split,
    validation: Split | None,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    rank: Rank = ALONE,
) -> None:
    """Train with a progress bar, watching recall on a part of the validation triplets."""
    watch = _watch(validation, rank) if validation and validation.triplets else None
    with stage("Training") as advance:

        def report(step: StepReport) -> None:
            advance(step.step, step.total, step_note(step))

        data = manifest.take(training, manifest.load(out))
        train(
            model, training, config, out, data_hash=data.data_hash, manifest=data, evaluate=watch, report=report,
            foretell=lambda memory: say(f"Training takes {memory}", "dim"), resume=resume, team=rank.team,
        )  # fmt: skip


def step_note(report: StepReport) -> str:
    """Loss, learning rate and samples a second of a training step, in few enough characters for 80 columns."""
    rate = f"{report.learning_rate:.1e}".replace("e-0", "e-")
    return f"loss {report.losses['loss']:.3f} lr {rate} {report.samples_per_second:.1f}/s"


def usable_device(name: str) -> torch.device:
    """The device of that name; raises ConfigError if it is not to be had here."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name} is not to be had here: {reason}") from error


def require_room(model: ProCIR, split: Split, turns: int = 1) -> None:
    """Refuse texts that an evaluation of the split would stumble over, before any long work."""
    further = (turns - 1) * model.dialogues.most_tokens([t.short for t in split.triplets]) if turns > 1 else 0
    queries = (Query(split.products[triplet.source], triplet.short) for triplet in split.triplets)
    model.require_room(queries, (caption.short for caption in split.captions.values()), further=further)


def evaluate_all(
    model: Embedder,
    split: Split,
    *,
    plain: bool = True,
    untrained: Embedder | None = None,
    dims: Sequence[int] = (),
    turns: int = 1,
    seed: int = 0,
) -> tuple[Evaluation, dict[str, Row]]:
    """The full evaluation of a model; if wanted also plain rows, an untrained model's, shorter embeddings, later turns.

    Raises ConfigError before any work for `dims` that are no part of the model's embedding.
    """
    if not all(0 < dim < model.dim for dim in dims):
        raise ConfigError(
            f"dims {', '.join(map(str, dims))}: each must be 1 to {model.dim - 1}, a part of the embedding"
        )
    with stage("Evaluating") as advance:

        def show(name: str, done: int, total: int) -> None:
            advance(done, total, name)

        evaluation = evaluate(model, split, progress=show)
        rows = plain_rows(model, evaluation, progress=show) if plain else {}
        if untrained is not None:
            rows["untrained"] = cir_row(untrained, split, progress=lambda _, *n: show("untrained", *n))
        rows |= truncated_rows(evaluation, dims)
        if turns > 1 and isinstance(model, ConversationEmbedder):
            show("conversations", 0, len(evaluation.queries))
            rows |= conversation_rows(model, evaluation, turns, seed=seed)
        show("queries", len(evaluation.queries), len(evaluation.queries))
    return evaluation, rows


def write_outcome(
    out: Path,
    split: Split,
    evaluation: Evaluation,
    rows: Mapping[str, Row],
    *,
    seed: int,
    config: Mapping[str, Any],
    clock: Clock,
    title: str,
) -> dict[str, Any]:
    """Write `results.json`, `queries.jsonl` and `report.html` into `out`; returns the results."""
    results = build_results(
        evaluation, rows, seed=seed, data_hash=data_hash(split), config=config, seconds=clock.seconds
    )
    write_results(out / "results.json", results)
    write_outcomes(out / outcomes.FILE, evaluation.queries)
    losses, recalls = curves(out)
    content = ReportContent(
        results=results,
        choice=choose(evaluation.queries, seed=seed),
        products=split.products,
        captions=split.captions,
        losses=losses,
        recalls=recalls,
        title=title,
    )
    write_report(out / "report.html", content)
    return results


def curves(out: Path) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """Loss and recall curves of the training log in `out`; empty without one."""
    rows = read_log(out)
    losses = [row for row in rows if row["kind"] == "train"]
    scores = [row for row in rows if row["kind"] == "eval"]

    def curve(label: str, name: str, points: list[dict[str, Any]]) -> tuple[Curve, ...]:
        shown = [row for row in points if name in row]
        if not shown:
            return ()
        steps, values = tuple(row["step"] for row in shown), tuple(row[name] for row in shown)
        return (Curve(label=label, steps=steps, values=values),)

    loss_curves = curve("objective", "loss", losses) + curve("retrieval", "cir", losses)
    loss_curves += curve("documents", "document", losses) + curve("sources", "source", losses)
    recall_curves = curve("R@1", "R@1", scores) + curve("R@5", "R@5", scores) + curve("R@10", "R@10", scores)
    return loss_curves, recall_curves


def as_config(**parts: Any) -> dict[str, Any]:
    """Dataclasses and plain values as one JSON-ready mapping."""
    return {name: asdict(part) if hasattr(part, "__dataclass_fields__") else part for name, part in parts.items()}


def closing(out: Path, *next_steps: str) -> None:
    """The last lines of a run: where to look, and what to do next."""
    console.print("\n[bold]Look at[/]", end=" ")
    say(str((out / "report.html").resolve()))
    for line in next_steps:
        say(line, "dim")


def _watch(validation: Split, rank: Rank) -> Callable[[ProCIR], dict[str, float]]:
    stride = -(-len(validation.triplets) // WATCHED)
    part = replace(validation, triplets=validation.triplets[::stride])

    def scores(model: ProCIR) -> dict[str, float]:
        row = cir_row(rank.share(model), part)
        recalls = {k: row.recall(k) for k in (1, 5, 10)}
        return {f"R@{k}": round(100 * value, 2) for k, value in recalls.items() if value is not None}

    return scores
