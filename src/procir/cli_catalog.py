"""Subcommands that bring products in: `procir catalog import` and `procir catalog check`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, final

import tyro

from procir.catalog.choosing import ViewRules
from procir.catalog.findings import Findings
from procir.catalog.offers import Offer
from procir.errors import ConfigError

# Sources and recipes are imported when they run, so that help comes at once.


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob(ABC):
    """What every import is told; a source adds its own settings and says what it offers."""

    path: tyro.conf.Positional[Path]
    """What to import."""
    out: Path
    """Folder of the catalogue: images/DATASET/PRODUCT-ID/, products.jsonl, import.json and import.md. An interrupted
    import goes on there, a finished one is brought up to date."""
    rules: tyro.conf.OmitArgPrefixes[ViewRules] = field(default_factory=ViewRules)
    workers: int = os.cpu_count() or 1
    """Processes that read and decode."""

    @abstractmethod
    def offers(self, findings: Findings) -> Iterator[Offer]:
        """What the source offers; what it leaves out itself goes to the findings."""

    @final
    def run(self) -> None:
        """Import."""
        from procir.recipes.catalog import import_catalog

        own = {name: value for name, value in asdict(self).items() if name not in ("path", "out", "rules", "workers")}
        about = {"source": type(self).__name__.removeprefix("Import").lower(), "place": str(self.path)}
        settings = {name: str(value) for name, value in own.items() if value not in (None, ())}
        import_catalog(self.offers, self.out, self.rules, about | settings, self.workers)
        self.finish()

    def finish(self) -> None:  # noqa: B027 - most sources have nothing to add
        """What a source adds to the finished catalogue."""


Dataset = tuple[Callable[..., Iterator[Offer]], Mapping[str, object], tuple[str, ...]]
"""What reads a dataset, with which settings it leaves nothing out, and its names in annotations."""


def _dataset(given: str | None, path: Path) -> str:
    return given or path.resolve().stem


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFolder(ImportJob):
    """Import a folder of folders: every folder that holds photos is a product, its path below PATH is the id."""

    dataset: str | None = None
    """Name of the dataset; the folder's by default."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The folders that hold photos."""
        from procir.catalog.sources.folder import folder_offers

        return folder_offers(self.path, _dataset(self.dataset, self.path), findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTable(ImportJob):
    """Import a table: CSV, TSV or JSON lines with an id and the photos of every product.

    Columns are known by common names (id, sku; image, image_1; title, category, gender, colour, price, url).
    """

    rules: tyro.conf.OmitArgPrefixes[ViewRules] = field(default_factory=lambda: ViewRules(order="given"))
    dataset: str | None = None
    """Name of the dataset where no column says it; the file's by default."""
    images: Path | None = None
    """Folder that the photos' paths start from; the table's by default."""
    columns: tuple[str, ...] = ()
    """Columns that cannot be guessed, as FIELD=COLUMN (FIELD=ONE,OTHER for several of images): id=Artikel
    image=Bild."""
    encoding: str | None = None
    """Encoding of the file, such as cp1252; found by default."""
    separator: str | None = None
    """What separates cells; found by default."""
    allow_host: tuple[str, ...] = ()
    """Hosts that photos may be fetched from; none by default. Private addresses must be named themselves."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The rows."""
        from procir.catalog.sources.table import Table, table_offers

        table = Table(
            path=self.path,
            dataset=_dataset(self.dataset, self.path),
            images=self.images or self.path.parent,
            columns=dict(map(_pair, self.columns)),
            encoding=self.encoding,
            separator=self.separator,
            hosts=self.allow_host,
        )
        return table_offers(table, findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImportFeed(ImportJob):
    """A file that names the photos of products in their order."""

    rules: tyro.conf.OmitArgPrefixes[ViewRules] = field(default_factory=lambda: ViewRules(order="given"))
    dataset: str | None = None
    """Name of the dataset; the file's by default."""
    images: Path | None = None
    """Folder that photos start from where they are paths, not addresses; the file's by default."""
    allow_host: tuple[str, ...] = ()
    """Hosts that photos may be fetched from, such as cdn.shopify.com; none by default."""

    def taken(self, read: Callable[..., Iterator[Offer]], findings: Findings) -> Iterator[Offer]:
        """What a reader of such files makes of this one."""
        return read(
            self.path, _dataset(self.dataset, self.path), findings,
            images=self.images or self.path.parent, hosts=self.allow_host,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportShopify(_ImportFeed):
    """Import Shopify's product export (CSV): the rows of one handle are a product, photos by their position."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The handles."""
        from procir.catalog.sources.shopify import shopify_offers

        return self.taken(shopify_offers, findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportMerchant(_ImportFeed):
    """Import a Google Merchant feed (RSS, Atom or tab-separated): other sizes of a product are counted, not kept."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The items."""
        from procir.catalog.sources.merchant import merchant_offers

        return self.taken(merchant_offers, findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImportDataset(ImportJob):
    """A dataset of the paper, alone or with the published annotations."""

    rules: tyro.conf.OmitArgPrefixes[ViewRules] = field(
        default_factory=lambda: ViewRules(order="released", choose="first", keep_alike=True)
    )
    annotations: Path | None = None
    """Folder with the published {train,val}_triplets.jsonl and {train,val}_captions.jsonl: only products that they name
    are imported, with their splits and categories, and the files are put beside the photos."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The products, or those that the annotations name, whatever their photos."""
        from procir.catalog.sources.named import named_offers, read_named

        read, anything, datasets = self.dataset()
        if self.annotations is None:
            return read(self.path, findings)
        return named_offers(
            partial(read, self.path, **anything), read_named(self.annotations, findings), datasets, findings
        )

    def finish(self) -> None:
        """The annotations go along, so that the catalogue is a data set."""
        from procir.catalog.sources.named import place_annotations

        if self.annotations is not None:
            place_annotations(self.annotations, self.out)

    @abstractmethod
    def dataset(self) -> Dataset:
        """The dataset of this class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportDeepFashion(_ImportDataset):
    """Import DeepFashion In-shop: the folder that holds Img, Eval and Anno."""

    def dataset(self) -> Dataset:
        """Items in their colours."""
        from procir.catalog.sources.deepfashion import DATASETS, deepfashion_offers

        return deepfashion_offers, {"least": 1}, DATASETS


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFashion200K(_ImportDataset):
    """Import Fashion200K: the folder that holds women and labels."""

    def dataset(self) -> Dataset:
        """Folders of photos."""
        from procir.catalog.sources.fashion200k import DATASETS, fashion200k_offers

        return fashion200k_offers, {"least": 1}, DATASETS


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFashionGen(_ImportDataset):
    """Import FashionGen: its h5 files, or the folder that holds them; needs the extra fashiongen."""

    def dataset(self) -> Dataset:
        """Products of consecutive rows."""
        from procir.catalog.sources.fashiongen import DATASETS, fashiongen_offers

        return fashiongen_offers, {"least": 1, "clothing_only": False}, DATASETS


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportHub(ImportJob):
    """Import Parquet files in the Hub's layout, as `procir construct export` writes them."""

    rules: tyro.conf.OmitArgPrefixes[ViewRules] = field(default_factory=lambda: ViewRules(order="given"))
    dataset: str | None = None
    """Name of the dataset where no column says it; the folder's by default."""

    def offers(self, findings: Findings) -> Iterator[Offer]:
        """The rows."""
        from procir.catalog.sources.hub import hub_offers

        return hub_offers(self.path, findings, dataset=self.dataset)


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ConfigError(f"--columns {text}: write FIELD=COLUMN, such as id=Artikel")
    return name, value


Import = (
    Annotated[ImportFolder, tyro.conf.subcommand("folder")]
    | Annotated[ImportTable, tyro.conf.subcommand("table")]
    | Annotated[ImportShopify, tyro.conf.subcommand("shopify")]
    | Annotated[ImportMerchant, tyro.conf.subcommand("merchant")]
    | Annotated[ImportDeepFashion, tyro.conf.subcommand("deepfashion")]
    | Annotated[ImportFashion200K, tyro.conf.subcommand("fashion200k")]
    | Annotated[ImportFashionGen, tyro.conf.subcommand("fashiongen")]
    | Annotated[ImportHub, tyro.conf.subcommand("hub")]
)  # fmt: skip
"""The sources, one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogImport:
    """Import products and their photos from a source into a catalogue that every other command reads."""

    source: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Import]]

    def run(self) -> None:
        """Import."""
        self.source.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogCheck:
    """Read and decode all photos of a catalogue; say what is missing, damaged, changed, outside or there twice.

    Returns 1 if a photo cannot be used as the catalogue says.
    """

    path: tyro.conf.Positional[Path]
    """Folder with images/DATASET/PRODUCT-ID/ and, if there is one, products.jsonl."""
    workers: int = os.cpu_count() or 1
    """Processes that read and decode."""

    def run(self) -> None:
        """Check."""
        from procir.recipes.catalog import check_catalog

        check_catalog(self.path, self.workers)


CatalogAction = (
    Annotated[CatalogImport, tyro.conf.subcommand("import")]
    | Annotated[CatalogCheck, tyro.conf.subcommand("check")]
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Bring products in: import from folders, tables, feeds and datasets; check a catalogue."""

    action: tyro.conf.OmitSubcommandPrefixes[CatalogAction]

    def run(self) -> None:
        """Run the action."""
        self.action.run()
