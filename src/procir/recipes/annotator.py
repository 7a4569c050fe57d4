"""What `procir annotator` does: the built-in annotator for a drawn catalogue, or a fine-tuned model, behind HTTP."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from rich.console import Console

from procir.catalog.atelier.catalogue import read_garments
from procir.construct.builtin.album import Album
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import RequestLog, app_of, create_app
from procir.construct.builtin.serving import serve
from procir.errors import ConfigError
from procir.recipes.choices import ModelChoice


def serve_annotator(
    catalogue: Path, host: str, port: int, faults: Faults, *, key_variable: str | None, log: Path | None, look: bool
) -> None:
    """Serve until interrupted. With `look` it refuses pictures that are not the product's own.

    Raises ConfigError for a key variable that is not set, an open address without a key, or a port in use.
    """
    key = _key(key_variable)
    sheets = read_garments(catalogue)
    with closing(RequestLog(log)) as requests:
        app = create_app(sheets, faults, album=Album(catalogue) if look else None, api_key=key, log=requests)
        serve(app, host, port, has_key=key is not None, ready=lambda url: _tell(url, len(sheets)))


def serve_model(choice: ModelChoice, host: str, port: int, *, key_variable: str | None, log: Path | None) -> None:
    """Serve a fine-tuned model for stage 1 until interrupted. Raises ConfigError as `serve_annotator` does."""
    from procir.recipes.commands import load_embedder
    from procir.recipes.model_captions import ModelAnnotator
    from procir.recipes.ranks import ALONE

    key = _key(key_variable)
    annotator = ModelAnnotator(load_embedder(choice, ALONE))
    with closing(RequestLog(log)) as requests:
        app = app_of(annotator, Faults(), api_key=key, log=requests)
        serve(app, host, port, has_key=key is not None, ready=lambda url: _say(f"{choice.model} answers at {url}"))


def _key(variable: str | None) -> str | None:
    key = os.environ.get(variable, "").strip() if variable else None
    if key == "":
        raise ConfigError(f"the environment variable {variable} is not set: export the key of the server there")
    return key


def _tell(url: str, products: int) -> None:
    _say(f"annotator of {products:,} products at {url}")


def _say(what: str) -> None:
    # Not by recipes.console, which loads torch.
    said = f"{what}; give this as base_url; Ctrl-C stops it"
    Console(highlight=False).print(said, markup=False, soft_wrap=True)
