"""The worker's promises, against an upstream that is scripted byte by byte."""

import asyncio
import time
from typing import Any

import pytest
from calling_worker import KEY, WAIT_S, asking, attempt, endpoint, gateway, run
from msgspec import Raw
from scripted_upstream import (
    COMPLETION,
    DONE,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    always,
    answer,
    delta,
    event,
    upstream,
)

from llmproxy.common.channels import REQUEST_CALL
from llmproxy.common.config import Endpoint
from llmproxy.common.envelope import INLINE_BYTES_MAX, Attempt, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Data, End, Failure, Head
from llmproxy.common.testing import envelope, fake_bus
from llmproxy.provider_workers.retries import goes_on, pause_ms


def test_a_whole_answer_is_one_packet_with_usage_and_cost() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, COMPLETION, "x-request-id: r-1", "x-secret: no"))) as served,
            gateway({"up": endpoint(served)}) as asked,
        ):
            end = await asked.answered(asking(traceparent="00-aa-bb-01"))
            [[head, data, _]] = asked.packets
            assert isinstance(head, Head)
            assert (head.endpoint, head.provider, head.model, head.retries) == ("up", "openai", "gpt-4o", 0)
            assert head.headers == {"x-request-id": "r-1"}
            assert isinstance(data, Data)
            assert bytes(data.json) == COMPLETION
            assert (end.usage.input, end.usage.output, end.usage.estimated) == (11, 3, False)
            assert end.cost == 11 * 1000 + 3 * 2000
            sent = served.asked[0]
            assert sent.line == "POST /v1/chat/completions HTTP/1.1"
            assert sent.headers["authorization"] == f"Bearer {KEY}"
            assert sent.headers["accept-encoding"] == "identity"
            assert sent.headers["traceparent"] == "00-aa-bb-01"
            assert "cookie" not in sent.headers
            assert b'"model":"gpt-4o"' in sent.body
            [outcome] = await asked.outcome()
            assert outcome.ok
            assert (outcome.input_tokens, outcome.cost) == (11, end.cost)

    run(scenario)


def test_the_events_of_one_read_leave_in_one_packet_and_the_head_with_the_first_content() -> None:
    async def scenario() -> None:
        goes_on_now = asyncio.Event()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + event(delta(role="assistant")))
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(event(delta("one ")) + event(delta("two ")))
            await goes_on_now.wait()
            writer.write(event(delta(finish="stop")) + event(USAGE) + event(DONE) + STREAM_END)

        async with upstream(script) as served, gateway({"up": endpoint(served)}) as asked:
            asked.ask(asking(stream=True))
            await asyncio.wait_for(asked.arrived.wait(), WAIT_S)
            assert isinstance(asked.packets[0][0], Head)
            assert asked.text.count(b"content") >= 2
            goes_on_now.set()
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            assert (asked.last.usage.input, asked.last.usage.output, asked.last.finish) == (11, 3, "stop")
            assert b"one " in asked.text
            assert b"two " in asked.text
            assert len(asked.packets) <= 3
            assert b'"usage"' not in asked.text  # The caller did not ask for it.

    run(scenario)


def test_a_failing_provider_is_followed_by_the_next_of_the_plan() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(500, b"{}"))) as bad,
            upstream(always(answer(200, COMPLETION))) as good,
            gateway({"bad": endpoint(bad), "good": endpoint(good)}) as asked,
        ):
            end = await asked.answered(asking(attempt("bad"), attempt("good")))
            assert isinstance(end, End)
            [head] = [frame for frame in asked.frames if isinstance(frame, Head)]
            assert (head.endpoint, head.retries) == ("good", 1)
            first, second = await asked.outcome(2)
            assert (first.endpoint, first.ok, first.code, first.counts) == ("bad", False, "provider_error", True)
            assert (second.endpoint, second.ok) == ("good", True)

    run(scenario)


