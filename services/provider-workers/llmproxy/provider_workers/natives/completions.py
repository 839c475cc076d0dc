"""OpenAI's legacy completions for vendors that still serve them. https://platform.openai.com/docs/api-reference/completions"""

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.canonical_answers import finish_of
from llmproxy.provider_workers.compatible_answers import WireError, error_inside, one_line
from llmproxy.provider_workers.compatible_requests import aim, read_fields
from llmproxy.provider_workers.natives.passing import VENDOR, Passing, WireUsage, counted
from llmproxy.provider_workers.reading import decode_vendor
from llmproxy.provider_workers.sse import Event, EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.wire import (
    ENCODER,
    JSON_HEADERS,
    Answer,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    failed,
)

FINISH_REASONS: dict[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


class WireChoice(Struct, frozen=True):
    index: int = 0
    text: str | None = None
    finish_reason: str | None = None


class WireCompletion(Struct, frozen=True):
    """A whole answer, or one chunk of it."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


COMPLETION = msgspec.json.Decoder(WireCompletion)


class Completions(Passing):
    path = "completions"
    streams = True

    def request(self, body: bytes, target: Target) -> HttpRequest:
        """A stream is asked for its usage; the caller sees that only who asked for it too."""
        said = read_fields(body)
        fields = dict(said)
        aim(fields, target)
        made = body if fields == said else ENCODER.encode(fields)
        return HttpRequest(method="POST", url=self.url(self.path, target), headers=JSON_HEADERS, body=made)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(COMPLETION, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(error_inside(reply.error, VENDOR))
        if not reply.choices:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without choices"))
        finish = finish_of(FINISH_REASONS, reply.choices[0].finish_reason or "")
        return Answer(json=body, usage=counted(reply.usage), finish=finish)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Reading(request))


class Reading:
    """Chunks pass through as they are, but for the usage that only we asked for."""

    __slots__ = ("_include_usage", "_open", "complete", "finish_reason", "text_chars", "usage")

    def __init__(self, origin: Origin) -> None:
        self._include_usage = origin.include_usage
        self._open: set[int] = set()  # Choices that have begun and not finished.
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.text_chars = 0

    def take(self, event: Event, out: list[bytes]) -> None:
        data = event[1]
        if data == b"[DONE]":
            self.complete = True
            return
        chunk = decode_vendor(COMPLETION, data, VENDOR)
        if chunk.error is not None:
            raise error_inside(chunk.error, VENDOR)
        for choice in chunk.choices or []:
            self.text_chars += len(choice.text or "")
            if not choice.finish_reason:  # Some vendors say an empty one until then.
                self._open.add(choice.index)
            else:
                self._open.discard(choice.index)
                self.finish_reason = self.finish_reason or finish_of(FINISH_REASONS, choice.finish_reason)
        if chunk.usage is not None:
            self.usage = counted(chunk.usage)
            if not chunk.choices and not self._include_usage:
                return
        out.append(one_line(data))

    def end(self, out: list[bytes]) -> None:
        """Some servers forget [DONE]; an answer whose choices have all finished is whole all the same."""
        self.complete = bool(self.finish_reason) and not self._open
