"""What a person sees while a recipe runs: one line a stage, with a bar where the end is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from procir.types import LoadReport

console = Console(highlight=False)

Advance = Callable[[int, int, str], None]
"""Told (done, total, note)."""


class _TimeColumn(ProgressColumn):
    """What is left of a running stage, or what a finished one took."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"in {_clock(task.finished_time or 0.0)}")
        if task.time_remaining is None:
            return Text(_clock(task.elapsed or 0.0))
        return Text(f"{_clock(task.time_remaining)} left")


class _NoteColumn(ProgressColumn):
    """The rest of the line: on a narrow terminal it is cut, so that the other columns are not."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["note"]), style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def stage(title: str) -> Iterator[Advance]:
    """A progress bar for one stage of a run; it stays as a line when the stage ends.

    A stage that never advances had nothing to do, and says so.
    """
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[count]}"),
        _TimeColumn(),
        _NoteColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, note="", count="")

        def advance(done: int, total: int, note: str) -> None:
            # Never quite complete: a stage of several parts is finished when it ends, not with its first part.
            progress.update(
                task, completed=min(done, total - 0.01), total=total, note=note, count=f"{done:,}/{total:,}"
            )

        yield advance
        total = progress.tasks[task].total
        if total is None:
            progress.update(task, note="done before")
        progress.update(task, total=total or 1, completed=total or 1)


def _clock(seconds: int | float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say(text: str, style: str = "") -> None:
    """Print a line as it is: nothing in it is markup, and paths are not broken."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def show_load(name: str, report: LoadReport) -> None:
    """Print what reading a catalogue kept, and what it left out and why."""
    console.print(
        f"[bold]{escape(name)}[/]: {report.products:,} products, {report.views:,} views, {report.captions:,} captions, "
        f"{report.triplets:,} triplets",
        soft_wrap=True,
    )
    show_skipped(report)


def show_skipped(report: LoadReport, verb: str = "left out") -> None:
    """Print what was left out and why, or what else `verb` says of it."""
    for reason, count in report.skipped.items():
        examples = ", ".join(report.examples.get(reason, ()))
        shown = f" ({examples})" if examples else ""
        console.print(f"  [yellow]{verb}[/] {count:,}: {escape(reason + shown)}", soft_wrap=True)


def show_results(results: Mapping[str, Any]) -> None:
    """Print the recalls of results.json: over all datasets, and of the model alone for each of several."""
    show_rows(results["rows"])
    parts = results["datasets"]
    if len(parts) > 1:
        show_rows({name: part["rows"]["procir"] for name, part in parts.items()})


def show_rows(rows: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print a table of recalls in percent; the last column is the paper's Avg, the mean of R@5 and R@10."""
    names = list(next(iter(rows.values())))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in (*names, "Avg"):
        table.add_column(name, justify="right")
    for row, values in rows.items():
        both = [values.get("R@5"), values.get("R@10")]
        average = None if None in both else sum(filter(None, both)) / 2
        cells = ["–" if value is None else f"{value:.1f}" for value in (*(values[name] for name in names), average)]
        table.add_row(row, *cells, style="bold green" if row == "procir" else "")
    console.print(table)
