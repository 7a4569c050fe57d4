"""A whole catalogue of drawn garments: its truth, and its way to disk."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

from procir.catalog.atelier.captions import describe
from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import GROUPS, Garment
from procir.catalog.atelier.modifications import write_modification
from procir.catalog.atelier.pairs import choose_pairs
from procir.catalog.atelier.sampling import Rack, design_family, draw_season, generator
from procir.catalog.atelier.sheets import SHEETS, read_sheets, write_sheets
from procir.catalog.processes import in_processes
from procir.catalog.products import Stock, write_products
from procir.catalog.released import read_split, write_split
from procir.errors import ConfigError, DataError
from procir.records import read_jsonl, write_jsonl
from procir.types import Caption, Product, ProductKey, Split, Triplet, View

VERSION = 5
"""Of the way from a config to files; a catalogue of another version is not reused."""

DATASET = "atelier"
"""Name of the dataset in the published layout."""

FAMILY = 36
"""Most garments of one design family in a validation split, so that all are equally hard."""

_MARK = "atelier.json"
_QUALITY = 90
_FULL_COLOR = 0
_CHUNK = 4
_FAMILIES_A_SEASON = 3

Progress = Callable[[int, int], None]
"""Told how many products are drawn, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtelierConfig:
    """How large a catalogue is, and its seed."""

    train_products: int = 4000
    """Products to train on."""
    val_products: int = 1000
    """Products held out."""
    size: int = 256
    """Side of a view in pixels, 32 to 1024."""
    family: int = FAMILY
    """Most training products of one design family; smaller families make a more varied catalogue."""
    seed: int = 1
    """Decides every garment, text and triplet."""

    def __post_init__(self) -> None:
        if min(self.train_products, self.val_products) < 1:
            raise ConfigError(
                f"{self.train_products} train and {self.val_products} val products: both splits need at least one"
            )
        if self.family < 1:
            raise ConfigError(f"a design family of {self.family} garments: it needs at least one")


@dataclass(frozen=True, slots=True)
class DesignedSplit:
    """The truth of one split: sheets, captions and triplets, before anything is drawn."""

    name: str
    garments: Mapping[ProductKey, Garment]
    captions: Mapping[ProductKey, Caption]
    triplets: tuple[Triplet, ...]


def design(config: AtelierConfig) -> dict[str, DesignedSplit]:
    """The truth of train and val, from the seed alone; no two garments of a catalogue look alike."""
    rack = Rack()
    val = _design_garments(config.val_products, 0, generator("val", config.seed), rack, FAMILY)
    train = _design_garments(config.train_products, len(val), generator("train", config.seed), rack, config.family)
    return {name: _write_split(name, garments, config.seed) for name, garments in (("train", train), ("val", val))}


def _write_split(name: str, garments: Mapping[ProductKey, Garment], seed: int) -> DesignedSplit:
    captions = {key: describe(key, garment) for key, garment in garments.items()}
    triplets = []
    for pair in choose_pairs(garments, generator("pairs", name, seed)):
        text = write_modification(garments[pair.source], garments[pair.target])
        triplets.append(
            Triplet(
                source=pair.source,
                target=pair.target,
                short=text.short,
                long=text.long,
                views_involved=text.views_involved,
                satisfying=pair.satisfying,
            )
        )
    return DesignedSplit(name, garments, captions, tuple(triplets))


def _design_garments(count: int, first: int, rng: Random, rack: Rack, most: int) -> dict[ProductKey, Garment]:
    """`count` garments, season by season, in families of up to `most`."""
    garments: dict[ProductKey, Garment] = {}
    while len(garments) < count:
        season, size = draw_season(rng), min(_FAMILIES_A_SEASON * most * len(GROUPS), count - len(garments))
        for number, group in enumerate(GROUPS):
            members = size // len(GROUPS) + (number < size % len(GROUPS))
            while members:
                family = design_family(group, season, min(most, members), rng, rack)
                members -= len(family)
                for garment in family:
                    product_id = f"{group.name}-{first + len(garments):05d}"
                    garments[ProductKey(DATASET, product_id)] = garment
    return garments


