"""What must be fetched, is good for a while and is wanted by many at once: fetched by one, before it runs out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.wire import HttpRequest

FETCH_S = 10.0  # A token endpoint that takes longer is taken to be down.
MARGIN_S = 30.0  # Before its end nobody is shown it any more: clocks differ, and a request takes a while.
EARLY_S = 300.0  # Before its end somebody fetches the next one; of a short life, the last fifth.
EARLY_SHARE = 0.2
LIFETIME_S_MAX = 24 * 3600.0
PAUSE_S = 5.0  # After a failure: until it is tried again.
FORGET_S = 30.0  # One that was refused sooner than this after it was fetched will not be better the next time.

T = TypeVar("T")

Ask = Callable[[HttpRequest], Awaitable[tuple[int, bytes]]]
"""Sends a request, without a credential; gives the status and the bounded body. Raises GatewayError."""


class Fetched(Struct, Generic[T], frozen=True):
    value: T
    lifetime_s: float


class Renewed(Generic[T]):
    """The current one of a series. `fetch` raises GatewayError; `now` is Unix time."""

    def __init__(self, fetch: Callable[[Ask], Awaitable[Fetched[T]]], now: Callable[[], float]) -> None:
        self._fetch, self._now = fetch, now
        self._value: T | None = None
        self._fetched_at = self._renew_at = self._ends_at = 0.0
        self._pause_until = 0.0
        self._refusal: tuple[str, str] = ("", "")
        self._lock = asyncio.Lock()

    @property
    def value(self) -> T:
        assert self._value is not None, "fresh() comes first"
        return self._value

    async def fresh(self, ask: Ask) -> None:
        """Returns when `value` is good. Raises GatewayError when it cannot be had."""
        if self._now() < self._renew_at or (self._is_good and self._lock.locked()):
            return
        async with self._lock:
            now = self._now()
            if now < self._renew_at:
                return
            if now >= self._pause_until:
                await self._renew(ask)
            if not self._is_good:
                raise GatewayError(*self._refusal)

    def refused(self) -> None:
        """Whom it was shown to did not take it: the next one is fetched, unless this one is new."""
        if self._now() - self._fetched_at > FORGET_S:
            self._renew_at = self._ends_at = 0.0

    @property
    def _is_good(self) -> bool:
        return self._now() < self._ends_at

    async def _renew(self, ask: Ask) -> None:
        try:
            async with asyncio.timeout(FETCH_S):
                fetched = await self._fetch(ask)
        except TimeoutError:
            self._pause("provider_unauthorized", f"the credential could not be fetched within {FETCH_S:.0f} s")
        except GatewayError as error:
            self._pause(error.code, error.message)
        else:
            if fetched.lifetime_s <= 0:
                self._pause("provider_unauthorized", "the credential that was fetched had run out already")
                return
            now, lifetime_s = self._now(), min(fetched.lifetime_s, LIFETIME_S_MAX)
            self._value, self._fetched_at = fetched.value, now
            # Of what is good for less than the margin, the time that it has is used.
            self._ends_at = now + max(lifetime_s - MARGIN_S, lifetime_s / 2)
            self._renew_at = now + max(lifetime_s - EARLY_S, lifetime_s * (1 - EARLY_SHARE) / 2)
            self._pause_until = 0.0

    def _pause(self, code: str, message: str) -> None:
        self._refusal = (code, message)
        self._pause_until = self._now() + PAUSE_S
