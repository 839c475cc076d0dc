"""OpenAI's Responses API for vendors that speak it. https://platform.openai.com/docs/api-reference/responses

Bodies, answers and events go as they are. What the vendor keeps (`store`, `previous_response_id`), it keeps: an id is
good at the endpoint that gave it and at no other, so a model with several endpoints cannot go on from one.
"""

from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.compatible_answers import WireError, one_line
from llmproxy.provider_workers.natives.passing import VENDOR, Passing
from llmproxy.provider_workers.reading import decode_vendor, tokens
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import Answer, Origin, StreamTranslator, failed

INCOMPLETE: dict[str, Finish] = {"max_output_tokens": "length", "content_filter": "content_filter"}
CALLS = frozenset({"function_call", "custom_tool_call"})
"""Output items that the caller is to answer."""

STATUS_OF_CODE = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "vector_store_timeout": 504,
    "invalid_api_key": 401,
    "context_length_exceeded": 400,
    "data_residency_mismatch": 400,
    "bio_policy": 400,
    "misalignment_policy_violation": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "failed_to_download_image": 400,
}
"""What failed inside a 200 has a code and no status."""

REJECTIONS = ("invalid_", "image_")
"""How the codes begin that are about the request's own words and images."""


class InputDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class WireUsage(Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Incomplete(Struct, frozen=True):
    reason: str | None = None


class Kind(Struct, frozen=True):
    """What an output item is; what it says is nobody's business here."""

    type: str = ""


class Reply(Struct, frozen=True):
    """A Response, as far as it is read."""

    status: str | None = None
    output: list[Kind] | None = None
    incomplete_details: Incomplete | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


class Passed(Struct, frozen=True):
    """Any event of a stream. Where `error` is one, its fields stand in it or beside it."""

    type: str = ""
    delta: Any = None
    response: Reply | None = None
    error: WireError | str | None = None
    code: str | int | None = None
    message: str | None = None
    param: str | None = None


REPLY = msgspec.json.Decoder(Reply)
EVENT = msgspec.json.Decoder(Passed)


class Responses(Passing):
    path = "responses"
    streams = True

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
            check(reply.status, reply.error, has_output=reply.output is not None)
        except GatewayError as error:
            return failed(error)
        return Answer(json=body, usage=usage_of(reply.usage), finish=finish_of(reply))

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Reading())


def check(status: str | None, error: WireError | str | None, *, has_output: bool) -> None:
    """Raises GatewayError for a response that is none."""
    if error is not None or status == "failed":
        raise error_of(error)
    if not has_output:
        raise GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without output")


def finish_of(reply: Reply) -> Finish:
    if reply.status == "incomplete":
        why = reply.incomplete_details.reason if reply.incomplete_details else None
        return INCOMPLETE.get(why or "", "length")
    if reply.status == "cancelled":
        return "cancelled"
    return "tool_calls" if any(item.type in CALLS for item in reply.output or ()) else "stop"


def usage_of(wire: WireUsage | None) -> Usage:
    """Cache and reasoning tokens are inside the totals; where reasoning is not, the vendor's own total gives it away."""
    if wire is None:
        return Usage()
    took, gave = tokens(wire.input_tokens), tokens(wire.output_tokens)
    cache = wire.input_tokens_details or InputDetails()
    reasoning = tokens(wire.output_tokens_details.reasoning_tokens) if wire.output_tokens_details else 0
    if reasoning and wire.total_tokens == took + gave + reasoning:
        gave += reasoning
    return Usage(
        input=took,
        output=gave,
        cache_read=tokens(cache.cached_tokens),
        cache_write=tokens(cache.cache_write_tokens),
        reasoning=reasoning,
    )


def error_of(error: WireError | str | None) -> GatewayError:
    """A failure that came with status 200."""
    if not isinstance(error, WireError):
        return vendor_error(VENDOR, 500, {}, message=error or "")
    code = str(error.code or error.type or "")
    status = STATUS_OF_CODE.get(code) or (400 if code.startswith(REJECTIONS) else 500)
    return vendor_error(VENDOR, status, {}, message=error.message or "", code=code, param=error.param or "")


def error_event(event: Passed) -> GatewayError:
    beside = WireError(message=event.message, param=event.param, code=event.code)
    return error_of(beside if event.error is None else event.error)


class Reading:
    """Events pass through; each is read only far enough to know that it is JSON, how much it says, and whether it is the last."""

    __slots__ = ("complete", "finish_reason", "text_chars", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.text_chars = 0

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        data = event[1]
        if data == b"[DONE]":
            return  # Some servers end every stream so; the last event has a name here.
        said = decode_vendor(EVENT, data, VENDOR)
        match said.type:
            case "error" | "":
                raise error_event(said)
            case "response.failed":
                self.usage = usage_of(said.response.usage) if said.response else self.usage
                raise error_of(said.response.error if said.response else None)
            case "response.completed" | "response.incomplete":
                reply = said.response or Reply()
                self.usage, self.finish_reason = usage_of(reply.usage), finish_of(reply)
                self.complete = True
            case _ if isinstance(said.delta, str):
                self.text_chars += len(said.delta)
        out.append(one_line(data))

    def end(self, out: list[bytes]) -> None:
        """Nothing but its last event makes an answer whole."""
