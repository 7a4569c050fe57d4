"""Subcommands that make data sets: `procir construct` and `procir annotator`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from procir.construct.builtin.faults import Faults
from procir.errors import ConfigError
from procir.recipes.choices import ClusterChoice, ConstructChoice, ModelChoice

# Recipes and commands import torch when they run, so that help comes at once.


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructRun:
    """Make a data set in three stages: captions, left/right check, triplets; goes on where an earlier run stopped.

    Keys come from the environment variables that the settings name. Paid answers are kept in OUT/ledger.sqlite before
    anything reads them; running again costs nothing for what is there. The data set ends up in OUT/data.
    """

    source: tyro.conf.OmitArgPrefixes[ConstructChoice]
    out: Path
    """Folder for the ledger, the failures, the statistics and the data set."""
    embedder: tyro.conf.OmitArgPrefixes[ModelChoice] = field(default_factory=lambda: ModelChoice(model="starter"))
    """What finds candidates of stage 3."""
    budget: float | None = None
    """Dollars that this run may spend; it stops before a call that could pass them. Needs prices in the settings."""
    retry_failed: bool = False
    """Ask again what failed in earlier runs."""
    dry_run: bool = False
    """Say what would be asked and what it would cost at most, and ask nothing; needs no key."""
    place: tyro.conf.OmitArgPrefixes[ClusterChoice] = field(default_factory=ClusterChoice)

    def run(self) -> None:
        """Construct."""
        from procir.recipes.construct import chosen_embedder, run_construction, show_dry_run

        if self.dry_run:
            show_dry_run(self.source, self.out)
        else:
            run_construction(
                self.source, chosen_embedder(self.embedder), self.out,
                place=self.place, budget=self.budget, retry_failed=self.retry_failed,
            )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructStatus:
    """Say how far a construction is, and which calls a crash may have cost."""

    out: Path
    """Folder of the construction."""

    def run(self) -> None:
        """Show."""
        from procir.recipes.construct import show_status

        show_status(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructCost:
    """Say what a construction has used so far, by stage and model."""

    out: Path
    """Folder of the construction."""

    def run(self) -> None:
        """Show."""
        from procir.recipes.construct import show_cost

        show_cost(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructExport:
    """Write a finished data set as Parquet in the Hub's layout with a card, or for LLaMA-Factory.

    The published layout of JSON lines is what OUT/data already has.
    """

    out: Path
    """Folder of the construction."""
    to: Path
    """New folder for the export."""
    format: Literal["parquet", "llama-factory"] = "parquet"
    """parquet: configs products, triplets and verdicts; llama-factory: the two tasks of supervised fine-tuning."""
    embed: bool = False
    """With parquet: put the photos into the files, instead of their paths."""
    title: str = "A data set for product-level composed image retrieval"
    """With parquet: title of the card."""
    embedding_token: str = "<emb_all>"  # noqa: S105
    """With llama-factory: the embedding token of the model to train."""
    seed: int = 0
    """With llama-factory: draw of a fifth of the products and triplets."""

    def run(self) -> None:
        """Export."""
        from procir.recipes.construct import export

        export(
            self.out, self.to, self.format,
            embed=self.embed, title=self.title, token=self.embedding_token, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructDuplicates:
    """Find products of one split whose photos are, perhaps resized or encoded anew, those of another split's product.

    Nothing is dropped: OUT/duplicates.jsonl lists them.
    """

    out: Path
    """Folder of a finished construction."""
    threads: int = os.cpu_count() or 1
    """Threads that decode."""

    def run(self) -> None:
        """Compare."""
        from procir.recipes.construct import show_duplicates

        show_duplicates(self.out, self.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructAudit:
    """Let people label a sample of the captions on a small local page, and score the check of left and right by it.

    Keys on the page: 1 severe error, 2 left and right confused, 3 fine, arrows back and on, N the next open one.
    """

    out: Path
    """Folder of a finished construction; labels go to OUT/labels.jsonl."""
    sample: int = 1000
    """Products to label, drawn before any was removed."""
    seed: int = 0
    """Draw of the sample."""
    host: str = "127.0.0.1"
    """Address to bind; the page has no key, so that only this machine's own will do."""
    port: int = 8020
    """Port to bind; 0 takes a free one."""
    score: bool = False
    """Print precision, recall and F1 by the labels given so far, instead of serving the page."""

    def run(self) -> None:
        """Serve, or score."""
        from procir.recipes.construct import audit, show_score

        if self.score:
            show_score(self.out)
        else:
            audit(self.out, sample=self.sample, seed=self.seed, host=self.host, port=self.port)


ConstructAction = (
    Annotated[ConstructRun, tyro.conf.subcommand("run")]
    | Annotated[ConstructStatus, tyro.conf.subcommand("status")]
    | Annotated[ConstructCost, tyro.conf.subcommand("cost")]
    | Annotated[ConstructAudit, tyro.conf.subcommand("audit")]
    | Annotated[ConstructDuplicates, tyro.conf.subcommand("duplicates")]
    | Annotated[ConstructExport, tyro.conf.subcommand("export")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Construct:
    """Make a data set from a catalogue of photos with language models: run, status, cost, export."""

    action: tyro.conf.OmitSubcommandPrefixes[ConstructAction]

    def run(self) -> None:
        """Run the action."""
        self.action.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotator:
    """Answer the questions of a construction over HTTP: for a drawn catalogue, or stage 1 by a fine-tuned model.

    For a drawn catalogue it answers from the attribute sheets, a stand-in for paid models that errs and fails as often
    as it is told. It speaks the dialect of OpenAI, and runs until it is interrupted.
    """

    action: tyro.conf.Positional[Literal["serve"]]
    """What to do."""
    catalogue: Path | None = None
    """Folder that `procir draw` has made."""
    model: str | None = None
    """Instead of a catalogue: the checkpoint folder of a fine-tuned model, which writes captions of any products."""
    device: str = "cpu"
    """Where the model computes: cpu, cuda, cuda:1."""
    host: str = "127.0.0.1"
    """Address to bind; others than this machine's own need --key-variable."""
    port: int = 8010
    """Port to bind; 0 takes a free one."""
    key_variable: str | None = None
    """Environment variable with the key that requests must show; without it any key will do."""
    log: Path | None = None
    """File of JSON lines, to which every request is added."""
    look: bool = True
    """Refuse pictures that are not the product's own; takes some milliseconds a request."""
    faults: tyro.conf.OmitArgPrefixes[Faults] = field(default_factory=Faults)

    def run(self) -> None:
        """Serve."""
        from procir.recipes.annotator import serve_annotator, serve_model

        if (self.catalogue is None) == (self.model is None):
            raise ConfigError("give --catalogue, a folder that procir draw has made, or --model, a fine-tuned model")
        if self.model is not None:
            choice = ModelChoice(model=self.model, device=self.device)
            serve_model(choice, self.host, self.port, key_variable=self.key_variable, log=self.log)
            return
        assert self.catalogue is not None
        serve_annotator(
            self.catalogue, self.host, self.port, self.faults,
            key_variable=self.key_variable, log=self.log, look=self.look,
        )  # fmt: skip
