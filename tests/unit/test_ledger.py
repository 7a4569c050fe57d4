"""The ledger: durable, whole, alone in its file, and quick to say what is left."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest
from PIL import Image

from procir.annotators.ledger import Call, Decision, Ledger, Spent, Usage
from procir.errors import LedgerError, MissingDataError
from procir.records import content_hash

KEY = "ab" * 32
CALL = Call(key=KEY, stage="caption", item="p1", model="asked")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ledger.sqlite"


def spent(**changes):
    values = {"model": "billed", "text": "hi", "input": 10, "output": 5, "cached": 4, "thinking": 3, "dollars": 0.5}
    return Spent(**(values | changes))


def decision(answer="{}", reason=None, round=0):
    return Decision(answer=answer, reason=reason, round=round)


def call(number, **changes):
    return Call(**({"key": f"{number:064x}", "stage": "caption", "item": f"p{number}", "model": "asked"} | changes))


async def paid(ledger, call, raw=b"body"):
    await ledger.receive(await ledger.begin(call, 1), call, raw, 1.0)


def run(source, *arguments, **options):
    """A Python program in another process."""
    program = [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60, **options)


def test_what_was_written_is_there_for_the_next_run(path):
    async def write():
        with Ledger.open(path) as ledger:
            assert ledger.raw(KEY) is None
            await paid(ledger, CALL, b"\x00the body" * 20_000)
            ledger.spend(KEY, spent())
            await ledger.decide(CALL, decision('{"a": 1}'))

    asyncio.run(write())
    with Ledger.open(path) as ledger:
        assert ledger.raw(KEY) == b"\x00the body" * 20_000
        assert ledger.known([KEY, "00" * 32]) == {KEY: decision('{"a": 1}')}
        assert ledger.lost() == []
        assert ledger.usage() == [
            Usage(stage="caption", model="billed", calls=1, input=10, output=5, dollars=0.5)
        ]  # fmt: skip
    rows = sqlite3.connect(path).execute("SELECT text, cached_tokens, thinking_tokens, seconds FROM answers").fetchall()
    assert rows == [("hi", 4, 3, 1.0)]
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_usage_adds_up_by_stage_and_billed_model_and_says_where_a_price_is_unknown(path):
    async def write():
        with Ledger.open(path) as ledger:
            for number, stage, dollars in [
                (1, "caption", 0.5),
                (2, "caption", 0.25),
                (3, "verify", 1.0),
                (4, "verify", None),
            ]:
                await paid(ledger, call(number, stage=stage))
                ledger.spend(call(number).key, spent(dollars=dollars))
            await paid(ledger, call(5, stage="triplets"))
            return ledger.usage()

    asyncio.run(write())
    with Ledger.read(path) as ledger:
        found = ledger.usage()
    assert found == [
        Usage(stage="caption", model="billed", calls=2, input=20, output=10, dollars=0.75),
        Usage(stage="triplets", model="asked", calls=1, input=0, output=0, dollars=None),
        Usage(stage="verify", model="billed", calls=2, input=20, output=10, dollars=None),
    ]


def test_what_an_answer_used_is_noted_once(path):
    async def write():
        with Ledger.open(path) as ledger:
            await paid(ledger, CALL)
            ledger.spend(KEY, spent(dollars=0.5))
            ledger.spend(KEY, spent(dollars=9.0))
            await ledger.decide(CALL, decision())
            return ledger.usage()

    assert [use.dollars for use in asyncio.run(write())] == [0.5]


def test_calls_without_an_end_are_lost_at_the_next_start(path):
    source = """
        import asyncio, os, sys
        from pathlib import Path
        from procir.annotators.ledger import Call, Ledger
        def call(n): return Call(key=f"{n:064x}", stage="caption", item=f"p{n}", model="asked")
        async def main():
            with Ledger.open(Path(sys.argv[1])) as ledger:
                await ledger.begin(call(1), 1)
                await ledger.receive(await ledger.begin(call(2), 1), call(2), b"body", 1.0)
                await ledger.fail(await ledger.begin(call(3), 2), "HTTP 500")
                await ledger.begin(call(4), 1)
                os._exit(9)
        asyncio.run(main())
    """
    assert run(source, path).returncode == 9
    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert ledger.lost() == [call(1), call(4)]
            assert ledger.raw(call(2).key) == b"body"


def test_a_second_process_is_refused_and_may_look(path):
    writing = "from pathlib import Path; from procir.annotators.ledger import Ledger; import sys\n"
    with Ledger.open(path) as ledger:
        asyncio.run(paid(ledger, CALL))
        refused = run(writing + "with Ledger.open(Path(sys.argv[1])): pass", path)
        looked = run(writing + "with Ledger.read(Path(sys.argv[1])) as ledger: print(ledger.usage()[0].calls)", path)
    assert f"ledger.sqlite: in use by process {os.getpid()}: wait for it, stop it, or choose another" in refused.stderr
    assert looked.stdout == "1\n"
    assert run(writing + "with Ledger.open(Path(sys.argv[1])): print('in')", path).stdout == "in\n"


def test_the_lock_ends_with_its_process(path):
    source = """
        import os, sys
        from pathlib import Path
        from procir.annotators.ledger import Ledger
        with Ledger.open(Path(sys.argv[1])):
            os.kill(os.getpid(), 9)
    """
    assert run(source, path).returncode == -9
    with Ledger.open(path) as ledger:
        assert ledger.lost() == []


def test_files_that_are_no_ledger(tmp_path):
    (tmp_path / "text").write_text("not a database" * 100)
    with (
        pytest.raises(LedgerError, match=r"text: damaged, or no .*: restore it"),
        Ledger.open(tmp_path / "text"),
    ):
        pass
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(LedgerError, match="other: a database, but no ledger"), Ledger.open(tmp_path / "other"):
        pass
    with pytest.raises(LedgerError, match="none: there is no ledger: check the path"), Ledger.read(tmp_path / "none"):
        pass
    with pytest.raises(LedgerError, match="cannot be used"), Ledger.open(tmp_path / "text" / "below"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="folder: cannot be used"), Ledger.open(tmp_path / "folder"):
        pass


def test_another_version_is_refused(path):
    with Ledger.open(path):
        pass
    changed = sqlite3.connect(path)
    changed.execute("PRAGMA user_version = 7")
    changed.close()
    for way in (Ledger.open, Ledger.read):
        with pytest.raises(LedgerError, match="of version 7, this procir reads 1"), way(path):
            pass


@pytest.fixture
def damaged(path):
    """A ledger with a page in the middle that was overwritten."""

    async def write():
        with Ledger.open(path) as ledger:
            for number in range(50):
                await paid(ledger, call(number), os.urandom(2000))

    asyncio.run(write())
    content = bytearray(path.read_bytes())
    page = len(content) // 4096 // 2 * 4096
    content[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    return path


def test_damage_in_the_middle_is_found(damaged):
    with pytest.raises(LedgerError, match=r"damaged .*: restore it"), Ledger.open(damaged):
        pass


def test_a_damaged_ledger_takes_nothing(damaged, monkeypatch):
    """Also while a large one is still being read through."""
    monkeypatch.setattr("procir.annotators.ledger._PATIENCE", 0.0)
    before = damaged.read_bytes()
    with pytest.raises(LedgerError, match=r"damaged .*: restore it"), Ledger.open(damaged) as ledger:
        asyncio.run(paid(ledger, call(99), b"paid"))
    assert damaged.read_bytes() == before
    with Ledger.read(damaged) as ledger:
        assert ledger.raw(call(99).key) is None


def test_reading_only(path):
    with Ledger.open(path):
        pass
    with Ledger.read(path) as ledger, pytest.raises(LedgerError, match="opened for reading only"):
        asyncio.run(ledger.begin(CALL, 1))


def test_many_waiters_share_a_commit(path):
    """200 tasks are durable after far fewer commits than there are writes, and none returns before its commit."""

    async def write():
        with Ledger.open(path) as ledger:

            async def one(number):
                await paid(ledger, call(number))
                with Ledger.read(path) as other:
                    assert other.raw(call(number).key) == b"body"

            before = commits()
            await asyncio.gather(*(one(number) for number in range(200)))
            return commits() - before

    def commits():
        """Transactions so far, which SQLite counts in the header of its WAL index (iChange, sqlite.org/walformat)."""
        content = (path.parent / "ledger.sqlite-shm").read_bytes()
        return int.from_bytes(content[8:12], sys.byteorder)

    assert 2 <= asyncio.run(write()) <= 200


def test_thousands_of_keys_are_decided_in_bulk(path):
    async def write():
        with Ledger.open(path) as ledger:
            await asyncio.gather(*(ledger.decide(call(number), decision(f"[{number}]")) for number in range(5000)))

    asyncio.run(write())
    with Ledger.open(path) as ledger:
        found = ledger.known(call(number).key for number in range(10_000))
    assert len(found) == 5000
    assert found[call(4321).key] == decision("[4321]")


def test_a_later_decision_takes_the_place_of_a_failure(path):
    async def write():
        with Ledger.open(path) as ledger:
            await ledger.decide(CALL, decision(None, "no JSON"))
            await ledger.decide(CALL, decision("{}", None, 1))
            return ledger.known([KEY])

    assert asyncio.run(write()) == {KEY: decision("{}", None, 1)}


def test_a_full_disk_stops_cleanly(path):
    """The process may write files of 1 MB; what was committed before stays, and the ledger opens again."""
    source = """
        import asyncio, os, sys
        from pathlib import Path
        from procir.annotators.ledger import Call, Ledger
        from procir.errors import LedgerError
        def call(n): return Call(key=f"{n:064x}", stage="caption", item=f"p{n}", model="asked")
        async def main():
            done = 0
            try:
                with Ledger.open(Path(sys.argv[1])) as ledger:
                    for n in range(1000):
                        await ledger.receive(await ledger.begin(call(n), 1), call(n), os.urandom(3000), 1.0)
                        done += 1
            except LedgerError as error:
                print(done, error)
        asyncio.run(main())
    """
    limit = 1_000_000
    found = run(source, path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    done, _, message = found.stdout.partition(" ")
    assert "the disk does not take more (" in message, found.stderr
    assert "make room; a later run goes on where this one stopped" in message
    assert 10 < int(done) < 200
    with Ledger.open(path) as ledger:
        kept = [number for number in range(1000) if ledger.raw(call(number).key) is not None]
    assert kept == list(range(int(done)))


def digests(ledger, files):
    listed = list(files)
    return {file: seen.digest for file, seen in zip(listed, ledger.pictures(iter(listed)), strict=True)}


def test_sizes_of_pictures_are_kept(path, tmp_path, monkeypatch):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert [seen.size for seen in ledger.pictures(files)] == [(30, 20), None]
        monkeypatch.setattr("procir.annotators.ledger.image_size", None)  # not asked again


def test_files_are_read_once(path, tmp_path, monkeypatch):
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file in files:
        file.write_text(file.name)
    expected = {file: content_hash(file) for file in files}
    with Ledger.open(path) as ledger:
        assert digests(ledger, files) == expected
    read = []
    monkeypatch.setattr("procir.annotators.ledger.content_hash", lambda file: read.append(file) or content_hash(file))
    with Ledger.open(path) as ledger:
        assert digests(ledger, files) == expected
        assert read == []
        files[1].write_text("1.jpX")
        os.utime(files[1], ns=(time.time_ns(), files[1].stat().st_mtime_ns + 1))
        found = digests(ledger, files)
        assert read == [files[1]]
        assert found == expected | {files[1]: content_hash(files[1])}
        assert found[files[1]] != expected[files[1]]
        files[2].unlink()
        with pytest.raises(MissingDataError, match=r"2\.jpg: cannot be hashed"):
            ledger.pictures(files)


def test_names_that_are_no_unicode(path, tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.jpg")
    file.write_text("x")
    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert digests(ledger, [file]) == {file: content_hash(file)}
