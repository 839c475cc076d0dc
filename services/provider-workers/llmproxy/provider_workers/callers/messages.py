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
from llmproxy.provider_workers.canonical_answers import compact
from llmproxy.provider_workers.carried import Carried, unpack
from llmproxy.provider_workers.messages_answers import Teller, message_of
from llmproxy.provider_workers.reading import ABSENT, decode_request, given, invalid, printable, unsupported
from llmproxy.provider_workers.wire import ENCODER, Origin
from llmproxy.provider_workers.written import ENTRY, FUNCTION, MESSAGE, brackets, inside, nth, renamed
from llmproxy.provider_workers.written import TOOL as TOOL_AT

VENDOR = "a chat endpoint"  # Whatever vendor's it is.

# --- Requests as they come --------------------------------------------------------------------------------------------


class Source(Struct, frozen=True, kw_only=True):
    """Where an image or a document is; which field is set depends on `type`."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: str | list[Raw] = ""


class Block(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A content block that can be told in a chat. Fields that are not here are dropped, and listed."""

    cache_control: Raw = ABSENT


class Text(Block, frozen=True, kw_only=True, tag="text"):
    text: str
    citations: Raw = ABSENT


class Image(Block, frozen=True, kw_only=True, tag="image"):
    source: Source


class Document(Block, frozen=True, kw_only=True, tag="document"):
    source: Source
    title: str | None = None
    context: str | None = None
    citations: Raw = ABSENT


class SearchResult(Block, frozen=True, kw_only=True, tag="search_result"):
    source: str
    title: str
    content: list[Raw]
    citations: Raw = ABSENT


