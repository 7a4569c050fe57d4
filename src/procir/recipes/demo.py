"""The main job, end to end: a drawn catalogue, a data set made from its photos, a model, its evaluation, a report."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue, read_garments
from procir.catalog.atelier.garments import Garment
from procir.catalog.atelier.pairs import Sheets
from procir.catalog.products import SPLITS
from procir.catalog.released import read_split, write_split
from procir.construct.builtin.captioner import planted
from procir.construct.builtin.server import create_app
from procir.construct.builtin.serving import running
from procir.construct.verdicts import Verdict, read_verdicts
from procir.model.embedder import ProCIR
from procir.model.prefix import fingerprint
from procir.recipes import tiny
from procir.recipes.cards import save_trained
from procir.recipes.choices import ConstructChoice
from procir.recipes.console import console, say, show_results, stage
from procir.recipes.construct import DATA, VERDICTS, run_construction
from procir.recipes.curriculum import attend
from procir.recipes.runs import Clock, as_config, closing, evaluate_all, train_watched, write_outcome
from procir.types import ProductKey, Split, Triplet


def run_demo(out: Path, *, from_scratch: bool = False, seed: int = 0, catalogue: AtelierConfig | None = None) -> None:
    """Draw, construct, train, evaluate and report into `out`; what is drawn and answered there is used again.

    Writes `catalogue/`, `ledger.sqlite`, `statistics/`, `data/`, `model/`, `log.jsonl`, `results.json` and
    `report.html`; from scratch, the model has lessons first, which are kept in `lessons/`.
    """
    catalogue = catalogue or tiny.demo_catalogue()
    config = replace(tiny.demo_training(), seed=seed)
    starter = None if from_scratch else tiny.starter_model()
    say(f"procir demo → {out}  (what is drawn and answered there is used again)")
    clock = Clock()
    drawn = draw_garments(out / "catalogue", catalogue)
    clock.lap("drawing")
    splits = construct_drawn(out, starter or tiny.fresh_model(drawn["train"], seed=seed))
    clock.lap("construction")
    model, untrained = _models(splits["train"], starter, seed)
    if from_scratch:
        attend(model, tiny.scratch_curriculum(), out / "lessons", os.cpu_count() or 1, resume=True)
        clock.lap("lessons")
    console.print(f"[dim]{len(splits['train'].triplets):,} training triplets; {model.parameters() / 1e6:.1f} M weights")
    train_watched(model, splits["train"], splits["val"], config, out)
    clock.lap("training")
    what = "A model from `procir demo`, which knows drawn garments only"
    start = "scratch" if from_scratch else "starter"
    save_trained(model, what, start, config, splits["train"], out)
    evaluation, rows = evaluate_all(model, splits["val"], untrained=untrained)
    clock.lap("evaluation")
    results = write_outcome(
        out, splits["val"], evaluation, rows,
        seed=seed,
        config=as_config(
            catalogue=catalogue, train=config, start="random weights" if from_scratch else "starting checkpoint",
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
        ),
        clock=clock, title="procir demo",
    )  # fmt: skip
    show_results(results)
    closing(
        out,
        f"The trained model is in {out / 'model'}; use it on photographs of your own:",
        f"  procir demo --images FOLDER --model {out / 'model'} --ask PRODUCT='the same in navy'",
        f"Score any checkpoint on this catalogue:  procir evaluate --model MODEL --data {out / 'data'}",
    )


def draw_garments(root: Path, catalogue: AtelierConfig) -> dict[str, Split]:
    """Draw a catalogue, or take what is there of it."""
    with stage("Drawing garments") as advance:
        return draw_catalogue(
            root, catalogue, os.cpu_count() or 1, lambda done, total: advance(done, total, "products")
        )


def construct_drawn(out: Path, embedder: ProCIR) -> dict[str, Split]:
    """The data set out of the photos alone, by the three stages with the built-in annotator over HTTP."""
    root = out / "catalogue"
    garments, faults = read_garments(root), tiny.demo_faults()
    with running(create_app(garments, faults)) as url:
        run_construction(
            ConstructChoice(catalogue=root), lambda: (embedder, fingerprint(embedder)), out,
            settings=tiny.demo_annotators(url),
        )  # fmt: skip
    _show_verifier(read_verdicts(out / VERDICTS), planted(garments, faults.seed, faults.left_right_errors))
    splits = {name: _with_true_sets(read_split(out / DATA, name)[0], garments) for name in SPLITS}
    for split in splits.values():
        write_split(out / DATA, split)
    return splits


def _show_verifier(verdicts: Iterable[Verdict], wrong: Collection[ProductKey]) -> None:
    """What the check of left and right found of what the built-in annotator had got wrong."""
    flagged = {verdict.key for verdict in verdicts if verdict.has_error}
    hits = len(flagged.intersection(wrong))
    console.print(
        f"[dim]captions of {len(wrong):,} products confuse left and right; the check found {hits:,} of them, and took "
        f"{len(flagged) - hits:,} others for wrong"
    )


def _with_true_sets(split: Split, garments: Mapping[ProductKey, Garment]) -> Split:
    """The split with what the atelier alone knows: every product that meets a request, for the case sheets."""
    known = {key: garments[key] for key in split.products}
    by_group: dict[str, list[ProductKey]] = {}
    for key, garment in known.items():
        by_group.setdefault(garment.group.name, []).append(key)
    sheets = {name: Sheets([known[key] for key in keys]) for name, keys in by_group.items()}
    place = {key: number for keys in by_group.values() for number, key in enumerate(keys)}

    def true_set(triplet: Triplet) -> tuple[ProductKey, ...]:
        group = known[triplet.source].group.name
        found = sheets[group].satisfying(place[triplet.source], place[triplet.target])
        return tuple(by_group[group][number] for number in found)

    return replace(split, triplets=tuple(replace(triplet, satisfying=true_set(triplet)) for triplet in split.triplets))


def _models(training: Split, starter: ProCIR | None, seed: int) -> tuple[ProCIR, ProCIR]:
    """The model to train, and one of the same shape that nobody trained."""
    model = starter or tiny.fresh_model(training, seed=seed)
    return model, ProCIR.from_shape("tiny", model.tokenizer, model.settings, seed=seed + 1)
