"""results.json: what an evaluation found, in percent, with all that is needed to know what was measured."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from procir.errors import MissingDataError, RecordError
from procir.evaluate.protocol import Evaluation, Retrieval, Row
from procir.evaluate.statistics import Asked, recall_interval
from procir.records import write_json

MODEL_ROW = "procir"
"""Name of the evaluated model's own row."""

PACKAGES = ("procir", "torch", "transformers", "numpy")
"""Packages whose versions are recorded beside Python's."""

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "rows": dict,
    "i2t": dict,
    "t2i": dict,
    "datasets": dict,
    "substituted": dict,
    "queries": int,
    "gallery": int,
    "seed": int,
    "data_hash": str,
    "versions": dict,
    "config": dict,
    "seconds": dict,
}


def build_results(
    evaluation: Evaluation,
    rows: Mapping[str, Row],
    *,
    seed: int,
    data_hash: str,
    config: Mapping[str, Any],
    seconds: Mapping[str, int | float] | None = None,
) -> dict[str, Any]:
    """The content of results.json: recalls in percent to 2 decimals, None for a k beyond a gallery.

    `rows` are the plain rows and other embedders' rows; the evaluated model's own row is added first. Each
    row is the mean over datasets, with the parts under "datasets". `seconds` adds to the evaluation's own
    stages, in wall time.
    """
    table = {MODEL_ROW: evaluation.cir, **rows}
    ks = evaluation.ks
    return {
        "rows": {name: _recalls(row, ks) for name, row in table.items()},
        "i2t": _recalls(evaluation.i2t, ks),
        "t2i": _recalls(evaluation.t2i, ks),
        "datasets": {part.dataset: _dataset(part.dataset, evaluation, table) for part in evaluation.galleries},
        "substituted": {name: row.substituted for name, row in table.items() if row.substituted},
        "asked": _asked(evaluation, rows),
        "intervals": _intervals(evaluation),
        "queries": sum(len(part.triplets) for part in evaluation.galleries),
        "gallery": sum(len(part.products) for part in evaluation.galleries),
        "seed": seed,
        "data_hash": data_hash,
        "versions": _versions(),
        "config": dict(config),
        "seconds": {name: round(value, 3) for name, value in {**evaluation.seconds, **(seconds or {})}.items()},
    }


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results.json; an interrupted run leaves the old file."""
    write_json(path, results)


def read_results(path: Path) -> dict[str, Any]:
    """What `build_results` gave.

    Raises MissingDataError if there is no such file, and RecordError naming what in it is not as it should be.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: no such results file; run an evaluation first")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}:{getattr(error, 'lineno', 1)}: not JSON ({error}); evaluate again") from error
    _check(path, results)
    return dict(results)


def _recalls(measured: Row | Retrieval, ks: Sequence[int]) -> dict[str, float | None]:
    return {f"R@{k}": _percent(measured.recall(k)) for k in ks}


def _asked(evaluation: Evaluation, rows: Mapping[str, Row]) -> dict[str, int]:
    """How many queries the rows have that do not ask all of them."""
    everything = _queries(evaluation.cir)
    return {name: _queries(row) for name, row in rows.items() if _queries(row) != everything}


def _intervals(evaluation: Evaluation) -> dict[str, list[float] | None]:
    """The bounds of the model's own recalls, in percent: 95 %, over source products."""
    asked = {
        part.dataset: Asked(evaluation.cir.datasets[part.dataset].ranks, part.sources())
        for part in evaluation.galleries
    }
    found: dict[str, list[float] | None] = {}
    for k in evaluation.ks:
        measured = evaluation.cir.recall(k) is not None
        bounds = recall_interval(asked, k) if measured else None
        found[f"R@{k}"] = None if bounds is None else [round(100 * bounds.low, 2), round(100 * bounds.high, 2)]
    return found


def _queries(row: Row) -> int:
    return sum(len(retrieval.ranks) for retrieval in row.datasets.values())


def _percent(recall: float | None) -> float | None:
    return None if recall is None else round(100 * recall, 2)


def _dataset(name: str, evaluation: Evaluation, table: Mapping[str, Row]) -> dict[str, Any]:
    ks = evaluation.ks
    return {
        "queries": len(evaluation.cir.datasets[name].ranks),
        "gallery": evaluation.cir.datasets[name].gallery_size,
        "captions": evaluation.i2t.datasets[name].gallery_size,
        "rows": {row_name: _recalls(row.datasets[name], ks) for row_name, row in table.items() if name in row.datasets},
        "i2t": _recalls(evaluation.i2t.datasets[name], ks),
        "t2i": _recalls(evaluation.t2i.datasets[name], ks),
    }


def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check(path: Path, results: object) -> None:
    if not isinstance(results, dict):
        raise RecordError(f"{path}:1: results must be a JSON object; evaluate again")
    for name, kind in _FIELDS.items():
        if not isinstance(results.get(name), kind):
            raise RecordError(f"{path}:1: field {name!r} is missing or of the wrong type; evaluate again")
    if MODEL_ROW not in results["rows"]:
        raise RecordError(f"{path}:1: rows lack {MODEL_ROW!r}, the model's own; evaluate again")
    for name, row in {**results["rows"], "i2t": results["i2t"], "t2i": results["t2i"]}.items():
        _check_row(path, name, row)


def _check_row(path: Path, name: str, row: object) -> None:
    if not isinstance(row, dict) or not row:
        raise RecordError(f"{path}:1: row {name!r} is not a table of recalls; evaluate again")
    for measure, value in row.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100
        if value is not None and not number:
            raise RecordError(f"{path}:1: {measure} of row {name!r} is {value!r}, not a percentage; evaluate again")