class Thought(Block, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: str = ""


class Redacted(Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: str


class ToolUse(Block, frozen=True, kw_only=True, tag="tool_use"):
    id: str
    name: str
    input: Raw
    caller: Raw = ABSENT


class ToolResult(Block, frozen=True, kw_only=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


KINDS = (Text, Image, Document, SearchResult, Thought, Redacted, ToolUse, ToolResult)
Content = Text | Image | Document | SearchResult | Thought | Redacted | ToolUse | ToolResult


class Turn(Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[Raw]


class Tool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
REQUEST = msgspec.json.Decoder(Request)
BLOCK = msgspec.json.Decoder(Content)
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

BLOCK_FIELDS = {kind.__struct_config__.tag: frozenset({*kind.__struct_encode_fields__, "type"}) for kind in KINDS}
TOOL_FIELDS = frozenset(Tool.__struct_encode_fields__)
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
BUDGETS = ((4_096, "low"), (16_384, "medium"))  # Tokens to think with, below which it is that effort.
ADAPTIVE_EFFORT = "high"  # What the vendor documents for a model that decides itself.
DIRECT = '{"type":"direct"}'
PDF = "application/pdf"
PDF_NAME = "document.pdf"  # OpenAI's chat wants a name with a file.


NAMES: Mapping[str, str] = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "reasoning_effort": "thinking",
    "response_format": "output_config.format",
    **dict.fromkeys(
        (f"response_format.json_schema{field}" for field in ("", ".name", ".strict")), "output_config.format"
    ),
    "tool_choice.function": "tool_choice",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
}
TOOL_NAMES = {**FUNCTION, "function.parameters": "input_schema", "type": "type", "cache_control": "cache_control"}
CALL_NAMES = {"id": "id", "type": "type", "function": "", "function.name": "name", "function.arguments": "input"}
RESULT_NAMES = {"tool_call_id": "tool_use_id", "content": "content", "is_error": "is_error", "role": "type"}
PART_NAMES = {"type": "type", "cache_control": "cache_control", "file.filename": "title"}
PART_NAMES |= dict.fromkeys(("image_url", "image_url.url", "file", "file.file_data"), "source")
TEXT_NAMES = {**PART_NAMES, "text": "text"}


class Messages:
    api: Api = "messages"
    names: Mapping[str, str] = NAMES

    def read(self, body: bytes, *, stream: bool) -> "Asked":
        return Reading(body).asked(stream)

    def place(self, body: bytes, path: str) -> str:
        return Reading(body).place(brackets(path))


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

    # -- where what came from

    def place(self, path: str) -> str:
        """See `Caller.place`."""
        request = self._request
        if (found := MESSAGE.fullmatch(path)) is not None:
            return self._message_place(int(found[1]), found[2])
        if (found := TOOL_AT.fullmatch(path)) is not None:
            return inside(f"tools[{found[1]}]", TOOL_NAMES, found[2])
        config, names = request.output_config, dict(NAMES)
        if config is not None and config.effort is not None:
            names["reasoning_effort"] = "output_config.effort"
        if config is None or config.format is None:
            names["response_format"] = names["response_format.json_schema"] = "output_format"
        return renamed(names, path)

    def _message_place(self, number: int, rest: str) -> str:
        if self._request.system:
            if number == 0:
                return inside("", {"content": "system"}, rest) or "system"
            number -= 1
        for index, turn in enumerate(self._request.messages):
            at, content = f"messages[{index}].content", turn.content
            if turn.role != "user" or isinstance(content, str):
                results, made = [], 1
            else:
                results = [place for place in self._blocks(content, at) if isinstance(place[0], ToolResult)]
                made = len(list(self._user_turn(content, at)))
            if number < len(results):
                return self._result_place(*results[number], rest)
            if number < made:
                return f"messages[{index}].role" if rest == "role" else self._turn_place(turn, at, rest)
            number -= made
        return "messages"

    def _result_place(self, block: Content, at: str, rest: str) -> str:
        found = ENTRY.fullmatch(rest)
        if found is None or not isinstance(block, ToolResult) or not isinstance(block.content, list):
            return inside(at, RESULT_NAMES, rest)
        return self._part_place(block.content, f"{at}.content", int(found[2]), found[3])

    def _turn_place(self, turn: Turn, at: str, rest: str) -> str:
        found = ENTRY.fullmatch(rest)
        if found is None or isinstance(turn.content, str):
            return at
        kind, number, tail = found[1], int(found[2]), found[3]
        if turn.role != "assistant":
            return self._part_place(turn.content, at, number, tail)
        kinds: dict[str, list[str]] = {"content": [], "tool_calls": [], "thinking_blocks": []}
        for block, here in self._blocks(turn.content, at):
            match block:
                case Text():
                    kinds["content"].append(here)
                case ToolUse():
                    kinds["tool_calls"].append(here)
                case Thought(signature=signature) if ours(signature, here) is None:
                    kinds["thinking_blocks"].append(here)
                case Redacted():
                    kinds["thinking_blocks"].append(here)
        names = CALL_NAMES if kind == "tool_calls" else TEXT_NAMES
        return inside(nth(kinds.get(kind, []), number, at), names, tail)

    def _part_place(self, content: list[Raw], at: str, number: int, rest: str) -> str:
        """In the block that became the part of this number; one may become several."""
        for block, here in self._blocks(content, at):
            if not isinstance(block, ToolResult):
                number -= len(self._parts(block, here))
                if number < 0:
                    return inside(here, TEXT_NAMES if isinstance(block, Text) else PART_NAMES, rest)
        return at

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
            if not isinstance(block, Text):
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
            if isinstance(block, ToolResult):
                yield self._tool_result(block, here)
            else:
                parts += self._parts(block, here)
        if parts or not content:
            yield {"role": "user", "content": plain(parts)}

    def _tool_result(self, block: ToolResult, at: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if isinstance(block.content, str):
            parts.append({"type": "text", "text": block.content})
        else:
            for inner, here in self._blocks(block.content or [], f"{at}.content"):
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
            match block:
                case Text():
                    if given(block.citations):
                        self._dropped.append(f"{here}.citations")
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
            self._dropped.append(f"{at}.cache_control")
        if given(block.caller) and compact(block.caller) != DIRECT:
            self._dropped.append(f"{at}.caller")
        if bytes(block.input)[:1] != b"{":
            raise invalid(f"{at}.input", "must be an object")
        return {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": compact(block.input)},
        }

    # -- blocks

    def _blocks(self, raws: list[Raw], at: str) -> Iterator[tuple[Content, str]]:
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
                self._dropped.append(f"{at}.{printable(name, 40)}")
        return Raw(ENCODER.encode({name: value for name, value in fields.items() if name in known}))

    def _parts(self, block: Content, at: str) -> list[dict[str, Any]]:
        match block:
            case Text():
                if given(block.citations):
                    self._dropped.append(f"{at}.citations")
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
                file = {"type": "file", "file": {"filename": block.title or PDF_NAME, "file_data": data}}
                context = [{"type": "text", "text": block.context}] if block.context else []
                return [*context, cached(file, block)]
            case "text":
                return [cached({"type": "text", "text": "\n".join([*head, source.data])}, block)]
            case "content" if isinstance(source.content, str):
                return [cached({"type": "text", "text": "\n".join([*head, source.content])}, block)]
            case "content":
                parts = [{"type": "text", "text": "\n".join(head)}] if head else []
                for inner, here in self._blocks(source.content, f"{at}.content"):  # type: ignore[arg-type]
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
