"""Photos on other machines: fetched from allowed hosts only, within limits."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from procir.errors import ImageError, RecordError
from procir.images import ImageLimits

_REDIRECTS, _TRIES = 5, 3
_SECONDS = 30.0
_PAUSE = 0.5
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A photo at an http or https address, of one of the allowed hosts."""

    url: str
    hosts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the address's path."""
        return unquote(httpx.URL(self.url).path).rstrip("/").rpartition("/")[2] or "photo"

    def read(self) -> bytes:
        """The content, over up to five redirects that stay with allowed hosts; raises ImageError.

        A host that resolves to a private address is refused unless that address, or localhost, is allowed itself. Tried
        three times where the server is overloaded or out of reach. Proxies of the environment are not used.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return self._fetch()
            except _BusyError as error:
                if attempt == _TRIES:
                    raise ImageError(f"{self.url}: {error}; try again later") from error
                time.sleep(_PAUSE * attempt)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise ImageError(f"{self.url}: cannot be fetched ({error}); check the address") from error
        raise AssertionError

    def _fetch(self) -> bytes:
        url = httpx.URL(self.url)
        for _ in range(_REDIRECTS + 1):
            with _asked(url, self._address(url)) as response:
                if not response.is_redirect:
                    return self._content(response)
                url = url.join(response.headers["location"])
        raise ImageError(f"{self.url}: more than {_REDIRECTS} redirects; give the photo's own address")

    def _address(self, url: httpx.URL) -> str:
        """An address of the URL's host that may be asked."""
        if url.scheme not in ("http", "https") or url.host not in self.hosts:
            raise ImageError(f"{self.url}: leads to {url.scheme}://{url.host}, a host that is not allowed; allow it")
        try:
            found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise _BusyError(f"{url.host} cannot be found ({error})") from error
        for *_, place in found:
            address = str(place[0])
            if ipaddress.ip_address(address).is_global or address in self.hosts or url.host == "localhost":
                return address
        raise ImageError(f"{self.url}: {url.host} is at the private address {found[0][4][0]}; allow that address, too")

    def _content(self, response: httpx.Response) -> bytes:
        if response.status_code in _AGAIN:
            raise _BusyError(f"the server answers {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise ImageError(f"{self.url}: the server answers {response.status_code}; check the address")
        limit, content = ImageLimits().max_bytes, bytearray()
        deadline = time.monotonic() + 2 * _SECONDS
        for piece in response.iter_bytes():
            content += piece
            if len(content) > limit:
                raise ImageError(f"{self.url}: over the limit of {limit} bytes; offer a smaller photo")
            if time.monotonic() > deadline:
                raise _BusyError(f"not whole after {2 * _SECONDS:.0f} s")
        return bytes(content)


class _BusyError(Exception):
    """Trying again may help."""


@contextmanager
def _asked(url: httpx.URL, address: str) -> Iterator[httpx.Response]:
    """The answer of the very address that was checked: the name is not looked up a second time."""
    headers = {"Host": url.netloc.decode("ascii"), "Accept": "image/*"}
    try:
        with (
            httpx.Client(timeout=_SECONDS, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "GET", url.copy_with(host=address), headers=headers, extensions={"sni_hostname": url.host}
            ) as response,
        ):
            yield response
    except httpx.TransportError as error:
        raise _BusyError(f"no whole answer ({error!r})") from error


def host_of(url: str, where: str) -> str:
    """The host of an address; raises RecordError for what is none, and for addresses with a user's name."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise RecordError(f"{where}: {url!r} is no address ({error}); correct it") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise RecordError(f"{where}: {url!r} is no plain http or https address; correct it")
    return parsed.host
