"""The built-in annotator behind HTTP: asked by OpenAI's SDK and by our own client, with every fault of a server."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest
from openai import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    OpenAI,
    RateLimitError,
    UnprocessableEntityError,
)

from chats import chat, drawn, flat, paths, photo, pixel
from procir.annotators import transport
from procir.annotators.client import HttpAnnotator
from procir.annotators.ledger import Ledger
from procir.annotators.run import annotate
from procir.annotators.settings import AnnotatorSettings
from procir.catalog.atelier.captions import describe
from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue, read_garments
from procir.construct.builtin.album import Album
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import RequestLog, create_app
from procir.construct.builtin.serving import running, serve
from procir.construct.domain import read_domain
from procir.construct.questions import caption_question, triplet_question, verification_question
from procir.errors import ConfigError

FASHION = read_domain("fashion")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue") / "drawn"
    draw_catalogue(folder, AtelierConfig(train_products=1, val_products=38, size=64, seed=2))
    return folder


@pytest.fixture(scope="module")
def sheets(root):
    return read_garments(root)


@contextmanager
def client(sheets, faults=None, *, log=None, key="any", **options):
    """OpenAI's SDK in front of a server of its own; it never asks twice by itself."""
    with closing(RequestLog(log)) as requests:
        app = create_app(sheets, faults or Faults(), log=requests, **options)
        with running(app) as url, OpenAI(base_url=url, api_key=key, max_retries=0) as sdk:
            yield sdk


def send(sdk, question, *more, **headers):
    return sdk.chat.completions.create(**chat(question, *more), extra_headers=headers)


def answer(sdk, question):
    found = question.schema.model_validate_json(send(sdk, question).choices[0].message.content)
    question.check(found)
    return found


def caption_of(root, sheets, key):
    return caption_question(key, [photo(path) for path in paths(root, key, sheets[key])], FASHION)


def plain(sheets, key):
    return caption_question(key, [pixel() for _ in sheets[key].views], FASHION)


