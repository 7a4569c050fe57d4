"""A comparison of systems as a table in the shape of the paper's Table 2: Markdown, LaTeX, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from procir.report.page import own_text, templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A recall in percent, with `bounds` where there are some.

    `best` is the highest of its column; `worse` says that the best is really better.
    """

    value: float
    bounds: tuple[float, float] | None = None
    best: bool = False
    worse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row: a system of ours, or one that the paper reports (`published`), whose missing figures are None."""

    name: str
    cells: tuple[Cell | None, ...]
    seconds: float | None = None
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Columns are grouped: each group has a title and its measures, such as R@5."""

    groups: Mapping[str, Sequence[str]]
    entries: Sequence[Entry]
    note: str

    @property
    def columns(self) -> list[str]:
        """Group and measure of every column."""
        return [f"{group} {measure}" for group, measures in self.groups.items() for measure in measures]


def markdown(board: Leaderboard) -> str:
    """The table for a README."""
    lines = [
        f"| system | {' | '.join(board.columns)} |",
        f"| --- |{' ---: |' * len(board.columns)}",
        *(_markdown_line(entry) for entry in board.entries),
    ]
    return "\n".join([*lines, "", board.note, ""])


def latex(board: Leaderboard) -> str:
    """The table for a paper; it needs the packages booktabs and xcolor."""
    heads = " & ".join(rf"\multicolumn{{{len(each)}}}{{c}}{{{_escaped(name)}}}" for name, each in board.groups.items())
    measures = " & ".join(measure for each in board.groups.values() for measure in each)
    body = [_latex_line(entry) for entry in board.entries]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(board.columns)}}}", r"\toprule", rf"& {heads} \\",
            rf"system & {measures} \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
            rf"% {board.note}", "",
        ]
    )  # fmt: skip


def page(board: Leaderboard, title: str) -> str:
    """The table as one HTML file without scripts, which opens from disk; everything in it is escaped."""
    found = templates()
    style = Markup(own_text(found, "page.css"))  # noqa: S704 - the package's own file
    return found.get_template("leaderboard.html.j2").render(board=board, title=title, style=style)


def _markdown_line(entry: Entry) -> str:
    name = f"*{entry.name}*" if entry.published else entry.name
    return f"| {name.replace('|', '&#124;')} | {' | '.join(map(_markdown_cell, entry.cells))} |"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    value = f"**{cell.value:.1f}**" if cell.best else f"{cell.value:.1f}"
    bounds = "" if cell.bounds is None else f" ({cell.bounds[0]:.1f}–{cell.bounds[1]:.1f})"
    return value + bounds + ("†" if cell.worse else "")


def _latex_line(entry: Entry) -> str:
    cells = [_escaped(entry.name), *map(_latex_cell, entry.cells)]
    if entry.published:
        cells = [rf"\textcolor{{gray}}{{{cell}}}" for cell in cells]
    return rf"{' & '.join(cells)} \\"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = rf"\textbf{{{cell.value:.1f}}}" if cell.best else f"{cell.value:.1f}"
    return value + (r"$^\dagger$" if cell.worse else "")


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
