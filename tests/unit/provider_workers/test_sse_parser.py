"""The parser gives the same events however the network cuts the bytes, and none is endless."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers import sse
from llmproxy.provider_workers.sse import EVENT_BYTES_MAX, Event, EventStream, JsonLines


def events(*pieces: bytes) -> list[Event]:
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)] + stream.finish()


def datas(*pieces: bytes) -> list[bytes]:
    return [data for _, data in events(*pieces)]


def test_whole_events_in_one_read_come_out_at_once() -> None:
    stream = EventStream()
    assert stream.feed(b"data: {}\n\ndata: [1]\n\n") == [(b"", b"{}"), (b"", b"[1]")]
    assert stream.finish() == []


def test_an_event_is_named_by_its_event_field() -> None:
    assert events(b"event: ping\ndata: 1\n\ndata: 2\n\n") == [(b"ping", b"1"), (b"", b"2")]


def test_a_name_without_data_is_forgotten() -> None:
    assert events(b"event: ping\n\ndata: 2\n\n") == [(b"", b"2")]


def test_lines_of_data_are_joined_by_newlines() -> None:
    assert datas(b"data: a\ndata:b\ndata:  c\n\n") == [b"a\nb\n c"]


def test_comments_ids_and_retries_are_ignored() -> None:
    assert datas(b": OPENROUTER PROCESSING\n\n:\nid: 7\nretry: 10\ndata: x\n: late\n\n") == [b"x"]


def test_a_data_line_without_a_colon_is_empty_data() -> None:
    assert datas(b"data\n\ndata:\n\n") == [b"", b""]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_a_line(end: bytes) -> None:
    data = end.join([b"event: e", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert events(data) == [(b"e", b"a\nb"), (b"", b"c")]


def test_a_carriage_return_and_its_newline_may_come_apart() -> None:
    assert datas(b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n") == [b"a", b"b"]


def test_a_byte_order_mark_at_the_start_is_not_part_of_the_first_field() -> None:
    assert datas(b"\xef\xbb\xbfdata: a\n\n") == [b"a"]
    assert datas(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [b"a"]


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert datas(b"data: a\n\ndata: b") == [b"a", b"b"]
    assert datas(b"data: a\n\ndata: b\n") == [b"a", b"b"]


def test_characters_cut_in_two_are_whole_again() -> None:
    text = "data: 👋é\n\n".encode()
    for at in range(1, len(text)):
        assert datas(text[:at], text[at:]) == ["👋é".encode()]


FIELD = st.just(b"data: 1") | st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: ",
        b": ",
        b":",
        b"id: 1",
        b"data: {}",
        b"\xf0\x9f\x91\x8b",
        b"\xef\xbb\xbf",
        b"x",
    ]
)
END = st.sampled_from([b"\n", b"\n\n"]) | st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b""])
STREAM = st.lists(st.tuples(FIELD, END), max_size=24).map(lambda pairs: b"".join(a + b for a, b in pairs))


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    data = draw(STREAM)
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    edges = [0, *cuts, len(data)]
    return data, [data[a:b] for a, b in pairwise(edges)]


@settings(max_examples=600)
@given(chunked())
def test_any_chunking_gives_the_same_events(case: tuple[bytes, list[bytes]]) -> None:
    data, pieces = case
    assert events(*pieces) == events(data)
    assert events(*(data[at : at + 1] for at in range(len(data)))) == events(data)


def lines(pieces: list[bytes]) -> list[bytes]:
    parser = JsonLines()
    return [line for piece in pieces for line in parser.feed(piece)] + parser.finish()


@given(chunked())
def test_any_chunking_gives_the_same_json_lines(case: tuple[bytes, list[bytes]]) -> None:
    data, pieces = case
    assert lines(pieces) == lines([data])


def test_json_lines_skip_blank_ones_and_keep_the_last() -> None:
    parser = JsonLines()
    assert parser.feed(b'{"a":1}\r\n\n  \n{"b"') == [b'{"a":1}']
    assert parser.feed(b":2}") == []
    assert parser.finish() == [b'{"b":2}']
    assert parser.finish() == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 1000)
    return 1000


@pytest.mark.parametrize(
    "piece",
    [b"data: " + b"x" * 400, b": " + b"x" * 400, b"data: " + b"x" * 400 + b"\n", b"data: " + b"x" * 1200 + b"\n\n"],
    ids=["endless line", "endless comment", "endless event", "one large event"],
)
def test_an_event_without_end_is_refused(small: int, piece: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        events(*[piece] * 8)
    assert caught.value.code == "provider_bad_answer"


@pytest.mark.parametrize("pieces", [[b"x" * 400] * 4, [b"x" * 1200 + b"\n"]], ids=["endless", "large"])
def test_a_json_line_without_end_is_refused(small: int, pieces: list[bytes]) -> None:
    with pytest.raises(GatewayError):
        lines(pieces)


def test_many_events_together_may_exceed_the_limit_of_one(small: int) -> None:
    assert len(datas(b"data: x\n\n" * 500)) == 500
    assert len(datas(b"data: x\r\n\r\n" * 500)) == 500


def test_a_large_event_in_small_pieces_costs_linear_time() -> None:
    """Not a timing of the machine: eight times the bytes may not cost anything like sixty-four times the work."""

    def cost(size: int) -> float:
        stream, piece = EventStream(), b"x" * 64
        started = time.thread_time()
        stream.feed(b"data: ")
        for _ in range(size // 64):
            stream.feed(piece)
        assert [len(data) for _, data in stream.feed(b"\n\n")] == [size]
        return time.thread_time() - started

    size = EVENT_BYTES_MAX // 16
    large, small = (min(cost(size) for _ in range(3)) for size in (8 * size, size))
    assert large < 32 * max(small, 0.001)
