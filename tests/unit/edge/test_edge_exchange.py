"""What the edge does when stages die, drain, fall silent, and when clients leave or do not read."""

import asyncio
import json

import aiohttp
import msgspec
import pytest
from patience import PATIENCE_S
from unit.edge.edge_gateway import (
    CHAT,
    CONFIG,
    END,
    HEAD,
    KEY,
    QUICK,
    WHOLE,
    answers,
    chunk,
    gateway,
    held_until,
    until,
)

from llmproxy.common.bus import Answer
from llmproxy.common.channels import HOLDING, REPLY, REQUEST_INSPECT
from llmproxy.common.config import Gateway
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Data, End, Failure, Holding, Packet, Usage
from llmproxy.edge.exchange import Exchange

STREAM = {**CHAT, "stream": True}


def gateway_config(**fields: int):
    return msgspec.structs.replace(CONFIG, gateway=Gateway(**fields))


def code_of(body: bytes) -> str:
    return json.loads(body)["error"]["code"]


def test_a_request_whose_holder_falls_silent_is_published_again_and_succeeds() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.attempt == 1:
            answers(envelope, answer)

    async def run() -> None:
        async with gateway(script) as edge:
            status, headers, body = await edge.ask()
            assert (status, body, headers["x-llmproxy-attempts"]) == (200, WHOLE, "2")
            assert [envelope.attempt for envelope in edge.seen] == [0, 1]
            (record,) = edge.records
            assert (record.verdict, record.attempts) == ("answered", 2)

    asyncio.run(run())


def test_a_request_that_is_held_is_not_published_again_however_long_it_takes() -> None:
    async def slow(envelope: Envelope, answer: Answer) -> None:
        await asyncio.sleep(3 * QUICK.lost_s)
        answer.send(HEAD, Data(msgspec.Raw(WHOLE)), END)

    async def run() -> None:
        async with gateway(slow) as edge:
            assert (await edge.ask())[0] == 200
            assert len(edge.seen) == 1

    asyncio.run(run())


def test_a_dead_chain_holder_is_noticed_although_the_return_path_lives() -> None:
    async def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.attempt:
            answers(envelope, answer)
            return
        await asyncio.Event().wait()

    async def run() -> None:
        async with gateway(script, alive_s=60) as edge:
            asking = asyncio.create_task(edge.ask())
            await until(lambda: len(edge.seen) == 1)
            first = edge.seen[0]
            while len(edge.seen) == 1:
                edge.stage.publish(
                    HOLDING,
                    Holding(address="shield.other", role="return", held=[(first.id, 0)]),
                    address="edge.edge-1",
                )
                await asyncio.sleep(0.05)
            assert (await asking)[0] == 200
            # The old attempt was cancelled where it was held, and dead or not, its frames no longer count.
            assert any(b'"cancel"' in payload for subject, payload in edge.broker.published if "control" in subject)

    asyncio.run(run())


def test_frames_of_an_older_attempt_are_dropped() -> None:
    old: list[Answer] = []

    def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.attempt == 0:
            old.append(answer)
            return
        old[0].send(HEAD, Data(msgspec.Raw(b'{"old":true}')), END)
        answers(envelope, answer)

    async def run() -> None:
        async with gateway(script) as edge:
            assert (await edge.ask())[2] == WHOLE

    asyncio.run(run())


def test_a_request_that_every_holder_loses_is_given_up_after_five() -> None:
    async def run() -> None:
        timings = msgspec.structs.replace(QUICK, lost_s=0.04, tick_s=0.01)
        async with gateway(lambda _, __: None, timings=timings) as edge:
            status, headers, body = await edge.ask()
            assert (status, code_of(body)) == (502, "stage_lost")
            assert headers["x-should-retry"] == "true"
            assert len(edge.seen) == 5
            assert len(edge.records) == 1

    asyncio.run(run())


def test_a_stream_whose_worker_dies_ends_with_one_error_and_is_not_repeated() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))

    async def run() -> None:
        async with gateway(script) as edge:
            status, _, body = await edge.ask(json=STREAM)
            assert status == 200
            assert body.count(b"data: ") == 2
            assert b'"code":"stage_lost"' in body
            assert b"[DONE]" not in body
            assert len(edge.seen) == 1

    asyncio.run(run())


