"""A data set's statistics as Markdown, with the paper's own numbers beside those of the paper's datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from procir.construct import paper
from procir.construct.plots import views_picture, words_picture
from procir.construct.statistics import KINDS, SplitCount, Statistics, Verification
from procir.records import write_bytes, write_json, write_text

FLOOR = 0.001
"""Combinations of views in a smaller share of the triplets are counted together."""

NONE = "–"

_CAPTIONS = ("image caption", "long caption", "short caption")


def write_statistics(folder: Path, statistics: Statistics) -> None:
    """Write statistics.json, statistics.md, and the pictures that there is something to draw for."""
    shown = "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in write_pictures(folder, statistics))
    write_json(folder / "statistics.json", statistics.to_json())
    write_text(folder / "statistics.md", f"# Statistics\n\n{markdown(statistics)}{shown}")


def write_pictures(folder: Path, statistics: Statistics) -> tuple[str, ...]:
    """Write views.png and words.png, each unless there is nothing to draw, and say which there are."""
    written = []
    if any(histogram.total for histogram in statistics.views.values()):
        write_bytes(folder / "views.png", views_picture(statistics))
        written.append("views.png")
    if any(statistics.words_of(kind).total for kind in KINDS):
        write_bytes(folder / "words.png", words_picture(statistics))
        written.append("words.png")
    return tuple(written)


def markdown(statistics: Statistics) -> str:
    """All tables, each under a heading of the second level."""
    sections = [
        ("Triplets and products", _splits(statistics)),
        ("Verification of left and right", _verification(statistics)),
        ("Words in captions", _words(statistics)),
        ("Views involved in triplets", _combinations(statistics)),
        ("Views of a product", _views(statistics)),
        ("Lengths of texts", _lengths(statistics)),
    ]
    return "\n".join(f"## {title}\n\n{content}" for title, content in sections if content)


def _splits(statistics: Statistics) -> str:
    rows = []
    for row in statistics.splits:
        theirs = paper.SPLITS.get((row.dataset, row.split), (None, None))
        rows.append(_split_row(row, theirs))
    names = list(dict.fromkeys(row.split for row in statistics.splits))
    for name in names:
        rows.append(_total_row(name, [row for row in statistics.splits if row.split == name]))
    if len(names) > 1:
        rows.append(_total_row("all", statistics.splits))
    return _table(("dataset", "split", "triplets", "paper", "products in triplets", "paper", "products"), rows, texts=2)


def _split_row(row: SplitCount, theirs: tuple[int | None, int | None]) -> list[str]:
    triplets, products = map(_count, theirs)
    ours = (row.triplets, row.products, row.catalogue)
    return [row.dataset, row.split, _count(ours[0]), triplets, _count(ours[1]), products, _count(ours[2])]


def _total_row(split: str, rows: Sequence[SplitCount]) -> list[str]:
    """The sum of rows; the paper's stands beside it if these are just the paper's rows."""
    sums = [sum(getattr(row, name) for row in rows) for name in ("triplets", "products", "catalogue")]
    total = SplitCount(dataset="all", split=split, triplets=sums[0], products=sums[1], catalogue=sums[2])
    theirs = {place: counts for place, counts in paper.SPLITS.items() if split in ("all", place[1])}
    if {(row.dataset, row.split) for row in rows} != theirs.keys():
        return _split_row(total, (None, None))
    return _split_row(total, (sum(pair[0] for pair in theirs.values()), sum(pair[1] for pair in theirs.values())))


def _verification(statistics: Statistics) -> str:
    found = statistics.verification
    if not found:
        return ""
    rows = [_verification_row(row, paper.VERIFICATION.get(row.dataset)) for row in found]
    if len(found) > 1:
        checked, errors = (sum(getattr(row, name) for row in found) for name in ("checked", "errors"))
        whole = {row.dataset for row in found} == set(paper.VERIFICATION)
        theirs = tuple(map(sum, zip(*paper.VERIFICATION.values(), strict=True))) if whole else None
        rows.append(_verification_row(Verification(dataset="all", checked=checked, errors=errors), theirs))
    return _table(("dataset", "checked", "errors", "retained", "error rate", "paper"), rows)


def _verification_row(row: Verification, theirs: Sequence[int] | None) -> list[str]:
    rate = NONE if theirs is None else _percent(theirs[1] / theirs[0], 2)
    return [row.dataset, *map(_count, (row.checked, row.errors, row.retained)), _percent(row.error_rate, 2), rate]


def _words(statistics: Statistics) -> str:
    rows = []
    for dataset, kinds in statistics.words.items():
        theirs = paper.WORDS.get(dataset, {})
        cells = [(_number(kinds[kind].mean), _count(theirs.get(kind))) for kind in _CAPTIONS]
        rows.append([dataset, *(cell for pair in cells for cell in pair)])
    header = ["dataset", *(name for kind in _CAPTIONS for name in (f"{kind}, mean", "paper"))]
    return _table(header, rows)


def _combinations(statistics: Statistics) -> str:
    total = statistics.triplets
    if not total:
        return ""
    known = _is_papers(statistics)
    shown = {name: count for name, count in statistics.combinations.items() if count >= FLOOR * total}
    rows = [_combination_row(name, count, total, paper.COMBINATIONS.get(name), known) for name, count in shown.items()]
    other = total - sum(shown.values())
    if other:
        kinds = len(statistics.combinations) - len(shown)
        rows.append(_combination_row(f"other ({kinds} kinds)", other, total, paper.OTHER_COMBINATIONS, known))
    rows.append(_combination_row("all", total, total, paper.TRIPLETS, known))
    share = statistics.share_of_several_views()
    theirs = f" (paper: {_percent(paper.SEVERAL_VIEWS, 2)})" if known else ""
    said = (
        "" if share is None else f"\nOf those that state their views, {_percent(share, 2)} name at least two{theirs}.\n"
    )
    return _table(("views", "triplets", "share", "paper"), rows) + said


def _combination_row(name: str, count: int, total: int, theirs: int | None, known: bool) -> list[str]:
    beside = _percent(theirs / paper.TRIPLETS, 1) if known and theirs is not None else NONE
    return [name, _count(count), _percent(count / total, 1), beside]


def _views(statistics: Statistics) -> str:
    numbers = sorted({number for histogram in statistics.views.values() for number, _ in histogram.counts})
    rows = []
    for dataset, histogram in statistics.views.items():
        counts = dict(histogram.counts)
        rows.append([dataset, *(_count(counts.get(number, 0)) for number in numbers), _number(histogram.mean, 2)])
    return _table(("dataset", *(_plural(number, "view") for number in numbers), "mean"), rows)


def _lengths(statistics: Statistics) -> str:
    rows = []
    for kind in KINDS:
        histogram = statistics.words_of(kind)
        theirs = paper.MEDIANS[kind] if _is_papers(statistics) else None
        cells = (_count(histogram.total), _number(histogram.mean), _number(histogram.median), _count(theirs))
        rows.append([kind, *cells])
    return _table(("kind", "texts", "words, mean", "words, median", "paper's median"), rows)


def _is_papers(statistics: Statistics) -> bool:
    return bool(paper.DATASETS & statistics.words.keys())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are texts; columns of the paper that would be empty are left out."""
    kept = [
        place
        for place, name in enumerate(header)
        if not name.startswith("paper") or any(row[place] != NONE for row in rows)
    ]
    rule = ["---" if place < texts else "--:" for place in kept]
    lines = [[header[place] for place in kept], rule, *([_escaped(row[place]) for place in kept] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    """Names of a catalogue as text: nothing in them is Markdown or HTML."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\").replace("\n", " ")
    return "".join(f"\\{letter}" if letter in "|*`[]" else letter for letter in plain)


def _count(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def _number(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None, digits: int) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f}%"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
