"""Questions to an annotator over HTTP: how near the client comes to what its endpoint gives, and what it costs.

A lean endpoint in another process answers after 100 ms, 64 calls are in flight. The peer in the same run is a client
of a few lines that only sends and receives: it shows what endpoint and machine give. Every question carries one tiny
picture whose bytes are ready, and its answer goes through the ledger. `python -m benchmarks.annotate` prints what it
measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image
from pydantic import BaseModel

from procir.annotators import loop
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger
from procir.annotators.request import Picture, Request
from procir.annotators.run import annotate
from procir.annotators.settings import AnnotatorSettings
from procir.images import to_jpeg

QUESTIONS = 9000
WARM_UP = 256
IN_FLIGHT = 64
SECONDS = 0.1
TARGET = 0.95
CPU_MS = 3.0

TEXT = "a caption of a product " * 25


class Caption(BaseModel):
    """An answer as short as those of the paper."""

    long_caption: str
    short_caption: str


def body() -> bytes:
    """The body of every answer."""
    content = json.dumps({"long_caption": TEXT * 3, "short_caption": TEXT})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 600, "total_tokens": 1600}
    head = {"id": "1", "object": "chat.completion", "created": 1_700_000_000, "model": "served"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


class Served(asyncio.Protocol):
    """HTTP with as little work as possible."""

    def __init__(self) -> None:
        content = body()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self.reply = head.encode() + content
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request after its time."""
        self.waiting += data
        head, mark, rest = self.waiting.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if mark and len(rest) >= length:
            self.waiting = rest[length:]
            asyncio.get_running_loop().call_later(SECONDS, self.transport.write, self.reply)


def serve(started: Connection) -> None:
    """The endpoint's process."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0)
        started.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


async def bare(port: int, message: bytes) -> float:
    """Questions a second of a client that only sends and receives."""
    length = len(Served().reply)
    remaining = iter(range(QUESTIONS))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in remaining:
            writer.write(message)
            await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return QUESTIONS / (time.perf_counter() - begun)


def questions(name: str, count: int) -> Iterator[Request[Caption]]:
    picture = to_jpeg(Image.new("RGB", (64, 64), "navy"), 85)
    for number in range(count):
        yield Request(
            stage="caption",
            item=f"{name} {number}",
            system="Describe the product. " * 100,
            parts=("[Image 1]", Picture(digest="tiny", load=lambda: picture, size=lambda: (64, 64)), str(number), name),
            schema=Caption,
            check=lambda _: None,
        )


async def ours(port: int, folder: Path) -> tuple[float, float]:
    """Questions a second through annotator and ledger, and milliseconds of CPU that one takes."""
    os.environ["BENCHMARK_KEY"] = "none"
    settings = AnnotatorSettings(
        provider="openai", model="served", base_url=f"http://127.0.0.1:{port}/v1", key_variable="BENCHMARK_KEY",
        max_tokens=8192, temperature=1.0, in_flight=IN_FLIGHT,
    )  # fmt: skip
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        async with HttpAnnotator(settings, ledger) as annotator:
            async for outcome in annotate(annotator, questions("warm", WARM_UP)):
                assert outcome.answer, outcome.reason
            begun, cpu = time.perf_counter(), time.process_time()
            async for outcome in annotate(annotator, questions("timed", QUESTIONS)):
                assert outcome.answer == Caption(long_caption=TEXT * 3, short_caption=TEXT), outcome.reason
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        assert [use.calls for use in ledger.usage()] == [WARM_UP + QUESTIONS]
    return QUESTIONS / seconds, 1000 * cpu / QUESTIONS


def main() -> int:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    port = receiver.recv()
    ideal = IN_FLIGHT / SECONDS
    message = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 4000\r\n\r\n" + b"x" * 4000
    try:
        peer = asyncio.run(bare(port, message))
        with tempfile.TemporaryDirectory() as folder:
            rate, cpu = loop.run(ours(port, Path(folder)))
    finally:
        server.terminate()
        server.join()
    print(
        f"{os.cpu_count()} cores, {IN_FLIGHT} in flight, answers after {SECONDS * 1000:.0f} ms, {QUESTIONS} questions"
    )
    print(f"ideal {ideal:.0f} questions a second, bare client {peer:.0f}, annotator and ledger {rate:.0f}; "
          f"{cpu:.2f} ms of CPU a question (target {CPU_MS:g})")  # fmt: skip
    claim = "an annotator gives 95% of the ideal throughput, 64 in flight and 100 ms an answer, under 3 ms of CPU each"
    value = rate / ideal
    holds = value >= TARGET and cpu < CPU_MS
    print(
        json.dumps(
            {"claim": claim, "value": round(value, 3), "cpu_ms": round(cpu, 2), "target": TARGET, "holds": holds}
        )
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