def test_a_gap_in_the_frames_is_a_failure_and_never_silence() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.attempt == 0 or envelope.stream:
            answer.send(HEAD, *([chunk("a")] if envelope.stream else []))
            packet = Packet(id=envelope.id, attempt=envelope.attempt, seq=2, frames=[Data(msgspec.Raw(WHOLE)), END])
            buses[0].publish(REPLY, packet, address=envelope.reply_to)
        else:
            answers(envelope, answer)

    buses: list = []

    async def run() -> None:
        async with gateway(script) as edge:
            buses.append(edge.stage)
            assert (await edge.ask())[2] == WHOLE
            assert len(edge.seen) == 2
            body = (await edge.ask(json=STREAM))[2]
            assert b'"code":"stage_lost"' in body
            assert b"[DONE]" not in body

    asyncio.run(run())


def test_a_draining_stage_costs_a_short_pause_and_no_error() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.attempt < 3:
            answer.fail(GatewayError("stage_unavailable", "draining"), again=True)
        else:
            answers(envelope, answer)

    async def run() -> None:
        async with gateway(script, config=gateway_config(grace_ms=1_000 * int(PATIENCE_S))) as edge:
            status, headers, _ = await edge.ask(json=STREAM)
            assert (status, headers["x-llmproxy-attempts"]) == (200, "4")

    asyncio.run(run())


def test_an_absent_stage_is_waited_for_within_the_grace_and_then_503() -> None:
    async def run() -> None:
        async with gateway(serve=False, config=gateway_config(grace_ms=200)) as edge:
            status, headers, body = await edge.ask()
            assert (status, code_of(body)) == (503, "stage_unavailable")
            assert headers["retry-after"] == "1"
            assert headers["x-should-retry"] == "true"
            (record,) = edge.records
            assert record.verdict == "failed"
            assert record.attempts > 1

    asyncio.run(run())


def test_a_stage_that_comes_back_within_the_grace_is_not_noticed() -> None:
    async def run() -> None:
        async with gateway(serve=False, config=gateway_config(grace_ms=1_000 * int(PATIENCE_S))) as edge:
            asking = asyncio.create_task(edge.ask())
            await until(lambda: sum("request.inspect" in subject for subject, _ in edge.broker.published) >= 2)
            await edge.stage.serve(REQUEST_INSPECT, answers, max_in_flight=10)
            assert (await asking)[0] == 200

    asyncio.run(run())


def test_a_lost_connection_to_nats_is_waited_for_too() -> None:
    async def run() -> None:
        async with gateway(config=gateway_config(grace_ms=1_000 * int(PATIENCE_S))) as edge:
            edge.broker.down = True
            asking = asyncio.create_task(edge.ask())
            await until(lambda: len(edge.exchanges) == 1)
            edge.broker.down = False
            assert (await asking)[0] == 200

    asyncio.run(run())


def test_a_client_that_leaves_cancels_the_holder_and_what_was_used_is_recorded() -> None:
    cancelled = asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            usage = Usage(input=3, output=1, estimated=True)
            answer.send(Failure(code="client_closed_request", message="cancelled", usage=usage, cost=77))
            raise

    async def run() -> None:
        async with gateway(script, timings=msgspec.structs.replace(QUICK, settle_s=PATIENCE_S)) as edge:
            response = await edge.session.post(
                f"{edge.url}/v1/chat/completions", json=STREAM, headers={"x-api-key": KEY}
            )
            await response.content.readany()
            response.close()
            async with asyncio.timeout(PATIENCE_S):
                await cancelled.wait()
            await until(lambda: len(edge.records) == 1)
            (record,) = edge.records
            assert (record.verdict, record.status, record.code) == ("cancelled", 499, "client_closed_request")
            assert (record.output_tokens, record.cost, record.estimated) == (1, 77, True)
            assert record.provider == "demo"
            assert edge.edge.in_flight == 0

    asyncio.run(run())


def test_a_client_that_leaves_at_once_is_cancelled_as_soon_as_somebody_says_that_he_holds_it() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def run() -> None:
        async with gateway(script) as edge:
            asking = asyncio.create_task(edge.ask())
            await started.wait()
            asking.cancel()
            async with asyncio.timeout(PATIENCE_S):
                await cancelled.wait()
            await until(lambda: len(edge.records) == 1)  # Nobody says anything more: recorded all the same.
            assert edge.records[0].verdict == "cancelled"

    asyncio.run(run())


