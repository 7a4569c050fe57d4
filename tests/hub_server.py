"""A small Hub on loopback, as far as uploading and downloading a model needs it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "x" * 34
"""The token that may write; any other is unknown, and `READER` may only read."""
READER = "hf_" + "r" * 34


@dataclass
class Hub:
    """What the server holds: files of the repository, large objects by their hash, commits, and requests."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve an empty Hub."""
    store = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """No lines on the terminal."""

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def reply(self, status: int, value: Any = None, headers: dict[str, str] | None = None) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value or {}).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_POST(self) -> None:
            body = self.body()
            store.asked.append(self.path)
            who = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if who == READER:
                self.reply(403, {"error": "You don't have the rights"})
            elif who != TOKEN:
                self.reply(401, {"error": "Invalid credentials"})
            elif self.path == "/api/repos/create":
                told = json.loads(body)
                store.created.append(told)
                self.reply(200, {"url": f"{store.url}/{told.get('organization', 'me')}/{told['name']}"})
            elif self.path == "/api/validate-yaml":
                self.reply(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self.reply(200, {"files": [self._mode(file["path"]) for file in files]})
            elif self.path.endswith("/info/lfs/objects/batch"):
                told = json.loads(body)
                objects = [
                    {**one, "actions": {"upload": {"href": f"{store.url}/objects/{one['oid']}"}}}
                    for one in told["objects"]
                ]
                self.reply(200, {"transfer": "basic", "objects": objects})
            elif "/commit/" in self.path:
                self._commit([json.loads(line) for line in body.splitlines()])
            else:
                self.reply(404)

        @staticmethod
        def _mode(path: str) -> dict[str, Any]:
            mode = "lfs" if path.endswith(".safetensors") else "regular"
            return {"path": path, "uploadMode": mode, "shouldIgnore": False}

        def _commit(self, lines: list[dict[str, Any]]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    store.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    store.files[value["path"]] = store.objects[value["oid"]]
                else:
                    store.commits.append(value)
            self.reply(200, {"commitUrl": f"{store.url}/me/mine/commit/{'a' * 40}", "commitOid": "a" * 40})

        def do_PUT(self) -> None:
            content = self.body()
            name = self.path.removeprefix("/objects/")
            if sha256(content).hexdigest() != name:
                self.reply(400)
                return
            store.objects[name] = content
            self.reply(200)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            store.asked.append(self.path)
            name = self.path.rpartition("/")[2]
            if "/tree/" in self.path:
                tree = [
                    {"type": "file", "path": path, "size": len(content), "oid": sha1(content).hexdigest()}
                    for path, content in store.files.items()
                ]
                self.reply(200, json.dumps(tree).encode())
            elif self.path.startswith("/api/models/"):
                told = {"id": "me/mine", "sha": "a" * 40, "siblings": [{"rfilename": path} for path in store.files]}
                self.reply(200, told)
            elif "/resolve/" in self.path and name in store.files:
                content = store.files[name]
                self.reply(200, content, {"ETag": f'"{sha1(content).hexdigest()}"', "X-Repo-Commit": "a" * 40})
            else:
                self.reply(404, headers={"X-Error-Code": "EntryNotFound"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
