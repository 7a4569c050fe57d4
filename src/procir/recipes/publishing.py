"""Put a model on the Hugging Face Hub, with a card that says what it is and what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from procir.errors import CheckpointError, PublishError
from procir.evaluate.results import read_results
from procir.recipes.console import console, say
from procir.report.model_card import CardFacts, model_card, with_results

_CARD = "README.md"
_SUFFIXES = frozenset({".json", ".safetensors", ".md", ".jinja", ".txt", ".model"})
"""Endings of the files that belong to a model."""


def push(
    model: Path,
    repository: str,
    *,
    results: Sequence[Path],
    license: str | None,
    private: bool,
    message: str,
    dry_run: bool,
) -> None:
    """Upload a model folder in one commit, its card completed with results; a dry run only says what would go.

    Raises CheckpointError for a folder that is no model, PublishError for whatever the Hub or the way to it refuses.
    """
    files, left = _files(model)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise PublishError(f"{repository!r} is no name of a repository: {error}; use OWNER/NAME") from error
    card = _card(model / _CARD, [read_results(path) for path in results], repository, license)
    for path in files:
        size = len(card.encode()) if path.name == _CARD else path.stat().st_size
        console.print(f"  {path.name}  [dim]{size:,} bytes[/]")
    if left:
        say(f"left out, as no part of a model: {', '.join(left)}", "yellow")
    if dry_run:
        say(f"A dry run: nothing was sent to {repository}", "bold")
        return
    operations = [CommitOperationAdd(path.name, path) for path in files if path.name != _CARD]
    url = _commit(repository, [*operations, CommitOperationAdd(_CARD, card.encode())], private, message)
    say(f"The model is at {url}", "bold")


def _card(path: Path, results: Sequence[Mapping[str, Any]], repository: str, license: str | None) -> str:
    """The model's own card, or a short one where it has none, completed."""
    if path.is_file():
        own = path.read_text(encoding="utf-8")
    else:
        own = model_card(CardFacts(title=repository, about="Product-level composed image retrieval with procir."))
    try:
        return with_results(own, results, name=repository, license=license)
    except ValueError as error:
        raise PublishError(f"{path} is no card of a model ({error}); mend the lines between its --- marks") from error


def _files(model: Path) -> tuple[list[Path], list[str]]:
    """The files that go, and the names of what stays."""
    if (model / "model" / "config.json").is_file():
        raise CheckpointError(f"{model} is the folder of a run: push {model / 'model'}, or {model / 'best'}")
    if not (model / "config.json").is_file() or not list(model.glob("*.safetensors")):
        raise CheckpointError(f"{model} is no model folder: it lacks config.json or *.safetensors")
    found = sorted(model.iterdir())
    files = [path for path in found if path.is_file() and path.suffix in _SUFFIXES and not path.name.startswith(".")]
    left = [path.name for path in found if path not in files]
    return (files if model / _CARD in files else [*files, model / _CARD]), left


def _commit(repository: str, operations: list[CommitOperationAdd], private: bool, message: str) -> str:
    if get_token() is None:
        raise PublishError("no token for the Hub: log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)
    except HfHubHTTPError as error:
        raise PublishError(f"{repository}: {_reason(error)}") from error
    except (httpx.HTTPError, httpx2.HTTPError, ConnectionError) as error:  # as the version of huggingface_hub has it
        raise PublishError(
            f"{repository}: the Hub at {api.endpoint} cannot be reached ({error}); nothing was committed, try again"
        ) from error


def _reason(error: HfHubHTTPError) -> str:
    told = error.server_message or str(error)
    match error.response.status_code:
        case 401:
            return f"the Hub does not know the token ({told}); log in with `hf auth login`, or set HF_TOKEN"
        case 403:
            return f"the token may not write there ({told}); use one with the role write, or a name of your own"
        case status:
            return f"the Hub answered {status} ({told}); nothing was committed, try again"