def test_a_hold_that_nobody_waits_for_is_cancelled() -> None:
    async def run() -> None:
        async with gateway() as edge:
            holding = Holding(address="shield.shield-1", held=[("nobody", 0)])
            edge.stage.publish(HOLDING, holding, address="edge.edge-1")
            await until(lambda: any("control.shield.shield-1" in subject for subject, _ in edge.broker.published))

    asyncio.run(run())


def test_whoever_gives_an_answer_that_a_guard_has_ended_is_cancelled_at_once() -> None:
    """Not when he next says that he lives, which is a second of somebody's tokens."""
    known, cancelled = asyncio.Event(), asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))
        await known.wait()
        answer.send(Failure(code="content_blocked", message="the answer holds what is blocked", stage="shield"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def run() -> None:
        async with gateway(script) as edge:
            asking = asyncio.create_task(edge.ask(json=STREAM))
            published = edge.broker.published
            await until(lambda: any("holding" in subject for subject, _ in published))
            known.set()
            async with asyncio.timeout(PATIENCE_S):
                await cancelled.wait()
            assert b"content_blocked" in (await asking)[2]
            ended = next(at for at, (_, payload) in enumerate(published) if b"content_blocked" in payload)
            told = next(at for at, (subject, _) in enumerate(published) if "control.shield" in subject)
            assert not any("holding" in subject for subject, _ in published[ended:told])

    asyncio.run(run())


def test_whoever_has_failed_himself_is_not_cancelled() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))
        answer.send(Failure(code="provider_timeout", message="slow", stage="provider-workers"))

    async def run() -> None:
        async with gateway(script) as edge:
            assert b"provider_timeout" in (await edge.ask(json=STREAM))[2]
            assert not any("control" in subject for subject, _ in edge.broker.published)

    asyncio.run(run())


def test_the_deadline_ends_a_request_and_its_holder() -> None:
    cancelled = asyncio.Event()

    async def run() -> None:
        async with gateway(held_until(cancelled), config=gateway_config(deadline_ms=3_000)) as edge:
            status, _, body = await edge.ask()
            assert (status, code_of(body)) == (504, "deadline_exceeded")
            async with asyncio.timeout(PATIENCE_S):
                await cancelled.wait()
            assert edge.records[0].code == "deadline_exceeded"

    asyncio.run(run())


def test_a_silent_stream_is_kept_open_by_pings() -> None:
    async def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("a"))
        await asyncio.sleep(3 * QUICK.ping_s)
        answer.send(END)

    async def run() -> None:
        async with gateway(script) as edge:
            body = (await edge.ask(json=STREAM))[2]
            assert b"\n\n: ping\n\n" in body
            assert body.endswith(b"data: [DONE]\n\n")

    asyncio.run(run())


def test_a_client_that_does_not_read_is_cut_off_and_others_do_not_notice() -> None:
    cancelled = asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.model == "other":
            answers(envelope, answer)
            return
        try:
            answer.send(HEAD)
            while True:
                answer.send(chunk("x" * 50_000))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def run() -> None:
        async with gateway(script) as edge:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1024)
            body = json.dumps(STREAM).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
            )
            async with asyncio.timeout(PATIENCE_S):
                await cancelled.wait()
                assert (await edge.ask(json={**CHAT, "model": "other"}))[0] == 200
                await until(lambda: len(edge.records) == 2)
                assert {record.code for record in edge.records} == {"slow_consumer", ""}
                received = await reader.read()
                while part := await reader.read(1 << 20):
                    received += part
            assert received.endswith(b'"code":"slow_consumer"}}\n\n\r\n0\r\n\r\n')
            assert b"[DONE]" not in received
            assert len(received) < 12 << 20  # What the kernel held and our bound, not the whole stream.
            writer.close()

    asyncio.run(run())


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_served() -> None:
    release = asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        await release.wait()
        answers(envelope, answer)

    async def run() -> None:
        async with gateway(script, config=gateway_config(max_in_flight=2)) as edge:
            held = [asyncio.create_task(edge.ask()) for _ in range(2)]
            await until(lambda: len(edge.seen) == 2)
            edge.broker.jetstream_down = True  # Not even the audit log makes the refusal wait.
            status, headers, body = await edge.ask()
            edge.broker.jetstream_down = False
            assert (status, code_of(body), headers["retry-after"]) == (503, "server_is_overloaded", "1")
            release.set()
            assert [status for status, _, _ in await asyncio.gather(*held)] == [200, 200]
            assert (await edge.ask())[0] == 200

    asyncio.run(run())


