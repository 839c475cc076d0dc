"""Anthropic's Messages API over any chat. https://docs.anthropic.com/en/api/messages

What runs at the vendor there (its own tools, files, containers) is refused by name: nobody would run it here. Answers and
streams are in `messages_answers.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.canonical import (
    ABSENT,
    ENCODER,
    compact,
    decode_request,
    given,
    invalid,
    printable,
    unsupported,
)
from llmproxy.provider_workers.carried import Carried, unpack
from llmproxy.provider_workers.messages_answers import Teller, message_of
from llmproxy.provider_workers.wire import Origin

VENDOR = "a chat endpoint"  # Whatever vendor's it is.

# --- Requests as they come --------------------------------------------------------------------------------------------


class Source(Struct, frozen=True, kw_only=True):
    """Where an image or a document is; which field is set depends on `type`."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: str | list[Raw] = ""


class Block(Struct, frozen=True, kw_only=True):
    """One content block; which field is set depends on `type`."""

    type: str
    text: str = ""
    source: Raw = ABSENT  # An object of images and documents, a text of search results.
    title: str | None = None
    context: str | None = None
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")
    tool_use_id: str = ""
    content: Raw = ABSENT
    is_error: bool | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    cache_control: Raw = ABSENT
    citations: Raw = ABSENT
    caller: Raw = ABSENT


class Turn(Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[Raw]


class Tool(Struct, frozen=True, kw_only=True):
    type: str | None = None
    name: str
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    cache_control: Raw = ABSENT


class ToolChoice(Struct, frozen=True, kw_only=True):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True, kw_only=True):
    type: str
    budget_tokens: int = 0


class Format(Struct, frozen=True, kw_only=True):
    type: str
    schema: dict[str, Raw] | None = None


class OutputConfig(Struct, frozen=True, kw_only=True):
    effort: str | None = None
    format: Format | None = None


class Request(Struct, frozen=True, kw_only=True):
    model: str
    messages: list[Turn]
    max_tokens: int
    system: str | list[Raw] | None = None
    tools: list[Raw] | None = None
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None  # Its earlier place.
    metadata: dict[str, Raw] | None = None


FIELDS = msgspec.json.Decoder(dict[str, Raw])
OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
REQUEST = msgspec.json.Decoder(Request)
BLOCK = msgspec.json.Decoder(Block)
CONTENT = msgspec.json.Decoder(str | list[Raw])
SOURCE = msgspec.json.Decoder(Source)
TEXT = msgspec.json.Decoder(str)
TOOL = msgspec.json.Decoder(Tool)

READS = frozenset({*Request.__struct_encode_fields__, "stream"})
IDLE = {
    "cache_control",  # Caching, accounts and places in a queue do not change what the answer says,
    "context_management",  # nor does clearing what the model need not read again.
    "diagnostics",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
    "anthropic_beta",
    "anthropic_version",
}
"""Fields that are dropped, and listed."""

BLOCK_FIELDS: dict[str, frozenset[str]] = {
    "text": frozenset({"text", "citations"}),
    "image": frozenset({"source"}),
    "document": frozenset({"source", "title", "context", "citations"}),
    "search_result": frozenset({"source", "title", "content", "citations"}),
    "thinking": frozenset({"thinking", "signature"}),
    "redacted_thinking": frozenset({"data"}),
    "tool_use": frozenset({"id", "name", "input", "caller"}),
    "tool_result": frozenset({"tool_use_id", "content", "is_error"}),
}
"""The kinds of blocks that can be told in a chat, and what is read of each besides `type` and `cache_control`."""

TOOL_FIELDS = frozenset(Tool.__struct_encode_fields__)
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
BUDGETS = ((4_096, "low"), (16_384, "medium"))  # Tokens to think with, below which it is that effort.
ADAPTIVE_EFFORT = "high"  # What the vendor documents for a model that decides itself.
DIRECT = b'{"type":"direct"}'
PDF = "application/pdf"
PDF_NAME = "document.pdf"  # OpenAI's chat wants a name with a file.


