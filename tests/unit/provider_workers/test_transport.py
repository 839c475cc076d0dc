"""Keys stay at their origin; waits end when they should, and cancellations mean what they meant."""

import asyncio
import os
from pathlib import Path

import pytest
from patience import PATIENCE_S
from scripted_upstream import Script, Upstream, always, answer, upstream

from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.transport import (
    HEADS_KEPT_MAX,
    INFORMATIONAL_MAX,
    Destination,
    Transport,
    Watch,
    Watches,
)

HEADERS = (("content-type", "application/json"),)


def destination(
    url: str = "https://api.example.com/v1", key: str = "env:KEY", connect_ms: int = 1000 * int(PATIENCE_S)
) -> Destination:
    endpoint = Endpoint(provider="openai", url=url, key=key, models=("*",), connect_ms=connect_ms)
    return Destination("up", endpoint, ADAPTERS["openai"], Credentials({"KEY": "sk-1"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/v1/chat/completions",
        "http://api.example.com/v1/chat/completions",
        "https://api.example.com:8443/v1/chat/completions",
        "https://api.example.com@evil.example.com/v1",
        "//evil.example.com/",
        "https://api.example.com.evil.com/",
        "file:///etc/passwd",
    ],
)
def test_a_call_never_leaves_the_origin_of_its_endpoint(url: str) -> None:
    async def scenario() -> None:
        transport = Transport()
        try:
            with pytest.raises(GatewayError) as raised:
                await transport.call(destination(), HttpRequest(method="POST", url=url, headers=HEADERS, body=b"{}"))
            assert "evil" not in raised.value.message
            assert "sk-1" not in raised.value.message
        finally:
            await transport.close()

    asyncio.run(scenario())


def head(kept: Destination, url: str = "https://api.example.com/v1/chat/completions", traceparent: str = "") -> bytes:
    return kept.head(HttpRequest(method="POST", url=url, headers=HEADERS, body=b"{}"), traceparent)


def test_the_vendors_own_origin_is_used_when_none_is_configured() -> None:
    assert b"host: api.openai.com\r\n" in head(destination(url=""), "https://api.openai.com/v1/chat/completions")
    with pytest.raises(GatewayError):
        head(destination(url=""))


@pytest.mark.parametrize("url", ["http://", "https:///v1", "http://[::1", "http://host:99999/v1"])
def test_an_address_that_is_none_is_said_when_it_is_used_and_not_before(url: str) -> None:
    kept = destination(url)
    with pytest.raises(GatewayError, match=r"endpoints\.up\.url"):
        head(kept, url)


def test_the_head_says_what_it_must_and_nothing_else() -> None:
    assert head(destination(), traceparent="00-aa-bb-01").decode().split("\r\n") == [
        "POST /v1/chat/completions HTTP/1.1",
        "host: api.example.com",
        "accept: */*",
        "accept-encoding: identity",
        "user-agent: llmproxy",
        "content-type: application/json",
        "authorization: Bearer sk-1",
        "traceparent: 00-aa-bb-01",
        "content-length: 2",
        "",
        "",
    ]


def test_a_port_that_is_not_the_schemes_own_is_named() -> None:
    url = "http://[::1]:8080/v1"
    assert b"host: [::1]:8080\r\n" in head(destination(url=url), f"{url}/chat/completions")


@pytest.mark.parametrize("bad", ["a\r\nx-evil: 1", "a b", "a\x00b", "\u00e9"])
def test_what_comes_from_a_model_name_cannot_start_another_line(bad: str) -> None:
    lines = head(destination(), f"https://api.example.com/v1/models/{bad}").split(b"\r\n")
    assert lines[0].startswith(b"POST /v1/models/")
    assert len(lines[0].split(b" ")) == 3
    assert not [line for line in lines if line.startswith(b"x-evil")]


@pytest.mark.parametrize("bad", ["00-aa\r\nx-evil: 1", "x" * 100, "00 aa"])
def test_a_trace_context_that_is_none_is_left_out(bad: str) -> None:
    assert b"traceparent" not in head(destination(), traceparent=bad)


def test_what_is_kept_of_heads_is_bounded() -> None:
    kept = destination()
    for number in range(HEADS_KEPT_MAX * 2 + 3):
        head(kept, f"https://api.example.com/v1/models/{number}")
    assert len(kept._heads) <= HEADS_KEPT_MAX


def test_a_rotated_key_is_in_the_next_head(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-1")
    os.utime(key, ns=(1, 1))
    endpoint = Endpoint(provider="openai", url="https://api.example.com", key=f"file:{key}", models=("*",))
    kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}))
    assert b"Bearer sk-1" in head(kept)
    key.write_text("sk-2")
    os.utime(key, ns=(2, 2))
    assert b"Bearer sk-2" in head(kept)
    assert b"sk-1" not in head(kept)


def test_a_key_that_is_written_within_the_tick_in_which_its_file_was_emptied_is_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    endpoint = Endpoint(provider="openai", url="https://api.example.com", key=f"file:{key}", models=("*",))
    kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}))
    key.write_text("")
    os.utime(key, ns=(1, 1))
    with pytest.raises(GatewayError, match="is not there"):
        head(kept)
    key.write_text("sk-1")
    os.utime(key, ns=(1, 1))
    assert b"Bearer sk-1" in head(kept)


