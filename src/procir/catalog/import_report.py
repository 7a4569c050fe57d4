"""What an import kept, what it left out and why, and by which rules: import.json, and the same to read in import.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from procir.catalog.choosing import ViewRules
from procir.catalog.findings import EXAMPLES, Findings
from procir.catalog.views import VIEW_NAMES
from procir.records import write_json, write_text

_SIZES = 10
"""Most sizes of photos that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Counts over a whole import, however many runs it took; what is not kept is in `skipped`, with `examples`."""

    about: Mapping[str, str]
    offered: int
    kept: int
    photos_offered: int
    views: int
    views_per_product: Mapping[int, int]
    view_types: Mapping[str, int]
    known_by: Mapping[str, int]
    sizes: Mapping[str, int]
    shorter_side: Mapping[str, float]
    bytes: int
    shared_photos: int
    shared_examples: tuple[str, ...]
    with_details: Mapping[str, int]
    skipped: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]
    rules: Mapping[str, Any]


def findings_of(report: ImportReport) -> Findings:
    """What was left out, as it was found."""
    return Findings(dict(report.skipped), {reason: list(names) for reason, names in report.examples.items()})


def summarize(
    entries: Iterable[Mapping[str, Any]], about: Mapping[str, str], rules: ViewRules, findings: Findings
) -> ImportReport:
    """The report of an import from the lines of its record; `findings` are the source's own."""
    counter = _Counter()
    skipped = Findings()
    skipped.take(findings.counts, findings.names)
    for entry in entries:
        skipped.take(entry["counts"], entry["names"])
        counter.count(entry)
    shared, examples = counter.photos.shared()
    return ImportReport(
        about=about,
        offered=counter.offered,
        kept=counter.kept,
        photos_offered=counter.photos_offered,
        views=sum(counter.sizes.values()),
        views_per_product=dict(sorted(counter.per_product.items())),
        view_types={name: counter.types[name] for name in (*VIEW_NAMES, "unknown") if counter.types[name]},
        known_by=dict(sorted(counter.known_by.items())),
        sizes={f"{width} x {height}": count for (width, height), count in _most(counter.sizes)},
        shorter_side=_spread(counter.sizes),
        bytes=counter.bytes,
        shared_photos=shared,
        shared_examples=examples,
        with_details=dict(sorted(counter.details.items())),
        skipped=skipped.counts,
        examples=skipped.examples(),
        rules=asdict(rules),
    )


class _Counter:
    def __init__(self) -> None:
        self.offered = self.kept = self.photos_offered = self.bytes = 0
        self.per_product: Counter[int] = Counter()
        self.types: Counter[str] = Counter()
        self.known_by: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.details: Counter[str] = Counter()
        self.photos = SharedPhotos()

    def count(self, entry: Mapping[str, Any]) -> None:
        self.offered += 1
        self.photos_offered += entry["offered"]
        row = entry["row"]
        if row is None:
            return
        self.kept += 1
        self.per_product[len(row["views"])] += 1
        self.details.update(row.keys() - {"dataset", "product_id", "views"})
        for view in row["views"]:
            self.types[view.get("view", "unknown")] += 1
            if "known_by" in view:
                self.known_by[f"{view['known_by']}, confidence {view['confidence']}"] += 1
        for photo in entry["photos"]:
            self.sizes[tuple(photo["size"])] += 1
            self.bytes += photo["bytes"]
            self.photos.add(bytes.fromhex(photo["sha256"]), f"{row['dataset']}/{row['product_id']}/{photo['file']}")


class SharedPhotos:
    """Finds photos that are, byte for byte, in several products: 16 bytes a photo, and its name."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._names: list[str] = []

    def add(self, digest: bytes, name: str) -> None:
        """Note a photo of a product; photos of one product must differ."""
        self._digests += digest[:16]
        self._names.append(name)

    def groups(self) -> Iterator[list[str]]:
        """The names of equal photos, in the order in which they were added."""
        values = np.frombuffer(bytes(self._digests), dtype="V16")
        _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
        places: dict[int, list[str]] = {}
        for place in np.flatnonzero(counts[group] > 1):
            places.setdefault(int(group[place]), []).append(self._names[place])
        return iter(places.values())

    def shared(self) -> tuple[int, tuple[str, ...]]:
        """How many photos are in several products, and a few groups of them."""
        groups = list(self.groups())
        return sum(map(len, groups)), tuple(" = ".join(group[:EXAMPLES]) for group in groups[:EXAMPLES])


def _most(sizes: Counter[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_SIZES]


def _spread(sizes: Counter[tuple[int, int]]) -> dict[str, float]:
    if not sizes:
        return {}
    sides = np.repeat([min(size) for size in sizes], list(sizes.values()))
    return {"least": float(sides.min()), "median": float(np.median(sides)), "most": float(sides.max())}


def write_report(folder: Path, name: str, report: ImportReport) -> None:
    """Write NAME.json and, to read, NAME.md."""
    write_text(folder / f"{name}.md", as_markdown(report))
    write_json(folder / f"{name}.json", asdict(report))


def gather_reports(folder: Path, names: Sequence[str], out: Path) -> None:
    """Write import.json and import.md with the reports of several imports."""
    pages = [(folder / f"{name}.md").read_text(encoding="utf-8") for name in names]
    write_text(out / "import.md", "\n".join(pages))
    values = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    write_json(out / "import.json", values)


def as_markdown(report: ImportReport) -> str:
    """The report as a page."""
    lines = [
        f"# Import of {report.about['place']}",
        "",
        f"{report.kept:,} of {report.offered:,} products kept, with {report.views:,} of {report.photos_offered:,} "
        f"photos ({report.bytes / 1e6:,.1f} MB).",
        *_section("Source", report.about),
        *_section("Left out", {reason: _with_examples(report, reason) for reason in report.skipped}),
        *_section("Views of a product", report.views_per_product),
        *_section("What views show", report.view_types),
        *_section("How that is known", report.known_by),
        *_section(f"Sizes (the {_SIZES} most frequent)", report.sizes),
        *_section("Shorter side in pixels", report.shorter_side),
        *_section("Products with", report.with_details),
        *_section("Photos in several products", {str(report.shared_photos): "; ".join(report.shared_examples)}),
        *_section("Rules", report.rules),
    ]
    return "\n".join(lines) + "\n"


def _with_examples(report: ImportReport, reason: str) -> str:
    return f"{report.skipped[reason]:,} (such as {', '.join(report.examples[reason])})"


def _section(title: str, values: Mapping[Any, Any]) -> list[str]:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return ["", f"## {title}", "", "| | |", "| --- | --- |", *rows] if rows else []


def _cell(value: object) -> str:
    shown = f"{value:,}" if type(value) is int else f"{value:g}" if isinstance(value, float) else str(value)
    return shown.replace("|", r"\|").replace("\n", " ")
