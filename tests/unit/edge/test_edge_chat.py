"""A chat through the edge: answers, streams, errors, and their one record each."""

import asyncio

import msgspec
import pytest
from unit.edge.edge_gateway import CHAT, CONFIG, END, HEAD, KEY, WHOLE, chunk, gateway, until

from llmproxy.common.bus import Answer
from llmproxy.common.config import Audit, Config, Endpoint, Gateway
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import CATALOGUE, GatewayError
from llmproxy.common.frames import Data, End, Failure, Usage

STREAM = {**CHAT, "stream": True}


def test_an_answer_has_the_providers_bytes_and_every_header() -> None:
    async def run() -> None:
        async with gateway() as edge:
            status, headers, body = await edge.ask(headers={"x-request-id": "the-clients-own"})
            assert (status, body) == (200, WHOLE)
            (record,) = edge.records
            assert headers["x-request-id"] == record.id == edge.seen[0].id
            assert record.id[14] == "7"
            assert headers["content-type"] == "application/json"
            assert headers["openai-version"] == "2020-10-01"
            assert headers["openai-processing-ms"].isdigit()
            assert headers["server"] == "llmproxy"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-llmproxy-provider"] == "demo"
            assert headers["x-llmproxy-endpoint"] == "main"
            assert headers["x-llmproxy-model"] == "demo-1"
            assert headers["x-llmproxy-attempts"] == "1"
            assert headers["x-llmproxy-retries"] == "0"
            assert headers["x-llmproxy-cost-usd"] == "0.000012500"
            assert headers["x-llmproxy-findings"] == "email=1"
            assert headers["x-llmproxy-policy"] == "1"
            assert float(headers["x-llmproxy-overhead-ms"]) >= 0
            assert headers["x-llmproxy-upstream-x-request-id"] == "up-1"
            assert "access-control-allow-origin" not in headers
            assert record.verdict == "answered"
            assert (record.tenant, record.principal, record.model) == ("acme", "alice", "demo")
            assert (record.input_tokens, record.output_tokens, record.cost) == (3, 5, 12_500)
            assert record.masked
            assert record.findings == {"email": 1}
            assert record.explained == HEAD.explained

    asyncio.run(run())


def test_the_body_travels_untouched_and_the_key_does_not_travel() -> None:
    async def run() -> None:
        async with gateway() as edge:
            sent = b' {"model": "demo" ,"messages":[{"role":"user","content":"h\\u00e9"}],"unknown":{"b":1,"a":2}} '
            await edge.ask(data=sent, headers={"Content-Type": "application/json; charset=utf-8"})
            envelope = edge.seen[0]
            assert bytes(envelope.body) == sent.strip()
            assert (envelope.api, envelope.dialect, envelope.stream) == ("chat", "openai", False)
            assert envelope.edge == envelope.reply_to == "edge.edge-1"
            assert not any(KEY.encode() in payload for _, payload in edge.broker.published)

    asyncio.run(run())


def test_a_stream_is_sse_and_ends_with_done_after_its_record() -> None:
    async def run() -> None:
        async with gateway() as edge:
            status, headers, body = await edge.ask(
                json={**STREAM, "stream_options": {"include_usage": True}, "max_tokens": 7}
            )
            assert status == 200
            assert headers["content-type"] == "text/event-stream; charset=utf-8"
            assert headers["cache-control"] == "no-cache"
            assert headers["x-accel-buffering"] == "no"
            assert "content-encoding" not in headers
            assert headers["x-llmproxy-provider"] == "demo"
            events = body.split(b"\n\n")
            assert [event[:6] for event in events[:-1]] == [b"data: "] * 4
            assert events[-2:] == [b"data: [DONE]", b""]
            assert b"".join(events[:3]).count(b"content") == 3
            (record,) = edge.records
            assert (record.verdict, record.stream, record.status) == ("answered", True, 200)
            assert edge.seen[0].include_usage
            assert edge.seen[0].max_output_tokens == 7

    asyncio.run(run())


def test_an_event_with_newlines_between_its_tokens_stays_one_event() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(HEAD, Data(msgspec.Raw(b'{\n"a":\r\n1}')), END)

    async def run() -> None:
        async with gateway(script) as edge:
            _, _, body = await edge.ask(json=STREAM)
            assert body == b'data: { "a":  1}\n\ndata: [DONE]\n\n'

    asyncio.run(run())


