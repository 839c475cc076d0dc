"""A caller's API at a vendor that does not speak it: two translations put together, so that nobody sees that there are two."""

from collections.abc import Iterator
from typing import Protocol

from msgspec.structs import replace

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.callers.caller import Asked, Caller, Events
from llmproxy.provider_workers.canonical import failed
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, StreamTranslator, Target, Wire


class Composed:
    """A `Wire` for one attempt: what was asked is remembered, because the answer depends on it."""

    __slots__ = ("_asked", "_caller", "_canonical")

    def __init__(self, caller: Caller, canonical: Wire) -> None:
        self._caller, self._canonical = caller, canonical
        self._asked: Asked | None = None

    def request(self, body: bytes, target: Target) -> HttpRequest:
        asked = self._asked = self._caller.read(body, stream=target.stream)
        made = self._canonical.request(asked.canonical, target)
        return replace(made, dropped=(*asked.dropped, *made.dropped)) if asked.dropped else made

    def response(self, body: bytes, request: Origin) -> Answer:
        assert self._asked is not None, "an answer comes after its request"
        return _told(self._asked, self._canonical.response(body, request), request)

    def events(self, request: Origin) -> StreamTranslator:
        assert self._asked is not None, "a stream comes after its request"
        return ComposedStream(self._canonical.events(_without_usage(request)), self._asked.events(request))


class ComposedStream:
    """The vendor's stream, retold. Usage, finish reason and failures are the vendor's; the closing events come once it is whole."""

    __slots__ = ("_canonical", "_failure", "_told", "complete")

    def __init__(self, canonical: StreamTranslator, told: Events) -> None:
        self._canonical, self._told = canonical, told
        self._failure: GatewayError | None = None
        self.complete = False

    @property
    def usage(self) -> Usage:
        return self._canonical.usage

    @property
    def finish_reason(self) -> Finish:
        return self._canonical.finish_reason

    @property
    def failure(self) -> GatewayError | None:
        return self._failure or self._canonical.failure

    @property
    def text_chars(self) -> int:
        return self._canonical.text_chars

    def feed(self, data: bytes) -> list[bytes]:
        return [] if self.complete or self._failure else self._tell(self._canonical.feed(data))

    def finish(self) -> list[bytes]:
        return [] if self.complete or self._failure else self._tell(self._canonical.finish())

    def _tell(self, chunks: list[bytes]) -> list[bytes]:
        out: list[bytes] = []
        try:
            for chunk in chunks:
                out += self._told.chunk(chunk)
            if self._canonical.complete:
                out += self._told.end(self._canonical.usage)
                self.complete = True
        except GatewayError as error:
            self._failure = error
        return out


class Local(Protocol):
    """Who answers without a call: the demo provider."""

    def answer(self, body: bytes, origin: Origin) -> Answer: ...

    def chunks(self, body: bytes, origin: Origin) -> Iterator[bytes]: ...

    def usage(self, body: bytes, origin: Origin) -> tuple[Usage, Finish]: ...


class ComposedLocal:
    """The same for an answer that needs no call."""

    __slots__ = ("_caller", "_canonical")

    def __init__(self, caller: Caller, canonical: Local) -> None:
        self._caller, self._canonical = caller, canonical

    def answer(self, body: bytes, origin: Origin) -> Answer:
        asked = self._caller.read(body, stream=False)
        return _told(asked, self._canonical.answer(asked.canonical, origin), origin)

    def chunks(self, body: bytes, origin: Origin) -> Iterator[bytes]:
        asked = self._caller.read(body, stream=True)
        chunks = self._canonical.chunks(asked.canonical, _without_usage(origin))
        usage, _ = self._canonical.usage(asked.canonical, origin)
        return _retold(chunks, asked.events(origin), usage)

    def usage(self, body: bytes, origin: Origin) -> tuple[Usage, Finish]:
        return self._canonical.usage(self._caller.read(body, stream=True).canonical, origin)


def _told(asked: Asked, answer: Answer, origin: Origin) -> Answer:
    if answer.failure is not None:
        return answer
    try:
        return replace(answer, json=asked.response(answer.json, origin))
    except GatewayError as error:
        return failed(error)


def _retold(chunks: Iterator[bytes], told: Events, usage: Usage) -> Iterator[bytes]:
    for chunk in chunks:
        yield from told.chunk(chunk)
    yield from told.end(usage)


def _without_usage(origin: Origin) -> Origin:
    """The closing events are given the usage; a chunk that says it would come twice."""
    return replace(origin, include_usage=False) if origin.include_usage else origin
