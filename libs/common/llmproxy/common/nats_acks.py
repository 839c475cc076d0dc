"""JetStream's acknowledgements of what is published to it."""

import asyncio
import itertools
from typing import Any

import msgspec

from llmproxy.common.errors import Unavailable
from llmproxy.common.nats_client import DirectClient


class _PubAck(msgspec.Struct):
    """https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-1.md"""

    seq: int = 0
    error: Any = None


class Acks:
    """One subscription for all: nats-py's request machinery costs more than the commit."""

    def __init__(self, client: DirectClient) -> None:
        self._client, self._prefix = client, client.new_inbox()
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count()

    @property
    def subject(self) -> str:
        """Where they come in, for `receive`."""
        return f"{self._prefix}.*"

    async def commit(self, subject: str, payload: bytes, message_id: str, timeout_s: float) -> int:
        loop = asyncio.get_running_loop()
        reply = f"{self._prefix}.{next(self._numbers)}"
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[reply.encode()] = future
        late = loop.call_later(timeout_s, self._give_up, future)
        try:
            headers = f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode()
            try:
                self._client.publish_now(subject, payload, reply, headers)
            except Unavailable as error:
                raise Unavailable("audit_unavailable", f"JetStream did not acknowledge: {error.message}") from None
            answer = await future
        finally:
            late.cancel()
            del self._waiting[reply.encode()]
        if not answer:  # The server's no-responders: no stream takes this subject.
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (no stream)")
        try:
            ack = msgspec.json.decode(answer, type=_PubAck)
        except msgspec.DecodeError as error:
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (unreadable)") from error
        if ack.error is not None:
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (refused)")
        return ack.seq

    def receive(self, subject: bytes, payload: bytes) -> None:
        future = self._waiting.get(subject)
        if future is not None and not future.done():
            future.set_result(payload)

    def _give_up(self, future: "asyncio.Future[bytes]") -> None:
        if not future.done():
            future.set_exception(Unavailable("audit_unavailable", "JetStream did not acknowledge (timeout)"))