def test_a_failure_before_the_first_event_is_an_ordinary_json_error_with_all_four_keys() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(HEAD)
        answer.send(Failure(code="provider_rate_limited", message="slow down", retry_after_ms=1500, provider="demo"))

    async def run() -> None:
        async with gateway(script) as edge:
            for stream in (False, True):
                status, headers, body = await edge.ask(json={**CHAT, "stream": stream})
                assert status == 429
                assert body == (
                    b'{"error":{"message":"slow down","type":"rate_limit_error","param":null,'
                    b'"code":"provider_rate_limited"}}'
                )
                assert headers["retry-after"] == "2"
                assert headers["retry-after-ms"] == "1500"
                assert headers["x-should-retry"] == "true"
                assert headers["content-type"] == "application/json"
            assert [record.verdict for record in edge.records] == ["failed", "failed"]
            assert edge.records[0].provider == "demo"

    asyncio.run(run())


def test_a_failure_after_the_first_event_is_one_in_band_error_and_never_done() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))
        answer.send(
            Failure(code="provider_stream_broken", message="it broke", usage=Usage(output=4, estimated=True), cost=9)
        )

    async def run() -> None:
        async with gateway(script) as edge:
            status, _, body = await edge.ask(json=STREAM)
            assert status == 200
            assert body.endswith(
                b'data: {"error":{"message":"it broke","type":"server_error","param":null,'
                b'"code":"provider_stream_broken"}}\n\n'
            )
            assert b"[DONE]" not in body
            (record,) = edge.records
            assert (record.verdict, record.code, record.output_tokens, record.cost) == (
                "failed",
                "provider_stream_broken",
                4,
                9,
            )

    asyncio.run(run())


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_of_the_catalogue_has_its_status_type_and_record(code: str) -> None:
    kind = CATALOGUE[code]

    def script(_: Envelope, answer: Answer) -> None:
        answer.send(Failure(code=code, message="why", param="messages"))

    async def run() -> None:
        async with gateway(script, config=msgspec.structs.replace(CONFIG, gateway=Gateway(grace_ms=1))) as edge:
            if code == "stage_lost":
                return  # A gap: published again; see test_edge_exchange.
            status, headers, body = await edge.ask()
            assert status == kind.status
            assert msgspec.json.decode(body) == {
                "error": {"message": "why", "type": kind.type, "param": "messages", "code": code}
            }
            assert headers["x-should-retry"] == ("true" if kind.retryable else "false")
            assert ("retry-after" in headers) == kind.retryable
            (record,) = edge.records
            blamed = {"caller": "refused", "guard": "blocked", "provider": "failed", "gateway": "failed"}
            assert (record.verdict, record.code, record.status) == (blamed[kind.blame], code, kind.status)

    asyncio.run(run())


def test_a_status_and_type_of_the_providers_own_are_kept() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(Failure(code="provider_rejected", message="no", status=422, type="their_type"))

    async def run() -> None:
        async with gateway(script) as edge:
            status, _, body = await edge.ask()
            assert status == 422
            assert msgspec.json.decode(body)["error"]["type"] == "their_type"

    asyncio.run(run())


