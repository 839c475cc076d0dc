"""What the edge must know of a body, decoded once; everything else stays the bytes that came."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llmproxy.common.errors import GatewayError

MODEL_CHARACTERS_MAX = 256
CHOICES_MAX = 128
TOKENS_MAX = 1 << 31

Count = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class Chat(Struct, frozen=True):
    """What the edge knows of a chat. Holds no part of the body, which may be large and is gone before the answer is."""

    model: str
    stream: bool
    include_usage: bool
    max_output_tokens: int | None


class _ChatBody(Struct, frozen=True):
    """The fields that decide something at the edge. Unknown ones pass untouched."""

    model: Annotated[str, Meta(min_length=1, max_length=MODEL_CHARACTERS_MAX)]
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES_MAX)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None


EXPECTED = {
    "model": f"a string of 1 to {MODEL_CHARACTERS_MAX} characters",
    "messages": "an array with at least one message",
    "stream": "a boolean",
    "stream_options": "an object",
    "stream_options.include_usage": "a boolean",
    "n": f"an integer from 1 to {CHOICES_MAX}",
    "max_tokens": "a positive integer",
    "max_completion_tokens": "a positive integer",
}
DECODER = msgspec.json.Decoder(_ChatBody)
PLACE = re.compile(r"`\$\.?([a-z_.]*)`$")
MISSING = re.compile(r"missing required field `([a-z_]+)`")
OFFSET = re.compile(r"\(byte (\d+)\)$")
WRONG_TYPE = re.compile(r"Expected `[a-z| ]+`, got `")


def check_media_type(content_type: str, content_encoding: str) -> None:
    """Raises GatewayError(unsupported_media_type) unless it is plain JSON in UTF-8."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "application/json":
        raise GatewayError("unsupported_media_type", "send the body as JSON with `Content-Type: application/json`")
    charset = parameters.strip().lower().replace('"', "")
    if charset.startswith("charset=") and charset[8:] not in ("utf-8", "utf8", "us-ascii"):
        raise GatewayError("unsupported_media_type", "send the body in UTF-8; no other charset is accepted")
    if content_encoding.strip().lower() not in ("", "identity"):
        raise GatewayError("unsupported_media_type", "send the body uncompressed; no Content-Encoding is accepted")


def parse_chat(body: bytes) -> Chat:
    """Raises GatewayError naming the field; never quotes the body."""
    if not body:
        raise GatewayError("invalid_json", "the request has no body; send a JSON object")
    # The decoder skips what it does not need without looking at its encoding, and the bytes travel on inside JSON.
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise GatewayError("invalid_encoding", f"the body is not UTF-8 (byte {error.start})") from None
    try:
        found = DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except msgspec.DecodeError as error:
        offset = OFFSET.search(str(error))
        where = f" (byte {offset[1]})" if offset else ""
        raise GatewayError("invalid_json", f"the body is not valid JSON{where}") from None
    except RecursionError:
        raise GatewayError("too_deep", "the body is nested too deeply") from None
    return Chat(
        found.model,
        bool(found.stream),
        found.stream_options is not None and bool(found.stream_options.include_usage),
        found.max_tokens if found.max_completion_tokens is None else found.max_completion_tokens,
    )


def _invalid(reason: str) -> GatewayError:
    missing = MISSING.search(reason)
    if missing:
        field = missing[1]
        return GatewayError("missing_required_parameter", f"you must provide '{field}': {EXPECTED[field]}", param=field)
    place = PLACE.search(reason)
    field = place[1] if place else ""
    if not field:
        return GatewayError("invalid_type", "the body must be a JSON object")
    code = "invalid_type" if WRONG_TYPE.match(reason) else "invalid_value"
    return GatewayError(code, f"invalid '{field}': it must be {EXPECTED[field]}", param=field)
