"""What limits apply to a request, and what was decided."""

from collections.abc import Sequence
from ipaddress import IPv6Network
from typing import Literal

from msgspec import Struct

from llmproxy.common.config import Limit, Limits
from llmproxy.common.keyring import KeyRecord

MINUTE_US = 60_000_000
CONCURRENCY_RETRY_MS = 1_000  # When a place will be free is unknown.
SITE_BITS = 64

Scope = Literal["key", "ip", "tenant"]


class Dimension(Struct, frozen=True):
    """One limit that applies to a request: whose it is, and how much."""

    scope: Scope
    name: str
    limit: Limit

    @property
    def emission_us(self) -> int:
        rate = self.limit.requests_per_minute
        return MINUTE_US // rate if rate else 0

    @property
    def burst(self) -> int:
        return self.limit.burst or max(1, (self.limit.requests_per_minute or 0) // 10)

    @property
    def tolerance_us(self) -> int:
        return self.emission_us * (self.burst - 1)

    @property
    def rate_key(self) -> str:
        return f"llmproxy:{{limits}}:rate:{self.scope}:{self.name}"

    @property
    def lease_key(self) -> str:
        return f"llmproxy:{{limits}}:held:{self.scope}:{self.name}"


class Suspects(Struct, frozen=True):
    """Who stands behind a request, of whom the ledger knows something: standings in Redis, the most specific first, and the terms."""

    keys: tuple[str, ...]
    terms: tuple[int | float, ...]  # As the script's "S" wants them, without the count.


class Quota(Struct, frozen=True, gc=False, kw_only=True):
    """The decision, with the numbers of the dimension that refused or else of the tightest one."""

    allowed: bool
    scope: Scope | None = None
    kind: Literal["rate", "concurrency", "throttled", "locked", ""] = ""
    retry_after_ms: int = 0
    limit: int = 0  # Requests per minute.
    remaining: int = 0
    reset_ms: int = 0  # Until the whole burst is there again.
    suspect: int = 0  # Whose standing is such that it would be slowed or refused, from 1,
    suspect_locked: bool = False  # and that it would be refused.


UNLIMITED = Quota(allowed=True)


def dimensions(limits: Limits, record: KeyRecord, ip: str) -> list[Dimension]:
    """What applies to this caller; empty when nothing is configured."""
    found: list[Dimension] = []
    key = record.limit if record.limit is not None else limits.key
    if _limits_anything(key):
        found.append(Dimension("key", record.id, key))
    if _limits_anything(limits.ip):
        found.append(Dimension("ip", neighbourhood(ip), limits.ip))
    if _limits_anything(limits.tenant):
        found.append(Dimension("tenant", record.tenant, limits.tenant))
    return found


def neighbourhood(ip: str) -> str:
    """Who is one caller by address: an IPv4 address, or the 64 bits of IPv6 that one site is given."""
    if ":" not in ip:
        return ip
    try:
        return str(IPv6Network((ip.partition("%")[0], SITE_BITS), strict=False))
    except ValueError:
        return ip


def _limits_anything(limit: Limit) -> bool:
    return limit.requests_per_minute is not None or limit.concurrency is not None


def quota(wanted: Sequence[Dimension], fields: Sequence[int]) -> Quota:
    """One request's part of the script's reply."""
    allowed, index, kind, retry_us, remaining, reset_us, met = fields
    suspect, suspect_locked = met >> 1, bool(met & 1)
    if kind >= 3:
        return Quota(
            allowed=False,
            kind="locked" if kind == 4 else "throttled",
            retry_after_ms=-(-retry_us // 1000),
            suspect=suspect,
            suspect_locked=suspect_locked,
        )
    if index == 0:
        return Quota(allowed=True, suspect=suspect, suspect_locked=suspect_locked) if met else UNLIMITED
    dimension = wanted[index - 1]
    return Quota(
        allowed=bool(allowed),
        scope=dimension.scope,
        kind="concurrency" if kind == 2 else "rate",
        retry_after_ms=CONCURRENCY_RETRY_MS if kind == 2 else -(-retry_us // 1000),
        limit=(dimension.limit.requests_per_minute if kind == 1 else dimension.limit.concurrency) or 0,
        remaining=remaining,
        reset_ms=-(-reset_us // 1000),
        suspect=suspect,
        suspect_locked=suspect_locked,
    )


def lease_keys(wanted: Sequence[Dimension]) -> tuple[str, ...]:
    return tuple(dimension.lease_key for dimension in wanted if dimension.limit.concurrency)