def test_an_unknown_model_is_refused_without_a_trip_and_any_model_passes_when_an_endpoint_serves_any() -> None:
    async def run() -> None:
        async with gateway() as edge:
            status, headers, body = await edge.ask(json={**CHAT, "model": "what is my secret?"})
            assert status == 404
            assert msgspec.json.decode(body)["error"] == {
                "message": "The model does not exist or you do not have access to it.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
            assert headers["x-should-retry"] == "false"
            assert edge.seen == []
            assert not any(b"what is my secret" in payload for _, payload in edge.broker.published)
            edge.configure(Config(endpoints={"any": Endpoint(provider="openai", models=("*",))}))
            assert (await edge.ask(json={**CHAT, "model": "whatever"}))[0] == 200

    asyncio.run(run())


def test_a_large_body_and_a_large_answer_go_by_claim_check() -> None:
    large = b'{"text":"' + b"x" * (1 << 20) + b'"}'

    carried: list[bytes] = []

    async def deposit(envelope: Envelope, answer: Answer) -> None:
        if envelope.body_ref:
            carried.append(await buses[0].withdraw(envelope.body_ref))
        reference = await buses[0].deposit(f"{envelope.id}-answer", large)
        answer.send(HEAD, Data(ref=reference))
        answer.send(chunk("after"), END) if envelope.stream else answer.send(END)

    buses: list = []

    async def run() -> None:
        async with gateway(deposit) as edge:
            buses.append(edge.stage)
            body = {**CHAT, "padding": "y" * (1 << 20)}
            status, _, answer = await edge.ask(json=body)
            assert (status, answer) == (200, large)
            assert edge.seen[0].body_ref
            assert msgspec.json.decode(carried[0]) == body
            _, _, answer = await edge.ask(json=STREAM)
            first, second, done, rest = answer.split(b"\n\n")
            assert first == b"data: " + large
            assert b"after" in second
            assert (done, rest) == (b"data: [DONE]", b"")
            assert not edge.stage.wire.broker.objects

    asyncio.run(run())


def test_an_answer_without_content_is_an_error_and_an_empty_stream_is_complete() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(HEAD, End())

    async def run() -> None:
        async with gateway(script) as edge:
            status, _, body = await edge.ask()
            assert (status, msgspec.json.decode(body)["error"]["code"]) == (502, "provider_bad_answer")
            assert (await edge.ask(json=STREAM))[2] == b"data: [DONE]\n\n"
            assert [record.verdict for record in edge.records] == ["failed", "answered"]

    asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_in_strict_mode_no_answer_ends_without_its_record(stream: bool) -> None:
    async def run() -> None:
        async with gateway() as edge:
            edge.broker.jetstream_down = True
            status, headers, body = await edge.ask(json={**CHAT, "stream": stream})
            if stream:
                assert b"[DONE]" not in body
                assert body.endswith(b'"code":"audit_unavailable"}}\n\n')
            else:
                assert status == 503
                assert msgspec.json.decode(body)["error"]["code"] == "audit_unavailable"
                assert headers["retry-after"] == "1"
            assert not edge.readiness.ready
            assert "audit" in edge.readiness.blockers
            edge.broker.jetstream_down = False
            await until(lambda: edge.readiness.ready)

    asyncio.run(run())


def test_in_relaxed_mode_answers_leave_and_their_records_follow(tmp_path) -> None:
    async def run() -> None:
        relaxed = msgspec.structs.replace(CONFIG, audit=Audit(mode="relaxed"))
        async with gateway(config=relaxed, spool=tmp_path) as edge:
            edge.broker.jetstream_down = True
            for _ in range(3):
                assert (await edge.ask())[0] == 200
            assert edge.records == []
            assert edge.readiness.ready
            assert edge.readiness.notes["audit"].endswith("; records wait on disk")
            edge.broker.jetstream_down = False
            await until(lambda: len(edge.records) == 3)
            assert [record.id for record in edge.records] == [envelope.id for envelope in edge.seen]
            await until(lambda: not edge.readiness.notes)

    asyncio.run(run())


def test_a_bug_in_a_stage_reaches_the_client_without_its_words() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        raise RuntimeError("the prompt was: attack at dawn")

    async def run() -> None:
        async with gateway(script) as edge:
            status, _, body = await edge.ask()
            assert (status, msgspec.json.decode(body)["error"]["code"]) == (500, "server_error")
            assert b"dawn" not in body

    asyncio.run(run())


def test_a_guards_refusal_is_blocked_with_its_findings() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(
            msgspec.structs.replace(
                GatewayError("content_blocked", "a secret is not allowed here").failure("shield"),
                findings={"secret": 2, "email": 1},
            )
        )

    async def run() -> None:
        async with gateway(script) as edge:
            status, headers, _ = await edge.ask()
            assert status == 400
            assert headers["x-llmproxy-findings"] == "email=1,secret=2"
            assert edge.records[0].verdict == "blocked"

    asyncio.run(run())


def test_upstream_headers_cannot_smuggle_anything() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        evil = {"x-a": "one\r\nset-cookie: a=b", "bad name": "x", "x-\u00e9": "y", "ok": "z\u00e9"}
        evil["x-llmproxy-token-count"] = "estimated"  # The worker's own.
        answer.send(msgspec.structs.replace(HEAD, headers=evil, model="m\r\nx: y"), Data(msgspec.Raw(WHOLE)), END)

    async def run() -> None:
        async with gateway(script) as edge:
            status, headers, _ = await edge.ask()
            assert status == 200
            assert "set-cookie" not in headers
            assert headers["x-llmproxy-upstream-x-a"] == "one%0D%0Aset-cookie: a%3Db"
            assert headers["x-llmproxy-upstream-ok"] == "z%C3%A9"
            assert headers["x-llmproxy-token-count"] == "estimated"
            assert not any("bad" in name for name in headers)

    asyncio.run(run())
