"""OpenAI's error bodies and server-sent events. https://platform.openai.com/docs/guides/error-codes"""

import msgspec
from msgspec import Struct

from llmproxy.common.dialects.events import one_line
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.frames import Data, Failure


class _Error(Struct, frozen=True):
    """All four keys are always there; SDKs read each of them."""

    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(Struct, frozen=True):
    error: _Error


_encode = msgspec.json.Encoder().encode


class OpenAIRendering:
    done = b"data: [DONE]\n\n"
    ping = b": ping\n\n"

    def error(self, failure: Failure, request_id: str) -> bytes:
        kind = CATALOGUE.get(failure.code, CATALOGUE["server_error"])
        error = _Error(failure.message, failure.type or kind.type, failure.param or None, failure.code)
        return _encode(_ErrorBody(error))

    def error_event(self, failure: Failure, request_id: str) -> bytes:
        return b"data: " + self.error(failure, request_id) + b"\n\n"

    def event(self, data: Data) -> bytes:
        return b"data: " + one_line(bytes(data.json)) + b"\n\n"
