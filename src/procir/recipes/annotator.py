"""What `procir annotator` does: the built-in annotator for a drawn catalogue, behind HTTP."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from rich.console import Console

from procir.catalog.atelier.catalogue import read_garments
from procir.construct.builtin.album import Album
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import RequestLog, create_app
from procir.construct.builtin.serving import serve
from procir.errors import ConfigError


def serve_annotator(
    catalogue: Path, host: str, port: int, faults: Faults, *, key_variable: str | None, log: Path | None, look: bool
) -> None:
    """Serve until interrupted. With `look` it refuses pictures that are not the product's own.

    Raises ConfigError for a key variable that is not set, an open address without a key, or a port in use.
    """
    key = os.environ.get(key_variable, "").strip() if key_variable else None
    if key == "":
        raise ConfigError(f"the environment variable {key_variable} is not set: export the key of the server there")
    sheets = read_garments(catalogue)
    with closing(RequestLog(log)) as requests:
        app = create_app(sheets, faults, album=Album(catalogue) if look else None, api_key=key, log=requests)
        serve(app, host, port, has_key=key is not None, ready=lambda url: _tell(url, len(sheets)))


def _tell(url: str, products: int) -> None:
    # Not by recipes.console, which loads torch.
    said = f"annotator of {products:,} products at {url}; give this as base_url; Ctrl-C stops it"
    Console(highlight=False).print(said, markup=False, soft_wrap=True)
