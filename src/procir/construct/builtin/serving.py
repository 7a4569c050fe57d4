"""Running the built-in annotator: as a command, or beside the code that asks it."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from procir.errors import ConfigError

HOST = "127.0.0.1"
_GRACE = 5
"""Seconds that answers under way get when the server stops."""


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The server in a thread of this process, on a free port of the loopback; yields its base URL."""
    with _bound(HOST, 0) as listener:
        server = _server(app)
        thread = threading.Thread(target=server.run, args=([listener],), name="builtin annotator", daemon=True)
        thread.start()
        try:
            yield _base_url(listener)
        finally:
            server.should_exit = True
            thread.join()


def serve(app: FastAPI, host: str, port: int, *, has_key: bool, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` is told the base URL once the port is taken. Port 0 takes a free one.

    Raises ConfigError for an address that is not this machine's own without a key, and for a port in use.
    """
    if not has_key and not _is_loopback(host):
        raise ConfigError(f"{host} can be reached from other machines: set a key for the server, or bind {HOST}")
    with _bound(host, port) as listener:
        ready(_base_url(listener))
        _server(app).run([listener])


def _server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE
    )
    return uvicorn.Server(config)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket: who connects before the server runs is kept waiting, not refused."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be bound ({error.strerror}); choose another address or port"
        ) from error
    # asyncio switches Nagle's delay off only for sockets that it opens itself; connections inherit this.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        yield listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
