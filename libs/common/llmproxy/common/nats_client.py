"""nats-py's client with a short way through it, for messages whose receivers are plain functions (docs/adr/0003).

nats-py reads through a stream, a task and a parser of coroutines, and hands each message to a queue and another task. Ours
are taken where the socket delivers them, and written without its flusher: half the CPU per hop.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport

from llmproxy.common.bus import Receive
from llmproxy.common.errors import Unavailable

PENDING_BYTES_MAX = 64 << 20  # What may wait for the socket; beyond it publishing is refused.
JOINED_BYTES_MAX = 1 << 16  # Up to here copying costs less than what a write of several pieces does.
RETRY_S = 0.2  # Between two attempts at what NATS has just refused or left unanswered.

CONNECTED = Client.CONNECTED
HEADED = b"HMSG"
MESSAGE = b"MSG"
LINE_END = b"\r\n"

T = TypeVar("T")


async def apart(work: Coroutine[Any, Any, T]) -> T:
    """In a task of its own: asyncio.wait_for, which nats-py uses, may lose the end of the one that it is in (Python 3.11)."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    finally:
        task.cancel()


class Reading(asyncio.Protocol):
    """Takes the messages of the subscriptions in `direct` out of what the server sends; the rest goes on to nats-py's stream,
    in its order. A message may come in any number of pieces."""

    def __init__(self, direct: dict[bytes, Receive], stream: asyncio.StreamReaderProtocol) -> None:
        self._direct, self._stream = direct, stream
        self._begun: list[bytes] = []  # Pieces of an operation that is not all here,
        self._missing = 0  # and how many bytes it lacks at least.

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._begun.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data, self._begun = b"".join(self._begun), []
        at, size, direct = 0, len(data), self._direct
        while at < size:
            line_end = data.find(LINE_END, at)
            end = line_end + 2
            if line_end < 0:
                self._keep(data[at:], 1)
                return
            receive, payload_at = None, end
            words = data[at:line_end].split()  # MSG subject sid [reply] size; HMSG … header_size size
            kind = words[0] if words else b""
            is_plain = kind == MESSAGE
            if is_plain or kind == HEADED:
                try:
                    end += int(words[3] and words[-1]) + 2
                    receive = direct.get(words[2])
                    if not is_plain:
                        payload_at += int(words[-2])
                except (ValueError, IndexError):
                    end, receive = size, None  # nats-py says what it thinks of it.
                if end > size:
                    self._keep(data[at:], end - size)
                    return
            if receive is None:
                self._stream.data_received(data[at:end])
            else:
                receive(words[1], data[payload_at : end - 2])
            at = end

    def _keep(self, begun: bytes, missing: int) -> None:
        self._begun, self._missing = [begun], missing

    def eof_received(self) -> bool | None:
        return self._stream.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._stream.connection_lost(error)

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()


class DirectClient(Client):
    """nats-py, but messages for the subscriptions in `direct` go straight to a function, without their headers."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[bytes, Receive] = {}  # By the subscription's number, as the server writes it.
        self._socket: asyncio.WriteTransport | None = None  # Of this connection, once it has been greeted.
        self._loop = asyncio.get_running_loop()  # To ask for it again costs a system call, before Python 3.12.
        self._wake: asyncio.Handle | None = None
        self._unwritten = 0  # Bytes of earlier turns that the socket has not taken.

    async def _read_loop(self) -> None:
        """Begins with each connection, after its greeting."""
        self._take_over()
        await super()._read_loop()

    def _take_over(self) -> None:
        """Puts `Reading` between the socket and nats-py's stream, with what had come before."""
        connection = self._transport
        assert isinstance(connection, TcpTransport)
        writer, reader = connection._io_writer, connection._io_reader
        assert writer is not None
        assert reader is not None
        self._socket = writer.transport
        stream = self._socket.get_protocol()
        assert isinstance(stream, asyncio.StreamReaderProtocol)
        reading = Reading(self.direct, stream)
        self._socket.set_protocol(reading)
        early = bytes(reader._buffer)  # type: ignore[attr-defined] # The stream has no other way to look.
        reader._buffer.clear()  # type: ignore[attr-defined]
        if early:
            reading.data_received(early)

    async def _process_err(self, err_msg: str) -> None:
        """What the server complains of ends the connection, not the service: nats-py would close for good, and nobody
        would hear of it. What it says about permissions or the password is nats-py's business."""
        says = err_msg.lower()
        if self.is_connecting or "permissions" in says or "authorization" in says:
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(nats.errors.Error("the server ended the connection"))

    def publish_now(self, subject: str, payload: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Appends to what is written at the end of the loop's turn; the subjects come from `channels`, which has checked them.
        Raises Unavailable.

        What one turn publishes leaves together: a write costs more than everything else in a hop, for us, for the server
        and for whoever reads it.
        """
        size = len(payload)
        if self._wake is None:  # The first one of this turn.
            self._wake = self._loop.call_soon(self._write)
            self._unwritten = 0 if self._socket is None else self._socket.get_write_buffer_size()
        unwritten = self._unwritten + self._pending_data_size
        if unwritten > PENDING_BYTES_MAX or size > self._max_payload or self._status != CONNECTED:
            problem = self.problem(size)
            if problem:
                raise Unavailable("stage_unavailable", problem)
        if headers:
            command = f"HPUB {subject} {reply} {len(headers)} {len(headers) + size}\r\n".encode() + headers
        else:
            command = f"PUB {subject} {reply} {size}\r\n".encode()
        self._pending += (command, payload, LINE_END)  # Joined once, when all of the turn is there.
        self._pending_data_size += len(command) + size + 2

    def _write(self) -> None:
        """At the end of the turn, what `_flusher` would do a future and a task switch later."""
        self._wake = None
        if self._pending and self.is_connected and self._transport is not None:
            # A connection that has just been made is not taken over yet.
            ours = self._socket
            socket = ours if ours is not None and not ours.is_closing() else self._transport
            pending, size = self._pending, self._pending_data_size
            self._pending, self._pending_data_size = [], 0
            if size <= JOINED_BYTES_MAX:
                socket.write(b"".join(pending))
            else:
                socket.writelines(pending)

    def problem(self, payload_bytes: int) -> str:
        """Why a message of this size cannot be published now; "" nearly always."""
        buffered = self._socket.get_write_buffer_size() if self._socket is not None else 0
        if not self.is_connected or self._pending_data_size + buffered > PENDING_BYTES_MAX:
            return "the gateway's message bus is not connected; retry"
        if payload_bytes > self._max_payload:  # The server would end the connection of everybody else with it.
            return f"a message of {payload_bytes} bytes is above max_payload of NATS"
        return ""

    async def settle(self, timeout_s: float) -> None:
        """Everything sent so far is written, and the server has read it (nats-py's own flush can overtake the buffer)."""
        async with asyncio.timeout(timeout_s):
            written = asyncio.get_running_loop().create_future()
            assert self._flush_queue is not None
            await self._flush_queue.put(written)
            await written
            await self.flush()

    async def leave(self, subscription: NatsSubscription, timeout_s: float) -> None:
        """Unsubscribes; every message that the server had sent before is delivered first."""
        await self._send_unsubscribe(subscription._id)
        await self.settle(timeout_s)
        subscription._stop_processing()
        self._remove_sub(subscription._id)
