"""A fake Anthropic: messages and count_tokens. https://docs.anthropic.com/en/api/messages"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

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
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, bearer, check_model, split, sse

# The current version has no sampling fields; the first version has them.
FIRST_VERSION = "2023-06-01"
VERSIONS = (FIRST_VERSION, "2026-10-21")
SAMPLING = frozenset({"temperature", "top_p", "top_k"})
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
SIGNATURE = "c2lnbmF0dXJl"
BUDGET_MIN = 1024
CACHE_BREAKPOINTS_MAX = 4
# Models before 4.6 think by budget, and take a temperature; from then on they decide themselves.
BY_BUDGET = re.compile(r"claude-(?:2|3|instant|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:$|[-@]\d{8}|-latest))")

# -- requests


class CacheControl(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None
    scope: str | None = None


class Text(Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str
    cache_control: CacheControl | None = None
    citations: list[dict[str, Any]] | None = None


class Base64(Struct, frozen=True, tag_field="type", tag="base64", forbid_unknown_fields=True):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: str


class Url(Struct, frozen=True, tag_field="type", tag="url", forbid_unknown_fields=True):
    url: str


class FileSource(Struct, frozen=True, tag_field="type", tag="file"):
    file_id: str


class PlainSource(Struct, frozen=True, tag_field="type", tag="text"):
    media_type: Literal["text/plain"]
    data: str


class Image(Struct, frozen=True, tag_field="type", tag="image", forbid_unknown_fields=True):
    source: Base64 | Url | FileSource
    cache_control: CacheControl | None = None
    transformations: dict[str, Any] | None = None


class Document(Struct, frozen=True, tag_field="type", tag="document", forbid_unknown_fields=True):
    source: Base64 | Url | FileSource | PlainSource
    cache_control: CacheControl | None = None
    citations: dict[str, Any] | None = None
    context: str | None = None
    title: str | None = None


class Thinking(Struct, frozen=True, tag_field="type", tag="thinking", forbid_unknown_fields=True):
    thinking: str
    signature: str


class Redacted(Struct, frozen=True, tag_field="type", tag="redacted_thinking", forbid_unknown_fields=True):
    data: str


class Use(Struct, frozen=True, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None


class Result(Struct, frozen=True, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    tool_use_id: str
    content: str | list[Text | Image | Document] = ""
    is_error: bool | None = None
    cache_control: CacheControl | None = None


Block = Text | Image | Document | Thinking | Redacted | Use | Result


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class OneTool(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    cache_control: CacheControl | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[dict[str, Any]] | None = None


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class Format(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, frozen=True, forbid_unknown_fields=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class Metadata(Struct, frozen=True):
    user_id: str | None = None


class Counted(Struct, frozen=True, forbid_unknown_fields=True):
    """What count_tokens reads."""

    model: str
    messages: list[Message]
    system: str | list[Text] | None = None
    tools: list[OneTool] | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None
    context_management: dict[str, Any] | None = None
    speed: str | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None


class Request(Counted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_tokens: int
    container: str | dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    inference_geo: str | None = None
    metadata: Metadata | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None


def read(body: Any, kind: type[Any], behaviour: Behaviour) -> Any:
    try:
        return fit(body, kind, ignore_unknown=not behaviour.strict_fields)
    except Misfit as misfit:
        if misfit.missing:
            raise Refused(f"{misfit.dotted}: Field required") from None
        if misfit.unknown:
            raise Refused(f"{misfit.dotted}: Extra inputs are not permitted") from None
        raise Refused(f"{misfit.dotted}: Input is invalid: {misfit.what}") from None


def check_version(recorded: Recorded) -> str:
    version = recorded.headers.get("anthropic-version", "")
    if version not in VERSIONS:
        says = "header is required" if not version else f'"{version[:40]}" is not a valid version'
        raise Refused(f"anthropic-version: {says}")
    return version


def check(request: Request, body: Mapping[str, Any], version: str) -> None:
    if request.max_tokens < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1")
    sampled = sorted(SAMPLING & body.keys())
    if sampled and version != FIRST_VERSION:
        raise Refused(f"{sampled[0]}: Extra inputs are not permitted")
    for name in ("temperature", "top_p"):
        value = getattr(request, name)
        if value is not None and not 0 <= value <= 1:
            raise Refused(f"{name}: range: 0..1")
    if any(not stop.strip() for stop in request.stop_sequences or []):
        raise Refused("stop_sequences: each stop sequence must contain non-whitespace")
    check_thinking(request)
    check_tools(request)
    check_cache(body)


def check_thinking(request: Request) -> None:
    thinking = request.thinking
    if thinking is None or thinking.type == "disabled":
        return
    if thinking.type == "enabled":
        if thinking.budget_tokens is None:
            raise Refused("thinking.enabled.budget_tokens: Field required")
        if thinking.budget_tokens < BUDGET_MIN:
            raise Refused(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_MIN}")
        if thinking.budget_tokens >= request.max_tokens:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif thinking.budget_tokens is not None:
        raise Refused(f"thinking.{thinking.type}.budget_tokens: Extra inputs are not permitted")
    if thinking.type == "adaptive" and BY_BUDGET.match(request.model):
        raise Refused("adaptive thinking is not supported on this model")
    if request.temperature not in (None, 1):
        raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
    if request.top_k is not None:
        raise Refused("`top_k` must be unset when thinking is enabled.")
    if request.tool_choice is not None and request.tool_choice.type in ("any", "tool"):
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")


def check_tools(request: Counted) -> None:
    names = [tool.name for tool in request.tools or []]
    for index, tool in enumerate(request.tools or []):
        if not TOOL_NAME.fullmatch(tool.name):
            raise Refused(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool.input_schema.get("type") != "object":
            raise Refused(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
    if len(set(names)) != len(names):
        raise Refused("tools: Tool names must be unique.")
    choice = request.tool_choice
    if choice is not None:
        if not names:
            raise Refused("tool_choice may only be specified while providing tools.")
        if choice.type == "tool" and choice.name not in names:
            raise Refused(f"Tool '{choice.name}' not found in provided tools")


def check_cache(body: Any) -> None:
    if count(body) > CACHE_BREAKPOINTS_MAX:
        raise Refused(f"A maximum of {CACHE_BREAKPOINTS_MAX} blocks with cache_control may be provided.")


def count(value: Any) -> int:
    if isinstance(value, dict):
        return bool(value.get("cache_control")) + sum(count(one) for one in value.values())
    return sum(count(one) for one in value) if isinstance(value, list) else 0


def check_messages(request: Counted) -> None:
    messages = request.messages
    if not messages:
        raise Refused("messages: at least one message is required")
    if messages[0].role != "user":
        raise Refused('messages: first message must use the "user" role')
    for one in request.system if isinstance(request.system, list) else []:
        check_text(one, "system")
    used: set[str] = set()
    seen: set[str] = set()
    for index, message in enumerate(messages):
        at, last = f"messages.{index}", index == len(messages) - 1
        blocks = blocks_of(message)
        if not message.content and not (last and message.role == "assistant"):
            raise Refused(
                f"{at}: all messages must have non-empty content except for the optional final assistant message"
            )
        for number, block in enumerate(blocks):
            check_block(block, message.role, f"{at}.content.{number}")
        ids = [block.id for block in blocks if isinstance(block, Use)]
        if seen & set(ids) or len(set(ids)) != len(ids):
            raise Refused(f"{at}: `tool_use` ids must be unique")
        check_results(blocks, used, at)
        used, seen = set(ids), seen | set(ids)
    if used:
        raise Refused(
            f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(sorted(used))}."
        )
    if messages[-1].role == "assistant":
        check_prefill(messages[-1], request)
    if not request.tools and (seen or any(isinstance(b, Result) for m in messages for b in blocks_of(m))):
        raise Refused("Requests which include `tool_use` or `tool_result` blocks must define tools")


def check_results(blocks: list[Block], used: set[str], at: str) -> None:
    results = [block.tool_use_id for block in blocks if isinstance(block, Result)]
    if missing := sorted(used - set(results)):
        raise Refused(
            f"{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )
    if strange := sorted(set(results) - used):
        raise Refused(
            f"{at}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(strange)}. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
        )
    if len(set(results)) != len(results):
        raise Refused(f"{at}: each tool_use must have a single result. Found multiple `tool_result` blocks.")
    first = [isinstance(block, Result) for block in blocks]
    if results and not all(first[: len(results)]):
        raise Refused(f"{at}: `tool_result` blocks must come first in the content of a message.")


def check_prefill(message: Message, request: Counted) -> None:
    blocks = blocks_of(message)
    if request.thinking is not None and request.thinking.type != "disabled":
        raise Refused("When thinking is enabled, the final message must not be from the assistant.")
    if blocks and isinstance(blocks[-1], Text) and blocks[-1].text != blocks[-1].text.rstrip():
        raise Refused("messages: final assistant content cannot end with trailing whitespace")


def check_block(block: Block, role: str, at: str) -> None:
    match block:
        case Text():
            check_text(block, at)
        case Thinking() if not is_base64(block.signature) or role != "assistant":
            raise Refused(f"{at}: Invalid `signature` in `thinking` block")
        case Use():
            if role != "assistant":
                raise Refused(f"{at}: `tool_use` blocks can only be in `assistant` messages")
            if not CALL_ID.fullmatch(block.id):
                raise Refused(f"{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        case Result() if role != "user":
            raise Refused(f"{at}: `tool_result` blocks can only be in `user` messages")
        case Image(source=Base64(media_type="application/pdf")):
            raise Refused(
                f"{at}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
            )
        case Image() if role != "user":
            raise Refused(f"{at}: image blocks are only allowed in user messages")


def check_text(block: Text, at: str) -> None:
    if not block.text:
        raise Refused(f"{at}: text content blocks must be non-empty")
    if not block.text.strip():
        raise Refused(f"{at}: text content blocks must contain non-whitespace text")


def blocks_of(message: Message) -> list[Block]:
    if isinstance(message.content, str):
        return [Text(message.content)] if message.content else []
    return message.content


def turns_of(request: Counted) -> tuple[Turn, ...]:
    system = request.system if isinstance(request.system, str) else " ".join(one.text for one in request.system or [])
    begun = [Turn("system", system)] if system else []
    return named(joined([*begun, *(turn_of(message) for message in request.messages)]))


def turn_of(message: Message) -> Turn:
    blocks = blocks_of(message)
    results = tuple(
        ToolResult(one.tool_use_id, "", text_in(one.content), bool(one.is_error))
        for one in blocks
        if isinstance(one, Result)
    )
    inner = [
        part for one in blocks if isinstance(one, Result) and isinstance(one.content, list) for part in one.content
    ]
    return Turn(
        message.role,
        text_in(blocks),
        tuple(ToolUse(one.id, one.name, one.input) for one in blocks if isinstance(one, Use)),
        results,
        tuple(medium(one) for one in [*blocks, *inner] if isinstance(one, Image | Document)),
    )


def text_in(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(one.text for one in content if isinstance(one, Text))


def medium(block: Image | Document) -> Media:
    match block.source:
        case Base64() as source:
            return media_of(source.media_type, source.data)
        case Url() as source:
            return Media("url", url=source.url)
        case PlainSource() as source:
            return Media("text/plain", len(source.data))
        case FileSource() as source:
            return Media("file", url=source.file_id)


def asked_of(request: Counted, *, stream: bool = False) -> Asked:
    choice = request.tool_choice or Choice("auto")
    form = request.output_config.format if request.output_config else None
    turns = turns_of(request)
    thinking = request.thinking
    return Asked(
        model=request.model,
        stream=stream,
        turns=turns,
        tools=tuple(Tool(tool.name, tool.input_schema) for tool in request.tools or []),
        tool_choice={"any": "required", "tool": choice.name or ""}.get(choice.type, choice.type),
        is_parallel=not choice.disable_parallel_tool_use,
        json_schema=form.schema if form else None,
        json_mode=any("JSON object" in turn.text for turn in turns if turn.side == "system"),
        reasoning=thinking is not None and thinking.type in ("enabled", "adaptive"),
    )


# -- answers


class Messages:
    stream_type = "text/event-stream; charset=utf-8"
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        version = check_version(recorded)
        body = recorded.json
        request = read(body, Request, behaviour)
        check_model(request.model, behaviour, f"model: {request.model}")
        check(request, body, version)
        check_messages(request)
        return asked_of(request, stream=bool(request.stream))

    def answer(self, script: Script, asked: Asked) -> Body:
        content: list[dict[str, Any]] = []
        if script.reasoning:
            content.append({"type": "thinking", "thinking": script.reasoning, "signature": SIGNATURE})
        content += [{"type": "text", "text": "".join(pieces)} for pieces in script.texts]
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in script.calls
        ]
        return as_json({**message(script), "content": content, "stop_reason": finish_of(script)})

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        found = [event({"type": "message_start", "message": message(script, output=1)})]
        for index, (block, deltas) in enumerate(blocks(script)):
            found.append(event({"type": "content_block_start", "index": index, "content_block": block}))
            found += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
            found.append(event({"type": "content_block_stop", "index": index}))
        delta = {"stop_reason": finish_of(script), "stop_sequence": None}
        found.append(event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": script.output_tokens}}))
        return found

    def end(self, script: Script, asked: Asked) -> bytes:
        return event({"type": "message_stop"})

    def error_event(self, message: str) -> bytes:
        return event({"type": "error", "error": {"type": "overloaded_error", "message": message}})


class CountTokens(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        check_version(recorded)
        request = read(recorded.json, Counted, behaviour)
        check_model(request.model, behaviour, f"model: {request.model}")
        check_tools(request)
        check_messages(request)
        return asked_of(request)

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json({"input_tokens": sum(len(turn.text.split()) for turn in asked.turns) or 1})


class Models(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        check_version(recorded)
        return Asked(inputs=behaviour.models or ("claude-opus-4-6",))

    def answer(self, script: Script, asked: Asked) -> Body:
        names = asked.inputs
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names
        ]
        return as_json({"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})


ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic:
    name = "anthropic"
    key = KEY
    base = ""
    overloaded = 529
    call_id = "toolu_fake_{:06d}"

    def __init__(self) -> None:
        self.operations: dict[tuple[str, str], Operation] = {
            ("POST", "/v1/messages"): Messages(),
            ("POST", "/v1/messages/count_tokens"): CountTokens(),
            ("GET", "/v1/models"): Models(),
        }

    def operation(self, method: str, path: str) -> Operation | None:
        return self.operations.get((method, path))

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return key in (recorded.headers.get("x-api-key"), bearer(recorded.headers))

    def error(self, refused: Refused) -> dict[str, Any]:
        error = {"type": ERRORS.get(refused.status, "api_error"), "message": refused.message}
        return {"type": "error", "error": error, "request_id": "req_fake"}


def blocks(script: Script) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block as it opens, with its deltas."""
    if script.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": word} for word in split(script.reasoning)]
        signed = [*deltas, {"type": "signature_delta", "signature": SIGNATURE}]
        yield {"type": "thinking", "thinking": "", "signature": ""}, signed
    for pieces in script.texts:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    for call in script.calls:
        arguments = ["", *split(json.dumps(call.arguments))] if call.arguments else [""]
        opened = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        yield opened, [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]


def message(script: Script, output: int | None = None) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": script.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": script.input_tokens - script.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": script.cached_tokens,
            "output_tokens": script.output_tokens if output is None else output,
        },
    }


def finish_of(script: Script) -> str:
    return script.finish or ("tool_use" if script.calls else "end_turn")


def event(value: dict[str, Any]) -> bytes:
    return sse(value, value["type"])


ANTHROPIC = Anthropic()
