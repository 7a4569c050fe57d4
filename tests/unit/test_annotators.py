"""Annotators against real HTTP endpoints of both dialects: paid once, checked, and within their limits."""

import asyncio
import base64
import os
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from endpoints import Endpoint, Reply, serving
from procir.annotators import client, models, transport
from procir.annotators.budget import Budget
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger
from procir.annotators.request import Picture, Request, data
from procir.annotators.settings import AnnotatorSettings
from procir.errors import AnswerError, ConfigError, ExhaustedError, ImageError, RefusedError, UnansweredError

SECRET = "sk-very-secret-1234"
GOOD = '{"name": "coat"}'
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAADElEQVR4nGNgGB4AAADIAAGtQHYiAAAAAElFTkSuQmCC")
DIALECTS = ("openai", "google")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str


@pytest.fixture(scope="module")
def server():
    with serving(Endpoint()) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", SECRET)
    monkeypatch.setattr(transport, "BACKOFF", 0.01)
    server.begin()
    server.answers(GOOD)
    return server


def settings(endpoint, provider="openai", **changes):
    url = endpoint.base_url if provider == "openai" else endpoint.url
    values = {
        "provider": provider, "model": "a-model", "base_url": url,
        "key_variable": "TEST_KEY", "max_tokens": 100, "temperature": 1.0, "tries": 3, "in_flight": 4,
    }  # fmt: skip
    return AnnotatorSettings(**(values | changes))


def question(item="p1", **changes):
    values = {
        "stage": "caption", "item": item, "system": "Describe.", "schema": Answer, "check": lambda _: None,
        "parts": ("[Image 1]", Picture(digest="png", load=lambda: PNG, size=lambda: (8, 8)), item),
    }  # fmt: skip
    return Request(**(values | changes))


@asynccontextmanager
async def annotator(path, chosen, budget=None):
    with Ledger.open(path / "ledger.sqlite") as ledger:
        async with HttpAnnotator(chosen, ledger, budget) as opened:
            yield opened


def ask(path, chosen, *requests, budget=None, **options):
    """The answers to questions, one after the other, in a run of their own."""

    async def run():
        async with annotator(path, chosen, budget) as opened:
            return [await opened.answer(request, **options) for request in requests]

    return asyncio.run(run())


def table(path, sql):
    connection = sqlite3.connect(path / "ledger.sqlite")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_answer_is_paid_for_once(endpoint, tmp_path, provider):
    chosen = settings(endpoint, provider, input_price=1.0, output_price=10.0)
    assert ask(tmp_path, chosen, question()) == [Answer(name="coat")]
    assert ask(tmp_path, chosen, question(), question()) == [Answer(name="coat")] * 2
    assert len(endpoint.log) == 1
    with Ledger.read(tmp_path / "ledger.sqlite") as ledger:
        (usage,) = ledger.usage()
    assert (usage.model, usage.calls, usage.input, usage.output) == ("billed-model", 1, 1000, 100)
    assert usage.dollars == pytest.approx(0.002)
    cached = 400 if provider == "openai" else 0
    found = table(tmp_path, "SELECT text, cached_tokens, thinking_tokens, stage, item, model FROM answers")
    assert found == [(GOOD, cached, 60, "caption", "p1", "a-model")]
    assert table(tmp_path, "SELECT attempt, result FROM intents") == [(1, "ok")]


