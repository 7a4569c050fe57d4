"""What `procir construct` does: run the stages, say where they stand and what they cost, export the result."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rich.table import Table

from procir.annotators import loop
from procir.annotators.budget import Budget
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger, PaidAnswers
from procir.annotators.on_cluster import ClusterAnnotator, RemoteLedger, owned_ledger
from procir.annotators.run import Annotator
from procir.annotators.settings import AnnotatorSettings, read_settings
from procir.catalog.annotations import caption_row, read_annotations
from procir.catalog.products import SPLITS, Stock, read_products, write_products
from procir.catalog.released import read_split, report, write_split
from procir.construct.audit import describe, draw_sample, read_labels, score
from procir.construct.audit_page import Case, create_app
from procir.construct.builtin.serving import serve
from procir.construct.checks import RANGES, word_report
from procir.construct.construction import STAGES, Construction, LoadEmbedder, construct
from procir.construct.domain import read_domain
from procir.construct.dry_run import expected_use
from procir.construct.duplicates import as_rows, find_duplicates
from procir.construct.export import export_parquet
from procir.construct.llama_factory import export_llama_factory
from procir.construct.questions import CAPTION
from procir.construct.statistics import Statistics, collect
from procir.construct.tables import write_statistics
from procir.construct.verdicts import Verdict, read_verdicts, write_verdicts
from procir.construct.work import Progress, Work
from procir.errors import MissingDataError
from procir.protocols import Embedder
from procir.recipes.choices import ClusterChoice, ConstructChoice, ModelChoice
from procir.recipes.console import Advance, console, say, show_load, show_skipped, stage
from procir.records import data_hash, replacing_folder, write_json, write_jsonl
from procir.types import LoadReport, Split

LEDGER, FAILURES, VERDICTS, DATA = "ledger.sqlite", "failures.jsonl", "verdicts.jsonl", "data"
DUPLICATES, REMOVED, LABELS = "duplicates.jsonl", "removed_captions.jsonl", "labels.jsonl"

Format = Literal["parquet", "llama-factory"]


def run_construction(
    choice: ConstructChoice,
    embedder: LoadEmbedder,
    out: Path,
    *,
    settings: Mapping[str, AnnotatorSettings] | None = None,
    budget: float | None = None,
    retry_failed: bool = False,
    place: ClusterChoice = ClusterChoice(),  # noqa: B008 - frozen
) -> Construction:
    """Make a data set, or go on where an earlier run stopped; it ends up in `out`/data.

    `settings` are those of the choice's file unless given. Raises ExhaustedError when a key, a quota or the budget is
    used up: what was answered is kept.
    """
    stock = _read(choice)
    desk = _Desk(settings=settings or read_settings(choice.annotators), budget=budget, place=place)
    with desk.ledger(out / LEDGER) as ledger, _working(ledger, choice, out, retry_failed=retry_failed) as work:
        for call in work.ledger.lost():
            say(f"was under way when a run ended, and may have been billed: {call.stage} of {call.item}", "yellow")
        try:
            made = loop.run(_stages(work, desk, stock, embedder, out, choice))
        except asyncio.CancelledError as error:  # by SIGTERM
            raise KeyboardInterrupt from error
    _write(out, choice, stock, made)
    return made


def show_dry_run(choice: ConstructChoice, out: Path) -> None:
    """Print what a run would ask at most, without asking anything; no key is needed."""
    settings, stock = read_settings(choice.annotators), _read(choice)
    table = Table("stage", "model", "questions", "input tokens", "output tokens at most", "dollars at most", box=None)
    with Ledger.open(out / LEDGER) as ledger:
        work = Work(ledger=ledger, domain=read_domain(choice.domain))
        found = expected_use(work, settings, stock, settings[CAPTION].picture_side)
    for failure in work.failures[:10]:
        say(f"cannot be asked about: {failure['item']}: {failure['reason']}", "yellow")
    for name, use in found.items():
        price = "no prices in the settings" if use.dollars is None else f"{use.dollars:,.2f}"
        counts = (f"{number:,}" for number in (use.requests, use.input_tokens, use.output_tokens))
        table.add_row(name, settings[name].model, *counts, price)
    console.print(table)


def show_status(out: Path) -> None:
    """Print how many questions of each stage are answered and failed, and what may have been lost."""
    table = Table("stage", "answered", "failed", box=None)
    with Ledger.read(out / LEDGER) as ledger:
        for name, (answered, failed) in ledger.counts().items():
            table.add_row(name, f"{answered:,}", f"{failed:,}")
        lost = ledger.lost()
    console.print(table)
    say(f"{len(lost):,} calls were under way when a run ended; they may have been billed")
    for call in lost[:10]:
        say(f"  {call.stage} of {call.item} by {call.model}", "dim")
    done = (out / DATA).is_dir()
    say(
        f"The data set is in {out / DATA}" if done else "The data set is not finished: run `procir construct run` again"
    )


def show_cost(out: Path) -> None:
    """Print what was used so far, by stage and model."""
    table = Table("stage", "model", "calls", "input tokens", "output tokens", "dollars", box=None)
    with Ledger.read(out / LEDGER) as ledger:
        for use in ledger.usage():
            price = "unknown" if use.dollars is None else f"{use.dollars:,.2f}"
            table.add_row(
                use.stage, use.model, *(f"{number:,}" for number in (use.calls, use.input, use.output)), price
            )
    console.print(table)


def export(out: Path, to: Path, form: Format, *, embed: bool, title: str, token: str, seed: int) -> None:
    """Write a finished data set anew in another format."""
    splits = _finished(out)
    if form == "parquet":
        verdicts = _by_split(out, splits)
        configs = export_parquet(
            to, splits, title=title, statistics=_statistics(splits, read_verdicts(out / VERDICTS)), verdicts=verdicts,
            embed=embed,
        )  # fmt: skip
        say(f"{len(configs)} configs are in {to}: see its README.md before you publish it")
        return
    for split in splits:
        report = export_llama_factory(
            to / split.name, split, images=out / DATA / "images", embedding_token=token, seed=seed
        )
        show_load(f"{to / split.name}", report)


def show_duplicates(out: Path, threads: int) -> None:
    """Find products of one split that look like products of the other, and write them to duplicates.jsonl."""
    splits = _finished(out)
    with stage("Comparing photos") as advance:
        found = find_duplicates(splits, threads=threads, progress=lambda done, total: advance(done, total, "views"))
    write_jsonl(out / DUPLICATES, as_rows(found))
    say(f"{len(found):,} products of one split have a near duplicate in the other: {out / DUPLICATES}", "bold")
    for duplicate in found[:10]:
        one, other = duplicate.products
        say(f"  {one} ({duplicate.splits[0]}) and {other} ({duplicate.splits[1]}): {duplicate.shared} views", "dim")


def audit(out: Path, *, sample: int, seed: int, host: str, port: int) -> None:
    """Serve the page on which people label a sample of the captions, those of removed products among them."""
    cases = _cases(out, sample, seed)

    def tell(url: str) -> None:
        say(f"{len(cases):,} products to label at {url.removesuffix('/v1')}/; Ctrl-C stops it", "bold")
        say(f"Labels go to {out / LABELS}; afterwards: procir construct audit --out {out} --score", "dim")

    serve(create_app(cases, out / LABELS), host, port, has_key=False, ready=tell)


def show_score(out: Path) -> None:
    """Print how well the check of left and right did, by the labels given so far."""
    _finished(out)
    table = Table(show_header=False, box=None)
    for row in describe(score(read_verdicts(out / VERDICTS), read_labels(out / LABELS))):
        table.add_row(*row)
    console.print(table)


def _cases(out: Path, sample: int, seed: int) -> list[Case]:
    captions = {key: caption for split in _finished(out) for key, caption in split.captions.items()}
    captions |= read_annotations(out / REMOVED, None).captions
    stock, _ = read_products(out, images=out / DATA / "images", allow_missing=True)
    checked = [verdict.key for verdict in read_verdicts(out / VERDICTS)]
    drawn = draw_sample((key for key in checked if key in captions and key in stock.products), sample, seed)
    return [Case(stock.products[key], captions[key]) for key in drawn]


def _read(choice: ConstructChoice) -> Stock:
    stock, report = read_products(choice.catalogue, images=choice.images, allow_missing=choice.allow_missing)
    show_load(str(choice.catalogue), report)
    return stock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """Where questions are asked: in this process, or on a cluster."""

    settings: Mapping[str, AnnotatorSettings]
    budget: float | None
    place: ClusterChoice

    @contextmanager
    def ledger(self, path: Path) -> Iterator[PaidAnswers]:
        """The ledger, in this process or in an actor."""
        if self.place.cluster is None:
            with Ledger.open(path) as ledger:
                yield ledger
        else:
            with owned_ledger(path, self.place.cluster, self.budget) as remote:
                yield remote

    @asynccontextmanager
    async def annotators(self, ledger: PaidAnswers) -> AsyncIterator[dict[str, Annotator]]:
        """An annotator for each stage; all share the budget."""
        if isinstance(ledger, RemoteLedger):
            limited = self.budget is not None
            yield {
                name: ClusterAnnotator(self.settings[name], ledger, self.place.workers, budget=limited)
                for name in STAGES
            }
            return
        budget = None if self.budget is None else Budget(self.budget)
        async with AsyncExitStack() as stack:
            yield {
                name: await stack.enter_async_context(HttpAnnotator(self.settings[name], ledger, budget))
                for name in STAGES
            }


@contextmanager
def _working(ledger: PaidAnswers, choice: ConstructChoice, out: Path, *, retry_failed: bool = False) -> Iterator[Work]:
    """A run's work, with bars on the screen; what failed is written down however it ends."""
    with _bars() as progress:
        domain = read_domain(choice.domain)
        work = Work(ledger=ledger, domain=domain, retry_failed=retry_failed, progress=progress)
        try:
            yield work
        finally:
            write_jsonl(out / FAILURES, sorted(work.failures, key=_place))


