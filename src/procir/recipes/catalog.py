"""What `procir catalog` does: import a source, and check a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procir.catalog.checking import check_catalogue
from procir.catalog.choosing import ViewRules
from procir.catalog.import_report import ImportReport
from procir.catalog.importing import import_products
from procir.catalog.offers import Source
from procir.errors import ImageError
from procir.recipes.choices import require_workers
from procir.recipes.console import console, say, show_skipped, stage
from procir.types import LoadReport


def import_catalog(source: Source, out: Path, rules: ViewRules, about: Mapping[str, str], workers: int) -> None:
    """Import a source, and print what was kept and what was left out."""
    require_workers(workers)
    with stage("Importing") as advance:
        report = import_products(source, out, rules, about=about, workers=workers, progress=advance)
    _show(report)
    say(f"The report is {(out / 'import.md').resolve()}", "bold")


def _show(report: ImportReport) -> None:
    console.print(
        f"{report.kept:,} of {report.offered:,} products, {report.views:,} of {report.photos_offered:,} photos",
        soft_wrap=True,
    )
    show_skipped(LoadReport(skipped=report.skipped, examples=report.examples))
    if report.shared_photos:
        say(f"  {report.shared_photos:,} photos are in several products: {'; '.join(report.shared_examples)}")


def check_catalog(root: Path, workers: int) -> None:
    """Check a catalogue, and print what was found; raises ImageError for photos that cannot be used."""
    require_workers(workers)
    with stage("Checking") as advance:
        report = check_catalogue(root, workers=workers, progress=advance)
    views = ", ".join(f"{count:,} with {views}" for views, count in sorted(report.per_product.items()))
    say(f"{report.views:,} views ({report.bytes / 1e6:,.1f} MB) of {report.products:,} products: {views}")
    common = report.sizes.most_common(3)
    say(f"{len(report.sizes):,} sizes, mostly {', '.join(f'{w} x {h} ({count:,})' for (w, h), count in common)}")
    show_skipped(LoadReport(skipped=report.notes.counts, examples=report.notes.examples()), "noted")
    if report.faults:
        raise ImageError(f"{report.faults.describe()}; restore these files, or import anew")
