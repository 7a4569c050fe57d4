"""Trackers: services in which people watch and compare runs, beside the log that every run writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from procir.errors import ConfigError
from procir.records import write_text

TrackerName = Literal["wandb", "trackio"]

NAME_FILE = "tracker-run.txt"
"""Holds the name by which trackers know the run of a folder, so that a resumed run goes on in the same one."""

_PROJECT = "procir"


@runtime_checkable
class Tracker(Protocol):
    """Takes the numbers of a run."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take numbers by name, such as train/loss, of a step counted from 1."""

    def close(self) -> None:
        """End the run; what was taken is kept."""


def open_trackers(
    names: Sequence[TrackerName], out: Path, settings: Mapping[str, Any], *, resumed: bool
) -> dict[TrackerName, Tracker]:
    """Trackers of the run in `out` by name; a resumed run goes on where it was.

    Nothing is imported but what is named. Where the numbers go is each tracker's own business, and set by its own
    environment variables: WANDB_MODE, WANDB_PROJECT, TRACKIO_DIR, TRACKIO_SPACE_ID and so on. Raises ConfigError if one
    is not installed or cannot begin.
    """
    if not names:
        return {}
    name = _run_name(out, resumed=resumed)
    found: dict[TrackerName, Tracker] = {}
    try:
        for kind in dict.fromkeys(names):
            found[kind] = _begin(kind, name, out, settings)
    except ConfigError:
        for tracker in found.values():
            with suppress(Exception):  # what refused to begin is told, not how another ended
                tracker.close()
        raise
    return found


def _begin(kind: TrackerName, name: str, out: Path, settings: Mapping[str, Any]) -> Tracker:
    try:
        return _KINDS[kind](name, out, settings)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == kind:
            raise ConfigError(f"trackers: {kind} is not installed: pip install 'procir[{kind}]'") from error
        raise ConfigError(
            f"trackers: {kind} cannot begin: {error}; see that it is installed whole and you are logged in, or leave "
            "it out"
        ) from error


class _Wandb:
    def __init__(self, name: str, out: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        quiet = wandb.Settings(silent=True, console="off")
        self._run = wandb.init(
            project=project, id=name, name=name, dir=out, config=dict(settings), resume="allow", settings=quiet
        )
        # Steps that a resumed run takes again would be dropped if they were wandb's own steps, which only rise.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, name: str, out: Path, settings: Mapping[str, Any]) -> None:  # noqa: ARG002 - as its sister
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", _PROJECT)
        with redirect_stdout(StringIO()):
            self._run = trackio.init(
                project=project, name=name, config=dict(settings), resume="allow", auto_log_gpu=False,
                auto_log_cpu=False, embed=False,
            )  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self._run.finish()


_KINDS: dict[TrackerName, Callable[[str, Path, Mapping[str, Any]], Tracker]] = {"wandb": _Wandb, "trackio": _Trackio}


def _run_name(out: Path, *, resumed: bool) -> str:
    path = out / NAME_FILE
    if resumed and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    name = f"{out.resolve().name}-{secrets.token_hex(4)}"
    write_text(path, name + "\n")
    return name