def _place(failure: Mapping[str, object]) -> tuple[int, str]:
    """Failures stand by stage and item, in whatever order they came."""
    stage = str(failure["stage"])
    return STAGES.index(stage) if stage in STAGES else len(STAGES), str(failure["item"])


async def _stages(
    work: Work, desk: _Desk, stock: Stock, embedder: LoadEmbedder, out: Path, choice: ConstructChoice
) -> Construction:
    _stop_on_sigterm()
    async with desk.annotators(work.ledger) as annotators:
        return await construct(
            work, annotators, stock, embedder, out,
            picture_side=desk.settings[CAPTION].picture_side, validation_share=choice.validation_share,
            seed=choice.seed,
        )  # fmt: skip


def _stop_on_sigterm() -> None:
    """End as an interrupt does: nothing leaves any more, and what was sent is waited for."""
    task = asyncio.current_task()
    assert task is not None
    if threading.current_thread() is not threading.main_thread():
        return  # signals reach the main thread alone
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def chosen_embedder(model: ModelChoice) -> LoadEmbedder:
    """The embedder of stage 3, loaded once, when it is needed."""

    @cache
    def load() -> tuple[Embedder, str]:
        # Only now: a run that resumes in the first stages need not wait for torch.
        from procir.model.prefix import fingerprint
        from procir.recipes.commands import load_embedder
        from procir.recipes.ranks import ALONE

        embedder = load_embedder(model, ALONE)
        return embedder, fingerprint(embedder)

    return load


