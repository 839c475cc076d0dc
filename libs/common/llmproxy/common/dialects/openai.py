"""OpenAI's error bodies and server-sent events. https://platform.openai.com/docs/guides/error-codes"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from llmproxy.common.dialects.events import name_of, named, one_line
from llmproxy.common.dialects.framing import SSE
from llmproxy.common.errors import kind_of, status_of
from llmproxy.common.frames import Data, Failure


class _Error(Struct, frozen=True):
    """All four keys are always there; SDKs read each of them."""

    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(Struct, frozen=True):
    error: _Error


class _ErrorEvent(Struct, frozen=True, tag_field="type", tag="error"):
    """As the API documents it, and the `error` object that it sends and that SDKs raise for."""

    sequence_number: int
    code: str | None
    message: str
    param: str | None
    error: _Error


_encode = msgspec.json.Encoder().encode


class OpenAIRendering:
    def status(self, failure: Failure) -> int:
        return status_of(failure)

    def error(self, failure: Failure, request_id: str) -> bytes:
        return _encode(_ErrorBody(_error(failure)))


class ChatFraming:
    """Chat and text completions: nameless events, then `[DONE]`."""

    content_type, ping = SSE, b": ping\n\n"
    completes: Callable[[bytes], bool] | None = None
    is_final = True

    def events(self, data: Sequence[Data], sent: int) -> bytes:
        if len(data) == 1:
            return b"data: " + one_line(bytes(data[0].json)) + b"\n\n"
        return b"".join([b"data: " + one_line(bytes(one.json)) + b"\n\n" for one in data])

    def done(self, sent: int) -> bytes:
        return b"data: [DONE]\n\n"

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        return b"data: " + _encode(_ErrorBody(_error(failure))) + b"\n\n"


class TypedFraming:
    """The newer APIs: every event is named by its `type`, numbered where the API numbers, and one of them is the last."""

    content_type, ping = SSE, b": ping\n\n"
    is_final = True

    def __init__(self, *last: str, is_final: bool = True) -> None:
        self._last = frozenset(name.encode() for name in last)
        self.is_final = is_final

    def completes(self, json: bytes) -> bool:
        return name_of(json) in self._last

    def events(self, data: Sequence[Data], sent: int) -> bytes:
        return b"".join([named(bytes(one.json)) for one in data])

    def done(self, sent: int) -> bytes:
        return b""

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        error = _error(failure)
        return named(_encode(_ErrorEvent(sent, error.code, error.message, error.param, error)))


def _error(failure: Failure) -> _Error:
    return _Error(failure.message, failure.type or kind_of(failure).type, failure.param or None, failure.code)
