"""Streams on their way out: the same bytes however they came, and the last word only when it may be said."""

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.edge.edge_examples import options, path
from unit.edge.edge_gateway import CONFIG, MASKED, gateway

from llmproxy.common.config import Signature
from llmproxy.common.dialects.framing import Framing
from llmproxy.common.dialects.rendering import FRAMINGS, GEMINI_ARRAY
from llmproxy.common.explanations import Explanation
from llmproxy.common.frames import Data, Failure, Head
from llmproxy.edge.replies import Reply, StreamSink, stream_sink
from llmproxy.edge.routes.table import ROUTES

BROKEN = Failure(code="provider_stream_broken", message="it broke")
CLOSING: dict[str, bytes] = {
    "responses": b'{"type":"response.completed"}',
    "messages": b'{"type":"message_stop"}',
    "gemini": b'{"candidates":[{"finishReason":"STOP"}]}',
    "images": b'{"type":"image_generation.completed"}',
    "speech": b'{"type":"speech.audio.done"}',
    "transcriptions": b'{"type":"transcript.text.done"}',
}
HELD = [(api, framing) for api, framing in FRAMINGS.items() if framing.completes] + [("gemini", GEMINI_ARRAY)]


class Transport:
    """Remembers what was written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class Connection:
    def __init__(self) -> None:
        self.transport: Any = Transport()


def a_sink(framing: Framing) -> tuple[StreamSink, Transport]:
    connection = Connection()
    reply = Reply(connection, "", "id", http10=True, head_only=False, close=False, ending=lambda: False)
    sink = stream_sink(reply, framing, lambda head, publications: "")
    sink.begin(Head(), 1)
    transport = connection.transport
    transport.written = b""
    return sink, transport


def split(events: list[Data], cuts: list[int]) -> list[list[Data]]:
    edges = sorted({0, len(events), *(cut % (len(events) + 1) for cut in cuts)})
    return [events[start:end] for start, end in pairwise(edges)]


def data(json: bytes) -> Data:
    return Data(msgspec.Raw(json))


@pytest.mark.parametrize(("api", "framing"), [*FRAMINGS.items(), ("gemini", GEMINI_ARRAY)])
@given(count=st.integers(0, 8), closing=st.sets(st.integers(0, 8)), cuts=st.lists(st.integers(0, 99), max_size=6))
def test_a_stream_is_the_same_bytes_however_its_events_were_packed(
    api: str, framing: Framing, count: int, closing: set[int], cuts: list[int]
) -> None:
    plain = b'{"type":"x.delta"}'
    events = [data(CLOSING.get(api, plain) if number in closing else plain) for number in range(count)]
    sink, transport = a_sink(framing)
    for packet in split(events, cuts):
        sink.send(packet)
    sink.end()
    assert transport.written == framing.events(events, 0) + framing.done(count)


@pytest.mark.parametrize(("api", "framing"), HELD)
@given(before=st.integers(0, 4), cuts=st.lists(st.integers(0, 99), max_size=4))
def test_what_says_that_an_answer_is_complete_is_kept_until_the_end_and_dropped_if_it_fails(
    api: str, framing: Framing, before: int, cuts: list[int]
) -> None:
    events = [data(b'{"type":"x.delta"}')] * before + [data(CLOSING[api])]
    sink, transport = a_sink(framing)
    for packet in split(events, cuts):
        sink.send(packet)
    assert CLOSING[api] not in transport.written
    sink.fail(BROKEN)
    assert CLOSING[api] not in transport.written
    assert transport.written.count(b"it broke") >= 1


def test_what_the_edge_itself_found_is_told_with_the_answer_too() -> None:
    async def run() -> None:
        odd = msgspec.structs.replace(
            CONFIG.firewall, signatures=(Signature(id="odd", phrase="purple elephant", severity="low"),)
        )
        async with gateway(config=msgspec.structs.replace(CONFIG, firewall=odd)) as edge:
            for stream in (False, True):
                route = ROUTES["/v1/chat/completions"]
                body = options(route, user="a purple elephant", stream=stream)
                status, headers, _ = await edge.ask(path(route), **body)
                assert status == 200
                assert headers["x-llmproxy-findings"] == "email=1,firewall.custom=1"
            assert edge.records[0].findings == {"email": 1, "firewall.custom": 1}
            explained = edge.records[0].explained
            assert explained is not None
            masked, hit = explained.findings
            assert (masked, explained.more) == (MASKED, 0)
            assert hit.end - hit.start == len("purple elephant")
            assert msgspec.structs.replace(hit, start=0, end=0) == Explanation(
                guard="firewall", kind="firewall.custom", rule="odd", action="flag"
            )

    asyncio.run(run())


@pytest.mark.parametrize(("code", "kept"), [("provider_stream_broken", True), ("slow_consumer", False)])
def test_a_connection_whose_head_promised_to_stay_stays_after_a_broken_stream(code: str, kept: bool) -> None:
    connection = Connection()
    reply = Reply(connection, "", "id", http10=False, head_only=False, close=False, ending=lambda: False)
    sink = stream_sink(reply, FRAMINGS["chat"], lambda head, publications: "")
    sink.begin(Head(), 1)
    assert b"connection: keep-alive\r\n" in connection.transport.written
    assert sink.fail(Failure(code=code, message="it broke")).keep_alive is kept
    assert connection.transport.written.endswith(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in connection.transport.written
