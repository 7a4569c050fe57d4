"""Record files: JSON lines read with file:line in every complaint, atomic writes, and content hashes."""

from __future__ import annotations

import codecs
import gc
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from procir.errors import DataError, MissingDataError, RecordError
from procir.types import Caption, Product, ProductKey, Split, Triplet

Row = dict[str, object]
"""One JSON object of a record file."""


_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


def read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    """The objects of a JSON lines file with their line numbers, from 1; blank lines are passed over.

    Encoding is UTF-8, with or without a byte order mark. Raises, on first use, MissingDataError without the file
    and RecordError for a line that is not UTF-8, not strict JSON (NaN, repeated keys), or not an object.
    """
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if content.strip():
                yield number, _parse(content, f"{path}:{number}")


def opened(path: Path) -> BinaryIO:
    """A file that is there to be read; raises MissingDataError if it cannot be opened."""
    try:
        return path.open("rb")
    except OSError as error:
        raise MissingDataError(f"{path}: cannot be opened ({error.strerror}); check the path") from error


def _parse(line: bytes, where: str) -> Row:
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not a JSON object in UTF-8 ({error}); correct or remove the line") from error
    if not isinstance(row, dict):
        raise RecordError(f"{where}: a JSON {type(row).__name__}, not an object; write one {{...}} a line")
    return row


def _unique(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in row if keys.count(key) > 1)
        raise ValueError(f"key {repeated!r} is given twice")
    return row


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def text(row: Mapping[str, object], field: str, where: str) -> str:
    """The text of a field, not blank; `where` is file:line. Raises RecordError naming it and the field."""
    return _checked_text(_present(row, field, where), field, where)


def identifier(row: Mapping[str, object], field: str, where: str) -> str:
    """The id in a field: a text, or a whole number, which is spelled in decimal digits."""
    value = _present(row, field, where)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _checked_text(value, field, where)


def product_key(row: Mapping[str, object], where: str) -> ProductKey:
    """The product that the fields `dataset` and `product_id` name."""
    return ProductKey(text(row, "dataset", where), identifier(row, "product_id", where))


def optional_text(row: Mapping[str, object], field: str, where: str) -> str | None:
    """The text of a field, or None where the field is absent, null or blank."""
    value = row.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return _checked_text(value, field, where)


def texts(row: Mapping[str, object], field: str, where: str) -> tuple[str, ...]:
    """The texts of a field that holds a list; nothing where the field is absent or null."""
    value = row.get(field)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RecordError(f"{where}: field {field!r} is {_kind(value)}, not a list of texts; correct the line")
    return tuple(_checked_text(item, field, where) for item in value)


def _present(row: Mapping[str, object], field: str, where: str) -> object:
    if row.get(field) is None:
        known = ", ".join(sorted(row)) or "nothing"
        raise RecordError(f"{where}: field {field!r} is missing (the line has {known}); add it")
    return row[field]


