"""A line to Redis: replies go to who asked, in order; the first that is late or strange ends it for all who wait."""

import asyncio
from collections.abc import Awaitable, Callable

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S
from redis.exceptions import ConnectionError, NoScriptError, ResponseError

from llmproxy.common import redis
from llmproxy.common.redis import Line, packed

BUDGET_S = 0.05


class Socket(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True


def run(scenario: Callable[[Line, Socket], Awaitable[None]], timeout_s: float = PATIENCE_S) -> None:
    async def main() -> None:
        socket = Socket()
        await scenario(Line(socket, timeout_s), socket)

    asyncio.run(main())


@given(st.lists(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)), min_size=1))
def test_a_packed_command_is_read_as_its_words(words: list[str | int | float]) -> None:
    reader = hiredis.Reader()
    reader.feed(packed(*words))
    assert reader.gets() == [str(word).encode() for word in words]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_replies_go_to_who_asked_in_their_order_however_they_are_cut(cuts: list[int]) -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        asked = [line.ask(packed("ECHO", n)) for n in range(4)]
        data = b"".join(b"*2\r\n$1\r\n%d\r\n:%d\r\n" % (n, n) for n in range(4))
        for cut in cuts:
            line.data_received(data[:cut])
            data = data[cut:]
        line.data_received(data)
        assert [await one for one in asked] == [[str(n).encode(), n] for n in range(4)]
        assert socket.written == b"".join(packed("ECHO", n) for n in range(4))

    run(scenario)


def test_what_a_caller_who_left_had_asked_is_nobody_elses_answer() -> None:
    async def scenario(line: Line, _: Socket) -> None:
        first, second = line.ask(b"1"), line.ask(b"2")
        first.cancel()
        line.data_received(b":1\r\n:2\r\n")
        assert await second == 2

    run(scenario)


def test_an_error_is_its_askers_and_the_line_goes_on() -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        forgotten, wrong, fine = line.ask(b"1"), line.ask(b"2"), line.ask(b"3")
        line.data_received(b"-NOSCRIPT No matching script\r\n-ERR no\r\n:3\r\n")
        with pytest.raises(NoScriptError):
            await forgotten
        with pytest.raises(ResponseError):
            await wrong
        assert await fine == 3
        assert not socket.is_aborted

    run(scenario)


@pytest.mark.parametrize("strange", [b"?\r\n", b":1\r\n:2\r\n"], ids=["not RESP", "a reply that nobody asked for"])
def test_what_nobody_can_read_ends_the_line(strange: bytes) -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        asked = line.ask(b"1")
        line.data_received(strange)
        assert socket.is_aborted
        assert not line.is_open
        await asyncio.gather(asked, return_exceptions=True)
        with pytest.raises(ConnectionError):
            await line.ask(b"2")

    run(scenario)


def test_a_late_reply_ends_the_line_and_who_asked_later_may_ask_again() -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        first = line.ask(b"1")
        line.timeout_s = 3600.0
        second = line.ask(b"2")
        with pytest.raises(TimeoutError):
            await first
        with pytest.raises(ConnectionError):
            await second
        assert socket.is_aborted
        line.data_received(b":1\r\n")  # Nobody's.

    run(scenario, BUDGET_S)


def test_a_reply_in_time_leaves_no_clock_running() -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        asked = line.ask(b"1")
        line.data_received(b":1\r\n")
        assert await asked == 1
        async with asyncio.timeout(PATIENCE_S):
            while line._timer is not None:
                await asyncio.sleep(BUDGET_S / 10)
        assert not socket.is_aborted

    run(scenario, BUDGET_S)


def test_a_line_that_the_server_closed_says_so_to_all_who_wait() -> None:
    async def scenario(line: Line, _: Socket) -> None:
        asked = line.ask(b"1")
        line.connection_lost(None)
        with pytest.raises(ConnectionError):
            await asked

    run(scenario)


def test_more_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "WAITING_MAX", 2)

    async def scenario(line: Line, _: Socket) -> None:
        waiting = [line.ask(b"1"), line.ask(b"2")]
        with pytest.raises(ConnectionError):
            await line.ask(b"3")
        line.data_received(b":1\r\n:2\r\n")
        assert await asyncio.gather(*waiting) == [1, 2]

    run(scenario)


def test_a_line_that_is_told_to_be_patient_is_that_with_what_is_asked_next() -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        line.wait(3600.0)
        asked = line.ask(packed("PING"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked), 2 * BUDGET_S)
        assert line.is_open
        line.data_received(b"+PONG\r\n")
        assert await asked == b"PONG"

    run(scenario, BUDGET_S)


def test_a_line_that_is_told_to_be_impatient_is_that_with_what_is_asked_next() -> None:
    async def scenario(line: Line, socket: Socket) -> None:
        answered = line.ask(packed("PING"))  # Its clock still runs for an hour.
        line.data_received(b"+PONG\r\n")
        assert await answered == b"PONG"
        line.wait(BUDGET_S)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.shield(line.ask(packed("PING")))
        assert socket.is_aborted

    run(scenario, 3600.0)
