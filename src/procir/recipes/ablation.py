"""The paper's sixteen runs: eight variants, each from the pretrained and from the fine-tuned model, over seeds."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from procir.catalog.products import SPLITS
from procir.catalog.released import read_split
from procir.errors import ConfigError, MissingDataError
from procir.evaluate.protocol import cir_row
from procir.evaluate.results import build_results, read_results, write_results
from procir.evaluate.strategies import MeanPool
from procir.model.embedder import ProCIR
from procir.recipes import tiny
from procir.recipes.console import say, show_load, stage
from procir.recipes.demo import construct_drawn, draw_garments
from procir.recipes.runs import evaluate_all, require_room, train_watched, usable_device
from procir.recipes.tuning import fine_tune
from procir.records import data_hash, write_json, write_text
from procir.report.ablation import Ablation, findings, markdown
from procir.report.paper_ablation import STARTS, VARIANTS
from procir.train.config import TrainConfig, Variant
from procir.train.log import read_log
from procir.train.sft_config import SftConfig
from procir.types import Query, Split

Start = Literal["pretrained", "sft"]

RESULTS, TABLES, MARKDOWN, SFT = "results.json", "ablation.json", "ablation.md", "sft"

POOLED = "MT+Align"
"""The variant whose runs also measure the mean of single views: the paper's best."""

CACHED_QUERIES = 16
"""Queries whose embedding from a cached first turn is compared with the one read anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run of an ablation."""

    variant: Variant
    start: Start
    seed: int

    @property
    def folder(self) -> Path:
        """Where it lies in the ablation's folder."""
        return Path("runs") / self.start / self.variant.name / f"seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.variant.name} from {self.start}, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all runs of an ablation share.

    `begin` gives a new copy of the model of a start; `training` is everything but variant and seed.
    """

    training: TrainConfig
    data: Mapping[str, Split]
    begin: Callable[[Start], ProCIR]
    pretrained: str
    """What the models start from, as it is recorded."""
    sft: SftConfig
    """The fine-tuning, once for all runs that start from it."""


def run_ablation(
    recipe: str,
    out: Path,
    data: Path | None,
    images: Path | None,
    start: str | None,
    device: str,
    *,
    variants: Sequence[str],
    starts: Sequence[Start],
    seeds: Sequence[int],
) -> None:
    """Do runs of the sixteen, and write and show their tables."""
    runs = all_runs(variants, starts, seeds)
    if not runs:
        raise ConfigError("no run is left: give at least one of --variants, --starts and --seeds each")
    if recipe == "tiny":
        if data is not None or start is not None:
            raise ConfigError("--data and --start go with --recipe paper: the tiny recipe draws its garments itself")
        plan = tiny_plan(out)
    else:
        if data is None or start is None:
            raise ConfigError("the paper's runs need --data and --start, such as --start Qwen/Qwen3.5-0.8B")
        plan = paper_plan(out, {name: _read(data, name, images) for name in SPLITS}, start, device)
    ablation = ablate(plan, runs, out)
    for finding in findings(ablation):
        say(f"{finding.outcome}: {finding.claim}: {finding.evidence}")
    say(f"The tables are in {out / 'ablation.md'}", "bold")


def _read(data: Path, name: str, images: Path | None) -> Split:
    split, report = read_split(data, name, images=images)
    show_load(name, report)
    return split


def variant_of(name: str) -> Variant:
    """The variant of a name such as MT+Align; Single is the bare one. Raises ConfigError for others."""
    if name not in VARIANTS:
        raise ConfigError(f"{name!r} is no variant: choose from {', '.join(VARIANTS)}")
    parts = name.split("+")
    return Variant(two_turns="MT" in parts, alignment="Align" in parts, cot="CoT" in parts)


def all_runs(variants: Sequence[str], starts: Sequence[Start], seeds: Sequence[int]) -> list[Run]:
    """The runs of a subset, seed by seed, so that an interrupted ablation has whole seeds."""
    return [
        Run(variant=variant_of(name), start=start, seed=seed) for seed in seeds for start in starts for name in variants
    ]


def ablate(plan: Plan, runs: Sequence[Run], out: Path) -> Ablation:
    """Do the runs that are not finished, and write the tables of all that are.

    A run that was cut off goes on from its checkpoint; one that another process does is left to it. Raises ConfigError
    for a finished run of other settings or data.
    """
    hashes = {name: data_hash(split) for name, split in plan.data.items()}
    for number, run in enumerate(runs, start=1):
        facts = _facts(plan, run, hashes)
        with _alone(out / run.folder) as free:
            if not free:
                say(f"{run}: another process does it", "yellow")
            elif not _finished(out / run.folder, facts):
                say(f"{number} of {len(runs)}: {run}", "bold")
                _do(plan, run, out / run.folder, facts)
        write_tables(out)
    return write_tables(out)


def tiny_plan(out: Path) -> Plan:
    """Runs of the tiny model on drawn garments, whose data set the three stages make once, below `out`."""
    starter = tiny.starter_model()
    draw_garments(out / "catalogue", tiny.ablation_catalogue())
    data = construct_drawn(out, starter)
    return plan_of(out, data, tiny.ablation_training(), tiny.ablation_sft(), tiny.starter_model, "starter")


def paper_plan(out: Path, data: Mapping[str, Split], start: str, device: str) -> Plan:
    """The paper's runs: its settings, on a data set and from a backbone such as Qwen/Qwen3.5-0.8B."""
    place = usable_device(device)
    precision: Literal["fp32", "bf16"] = "bf16" if place.type == "cuda" else "fp32"

    def begin() -> ProCIR:
        model = ProCIR.from_backbone(start)
        return ProCIR(model.network.to(place), model.tokenizer, model.settings)

    training = TrainConfig(precision=precision, save_every=100)
    return plan_of(out, data, training, SftConfig(precision=precision, save_every=100), begin, start)


