"""Anthropic's Messages API over any chat. https://docs.anthropic.com/en/api/messages"""

from collections.abc import Mapping

from msgspec import Struct

from llmproxy.common.envelope import Api
from llmproxy.provider_workers.callers.messages_places import NAMES, place
from llmproxy.provider_workers.callers.messages_request import Reading
from llmproxy.provider_workers.messages_answers import Teller, message_of
from llmproxy.provider_workers.wire import Origin


class Messages:
    """The `Caller`."""

    api: Api = "messages"
    names: Mapping[str, str] = NAMES

    def read(self, body: bytes, *, stream: bool) -> "Asked":
        reading = Reading(body)
        canonical = reading.canonical(stream=stream)
        stops = frozenset(reading.request.stop_sequences or ())
        return Asked(canonical=canonical, dropped=tuple(sorted(reading.dropped)), stops=stops)

    def place(self, body: bytes, path: str) -> str:
        return place(Reading(body), path)


class Asked(Struct, frozen=True, kw_only=True):
    canonical: bytes
    dropped: tuple[str, ...]
    stops: frozenset[str]

    def response(self, answer: bytes, origin: Origin) -> bytes:
        return message_of(answer, origin, self.stops)

    def events(self, origin: Origin) -> Teller:
        return Teller(origin, self.stops)
