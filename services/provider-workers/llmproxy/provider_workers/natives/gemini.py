"""Gemini's generateContent for vendors that speak it: Google and Vertex. https://ai.google.dev/api/generate-content

The model stands in the URL, so the body goes as it is; fields of the protocol that are new tomorrow pass too.
"""

from collections.abc import Callable

import msgspec

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.compatible_answers import one_line
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.gemini_answers import (
    REPLY,
    VENDOR,
    Reply,
    WireCandidate,
    error_of,
    finish_of_candidate,
    model_url,
    usage_of,
)
from llmproxy.provider_workers.reading import decode_vendor
from llmproxy.provider_workers.sse import Event, EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.wire import JSON_HEADERS, Answer, HttpRequest, Origin, StreamTranslator, Target, failed

Place = Callable[[str, str, bool], str]
"""(base, model, stream) -> URL."""


class Gemini:
    def __init__(self, default_url: str, place: Place = model_url) -> None:
        self.default_url = default_url
        self._place = place

    def request(self, body: bytes, target: Target) -> HttpRequest:
        fields = read_fields(body)
        if "model" in fields:  # The URL's is the one that was routed.
            body = msgspec.json.encode({name: value for name, value in fields.items() if name != "model"})
        url = self._place(target.url or self.default_url, target.model, target.stream)
        return HttpRequest(method="POST", url=url, headers=JSON_HEADERS, body=body)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(error_of(reply.error.code, {}, reply.error))
        finish = finish_of_reply(reply)
        if not finish:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without candidates"))
        return Answer(json=body, usage=usage_of(reply.usage_metadata), finish=finish)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Reading())


def finish_of_reply(reply: Reply) -> Finish:
    """A prompt that was blocked has no candidates; that is an answer too, and a `promptFeedback` tells it."""
    for candidate in reply.candidates or []:
        return finish_of_candidate(candidate.finish_reason or "", has_called(candidate))
    return "content_filter" if is_blocked(reply) else ""


def is_blocked(reply: Reply) -> bool:
    return reply.prompt_feedback is not None and bool(reply.prompt_feedback.block_reason)


def has_called(candidate: WireCandidate) -> bool:
    parts = (candidate.content.parts if candidate.content else None) or []
    return any(part.function_call is not None for part in parts)


class Reading:
    """Whole GenerateContentResponses pass through. Nothing but finish reasons, and then the end of the stream, ends it."""

    __slots__ = ("_called", "_open", "complete", "finish_reason", "text_chars", "usage")

    def __init__(self) -> None:
        self._open: set[int] = set()  # Candidates that have begun and not finished.
        self._called = False
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.text_chars = 0

    def take(self, event: Event, out: list[bytes]) -> None:
        reply = decode_vendor(REPLY, event[1], VENDOR)
        if reply.error is not None:
            raise error_of(reply.error.code, {}, reply.error)
        if reply.usage_metadata is not None:
            self.usage = usage_of(reply.usage_metadata)
        for candidate in reply.candidates or []:
            self._count(candidate)
        if is_blocked(reply) and not self.finish_reason:
            self.finish_reason = "content_filter"
        out.append(one_line(event[1]))

    def end(self, out: list[bytes]) -> None:
        self.complete = bool(self.finish_reason) and not self._open

    def _count(self, candidate: WireCandidate) -> None:
        self._open.add(candidate.index)
        for part in (candidate.content.parts if candidate.content else None) or []:
            self.text_chars += len(part.text)
            if part.function_call is not None:
                self._called = True
                self.text_chars += len(part.function_call.name) + len(bytes(part.function_call.args))
        if candidate.finish_reason is not None:
            self._open.discard(candidate.index)
            self.finish_reason = self.finish_reason or finish_of_candidate(candidate.finish_reason, self._called)