def _checked_text(value: object, field: str, where: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{where}: field {field!r} is {_kind(value)}, not a text; correct the line")
    if not value.strip():
        raise RecordError(f"{where}: field {field!r} is blank; fill it in or remove the line")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(f"{where}: field {field!r} holds half a surrogate pair; write whole characters") from error
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write rows as JSON lines in one atomic step, and return their number. Raises DataError for NaN and the like."""
    count = 0
    with replacing(path) as file:
        for count, row in enumerate(rows, start=1):
            file.write(_encode(row, f"{path}:{count}") + b"\n")
    return count


def write_json(path: Path, value: object) -> None:
    """Write one JSON value, indented, in one atomic step. Raises DataError for what JSON cannot hold."""
    write_bytes(path, _encode(value, str(path), indent=2) + b"\n")


def write_text(path: Path, content: str) -> None:
    """Write a text as UTF-8 in one atomic step, its line ends as they are."""
    write_bytes(path, content.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes in one atomic step."""
    with replacing(path) as file:
        file.write(content)


def _encode(value: object, where: str, indent: int | None = None) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: cannot be written as JSON ({error}); pass plain finite values") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and disappears when it does not.

    Missing parent folders are made. Readers see the old content or the new, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: it would make the file private to this user, whatever the umask.
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends, and vanishes if it fails.

    With `durable` its files are on the disk before it does, so that a machine may vanish at any moment.
    What was at `path` is removed last: at every moment one of both is whole. What a killed process left behind, and
    whether the old folder must come back, is for `clear_unfinished`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    before = scratch.with_name(f"{scratch.name}{_BEFORE}")
    try:
        yield scratch
        scratch.chmod(0o755)
        if durable:
            _flush(scratch)
        if path.exists():
            path.replace(before)
        scratch.replace(path)
        if durable:
            _flush_name(path.parent)
    finally:
        if before.exists() and not path.exists():
            before.replace(path)
        for leftover in (scratch, before):
            shutil.rmtree(leftover, ignore_errors=True)


def clear_unfinished(path: Path) -> None:
    """Remove what a `replacing_folder` of `path` left when its process was killed; a folder moved away comes back."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}-*"):
        if _SCRATCH.fullmatch(leftover.name.removeprefix(f".{path.name}-")):
            if leftover.name.endswith(_BEFORE) and not path.exists():
                leftover.replace(path)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


_BEFORE = "-before"
_SCRATCH = re.compile(rf"[a-z0-9_]{{8}}({_BEFORE})?")


def _flush(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with Path(parent, name).open("r+b") as file:
                os.fsync(file.fileno())
        _flush_name(Path(parent))


def _flush_name(folder: Path) -> None:
    if os.name != "posix":  # where a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cyclic garbage while many records are read: it takes half of the time, and finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def content_hash(*parts: Path | bytes) -> str:
    """SHA-256, in hex, of the SHA-256 digests of the parts (files or bytes) in their order.

    Digests of digests keep the borders: ("a", "bc") and ("ab", "c") differ. Raises MissingDataError without a file.
    """
    return hashlib.sha256(b"".join(map(_digest, parts))).hexdigest()


def _digest(part: Path | bytes) -> bytes:
    if isinstance(part, bytes):
        return hashlib.sha256(part).digest()
    try:
        with part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise MissingDataError(f"{part}: cannot be hashed ({error.strerror}); restore the file") from error


def file_hash(path: Path) -> str:
    """SHA-256, in hex, of a file's content. Raises MissingDataError without the file."""
    return _digest(path).hex()


def data_hash(split: Split) -> str:
    """SHA-256, in hex, of what a split holds: keys, view file names and contents, captions and triplets.

    The same data in another folder, or in mappings of another order, gives the same hash; the order of a
    product's views and of the triplets counts. Reads every image file.
    """
    total = hashlib.sha256()
    for _, _, line in data_lines(split):
        total.update(line)
    return total.hexdigest()


def data_lines(split: Split, image_hash: Callable[[Path], str] = file_hash) -> Iterator[tuple[str, str, bytes]]:
    """What `data_hash` hashes: product, caption or triplet; its name; and the line that stands for it."""
    for key, product in sorted(split.products.items()):
        yield "product", str(key), _canonical(["product", *_product_facts(product, image_hash)])
    for key in sorted(split.captions):  # not the captions themselves, which may lie on the disk
        yield "caption", str(key), _canonical(["caption", *_caption_facts(split.captions[key])])
    for triplet in split.triplets:
        name = f"{triplet.source} -> {triplet.target}"
        yield "triplet", name, _canonical(["triplet", *_triplet_facts(triplet)])


def _product_facts(product: Product, image_hash: Callable[[Path], str]) -> list[object]:
    views = [[view.path.name, view.name, image_hash(view.path)] for view in product.views]
    return [product.key.dataset, product.key.product_id, product.category, product.gender, views]


def _caption_facts(caption: Caption) -> list[object]:
    return [caption.key.dataset, caption.key.product_id, caption.long, caption.short, list(caption.images)]


def _triplet_facts(triplet: Triplet) -> list[object]:
    keys = (triplet.source, triplet.target, *triplet.satisfying)
    named = [[key.dataset, key.product_id] for key in keys]
    return [named, triplet.short, triplet.long, list(triplet.views_involved)]


def _canonical(value: list[object]) -> bytes:
    # ASCII, so that file names that are not valid Unicode hash as well; the line end keeps the records apart.
    return _COMPACT.encode(value).encode("ascii") + b"\n"


_COMPACT = json.JSONEncoder(separators=(",", ":"))
