"""A caller's API at a vendor that does not speak it: two translations put together, so that nobody sees that there are two."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.callers.caller import Asked, Caller, Events
from llmproxy.provider_workers.contents import ContentsWanted, Place
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, StreamTranslator, Target, Wire, failed, named
from llmproxy.provider_workers.written import retold


class Composed:
    """A `Wire` for one attempt: what was asked is remembered, because the answer depends on it."""

    __slots__ = ("_asked", "_body", "_caller", "_canonical")

    def __init__(self, caller: Caller, canonical: Wire) -> None:
        self._caller, self._canonical = caller, canonical
        self._asked: Asked | None = None
        self._body: bytes

    def request(self, body: bytes, target: Target) -> HttpRequest:
        self._body = body
        asked = self._asked = self._caller.read(body, stream=target.stream)
        try:
            made = self._canonical.request(asked.canonical, target)
        except GatewayError as error:
            raise self._placed(error) from error
        except ContentsWanted as wanted:
            raise ContentsWanted({url: self._found(place) for url, place in wanted.places.items()}) from wanted
        if not made.dropped:
            return replace(made, dropped=asked.dropped) if asked.dropped else made
        names = self._caller.names
        return replace(made, dropped=(*asked.dropped, *[names.get(name, name) for name in made.dropped]))

    def named(self, error: GatewayError) -> GatewayError:
        return self._placed(named(self._canonical, error))

    def response(self, body: bytes, request: Origin) -> Answer:
        assert self._asked is not None, "an answer comes after its request"
        answer = self._canonical.response(body, request)
        if answer.failure is not None:
            return failed(self._placed(answer.failure))
        return _told(self._asked, answer, request)

    def events(self, request: Origin) -> StreamTranslator:
        assert self._asked is not None, "a stream comes after its request"
        return ComposedStream(
            self._canonical.events(_without_usage(request)), self._asked.events(request), self._placed
        )

    def _placed(self, error: GatewayError) -> GatewayError:
        """What is wrong with the canonical request, named as the caller wrote it."""
        return retold(error, partial(self._caller.place, self._body))

    def _found(self, place: Place) -> Place:
        return replace(place, param=self._caller.place(self._body, place.param))


class ComposedStream:
    """The vendor's stream, retold. Usage, finish reason and failures are the vendor's; the closing events come once it is whole."""

    __slots__ = ("_canonical", "_failure", "_placed", "_told", "complete")

    def __init__(
        self, canonical: StreamTranslator, told: Events, placed: Callable[[GatewayError], GatewayError]
    ) -> None:
        """`placed` says errors of the canonical form in the caller's words."""
        self._canonical, self._told, self._placed = canonical, told, placed
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
        if self._failure is not None:
            return self._failure
        failure = self._canonical.failure
        return failure if failure is None else self._placed(failure)

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
        try:
            answer = self._canonical.answer(asked.canonical, origin)
        except GatewayError as error:
            raise retold(error, partial(self._caller.place, body)) from error
        return _told(asked, answer, origin)

    def chunks(self, body: bytes, origin: Origin) -> Iterator[bytes]:
        asked = self._caller.read(body, stream=True)
        try:
            chunks = self._canonical.chunks(asked.canonical, _without_usage(origin))
            usage, _ = self._canonical.usage(asked.canonical, origin)
        except GatewayError as error:
            raise retold(error, partial(self._caller.place, body)) from error
        return _events(chunks, asked.events(origin), usage)

    def usage(self, body: bytes, origin: Origin) -> tuple[Usage, Finish]:
        return self._canonical.usage(self._caller.read(body, stream=True).canonical, origin)


def _told(asked: Asked, answer: Answer, origin: Origin) -> Answer:
    try:
        return replace(answer, json=asked.response(answer.json, origin))
    except GatewayError as error:
        return failed(error)


def _events(chunks: Iterator[bytes], told: Events, usage: Usage) -> Iterator[bytes]:
    for chunk in chunks:
        yield from told.chunk(chunk)
    yield from told.end(usage)


def _without_usage(origin: Origin) -> Origin:
    """The closing events are given the usage; a chunk that says it would come twice."""
    return replace(origin, include_usage=False) if origin.include_usage else origin