async def silence(seconds: float, *, extended_s: float | None = None, deadline_s: float = 3_600) -> tuple[float, Watch]:
    """Waits under a watch for something that never comes; how long, and the watch."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    watch = Watches().over(seconds, deadline_s)
    try:
        with watch:
            if extended_s is not None:
                watch.extend(extended_s)
            await asyncio.Event().wait()
    except TimeoutError:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return loop.time() - started, watch
    raise AssertionError("the watch did not expire")


def waited(*arguments: float, **options: float) -> tuple[float, Watch]:
    return asyncio.run(asyncio.wait_for(silence(*arguments, **options), PATIENCE_S))


def test_a_watch_that_expires_is_a_timeout() -> None:
    assert waited(0.01)[0] >= 0.01


def test_a_watch_that_is_extended_does_not_expire_early() -> None:
    assert waited(0.02, extended_s=0.08)[0] >= 0.07


def test_a_watch_that_is_shortened_expires_sooner() -> None:
    assert waited(3_600, extended_s=0.01)[0] < PATIENCE_S


def test_no_extension_outlives_the_deadline() -> None:
    _, watch = waited(10, extended_s=3_600, deadline_s=0.02)
    assert watch.is_past_deadline


def test_each_of_many_watches_expires_when_it_is_due_and_no_other_with_it() -> None:
    async def scenario() -> list[int]:
        loop, watches, late = asyncio.get_running_loop(), Watches(), list[int]()
        never = asyncio.Event()

        async def waits(number: int, seconds: float, extended_s: float | None = None) -> None:
            started, watch = loop.time(), watches.over(seconds, 3_600)
            try:
                with watch:
                    if extended_s is not None:
                        watch.extend(extended_s)
                    await (never.wait() if seconds < 60 else asyncio.sleep(0))
            except TimeoutError:
                assert loop.time() - started >= (extended_s or seconds) - 0.001
                late.append(number)

        dues = [(0.09, None), (0.03, None), (60.0, None), (0.06, None), (0.01, 0.12)]
        await asyncio.gather(*(waits(number, *due) for number, due in enumerate(dues)))
        assert not watches.under_way
        return late

    # Each not before it is due, as asserted above; in which order, when several are due at once, says nothing.
    assert sorted(asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))) == [0, 1, 3, 4]


def test_a_watch_that_has_ended_cancels_nobody() -> None:
    async def scenario() -> float:
        loop, watches = asyncio.get_running_loop(), Watches()
        with watches.over(0.01, 60):
            pass
        started = loop.time()
        with pytest.raises(TimeoutError), watches.over(0.05, 60):
            await asyncio.Event().wait()
        return loop.time() - started

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S)) >= 0.049


def test_a_cancellation_from_outside_stays_one() -> None:
    async def scenario() -> None:
        async def waits() -> None:
            with Watches().over(60, 60):
                await asyncio.Event().wait()

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def called(script: Script, *, times: int = 1) -> tuple[list[bytes | str], Upstream]:
    """What `times` calls in a row yield: the body, or the code of the error."""

    async def scenario() -> tuple[list[bytes | str], Upstream]:
        results: list[bytes | str] = []
        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            for _ in range(times):
                try:
                    reply = await transport.call(kept, request)
                    results.append(await reply.read_all())
                    reply.close()
                except GatewayError as error:
                    results.append(error.code)
            await transport.close()
        return results, served

    return asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_connections_are_used_again() -> None:
    ports = set()

    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername"))
        writer.write(answer(200, b"ok"))

    assert called(script, times=5)[0] == [b"ok"] * 5
    assert len(ports) == 1


def test_an_answer_that_nobody_asked_for_is_not_the_next_callers() -> None:
    async def scenario() -> None:
        was_read = asyncio.Event()

        async def script(number: int, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(200, b"of %d" % number))
            if number == 0:
                await was_read.wait()
                writer.write(answer(200, b"of nobody"))

        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            first = await transport.call(kept, request)
            assert await first.read_all() == b"of 0"
            first.close()
            protocol = first._connection.protocol
            assert protocol is not None
            was_read.set()
            while not protocol.should_close:
                await asyncio.sleep(0.001)
            second = await transport.call(kept, request)
            assert await second.read_all() == b"of 1"
            second.close()
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_provider_that_hangs_up_on_a_fresh_connection_is_not_asked_twice() -> None:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.close()

    results, served = called(script)
    assert results == ["provider_unreachable"]
    assert len(served.asked) == 1


def test_a_provider_that_hangs_up_on_a_used_connection_is_asked_once_more_on_a_fresh_one() -> None:
    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.close()
        else:
            writer.write(answer(200, b"ok"))

    results, served = called(script, times=2)
    assert results == [b"ok", b"ok"]
    assert len(served.asked) == 3


def test_an_informational_answer_is_not_the_answer() -> None:
    assert called(always(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", answer(200, b"ok")))[0] == [b"ok"]


def test_informational_answers_without_end_are_a_bad_answer() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert called(always(hints * INFORMATIONAL_MAX, answer(200, b"ok")))[0] == [b"ok"]
    assert called(always(hints * (INFORMATIONAL_MAX + 1), answer(200, b"ok")))[0] == ["provider_bad_answer"]


@pytest.mark.parametrize(
    "answered",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_bad_answer(answered: bytes) -> None:
    assert called(always(answered))[0] == ["provider_bad_answer"]


def test_a_body_that_is_shorter_than_announced_is_a_broken_answer() -> None:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    assert called(script)[0] == ["provider_stream_broken"]


def test_a_name_that_does_not_resolve_and_a_port_that_does_not_speak_tls_are_unreachable() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, b"ok"))) as served:
            transport = Transport()
            for url in ("http://no-such-host.invalid/v1", served.url.replace("http:", "https:")):
                request = HttpRequest(method="POST", url=f"{url}/chat/completions", headers=HEADERS, body=b"{}")
                with pytest.raises(GatewayError) as raised:
                    await transport.call(destination(url, connect_ms=200), request)
                assert raised.value.code == "provider_unreachable"
                assert "127.0.0.1" not in raised.value.message
                assert ".invalid" not in raised.value.message
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