@pytest.mark.parametrize(
    "empty", [b"HTTP/1.1 204 No Content\r\n\r\n", answer(200, b"")], ids=["no content", "no bytes"]
)
def test_an_answer_without_a_body_is_followed_by_the_next_of_the_plan(empty: bytes) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(empty)) as bad,
            upstream(always(answer(200, COMPLETION))) as good,
            gateway({"bad": endpoint(bad), "good": endpoint(good)}) as asked,
        ):
            assert isinstance(await asked.answered(asking(attempt("bad"), attempt("good"))), End)
            first, second = await asked.outcome(2)
            assert (first.endpoint, first.code, first.counts) == ("bad", "provider_bad_answer", True)
            assert (second.endpoint, second.ok) == ("good", True)

    run(scenario)


def test_bytes_that_are_no_text_in_a_header_of_the_provider_cost_no_answer() -> None:
    async def scenario() -> None:
        answered = answer(200, COMPLETION, "x-request-id: r-1", "x-ratelimit-limit: ?").replace(b"?", b"\xff")
        async with upstream(always(answered)) as served, gateway({"up": endpoint(served)}) as asked:
            assert isinstance(await asked.answered(asking()), End)
            [[head, _, _]] = asked.packets
            assert isinstance(head, Head)
            assert head.headers == {"x-request-id": "r-1"}
            [outcome] = await asked.outcome()
            assert outcome.ok

    run(scenario)


def test_an_error_inside_a_stream_before_content_is_retried_even_after_the_role() -> None:
    async def scenario() -> None:
        error = b'{"error":{"message":"overloaded","type":"server_error","code":503}}'
        pieces = (STREAM_HEAD, event(delta(role="assistant")), event(error), STREAM_END)
        good = (STREAM_HEAD, event(delta("fine", finish="stop")), event(DONE), STREAM_END)
        async with (
            upstream(always(*pieces)) as bad,
            upstream(always(*good)) as other,
            gateway({"bad": endpoint(bad), "good": endpoint(other)}) as asked,
        ):
            end = await asked.answered(asking(attempt("bad"), attempt("good"), stream=True))
            assert isinstance(end, End)
            assert b"role" not in asked.text
            assert b"fine" in asked.text

    run(scenario)


def test_after_the_first_content_no_other_provider_is_asked() -> None:
    async def scenario() -> None:
        gone_on = asyncio.Event()

        async def breaks(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + event(delta("x" * 40)))
            await writer.drain()
            await gone_on.wait()  # What is reset takes with it what has not been read yet.
            writer.transport.abort()

        async with (
            upstream(breaks) as bad,
            upstream(always(answer(200, COMPLETION))) as other,
            gateway({"bad": endpoint(bad), "other": endpoint(other)}) as asked,
        ):
            asked.ask(asking(attempt("bad"), attempt("other"), stream=True))
            await asyncio.wait_for(asked.arrived.wait(), WAIT_S)
            gone_on.set()
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            failure = asked.last
            assert isinstance(failure, Failure)
            assert failure.code == "provider_stream_broken"
            assert failure.endpoint == "bad"
            assert failure.usage.estimated
            assert failure.usage.output == 10
            assert failure.cost > 0
            assert other.asked == []
            [outcome] = await asked.outcome()
            assert (outcome.ok, outcome.output_tokens) == (False, 10)

    run(scenario)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "provider_rejected"), (422, "provider_rejected"), (413, "request_too_large")]
)
def test_a_refusal_of_the_request_itself_is_final(status: int, code: str) -> None:
    async def scenario() -> None:
        body = b'{"error":{"message":"temperature is wrong","param":"temperature"}}'
        async with (
            upstream(always(answer(status, body))) as bad,
            upstream(always(answer(200, COMPLETION))) as other,
            gateway({"bad": endpoint(bad), "other": endpoint(other)}) as asked,
        ):
            failure = await asked.answered(asking(attempt("bad"), attempt("other")))
            assert (failure.code, failure.retries) == (code, 0)
            assert other.asked == []
            [outcome] = await asked.outcome()
            assert not outcome.counts

    run(scenario)


