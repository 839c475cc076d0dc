"""What the edge must know of a body, decoded once; everything else stays the bytes that came."""

import re
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from llmproxy.common.dialects.framing import JSON
from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.edge.outline import outline

MODEL_CHARACTERS_MAX = 256
CHOICES_MAX = 128
TOKENS_MAX = 1 << 31
MODERATION_MODEL = "omni-moderation-latest"  # Whoever moderates names no model, as a rule.

Count = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]
Choices = Annotated[int, Meta(ge=1, le=CHOICES_MAX)]
ModelName = Annotated[str, Meta(min_length=1, max_length=MODEL_CHARACTERS_MAX)]
Text = Annotated[str, Meta(min_length=1)]
Several = Raw
"""An array: to make its elements would take a second, and a gigabyte, for a body of nothing but `1,1,1`."""

ABSENT = Raw(b"null")
TEXT, ARRAY = ord('"'), ord("[")
EMPTY = re.compile(rb'\[[ \t\r\n]*\]|""')


class Wanted(Struct, frozen=True, gc=False):
    """What the edge knows of a request. Holds no part of the body, which may be large and is gone before the answer is."""

    model: str
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class _Body(Protocol):
    """The fields of one API's body that decide something at the edge. Unknown ones pass untouched."""

    def wanted(self, model: str, stream: bool) -> Wanted:
        """`model` and `stream` are what the path says, of the APIs where it does."""
        ...


class _Chat(Struct, frozen=True):
    model: ModelName
    messages: Several
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("messages", self.messages)
        return Wanted(
            self.model,
            bool(self.stream),
            self.stream_options is not None and bool(self.stream_options.include_usage),
            self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
        )


class _Completion(Struct, frozen=True):
    model: ModelName
    prompt: Several
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    max_tokens: Count | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("prompt", self.prompt, text_min=0)
        asks_usage = self.stream_options is not None and bool(self.stream_options.include_usage)
        return Wanted(self.model, bool(self.stream), asks_usage, self.max_tokens)


class _Response(Struct, frozen=True):
    model: ModelName
    input: Several = ABSENT  # Not needed beside `previous_response_id` or `prompt`.
    stream: bool | None = None
    max_output_tokens: Count | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        if self.input != ABSENT:
            check("input", self.input, text_min=0)
        return Wanted(self.model, bool(self.stream), False, self.max_output_tokens)


class _Messages(Struct, frozen=True):
    model: ModelName
    messages: Several
    max_tokens: Annotated[int, Meta(ge=0, le=TOKENS_MAX)]  # 0 fills the prompt cache and generates nothing.
    stream: bool | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("messages", self.messages)
        return Wanted(self.model, bool(self.stream), False, self.max_tokens)


class _CountTokens(Struct, frozen=True):
    model: ModelName
    messages: Several

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("messages", self.messages)
        return Wanted(self.model)


class _GenerationConfig(Struct, frozen=True):
    """Google reads a field under its name in either case."""

    maxOutputTokens: Count | None = None  # noqa: N815
    max_output_tokens: Count | None = None
    candidateCount: Choices | None = None  # noqa: N815
    candidate_count: Choices | None = None


class _Gemini(Struct, frozen=True):
    contents: Several
    model: str | None = None
    generationConfig: _GenerationConfig | None = None  # noqa: N815
    generation_config: _GenerationConfig | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("contents", self.contents)
        if self.model is not None and self.model.removeprefix("models/") != model:
            raise GatewayError("invalid_value", "'model' in the body is not the one in the path", param="model")
        if not 1 <= len(model) <= MODEL_CHARACTERS_MAX:
            raise GatewayError("invalid_value", f"the model in the path must be {EXPECTED['model']}", param="model")
        config = self.generationConfig or self.generation_config
        limit = (config.maxOutputTokens or config.max_output_tokens) if config is not None else None
        return Wanted(model, stream, False, limit)


class _Embedding(Struct, frozen=True):
    model: ModelName
    input: Several

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("input", self.input, text_min=1)
        return Wanted(self.model)


class _Moderation(Struct, frozen=True):
    input: Several
    model: ModelName | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("input", self.input, text_min=0)
        return Wanted(self.model or MODERATION_MODEL)


class _Rerank(Struct, frozen=True):
    model: ModelName
    query: Text
    documents: Several

    def wanted(self, model: str, stream: bool) -> Wanted:
        check("documents", self.documents)
        return Wanted(self.model)


class _Image(Struct, frozen=True):
    model: ModelName
    prompt: Text
    n: Choices | None = None
    stream: bool | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        return Wanted(self.model, bool(self.stream))


class _Speech(Struct, frozen=True):
    model: ModelName
    input: Text
    stream_format: str | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        return Wanted(self.model, self.stream_format == "sse")


class _Transcription(Struct, frozen=True):
    """The texts of a form, where everything is one."""

    model: ModelName
    stream: str | None = None

    def wanted(self, model: str, stream: bool) -> Wanted:
        return Wanted(self.model, (self.stream or "").lower() in ("true", "1"))


def check(field: str, given: Raw, *, text_min: int | None = None) -> None:
    """Raises GatewayError unless it is an array with something in it, or a text of so many characters where that may be."""
    view = memoryview(given)
    is_text = view[0] == TEXT
    if view[0] != ARRAY and not (is_text and text_min is not None):
        raise GatewayError("invalid_type", f"invalid '{field}': it must be {EXPECTED[field]}", param=field)
    if EMPTY.match(view) is not None and not (is_text and text_min == 0):
        raise GatewayError("invalid_value", f"invalid '{field}': it must be {EXPECTED[field]}", param=field)


