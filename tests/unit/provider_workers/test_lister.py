"""Vendors are asked for their models rarely, politely, and without any harm when they do not answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from calling_worker import KEY, endpoint, run
from scripted_upstream import Upstream, always, answer, upstream

from llmproxy.common.channels import MODELS_BUCKET
from llmproxy.common.config import PROVIDERS, Config, Endpoint
from llmproxy.common.model_lists import DECODER, ENCODER, ModelList
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.provider_workers import listings
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.lister import AFTER_FAILURE_MS, REFRESH_MS, Lister
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.work import Work

LIST = json.dumps({"object": "list", "data": [{"id": "a/one"}, {"id": "two"}, {"id": "not a name"}]}).encode()


class Harness:
    def __init__(self, lister: Lister, bucket: Any, broker: FakeBroker) -> None:
        self.lister, self.bucket, self.broker, self.now_s = lister, bucket, broker, 1_000_000.0

    async def known(self, name: str) -> ModelList | None:
        found = await self.bucket.get(name)
        return None if found is None else DECODER.decode(found[0])


@asynccontextmanager
async def listing(endpoints: dict[str, Endpoint]) -> AsyncIterator[Harness]:
    broker = FakeBroker()
    bus = await fake_bus(broker, "provider-workers")
    transport = Transport()
    work = Work(bus, transport, Settlement(bus), Credentials({"KEY": KEY}), providers=frozenset(PROVIDERS))
    work.configure(Config(endpoints=endpoints))
    lister = Lister(bus, transport, work.destinations, now=lambda: harness.now_s)
    harness = Harness(lister, await bus.wire.bucket(MODELS_BUCKET), broker)
    try:
        yield harness
    finally:
        await bus.drain(0.0)
        await transport.close()


def lines(served: Upstream) -> list[str]:
    return [asked.line for asked in served.asked]


def test_the_list_of_an_endpoint_that_takes_every_name_is_fetched_with_its_key_and_published() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, LIST))) as served,
            listing({"any": endpoint(served), "one": endpoint(served, models=("gpt-5",))}) as asked,
        ):
            await asked.lister.look()
            assert lines(served) == ["GET /v1/models HTTP/1.1"]
            assert served.asked[0].headers["authorization"] == f"Bearer {KEY}"
            known = await asked.known("any")
            assert known is not None
            assert (known.provider, known.models) == ("openai", ("a/one", "two"))

    run(scenario)


def test_a_list_is_asked_for_again_only_when_it_is_old_whoever_fetched_it() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, LIST))) as served, listing({"any": endpoint(served)}) as asked:
            fresh = ModelList(provider="openai", models=("theirs",), listed_at_ms=int(asked.now_s * 1000))
            await asked.bucket.put("any", ENCODER.encode(fresh))
            await asked.lister.look()
            assert served.asked == []
            asked.now_s += REFRESH_MS / 1000
            await asked.lister.look()
            await asked.lister.look()
            assert len(served.asked) == 1

    run(scenario)


@pytest.mark.parametrize(
    "bad",
    [answer(500, b"{}"), answer(200, b"<html>"), answer(200, b'{"data":5}'), answer(401, b"no"), b"nonsense\r\n\r\n"],
)
def test_a_vendor_that_does_not_list_is_left_alone_for_a_while_and_disturbs_nobody(bad: bytes) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(bad)) as failing,
            upstream(always(answer(200, LIST))) as served,
            listing({"bad": endpoint(failing), "good": endpoint(served)}) as asked,
        ):
            await asked.lister.look()
            await asked.lister.look()
            assert len(failing.asked) == 1
            assert await asked.known("bad") is None
            assert await asked.known("good") is not None
            asked.now_s += AFTER_FAILURE_MS / 1000
            await asked.lister.look()
            assert len(failing.asked) == 2

    run(scenario)


def test_what_our_own_stores_fail_at_is_not_held_against_the_vendor() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, LIST))) as served, listing({"any": endpoint(served)}) as asked:
            asked.broker.jetstream_down = True
            await asked.lister.look()
            asked.broker.jetstream_down = False
            assert served.asked == []
            await asked.lister.look()
            assert await asked.known("any") is not None

    run(scenario)


def test_an_old_list_stays_when_its_vendor_fails() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(503, b""))) as failing, listing({"any": endpoint(failing)}) as asked:
            old = ModelList(provider="openai", models=("x",), listed_at_ms=1)
            await asked.bucket.put("any", ENCODER.encode(old))
            await asked.lister.look()
            assert await asked.known("any") == old

    run(scenario)


@pytest.mark.parametrize(
    ("provider", "base", "url"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1/models"),
        ("groq", "https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/models"),
        ("vllm", "http://h:8000/v1/chat/completions", "http://h:8000/v1/models"),
        ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/models?limit=1000"),
        ("google", "https://g.example", "https://g.example/v1beta/models?pageSize=1000"),
        ("google", "https://g.example/v1beta/", "https://g.example/v1beta/models?pageSize=1000"),
        ("ollama", "http://h:11434", "http://h:11434/api/tags"),
        ("cohere", "https://api.cohere.com", "https://api.cohere.com/v1/models?page_size=1000"),
    ],
)
def test_each_vendor_is_asked_where_its_list_is(provider: Any, base: str, url: str) -> None:
    request = listings.request(provider, base)
    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", url, b"")


def test_who_lists_nothing_is_not_asked() -> None:
    assert {provider for provider in PROVIDERS if listings.request(provider, "https://h") is None} == {
        *("azure", "bedrock", "demo", "perplexity", "vertex"),
    }
    assert listings.PLACES.keys() <= ADAPTERS.keys()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"data":[{"id":"a"},{"id":"b","name":"B"}]}', ("a", "b")),
        (b'[{"id":"a"}]', ("a",)),
        (b'{"models":[{"name":"models/gemini-3-pro","displayName":"x"}]}', ("gemini-3-pro",)),
        (b'{"models":[{"name":"llama3:8b","model":"llama3:8b"}]}', ("llama3:8b",)),
        (b'{"data":[]}', ()),
        (b"{}", None),
        (b"", None),
        (b"[5]", None),
    ],
)
def test_a_list_is_read_in_any_of_its_forms(body: bytes, names: tuple[str, ...] | None) -> None:
    assert listings.names(body) == names
