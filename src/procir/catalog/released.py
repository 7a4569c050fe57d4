"""The published layout: {split}_triplets.jsonl and {split}_captions.jsonl beside images/<dataset>/<product_id>/.

Product ids may contain slashes (DeepFashion's do), and are unique only inside their dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from procir.catalog.annotations import (
    Annotations,
    caption_row,
    fit_image_captions,
    keep_known,
    read_annotations,
    triplet_row,
)
from procir.catalog.findings import Findings
from procir.catalog.shelf import Shelf
from procir.catalog.views import ViewOrder
from procir.errors import DataError, ImageError, MissingDataError
from procir.images import load_image
from procir.records import collector_paused, write_jsonl
from procir.types import Caption, LoadReport, Product, ProductKey, Split, Triplet

_BATCH = 512


def read_split(
    root: Path,
    name: str,
    *,
    images: Path | None = None,
    order: ViewOrder = "released",
    allow_missing: bool = False,
    captions_required: bool = True,
) -> tuple[Split, LoadReport]:
    """Read the split `name` (train or val): every product that its triplets or captions name, sorted by key.

    `images` is root/images unless given. A dataset's folder may be a link to another disk; below it nothing may
    lead outside. Raises MissingDataError for what is missing (with `allow_missing`, products without images and
    all that names them are left out and counted instead), RecordError for lines that are malformed or
    contradict each other, DataError for links that lead outside. No image is decoded: see `check_images`.
    """
    images = images or root / "images"
    for folder in (root, images):
        if not folder.is_dir():
            raise MissingDataError(f"{folder}: no such folder; pass the folder that holds the published files")
    captions = root / f"{name}_captions.jsonl"
    wanted = captions_required or captions.exists()
    with collector_paused():
        annotations = read_annotations(captions if wanted else None, root / f"{name}_triplets.jsonl")
        shelf = Shelf(images, order, annotations)
        shelf.fill()
    if annotations.gaps and not allow_missing:
        raise MissingDataError(
            f"{annotations.gaps.describe()}; complete the {name} split under {root} and {images}, or allow missing "
            "data to have these left out and counted"
        )
    return _assemble(name, shelf, annotations)


def _assemble(name: str, shelf: Shelf, annotations: Annotations) -> tuple[Split, LoadReport]:
    gaps, notes, products = annotations.gaps, annotations.notes, shelf.products
    if not products:
        detail = f": {gaps.describe()}" if gaps else ""
        raise MissingDataError(f"{shelf.images}: the {name} split has no product at all{detail}; check both folders")
    captions: dict[ProductKey, Caption] = {}
    for key, caption in annotations.captions.items():
        product = products.get(key)
        if product is None:
            gaps.add("captions of products left out", str(key))
        else:
            found = shelf.found.get(key, len(product.views))
            captions[key] = fit_image_captions(caption, product, found, notes)
    split = Split(name, products, captions, keep_known(annotations.triplets, products, gaps))
    return split, report(split, gaps, notes)


def report(split: Split, *findings: Findings) -> LoadReport:
    """What a split holds, and the findings made on the way to it."""
    return LoadReport(
        products=len(split.products),
        views=sum(len(product.views) for product in split.products.values()),
        captions=len(split.captions),
        triplets=len(split.triplets),
        skipped={reason: count for finding in findings for reason, count in finding.counts.items()},
        examples={reason: names for finding in findings for reason, names in finding.examples().items()},
    )


def write_split(root: Path, split: Split) -> None:
    """Write both annotation files, so that `read_split` gives an equal split once the images are in place.

    Raises DataError, before anything is written, for what the layout cannot hold: triplets across datasets or of
    unknown products, captions of unknown products, products that neither file would name, and a category or
    gender without a caption.
    """
    faults = Findings()
    for triplet in split.triplets:
        _check_triplet(triplet, split, faults)
    for key in split.captions.keys() - split.products.keys():
        faults.add("captions of products that are not in the split", str(key))
    _check_products(split, faults)
    if faults:
        raise DataError(
            f"{faults.describe()}; the {split.name} split cannot be written to {root} before this is mended"
        )
    captions = (caption_row(split.captions[key], split.products[key]) for key in split.captions)
    write_jsonl(root / f"{split.name}_captions.jsonl", captions)
    write_jsonl(root / f"{split.name}_triplets.jsonl", map(triplet_row, split.triplets))


def _check_triplet(triplet: Triplet, split: Split, faults: Findings) -> None:
    keys = (triplet.source, triplet.target, *triplet.satisfying)
    name = f"{triplet.source} -> {triplet.target}"
    if any(key.dataset != triplet.source.dataset for key in keys):
        faults.add("triplets across datasets", name)
    if any(key not in split.products for key in keys):
        faults.add("triplets of products that are not in the split", name)


def _check_products(split: Split, faults: Findings) -> None:
    named = set(split.captions)
    for triplet in split.triplets:
        named.update((triplet.source, triplet.target, *triplet.satisfying))
    for key, product in split.products.items():
        if key not in named:
            faults.add("products that no caption and no triplet names", str(key))
        elif key not in split.captions and (product.category or product.gender):
            faults.add("products with a category or gender but no caption to carry it", str(key))


def check_images(
    split: Split, workers: int = 1, *, allow_unreadable: bool = False, read: Callable[[Path], object] = load_image
) -> LoadReport:
    """Read every view in threads, decode it unless `read` does otherwise, and report how many can be read.

    Raises ImageError with examples for unreadable views, unless they are allowed; then the report counts them,
    and its `products` are those with every view readable.
    """
    complain = partial(_complaint, read=read)
    findings, products, views = Findings(), 0, 0
    with ThreadPoolExecutor(workers) as pool:
        for batch in _batches(tuple(split.products.values())):
            paths = [view.path for product in batch for view in product.views]
            bad = {
                path: complaint for path, complaint in zip(paths, pool.map(complain, paths), strict=True) if complaint
            }
            for complaint in bad.values():
                findings.add("unreadable views", complaint)
            products += sum(not any(view.path in bad for view in product.views) for product in batch)
            views += len(paths) - len(bad)
    if findings and not allow_unreadable:
        raise ImageError(f"{findings.describe()}; replace or remove these files")
    return LoadReport(products=products, views=views, skipped=findings.counts, examples=findings.examples())


def _batches(products: Sequence[Product]) -> Iterator[Sequence[Product]]:
    # A pool's map takes all its work at once; batches keep the futures of a large catalogue out of memory.
    return (products[start : start + _BATCH] for start in range(0, len(products), _BATCH))


def _complaint(path: Path, read: Callable[[Path], object]) -> str | None:
    try:
        read(path)
    except ImageError as error:
        return str(error)
    return None
