"""Photos on other machines, fetched from a server of the test on this machine."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from catalogues import encoded, noise
from procir.catalog.choosing import ViewRules
from procir.catalog.importing import import_products
from procir.catalog.sources import fetching
from procir.catalog.sources.fetching import RemotePhoto, host_of
from procir.catalog.sources.table import Table, table_offers
from procir.errors import ImageError, RecordError

PHOTO = encoded(noise("remote"))


class Shop(BaseHTTPRequestHandler):
    seen: ClassVar[Counter[str]] = Counter()

    def do_GET(self):
        path = self.path
        self.seen[path] += 1
        if path.startswith("/to/"):
            self._answer(302, b"", location=path.removeprefix("/to/"))
        elif path == "/loop":
            self._answer(302, b"", location="/loop")
        elif (path == "/busy.jpg" and self.seen[path] < 3) or path == "/down.jpg":
            self._answer(503, b"")
        elif path == "/cut.jpg":
            self._answer(200, PHOTO[:100], length=len(PHOTO))
        elif path == "/large.jpg":
            self._answer(200, b"\xff" * 300_000)
        elif path.partition("?")[0].endswith(".jpg") and "gone" not in path:
            self._answer(200, PHOTO)
        else:
            self._answer(404, b"none")

    def _answer(self, status, content, *, location=None, length=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def shop(monkeypatch):
    monkeypatch.setattr(fetching, "_PAUSE", 0.001)
    Shop.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def photo(url: str, *hosts: str) -> RemotePhoto:
    return RemotePhoto(url, hosts or ("127.0.0.1",))


def test_a_photo_is_fetched(shop):
    found = photo(f"{shop}/files/a%20b.jpg?v=3")
    assert (found.name, found.read()) == ("a b.jpg", PHOTO)
    assert photo(f"{shop}/").name == "photo"
    by_name = shop.replace("127.0.0.1", "localhost")
    assert photo(f"{by_name}/a.jpg", "localhost").read() == PHOTO


def test_redirects_stay_with_allowed_hosts(shop):
    assert photo(f"{shop}/to//b.jpg").read() == PHOTO
    other = shop.replace("127.0.0.1", "localhost")
    with pytest.raises(ImageError, match="leads to http://localhost, a host that is not allowed"):
        photo(f"{shop}/to/{other}/b.jpg").read()
    with pytest.raises(ImageError, match="leads to file://"):
        photo(f"{shop}/to/file:///etc/passwd").read()
    with pytest.raises(ImageError, match="more than 5 redirects"):
        photo(f"{shop}/loop").read()
    assert Shop.seen["/loop"] == 6


def test_private_addresses_must_be_allowed_themselves(shop, monkeypatch):
    port = int(shop.rpartition(":")[2])
    asked = []

    def resolve(host, *_, **__):
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    with pytest.raises(ImageError, match=r"cdn.shop.example is at the private address 127.0.0.1"):
        photo(f"http://cdn.shop.example:{port}/a.jpg", "cdn.shop.example").read()
    assert not Shop.seen
    assert photo(f"http://cdn.shop.example:{port}/a.jpg", "cdn.shop.example", "127.0.0.1").read() == PHOTO
    assert asked[:2] == ["cdn.shop.example", "cdn.shop.example"]  # the name is looked up once a try


def test_servers_that_fail(shop, monkeypatch):
    assert photo(f"{shop}/busy.jpg").read() == PHOTO
    for path, message in (("down.jpg", "answers 503; try again"), ("gone.jpg", "answers 404"), ("cut.jpg", "no whole")):
        with pytest.raises(ImageError, match=message):
            photo(f"{shop}/{path}").read()
    assert (Shop.seen["/down.jpg"], Shop.seen["/gone.jpg"]) == (3, 1)
    monkeypatch.setattr(fetching, "ImageLimits", lambda: type("Limits", (), {"max_bytes": 100_000}))
    with pytest.raises(ImageError, match="over the limit of 100000 bytes"):
        photo(f"{shop}/large.jpg").read()


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr(fetching, "_PAUSE", 0.001)
    with pytest.raises(ImageError, match="no whole answer"):
        photo("http://127.0.0.1:9/a.jpg").read()


@pytest.mark.parametrize("url", ["https:///a.jpg", "http://user@host/a.jpg", "http://h:port/a.jpg"])
def test_addresses_that_are_none(url):
    with pytest.raises(RecordError, match=r"t.csv:2: .* address"):
        host_of(url, "t.csv:2")


def test_a_table_of_addresses_is_imported(shop, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"id,image\n1,{shop}/a_front.jpg\n2,{shop}/gone.jpg\n", encoding="utf-8")
    table = Table(path=path, dataset="shop", images=tmp_path, hosts=("127.0.0.1",))
    report = import_products(
        lambda findings: table_offers(table, findings), tmp_path / "out", ViewRules(),
        about={"source": "table", "place": "t.csv"},
    )  # fmt: skip
    assert (report.kept, report.skipped["photos that cannot be read"]) == (1, 1)
    assert (tmp_path / "out/images/shop/1/01_front.jpg").read_bytes() == PHOTO
