"""Plain text files that come with released datasets, a line at a time; lines that cannot be used are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from procir.catalog.annotations import is_safe
from procir.catalog.findings import Findings
from procir.records import opened

MALFORMED = "lines that cannot be used"
ABSENT = "files that are absent, so that what they tell is not known"
BOTH_SPLITS = "products in both splits, which are taken as val"


def read_lines(path: Path, findings: Findings) -> Iterator[tuple[str, str]]:
    """The place (file:line) and the text of every line that is not blank; those not in UTF-8 are counted.

    Raises MissingDataError for a file that cannot be opened.
    """
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                findings.add(MALFORMED, f"{where} (not UTF-8)")
                continue
            if text.strip():
                yield where, text


def read_table(path: Path, columns: int, findings: Findings) -> Iterator[tuple[str, list[str]]]:
    """The fields of a list in DeepFashion's layout: the number of rows, where there are several columns their names,
    and rows of fields between spaces, the last of which may hold spaces itself.

    Rows with too few fields are counted, and so is a file that has another number of rows than it says.
    """
    lines = read_lines(path, findings)
    where, first = next(lines, (str(path), ""))
    if not first.strip().isdecimal():
        findings.add("lists that do not begin with their number of rows", where)
    if columns > 1:
        next(lines, None)
    rows = 0
    for where, line in lines:
        rows += 1
        fields = line.split(maxsplit=columns - 1)
        if len(fields) < columns:
            findings.add(MALFORMED, where)
        else:
            yield where, [field.strip() for field in fields]
    if first.strip().isdecimal() and rows != int(first):
        findings.add("lists with another number of rows than they say", f"{path} ({rows} of {int(first)})")


def photo_parts(name: str, depth: int) -> tuple[str, ...] | None:
    """The folders and the file of a photo's path; None unless it has that depth and stays below its root."""
    parts = tuple(name.split("/"))
    return parts if len(parts) == depth and is_safe(name) else None
