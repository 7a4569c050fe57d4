"""Rows of CSV, TSV and JSON lines files, whatever their encoding and separator, one at a time."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from charset_normalizer import from_bytes

from procir.catalog.sources.columns import known_columns
from procir.errors import RecordError
from procir.records import Row, opened, read_jsonl

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})

_SEPARATORS = ",;\t|"
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 1 << 18


def read_rows(path: Path, encoding: str | None = None, separator: str | None = None) -> Iterator[tuple[str, Row]]:
    """The rows with their file:line; cells of a CSV file are texts by column, blank where a row ends early.

    Raises MissingDataError without the file, RecordError for what cannot be read.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        return ((f"{path}:{number}", row) for number, row in read_jsonl(path))
    return _read_csv(path, encoding or find_encoding(path), separator)


def _read_csv(path: Path, encoding: str, separator: str | None) -> Iterator[tuple[str, Row]]:
    remedy = "name the encoding and the separator, or correct the file"
    number = 0
    try:
        with path.open(encoding=encoding, newline="") as file:
            first = separator or find_separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=first, strict=True)
            header = _header(next(reader, []), f"{path}:1")
            for cells in reader:
                number = reader.line_num
                if any(cell.strip() for cell in cells):
                    yield f"{path}:{number}", _row(header, cells, f"{path}:{number}")
    except (csv.Error, UnicodeError, LookupError) as error:
        raise RecordError(f"{path}:{number + 1}: cannot be read as {encoding} ({error}); {remedy}") from error


def _header(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise RecordError(f"{where}: column {repeated[0]!r} is there twice; rename one of them")
    if not any(names):
        raise RecordError(f"{where}: no header; name the columns in the first line")
    return names


def _row(header: Sequence[str], cells: Sequence[str], where: str) -> Row:
    if len(cells) > len(header):
        raise RecordError(f"{where}: {len(cells)} cells below {len(header)} columns; quote cells that hold separators")
    return {name: cell.strip() for name, cell in zip_longest(header, cells, fillvalue="") if name}


def find_separator(header: str) -> str:
    """Comma, semicolon, tab or bar: the one that gives the most columns with a known name, then the most columns."""

    def score(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=separator), [])
        return known_columns(list(dict.fromkeys(cells))), len(cells)

    return max(_SEPARATORS, key=score)


def find_encoding(path: Path) -> str:
    """By its byte order mark, else UTF-8 if all of the file is, else what its beginning looks like.

    Raises MissingDataError without the file, RecordError if nothing fits.
    """
    with opened(path) as file:
        start = file.read(_SAMPLE)
        for mark, encoding in _BOMS:
            if start.startswith(mark):
                return encoding
        file.seek(0)
        if _is_utf8(iter(lambda: file.read(_SAMPLE), b"")):
            return "utf-8"
    best = from_bytes(start).best()
    if best is None:
        raise RecordError(f"{path}: no text in a known encoding; export it as UTF-8, or name its encoding")
    return best.encoding


def _is_utf8(pieces: Iterator[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
