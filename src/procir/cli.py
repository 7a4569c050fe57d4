"""The command line: one subcommand a job, settings and help from the same dataclasses."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from procir import __version__
from procir.catalog.atelier.catalogue import AtelierConfig
from procir.cli_catalog import Catalog
from procir.cli_construct import Annotator, Construct
from procir.errors import ConfigError, ProcirError, StoppedError
from procir.recipes.choices import ClusterChoice, DataChoice, ModelChoice
from procir.report.paper_ablation import VARIANTS
from procir.train.config import TrainConfig
from procir.train.sft_config import SftConfig

# Recipes and commands import torch when they run, so that help comes at once.


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Draw a catalogue, train a tiny model on it, evaluate it, and write a report; or do it with your own photos.

    Takes some minutes on two cores. Afterwards open OUT/report.html in a browser.
    """

    out: Path = Path("runs/demo")
    """Folder for the catalogue, the model, results.json and report.html."""
    images: Path | None = None
    """Your own photos instead of drawn garments: a folder with one sub-folder a product, and beside the
    sub-folders captions.jsonl and triplets.jsonl if you have them."""
    ask: tuple[str, ...] = ()
    """With --images: refinements to show, each as ID=TEXT, for example dress-12='the same in navy'."""
    model: str | None = None
    """With --images: checkpoint folder or Hub id to use instead of the shipped one."""
    from_scratch: bool = False
    """Start from random weights instead of the shipped checkpoint; takes several times as long."""
    seed: int = 0
    """Order of the training triplets and choice of the cases shown."""

    def run(self) -> None:
        """Run the main job."""
        if self.images is None and (self.ask or self.model):
            raise ConfigError("--ask and --model go with --images FOLDER")
        if self.images is not None and self.from_scratch:
            raise ConfigError("--from-scratch draws a catalogue of its own; leave --images out")
        if self.images is not None:
            from procir.recipes.folder import run_folder

            run_folder(self.images, self.out, model=self.model, ask=self.ask, seed=self.seed)
        else:
            from procir.recipes.demo import run_demo

            run_demo(self.out, from_scratch=self.from_scratch, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Draw a catalogue of garments with captions, triplets and known truth, in the published layout."""

    out: Path
    """Folder to create."""
    catalogue: tyro.conf.OmitArgPrefixes[AtelierConfig] = field(default_factory=AtelierConfig)
    workers: int = os.cpu_count() or 1
    """Processes that draw."""

    def run(self) -> None:
        """Draw."""
        from procir.recipes.commands import draw

        draw(self.out, self.catalogue, self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Read a data set in the published layout, decode every image, and say what is missing or broken."""

    source: tyro.conf.OmitArgPrefixes[DataChoice]
    workers: int = os.cpu_count() or 1
    """Processes that decode."""

    def run(self) -> None:
        """Check."""
        from procir.recipes.commands import check

        check(self.source, self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a model contrastively on a data set in the published layout, in any of the paper's eight variants.

    Several processes share every batch: torchrun --nproc-per-node 8 -m procir.cli train ... takes the same steps.
    """

    data: Path
    """Folder with {train,val}_triplets.jsonl and {train,val}_captions.jsonl."""
    out: Path
    """Folder for checkpoints, logs and the trained model."""
    start: str = "starter"
    """starter (the shipped tiny checkpoint), scratch (a tiny model with random weights), or a checkpoint folder
    or Hub id of any Qwen3.5, which is given the embedding token if it lacks it."""
    images: Path | None = None
    """Folder of the images; DATA/images by default."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1."""
    embedding_token: str | None = None
    """Name of the token whose hidden state is the embedding, where the checkpoint calls it neither <emb_all> nor what
    its procir.json says."""
    resume: bool = False
    """Go on from the newest whole checkpoint in OUT, if there is one."""
    check: bool = True
    """Decode every image first, so that a broken one is found at the start."""
    cache: Path | None = None
    """Folder on a disk of this machine that keeps resized views, so that each is decoded once, however many
    runs read it."""
    reduced_jpeg: bool = False
    """Decode large JPEGs at 1/2, 1/4 or 1/8 of their size where the views are no larger: faster, and close to the
    published pixels, not equal. The trained model is marked, and reads so ever after."""
    config: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)

    def run(self) -> None:
        """Train."""
        from procir.recipes.commands import train_model

        train_model(
            self.data, self.images, self.out, self.start, self.device, self.config,
            embedding_token=self.embedding_token, resume=self.resume, check_first=self.check,
            cache=self.cache, reduced_jpeg=self.reduced_jpeg,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sft:
    """Fine-tune a model on a data set: it learns to describe products, and to say what leads from one to another."""

    data: Path
    """Folder with train_triplets.jsonl and train_captions.jsonl."""
    out: Path
    """Folder for checkpoints, logs and the fine-tuned model."""
    start: str = "starter"
    """starter (the shipped tiny checkpoint), or a checkpoint folder or Hub id of any Qwen3.5."""
    images: Path | None = None
    """Folder of the images; DATA/images by default."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1."""
    resume: bool = False
    """Go on from the newest whole checkpoint in OUT, if there is one."""
    config: tyro.conf.OmitArgPrefixes[SftConfig] = field(default_factory=SftConfig)

    def run(self) -> None:
        """Fine-tune."""
        from procir.recipes.tuning import tune_model

        tune_model(self.data, self.images, self.out, self.start, self.device, self.config, resume=self.resume)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteCaptions:
    """Write captions of a catalogue's products with a fine-tuned model."""

    embedder: tyro.conf.OmitArgPrefixes[ModelChoice]
    catalogue: Path
    """Folder with images/DATASET/PRODUCT-ID/ and, if there is one, products.jsonl."""
    out: Path
    """File of JSON lines for the captions, as in a data set; what the model wrote that is none goes to a file of
    failures beside it."""
    images: Path | None = None
    """Folder of the images; CATALOGUE/images by default."""
    batch_size: int = 8
    """Products that are written about side by side."""
    max_new: int = 1500
    """Most tokens of one product's captions."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; above it tokens are drawn."""
    seed: int = 0
    """Decides what is drawn."""

    def run(self) -> None:
        """Write."""
        from procir.recipes.tuning import caption_catalogue

        caption_catalogue(
            self.embedder, self.catalogue, self.images, self.out,
            batch_size=self.batch_size, max_new=self.max_new, temperature=self.temperature, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablate:
    """Do the paper's sixteen runs, or some of them, and write its Tables 3, 9 and 10 with its numbers beside.

    What is finished is not done again; a run that was cut off goes on. Several processes may share one folder, each
    with runs of its own.
    """

    recipe: Literal["tiny", "paper"] = "tiny"
    """tiny: a small model on drawn garments, about an hour; paper: the paper's settings, on DATA from START."""
    out: Path = Path("runs/ablate")
    """Folder for the runs, the data of the tiny recipe, ablation.md and ablation.json."""
    variants: tuple[str, ...] = VARIANTS
    """Which of the eight: Single, Align, CoT, Align+CoT, MT, MT+Align, MT+CoT, MT+Align+CoT."""
    starts: tuple[Literal["pretrained", "sft"], ...] = ("pretrained", "sft")
    """From the model as it is, from it after fine-tuning (which is done once), or both."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each; intervals need two at least."""
    data: Path | None = None
    """Data set in the published layout, for the paper's recipe."""
    images: Path | None = None
    """Folder of its images; DATA/images by default."""
    start: str | None = None
    """Checkpoint folder or Hub id of the pretrained model, for the paper's recipe."""
    device: str = "cpu"
    """Where the paper's recipe trains: cpu, cuda, cuda:1."""

    def run(self) -> None:
        """Do the runs."""
        from procir.recipes.ablation import run_ablation

        run_ablation(
            self.recipe, self.out, self.data, self.images, self.start, self.device,
            variants=self.variants, starts=self.starts, seeds=self.seeds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Score a checkpoint on a data set in the published layout; writes results.json and report.html.

    Several processes share the work: torchrun --nproc-per-node 8 -m procir.cli evaluate ... gives the same results.
    """

    embedder: tyro.conf.OmitArgPrefixes[ModelChoice]
    source: tyro.conf.OmitArgPrefixes[DataChoice]
    out: Path = Path("runs/evaluate")
    """Folder for results.json and report.html."""
    plain: bool = False
    """Also measure the plain rows: source only, text only, each single view."""
    dims: tuple[int, ...] = ()
    """Also measure embeddings cut to their first so many numbers, as Matryoshka training allows."""
    turns: int = 1
    """Also measure conversations of up to so many texts, made of triplets that begin where another ends."""
    protocol: Literal["released", "natural"] = "released"
    """released: as the published script, which orders views by file name as text, 10 before 2; natural: 2 before 10."""
    check: bool = True
    """Decode every image first, so that a broken one is found at the start."""
    cache: Path | None = None
    """Folder on a disk of this machine that keeps resized views, so that each is decoded once, however many
    runs read it."""
    seed: int = 0
    """Choice of the cases shown."""

    def run(self) -> None:
        """Evaluate."""
        from procir.recipes.commands import evaluate_model

        evaluate_model(
            self.embedder, self.source, self.out,
            plain=self.plain, dims=self.dims, turns=self.turns, protocol=self.protocol, check_first=self.check,
            seed=self.seed, cache=self.cache,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Put evaluations of several systems on the same data side by side: a table with intervals and paired tests.

    Writes OUT/comparison.md, comparison.tex and comparison.html.
    """

    systems: tuple[str, ...]
    """Folders that `procir evaluate` has written, each as NAME=FOLDER, or the folder alone."""
    out: Path = Path("runs/compare")
    """Folder for the tables."""

    def run(self) -> None:
        """Compare."""
        from procir.recipes.comparing import compare_systems

        compare_systems(self.systems, self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """Write the embeddings of a data set's products, queries or captions to disk; an interrupted run goes on."""

    embedder: tyro.conf.OmitArgPrefixes[ModelChoice]
    source: tyro.conf.OmitArgPrefixes[DataChoice]
    out: Path
    """Folder for embeddings.npy, ids.jsonl and encoding.json."""
    what: Literal["products", "queries", "captions"] = "products"
    """Products from all their views, sources with their short modification texts, or short captions."""
    half: bool = False
    """Store float16 instead of float32."""
    cache: Path | None = None
    """Folder on a disk of this machine that keeps resized views, so that each is decoded once, however many
    runs read it."""
    place: tyro.conf.OmitArgPrefixes[ClusterChoice] = field(default_factory=ClusterChoice)

    def run(self) -> None:
        """Encode."""
        from procir.recipes.commands import encode

        encode(
            self.embedder, self.source, self.what, self.out, self.place, half=self.half, cache=self.cache,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Put a model on the Hugging Face Hub in one commit, its card completed with results.

    The token is that of `hf auth login`, or in HF_TOKEN.
    """

    model: Path
    """Folder of a model, such as RUN/model."""
    repository: str
    """Where to: OWNER/NAME; it is made if it is not there."""
    results: tuple[Path, ...] = ()
    """Files results.json of evaluations of this model, which the card shows."""
    license: str | None = None
    """Licence that the card states, such as apache-2.0; without it the card's own stays."""
    private: bool = False
    """Make a new repository that only its owner sees."""
    message: str = "Upload model"
    """Message of the commit."""
    dry_run: bool = False
    """Only say which files would go."""

    def run(self) -> None:
        """Upload."""
        from procir.recipes.publishing import push

        push(
            self.model, self.repository, results=self.results, license=self.license, private=self.private,
            message=self.message, dry_run=self.dry_run,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Train the checkpoint that ships with procir again, from random weights (about 50 minutes on two cores)."""

    out: Path = Path("runs/starter")
    """Folder for the catalogue, the lessons' weights, the report and the model."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1."""
    resume: bool = False
    """Keep the lessons that are finished in OUT."""

    def run(self) -> None:
        """Train the starter."""
        from procir.recipes.starter import train_starter

        train_starter(self.out, device=self.device, resume=self.resume)


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Draw, tyro.conf.subcommand("draw")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Sft, tyro.conf.subcommand("sft")]
    | Annotated[WriteCaptions, tyro.conf.subcommand("caption")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Encode, tyro.conf.subcommand("encode")]
    | Annotated[Catalog, tyro.conf.subcommand("catalog")]
    | Annotated[Construct, tyro.conf.subcommand("construct")]
    | Annotated[Annotator, tyro.conf.subcommand("annotator")]
    | Annotated[Push, tyro.conf.subcommand("push")]
    | Annotated[Starter, tyro.conf.subcommand("starter")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a refusal, 130 for an interruption, 141 for a closed pipe.

    Raises SystemExit after printing help (0), and for arguments that it does not know (2).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        Console(highlight=False).print(f"procir {__version__}")
        return 0
    errors = Console(stderr=True, highlight=False)
    try:
        command = tyro.cli(Command, args=list(arguments), prog="procir", description=_ABOUT)
        _quiet_libraries()
        command.run()
    except BrokenPipeError:  # the reader has gone, as with `procir check ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except StoppedError as error:
        errors.print("[yellow]stopped[/]", end=" ")
        errors.print(str(error), markup=False, soft_wrap=True)
        return 130
    except (ProcirError, OSError) as error:  # a full disk, a folder that must not be written
        errors.print("[bold red]error[/]", end=" ")
        errors.print(str(error), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print("[yellow]interrupted[/]")
        return 130
    return 0


_ABOUT = (
    "Product-level composed image retrieval: a product shown by several photos, a sentence that says what should be "
    "different, and the product that was meant. Start with `procir demo`."
)


def _quiet_libraries() -> None:
    """No chatter of libraries between the progress bars; their errors still come through."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_TQDM", "1")
    for name in ("torchao", "torch.utils._pytree"):  # of kernels that this machine cannot load
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    sys.exit(main())
