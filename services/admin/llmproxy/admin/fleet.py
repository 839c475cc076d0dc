"""What runs and how it is, as the instances themselves say on the bus."""

import time
from collections.abc import Callable

from msgspec import Struct, structs

from llmproxy.common.records import Announcement, Event

SERVICES = ("edge", "shield", "router", "provider-workers", "audit", "admin")
QUIET_S = 7.5  # One announcement was missed, and the next is late: whatever it said, it is not known to be ready.
STALE_S = 15.0  # Three announcements were missed.
INSTANCES_MAX = 1_000
CIRCUITS_MAX = 10_000
UNLISTED = "*"  # Routers say no model's name that a caller made up.


class LedgerHead(Struct, frozen=True, kw_only=True):
    """As the audit service signed it last."""

    seq: int
    head: str
    signature: str


class Fleet:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.ledger: LedgerHead | None = None
        self._now = now
        self._heard: dict[tuple[str, str], tuple[float, Announcement]] = {}
        self._open: set[tuple[str, str]] = set()  # (endpoint, model); without a model, the endpoint's own.

    def announced(self, announcement: Announcement) -> None:
        if len(self._heard) >= INSTANCES_MAX:
            self._forget_stale()
        if len(self._heard) < INSTANCES_MAX:
            self._heard[announcement.service, announcement.instance] = (self._now(), announcement)

    def circuit_opened(self, event: Event) -> None:
        if len(self._open) < CIRCUITS_MAX:
            self._open.add(_circuit(event))

    def circuit_closed(self, event: Event) -> None:
        self._open.discard(_circuit(event))

    def ledger_advanced(self, event: Event) -> None:
        facts = event.facts
        seq = facts.get("seq")
        if isinstance(seq, int):
            self.ledger = LedgerHead(
                seq=seq, head=str(facts.get("head", "")), signature=str(facts.get("signature", ""))
            )

    def instances(self) -> list[Announcement]:
        """Those heard of lately, by service and name. One that hangs says nothing any more, and is shown as not ready."""
        self._forget_stale()
        now = self._now()
        return [_known(one, now - heard_at) for _, (heard_at, one) in sorted(self._heard.items())]

    @property
    def missing(self) -> list[str]:
        """Services of which no instance is heard."""
        heard = {one.service for one in self.instances()}
        return [service for service in SERVICES if service not in heard]

    def is_open(self, endpoint: str) -> bool:
        return (endpoint, "") in self._open

    def failing(self, endpoint: str) -> tuple[str, ...]:
        """Its models whose own circuit is open, of those that the configuration names."""
        return tuple(sorted(model for at, model in self._open if at == endpoint and model not in ("", UNLISTED)))

    @property
    def ready(self) -> bool:
        """Whether every service has an instance that is ready."""
        serving = {one.service for one in self.instances() if one.ready}
        return serving.issuperset(SERVICES)

    def _forget_stale(self) -> None:
        oldest = self._now() - STALE_S
        for name in [name for name, (heard_at, _) in self._heard.items() if heard_at < oldest]:
            del self._heard[name]


def _known(one: Announcement, quiet_s: float) -> Announcement:
    if quiet_s < QUIET_S:
        return one
    return structs.replace(one, ready=False, notes={**one.notes, "quiet": f"not heard of for {quiet_s:.0f} s"})


def _circuit(event: Event) -> tuple[str, str]:
    return str(event.facts.get("endpoint", "")), str(event.facts.get("model", ""))