def plan_of(
    out: Path, data: Mapping[str, Split], training: TrainConfig, sft: SftConfig, fresh: Callable[[], ProCIR], name: str
) -> Plan:
    """Runs in `out` that begin from what `fresh` gives, or from that after one fine-tuning; `name` is recorded."""

    def begin(start: Start) -> ProCIR:
        model = fresh()
        if start == "pretrained":
            return model
        folder = out / SFT
        _fine_tuned(model, data["train"], sft, folder)
        tuned = ProCIR.from_pretrained(folder / "model", device=model.device)
        return ProCIR(tuned.network, tuned.tokenizer, tuned.settings)

    return Plan(training=training, data=data, begin=begin, pretrained=name, sft=sft)


def _fine_tuned(model: ProCIR, split: Split, config: SftConfig, folder: Path) -> None:
    """The fine-tuned model of all runs, made by the first one that needs it; others wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if (folder / "seconds.json").is_file():
            return
        fine_tune(model, split, config, folder, resume=True)
        model.save_pretrained(folder / "model")
        last = [row for row in read_log(folder) if row["kind"] == "train"][-1]
        conversations = last["step"] * config.batch_size
        write_json(folder / "seconds.json", {"seconds": conversations / last["samples_per_second"]})


def write_tables(out: Path) -> Ablation:
    """Write ablation.md and ablation.json from all finished runs below `out`.

    Raises ConfigError if they do not share settings and data.
    """
    found = [read_results(path) for path in sorted((out / "runs").glob(f"*/*/*/{RESULTS}"))]
    for other in found[1:]:
        _require_alike(found[0], other)
    ablation = Ablation(found, _sft_seconds(out))
    write_text(out / MARKDOWN, f"# The sixteen runs\n\n{markdown(ablation)}")
    judged = [asdict(finding) for finding in findings(ablation)]
    write_json(out / TABLES, {"findings": judged, "seeds": ablation.seeds, "runs": len(found), **_rows(ablation)})
    return ablation


def _sft_seconds(out: Path) -> float | None:
    path = out / SFT / "seconds.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.is_file() else None


def _rows(ablation: Ablation) -> dict[str, Any]:
    """The numbers of the tables by task, start and variant."""
    return {
        task: {
            start: {
                variant: [mean and asdict(mean) for mean in ablation.recalls(task, variant, start)]
                for variant in VARIANTS
            }
            for start in STARTS
        }
        for task in ("cir", "i2t", "t2i")
    }


def _facts(plan: Plan, run: Run, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What a finished run must agree with."""
    training = replace(plan.training, variant=run.variant, seed=run.seed)
    return {
        "variant": run.variant.name, "start": run.start, "pretrained": plan.pretrained,
        "training_data": hashes["train"], "train": json.loads(json.dumps(asdict(training))),
        "sft": json.loads(json.dumps(asdict(plan.sft))) if run.start == "sft" else None,
    }  # fmt: skip


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process may work in a folder; the system lets go of the lock when it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _finished(folder: Path, facts: Mapping[str, Any]) -> bool:
    if not (folder / RESULTS).is_file():
        return False
    config = read_results(folder / RESULTS)["config"]
    changed = [name for name in facts if config.get(name) != facts[name]]
    if changed:
        raise ConfigError(
            f"{folder} is finished with other {', '.join(changed)}: choose another --out, or remove that folder"
        )
    return True