def draw_catalogue(
    root: Path, config: AtelierConfig, workers: int = 1, progress: Progress | None = None
) -> dict[str, Split]:
    """Draw and write a whole catalogue in the published layout, or reuse the one that is there; train and val.

    Nothing appears at `root` before everything is drawn. With one worker it is drawn in this process, otherwise
    in processes that import the main module anew. Raises DataError if `root` holds anything else, and ConfigError
    for sizes that cannot be drawn.
    """
    if not _is_drawn(root, config):
        partial_root = root.parent / f".{root.name}.{uuid.uuid4().hex}.partial"
        try:
            _draw_all(partial_root, design(config), config, workers, progress)
            if root.exists():
                root.rmdir()
            partial_root.rename(root)
        except BaseException:
            shutil.rmtree(partial_root, ignore_errors=True)
            raise
    return {name: read_split(root, name)[0] for name in ("train", "val")}


def read_garments(root: Path) -> dict[ProductKey, Garment]:
    """The sheets of a drawn catalogue, both splits. Raises MissingDataError without them, RecordError for bad lines."""
    return read_sheets(root / SHEETS)


def _mark(config: AtelierConfig) -> dict[str, object]:
    return {"version": VERSION, "config": asdict(config)}


def _is_drawn(root: Path, config: AtelierConfig) -> bool:
    if root.is_file():
        raise DataError(f"{root}: is a file; choose a folder")
    if not root.exists() or not any(root.iterdir()):
        return False
    mark = root / _MARK
    found = next((row for _, row in read_jsonl(mark)), None) if mark.is_file() else None
    if found == _mark(config):
        return True
    what = f"a catalogue of {found}" if found else "other files"
    raise DataError(f"{root}: holds {what}, not one of {_mark(config)}; choose an empty folder, or remove this one")


def _draw_all(
    root: Path, splits: Mapping[str, DesignedSplit], config: AtelierConfig, workers: int, progress: Progress | None
) -> None:
    garments = {key: garment for split in splits.values() for key, garment in split.garments.items()}
    tasks = [(garment, _folder(root, key)) for key, garment in garments.items()]
    draw_one = partial(_draw_product, size=config.size)
    # Closing waits for the workers, so that none writes into a folder that is being removed.
    with closing(in_processes(draw_one, tasks, workers, _CHUNK)) as done_ones:
        for done, _ in enumerate(done_ones, start=1):
            if progress:
                progress(done, len(tasks))
    drawn = [_as_split(root, designed) for designed in splits.values()]
    for split in drawn:
        write_split(root, split)
    products = {key: product for split in drawn for key, product in split.products.items()}
    native = {key: split.name for split in drawn for key in split.products}
    write_products(root, Stock(products=products, native=native))
    write_sheets(root / SHEETS, garments)
    write_jsonl(root / _MARK, [_mark(config)])


def view_path(root: Path, key: ProductKey, number: int, view: str) -> Path:
    """Where a view of a product is in a drawn catalogue; numbers count from 1."""
    return _folder(root, key) / _file_name(number, view)


def _folder(root: Path, key: ProductKey) -> Path:
    return root / "images" / key.dataset / key.product_id


def _file_name(number: int, view: str) -> str:
    return f"{number}_{view}.jpg"


def _draw_product(task: tuple[Garment, Path], size: int) -> None:
    garment, folder = task
    folder.mkdir(parents=True)
    for number, view in enumerate(garment.views, start=1):
        image = draw(garment, view, size)
        image.save(folder / _file_name(number, view), quality=_QUALITY, subsampling=_FULL_COLOR)


def _as_split(root: Path, designed: DesignedSplit) -> Split:
    products = {}
    for key, garment in designed.garments.items():
        views = tuple(View(view_path(root, key, i, view), view) for i, view in enumerate(garment.views, start=1))
        products[key] = Product(key, views, garment.group.category, garment.group.gender)
    return Split(designed.name, products, designed.captions, designed.triplets)
