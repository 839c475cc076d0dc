"""Anthropic's error bodies and server-sent events. https://docs.anthropic.com/en/api/errors"""

import msgspec
from msgspec import Struct

from llmproxy.common.dialects.events import one_line
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.frames import Data, Failure


class _Error(Struct, frozen=True):
    type: str
    message: str


class _ErrorBody(Struct, frozen=True, tag_field="type", tag="error"):
    error: _Error
    request_id: str


_encode = msgspec.json.Encoder().encode


class AnthropicRendering:
    done = b""  # `message_stop` is an event like any other.
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def error(self, failure: Failure, request_id: str) -> bytes:
        kind = CATALOGUE.get(failure.code, CATALOGUE["server_error"])
        return _encode(_ErrorBody(_Error(kind.anthropic, failure.message), request_id))

    def error_event(self, failure: Failure, request_id: str) -> bytes:
        return b"event: error\ndata: " + self.error(failure, request_id) + b"\n\n"

    def event(self, data: Data) -> bytes:
        return f"event: {data.event}\ndata: ".encode() + one_line(bytes(data.json)) + b"\n\n"
