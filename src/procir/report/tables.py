"""What the report says in numbers: the rows of results.json put into groups, sentences and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_NOTES = {
    "procir": "photos and modification text",
    "source only": "the source’s photos, without the text",
    "text only": "the modification text, without the photos",
    "untrained": "the same model before training",
    "i2t": "a product’s photos ask for its short caption",
    "t2i": "a short caption asks for its product’s photos",
}
_TURN_NOTES = {
    "conversation": "photos, and text after text",
    "last text": "photos and the last text, those before forgotten",
    "joined texts": "photos and all texts as one",
    "start anew": "the last text on the photos of the product meant before",
}
_NAMES = {"i2t": "photos to caption", "t2i": "caption to photos"}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: recalls in percent in column order, None where a gallery is too small for the k."""

    name: str
    note: str
    values: tuple[float | None, ...]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of recalls with its columns, such as R@10."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


def columns(results: Mapping[str, Any]) -> tuple[str, ...]:
    """The measures of the model's own row, in the order of their k."""
    return tuple(sorted(results["rows"]["procir"], key=_k))


def mean_table(results: Mapping[str, Any]) -> Table:
    """The recalls as means over datasets."""
    return _table("All datasets", columns(results), results)


def dataset_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """One table a dataset, in their order."""
    return tuple(
        _table(f"{name}: {content['queries']:,} queries, {content['gallery']:,} products", columns(results), content)
        for name, content in results["datasets"].items()
    )


def chance(results: Mapping[str, Any]) -> tuple[float | None, ...]:
    """What a random order of each gallery would reach, in percent, as the mean over datasets."""
    sizes = [content["gallery"] for content in results["datasets"].values()]
    return tuple(
        100 * sum(_k(column) / size for size in sizes) / len(sizes) if _k(column) <= min(sizes) else None
        for column in columns(results)
    )


def headline(results: Mapping[str, Any]) -> str:
    """The main result in one sentence."""
    measured = _measured(results["rows"]["procir"], columns(results))
    if not measured:
        return f"{results['queries']:,} queries in a gallery too small for the recalls that were asked for."
    column = measured[-1]
    value = results["rows"]["procir"][column]
    place = "in first place" if _k(column) == 1 else f"among the first {_k(column)}"
    over = len(results["datasets"])
    where = "" if over == 1 else f", averaged over {over} datasets"
    return f"{value:.1f}% of {results['queries']:,} queries find the product that was meant {place}{where}."


def certainty(results: Mapping[str, Any]) -> str:
    """The intervals of the model's own recalls in a sentence; empty for results that have none."""
    found = {name: bounds for name, bounds in results.get("intervals", {}).items() if bounds is not None}
    if not found:
        return ""
    listed = ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in found.items())
    return f"95% intervals of the model’s own row, from resampling source products: {listed}."


def comparison(results: Mapping[str, Any]) -> str:
    """How far the best row with something held back comes, at the largest k; empty without such rows."""
    measured = _measured(results["rows"]["procir"], columns(results))
    if not measured:
        return ""
    column = measured[-1]
    others = {
        name: row[column]
        for name, row in results["rows"].items()
        if name != "procir" and not _is_short(name) and not _is_turn(name) and row.get(column) is not None
    }
    if not others:
        return ""
    best = max(others, key=lambda name: others[name])
    return f"The best plain row, “{best}”, reaches {others[best]:.1f}% there."


def duration(seconds: int | float) -> str:
    """A time that a person can read: 0.4 s, 12 s, 3 min 5 s, 2 h 7 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def flat(config: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    """A nested configuration as names with dots, and values as text."""
    facts: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            facts.extend(flat(value, f"{prefix}{name}."))
        else:
            facts.append((prefix + name, _spelled(value)))
    return tuple(facts)


def _spelled(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_spelled(item) for item in value)
    return "none" if value is None else str(value)


def _k(column: str) -> int:
    return int(column.removeprefix("R@"))


def _measured(row: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    return [name for name in names if row[name] is not None]


def _table(title: str, names: tuple[str, ...], content: Mapping[str, Any]) -> Table:
    rows, substituted, asked = content["rows"], content.get("substituted", {}), content.get("asked", {})
    views = [name for name in rows if name.startswith("only ")]
    short = [name for name in rows if _is_short(name)]
    turns = [name for name in rows if _is_turn(name)]
    plain = [name for name in rows if name != "procir" and name not in (*views, *short, *turns)]
    texts = [name for name in ("i2t", "t2i") if _measured(content[name], names)]
    groups = (
        Group("Composed retrieval", (_line("procir", rows["procir"], names),)),
        Group("Conversations", tuple(_line(name, rows[name], names, asked) for name in turns)),
        Group("Plain rows", tuple(_line(name, rows[name], names) for name in plain)),
        Group("One view of each product", tuple(_line(name, rows[name], names, substituted) for name in views)),
        Group("Shorter embeddings", tuple(_line(name, rows[name], names) for name in short)),
        Group("Photos and captions", tuple(_line(name, content[name], names) for name in texts)),
    )
    return Table(title, names, tuple(group for group in groups if group.lines))


def _line(
    name: str, row: Mapping[str, float | None], names: tuple[str, ...], counts: Mapping[str, int] = MappingProxyType({})
) -> Line:
    values = tuple(row.get(column) for column in names)
    return Line(_NAMES.get(name, name), _note(name, counts.get(name, 0)), values, own=name == "procir")


def _is_short(name: str) -> bool:
    return name.startswith("first ")


def _is_turn(name: str) -> bool:
    return name.startswith("turn ")


def _note(name: str, count: int) -> str:
    if _is_short(name):
        return f"the first {name.removeprefix('first ')} numbers of each embedding"
    if _is_turn(name):
        queries = f"; {count:,} queries" if count else ""
        return _TURN_NOTES[name.partition(": ")[2]] + queries
    if not name.startswith("only "):
        return _NOTES.get(name, "")
    if not count:
        return f"{name.removeprefix('only ')} views alone"
    kept = "1 product without one keeps its first" if count == 1 else f"{count:,} without one keep their first"
    return f"{name.removeprefix('only ')} views alone; {kept}"