def test_the_last_error_is_reported_with_its_retry_after() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(429, b"{}", "retry-after: 7"))) as served,
            gateway({"a": endpoint(served), "b": endpoint(served)}) as asked,
        ):
            failure = await asked.answered(asking(attempt("a"), attempt("b"), findings={"email": 2}))
            assert (failure.code, failure.retry_after_ms, failure.retries) == ("provider_rate_limited", 7_000, 1)
            assert (failure.endpoint, failure.model, failure.findings) == ("b", "gpt-4o", {"email": 2})
            assert [outcome.retry_after_ms for outcome in await asked.outcome(2)] == [7_000, 7_000]

    run(scenario)


def test_a_cancel_closes_the_upstream_at_once_and_reports_what_was_used() -> None:
    async def scenario() -> None:
        async def endless(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + event(delta("y" * 400)))
            await asyncio.Event().wait()

        async with upstream(endless) as served, gateway({"up": endpoint(served)}) as asked:
            request = asking(stream=True)
            asked.ask(request)
            await asyncio.wait_for(asked.arrived.wait(), WAIT_S)
            asked.edge.cancel(asked.worker.address, request.id, request.attempt)
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            await asyncio.wait_for(served.left.wait(), WAIT_S)
            assert (asked.last.finish, asked.last.usage.output, asked.last.usage.estimated) == ("cancelled", 100, True)
            [outcome] = await asked.outcome()
            assert (outcome.ok, outcome.counts, outcome.code) == (False, False, "client_closed_request")

    run(scenario)


def test_a_worker_that_is_stopped_does_not_pass_half_an_answer_off_as_whole() -> None:
    async def scenario() -> None:
        async def endless(_: int, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with upstream(endless) as served, gateway({"up": endpoint(served)}) as asked:
            asked.ask(asking())
            while not served.asked:
                await asyncio.sleep(0.001)
            await asked.worker.drain(0.0)
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            assert (asked.last.code, asked.last.again) == ("stage_lost", True)

    run(scenario)


def test_a_provider_that_sends_no_content_in_time_is_given_up_even_if_it_keeps_the_line_busy() -> None:
    async def scenario() -> None:
        async def pings(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD)
            while True:
                writer.write(b"8\r\n: ping\n\n\r\n")
                await asyncio.sleep(0.01)

        async with (
            upstream(pings) as slow,
            gateway({"up": endpoint(slow)}) as asked,
        ):
            failure = await asked.answered(asking(attempt(first_byte_ms=80), stream=True))
            assert (failure.code, failure.message.rpartition(", ")[2]) == ("provider_timeout", "its first_byte_ms")
            await asyncio.wait_for(slow.left.wait(), WAIT_S)

    run(scenario)


def test_a_stream_that_falls_silent_fails_after_its_idle_time() -> None:
    async def scenario() -> None:
        async def silent(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + event(delta("text")))
            await asyncio.Event().wait()

        async with upstream(silent) as served, gateway({"up": endpoint(served)}) as asked:
            failure = await asked.answered(asking(attempt(idle_ms=60), stream=True))
            assert isinstance(asked.frames[0], Head)
            assert (failure.code, failure.message) == (
                "provider_timeout",
                "endpoint 'up' sent no content for 60 ms, its idle_ms",
            )
            await asyncio.wait_for(served.left.wait(), WAIT_S)

    run(scenario)


def test_the_deadline_ends_a_request_whatever_the_plan_still_holds() -> None:
    async def scenario() -> None:
        async def silent(_: int, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with upstream(silent) as served, gateway({"up": endpoint(served)}) as asked:
            soon = int(time.time() * 1000) + 3_000
            failure = await asked.answered(asking(attempt(), attempt(), deadline_ms=soon))
            assert failure.code == "deadline_exceeded"
            assert len(served.asked) == 1

    run(scenario)


def test_an_answer_above_the_limit_is_refused() -> None:
    async def scenario() -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"

        async def huge(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            for _ in range(40):
                writer.write(b" " * (1 << 20))
                await writer.drain()

        async with upstream(huge) as served, gateway({"up": endpoint(served)}) as asked:
            failure = await asked.answered(asking())
            assert failure.code == "provider_bad_answer"
            assert "32 MiB" in failure.message

    run(scenario)


def test_an_answer_above_the_inline_limit_travels_by_claim_check() -> None:
    async def scenario() -> None:
        body = COMPLETION.replace(b"hello there", b"z" * (INLINE_BYTES_MAX + 1))
        async with upstream(always(answer(200, body))) as served, gateway({"up": endpoint(served)}) as asked:
            await asked.answered(asking())
            [data] = [frame for frame in asked.frames if isinstance(frame, Data)]
            assert data.ref
            assert await asked.worker.withdraw(data.ref) == body

    run(scenario)


def test_a_body_above_the_inline_limit_is_fetched_by_its_claim_check() -> None:
    async def scenario() -> None:
        body = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"w" * (INLINE_BYTES_MAX + 1))
        async with upstream(always(answer(200, COMPLETION))) as served, gateway({"up": endpoint(served)}) as asked:
            reference = await asked.edge.deposit("body-1", body)
            end = await asked.answered(asking(body=Raw(b"null"), body_ref=reference))
            assert isinstance(end, End)
            assert b"w" * 100 in served.asked[0].body

    run(scenario)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_the_key_stays(status: int) -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, COMPLETION))) as other:
            moved = answer(status, b"", f"location: {other.url}/chat/completions")
            async with upstream(always(moved)) as served, gateway({"up": endpoint(served)}) as asked:
                failure = await asked.answered(asking())
                assert failure.code == "provider_bad_answer"
                assert "endpoints.up.url" in failure.message
                assert other.asked == []

    run(scenario)


