"""What the server sends, cut anywhere: ours goes straight to its function, the rest to nats-py in its order."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.nats_client import Reading

OURS = 7


class Stream(asyncio.StreamReaderProtocol):
    """nats-py's end: remembers what came."""

    def __init__(self) -> None:
        self.got = b""
        self.ended: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.ended.append("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.append(error)


def message(payload: bytes, *, sid: int = OURS, reply: bytes = b"", headers: bytes = b"") -> bytes:
    words = [b"HMSG" if headers else b"MSG", b"some.subject", b"%d" % sid, *([reply] if reply else [])]
    if headers:
        words.append(b"%d" % len(headers))
    words.append(b"%d" % (len(headers) + len(payload)))
    return b" ".join(words) + b"\r\n" + headers + payload + b"\r\n"


payloads = st.binary(max_size=60) | st.sampled_from([b"", b"\r\n", b"MSG a 7 3\r\nabc\r\n", b"PING\r\n"])
operations = st.one_of(
    st.tuples(
        st.just("ours"), payloads, st.sampled_from([b"", b"back.here"]), st.sampled_from([b"", b"NATS/1.0 503\r\n\r\n"])
    ),
    st.tuples(
        st.just("other"),
        payloads,
        st.sampled_from([b"", b"back.here"]),
        st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n"]),
    ),
    st.tuples(
        st.just("line"), st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b'INFO {"a":1}\r\n'])
    ),
)


@given(st.lists(operations, max_size=8), st.data())
def test_every_message_arrives_whole_and_in_order_however_it_was_cut(sent: list[Any], data: st.DataObject) -> None:
    written, ours, others = b"", [], b""
    for operation in sent:
        if operation[0] == "line":
            others += operation[1]
            written += operation[1]
            continue
        kind, payload, reply, headers = operation
        one = message(payload, sid=OURS if kind == "ours" else 8, reply=reply, headers=headers)
        written += one
        if kind == "ours":
            ours.append(payload)
        else:
            others += one
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=12)))
    got: list[bytes] = []
    stream = Stream()
    reading = Reading({b"%d" % OURS: lambda subject, payload: got.append(payload)}, stream)
    for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
        if written[start:end]:
            reading.data_received(written[start:end])
    assert got == ours
    assert stream.got == others


@pytest.mark.parametrize("line", [b"MSG\r\n", b"MSG a b c\r\n", b"MSG a 7\r\n", b"HMSG a 7 x 3\r\nabc\r\n"])
def test_what_is_no_message_is_left_to_nats_py(line: bytes) -> None:
    stream = Stream()
    Reading({b"%d" % OURS: lambda *_: pytest.fail("it was taken")}, stream).data_received(line)
    assert stream.got == line


def test_the_end_of_a_connection_is_heard_by_nats_py() -> None:
    stream, error = Stream(), OSError()
    reading = Reading({}, stream)
    reading.eof_received()
    reading.connection_lost(error)
    assert stream.ended == ["eof", error]
