"""What a person sees while a recipe runs: one line a stage, with a bar where the end is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from procir.train.log import StepReport
from procir.types import LoadReport

console = Console(highlight=False)

Advance = Callable[[int, int, str], None]
"""Told (done, total, note)."""


@contextmanager
def stage(title: str) -> Iterator[Advance]:
    """A progress bar for one stage of a run; it stays as a line when the stage ends."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, note="")

        def advance(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield advance
        finished = progress.tasks[task]
        progress.update(task, total=finished.total or 1, completed=finished.total or 1)


def step_note(report: StepReport) -> str:
    """Loss, learning rate and speed of a training step in a few words."""
    return f"loss {report.losses['loss']:.3f}  lr {report.learning_rate:.1e}  {report.samples_per_second:.1f} samples/s"


def show_load(name: str, report: LoadReport) -> None:
    """Print what reading a catalogue kept, and what it left out and why."""
    console.print(
        f"[bold]{name}[/]: {report.products:,} products, {report.views:,} views, {report.captions:,} captions, "
        f"{report.triplets:,} triplets"
    )
    for reason, count in report.skipped.items():
        examples = ", ".join(report.examples.get(reason, ()))
        console.print(f"  [yellow]left out[/] {count:,}: {reason}" + (f" ({examples})" if examples else ""))


def show_rows(rows: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print a table of recalls in percent."""
    names = list(next(iter(rows.values())))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row, values in rows.items():
        cells = ["–" if values[name] is None else f"{values[name]:.1f}" for name in names]
        table.add_row(row, *cells, style="bold green" if row == "procir" else "")
    console.print(table)