POSITIVE = "a positive integer"
EXPECTED = {
    "model": f"a string of 1 to {MODEL_CHARACTERS_MAX} characters",
    "messages": "an array with at least one message",
    "contents": "an array with at least one content",
    "prompt": "a string or an array with at least one",
    "input": "a string or an array with at least one element",
    "query": "a string that is not empty",
    "documents": "an array with at least one document",
    "stream": "a boolean",
    "stream_format": "a string",
    "stream_options": "an object",
    "stream_options.include_usage": "a boolean",
    "n": f"an integer from 1 to {CHOICES_MAX}",
    "best_of": f"an integer from 1 to {CHOICES_MAX}",
    "max_tokens": POSITIVE,
    "max_completion_tokens": POSITIVE,
    "max_output_tokens": POSITIVE,
    "generationConfig": "an object",
    "generationConfig.maxOutputTokens": POSITIVE,
    "generationConfig.max_output_tokens": POSITIVE,
    "generationConfig.candidateCount": f"an integer from 1 to {CHOICES_MAX}",
    "generationConfig.candidate_count": f"an integer from 1 to {CHOICES_MAX}",
    "generation_config": "an object",
    "generation_config.maxOutputTokens": POSITIVE,
    "generation_config.max_output_tokens": POSITIVE,
    "generation_config.candidateCount": f"an integer from 1 to {CHOICES_MAX}",
    "generation_config.candidate_count": f"an integer from 1 to {CHOICES_MAX}",
}
BODIES: dict[Api, type[Struct]] = {
    "chat": _Chat,
    "completions": _Completion,
    "responses": _Response,
    "messages": _Messages,
    "count_tokens": _CountTokens,
    "gemini": _Gemini,
    "embeddings": _Embedding,
    "moderations": _Moderation,
    "rerank": _Rerank,
    "images": _Image,
    "speech": _Speech,
    "transcriptions": _Transcription,
}
NAMES = {api: body.__struct_fields__ for api, body in BODIES.items()}
NESTED = {
    "stream_options": StreamOptions.__struct_fields__,
    **dict.fromkeys(("generationConfig", "generation_config"), _GenerationConfig.__struct_fields__),
}
DECODERS: dict[Api, "msgspec.json.Decoder[Any]"] = {api: msgspec.json.Decoder(body) for api, body in BODIES.items()}
PLACE = re.compile(r"`\$\.?([A-Za-z_.]*)(?:\[[^`]*)?`$")
MISSING = re.compile(r"missing required field `([A-Za-z_]+)`")
OFFSET = re.compile(r"\(byte (\d+)\)$")
# As far as is looked for what is wrong with a body, in the loop: it is for the message alone.
EXPLAINED_BYTES_MAX = 1 << 20
HALF_A_PAIR = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])", re.DOTALL
)
WRONG_TYPE = re.compile(r"Expected `[a-z| ]+`, got `")


def check_media_type(content_type: str, content_encoding: str) -> None:
    """Raises GatewayError(unsupported_media_type) unless it is plain JSON in UTF-8."""
    if content_type == JSON and not content_encoding:  # As nearly everybody sends it.
        return
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != JSON:
        raise GatewayError("unsupported_media_type", "send the body as JSON with `Content-Type: application/json`")
    charset = parameters.strip().lower().replace('"', "")
    if charset.startswith("charset=") and charset[8:] not in ("utf-8", "utf8", "us-ascii"):
        raise GatewayError("unsupported_media_type", "send the body in UTF-8; no other charset is accepted")
    check_encoding(content_encoding)


def check_encoding(content_encoding: str) -> None:
    if content_encoding.strip().lower() not in ("", "identity"):
        raise GatewayError("unsupported_media_type", "send the body uncompressed; no Content-Encoding is accepted")


def parse(api: Api, body: bytes, model: str = "", stream: bool = False) -> Wanted:
    """`model` and `stream` are what the path says. Raises GatewayError naming the field; never quotes the body."""
    if not body:
        raise GatewayError("invalid_json", "the request has no body; send a JSON object")
    # The decoder skips what it does not need without looking at its encoding, and the bytes travel on inside JSON.
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise GatewayError("invalid_encoding", f"the body is not UTF-8 (byte {error.start})") from None
    try:
        found: _Body = DECODERS[api].decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except msgspec.DecodeError as error:
        where = _where(str(error), body)
        raise GatewayError("invalid_json", f"the body is not valid JSON{where}") from None
    except RecursionError:
        raise GatewayError("too_deep", "the body is nested too deeply") from None
    return found.wanted(model, stream)


def parse_large(api: Api, body: bytes, model: str = "", stream: bool = False) -> Wanted:
    """As `parse`, without what it takes to decode megabytes: for a thread, where it leaves the loop alone. That something is wrong with what
    the edge does not read, it leaves to the shield to say."""
    return parse(api, outline(body, NAMES[api], NESTED), model, stream)


def _where(reason: str, body: bytes) -> str:
    half = HALF_A_PAIR.search(body, 0, EXPLAINED_BYTES_MAX)
    if half:  # What a client makes of a text that it has cut in the middle of a character.
        return f": it holds half of a surrogate pair (byte {half.start()}); cut texts between characters"
    offset = OFFSET.search(reason)
    return f" (byte {offset[1]})" if offset else ""


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
