"""Ring 1 as a pipeline, and what happens when something of ours breaks."""

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.edge.edge_gateway import CHAT, answers, gateway, until

from llmproxy.common.bus import Answer
from llmproxy.common.envelope import Envelope
from llmproxy.common.plugins.host import PASS, Block, Respond, Result, Ring
from llmproxy.edge import server
from llmproxy.edge.ids import pooled, uuid7
from llmproxy.edge.ingress import Ingress, ring
from llmproxy.edge.replies import dollars, duration, safe
from llmproxy.edge.trace import parent


class Step:
    name, priority, fail = "extra", 45, "closed"

    def __init__(self, result: Result | Awaitable[Result] | Exception, *, timeout_ms: int = 60_000) -> None:
        self.result, self.timeout_ms = result, timeout_ms

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def asked_with(step: Step) -> tuple[int, bytes, list]:
    async with gateway() as edge:
        edge.edge._pipeline = ring(edge.keys, edge.limiter, edge.settled, edge.bodies, edge.ledger, [step])
        status, _, body = await edge.ask()
        return status, body, edge.records


def test_the_ring_lists_every_step_that_runs_in_order() -> None:
    async def run() -> None:
        async with gateway() as edge:
            steps = edge.edge._pipeline.describe()
            assert [step.name for step in steps] == [
                "authentication",
                "route",
                "limits",
                "body",
                "firewall",
                "validation",
                "end-users",
            ]
            assert {(step.ring, step.fail) for step in steps} == {(int(Ring.INGRESS), "closed")}

    asyncio.run(run())


def test_what_is_known_of_a_request_does_not_show_its_key_or_its_text_where_it_is_printed() -> None:
    printed: list[str] = []

    class Print(Step):
        def run(self, context: Ingress) -> Result:
            printed.append(repr(context))
            return PASS

    async def run() -> None:
        def script(envelope: Envelope, answer: Answer) -> None:
            printed.extend(map(repr, edge.exchanges._open.values()))
            answers(envelope, answer)

        async with gateway(script) as edge:
            edge.edge._pipeline = ring(edge.keys, edge.limiter, edge.settled, edge.bodies, edge.ledger, [Print(PASS)])
            assert (await edge.ask())[0] == 200
            assert printed == [f"Ingress({edge.seen[0].id})", f"Exchange({edge.seen[0].id})"]

    asyncio.run(run())


def test_a_step_can_block_and_its_refusal_is_recorded() -> None:
    async def run() -> None:
        status, body, records = await asked_with(Step(Block("permission_denied", "not on Sundays")))
        assert (status, json.loads(body)["error"]["code"]) == (403, "permission_denied")
        assert [(record.verdict, record.code) for record in records] == [("refused", "permission_denied")]

    asyncio.run(run())


def test_a_step_can_answer_itself_and_the_answer_is_recorded() -> None:
    async def run() -> None:
        status, body, records = await asked_with(Step(Respond(b'{"cached":true}', 203)))
        assert (status, body) == (203, b'{"cached":true}')
        assert [(record.verdict, record.status) for record in records] == [("answered", 203)]

    asyncio.run(run())


def test_a_step_that_raises_or_never_ends_refuses_the_request(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        for step in (Step(RuntimeError("attack at dawn")), Step(asyncio.Event().wait(), timeout_ms=50)):
            status, body, _ = await asked_with(step)
            assert (status, json.loads(body)["error"]["code"]) == (503, "guard_unavailable")
            assert b"dawn" not in body

    asyncio.run(run())
    assert "dawn" not in caplog.text


def test_a_bug_of_ours_is_a_500_with_one_record_and_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the prompt was: attack at dawn")

    async def run() -> None:
        async with gateway() as edge:
            edge.exchanges.open = broken  # type: ignore[method-assign]
            status, headers, body = await edge.ask()
            assert status == 500
            assert json.loads(body)["error"] == {
                "message": "the gateway failed on this request",
                "type": "server_error",
                "param": None,
                "code": "server_error",
            }
            await until(lambda: len(edge.records) == 1)
            assert (edge.records[0].verdict, edge.records[0].id) == ("failed", headers["x-request-id"])
            assert edge.edge.in_flight == 0

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "RuntimeError at " in caplog.text
    assert "dawn" not in caplog.text


def test_connections_beyond_the_limit_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 3)

    async def run() -> None:
        async with gateway() as edge:
            held = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(3)]
            await until(lambda: len(edge.server.connections) == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            assert await reader.read() == b""
            for _, one in [*held, (reader, writer)]:
                one.close()
            await until(lambda: not edge.server.connections)
            assert (await edge.ask())[0] == 200

    asyncio.run(run())


def test_a_client_that_leaves_before_its_answer_frees_everything() -> None:
    async def run() -> None:
        async with gateway(lambda _, __: None) as edge, aiohttp.ClientSession() as session:
            asking = asyncio.create_task(
                session.post(f"{edge.url}/v1/chat/completions", json=CHAT, headers={"api-key": "sk-wrong"})
            )
            assert (await asking).status == 401
            waiting = [asyncio.create_task(edge.ask()) for _ in range(20)]
            await until(lambda: edge.edge.in_flight == 20)
            for one in waiting:
                one.cancel()
            await until(lambda: edge.edge.in_flight == 0 and len(edge.exchanges) == 0)
            await until(lambda: sum(record.verdict == "cancelled" for record in edge.records) == 20)

    asyncio.run(run())


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7_and_sorts_by_time(now_ms: int, random: bytes) -> None:
    parsed = uuid.UUID(uuid7(now_ms, pooled(lambda count: random * (count // len(random)))()))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms


@given(st.text(max_size=600))
def test_no_text_in_a_header_can_be_structure(text: str) -> None:
    value = safe(text)
    assert value.isascii()
    assert value == "" or value.isprintable()


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (20, "20ms"), (1000, "1s"), (1001, "2s"), (60_000, "1m0s"), (360_000, "6m0s")],
)
def test_a_duration_reads_as_openais(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_money_is_exact_in_headers() -> None:
    assert [dollars(0), dollars(1), dollars(2_500_000_001)] == ["0.000000000", "0.000000001", "2.500000001"]


def test_only_a_well_formed_traceparent_is_passed_on() -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert parent(good) == good
    for bad in ("", "x", good.upper(), good + "\r\nx: y", good[:-1], "00-" + "0" * 200):
        assert parent(bad) == ""
