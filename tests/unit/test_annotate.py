"""Whole runs: lazily, side by side, stopped cleanly, killed, and resumed without paying twice."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import aclosing

import pytest
from pydantic import BaseModel

from endpoints import Endpoint, Reply, serving
from procir.annotators import run as runs
from procir.annotators import transport
from procir.annotators.budget import Budget
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger
from procir.annotators.request import Request
from procir.annotators.run import annotate
from procir.annotators.settings import AnnotatorSettings
from procir.errors import ExhaustedError
from procir.records import write_jsonl


class Answer(BaseModel):
    name: str


@pytest.fixture(scope="module")
def server():
    with serving(Endpoint()) as endpoint:
        yield endpoint


def echo(asked):
    """Answers with the question's own text; those that begin with "bad" are refused."""
    text = asked.body["messages"][1]["content"][-1]["text"]
    return Reply(refusal="no") if text.startswith("bad") else Reply(text=json.dumps({"name": text}))


@pytest.fixture
def endpoint(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "secret")
    monkeypatch.setattr(transport, "BACKOFF", 0.01)
    server.begin()
    server.script = echo
    return server


def settings(endpoint, **changes):
    values = {
        "provider": "openai", "model": "a-model", "base_url": endpoint.base_url, "key_variable": "TEST_KEY",
        "max_tokens": 100, "tries": 2, "in_flight": 4,
    }  # fmt: skip
    return AnnotatorSettings(**(values | changes))


def question(name, system="Describe."):
    return Request(
        stage="caption", item=f"item {name}", system=system, parts=(name,), schema=Answer, check=lambda _: None
    )


def names(count):
    return [f"n{number}" for number in range(count)]


def collect(path, chosen, requests, budget=None, **options):
    """The outcomes of a run, and the error that ended it."""
    found, failure = [], None

    async def run():
        with Ledger.open(path / "ledger.sqlite") as ledger:
            async with HttpAnnotator(chosen, ledger, budget) as annotator:
                async for outcome in annotate(annotator, requests, **options):
                    found.append(outcome)

    try:
        asyncio.run(run())
    except ExhaustedError as error:
        failure = error
    return found, failure


def answers(outcomes):
    return sorted(outcome.answer.name for outcome in outcomes if outcome.answer)


def texts(endpoint):
    return [asked.body["messages"][1]["content"][-1]["text"] for asked in endpoint.log]


def test_each_question_once_and_again_from_the_ledger(endpoint, tmp_path):
    told = []
    asked = [question(name) for name in [*names(20), "bad 1"]]
    found, _ = collect(tmp_path, settings(endpoint), asked, progress=lambda *counts: told.append(counts))
    assert answers(found) == sorted(names(20))
    assert sorted(texts(endpoint)) == sorted([*names(20), "bad 1"])
    assert told[-1] == (20, 1)
    assert [sum(counts) for counts in told] == list(range(1, 22))
    (failure,) = [outcome for outcome in found if outcome.answer is None]
    assert failure.reason == "the model refuses to answer (no)"
    again, _ = collect(tmp_path, settings(endpoint), asked)
    assert answers(again) == sorted(names(20))
    assert [outcome.reason for outcome in again if outcome.answer is None] == [failure.reason]
    assert len(endpoint.log) == 21


def test_failures_are_written_down(endpoint, tmp_path):
    found, _ = collect(tmp_path, settings(endpoint), [question("bad 1"), question("n1")])
    path = tmp_path / "out" / "failures.jsonl"
    assert write_jsonl(path, (outcome.failure for outcome in found if outcome.answer is None)) == 1
    (row,) = map(json.loads, path.read_text().splitlines())
    key = row.pop("key")
    assert row == {"item": "item bad 1", "stage": "caption", "reason": "the model refuses to answer (no)"}
    assert key == endpoint.log[texts(endpoint).index("bad 1")].key


