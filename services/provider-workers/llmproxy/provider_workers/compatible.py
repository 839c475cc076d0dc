"""A server of OpenAI's format as an adapter: what is common is done here once, what differs is data and functions.

Not a base class: an adapter of such a vendor is one value of `Compatible`, and its file holds what deviates.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.json import encode as encode_json
from msgspec.structs import replace

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.common.money import NANO_PER_DOLLAR
from llmproxy.provider_workers.adapters.base import Capability, Credential
from llmproxy.provider_workers.compatible_answers import (
    ITEMISED,
    Inward,
    WireUsage,
    response,
    stream,
    usage_of,
    words_of,
)
from llmproxy.provider_workers.compatible_requests import (
    Fields,
    Hints,
    Messages,
    aim,
    chat_url,
    effort_instead_of_thinking,
    encode,
    hints,
    is_aimed,
    leave_out,
    objects,
    read_fields,
    rename,
    without,
)
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.sse import Event
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import JSON_HEADERS, Answer, HttpRequest, Origin, Target, Wire

CHARGE_MAX = 1_000 * NANO_PER_DOLLAR  # No answer costs more; a vendor that says so is wrong.

Rewrite = Callable[[Fields, Target, list[str]], None]
"""Changes a request's fields in place, for what data cannot say; appends what it leaves out to the list."""

Reshape = Callable[[list[Fields], Fields, list[str]], list[Fields]]
"""The same for its messages, given the whole request too; the same list when nothing had to be changed."""


class Compatible(Struct, frozen=True, kw_only=True):
    """One vendor."""

    name: str
    vendor: str  # As messages call it.
    default_url: str
    capabilities: frozenset[Capability] = frozenset(Capability)
    credential: Credential = "bearer"
    natives: Mapping[Api, Wire] = {}
    home: str = ""  # The host whose rules are those below; at another address whoever answers there has its own.
    lacks: frozenset[str] = frozenset()  # Fields that it rejects or does not heed.
    renamed: Mapping[str, str] = {}
    asks_for_usage: bool = True  # It knows `stream_options`.
    messages: Messages | None = None  # None: whatever a message holds is passed on.
    efforts: bool = False  # It knows efforts and no budgets: Anthropic's `thinking` becomes one.
    rewrite: Rewrite | None = None
    reshape: Reshape | None = None
    url: Callable[[Target], str] | None = None
    statuses: Mapping[int, int] = {}  # Of its errors, those that are nobody else's -> what they amount to.
    inward: Inward | None = None
    usage: Callable[[WireUsage | None], Usage] = usage_of

    def request(self, body: bytes, target: Target) -> HttpRequest:
        dropped: list[str] = []
        is_home = self.is_home(target.url)
        if is_home or not is_aimed(body, target):
            given = read_fields(body)
            fields = dict(given)
            aim(fields, target, asks_for_usage=self.asks_for_usage)
            if is_home:
                self._apply(fields, target, dropped, hints(body))
            if fields != given:
                body = encode_json(fields)
        return HttpRequest(
            method="POST",
            url=self.url(target) if self.url is not None else chat_url(target.url or self.default_url),
            headers=JSON_HEADERS,
            body=body,
            dropped=tuple(sorted(dropped)) if dropped else (),
        )

    def is_home(self, url: str) -> bool:
        return not (self.home and url) or host(url) == self.home

    def _apply(self, fields: Fields, target: Target, dropped: list[str], found: Hints) -> None:
        if self.efforts:
            effort_instead_of_thinking(fields)
        if self.rewrite is not None:
            self.rewrite(fields, target, dropped)
        leave_out(fields, self.lacks, self.vendor, dropped)
        if self.renamed:
            rename(fields, self.renamed)
        if self.messages is not None:
            self._fit(fields, self.messages, dropped, found)

    def _fit(self, fields: Fields, rules: Messages, dropped: list[str], found: Hints) -> None:
        """The messages and tools as the vendor takes them."""
        messages = objects(fields.get("messages"))
        if messages is None:
            return  # The vendor has its say about what they are.
        fitted = rules.fit(messages, self.vendor, dropped, found)
        if self.reshape is not None:
            fitted = self.reshape(fitted, fields, dropped)
        if fitted is not messages:
            fields["messages"] = encode(fitted)
        if found.extended and not rules.extensions and "tools" in fields:
            fields["tools"] = without(fields["tools"], "cache_control", dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        if self.inward is not None:
            with suppress(*UNREADABLE):  # Whoever reads it next says that it cannot be read.
                body = self.inward(body)
        return response(body, self.vendor, self.usage)

    def events(self, request: Origin) -> VendorStream[Event]:
        return stream(request, self.vendor, self.usage, self.inward)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        message, code, param = words_of(body)
        return vendor_error(
            self.vendor, self.statuses.get(status, status), headers, message=message, code=code, param=param
        )


@lru_cache(maxsize=256)
def host(url: str) -> str:
    return urlsplit(url).hostname or ""


def charged(wire: WireUsage | None) -> Usage:
    """The usage with what the vendor says that it charged, for those whose word counts more than a list of prices."""
    usage = usage_of(wire)
    cost = dollars(bytes(wire.cost)) if wire is not None else None
    return usage if cost is None else replace(usage, charged=nano(cost))


def dollars(said: bytes) -> Decimal | None:
    try:
        return ITEMISED.decode(said).total_cost if said[:1] == b"{" else Decimal(said.decode())
    except (*UNREADABLE, InvalidOperation):
        return None


def nano(cost: Decimal) -> int | None:
    """Nano-dollars, rounded up; None of what cannot be a charge."""
    try:
        said = cost * NANO_PER_DOLLAR
        return int(said.to_integral_value(ROUND_CEILING)) if 0 <= said <= CHARGE_MAX else None
    except ArithmeticError:  # No number, or one without end.
        return None