def _write(out: Path, choice: ConstructChoice, stock: Stock, made: Construction) -> None:
    """The data set, the verdicts and the statistics."""
    images = (choice.images or choice.catalogue / "images").resolve()
    splits = [split for split in made.splits.values() if split.products]
    with replacing_folder(out / DATA) as folder:
        for split in splits:
            write_split(folder, split)
        (folder / "images").symlink_to(images)
    write_products(out, stock)
    write_verdicts(out / VERDICTS, made.verdicts)
    write_jsonl(out / REMOVED, (caption_row(caption, stock.products[caption.key]) for caption in made.removed))
    write_statistics(out / "statistics", _statistics(splits, made.verdicts))
    counts = {"products": len(stock.products), "left_out": made.left_out.counts, "seed": choice.seed}
    write_json(out / "construction.json", counts | {split.name: data_hash(split) for split in splits})
    for split in splits:
        show_load(split.name, report(split))
    show_skipped(LoadReport(skipped=made.left_out.counts, examples=made.left_out.examples()))
    _warn_of_lengths(splits)
    say(
        f"The data set is in {(out / DATA).resolve()}, its statistics in {out / 'statistics' / 'statistics.md'}", "bold"
    )


def _warn_of_lengths(splits: Iterable[Split]) -> None:
    """Texts outside the word ranges are kept, and counted."""
    captions = (caption for split in splits for caption in split.captions.values())
    triplets = (triplet for split in splits for triplet in split.triplets)
    for kind, found in word_report(captions, triplets).items():
        if found.below or found.above:
            words = RANGES[kind]
            console.print(
                f"  [yellow]{found.below + found.above:,} of {found.texts:,}[/] {kind}s are not of "
                f"{words.start} to {words.stop - 1} words: {found.below:,} shorter, {found.above:,} longer"
            )


def _statistics(splits: Iterable[Split], verdicts: Iterable[Verdict]) -> Statistics:
    checked, wrong = Counter[str](), Counter[str]()
    for verdict in verdicts:
        checked[verdict.key.dataset] += 1
        wrong[verdict.key.dataset] += verdict.has_error
    return collect(splits, {dataset: (count, wrong[dataset]) for dataset, count in checked.items()})


def _finished(out: Path) -> list[Split]:
    if not (out / DATA).is_dir():
        raise MissingDataError(f"{out}: holds no finished data set; run `procir construct run --out {out}` to its end")
    names = [name for name in SPLITS if (out / DATA / f"{name}_captions.jsonl").is_file()]
    return [read_split(out / DATA, name)[0] for name in names]


def _by_split(out: Path, splits: Iterable[Split]) -> dict[str, list[Verdict]]:
    """The verdicts on the products of each split; those on removed products go with the training split."""
    of_product = {key: split.name for split in splits for key in split.products}
    found: dict[str, list[Verdict]] = {}
    for verdict in read_verdicts(out / VERDICTS):
        found.setdefault(of_product.get(verdict.key, "train"), []).append(verdict)
    return found


@contextmanager
def _bars() -> Iterator[Progress]:
    """A progress bar a stage, one after another."""
    with ExitStack() as stack:
        shown: list[tuple[str, Advance]] = []

        def show(name: str, answers: int, failures: int, total: int) -> None:
            if not shown or shown[0][0] != name:
                stack.close()
                shown[:] = [(name, stack.enter_context(stage(_TITLES.get(name, name.capitalize()))))]
            shown[0][1](answers + failures, max(total, answers + failures), f"{failures:,} failed" if failures else "")

        yield show


_TITLES = {"caption": "Captions", "verify": "Left/right", "triplets": "Triplets"}
