"""Contents at callers' addresses: bounded in every way, and what is no picture is nobody's business."""

import asyncio
import gzip
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from calling_worker import asking, attempt, endpoint, gateway
from fetching import PDF, PNG, Web, fetcher, said, wanted, web
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from patience import PATIENCE_S
from scripted_upstream import Script, always, answer, upstream

from llmproxy.common.config import Fetch
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.connections import Connector
from llmproxy.provider_workers.fetcher import Fetcher, NotFetched, _moved


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def reply(body: bytes = PNG, media: str = "image/png", *headers: str) -> bytes:
    return answer(200, body, *headers).replace(b"application/json", media.encode())


def fetched(script: Script, *, kind: str = "image", path: str = "/cat.png", **limits: Any) -> tuple[str, Web]:
    """The data URL, or what was said instead."""
    outcome: list[tuple[str, Web]] = []

    async def scenario() -> None:
        async with web(script) as served, fetcher(served, **limits) as asked:
            url = served.url(path)
            try:
                outcome.append(((await asked.fetch(wanted(url, kind=kind)))[url], served))
            except GatewayError as error:
                outcome.append((said(error), served))

    run(scenario)
    return outcome[0]


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(32), "image/jpeg"),
        (b"GIF89a" + bytes(32), "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_becomes_a_data_url_by_its_own_first_bytes(body: bytes, media: str) -> None:
    found, served = fetched(always(reply(body, "image/anything")), path="/a%20b.png?size=1&x=%0d%0a")
    assert found.startswith(f"data:{media};base64,")
    assert b64decode(found.partition(",")[2]) == body
    head = served.asked[0].lower()
    assert head.startswith("get /a%20b.png?size=1&x=%0d%0a http/1.1\r\n")
    assert not [word for word in ("authorization", "cookie", "api-key", "referer") if word in head]


def test_a_paper_is_fetched_where_a_file_is_wanted() -> None:
    assert fetched(always(reply(PDF, "application/pdf")), kind="file")[0].startswith("data:application/pdf;base64,")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (always(reply(b"<html>secret</html>", "text/html")), "does not call it a picture"),
        (always(reply(b'{"Code":"Success"}', "application/json")), "does not call it a picture"),
        (always(reply(b'{"AccessKeyId":"secret"}', "image/png")), "is not a picture"),
        (always(reply(b"<svg onload=alert(1)>", "image/svg+xml")), "is not a picture"),
        (always(reply(PDF, "application/pdf")), "is not a picture"),
        (always(reply(b"")), "is not a picture"),
        (always(answer(404, b"secret")), "status 404"),
        (always(answer(401, b"secret", "www-authenticate: Basic")), "status 401"),
        (always(reply(PNG + bytes(3_000))), "larger than 2000 bytes"),
        (
            always(reply(gzip.compress(PNG + bytes(9_000)), "image/png", "content-encoding: gzip")),
            "larger than 2000 bytes",
        ),
        (always(reply(gzip.compress(bytes(20 << 20)), "image/png", "content-encoding: gzip")), "broke off"),
        (always(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 100\r\n\r\nhalf"), "broke off"),
        (always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "broke off"),
        (always(b""), "broke off"),
    ],
)
def test_what_is_no_small_picture_is_refused_and_nothing_of_it_is_told(script: Script, why: str) -> None:
    message = fetched(script, max_bytes=2_000)[0]
    assert why in message
    assert "secret" not in message


def test_a_server_that_takes_its_time_is_left() -> None:
    async def drips(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    assert fetched(drips, timeout_ms=400)[0] == "it took too long"


def test_redirects_are_followed_a_few_times() -> None:
    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(reply() if number == 2 else answer(302, b"", f"location: /next-{number}"))

    found, served = fetched(script, redirects_max=2)
    assert found.startswith("data:image/png")
    assert [head.split()[1] for head in served.asked] == ["/cat.png", "/next-0", "/next-1"]
    message, served = fetched(always(answer(307, b"", "location: /again")), redirects_max=2)
    assert message == "it redirects more than 2 times"
    assert len(served.asked) == 3


def test_the_contents_of_one_request_are_bounded_together() -> None:
    async def scenario() -> None:
        async with web(always(reply(PNG + bytes(3_000)))) as served:
            async with fetcher(served, body_bytes_max=10_000) as asked:
                urls = [served.url(f"/{number}.png") for number in range(4)]
                assert len(await asked.fetch(wanted(*urls[:2]))) == 2
                with pytest.raises(GatewayError, match="larger together"):
                    await asked.fetch(wanted(*urls))
            async with fetcher(served, addresses_max=3) as asked:
                with pytest.raises(GatewayError, match="3 contents"):
                    await asked.fetch(wanted(*urls))

    run(scenario)


URLS = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"https?:[/\\\\]{0,3}[^/]{0,20}@?[a-z0-9.:\[\]%_-]{0,30}(/[^ ]{0,20})?", fullmatch=True),
)


@given(URLS, URLS)
def test_no_address_and_no_redirect_is_more_than_refused(url: str, location: str) -> None:
    """What comes out is an https URL with a host, and whatever cannot be one is NotFetched."""
    asked = Fetcher(Fetch(enabled=True), cast(Connector, None), body_bytes_max=1)
    for text in (url, f"https://pictures.test/{url}"):
        try:
            at = asked._address(text)
            at = asked._address(_moved(at, location))
        except NotFetched:
            continue
        assert (at.scheme, at.port, bool(at.raw_host), at.user) == ("https", 443, True, None)
        assert at.raw_path_qs.isascii()
        assert not set(at.raw_path_qs) & set(" \r\n\t\x00")


PICTURED = (
    b'{"model":"mine","messages":[{"role":"user","content":[{"type":"text","text":"what is it?"},'
    b'{"type":"image_url","image_url":{"url":"%s"}}]}]}'
)
OLLAMA = b'{"model":"m","message":{"role":"assistant","content":"a cat"},"done":true,"done_reason":"stop"}'


def test_a_provider_that_takes_bytes_is_shown_the_picture_and_nobody_else_is_fetched_for() -> None:
    async def scenario() -> None:
        async with (
            web(always(reply())) as served,
            upstream(always(answer(200, OLLAMA))) as local,
            gateway({"up": endpoint(local, provider="ollama")}, providers=frozenset({"ollama"})) as asked,
        ):
            body = Raw(PICTURED % served.url().encode())
            plan = attempt(provider="ollama")
            refused = await asked.answered(asking(plan, id="1", body=body))
            assert (refused.code, refused.param) == ("unsupported_parameter", "messages[0].content[1].image_url.url")
            async with fetcher(served) as asked.work.fetcher:
                asked.ended.clear()
                await asked.answered(asking(plan, id="2", body=body))
            assert b"a cat" in asked.text
            assert b'"images":["iVBORw0KGgo' in local.asked[0].body
            assert len(served.asked) == 1

    run(scenario)


def test_a_picture_that_cannot_be_fetched_is_the_callers_error_and_no_provider_is_asked() -> None:
    async def scenario() -> None:
        async with (
            web(always(answer(404, b""))) as served,
            upstream(always(answer(200, OLLAMA))) as local,
            gateway({"up": endpoint(local, provider="ollama")}, providers=frozenset({"ollama"})) as asked,
            fetcher(served) as asked.work.fetcher,
        ):
            body = Raw(PICTURED % served.url().encode())
            failure = await asked.answered(asking(attempt(provider="ollama"), body=body))
            assert (failure.code, failure.param) == ("invalid_value", "messages[0].content[1].image_url.url")
            assert local.asked == []

    run(scenario)