def test_an_answer_compressed_in_a_way_that_is_not_known_is_refused() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, b"xx", "content-encoding: br"))) as served,
            gateway({"up": endpoint(served)}) as asked,
        ):
            assert (await asked.answered(asking())).code == "provider_bad_answer"

    run(scenario)


def test_a_pooled_connection_that_just_closed_is_replaced_without_an_error() -> None:
    async def scenario() -> None:
        async def once(number: int, writer: asyncio.StreamWriter) -> None:
            if number == 1:
                writer.close()  # The second request meets a connection that is being closed.
                return
            writer.write(answer(200, COMPLETION))

        async with upstream(once) as served, gateway({"up": endpoint(served)}) as asked:
            await asked.answered(asking())
            asked.ended.clear()
            end = await asked.answered(asking(id="0192f0c1-0000-7000-8000-000000000002"))
            assert isinstance(end, End)
            assert len(served.asked) == 3

    run(scenario)


def test_a_missing_key_names_the_endpoint_and_the_reference_and_goes_on_to_the_next() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, COMPLETION))) as served:
            endpoints = {"up": endpoint(served, key="env:ABSENT_KEY"), "good": endpoint(served)}
            async with gateway(endpoints) as asked:
                failure = await asked.answered(asking())
                assert failure.code == "provider_unauthorized"
                assert "'up'" in failure.message
                assert "env:ABSENT_KEY" in failure.message
                assert served.asked == []
                asked.ended.clear()
                plan = (attempt("up"), attempt("good"))
                end = await asked.answered(asking(*plan, id="0192f0c1-0000-7000-8000-000000000002"))
                assert isinstance(end, End)

    run(scenario)


def test_the_key_is_in_nothing_that_travels_or_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        leak = b'{"error":{"message":"Incorrect API key provided: %s"}}' % KEY.encode()
        async with upstream(always(answer(401, leak))) as served, gateway({"up": endpoint(served)}) as asked:
            await asked.answered(asking())
            await asked.outcome()
            broker = asked.worker.wire.broker  # type: ignore[attr-defined]
            assert served.asked[0].headers["authorization"].endswith(KEY)
            assert not [subject for subject, payload in broker.published if KEY.encode() in payload]

    run(scenario)
    assert KEY not in caplog.text


def test_an_unreachable_provider_is_named_without_its_address() -> None:
    async def scenario() -> None:
        closed = Endpoint(provider="openai", url="http://127.0.0.1:9/v1", key="env:KEY", models=("*",))
        async with gateway({"up": closed}) as asked:
            failure = await asked.answered(asking())
            assert failure.code == "provider_unreachable"
            assert "127.0.0.1" not in failure.message

    run(scenario)


