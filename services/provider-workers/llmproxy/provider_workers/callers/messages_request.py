"""A request to Anthropic's Messages API as a canonical chat. https://docs.anthropic.com/en/api/messages

What runs at the vendor there (its own tools, files, containers) is refused by name: nobody would run it here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.callers.messages_shapes import (
    BLOCK,
    BLOCK_FIELDS,
    FIELDS,
    REQUEST,
    TEXT,
    TOOL,
    TOOL_FIELDS,
    Block,
    Content,
    Document,
    Image,
    Redacted,
    Request,
    SearchResult,
    Source,
    Text,
    Thought,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from llmproxy.provider_workers.canonical import UNNAMED_PDF
from llmproxy.provider_workers.canonical_answers import compact
from llmproxy.provider_workers.carried import Carried, unpack
from llmproxy.provider_workers.reading import ABSENT, decode_request, given, invalid, printable, unsupported
from llmproxy.provider_workers.wire import ENCODER

VENDOR = "a chat endpoint"  # Whatever vendor's it is.

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

EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
BUDGETS = ((4_096, "low"), (16_384, "medium"))  # Tokens to think with, below which it is that effort.
ADAPTIVE_EFFORT = "high"  # What the vendor documents for a model that decides itself.
DIRECT = '{"type":"direct"}'
PDF = "application/pdf"


class Reading:
    """One request on its way to the canonical form, with what is left behind."""

    __slots__ = ("dropped", "request")

    def __init__(self, body: bytes) -> None:
        fields = decode_request(FIELDS, body)
        self.dropped: list[str] = []
        for name in fields.keys() - READS:
            if not given(fields[name]):
                continue
            if name not in IDLE:
                raise unsupported(VENDOR, printable(name, 60))
            self.dropped.append(name)
        self.request = decode_request(REQUEST, body)

    def canonical(self, *, stream: bool) -> bytes:
        request = self.request
        chat: dict[str, Any] = {"model": request.model, "messages": list(self._messages())}
        if request.max_tokens < 1:
            raise invalid("max_tokens", "must be at least 1")
        chat["max_completion_tokens"] = request.max_tokens
        if request.tools:
            chat["tools"] = [self._tool(raw, f"tools[{index}]") for index, raw in enumerate(request.tools)]
            chat.update(choice_of(request.tool_choice))
        if request.stop_sequences:
            chat["stop"] = request.stop_sequences
        for name in ("temperature", "top_p", "top_k"):
            if (value := getattr(request, name)) is not None:
                chat[name] = value
        chat.update(self._effort())
        chat.update(self._format())
        chat.update(self._user())
        if stream:
            chat["stream"] = True
        return ENCODER.encode(chat)

    # -- options

    def _effort(self) -> dict[str, str]:
        """The room to think in, as the effort that it amounts to."""
        thinking, config = self.request.thinking, self.request.output_config
        effort = config.effort if config is not None else None
        if effort is not None and effort not in EFFORTS:
            raise invalid("output_config.effort", f"must be one of {', '.join(EFFORTS)}")
        said = EFFORTS[effort] if effort is not None else None
        match thinking.type if thinking is not None else "":
            case "":
                return {"reasoning_effort": said} if said else {}
            case "disabled":
                # Models that cannot think refuse to be told not to, and clients say it to every model.
                self.dropped += ["thinking", "output_config.effort"] if said else ["thinking"]
                return {}
            case "adaptive" | "between_tools":
                return {"reasoning_effort": said or ADAPTIVE_EFFORT}
            case "enabled":
                assert thinking is not None
                return {"reasoning_effort": said or effort_of(thinking.budget_tokens)}
        raise invalid("thinking.type", "must be enabled, adaptive, between_tools or disabled")

    def _format(self) -> dict[str, Any]:
        config = self.request.output_config
        form = (config.format if config is not None else None) or self.request.output_format
        if form is None:
            return {}
        if form.type != "json_schema" or form.schema is None:
            raise unsupported(VENDOR, "output_config.format.type", "only json_schema, with its schema, is known")
        named: dict[str, Any] = {"name": "answer", "schema": form.schema}
        if is_strict(tree_of(ENCODER.encode(form.schema))):
            named["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def _user(self) -> dict[str, Raw]:
        metadata = self.request.metadata or {}
        self.dropped += [f"metadata.{printable(name, 40)}" for name in metadata if name != "user_id"]
        user = metadata.get("user_id", ABSENT)
        return {"user": user} if given(user) else {}

    def _tool(self, raw: Raw, at: str) -> dict[str, Any]:
        try:
            tool = TOOL.decode(raw)
        except msgspec.ValidationError:
            fields = decode_at(FIELDS, raw, at)
            refuse_server_tool(fields.get("type", ABSENT), at)  # Before anybody complains about its other fields.
            tool = decode_at(TOOL, self._known(fields, TOOL_FIELDS, at), at)
        if tool.type not in (None, "custom"):
            raise server_tool(at)
        if not given(tool.input_schema):
            param = f"{at}.input_schema"
            raise GatewayError("missing_required_parameter", f"'{param}' is required", param=param)
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
        request = self.request
        if request.system:
            yield {"role": "system", "content": self._texts(request.system, "system")}
        for index, turn in enumerate(request.messages):
            at = f"messages[{index}].content"
            match turn.role:
                case "user":
                    yield from self.user_turn(turn.content, at)
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
        for block, here in self.blocks(content, at):
            if not isinstance(block, Text):
                raise unsupported(VENDOR, f"{here}.type", "only text can stand here")
            made.append(text_part(block))
        return plain(made)

    def user_turn(self, content: str | list[Raw], at: str) -> Iterator[dict[str, Any]]:
        """A chat wants what tools answered right after their calls, so it comes first, as Anthropic wants it too."""
        if isinstance(content, str):
            yield {"role": "user", "content": content}
            return
        parts: list[dict[str, Any]] = []
        for block, here in self.blocks(content, at):
            if isinstance(block, ToolResult):
                yield self._tool_result(block, here)
            else:
                parts += self.parts(block, here)
        if parts or not content:
            yield {"role": "user", "content": plain(parts)}

    def _tool_result(self, block: ToolResult, at: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if isinstance(block.content, str):
            parts.append({"type": "text", "text": block.content})
        else:
            for inner, here in self.blocks(block.content or [], f"{at}.content"):
                parts += self.parts(inner, here)
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
        for (block, here), raw in zip(self.blocks(content, at), content, strict=True):
            match block:
                case Text():
                    if given(block.citations):
                        self.dropped.append(f"{here}.citations")
                    texts.append(text_part(block))
                case ToolUse():
                    calls.append(self._call(block, here))
                case Thought():
                    thought.append(block.thinking)
                    found = ours(block.signature, f"{here}.signature")
                    if found is None:
                        thinking.append(raw)
                    else:
                        carried = joined(carried, found)
                case Redacted():
                    thinking.append(raw)
                case _:
                    raise unsupported(
                        VENDOR, f"{here}.type", "an assistant says only text, calls and thinking in a chat"
                    )
        said: dict[str, Any] = {"role": "assistant", "content": plain(texts) if texts or not calls else None}
        if any(thought):
            said["reasoning_content"] = "".join(thought)
        if thinking:
            said["thinking_blocks"] = thinking
        if calls:
            said["tool_calls"] = [with_extra(call, carried.calls) for call in calls]
        return {**said, "extra_content": carried.message} if given(carried.message) else said

    def _call(self, block: ToolUse, at: str) -> dict[str, Any]:
        if given(block.cache_control):
            self.dropped.append(f"{at}.cache_control")
        if given(block.caller) and compact(block.caller) != DIRECT:
            self.dropped.append(f"{at}.caller")
        if bytes(block.input)[:1] != b"{":
            raise invalid(f"{at}.input", "must be an object")
        return {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": compact(block.input)},
        }

    # -- blocks

    def blocks(self, raws: list[Raw], at: str) -> Iterator[tuple[Content, str]]:
        for index, raw in enumerate(raws):
            here = f"{at}[{index}]"
            try:
                yield BLOCK.decode(raw), here
            except msgspec.ValidationError:
                yield self._odd_block(raw, here), here

    def _odd_block(self, raw: Raw, at: str) -> Content:
        """One with fields that have no place, of a kind that has none, or that is wrong."""
        fields = decode_at(FIELDS, raw, at)
        kind = decode_at(TEXT, fields["type"], f"{at}.type") if "type" in fields else "none at all"
        known = BLOCK_FIELDS.get(kind)
        if known is None:
            raise unsupported(VENDOR, f"{at}.type", f"a chat has no equivalent of '{printable(kind, 40)}'")
        found: Content = decode_at(BLOCK, self._known(fields, known, at), at)
        return found

    def _known(self, fields: Mapping[str, Raw], known: frozenset[str], at: str) -> Raw:
        """The object without the fields that nobody reads."""
        for name in fields.keys() - known:
            if given(fields[name]):
                self.dropped.append(f"{at}.{printable(name, 40)}")
        return Raw(ENCODER.encode({name: value for name, value in fields.items() if name in known}))

    def parts(self, block: Content, at: str) -> list[dict[str, Any]]:
        match block:
            case Text():
                if given(block.citations):
                    self.dropped.append(f"{at}.citations")
                return [text_part(block)]
            case Image():
                return [cached(image_part(block.source, f"{at}.source"), block)]
            case Document():
                refuse_citations(block.citations, at)
                return self._document(block, f"{at}.source")
            case SearchResult():
                refuse_citations(block.citations, at)
                found = self._texts(block.content, f"{at}.content")
                lines = [found] if isinstance(found, str) else [part["text"] for part in found]
                return [cached({"type": "text", "text": "\n".join([block.title, block.source, *lines])}, block)]
        raise unsupported(VENDOR, f"{at}.type", "it has no place here in a chat")

    def _document(self, block: Document, at: str) -> list[dict[str, Any]]:
        source = block.source
        head = [line for line in (block.title, block.context) if line]
        match source.type:
            case "base64" | "url" if source.type == "url" or source.media_type == PDF:
                data = source.url if source.type == "url" else f"data:{PDF};base64,{source.data}"
                file = {"type": "file", "file": {"filename": block.title or UNNAMED_PDF, "file_data": data}}
                context = [{"type": "text", "text": block.context}] if block.context else []
                return [*context, cached(file, block)]
            case "text":
                return [cached({"type": "text", "text": "\n".join([*head, source.data])}, block)]
            case "content" if isinstance(source.content, str):
                return [cached({"type": "text", "text": "\n".join([*head, source.content])}, block)]
            case "content":
                parts = [{"type": "text", "text": "\n".join(head)}] if head else []
                for inner, here in self.blocks(source.content, f"{at}.content"):  # type: ignore[arg-type]
                    parts += self.parts(inner, here)
                return [*parts[:-1], cached(parts[-1], block)] if parts else []
        raise unsupported(VENDOR, f"{at}.type", "a document is a PDF, a text or content; files live at their vendor")


# -- pure pieces


def decode_at(decoder: msgspec.json.Decoder[Any], raw: Raw, at: str) -> Any:
    """Raises GatewayError with the path from the top of the body."""
    try:
        return decode_request(decoder, bytes(raw))
    except GatewayError as error:
        param = f"{at}.{error.param}" if error.param else at
        says = error.message.replace(f"'{error.param or 'body'}'", f"'{param}'", 1)
        raise GatewayError(error.code if error.param else "invalid_type", says, param=param) from None


def server_tool(at: str) -> GatewayError:
    return unsupported(VENDOR, f"{at}.type", "only tools that the caller runs can be translated")


def refuse_server_tool(kind: Raw, at: str) -> None:
    if given(kind) and bytes(kind) != b'"custom"':
        raise server_tool(at)


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
        if not isinstance(properties, dict) or not isinstance(required, list):
            return False
        if schema.get("additionalProperties") is not False or any(name not in required for name in properties):
            return False
        definitions = schema.get("$defs")
        inner = [*properties.values(), *(definitions.values() if isinstance(definitions, dict) else ())]
        named = all(isinstance(name, str) and name in properties for name in required)
        return named and all(map(is_strict, inner))
    return all(is_strict(value) for name, value in schema.items() if name not in ("enum", "const", "default"))


def plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text says the same as a list of it, and every server takes it."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def text_part(block: Text) -> dict[str, Any]:
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


def refuse_citations(citations: Raw, at: str) -> None:
    if not given(citations):
        return
    wanted = decode_at(FIELDS, citations, f"{at}.citations").get("enabled", ABSENT)
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
