"""A fake AWS Bedrock: Converse and ConverseStream. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

import hashlib
import hmac
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote

from msgspec import Struct

from llmproxy.fakes.conversation import (
    KEY,
    Asked,
    Behaviour,
    Media,
    Recorded,
    Refused,
    Script,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    is_base64,
    joined,
    media_of,
    named,
)
from llmproxy.fakes.openai.plain import vector
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, bearer, check_model, split

PATH = re.compile(r"/model/(?P<model>[^/]+(?:/[^/]+)*)/(?P<method>converse|converse-stream|invoke)")
SIGV4 = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/ ]+)/(?P<scope>(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/bedrock/aws4_request), ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SIGNATURE = "c2lnbmF0dXJl"

# -- requests


class Bytes(Struct, frozen=True, rename="camel"):
    bytes: str | None = None
    s3_location: dict[str, str] | None = None


class Image(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["png", "jpeg", "gif", "webp"]
    source: Bytes


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    source: Bytes
    format: Literal["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"] = "txt"
    context: str | None = None
    citations: dict[str, Any] | None = None


class Use(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    tool_use_id: str
    name: str
    input: dict[str, Any]
    type: str | None = None


class ResultPart(Struct, frozen=True, forbid_unknown_fields=True):
    text: str | None = None
    json: Any = None
    image: Image | None = None
    document: Document | None = None


class Result(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    tool_use_id: str
    content: list[ResultPart]
    status: Literal["success", "error"] | None = None


class ReasoningText(Struct, frozen=True):
    text: str
    signature: str | None = None


class Reasoning(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class Block(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A union: exactly one is set."""

    text: str | None = None
    image: Image | None = None
    document: Document | None = None
    tool_use: Use | None = None
    tool_result: Result | None = None
    reasoning_content: Reasoning | None = None
    cache_point: dict[str, str] | None = None
    guard_content: dict[str, Any] | None = None


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: list[Block]


class InputSchema(Struct, frozen=True, forbid_unknown_fields=True):
    json: dict[str, Any]


class Spec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str
    input_schema: InputSchema
    description: str | None = None
    strict: bool | None = None


