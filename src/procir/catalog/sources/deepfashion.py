"""DeepFashion's In-shop Clothes Retrieval Benchmark (Liu et al. 2016).

    Img/img_highres/WOMEN/Dresses/id_00004544/02_1_front.jpg ...    or Img/img/..., 256 x 256
    Eval/list_eval_partition.txt                                    train, query or gallery for every photo
    Anno/list_item_inshop.txt                                       the items
    Anno/list_description_inshop.json                               a text an item
    Anno/attributes/list_color_cloth.txt                            a colour a photo; also in Anno/

A product is an item in one colour, as in the released annotations: WOMEN/Dresses/id_00004544/02.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, FilePhoto, Offer
from procir.catalog.sources.albums import LEAST, Albums, enough
from procir.catalog.sources.lists import ABSENT, BOTH_SPLITS, MALFORMED, photo_parts, read_lines, read_table
from procir.catalog.taking import NO_PHOTO
from procir.errors import MissingDataError, RecordError
from procir.types import ProductKey

DATASET = "deepfashion"
DATASETS = (DATASET,)

_IMAGES = ("Img/img_highres", "Img/img", "img_highres", "img", "Img", ".")
"""Where photos may lie, the best first: those of `img` are squeezed into 256 x 256."""

_GENDERS = ("MEN", "WOMEN")
_NAME = re.compile(r"(\d+)_\d+_([a-z]+)\.\w+", re.IGNORECASE)
_VIEWS = {"front": "front", "back": "back", "side": "side", "full": "full", "additional": "detail", "flat": "full"}
"""What the words of file names stand for; flat is the whole garment, laid out without a person."""

_SPLITS = {"train": "train", "query": "val", "gallery": "val"}
_LACKING = "photos that the partition names and the folder lacks"


@dataclass(slots=True)
class _Partition:
    splits: dict[str, set[str]] = field(default_factory=dict)
    """By product id."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """Photos by product id; those of products that have been looked at are taken out."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the files beside the photos tell."""

    partition: _Partition | None
    items: frozenset[str]
    texts: Mapping[str, str]
    item_colours: Mapping[str, str]
    colours: Mapping[str, str]


def deepfashion_offers(root: Path, findings: Findings, *, least: int = LEAST) -> Iterator[Offer]:
    """The products of the folder that holds Img, Eval and Anno, sorted by path.

    The split is the benchmark's: query and gallery are val. (The paper splits at random: see `named_offers`.) Products
    with fewer than `least` photos, photos whose names are not COLOUR_NUMBER_VIEW, lines that cannot be used, and photos
    and items that lists name but the folder lacks are counted. Raises MissingDataError without photos, DataError for
    links that lead outside, RecordError for descriptions that are no JSON.
    """
    images = image_folder(root)
    known = _read_known(root, findings)
    seen: set[str] = set()
    for (gender, category, item), names in Albums(images, 3, findings):
        seen.add(item)
        where = images / gender / category / item
        if not names:
            findings.add(NO_PHOTO, str(where))
        variants = _by_colour(names, where, findings)
        for colour, photos in sorted(variants.items()):
            key = ProductKey(DATASET, f"{gender}/{category}/{item}/{colour}")
            _check(key, photos, known, findings)
            if enough(len(photos), least, f"{where}/{colour}", findings):
                yield _offer(key, where, photos, known, alone=len(variants) == 1)
    for item in sorted(known.items - seen):
        findings.add("items that the list names and the folder lacks", item)
    for product_id, named in sorted((known.partition or _Partition()).names.items()):
        findings.add(_LACKING, product_id, len(named))


def image_folder(root: Path) -> Path:
    """The folder that holds WOMEN and MEN; raises MissingDataError if there is none."""
    for name in _IMAGES:
        if any((root / name / gender).is_dir() for gender in _GENDERS):
            return root / name
    raise MissingDataError(
        f"{root}: none of {', '.join(_IMAGES)} holds WOMEN or MEN; pass the folder that holds Img, with its zip "
        "unpacked"
    )


def _by_colour(names: list[str], where: Path, findings: Findings) -> dict[str, dict[str, str]]:
    """By colour variant: the photos and what they show, by file name."""
    variants: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            findings.add("photos that are not named COLOUR_NUMBER_VIEW", str(where / name))
        else:
            variants.setdefault(match[1], {})[name] = _VIEWS.get(match[2].lower(), "")
    return variants