def rows(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def group_of_two(sheets):
    """Two products that share a group."""
    keys = list(sheets)
    return next((a, b) for a in keys for b in keys if a != b and sheets[a].group == sheets[b].group)


def test_the_sdk_of_openai_gets_answers_to_all_stages(root, sheets, tmp_path):
    first, second = group_of_two(sheets)
    captions = {key: describe(key, sheets[key]) for key in (first, second)}
    products = [drawn(root, captions[key], sheets[key]) for key in (first, second)]
    questions = [
        caption_of(root, sheets, first),
        verification_question(products, FASHION),
        triplet_question(products[0], products[1:], FASHION),
    ]
    with client(sheets, log=tmp_path / "log.jsonl", album=Album(root)) as sdk:
        assert [model.id for model in sdk.models.list()] == ["builtin"]
        assert answer(sdk, questions[0]).image_captions == captions[first].images
        assert not any(a.has_error for p in answer(sdk, questions[1]).products for a in p.caption_analyses)
        answer(sdk, questions[2])
    noted = [(row["event"], row["stage"], row["items"], row["status"]) for row in rows(tmp_path / "log.jsonl")]
    assert noted == [
        ("answered", "caption", [str(first)], 200),
        ("answered", "verify", [str(first), str(second)], 200),
        ("answered", "triplets", [str(first), str(second)], 200),
    ]


def test_usage_counts_characters_and_patches(root, sheets, tmp_path):
    key = next(iter(sheets))
    question = caption_of(root, sheets, key)
    with client(sheets, log=tmp_path / "log.jsonl") as sdk:
        found = send(sdk, question)
    texts = [question.system, *(part for part in question.parts if isinstance(part, str))]
    # 64 x 64 pixels are 3 x 3 squares of 28 pixels, the last ones in part.
    assert found.usage.prompt_tokens == -(-sum(map(len, texts)) // 4) + 9 * len(sheets[key].views)
    assert found.usage.completion_tokens == -(-len(found.choices[0].message.content) // 4)
    assert rows(tmp_path / "log.jsonl")[0]["tokens"] == found.usage.total_tokens
    assert found.model == "some-model"
    assert found.choices[0].finish_reason == "stop"


# Pictures


def refusal(sdk, question):
    with pytest.raises(BadRequestError) as refused:
        send(sdk, question)
    return str(refused.value)


def test_pictures_of_others_or_in_another_order_are_refused(root, sheets):
    first, second = group_of_two(sheets)
    own, other = ([photo(path) for path in paths(root, key, sheets[key])] for key in (first, second))
    with client(sheets, album=Album(root)) as sdk:
        answer(sdk, caption_question(first, own, FASHION))
        swapped = refusal(sdk, caption_question(first, [own[1], own[0], *own[2:]], FASHION))
        assert f"view 1 of {first} is not its photo 1_front.jpg: their mean difference is" in swapped
        foreign = refusal(sdk, caption_question(first, [*own[:-1], other[0]], FASHION))
        assert f"view {len(own)} of {first} is not its photo" in foreign
        assert "a picture of" in refusal(sdk, caption_question(first, [*own[:-1], _garbage()], FASHION))
        truth = describe(first, sheets[first])
        right, wrong = drawn(root, truth, sheets[first]), drawn(root, describe(second, sheets[second]), sheets[second])
        answer(sdk, verification_question([right], FASHION))
        mixed = triplet_question(right, [type(wrong)(caption=wrong.caption, panorama=right.panorama)], FASHION)
        assert f"of {second} is not its photo" in refusal(sdk, mixed)


def _garbage():
    return type(pixel())(digest="garbage", load=lambda: b"\xff\xd8\xff garbage")


def test_every_photo_of_the_catalogue_is_told_from_the_others_of_its_product(root, sheets):
    album = Album(root)
    for key, garment in sheets.items():
        views = [path.read_bytes() for path in paths(root, key, garment)]
        album.check(key, garment, views, stitched=False)
        album.check(key, garment, [drawn(root, describe(key, garment), garment).panorama.picture.load()], stitched=True)
        with pytest.raises(ValueError, match="shorter"):
            album.check(key, garment, views[:-1], stitched=False)


def test_pictures_that_are_none_are_refused_without_an_album(sheets):
    key = next(iter(sheets))
    photos = [_garbage() for _ in sheets[key].views]
    with client(sheets) as sdk:
        assert "a picture cannot be read" in refusal(sdk, caption_question(key, photos, FASHION))


# Idempotency


def test_a_key_is_answered_once_and_then_replayed(sheets, tmp_path):
    key, other = list(sheets)[:2]
    with client(sheets, Faults(malformed_json=0.9), log=tmp_path / "log.jsonl") as sdk:
        first = send(sdk, plain(sheets, key), **{"Idempotency-Key": "k1"})
        assert send(sdk, plain(sheets, key), **{"Idempotency-Key": "k1"}) == first
        with pytest.raises(UnprocessableEntityError, match="was used for another request"):
            send(sdk, plain(sheets, other), **{"Idempotency-Key": "k1"})
        send(sdk, plain(sheets, key), **{"Idempotency-Key": "k2"})
    found = [(row["event"], row["key"], row["status"]) for row in rows(tmp_path / "log.jsonl")]
    assert found == [("answered", "k1", 200), ("replayed", "k1", 200), ("error", "k1", 422), ("answered", "k2", 200)]


def test_a_key_that_is_asked_twice_at_once_is_answered_once(sheets, tmp_path):
    key = next(iter(sheets))
    with client(sheets, Faults(latency=0.2), log=tmp_path / "log.jsonl") as sdk, ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(send, sdk, plain(sheets, key), **{"Idempotency-Key": "k"}) for _ in range(4)]
        assert len({future.result().to_json() for future in sent}) == 1
    assert sorted(row["event"] for row in rows(tmp_path / "log.jsonl")) == ["answered", *["replayed"] * 3]


def test_failures_are_not_replayed(sheets, tmp_path):
    key = next(iter(sheets))
    with client(sheets, Faults(server_errors=0.5, seed=3), log=tmp_path / "log.jsonl") as sdk:
        for _ in range(40):
            try:
                send(sdk, plain(sheets, key), **{"Idempotency-Key": "k"})
                break
            except InternalServerError:
                continue
    events = [row["event"] for row in rows(tmp_path / "log.jsonl")]
    assert len(events) > 1
    assert events == [*["error"] * (len(events) - 1), "answered"]


# Faults of a server


def test_overload_says_when_to_come_back(sheets, tmp_path):
    faults = Faults(rate_limited=1.0, retry_after=2.5)
    with client(sheets, faults, log=tmp_path / "log.jsonl") as sdk, pytest.raises(RateLimitError) as refused:
        send(sdk, plain(sheets, next(iter(sheets))))
    assert refused.value.response.headers["Retry-After"] == "2.5"
    (row,) = rows(tmp_path / "log.jsonl")
    assert (row["event"], row["status"], row["tokens"], row["stage"]) == ("error", 429, 0, "caption")


def test_refusals_are_told_as_refusals(sheets, tmp_path):
    with client(sheets, Faults(refusals=1.0), log=tmp_path / "log.jsonl") as sdk:
        message = send(sdk, plain(sheets, next(iter(sheets)))).choices[0].message
    assert (message.content, message.refusal) == (None, "I cannot help with this.")
    assert [row["event"] for row in rows(tmp_path / "log.jsonl")] == ["refused"]


def test_slow_answers_arrive(sheets):
    with client(sheets, Faults(slow=1.0, slow_seconds=0.05, latency=0.05)) as sdk:
        answer(sdk, plain(sheets, next(iter(sheets))))


def test_wrong_keys_large_bodies_and_nonsense_are_refused(sheets, tmp_path):
    key, log = next(iter(sheets)), tmp_path / "log.jsonl"
    with client(sheets, log=log, api_key="secret", key="wrong") as sdk:
        for call in (lambda: send(sdk, plain(sheets, key)), sdk.models.list):
            with pytest.raises(AuthenticationError, match="is not the one of this server"):
                call()
    with client(sheets, log=log, api_key="secret", key="secret") as sdk:
        answer(sdk, plain(sheets, key))
    with client(sheets, log=log, max_body=1000) as sdk, pytest.raises(APIStatusError, match="over the limit of 1000"):
        send(sdk, plain(sheets, key))
    with client(sheets, log=log) as sdk:
        with pytest.raises(BadRequestError, match="which is none of the three stages'"):
            sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
        assert httpx.get(f"{sdk.base_url}chat/completions").status_code == 405
        assert httpx.post(f"{sdk.base_url}embeddings").status_code == 404
    assert [row["status"] for row in rows(log)] == [401, 200, 413, 400]
    assert "secret" not in log.read_text()


def test_the_log_goes_on_where_it_was(sheets, tmp_path):
    log = tmp_path / "deep" / "log.jsonl"
    for _ in range(2):
        with client(sheets, log=log) as sdk:
            send(sdk, plain(sheets, next(iter(sheets))))
    assert len(rows(log)) == 2


# The whole way


def settings(url, **changes):
    values = {
        "provider": "openai", "model": "m", "base_url": url, "key_variable": "TEST_KEY", "max_tokens": 4000,
        "tries": 20, "in_flight": 8,
    }  # fmt: skip
    return AnnotatorSettings(**(values | changes))


def outcomes(url, questions, ledger_path):
    async def run():
        with Ledger.open(ledger_path) as ledger:
            async with HttpAnnotator(settings(url), ledger) as annotator:
                return [outcome async for outcome in annotate(annotator, questions)]

    return {outcome.request.item: outcome for outcome in asyncio.run(run())}


def test_faults_of_a_server_change_no_answer(sheets, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "k")
    monkeypatch.setattr(transport, "BACKOFF", 0.01)
    keys = list(sheets)
    described = {key: flat(describe(key, sheets[key])) for key in keys}
    same = {key: [k for k in keys if k != key and sheets[k].group == sheets[key].group] for key in keys}
    questions = [plain(sheets, key) for key in keys]
    questions += [verification_question([described[key] for key in keys[i : i + 5]], FASHION) for i in range(0, 35, 5)]
    questions += [triplet_question(described[k], [described[o] for o in same[k]], FASHION) for k in keys if same[k]]
    faulty = Faults(
        left_right_errors=0.2, malformed_json=0.4, empty_answers=0.2, rate_limited=0.2, retry_after=0.0,
        server_errors=0.2, slow=0.1, slow_seconds=0.05, latency=0.01,
    )  # fmt: skip
    found = []
    for number, faults in enumerate((Faults(left_right_errors=0.2), faulty)):
        log = tmp_path / f"{number}.jsonl"
        with closing(RequestLog(log)) as requests, running(create_app(sheets, faults, log=requests)) as url:
            answers = [outcomes(url, part, tmp_path / f"{number}.sqlite") for part in (questions[:39], questions[39:])]
        found.append([{item: outcome.answer for item, outcome in part.items()} for part in answers])
        assert all(answer is not None for part in found[-1] for answer in part.values())
    assert found[0] == found[1]
    statuses = [row["status"] for row in rows(tmp_path / "1.jsonl")]
    assert {200, 429, 500} == set(statuses)
    answered = [row["key"] for row in rows(tmp_path / "1.jsonl") if row["event"] == "answered"]
    assert len(answered) == len(set(answered)) > len(questions)


# Serving


def test_the_server_is_gone_after_its_block(sheets):
    with running(create_app(sheets, Faults())) as url:
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/models").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_open_addresses_need_a_key(sheets, host):
    with pytest.raises(ConfigError, match="can be reached from other machines: set a key"):
        serve(create_app(sheets, Faults()), host, 0, has_key=False, ready=lambda _: None)


def test_a_port_in_use_is_named(sheets):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be bound \(.*\); choose another"):
            serve(create_app(sheets, Faults()), "127.0.0.1", port, has_key=False, ready=lambda _: None)
