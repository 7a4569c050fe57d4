"""Checking a catalogue: every photo is read, decoded and hashed; what is missing, changed or there twice is found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.import_report import SharedPhotos
from procir.catalog.processes import in_processes
from procir.catalog.products import read_products
from procir.catalog.record import finished_imports, read_entries
from procir.catalog.shelf import SUFFIXES
from procir.catalog.views import Fence
from procir.errors import ImageError
from procir.images import load_image, read_image
from procir.pieces import pieces
from procir.types import Product, ProductKey

_PIECE = 16

_Photo = tuple[bytes, int, int, int]
"""16 bytes of the content's SHA-256, width, height, bytes."""


@dataclass(slots=True, kw_only=True)
class CheckReport:
    """What a check has found: `faults` are photos that cannot be used as the catalogue says, `notes` the rest."""

    products: int = 0
    views: int = 0
    bytes: int = 0
    per_product: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faults: Findings = field(default_factory=Findings)
    notes: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True)
class _Task:
    key: ProductKey
    folder: str
    files: tuple[str, ...]
    hashes: tuple[bytes, ...] | None


def check_catalogue(
    root: Path, *, workers: int = 1, progress: Callable[[int, int, str], None] = lambda *_: None
) -> CheckReport:
    """Check all photos of a catalogue, against the hashes of its import where there are such.

    Raises what `read_products` raises; faults of photos are reported, not raised.
    """
    images = root / "images"
    stock, load = read_products(root, allow_missing=True)
    report, shared = CheckReport(), SharedPhotos()
    report.faults.take(load.skipped, load.examples)
    hashes = _hashes(root)
    tasks = (_task(product, hashes) for product in stock.products.values())
    work = partial(_look_at_all, images=images)
    done = 0
    for results in in_processes(work, pieces(tasks, _PIECE), workers):
        for key, photos, faults in results:
            _count(report, shared, key, photos)
            report.faults.take(faults.counts, faults.names)
        done += len(results)
        progress(done, len(stock.products), "products")
    for group in shared.groups():
        report.notes.add("photos that are in several products, byte for byte", " = ".join(group[:3]), len(group))
    _find_strays(images, stock.products, report.notes)
    return report


def _hashes(root: Path) -> dict[ProductKey, Mapping[str, bytes]]:
    return {
        ProductKey(entry["dataset"], entry["product_id"]): {
            photo["file"]: bytes.fromhex(photo["sha256"])[:16] for photo in entry["photos"]
        }
        for path in finished_imports(root).values()
        for entry in read_entries(path)
    }


def _task(product: Product, hashes: Mapping[ProductKey, Mapping[str, bytes]]) -> _Task:
    files = tuple(view.path.name for view in product.views)
    known = hashes.get(product.key, {})
    same = tuple(known[file] for file in files) if all(file in known for file in files) else None
    return _Task(product.key, str(product.views[0].path.parent), files, same)


def _look_at_all(tasks: list[_Task], images: Path) -> list[tuple[ProductKey, list[tuple[str, _Photo]], Findings]]:
    fence = Fence(images, *(images / dataset for dataset in {task.key.dataset for task in tasks}))
    return [_look_at(task, images, fence) for task in tasks]


def _look_at(task: _Task, images: Path, fence: Fence) -> tuple[ProductKey, list[tuple[str, _Photo]], Findings]:
    photos: list[tuple[str, _Photo]] = []
    faults = Findings()
    inside = fence.holds_folder(str(images / task.key.dataset), task.key.product_id)
    for number, file in enumerate(task.files):
        path = f"{task.folder}/{file}"
        if not inside or (os.path.islink(path) and not fence.holds(path)):  # noqa: PTH114 - for every photo
            faults.add("links that lead outside the images", path)
            continue
        try:
            content = read_image(Path(path))
            width, height = load_image(content, name=path).size
        except ImageError as error:
            faults.add("views that cannot be read", str(error))
            continue
        digest = sha256(content).digest()[:16]
        if task.hashes is not None and digest != task.hashes[number]:
            faults.add("views that have changed since their import", path)
        photos.append((file, (digest, width, height, len(content))))
    return task.key, photos, faults


def _count(report: CheckReport, shared: SharedPhotos, key: ProductKey, photos: list[tuple[str, _Photo]]) -> None:
    report.products += 1
    report.views += len(photos)
    report.per_product[len(photos)] += 1
    for digest, (file, width, height, size) in _once(photos, key, report.notes):
        report.sizes[width, height] += 1
        report.bytes += size
        shared.add(digest, f"{key}/{file}")


def _once(
    photos: list[tuple[str, _Photo]], key: ProductKey, notes: Findings
) -> Iterator[tuple[bytes, tuple[str, int, int, int]]]:
    """The photos of a product, equal ones once."""
    seen: set[bytes] = set()
    for file, (digest, width, height, size) in photos:
        if digest in seen:
            notes.add("views that are another of the product, byte for byte", f"{key}/{file}")
        else:
            seen.add(digest)
            yield digest, (file, width, height, size)


def _find_strays(images: Path, products: Mapping[ProductKey, Product], notes: Findings) -> None:
    """Note photos that lie in the folders, and are no views."""
    for path, folders, files in os.walk(images):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = {name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES}  # noqa: PTH122
        dataset, _, product_id = Path(path).relative_to(images).as_posix().partition("/")
        product = products.get(ProductKey(dataset, product_id))
        extra = sorted(found - {view.path.name for view in product.views} if product else found)
        if extra:
            notes.add("photos in the folders that are no views", f"{path}/{extra[0]}", len(extra))
