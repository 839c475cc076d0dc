"""Anthropic's error bodies and server-sent events. https://docs.anthropic.com/en/api/errors"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from llmproxy.common.dialects.events import name_of, named
from llmproxy.common.dialects.framing import SSE
from llmproxy.common.errors import kind_of, status_of
from llmproxy.common.frames import Data, Failure

OVERLOADED = 529  # Anthropic's own; its clients tell it from a 503.
BY_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
"""Where a provider's own status says more than our code."""


class _Error(Struct, frozen=True):
    type: str
    message: str


class _ErrorBody(Struct, frozen=True, tag_field="type", tag="error"):
    error: _Error
    request_id: str


_encode = msgspec.json.Encoder().encode


class AnthropicRendering:
    def status(self, failure: Failure) -> int:
        if not failure.status and kind_of(failure).anthropic == "overloaded_error":
            return OVERLOADED
        return status_of(failure)

    def error(self, failure: Failure, request_id: str) -> bytes:
        kind = BY_STATUS.get(failure.status, "") or kind_of(failure).anthropic
        return _encode(_ErrorBody(_Error(kind, failure.message), request_id))


class MessagesFraming:
    content_type, ping = SSE, b'event: ping\ndata: {"type":"ping"}\n\n'
    is_final = True

    def completes(self, json: bytes) -> bool:
        return name_of(json) == b"message_stop"

    def events(self, data: Sequence[Data], sent: int) -> bytes:
        return b"".join([named(bytes(one.json)) for one in data])

    def done(self, sent: int) -> bytes:
        return b""

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        return named(AnthropicRendering().error(failure, request_id))