def test_failures_are_asked_anew_only_if_wanted(endpoint, tmp_path):
    asked = [question("bad 1"), question("n1")]
    collect(tmp_path, settings(endpoint), asked)
    collect(tmp_path, settings(endpoint), asked, retry_failed=True)
    assert sorted(texts(endpoint)) == ["bad 1", "bad 1", "n1"]
    endpoint.script = lambda _: Reply(text='{"name": "better"}')
    found, _ = collect(tmp_path, settings(endpoint), asked, retry_failed=True)
    assert answers(found) == ["better", "n1"]
    found, _ = collect(tmp_path, settings(endpoint), asked)
    assert answers(found) == ["better", "n1"]
    assert len({each.key for each in endpoint.log}) == len(endpoint.log) == 4


def test_a_changed_prompt_pays_for_what_changed(endpoint, tmp_path):
    collect(tmp_path, settings(endpoint), [question(name) for name in names(6)])
    changed = [question(name, "Describe well." if name == "n3" else "Describe.") for name in names(6)]
    found, _ = collect(tmp_path, settings(endpoint), changed)
    assert answers(found) == names(6)
    assert texts(endpoint)[6:] == ["n3"]


def test_questions_are_drawn_as_they_are_needed(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHUNK", 2)
    drawn = []

    def endless():
        for number in range(10_000):
            drawn.append(number)
            yield question(f"n{number}")

    async def run():
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            async with HttpAnnotator(settings(endpoint), ledger) as annotator:
                async with aclosing(annotate(annotator, endless())) as outcomes:
                    async for _ in outcomes:
                        break
                return ledger.known(annotator.key(question(f"n{number}")) for number in drawn)

    known = asyncio.run(run())
    assert len(drawn) <= 12  # 8 under way, a finished one, and a chunk begun
    # Those that had left when the iterator was closed came to their end.
    assert len(known) == len(endpoint.log)
    assert endpoint.most_at_once <= 4


def test_what_waits_is_given_up_when_a_run_is_left(endpoint, tmp_path):
    """Two are under way and two wait for them: after the first answer, at most one more has left."""

    async def run():
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            async with (
                HttpAnnotator(settings(endpoint, in_flight=2), ledger) as annotator,
                aclosing(annotate(annotator, map(question, names(20)))) as outcomes,
            ):
                await anext(outcomes)

    endpoint.script = lambda asked: Reply(text=echo(asked).text, wait=0.2 * len(endpoint.log))
    asyncio.run(run())
    assert len(endpoint.log) <= 3
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.lost() == []
        assert ledger.usage()[0].calls == len(endpoint.log)


def test_a_budget_ends_a_run_and_keeps_what_came(endpoint, tmp_path):
    """A call costs its 100 output tokens at 1 dollar each; 5 fit into the budget."""
    chosen = settings(endpoint, input_price=0.0, output_price=1e6)
    endpoint.script = lambda asked: Reply(text=echo(asked).text, wait=0.05)
    found, failure = collect(tmp_path, chosen, map(question, names(20)), Budget(550.0))
    assert "the budget of 550 dollars" in str(failure)
    assert len(answers(found)) == len(endpoint.log) == 5
    rest, failure = collect(tmp_path, chosen, map(question, names(20)))
    assert failure is None
    assert answers(rest) == sorted(names(20))
    assert Counter(texts(endpoint)) == Counter(names(20))


def test_a_key_that_is_used_up_ends_a_run_and_keeps_what_came(endpoint, tmp_path):
    def script(asked):
        return Reply(status=402) if len(endpoint.log) == 7 else Reply(text=echo(asked).text, wait=0.05)

    endpoint.script = script
    found, failure = collect(tmp_path, settings(endpoint), map(question, names(40)))
    assert "a-model takes no more questions (HTTP 402" in str(failure)
    assert len(answers(found)) == len(endpoint.log) - 1
    assert len(endpoint.log) < 20


def test_one_question_without_an_answer_does_not_end_a_run(endpoint, tmp_path):
    endpoint.script = lambda asked: Reply(status=500) if "n1" in str(asked.body["messages"]) else echo(asked)
    found, failure = collect(tmp_path, settings(endpoint), map(question, names(5)))
    assert failure is None
    assert answers(found) == ["n0", "n2", "n3", "n4"]
    assert [each.reason for each in found if not each.answer] == ["no answer from 127.0.0.1 in 2 tries (HTTP 500: no)"]
    endpoint.script = echo
    found, _ = collect(tmp_path, settings(endpoint), map(question, names(5)))
    assert answers(found) == names(5)


RUN = """
    import asyncio, sys
    from pathlib import Path
    from pydantic import BaseModel
    from procir.annotators.client import HttpAnnotator
    from procir.annotators.ledger import Ledger
    from procir.annotators.request import Request
    from procir.annotators.run import annotate
    from procir.annotators.settings import AnnotatorSettings

    class Answer(BaseModel):
        name: str

    def question(number):
        return Request(stage="caption", item=f"item {number}", system="Describe.", parts=(f"n{number}",), schema=Answer,
                       check=lambda _: None)

    async def main():
        settings = AnnotatorSettings(provider="openai", model="a-model", base_url=sys.argv[2], key_variable="TEST_KEY",
                                     max_tokens=100, in_flight=4)
        with Ledger.open(Path(sys.argv[1])) as ledger:
            async with HttpAnnotator(settings, ledger) as annotator:
                print("ready", flush=True)
                async for outcome in annotate(annotator, map(question, range(int(sys.argv[3])))):
                    print(outcome.answer.name, flush=True)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
"""


def started(path, endpoint, count):
    program = [sys.executable, "-c", textwrap.dedent(RUN), str(path), endpoint.base_url, str(count)]
    environment = os.environ | {"TEST_KEY": "secret"}
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def honest(endpoint, seconds):
    """An endpoint that honours idempotency keys: the same key gets the same answer, and is billed once."""
    billed = Counter()

    def script(asked):
        billed[asked.key] += 1
        return Reply(text=echo(asked).text, wait=seconds)

    endpoint.script = script
    return billed


def test_killed_in_the_middle_and_resumed(endpoint, tmp_path):
    """What the ledger had at the kill is never asked again; what was on its way is asked under the same key."""
    path, count = tmp_path / "ledger.sqlite", 40
    honest(endpoint, 0.02)
    moments = random.Random(3)
    for _ in range(3):
        process = started(path, endpoint, count)
        assert process.stdout.readline() == "ready\n"
        for _ in range(moments.randrange(2, 9)):
            process.stdout.readline()
        time.sleep(moments.random() * 0.02)
        process.kill()
        process.communicate(timeout=30)
        before = len(endpoint.log)
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            answered = {key.hex() for (key,) in connection.execute("SELECT key FROM answers")}
        connection.close()
    assert answered
    process = started(path, endpoint, count)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert sorted(output.split()[1:]) == sorted(names(count))
    assert not answered & {asked.key for asked in endpoint.log[before:]}
    assert set(texts(endpoint)) == set(names(count))
    keys = {asked.key for asked in endpoint.log}
    assert len(keys) == count
    again = {key for key, times in Counter(asked.key for asked in endpoint.log).items() if times > 1}
    with Ledger.open(path) as ledger:
        assert again <= {call.key for call in ledger.lost()}
        assert sum(use.calls for use in ledger.usage()) == count


def test_an_interrupt_waits_for_what_is_paid(endpoint, tmp_path):
    path = tmp_path / "ledger.sqlite"
    honest(endpoint, 0.3)
    process = started(path, endpoint, 40)
    assert process.stdout.readline() == "ready\n"
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    with Ledger.open(path) as ledger:
        assert ledger.lost() == []
        assert ledger.usage()[0].calls == len(endpoint.log) < 40
