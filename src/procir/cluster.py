"""Joining a Ray cluster (the extra `cluster`)."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from procir.errors import ConfigError


def connect(address: str) -> Any:
    """Ray, joined to a cluster, with its data pipelines in order and silent. Raises ConfigError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == "local":  # all addresses on the loopback, as on systems without clusters
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("a cluster needs Ray: pip install 'procir[cluster]'") from error
    if not ray.is_initialized():
        local = {"include_dashboard": False} if address == "local" else {}
        try:
            _require_answer(address)
            ray.init(address=address, log_to_driver=False, logging_level="error", **local)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster at {address!r}: {error}; start one with `ray start --head`") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray


def _require_answer(address: str) -> None:
    """Raise OSError if nobody listens at HOST:PORT, which Ray itself notices only after minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()