def _check(key: ProductKey, photos: Mapping[str, str], known: _Known, findings: Findings) -> None:
    if known.partition is None:
        return
    for name in sorted(known.partition.names.pop(key.product_id, set()) - photos.keys()):
        findings.add(_LACKING, f"{key.product_id}: {name}")
    splits = known.partition.splits.get(key.product_id)
    if splits is None:
        findings.add("products without a line in the partition", key.product_id)
    elif len(splits) > 1:
        findings.add(BOTH_SPLITS, key.product_id)


def _offer(key: ProductKey, where: Path, photos: Mapping[str, str], known: _Known, *, alone: bool) -> Offer:
    gender, category, item, _ = key.product_id.split("/")
    colour = known.colours.get(key.product_id) or (known.item_colours.get(item) if alone else None)
    splits = known.partition.splits.get(key.product_id) if known.partition else None
    return Offer(
        key=key,
        photos=tuple(FilePhoto(where / name) for name in photos),
        where=f"{where}/{key.product_id.rpartition('/')[2]}",
        details=Details(category=category, gender=gender.lower(), colour=colour, description=known.texts.get(item)),
        split=max(splits) if splits else None,  # val is after train
        views={name: view for name, view in photos.items() if view},
    )


def _read_known(root: Path, findings: Findings) -> _Known:
    partition = _present(root, ("Eval/list_eval_partition.txt",), findings)
    items = _present(root, ("Anno/list_item_inshop.txt",), findings)
    descriptions = _present(root, ("Anno/list_description_inshop.json",), findings)
    colours = _present(root, ("Anno/attributes/list_color_cloth.txt", "Anno/list_color_cloth.txt"), findings)
    texts, item_colours = _read_descriptions(descriptions, findings) if descriptions else ({}, {})
    return _Known(
        partition=_read_partition(partition, findings) if partition else None,
        items=_read_items(items, findings) if items else frozenset(),
        texts=texts,
        item_colours=item_colours,
        colours=_read_colours(colours, findings) if colours else {},
    )


def _present(root: Path, names: tuple[str, ...], findings: Findings) -> Path | None:
    for name in names:
        if (root / name).is_file():
            return root / name
    findings.add(ABSENT, str(root / names[0]))
    return None


def _product_and_name(path: str) -> tuple[str, str] | None:
    """What img/WOMEN/Dresses/id_00004544/02_1_front.jpg is a photo of, and its file name."""
    parts = photo_parts(path.removeprefix("img/"), 4)
    match = _NAME.fullmatch(parts[-1]) if parts else None
    return ("/".join((*parts[:-1], match[1])), parts[-1]) if parts and match else None


def _read_partition(path: Path, findings: Findings) -> _Partition:
    partition = _Partition()
    for where, (name, _, status) in read_table(path, 3, findings):
        found = _product_and_name(name)
        if found is None or status not in _SPLITS:
            findings.add(MALFORMED, where)
            continue
        product_id, file = found
        partition.splits.setdefault(product_id, set()).add(_SPLITS[status])
        partition.names.setdefault(product_id, set()).add(file)
    if not partition.splits:
        raise RecordError(f"{path}: no line of it can be used; unpack the file anew")
    return partition


def _read_items(path: Path, findings: Findings) -> frozenset[str]:
    return frozenset(item for _, (item,) in read_table(path, 1, findings))


def _read_colours(path: Path, findings: Findings) -> dict[str, str]:
    colours: dict[str, str] = {}
    for where, (name, colour) in read_table(path, 2, findings):
        found = _product_and_name(name)
        if found is None:
            findings.add(MALFORMED, where)
        else:
            colours.setdefault(found[0], colour)
    return colours


def _read_descriptions(path: Path, findings: Findings) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and colours by item; of several entries of an item the first counts."""
    content = "".join(f"{line}\n" for _, line in read_lines(path, findings))
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON ({error}); unpack the file anew, or remove it") from error
    if not isinstance(entries, list):
        raise RecordError(f"{path}: no list of items; unpack the file anew, or remove it")
    texts: dict[str, str] = {}
    colours: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        item = entry.get("item") if isinstance(entry, dict) else None
        if not isinstance(item, str):
            findings.add("descriptions that name no item", f"{path}, entry {number}")
            continue
        for found, value in ((texts, _joined(entry.get("description"))), (colours, _joined(entry.get("color")))):
            if value:
                found.setdefault(item, value)
    return texts, colours


def _joined(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return " ".join(part.strip() for part in parts if isinstance(part, str)).strip()
