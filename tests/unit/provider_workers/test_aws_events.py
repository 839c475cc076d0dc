"""A binary event stream is the same messages however it is cut, and nothing that its checksums do not confirm."""

from collections.abc import Sequence

import aws_stream
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.aws_events import HEADERS_BYTES_MAX, AwsEvents, Message
from llmproxy.provider_workers.sse import EVENT_BYTES_MAX

names = st.text(st.characters(codec="utf-8"), max_size=12)
messages = st.builds(Message, st.sampled_from(["event", "exception"]), names, st.binary(max_size=60))


def encoded(wanted: Sequence[Message]) -> bytes:
    return b"".join(aws_stream.message(one.kind, one.type, one.payload) for one in wanted)


def refused(data: bytes) -> str:
    """The code that the whole of a stream is refused with; "" when it is read."""
    parser = AwsEvents()
    try:
        parser.feed(data)
        parser.finish()
    except GatewayError as error:
        return error.code
    return ""


@st.composite
def cut(draw: st.DrawFn) -> tuple[list[Message], list[bytes]]:
    wanted = draw(st.lists(messages, max_size=5))
    data = encoded(wanted)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return wanted, [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(cut())
def test_any_cut_gives_the_same_messages(case: tuple[list[Message], list[bytes]]) -> None:
    wanted, pieces = case
    parser = AwsEvents()
    assert [one for piece in pieces for one in parser.feed(piece)] + parser.finish() == wanted


@given(st.lists(messages, min_size=1, max_size=3))
def test_byte_by_byte_gives_the_same_messages(wanted: list[Message]) -> None:
    parser, data = AwsEvents(), encoded(wanted)
    assert [one for at in range(len(data)) for one in parser.feed(data[at : at + 1])] == wanted


@given(st.lists(messages, min_size=1, max_size=4))
def test_botocore_reads_the_same_messages(wanted: list[Message]) -> None:
    theirs = EventStreamBuffer()
    theirs.add_data(encoded(wanted))
    ours = AwsEvents().feed(encoded(wanted))
    for one, other in zip(ours, theirs, strict=True):
        assert one.payload == other.payload
        assert one.kind == other.headers[":message-type"]
        assert one.type == other.headers[":event-type" if one.kind == "event" else ":exception-type"]


@given(messages, st.data())
def test_one_wrong_byte_is_noticed(wanted: Message, data: st.DataObject) -> None:
    sound = bytearray(encoded([wanted]))
    at = data.draw(st.integers(0, len(sound) - 1))
    sound[at] ^= data.draw(st.integers(1, 255))
    assert refused(bytes(sound)) == "provider_bad_answer"


@given(st.binary(max_size=80))
def test_any_bytes_are_messages_or_a_named_error(data: bytes) -> None:
    assert refused(data) == ("provider_bad_answer" if data else "")


def test_an_error_is_told_by_its_headers() -> None:
    headers = b"".join(
        aws_stream.header(*pair)
        for pair in ((":message-type", "error"), (":error-code", "InternalError"), (":error-message", "boom"))
    )
    assert AwsEvents().feed(aws_stream.framed(headers, b"")) == [Message("error", "InternalError", b"", "boom")]


def test_headers_of_every_type_are_passed_over() -> None:
    values = (b"\x00", b"\x01", b"\x02a", b"\x03ab", b"\x04abcd", b"\x05abcdefgh", b"\x06\x00\x02ab", b"\x08abcdefgh")
    headers = b"".join(b"\x01x" + value for value in (*values, b"\x09" + b"u" * 16))
    (found,) = AwsEvents().feed(aws_stream.framed(headers + aws_stream.header(":event-type", "t"), b"{}"))
    assert found == Message("event", "t", b"{}")


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01x\x0a",
        b"\x01",
        b"\xff",
        b"\x01x\x07\x00\x09short",
        b"\x02\xff\xff\x00",
        b"\x01x\x07\x00\x01\xff",
        b"\x01x\x04a",
    ],
)
def test_headers_that_make_no_sense_are_an_error_and_not_a_crash(headers: bytes) -> None:
    with pytest.raises(GatewayError, match="checksums"):
        AwsEvents().feed(aws_stream.framed(headers, b"{}"))


@pytest.mark.parametrize(
    ("size", "headers_bytes"), [(EVENT_BYTES_MAX + 1, 0), (1 << 20, HEADERS_BYTES_MAX + 1), (15, 0), (40, 30)]
)
def test_a_length_that_cannot_be_is_refused_before_it_is_waited_for(size: int, headers_bytes: int) -> None:
    lengths = size.to_bytes(4, "big") + headers_bytes.to_bytes(4, "big")
    with pytest.raises(GatewayError) as raised:
        AwsEvents().feed(lengths + aws_stream.crc32(lengths).to_bytes(4, "big"))
    assert raised.value.code == "provider_bad_answer"