def test_the_next_attempt_at_a_family_this_worker_does_not_serve_is_forwarded() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(503, b"{}"))) as served,
            gateway({"up": endpoint(served)}, providers=frozenset({"openai"})) as asked,
        ):
            other = await fake_bus(asked.worker.wire.broker, "provider-workers", "other")  # type: ignore[attr-defined]
            received: asyncio.Queue[Envelope] = asyncio.Queue()

            def take(forwarded: Envelope, answering: Any) -> None:
                received.put_nowait(forwarded)

            await other.serve(REQUEST_CALL, take, max_in_flight=8, provider="anthropic")
            asked.ask(asking(attempt(), attempt("claude", provider="anthropic")))
            forwarded = await asyncio.wait_for(received.get(), WAIT_S)
            assert forwarded.step == 1
            assert asked.packets == []
            await other.drain(0.0)

    run(scenario)


def test_the_demo_provider_streams_without_a_network_and_can_be_cancelled() -> None:
    async def scenario() -> None:
        plan = (Attempt(endpoint="demo", provider="demo", model="demo"),)
        async with gateway({"demo": Endpoint(provider="demo", models=("demo",))}, demo_chunk_ms=1) as asked:
            end = await asked.answered(asking(*plan, stream=True))
            assert end.finish == "stop"
            assert len(asked.packets) > 3
            asked.ended.clear()
            await asked.answered(asking(*plan, id="0192f0c1-0000-7000-8000-000000000002"))
            assert b"demo" in asked.text

    run(scenario)


def test_a_probe_of_the_path_is_answered_without_a_call() -> None:
    async def scenario() -> None:
        async with gateway({}) as asked:
            probe = envelope(api="probe", plan=())
            asked.edge.expect(probe, asked.receive)
            asked.edge.forward(REQUEST_CALL, probe, provider="demo")
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            assert [type(frame) for frame in asked.frames] == [Head, End]

    run(scenario)


def test_an_endpoint_that_left_the_configuration_is_an_attempt_that_failed() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, COMPLETION))) as served, gateway({"up": endpoint(served)}) as asked:
            end = await asked.answered(asking(attempt("gone"), attempt("up")))
            assert isinstance(end, End)

    run(scenario)


def test_a_stream_without_usage_is_counted_by_us_and_says_so() -> None:
    async def scenario() -> None:
        pieces = (STREAM_HEAD, event(delta("k" * 80, finish="stop")), event(DONE), STREAM_END)
        async with upstream(always(*pieces)) as served, gateway({"up": endpoint(served)}) as asked:
            end = await asked.answered(asking(stream=True))
            assert (end.usage.output, end.usage.estimated) == (20, True)
            assert end.usage.input > 0

    run(scenario)


def test_a_finished_stream_gives_its_connection_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.provider_workers.call.TRAILER_S", WAIT_S)

    async def scenario() -> None:
        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + event(delta("a", finish="stop")) + event(DONE))
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(STREAM_END)

        async with upstream(script) as served, gateway({"up": endpoint(served)}) as asked:
            for number in (1, 2):
                asked.ended.clear()
                await asked.answered(asking(stream=True, id=f"0192f0c1-0000-7000-8000-00000000000{number}"))
                while asked.worker.holds:
                    await asyncio.sleep(0.001)
            assert len(served.asked) == 2
            assert not served.left.is_set()

    run(scenario)


def test_going_on_is_decided_by_whose_fault_it_is() -> None:
    on = ["provider_error", "provider_timeout", "provider_unauthorized", "provider_quota_exceeded", "model_not_found"]
    final = ["provider_rejected", "context_length_exceeded", "invalid_value", "deadline_exceeded", "request_too_large"]
    assert [code for code in [*on, *final] if goes_on(GatewayError(code, ""))] == on


def test_a_short_wish_is_waited_for_only_where_it_was_made() -> None:
    first, other = attempt("a"), attempt("b")
    assert pause_ms(first, first, 800, 0, 0.0) == 800
    assert pause_ms(first, first, 5_000, 0, 0.0) == 0
    assert pause_ms(first, other, 800, 0, 0.0) == 0
    assert 0 < pause_ms(first, other, 0, 3, 0.99) <= 400