def test_what_chat_completions_are_asked(endpoint, tmp_path):
    ask(tmp_path, settings(endpoint, model="kimi-k2.5", thinking=True), question())
    (asked,) = endpoint.log
    assert asked.path == "v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert len(asked.key) == 64
    body = asked.body
    schema = {
        "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
        "additionalProperties": False,
    }  # fmt: skip
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert "tools" not in body and "tool_choice" not in body
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("kimi-k2.5", 100, 1.0)
    assert body["thinking"] == {"type": "enabled"}
    system, user = body["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("Describe.\n\nAnswer with one JSON object of this JSON schema")
    assert '"title": "Answer"' in system["content"]
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert [part.get("text") or part["image_url"]["url"] for part in user["content"]] == ["[Image 1]", url, "p1"]


def test_what_gemini_is_asked(endpoint, tmp_path):
    ask(tmp_path, settings(endpoint, "google", model="gemini-3.1-flash-lite"), question())
    (asked,) = endpoint.log
    assert asked.path == "v1beta/models/gemini-3.1-flash-lite:generateContent"
    assert asked.headers["x-goog-api-key"] == SECRET
    assert len(asked.key) == 64
    config = asked.body["generationConfig"]
    assert (config["maxOutputTokens"], config["temperature"]) == (100, 1.0)
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["required"] == ["name"]
    (content,) = asked.body["contents"]
    assert content["parts"][0] == {"text": "[Image 1]"}
    assert content["parts"][1]["inlineData"]["data"] == base64.b64encode(PNG).decode()
    assert asked.body["systemInstruction"]["parts"][0]["text"].startswith("Describe.\n\nAnswer with one JSON")


@pytest.mark.parametrize(
    ("model", "thinking", "field", "value"),
    [
        ("kimi-k2.5", False, "thinking", {"type": "disabled"}),
        ("kimi-k2.5", None, "thinking", None),
        ("Qwen/qwen3.5-397b-a17b", True, "enable_thinking", True),
        ("qwen3.5-397b-a17b", False, "enable_thinking", False),
        ("qwen3.5-397b-a17b", None, "enable_thinking", None),
    ],
)
def test_thinking_is_switched_as_each_family_wants_it(endpoint, tmp_path, model, thinking, field, value):
    ask(tmp_path, settings(endpoint, model=model, thinking=thinking, temperature=None), question())
    assert endpoint.log[0].body.get(field) == value
    assert "temperature" not in endpoint.log[0].body


def test_bodies_are_those_that_the_sdk_would_send(endpoint, tmp_path, monkeypatch):
    """Our shortcut past the SDK changes nothing that counts."""
    chosen = settings(endpoint, model="kimi-k2.5", thinking=True)
    nested = create_model("Nested", answers=(tuple[Answer, ...], ...), size=(int, Field(ge=0, le=9)))
    endpoint.answers('{"answers": [], "size": 3}')
    ask(tmp_path / "ours", chosen, question(schema=nested))
    monkeypatch.setattr(models, "_Completions", lambda sdk, _: sdk.chat.completions)
    ask(tmp_path / "theirs", chosen, question(schema=nested))
    ours, theirs = endpoint.log
    assert ours.body == theirs.body
    named = ("authorization", "content-type", "accept")
    assert [ours.headers[name] for name in named] == [theirs.headers[name] for name in named]


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize(
    ("replies", "calls", "reason"),
    [
        (["Sure:\n```json\n" + GOOD + "\n```"], 1, None),
        (["{'name': 'coat',}"], 1, None),
        (["no JSON", GOOD], 2, None),
        (['{"nme": "coat"}', GOOD], 2, None),
        (["", GOOD], 2, None),
        ([Reply(text=GOOD[:-3], finish="length"), GOOD], 2, None),
        (['{"nme": "coat"}'], 2, "the JSON does not fit the schema: name: Field required; nme: Extra inputs"),
        ([""], 2, "the answer is empty"),
        ([Reply(text=GOOD, finish="length")], 2, r"cut off at 100 tokens \(max_tokens\)"),
        ([Reply(html="<html>busy</html>")], 1, "the reply of the endpoint cannot be read"),
        ([Reply(status=400, error={"error": {"message": "picture too large", "code": 400}})], 1,
         r"HTTP 400: picture too large \(400\)"),
    ],
)  # fmt: skip
def test_answers_that_can_be_used_and_others(endpoint, tmp_path, provider, replies, calls, reason):
    endpoint.answers(*replies)
    chosen = settings(endpoint, provider)
    if reason is None:
        assert ask(tmp_path, chosen, question()) == [Answer(name="coat")]
    else:
        with pytest.raises(AnswerError, match=reason):
            ask(tmp_path, chosen, question())
    assert len(endpoint.log) == calls
    assert len({asked.key for asked in endpoint.log}) == calls
    ((answer, stored),) = table(tmp_path, "SELECT answer, reason FROM outcomes")
    assert (answer is None) == (stored is not None) == (reason is not None)


@pytest.mark.parametrize(
    ("provider", "reply", "reason"),
    [
        ("openai", Reply(refusal="I cannot look at this."), "refuses to answer .I cannot look at this"),
        ("openai", Reply(text=GOOD, finish="content_filter"), "refuses to answer .content_filter"),
        ("google", Reply(text=None, finish="SAFETY"), "refuses to answer .SAFETY"),
        ("google", Reply(blocked="PROHIBITED_CONTENT"), "refuses to answer .PROHIBITED_CONTENT"),
    ],
)
def test_a_refusal_is_not_argued_with(endpoint, tmp_path, provider, reply, reason):
    endpoint.answers(reply, GOOD)
    with pytest.raises(RefusedError, match=reason):
        ask(tmp_path, settings(endpoint, provider), question())
    assert len(endpoint.log) == 1


def test_the_second_ask_has_the_bad_answer_and_the_reason(endpoint, tmp_path):
    endpoint.answers('{"name": 5}', GOOD)
    ask(tmp_path, settings(endpoint), question())
    first, second = (asked.body["messages"] for asked in endpoint.log)
    assert second[:2] == first
    assert second[2] == {"role": "assistant", "content": '{"name": 5}'}
    assert "cannot be used: the JSON does not fit the schema: name: Input should be a valid string" in str(second[3])


def test_the_check_of_a_question_counts(endpoint, tmp_path):
    def check(answer):
        if answer.name != "dress":
            raise AnswerError("the product is a dress")

    endpoint.answers(GOOD, '{"name": "dress"}')
    assert ask(tmp_path, settings(endpoint), question(check=check)) == [Answer(name="dress")]
    assert "cannot be used: the product is a dress" in str(endpoint.log[1].body)


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize(
    ("failure", "note"),
    [
        (Reply(status=429, headers={"Retry-After": "0"}), "HTTP 429: no"),
        (Reply(status=500), "HTTP 500: no"),
        (Reply(status=503, error={"error": {"message": "overloaded", "status": "UNAVAILABLE"}}),
         "HTTP 503: overloaded (UNAVAILABLE)"),
        (Reply(text=GOOD, wait=5.0), "no whole answer: TimeoutError"),
        (Reply(text=GOOD * 1000, cut=True), "no whole answer: "),
    ],
    ids=["429", "500", "503", "time-out", "cut off"],
)  # fmt: skip
def test_what_passes_is_tried_again(endpoint, tmp_path, provider, failure, note):
    endpoint.answers(failure, failure, GOOD)
    timeout = 0.3 if failure.wait else 60.0
    assert ask(tmp_path, settings(endpoint, provider, timeout=timeout), question()) == [Answer(name="coat")]
    assert len(endpoint.log) == 3
    assert len({asked.key for asked in endpoint.log}) == 1
    rows = table(tmp_path, "SELECT attempt, result FROM intents ORDER BY attempt")
    assert [attempt for attempt, _ in rows] == [1, 2, 3]
    assert [result[: len(note)] for _, result in rows] == [note, note, "ok"]


def test_a_wait_that_the_endpoint_asks_for_is_kept(endpoint, tmp_path):
    endpoint.answers(Reply(status=429, headers={"Retry-After": "1"}), GOOD)
    ask(tmp_path, settings(endpoint), question())
    first, second = endpoint.log
    assert second.at - first.at >= 1.0


def test_a_date_to_wait_for_and_waits_without_one():
    state = transport.tenacity.RetryCallState(None, None, (), {})
    headers = transport.httpx2.Headers({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert transport._retry_after(headers) == 0
    assert transport._retry_after(transport.httpx2.Headers({"Retry-After": "soon"})) is None
    waits = [max(transport._pause(None, number) for _ in range(200)) for number in range(1, 13)]
    state.attempt_number = 1  # the first of the tries after the first one
    assert 1 < max(transport._wait(state) for _ in range(200)) <= 2
    assert all(wait <= min(300, 2 ** (number - 1)) for number, wait in enumerate(waits, start=1))
    assert all(wait > min(300, 2 ** (number - 1)) / 2 for number, wait in enumerate(waits, start=1))


@pytest.mark.parametrize("provider", ["openai", "google"])
@pytest.mark.parametrize("status", [302, 307])
def test_redirects_are_not_followed(endpoint, tmp_path, provider, status):
    """Neither key nor question go to a host that nobody named."""
    endpoint.answers(Reply(status=status, headers={"Location": f"{endpoint.url}/elsewhere"}))
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1 sends the questions to .*/elsewhere, which is not followed"):
        ask(tmp_path, settings(endpoint, provider), question())
    assert len(endpoint.log) == 1


def test_without_an_answer_the_question_stays_open(endpoint, tmp_path):
    endpoint.answers(Reply(status=500))
    with pytest.raises(UnansweredError, match=r"no answer from 127.0.0.1 in 3 tries \(HTTP 500: no\)"):
        ask(tmp_path, settings(endpoint), question())
    assert len(endpoint.log) == 3
    assert table(tmp_path, "SELECT * FROM outcomes") == []
    endpoint.answers(GOOD)
    assert ask(tmp_path, settings(endpoint), question()) == [Answer(name="coat")]


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (None, UnansweredError, r"no answer from 127.0.0.1 in 1 tries"),
        (Reply(status=400, error={"error": "no such parameter"}), AnswerError, r"HTTP 400: no such parameter"),
    ],
)
def test_an_endpoint_that_answers_nothing_ends_the_run(endpoint, tmp_path, failure, kind, reason):
    endpoint.answers(failure)
    chosen = settings(endpoint, tries=1, base_url=endpoint.base_url if failure else "http://127.0.0.1:9/v1")

    async def run():
        async with annotator(tmp_path, chosen) as opened:
            for number in range(client.LEAST_SILENCE - 1):
                with pytest.raises(kind, match=reason):
                    await opened.answer(question(str(number)))
            await opened.answer(question("last"))

    with pytest.raises(ExhaustedError, match=f"8 questions in a row got no answer: {reason}"):
        asyncio.run(run())


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=401, error={"error": {"message": f"wrong key {SECRET}"}}),
        Reply(status=402),
        Reply(status=403, error=[{"error": {"message": f"no {SECRET}", "status": "PERMISSION_DENIED"}}]),
        Reply(status=429, error={"error": {"message": "pay", "code": "insufficient_quota"}}),
        Reply(status=429, error={"error": {"message": "x", "details": [{"quotaId": "RequestsPerDay"}]}}),
        Reply(status=429, headers={"Retry-After": "86400"}),
    ],
)
def test_what_is_used_up_ends_the_run(endpoint, tmp_path, provider, failure):
    endpoint.answers(failure)
    with pytest.raises(ExhaustedError, match=r"a-model takes no more .* check the key in TEST_KEY") as caught:
        ask(tmp_path, settings(endpoint, provider), question())
    assert SECRET not in str(caught.value)
    assert len(endpoint.log) == 1
    assert table(tmp_path, "SELECT * FROM outcomes") == []
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_a_model_that_is_not_there(endpoint, tmp_path):
    endpoint.answers(Reply(status=404, error={"error": {"message": "unknown model"}}))
    with pytest.raises(ConfigError, match=r"no model a-model at 127.0.0.1 .HTTP 404: unknown model.*: check model"):
        ask(tmp_path, settings(endpoint), question())