def _require_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """All but variant, start and seed must agree."""
    differing = [name for name in ("pretrained", "training_data") if one["config"][name] != other["config"][name]]
    settings, others = one["config"]["train"], other["config"]["train"]
    differing += [name for name in settings if name not in ("variant", "seed") and settings[name] != others.get(name)]
    differing += ["validation data"] if one["data_hash"] != other["data_hash"] else []
    if differing:
        raise ConfigError(
            f"the runs of {other['config']['variant']} and {one['config']['variant']} differ in "
            f"{', '.join(differing)}: they cannot stand in one table; keep each ablation in a folder of its own"
        )


def _do(plan: Plan, run: Run, folder: Path, facts: Mapping[str, Any]) -> None:
    config = replace(plan.training, variant=run.variant, seed=run.seed)
    begun = plan.begin(run.start)
    model = ProCIR(begun.network, begun.tokenizer, replace(begun.settings, two_turns=run.variant.two_turns))
    require_room(model, plan.data["val"])
    train_watched(model, plan.data["train"], None, config, folder, resume=True)
    validation = plan.data["val"]
    evaluation, _ = evaluate_all(model, validation, plain=False)
    more: dict[str, Any] = {}
    if run.variant.two_turns:
        more["cached"] = cached_difference(model, validation)
    if run.variant.name == POOLED:
        more["mean_pool"] = pooled_average(model, validation)
    results = build_results(
        evaluation, {}, seed=run.seed, data_hash=data_hash(validation),
        config={**facts, **more, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "commit": _commit()},
        seconds={"training": training_seconds(folder, config)},
    )  # fmt: skip
    write_results(folder / RESULTS, results)


def training_seconds(folder: Path, config: TrainConfig) -> float:
    """Wall time of all steps at the rate of the last session, so that an interrupted run counts as a whole one."""
    rows = [row for row in read_log(folder) if row["kind"] == "train"]
    if not rows:
        raise MissingDataError(f"{folder}: the log has no step: remove the folder and train again")
    last = rows[-1]
    return float(last["step"] * config.batch_size / last["samples_per_second"])


def cached_difference(model: ProCIR, split: Split) -> float:
    """Largest difference of a number between query embeddings that go on from a read product and those read anew."""
    chosen = split.triplets[:: max(1, len(split.triplets) // CACHED_QUERIES)][:CACHED_QUERIES]
    products = [split.products[triplet.source] for triplet in chosen]
    _, cached = model.encode_turns(products, [[triplet.short] for triplet in chosen])
    queries = [Query(product, triplet.short) for product, triplet in zip(products, chosen, strict=True)]
    return float(np.abs(cached - model.encode_queries(queries)).max())


def pooled_average(model: ProCIR, split: Split) -> float:
    """Mean of R@5 and R@10 of composed retrieval in percent, with the mean of single views' embeddings."""
    with stage("Single views") as advance:
        row = cir_row(MeanPool(model), split, progress=lambda name, done, total: advance(done, total, name))
    found = [row.recall(5), row.recall(10)]
    if None in found:
        raise MissingDataError("the validation galleries hold fewer than ten products: evaluate on more")
    return 50 * sum(value for value in found if value is not None)


def _commit() -> str | None:
    """The commit of the source that runs, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