class Messages:
    api: Api = "messages"

    def read(self, body: bytes, *, stream: bool) -> "Asked":
        return Reading(body).asked(stream)


class Asked(Struct, frozen=True, kw_only=True):
    canonical: bytes
    dropped: tuple[str, ...]
    stops: frozenset[str]

    def response(self, answer: bytes, origin: Origin) -> bytes:
        return message_of(answer, origin, self.stops)

    def events(self, origin: Origin) -> Teller:
        return Teller(origin, self.stops)


class Reading:
    """One request on its way to the canonical form, with what is left behind."""

    __slots__ = ("_dropped", "_request")

    def __init__(self, body: bytes) -> None:
        fields = decode_request(FIELDS, body)
        self._dropped: list[str] = []
        for name in fields.keys() - READS:
            if not given(fields[name]):
                continue
            if name not in IDLE:
                raise unsupported(VENDOR, printable(name, 60))
            self._dropped.append(name)
        self._request = decode_request(REQUEST, body)

    def asked(self, stream: bool) -> Asked:
        request = self._request
        canonical: dict[str, Any] = {"model": request.model, "messages": list(self._messages())}
        if request.max_tokens < 1:
            raise invalid("max_tokens", "must be at least 1")
        canonical["max_completion_tokens"] = request.max_tokens
        if request.tools:
            canonical["tools"] = [self._tool(raw, f"tools[{index}]") for index, raw in enumerate(request.tools)]
            canonical.update(choice_of(request.tool_choice))
        if request.stop_sequences:
            canonical["stop"] = request.stop_sequences
        for name in ("temperature", "top_p", "top_k"):
            if (value := getattr(request, name)) is not None:
                canonical[name] = value
        canonical.update(self._effort())
        canonical.update(self._format())
        canonical.update(self._user())
        if stream:
            canonical["stream"] = True
        return Asked(
            canonical=ENCODER.encode(canonical),
            dropped=tuple(sorted(self._dropped)),
            stops=frozenset(request.stop_sequences or ()),
        )

    # -- options

    def _effort(self) -> dict[str, str]:
        """The room to think in, as the effort that it amounts to."""
        thinking, config = self._request.thinking, self._request.output_config
        effort = config.effort if config is not None else None
        if effort is not None and effort not in EFFORTS:
            raise invalid("output_config.effort", f"must be one of {', '.join(EFFORTS)}")
        said = EFFORTS[effort] if effort is not None else None
        match thinking.type if thinking is not None else "":
            case "":
                return {"reasoning_effort": said} if said else {}
            case "disabled":
                # Models that cannot think refuse to be told not to, and clients say it to every model.
                self._dropped += ["thinking", "output_config.effort"] if said else ["thinking"]
                return {}
            case "adaptive" | "between_tools":
                return {"reasoning_effort": said or ADAPTIVE_EFFORT}
            case "enabled":
                assert thinking is not None
                return {"reasoning_effort": said or effort_of(thinking.budget_tokens)}
        raise invalid("thinking.type", "must be enabled, adaptive, between_tools or disabled")

    def _format(self) -> dict[str, Any]:
        config = self._request.output_config
        form = (config.format if config is not None else None) or self._request.output_format
        if form is None:
            return {}
        if form.type != "json_schema" or form.schema is None:
            raise unsupported(VENDOR, "output_config.format.type", "only json_schema, with its schema, is known")
        named: dict[str, Any] = {"name": "answer", "schema": form.schema}
        if is_strict(msgspec.json.decode(ENCODER.encode(form.schema))):
            named["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def _user(self) -> dict[str, Raw]:
        metadata = self._request.metadata or {}
        self._dropped += [f"metadata.{printable(name, 40)}" for name in metadata if name != "user_id"]
        user = metadata.get("user_id", ABSENT)
        return {"user": user} if given(user) else {}

    def _tool(self, raw: Raw, at: str) -> dict[str, Any]:
        fields = decode_at(FIELDS, raw, at)
        kind = bytes(fields.get("type", b"null"))
        if kind not in (b"null", b'"custom"'):
            raise unsupported(VENDOR, f"{at}.type", "only tools that the caller runs can be translated")
        tool = decode_at(TOOL, raw, at)
        if not given(tool.input_schema):
            raise GatewayError("missing_required_parameter", f"'{at}.input_schema' is required", param=at)
        self._unread(fields, TOOL_FIELDS, at)
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = tool.input_schema
        if tool.strict is not None:
            function["strict"] = tool.strict
        made: dict[str, Any] = {"type": "function", "function": function}
        return {**made, "cache_control": tool.cache_control} if given(tool.cache_control) else made

    # -- the conversation

    def _messages(self) -> Iterator[dict[str, Any]]:
        request = self._request
        if request.system:
            yield {"role": "system", "content": self._texts(request.system, "system")}
        for index, turn in enumerate(request.messages):
            at = f"messages[{index}].content"
            match turn.role:
                case "user":
                    yield from self._user_turn(turn.content, at)
                case "assistant":
                    yield self._assistant_turn(turn.content, at)
                case "system":
                    yield {"role": "system", "content": self._texts(turn.content, at)}
                case _:
                    raise invalid(f"messages[{index}].role", "must be user or assistant")

    def _texts(self, content: str | list[Raw], at: str) -> str | list[dict[str, Any]]:
        if isinstance(content, str):
            return content
        made = []
        for block, here in self._blocks(content, at):
            if block.type != "text":
                raise unsupported(VENDOR, f"{here}.type", "only text can stand here")
            made.append(text_part(block))
        return plain(made)

    def _user_turn(self, content: str | list[Raw], at: str) -> Iterator[dict[str, Any]]:
        """A chat wants what tools answered right after their calls, so it comes first, as Anthropic wants it too."""
        if isinstance(content, str):
            yield {"role": "user", "content": content}
            return
        parts: list[dict[str, Any]] = []
        for block, here in self._blocks(content, at):
            if block.type == "tool_result":
                yield self._tool_result(block, here)
            else:
                parts += self._parts(block, here)
        if parts or not content:
            yield {"role": "user", "content": plain(parts)}

    def _tool_result(self, block: Block, at: str) -> dict[str, Any]:
        if not block.tool_use_id:
            param = f"{at}.tool_use_id"
            raise GatewayError("missing_required_parameter", f"'{param}' is required", param=param)
        content = decode_at(CONTENT, block.content, f"{at}.content") if given(block.content) else ""
        parts: list[dict[str, Any]] = []
        if isinstance(content, str):
            parts.append({"type": "text", "text": content})
        else:
            for inner, here in self._blocks(content, f"{at}.content"):
                parts += self._parts(inner, here)
        if given(block.cache_control) and parts:
            parts[-1] = {**parts[-1], "cache_control": block.cache_control}
        made: dict[str, Any] = {"role": "tool", "tool_call_id": block.tool_use_id, "content": plain(parts)}
        return {**made, "is_error": True} if block.is_error else made

    def _assistant_turn(self, content: str | list[Raw], at: str) -> dict[str, Any]:
        """Text, calls and thinking each in its place; how they took turns has none."""
        if isinstance(content, str):
            return {"role": "assistant", "content": content}
        texts: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        thinking: list[Raw] = []
        thought: list[str] = []
        carried = Carried()
        for (block, here), raw in zip(self._blocks(content, at), content, strict=True):
            match block.type:
                case "text":
                    if given(block.citations):
                        self._dropped.append(f"{here}.citations")
                    texts.append(text_part(block))
                case "tool_use":
                    calls.append(self._call(block, here))
                case "thinking":
                    thought.append(block.thinking)
                    found = ours(block.signature, f"{here}.signature")
                    if found is None:
                        thinking.append(raw)
                    else:
                        carried = joined(carried, found)
                case "redacted_thinking":
                    thinking.append(raw)
                case _:
                    raise unsupported(VENDOR, f"{here}.type", f"an assistant says no '{block.type}' in a chat")
        said: dict[str, Any] = {"role": "assistant", "content": plain(texts) if texts or not calls else None}
        if any(thought):
            said["reasoning_content"] = "".join(thought)
        if thinking:
            said["thinking_blocks"] = thinking
        if calls:
            said["tool_calls"] = [with_extra(call, carried.calls) for call in calls]
        return {**said, "extra_content": carried.message} if given(carried.message) else said

    def _call(self, block: Block, at: str) -> dict[str, Any]:
        if given(block.cache_control):
            self._dropped.append(f"{at}.cache_control")
        if given(block.caller) and msgspec.json.format(bytes(block.caller), indent=-1) != DIRECT:
            self._dropped.append(f"{at}.caller")
        if not block.id or not block.name:
            raise GatewayError("missing_required_parameter", f"'{at}' needs an id and a name", param=at)
        if bytes(block.input)[:1] != b"{":
            raise invalid(f"{at}.input", "must be an object")
        function = {"name": block.name, "arguments": compact(block.input)}
        return {"id": block.id, "type": "function", "function": function}

    # -- blocks

    def _blocks(self, raws: list[Raw], at: str) -> Iterator[tuple[Block, str]]:
        for index, raw in enumerate(raws):
            here = f"{at}[{index}]"
            fields = decode_at(FIELDS, raw, here)
            kind = fields.get("type", ABSENT)
            name = decode_at(TEXT, kind, f"{here}.type") if given(kind) else ""
            known = BLOCK_FIELDS.get(name)
            if known is None:
                raise unsupported(VENDOR, f"{here}.type", f"a chat has no equivalent of '{printable(name, 40)}'")
            self._unread(fields, known | {"type", "cache_control"}, here)
            yield decode_at(BLOCK, raw, here), here

    def _unread(self, fields: Mapping[str, Raw], known: frozenset[str], at: str) -> None:
        for name in fields.keys() - known:
            if given(fields[name]):
                self._dropped.append(f"{at}.{printable(name, 40)}")

    def _parts(self, block: Block, at: str) -> list[dict[str, Any]]:
        match block.type:
            case "text":
                if given(block.citations):
                    self._dropped.append(f"{at}.citations")
                return [text_part(block)]
            case "image":
                return [cached(image_part(decode_at(SOURCE, block.source, f"{at}.source"), f"{at}.source"), block)]
            case "document":
                refuse_citations(block, at)
                return self._document(block, decode_at(SOURCE, block.source, f"{at}.source"), f"{at}.source")
            case "search_result":
                refuse_citations(block, at)
                found = self._texts(decode_at(CONTENT, block.content, f"{at}.content"), f"{at}.content")
                lines = [found] if isinstance(found, str) else [part["text"] for part in found]
                link = decode_at(TEXT, block.source, f"{at}.source")
                return [cached({"type": "text", "text": "\n".join([block.title or "", link, *lines])}, block)]
        raise unsupported(VENDOR, f"{at}.type", f"a chat has no '{block.type}' here")

    def _document(self, block: Block, source: Source, at: str) -> list[dict[str, Any]]:
        head = [line for line in (block.title, block.context) if line]
        match source.type:
            case "base64" if source.media_type == PDF:
                file = {"filename": block.title or PDF_NAME, "file_data": f"data:{PDF};base64,{source.data}"}
                context = [{"type": "text", "text": block.context}] if block.context else []
                return [*context, cached({"type": "file", "file": file}, block)]
            case "url":
                file = {"filename": block.title or PDF_NAME, "file_data": source.url}
                context = [{"type": "text", "text": block.context}] if block.context else []
                return [*context, cached({"type": "file", "file": file}, block)]
            case "text":
                return [cached({"type": "text", "text": "\n".join([*head, source.data])}, block)]
            case "content":
                if isinstance(source.content, str):
                    return [cached({"type": "text", "text": "\n".join([*head, source.content])}, block)]
                parts = [{"type": "text", "text": "\n".join(head)}] if head else []
                for inner, here in self._blocks(source.content, f"{at}.content"):
                    parts += self._parts(inner, here)
                return [*parts[:-1], cached(parts[-1], block)] if parts else []
        raise unsupported(VENDOR, f"{at}.type", "a document is a PDF, a text or content; files live at their vendor")


# --- Pure pieces ------------------------------------------------------------------------------------------------------


def decode_at(decoder: msgspec.json.Decoder[Any], raw: Raw, at: str) -> Any:
    """Raises GatewayError with the path from the top of the body."""
    try:
        return decode_request(decoder, bytes(raw))
    except GatewayError as error:
        param = f"{at}.{error.param}" if error.param else at
        says = error.message.replace(f"'{error.param or 'body'}'", f"'{param}'", 1)
        raise GatewayError(error.code if error.param else "invalid_type", says, param=param) from None


def choice_of(choice: ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    made: dict[str, Any] = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    match choice.type:
        case "auto" | "none" as mode:
            return {"tool_choice": mode, **made}
        case "any":
            return {"tool_choice": "required", **made}
        case "tool":
            return {"tool_choice": {"type": "function", "function": {"name": choice.name}}, **made}
    raise invalid("tool_choice.type", "must be auto, any, tool or none")


def effort_of(budget: int) -> str:
    return next((effort for below, effort in BUDGETS if budget < below), "high")


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes it: every object says all its fields, requires them, and allows no others."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        properties, required = schema.get("properties", {}), schema.get("required", [])
        closed = schema.get("additionalProperties") is False
        if not (
            closed and isinstance(properties, dict) and isinstance(required, list) and set(properties) == set(required)
        ):
            return False
        return all(map(is_strict, properties.values())) and is_strict(list(schema.get("$defs", {}).values()))
    return all(is_strict(value) for name, value in schema.items() if name not in ("enum", "const", "default"))


def plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text says the same as a list of it, and every server takes it."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def text_part(block: Block) -> dict[str, Any]:
    return cached({"type": "text", "text": block.text}, block)


def cached(part: dict[str, Any], block: Block) -> dict[str, Any]:
    return {**part, "cache_control": block.cache_control} if given(block.cache_control) else part


def image_part(source: Source, at: str) -> dict[str, Any]:
    match source.type:
        case "base64" if source.media_type:
            return {"type": "image_url", "image_url": {"url": f"data:{source.media_type};base64,{source.data}"}}
        case "url":
            return {"type": "image_url", "image_url": {"url": source.url}}
    raise unsupported(
        VENDOR, f"{at}.type", "an image is base64 with its media_type, or a url; files live at their vendor"
    )


def refuse_citations(block: Block, at: str) -> None:
    if not given(block.citations):
        return
    wanted = decode_at(FIELDS, block.citations, f"{at}.citations").get("enabled", ABSENT)
    if bytes(wanted) == b"true":
        raise unsupported(VENDOR, f"{at}.citations.enabled")


def ours(signature: str, at: str) -> Carried | None:
    """What we put into a signature; None of the vendor's own. An empty one is nobody's."""
    try:
        return Carried() if not signature else unpack(signature)
    except ValueError:
        raise invalid(at, "must be returned as it was received") from None


def joined(one: Carried, other: Carried) -> Carried:
    return Carried(
        thinking_blocks=[*one.thinking_blocks, *other.thinking_blocks],
        calls={**one.calls, **other.calls},
        message=other.message if given(other.message) else one.message,
    )


def with_extra(call: dict[str, Any], extras: Mapping[str, Raw]) -> dict[str, Any]:
    extra = extras.get(call["id"])
    return call if extra is None else {**call, "extra_content": extra}
