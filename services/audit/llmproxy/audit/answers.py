"""Answers what admin asks about the ledger. Any instance can: these are reads."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from llmproxy.audit import record
from llmproxy.audit.ledger import Verification
from llmproxy.common.bus import Bus
from llmproxy.common.channels import LEDGER_ANSWER, LEDGER_QUERY, LEDGER_VERIFY
from llmproxy.common.errors import Unavailable
from llmproxy.common.ledger_questions import LedgerEntry, LedgerPage, LedgerQuery, LedgerVerified, LedgerVerify

VERIFY_TIMEOUT_S = 600.0
PAGE_BYTES_MAX = 1 << 20  # An answer is one message; a page that would be larger ends earlier.


class Pages(Protocol):
    async def page(self, query: LedgerQuery) -> list[tuple[int, bytes, bytes]]: ...


class Answers:
    def __init__(self, bus: Bus, pages: Pages, verify: Callable[[], Awaitable[Verification]]) -> None:
        self._bus, self._pages, self._verify = bus, pages, verify

    async def serve(self) -> None:
        await self._bus.answer_questions(LEDGER_QUERY, self.page)
        await self._bus.answer_questions(LEDGER_VERIFY, self.verified)

    async def page(self, query: LedgerQuery) -> None:
        try:
            answer = LedgerPage(entries=entries(await self._pages.page(query)))
        except Unavailable as error:
            answer = LedgerPage(problem=error.message)
        self._bus.publish(LEDGER_ANSWER, answer, address=query.address, id=query.id)

    async def verified(self, question: LedgerVerify) -> None:
        try:
            async with asyncio.timeout(VERIFY_TIMEOUT_S):
                answer = LedgerVerified(**msgspec.structs.asdict(await self._verify()))
        except TimeoutError:
            answer = LedgerVerified(ok=False, checked=False, problem="it takes too long; run `llmproxy audit verify`")
        except Unavailable as error:
            answer = LedgerVerified(ok=False, checked=False, problem=error.message)
        self._bus.publish(LEDGER_ANSWER, answer, address=question.address, id=question.id)


def entries(rows: list[tuple[int, bytes, bytes]]) -> list[LedgerEntry]:
    """A row that does not decode is left out; `verify` says what is wrong with it."""
    found: list[LedgerEntry] = []
    size = 0
    for seq, spelled, digest in rows:
        size += len(spelled) + len(digest) * 2
        if found and size > PAGE_BYTES_MAX:
            break
        try:
            said = record.parse(spelled)
        except msgspec.DecodeError:
            continue
        found.append(LedgerEntry(seq=seq, hash=digest.hex(), record=said))
    return found