def test_many_streams_at_once_all_end_with_done() -> None:
    async def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, chunk("0"))
        for number in range(20):
            await asyncio.sleep(0)
            answer.send(chunk(str(number)))
        answer.send(END)

    async def run() -> None:
        async with gateway(script) as edge:
            bodies = await asyncio.gather(*(edge.ask(json=STREAM) for _ in range(100)))
            assert all(body.endswith(b"data: [DONE]\n\n") and body.count(b"data: ") == 22 for _, _, body in bodies)
            await until(lambda: len(edge.records) == 100)
            assert len({record.id for record in edge.records}) == 100

    asyncio.run(run())


def test_a_draining_edge_answers_on_open_connections_and_says_close() -> None:
    release = asyncio.Event()

    async def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.stream:
            answer.send(HEAD, chunk("a"))
            await release.wait()
            answer.send(END)
        else:
            answers(envelope, answer)

    async def run() -> None:
        async with gateway(script) as edge, aiohttp.ClientSession() as kept:
            headers = {"x-api-key": KEY}
            url = f"{edge.url}/v1/chat/completions"
            async with kept.post(url, json=CHAT, headers=headers) as response:
                assert response.headers["connection"] == "keep-alive"
                await response.read()
            streaming = asyncio.create_task(edge.ask(json=STREAM))
            await until(lambda: len(edge.seen) == 2)
            edge.edge.draining = True
            draining = asyncio.create_task(edge.server.drain(lambda: edge.edge.in_flight, PATIENCE_S, 3_600))
            async with kept.post(url, json=CHAT, headers=headers) as response:
                assert response.status == 200
                assert response.headers["connection"] == "close"
                await response.read()
            assert not draining.done()
            release.set()
            assert (await streaming)[2].endswith(b"data: [DONE]\n\n")
            async with asyncio.timeout(PATIENCE_S):  # No connection is left, so the linger is over early.
                await draining

    asyncio.run(run())


def test_a_silent_connection_is_not_waited_for_when_the_linger_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.edge.server.ENDING_S", 2 * PATIENCE_S)

    async def run() -> None:
        async with gateway() as edge, aiohttp.ClientSession() as kept:
            async with kept.post(f"{edge.url}/v1/chat/completions", json=CHAT, headers={"x-api-key": KEY}) as response:
                await response.read()
            async with asyncio.timeout(PATIENCE_S):
                await edge.server.drain(lambda: edge.edge.in_flight, 0.0, 3_600)

    asyncio.run(run())


def test_readiness_walks_the_whole_path_and_names_what_is_missing() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        assert envelope.api == "probe"
        answer.send(HEAD, End())

    async def run() -> None:
        async with gateway(script) as edge:
            answers = await asyncio.gather(*(edge.ask("/readyz", "GET", key=None) for _ in range(5)))
            assert [status for status, _, _ in answers] == [200] * 5
            assert len(edge.seen) == 1
            assert edge.records == []
        async with gateway(serve=False, config=gateway_config(grace_ms=100)) as edge:
            status, _, body = await edge.ask("/readyz", "GET", key=None)
            assert status == 503
            assert json.loads(body)["blockers"]["path"].startswith("shield: ")
            assert (await edge.ask("/livez", "GET", key=None))[0] == 200
            health = await edge.ask("/health", "GET", key=None)
            assert (health[0], json.loads(health[2])["status"]) == (200, "down")
        async with gateway(serve=False, config=gateway_config(grace_ms=1_000 * int(PATIENCE_S)), probe_s=0.2) as edge:
            status, _, body = await edge.ask("/readyz", "GET", key=None)  # Callers are given longer than a probe.
            assert status == 503
            assert json.loads(body)["blockers"]["path"].startswith("shield: ")

    asyncio.run(run())


def test_who_waits_for_an_answer_is_told_when_whoever_was_to_conclude_it_fails() -> None:
    def fails(_: Exchange) -> bool:
        raise RuntimeError("a bug")

    async def run() -> None:
        async with gateway() as edge:
            await edge.ask()
            exchange = edge.exchanges.open(msgspec.structs.replace(edge.seen[0], id="another"), None, fails)
            with pytest.raises(GatewayError, match="failed on this answer"):
                await exchange.done
            assert len(edge.exchanges) == 0

    asyncio.run(run())