class OneTool(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    tool_spec: Spec | None = None
    cache_point: dict[str, str] | None = None
    system_tool: dict[str, str] | None = None


class Named(Struct, frozen=True):
    name: str


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    auto: dict[str, Any] | None = None
    any: dict[str, Any] | None = None
    tool: Named | None = None


class ToolConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    tools: list[OneTool]
    tool_choice: Choice | None = None


class Inference(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class SystemBlock(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    text: str | None = None
    cache_point: dict[str, str] | None = None
    guard_content: dict[str, Any] | None = None


class Request(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    messages: list[Message]
    system: list[SystemBlock] | None = None
    inference_config: Inference | None = None
    tool_config: ToolConfig | None = None
    guardrail_config: dict[str, Any] | None = None
    additional_model_request_fields: dict[str, Any] | None = None
    additional_model_response_field_paths: list[str] | None = None
    prompt_variables: dict[str, Any] | None = None
    request_metadata: dict[str, str] | None = None
    performance_config: dict[str, str] | None = None
    service_tier: dict[str, str] | None = None
    output_config: dict[str, Any] | None = None


def read(recorded: Recorded, kind: type[Any], behaviour: Behaviour) -> Any:
    try:
        return fit(recorded.json, kind, ignore_unknown=not behaviour.strict_fields)
    except Misfit as misfit:
        raise Refused(f"The model returned the following errors: #/{misfit.param}: {misfit.what}") from None


def check(request: Request) -> None:
    if not request.messages:
        raise Refused("The model returned the following errors: messages: at least one message is required")
    config = request.inference_config or Inference()
    for name in ("temperature", "top_p"):
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            raise Refused(
                f"1 validation error detected: Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must have value less than or equal to 1"
            )
    if config.max_tokens is not None and config.max_tokens < 1:
        raise Refused(
            "1 validation error detected: Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1"
        )
    specs = [tool.tool_spec for tool in (request.tool_config.tools if request.tool_config else []) if tool.tool_spec]
    if request.tool_config is not None and not specs:
        raise Refused("The value at toolConfig.tools is empty. Provide at least one tool.")
    for spec in specs:
        if not TOOL_NAME.fullmatch(spec.name):
            raise Refused(
                "1 validation error detected: Value at 'toolConfig.tools.member.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
            )
        if spec.input_schema.json.get("type") != "object":
            raise Refused(
                "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."
            )
    if len({spec.name for spec in specs}) != len(specs):
        raise Refused("The tool names in toolConfig must be unique.")
    check_messages(request, has_tools=bool(specs))


def check_messages(request: Request, *, has_tools: bool) -> None:
    before = ""
    used: list[str] = []
    for index, message in enumerate(request.messages):
        at = f"messages.{index}"
        if not index and message.role != "user":
            raise Refused(
                "A conversation must start with a user message. Try again with a conversation that starts with a user message."
            )
        if message.role == before:
            raise Refused(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again."
            )
        if not message.content:
            raise Refused(
                f"The content field in the Message object at {at} is empty. Add a ContentBlock object to the content field and try again."
            )
        for number, block in enumerate(message.content):
            check_block(block, message.role, f"{at}.content.{number}")
        ids = [block.tool_use.tool_use_id for block in message.content if block.tool_use]
        if len(set(ids)) != len(ids):
            raise Refused(f"The {at}.content contains duplicate toolUse Ids.")
        check_results([block.tool_result.tool_use_id for block in message.content if block.tool_result], used, at)
        before, used = message.role, ids
    if used:
        raise Refused(
            f"Expected toolResult blocks at messages.{len(request.messages)}.content for the following Ids: {', '.join(used)}"
        )
    if not has_tools and any(block.tool_use or block.tool_result for one in request.messages for block in one.content):
        raise Refused("The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def check_results(results: list[str], used: list[str], at: str) -> None:
    if len(results) > len(used):
        raise Refused(
            f"The number of toolResult blocks at {at}.content exceeds the number of toolUse blocks of previous turn."
        )
    if missing := [one for one in used if one not in results]:
        raise Refused(f"Expected toolResult blocks at {at}.content for the following Ids: {', '.join(missing)}")


def check_block(block: Block, role: str, at: str) -> None:
    held = [name for name in block.__struct_fields__ if getattr(block, name) is not None]
    if len(held) != 1:
        raise Refused(
            f"The ContentBlock object at {at} must set one of the following keys: text, image, toolUse, toolResult, document, reasoningContent, cachePoint."
        )
    if block.text is not None and not block.text.strip():
        raise Refused(
            f"The text field in the ContentBlock object at {at} is blank. Add text to the text field, and try again."
        )
    if (
        (block.tool_use and role != "assistant")
        or (block.tool_result and role != "user")
        or (block.image and role != "user")
    ):
        raise Refused(f"The {held[0]} block at {at} is not allowed for the role {role}.")
    identity = (
        block.tool_use.tool_use_id if block.tool_use else block.tool_result.tool_use_id if block.tool_result else "x"
    )
    if not TOOL_ID.fullmatch(identity):
        raise Refused(
            f"1 validation error detected: Value at '{at}.toolUse.toolUseId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
        )
    thought = block.reasoning_content.reasoning_text if block.reasoning_content else None
    if thought is not None and not is_base64(thought.signature):
        raise Refused(f"The model returned the following errors: {at}: Invalid `signature` in `thinking` block")


def turns_of(request: Request) -> tuple[Turn, ...]:
    system = " ".join(one.text for one in request.system or [] if one.text)
    begun = [Turn("system", system)] if system else []
    return named(joined([*begun, *(turn_of(message) for message in request.messages)]))


def turn_of(message: Message) -> Turn:
    media: list[Media] = []
    results: list[ToolResult] = []
    for block in message.content:
        if block.image is not None:
            media.append(seen(block.image))
        if block.document is not None and block.document.source.bytes is not None:
            media.append(media_of(f"application/{block.document.format}", block.document.source.bytes))
        if block.tool_result is not None:
            one = block.tool_result
            texts = [
                part.text if part.text is not None else compact(part.json)
                for part in one.content
                if part.image is None and part.document is None
            ]
            results.append(ToolResult(one.tool_use_id, "", " ".join(texts), one.status == "error"))
            media += [seen(part.image) for part in one.content if part.image is not None]
    uses = (block.tool_use for block in message.content if block.tool_use)
    return Turn(
        message.role,
        " ".join(block.text for block in message.content if block.text is not None),
        tuple(ToolUse(use.tool_use_id, use.name, use.input) for use in uses),
        tuple(results),
        tuple(media),
    )


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def seen(image: Image) -> Media:
    return media_of(f"image/{image.format}", image.source.bytes or "")


# -- answers


class Converse:
    stream_type = "application/vnd.amazon.eventstream"
    keep_alive = b""

    def __init__(self, model: str, *, stream: bool) -> None:
        self._model, self._stream = model, stream

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request: Request = read(recorded, Request, behaviour)
        check_model(self._model, behaviour, "The provided model identifier is invalid.")
        check(request)
        tools = request.tool_config.tools if request.tool_config else []
        choice = (request.tool_config.tool_choice if request.tool_config else None) or Choice(auto={})
        extra = request.additional_model_request_fields or {}
        thinking = extra.get("thinking") or extra.get("reasoning_config") or {}
        output = (request.output_config or {}).get("textFormat") or {}
        schema = ((output.get("structure") or {}).get("jsonSchema") or {}).get("schema")
        return Asked(
            model=self._model,
            stream=self._stream,
            turns=turns_of(request),
            tools=tuple(Tool(one.tool_spec.name, one.tool_spec.input_schema.json) for one in tools if one.tool_spec),
            tool_choice=choice.tool.name if choice.tool else "required" if choice.any is not None else "auto",
            json_schema=json.loads(schema) if isinstance(schema, str) else schema,
            json_mode=any("JSON object" in (block.text or "") for block in request.system or []),
            reasoning=thinking.get("type") in ("enabled", "adaptive") or "reasoning_effort" in extra,
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        content: list[dict[str, Any]] = []
        if script.reasoning:
            content.append({"reasoningContent": {"reasoningText": {"text": script.reasoning, "signature": SIGNATURE}}})
        if script.text:
            content.append({"text": script.text})
        content += [
            {"toolUse": {"toolUseId": one.id, "name": one.name, "input": one.arguments}} for one in script.calls
        ]
        message = {"role": "assistant", "content": content}
        return as_json(
            {
                "output": {"message": message},
                "stopReason": finish_of(script),
                "usage": usage_of(script),
                "metrics": {"latencyMs": 1},
            }
        )

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found = [frame("messageStart", {"role": "assistant"})]
        for index, (start, deltas) in enumerate(blocks(script)):
            at = {"contentBlockIndex": index}
            if start is not None:  # Only a tool call has a start.
                found.append(frame("contentBlockStart", {**at, "start": start}))
            found += [frame("contentBlockDelta", {**at, "delta": delta}) for delta in deltas]
            found.append(frame("contentBlockStop", at))
        return [*found, frame("messageStop", {"stopReason": finish_of(script)})]

    def end(self, script: Script, asked: Asked) -> bytes:
        return frame("metadata", {"usage": usage_of(script), "metrics": {"latencyMs": 1}})

    def error_event(self, message: str) -> bytes:
        return frame("serviceUnavailableException", {"message": message}, kind="exception")


def blocks(script: Script) -> Iterator[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    if script.reasoning:
        thoughts: list[dict[str, Any]] = [{"reasoningContent": {"text": piece}} for piece in split(script.reasoning)]
        yield None, [*thoughts, {"reasoningContent": {"signature": SIGNATURE}}]
    if script.text:
        yield None, [{"text": piece} for piece in script.pieces]
    for call in script.calls:
        pieces = split(json.dumps(call.arguments)) if call.arguments else [""]
        yield {"toolUse": {"toolUseId": call.id, "name": call.name}}, [{"toolUse": {"input": one}} for one in pieces]


def finish_of(script: Script) -> str:
    return script.finish or ("tool_use" if script.calls else "end_turn")


def usage_of(script: Script) -> dict[str, int]:
    """Cache reads are outside inputTokens."""
    return {
        "inputTokens": script.input_tokens - script.cached_tokens,
        "outputTokens": script.output_tokens,
        "totalTokens": script.input_tokens + script.output_tokens,
        "cacheReadInputTokens": script.cached_tokens,
        "cacheWriteInputTokens": 0,
    }


def frame(name: str, payload: dict[str, Any], *, kind: str = "event") -> bytes:
    """One message of the binary stream: lengths, their CRC, headers, payload, the CRC of it all."""
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    written = b"".join(header(key, value) for key, value in headers.items())
    body = json.dumps({**payload, "p": "abcdefgh"}).encode()  # The real one pads, so that lengths tell nothing.
    prelude = struct.pack(">II", 12 + len(written) + len(body) + 4, len(written))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + written + body
    return message + struct.pack(">I", zlib.crc32(message))


def header(name: str, value: str) -> bytes:
    """Type 7 is a text."""
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value.encode())) + value.encode()


class Titan(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    input_text: str
    dimensions: int | None = None
    normalize: bool | None = None
    embedding_types: list[str] | None = None


class Invoke(Whole):
    """InvokeModel of an embedding model: Titan's form, and Cohere's."""

    def __init__(self, model: str) -> None:
        self._model = model

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        check_model(self._model, behaviour, "The provided model identifier is invalid.")
        body = recorded.json
        if "texts" in body:
            return Asked(self._model, inputs=tuple(body["texts"]), extra={"cohere": True})
        request = read(recorded, Titan, behaviour)
        return Asked(self._model, inputs=(request.input_text,), extra={"cohere": False})

    def answer(self, script: Script, asked: Asked) -> Body:
        vectors = [vector(text) for text in asked.inputs]
        if asked.extra["cohere"]:
            return as_json({"id": "fake", "embeddings": {"float": vectors}, "response_type": "embeddings_by_type"})
        return as_json({"embedding": vectors[0], "inputTextTokenCount": script.input_tokens})


TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


class Bedrock:
    name = "bedrock"
    key = KEY
    base = ""
    overloaded = 503
    call_id = "tooluse_fake{:06d}"

    def operation(self, method: str, path: str) -> Operation | None:
        found = PATH.fullmatch(path)
        if found is None or method != "POST":
            return None
        if found["method"] == "invoke":
            return Invoke(found["model"])
        return Converse(found["model"], stream=found["method"] == "converse-stream")

    def accepts(self, recorded: Recorded, key: str) -> bool:
        """An API key as a bearer, or a signature made with `key` as the secret."""
        sent = recorded.headers.get("authorization", "")
        return bearer(recorded.headers) == key if sent.startswith("Bearer ") else is_signed(recorded, key)

    def error(self, refused: Refused) -> dict[str, Any]:
        return {"message": refused.message, "__type": TYPES.get(refused.status, "InternalServerException")}


def is_signed(recorded: Recorded, secret: str) -> bool:
    """Whether the Signature Version 4 is right. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    found = SIGV4.fullmatch(recorded.headers.get("authorization", ""))
    stamp = recorded.headers.get("x-amz-date", "")
    if found is None or not stamp.startswith(found["date"]):
        return False
    names = found["headers"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return False
    signed = "".join(f"{name}:{' '.join(recorded.headers.get(name, '').split())}\n" for name in names)
    path = quote(recorded.raw_path or recorded.path, safe="/-_.~")  # Encoded a second time, but for S3.
    lines = (recorded.method, path, recorded.query, signed, found["headers"], hashlib.sha256(recorded.body).hexdigest())
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (found["date"], found["region"], "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{found['scope']}\n{canonical}"
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), found["signature"])


BEDROCK = Bedrock()
