"""Put evaluations of several systems on the same data side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from procir.errors import ConfigError
from procir.evaluate.comparison import KS, Standing, System, compare
from procir.evaluate.outcomes import FILE, read_outcomes
from procir.evaluate.results import read_results
from procir.recipes.console import console, say
from procir.records import write_text
from procir.report import leaderboard
from procir.report.leaderboard import Cell, Entry, Leaderboard

PUBLISHED = {
    "CLIP4CIR, mean": (19.2, 27.4, 23.3), "CLIP4CIR, max": (18.2, 26.4, 22.3),
    "SPRC, mean": (41.6, 52.0, 46.8), "SPRC, max": (44.3, 54.8, 49.6),
    "Qwen3-VL-Embedding-2B, joint": (66.6, 77.6, 72.1), "Qwen3-VL-Embedding-2B, mean": (64.5, 75.9, 70.2),
    "Qwen3-VL-Embedding-2B, max": (63.1, 75.2, 69.2),
    "RzenEmbed, joint": (18.6, 24.9, 21.8), "RzenEmbed, mean": (36.0, 45.6, 40.8), "RzenEmbed, max": (22.6, 29.8, 26.2),
    "Qwen3-VL-Embedding-8B, joint": (78.6, 86.3, 82.5), "Qwen3-VL-Embedding-8B, mean": (73.8, 82.9, 78.4),
    "Qwen3-VL-Embedding-8B, max": (74.9, 83.4, 79.2),
    "Doubao, joint": (58.0, 72.8, 65.4), "Doubao, mean": (68.3, 78.3, 73.3), "Doubao, max": (70.6, 80.2, 75.4),
    "ProCIR, joint": (80.6, 88.9, 84.8),
}  # fmt: skip
"""R@5, R@10 and Avg on FashionMV as means over its three sets, by system and strategy (the paper's Table 2)."""

FASHION_MV = frozenset({"deepfashion", "f200k", "fashiongen_val"})


def compare_systems(systems: Sequence[str], out: Path) -> None:
    """Write OUT/comparison.md, .tex and .html; `systems` are NAME=FOLDER of evaluations, or folders alone."""
    standings = compare([_read(system) for system in systems])
    board = _board(standings)
    texts = {
        "comparison.md": leaderboard.markdown(board),
        "comparison.tex": leaderboard.latex(board),
        "comparison.html": leaderboard.page(board, "Systems on the same queries"),
    }
    for name, content in texts.items():
        write_text(out / name, content)
    console.print(texts["comparison.md"], soft_wrap=True, markup=False)
    say(f"Look at {(out / 'comparison.html').resolve()}", "bold")


def _read(system: str) -> System:
    name, named, place = system.rpartition("=")
    folder = Path(place)
    if named and not name:
        raise ConfigError(f"{system!r} names no system: write NAME=FOLDER")
    return System(name or folder.name, read_results(folder / "results.json"), read_outcomes(folder / FILE))


def _board(standings: Sequence[Standing]) -> Leaderboard:
    datasets = list(standings[0].datasets)
    groups = {name: [f"R@{k}" for k in KS] for name in datasets if len(datasets) > 1}
    groups["mean" if groups else datasets[0]] = [*(f"R@{k}" for k in KS), "Avg"]
    rows = [_values(standing) for standing in standings]
    best = [max(column) for column in zip(*rows, strict=True)]
    entries = [_entry(standing, row, best) for standing, row in zip(standings, rows, strict=True)]
    if set(datasets) == FASHION_MV:
        blank = (None,) * (len(best) - 3)
        entries += [
            Entry(name=name, cells=(*blank, *(Cell(value=each) for each in values)), published=True)
            for name, values in PUBLISHED.items()
        ]
    return Leaderboard(groups=groups, entries=entries, note=_note(standings, set(datasets) == FASHION_MV))


def _values(standing: Standing) -> list[float]:
    datasets = standing.datasets.values() if len(standing.datasets) > 1 else ()
    parts = [own[k] for own in datasets for k in KS]
    return [*parts, *(100 * standing.means[k].value for k in KS), standing.average]


def _entry(standing: Standing, row: Sequence[float], best: Sequence[float]) -> Entry:
    first = len(row) - len(KS) - 1
    cells = []
    for place, value in enumerate(row):
        k = KS[place - first] if 0 <= place - first < len(KS) else None
        bounds = None if k is None else (100 * standing.means[k].low, 100 * standing.means[k].high)
        worse = k is not None and standing.worse(k)
        cells.append(Cell(value=value, bounds=bounds, best=value == best[place], worse=worse))
    return Entry(name=standing.name, cells=tuple(cells), seconds=standing.seconds)


def _note(standings: Sequence[Standing], published: bool) -> str:
    note = (
        "Recall in percent; in brackets 95 % intervals from resampling source products. † is worse than the best of "
        "its column: paired randomisation over source products, p < 0.05 after Holm's correction for "
        f"{len(standings) - 1} comparison{'s' if len(standings) > 2 else ''}."
    )
    return note + (" Rows in italics are the paper's own figures." if published else "")