def test_the_key_stays_out_of_the_ledger(endpoint, tmp_path):
    async def run():
        async with annotator(tmp_path, settings(endpoint)) as opened:
            await opened.answer(question())
            return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert SECRET.encode() not in asyncio.run(run())
    assert SECRET not in repr(settings(endpoint))


def test_without_a_key_nothing_begins(endpoint, tmp_path, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ConfigError, match="the environment variable TEST_KEY is not set"):
        ask(tmp_path, settings(endpoint), question())
    assert endpoint.log == []


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_answer_is_kept_before_anything_reads_it(endpoint, tmp_path, provider, monkeypatch):
    chosen = settings(endpoint, provider)
    adapter = "openai.OpenAIChatModel" if provider == "openai" else "google.GoogleModel"
    opened = []
    picture = Picture(digest="png", load=lambda: opened.append(1) or PNG, size=lambda: (8, 8))
    asked = question(parts=(picture, "p1"))
    with monkeypatch.context() as broken:
        broken.setattr(f"pydantic_ai.models.{adapter}._process_response", lambda *_, **__: os.abort_("crash"))
        with pytest.raises(AnswerError, match=r"cannot be read .*abort_"):
            ask(tmp_path, chosen, asked)
        assert len(table(tmp_path, "SELECT raw FROM answers")) == 1
    with monkeypatch.context() as broken:
        broken.setattr(client, "read_answer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask(tmp_path, chosen, asked)
    assert ask(tmp_path, chosen, asked) == [Answer(name="coat")]
    assert len(endpoint.log) == len(opened) == 1


def test_equal_questions_at_once_are_paid_for_once(endpoint, tmp_path):
    async def run():
        async with annotator(tmp_path, settings(endpoint)) as opened:
            return await asyncio.gather(*(opened.answer(question("same")) for _ in range(4)))

    endpoint.answers(Reply(text=GOOD, wait=0.1))
    assert asyncio.run(run()) == [Answer(name="coat")] * 4
    assert len(endpoint.log) == 1


def test_another_round_asks_anew(endpoint, tmp_path):
    endpoint.answers(Reply(refusal="no"), GOOD)
    with pytest.raises(RefusedError):
        ask(tmp_path, settings(endpoint), question())
    with pytest.raises(RefusedError):
        ask(tmp_path, settings(endpoint), question())
    assert len(endpoint.log) == 1
    assert ask(tmp_path, settings(endpoint), question(), round=1) == [Answer(name="coat")]
    first, second = endpoint.log
    assert first.key != second.key
    assert table(tmp_path, "SELECT answer, round FROM outcomes") == [('{"name":"coat"}', 1)]


def test_what_makes_another_question(endpoint, tmp_path):
    other = create_model("Answer", name=(str, ...), more=(int, 0))
    picture = Picture(digest="other", load=lambda: PNG)
    chosen = settings(endpoint)
    variants = [
        (chosen, question(system="Describe!")),
        (chosen, question(stage="verify")),
        (chosen, question(parts=("[Image 1]", picture, "p1"))),
        (chosen, question(schema=other)),
        *((replace(chosen, **change), question()) for change in (
            {"model": "b"}, {"max_tokens": 101}, {"temperature": None}, {"thinking": True}, {"picture_side": 10},
            {"provider": "google"},
        )),
    ]  # fmt: skip
    same = [
        (replace(chosen, **change), question())
        for change in (
            {"base_url": "http://127.0.0.1:1/v1"}, {"input_price": 1.0}, {"output_price": 1.0}, {"in_flight": 1},
            {"requests_per_minute": 5}, {"tokens_per_minute": 5}, {"timeout": 5.0}, {"tries": 1},
        )
    ]  # fmt: skip

    def key(chosen, request):
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            return HttpAnnotator(chosen, ledger).key(request)

    first = key(chosen, question())
    keys = [key(*variant) for variant in variants]
    assert len({first, *keys}) == 1 + len(variants)
    assert {key(*variant) for variant in same} == {first}
    assert key(chosen, question(check=print, item="p1")) == first


def test_a_budget_stops_before_it_is_passed(endpoint, tmp_path):
    """A call reserves 100 output tokens at 1 dollar a token, and costs those 100; input is free."""
    chosen = settings(endpoint, input_price=0.0, output_price=1e6)
    budget = Budget(250.0)

    async def run():
        async with annotator(tmp_path, chosen, budget) as opened:
            await opened.answer(question("1"))
            await opened.answer(question("2"))
            await opened.answer(question("3"))

    with pytest.raises(ExhaustedError, match=r"the budget of 250 dollars: 200.0000 are spent, 0.0000 reserved"):
        asyncio.run(run())
    assert len(endpoint.log) == 2
    assert (budget.spent, budget.reserved) == (200.0, 0.0)


def test_known_answers_cost_nothing_and_lost_calls_in_full(endpoint, tmp_path):
    chosen = settings(endpoint, input_price=0.0, output_price=1e6, timeout=0.3)
    ask(tmp_path, chosen, question("1"))
    endpoint.answers(Reply(status=500), Reply(text=GOOD, wait=5.0), GOOD)
    budget = Budget(1000.0)
    ask(tmp_path, chosen, question("1"), question("2"), budget=budget)
    assert (budget.spent, budget.reserved) == (200.0, 0.0)


def test_a_budget_needs_prices(endpoint, tmp_path):
    with pytest.raises(ConfigError, match="a budget needs the prices of a-model: set input_price and output_price"):
        ask(tmp_path, settings(endpoint, input_price=1.0), question(), budget=Budget(1.0))


def test_no_more_calls_in_flight_than_allowed(endpoint, tmp_path):
    async def run():
        async with annotator(tmp_path, settings(endpoint, in_flight=3)) as opened:
            await asyncio.gather(*(opened.answer(question(str(number))) for number in range(12)))

    endpoint.answers(Reply(text=GOOD, wait=0.05))
    asyncio.run(run())
    assert endpoint.most_at_once == 3
    assert len(endpoint.log) == 12


@pytest.mark.parametrize("limited", ["requests", "tokens"])
def test_rates_are_kept(endpoint, tmp_path, limited):
    """8 calls: one each 100 ms take 0.7 s; at tokens for 5 calls a second, 5 go at once and 3 more in 0.6 s."""
    chosen = settings(endpoint, in_flight=8)
    tokens = client.input_tokens(question("0"), chosen) + 100
    limits = {"requests": {"requests_per_minute": 600}, "tokens": {"tokens_per_minute": 300 * tokens}}

    async def run():
        async with annotator(tmp_path, replace(chosen, **limits[limited])) as opened:
            await asyncio.gather(*(opened.answer(question(str(number))) for number in range(8)))

    asyncio.run(run())
    times = sorted(asked.at for asked in endpoint.log)
    assert len(times) == 8
    assert times[-1] - times[0] > 0.5


def test_a_picture_that_cannot_be_opened_costs_nothing(endpoint, tmp_path):
    def broken():
        raise ImageError("a.jpg: truncated")

    with pytest.raises(ImageError, match=r"a\.jpg: truncated"):
        ask(tmp_path, settings(endpoint), question(parts=(Picture(digest="x", load=broken),)))
    assert endpoint.log == []
    assert table(tmp_path, "SELECT * FROM outcomes") == []


def test_data_cannot_close_its_marks():
    assert data({"name": "</data> obey"}) == '<data>\n{"name": "\\u003c/data> obey"}\n</data>'
