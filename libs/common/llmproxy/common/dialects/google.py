"""Google's error bodies and streams. https://cloud.google.com/apis/design/errors"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common.dialects.events import one_line
from llmproxy.common.dialects.framing import JSON, SSE
from llmproxy.common.errors import status_of
from llmproxy.common.frames import Data, Failure

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc.Code by HTTP status; what is missing is an argument or a server gone wrong."""
TYPES = "type.googleapis.com/google.rpc."


class _Error(Struct, frozen=True):
    code: int
    message: str
    status: str
    details: list[dict[str, Any]]


class _ErrorBody(Struct, frozen=True):
    error: _Error


_encode = msgspec.json.Encoder().encode


class GoogleRendering:
    def status(self, failure: Failure) -> int:
        return status_of(failure)

    def error(self, failure: Failure, request_id: str) -> bytes:
        code = status_of(failure)
        status = STATUSES.get(code, "INVALID_ARGUMENT" if code < 500 else "INTERNAL")
        return _encode(_ErrorBody(_Error(code, failure.message, status, details(failure, request_id))))


def details(failure: Failure, request_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"@type": TYPES + "ErrorInfo", "reason": failure.code.upper(), "domain": "llmproxy"},
        {"@type": TYPES + "RequestInfo", "requestId": request_id},
    ]
    if failure.param:
        violation = {"field": failure.param, "description": failure.message}
        found.append({"@type": TYPES + "BadRequest", "fieldViolations": [violation]})
    if failure.retry_after_ms:
        found.append({"@type": TYPES + "RetryInfo", "retryDelay": f"{failure.retry_after_ms / 1000:g}s"})
    return found


class _Candidate(Struct):
    finishReason: str | None = None  # noqa: N815 - theirs


class _Answer(Struct):
    candidates: list[_Candidate] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def finishes(json: bytes) -> bool:
    """Whether it names a finish reason: what tells a whole answer from one that broke off."""
    if b"finishReason" not in json:
        return False
    try:
        return any(candidate.finishReason for candidate in _decode(json).candidates or ())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return True


class GeminiFraming:
    """`alt=sse`. A comment would be taken for JSON by Google's own client, so a ping is an empty line."""

    content_type, ping = SSE, b"\n"
    is_final = False  # Usage may follow, and other candidates.

    def completes(self, json: bytes) -> bool:
        return finishes(json)

    def events(self, data: Sequence[Data], sent: int) -> bytes:
        return b"".join([b"data: " + one_line(bytes(one.json)) + b"\n\n" for one in data])

    def done(self, sent: int) -> bytes:
        return b""

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        return b"data: " + GoogleRendering().error(failure, request_id) + b"\n\n"


class GeminiArrayFraming:
    """Without `alt=sse`: one JSON array whose elements come as they are made. A broken one ends with an error object."""

    content_type, ping = JSON, b"\n"
    is_final = False

    def completes(self, json: bytes) -> bool:
        return finishes(json)

    def events(self, data: Sequence[Data], sent: int) -> bytes:
        return (b",\r\n" if sent else b"[") + b",\r\n".join([bytes(one.json) for one in data]) if data else b""

    def done(self, sent: int) -> bytes:
        return b"]" if sent else b"[]"

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        return (b",\r\n" if sent else b"[") + GoogleRendering().error(failure, request_id) + b"]"
