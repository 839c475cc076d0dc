"""A durable pull consumer of JetStream: in order, in batches, each acknowledged after it was handled."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from llmproxy.common.errors import GatewayError
from llmproxy.common.nats_client import RETRY_S, DirectClient

FETCH_MESSAGES = 256
FETCH_WAIT_S = 0.25  # Between two questions: how long a batch gathers, for each costs a transaction.
ACK_WAIT_S = 5.0  # How long what a killed consumer held keeps its successor waiting, in order; a late acknowledgement still counts.
STATUS_HEADER, STATUS_NONE, STATUS_EXPIRED = "Status", "404", "408"  # How JetStream ends a batch.
LEAVE_S = 20.0  # Above the longest that a handler may take.

log = logging.getLogger(__name__)


class Consuming:
    """Batches are acknowledged after they were handled, and come again when they were not."""

    def __init__(
        self,
        client: DirectClient,
        jetstream: JetStreamContext,
        stream: str,
        durable: str,
        subject: str,
        handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]],
        timeout_s: float,
    ) -> None:
        self._client, self._jetstream, self._timeout_s = client, jetstream, timeout_s
        self._stream, self._durable, self._subject = stream, durable, subject
        self._handle = handle
        self._stop = asyncio.Event()
        self._fetched: list[Msg] = []  # And not handled yet.
        self._ended = self._new_question()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._session()
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                log.warning("consumer %s: %s; trying again", self._durable, type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _session(self) -> None:
        """Asks for one batch at a time: with a second question open, as nats-py's `fetch` leaves it, messages would arrive
        here that a successor must have before later ones."""
        made = await self._jetstream.pull_subscribe(
            self._subject,
            durable=self._durable,
            stream=self._stream,
            config=api.ConsumerConfig(
                ack_policy=api.AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, max_ack_pending=FETCH_MESSAGES
            ),
        )
        await made.unsubscribe()  # It has made the durable; asking is up to us.
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=self._take)
        try:
            while not self._stop.is_set():
                asked_at = time.monotonic()
                if await self._batch(inbox) < FETCH_MESSAGES:
                    with contextlib.suppress(TimeoutError):
                        # Before 3.12 `wait_for` could lose its task's end, and `drain` waits for it.
                        async with asyncio.timeout(asked_at + FETCH_WAIT_S - time.monotonic()):
                            await self._stop.wait()
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _batch(self, inbox: str) -> int:
        messages = await self._fetch(inbox)
        if not messages:
            return 0
        handled = await self._until_handled([(m.metadata.sequence.stream, m.data) for m in messages])
        for message in messages:
            await (message.ack() if handled else message.nak())
        return len(messages)

    async def _fetch(self, inbox: str) -> list[Msg]:
        """What there is by now, in one piece: to wait for each message costs several times as much as to handle it. The server
        says when it has sent all, and sends nothing afterwards."""
        self._ended = self._new_question()
        question = {"batch": FETCH_MESSAGES, "no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        await self._client.publish(subject, json.dumps(question).encode(), reply=inbox)
        came = -1
        while not self._ended.done() and came < len(self._fetched):
            came = len(self._fetched)  # When no more come, the server went away; what it had sent is here.
            await asyncio.wait({self._ended}, timeout=self._timeout_s)
        said = self._ended.result() if self._ended.done() else None
        if said is not None and not self._fetched and _status(said) not in (STATUS_NONE, STATUS_EXPIRED):
            raise nats.js.errors.APIError.from_msg(said)  # Behind messages, the next question meets it again.
        fetched, self._fetched = self._fetched, []
        return fetched

    @staticmethod
    def _new_question() -> "asyncio.Future[Msg | None]":
        """Done when the server has sent all, with its word if it says one."""
        return asyncio.get_running_loop().create_future()

    async def _take(self, message: Msg) -> None:
        is_word = bool(_status(message))
        if not is_word:
            self._fetched.append(message)
        if (is_word or len(self._fetched) == FETCH_MESSAGES) and not self._ended.done():
            self._ended.set_result(message if is_word else None)

    async def _until_handled(self, batch: list[tuple[int, bytes]]) -> bool:
        """In order, whatever it takes: the next batch waits until this one is handled. False when told to stop before."""
        while not self._stop.is_set():
            try:
                await self._handle(batch)
                return True
            except GatewayError as error:
                log.warning("consumer %s: %s", self._durable, error.message)
                await asyncio.sleep(RETRY_S)
        return False

    async def drain(self) -> None:
        """What was fetched is handled, or given back at once for whoever consumes next: never left to expire."""
        self._stop.set()
        if self.task is None:
            return
        await asyncio.wait({self.task}, timeout=LEAVE_S)
        self.task.cancel()
        await asyncio.wait({self.task})


def _status(message: Msg) -> str:
    """Empty where it is a message of the stream and no word of the server's."""
    return (message.headers or {}).get(STATUS_HEADER, "")
