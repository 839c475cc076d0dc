"""The canonical chat: OpenAI's chat completions request, read into structs."""

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_request, given, invalid, printable, unsupported


class Function(Struct, frozen=True):
    name: str
    arguments: str = ""


class ToolCall(Struct, frozen=True, kw_only=True):
    id: str = ""
    type: str = "function"
    function: Function | None = None
    extra_content: Raw = ABSENT  # Google's place for thought signatures in OpenAI's format.


class ImageUrl(Struct, frozen=True):
    url: str
    detail: str | None = None


class InputAudio(Struct, frozen=True):
    data: str
    format: str


class File(Struct, frozen=True, kw_only=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Part(Struct, frozen=True, kw_only=True):
    """One part of a message's content; which field is set depends on `type`."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    cache_control: Raw = ABSENT  # Anthropic's, from clients that know it.


class Message(Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    is_error: bool = False  # Of a tool result; an extension that Anthropic and Google understand.
    refusal: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[Raw] | None = None
    function_call: Function | None = None
    extra_content: Raw = ABSENT
    audio: Raw = ABSENT


class FunctionTool(Struct, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class Tool(Struct, frozen=True, kw_only=True):
    type: str = "function"
    function: FunctionTool | None = None
    cache_control: Raw = ABSENT


class Named(Struct, frozen=True):
    name: str


class NamedTool(Struct, frozen=True, kw_only=True):
    type: str = "function"
    function: Named | None = None


class JsonSchema(Struct, frozen=True, kw_only=True):
    name: str = ""
    description: str | None = None
    schema: dict[str, Raw] | None = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True):
    type: str
    json_schema: JsonSchema | None = None


class Chat(Struct, frozen=True, kw_only=True):
    """A chat completions request. Numbers keep the spelling of an integer where the caller wrote one."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: int | float | None = None
    frequency_penalty: int | float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking: Raw = ABSENT  # Anthropic's, from clients that know it.
    modalities: list[str] | None = None
    user: str | None = None

    @property
    def output_tokens_max(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


STRUCTURE = frozenset({"model", "messages", "stream", "stream_options"})
"""Fields that every adapter reads."""

METADATA = frozenset(
    {
        "metadata",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that do not change what the answer says: dropped, and listed, where a vendor has no place for them."""

DEFAULTS: dict[str, Any] = {
    "frequency_penalty": 0,
    "function_call": "none",
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "temperature": 1,
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "verbosity": "medium",
}
"""What a field says when it says nothing: no reason to refuse a request."""

MESSAGE_FIELDS = frozenset(Message.__struct_encode_fields__) | {"annotations"}

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_CHAT = msgspec.json.Decoder(Chat)
_MESSAGES = msgspec.json.Decoder(list[dict[str, Raw]])


def read(body: bytes, *, vendor: str, reads: frozenset[str]) -> tuple[Chat, list[str]]:
    """The request, and the fields that are dropped. `reads` names the fields that the adapter translates.

    Raises GatewayError naming the first field that the vendor has no place for and whose value says something.
    """
    fields = decode_request(_FIELDS, body)
    dropped: list[str] = []
    for name in fields.keys() - reads - STRUCTURE:
        if name in METADATA:
            dropped.append(name)
        elif not says_nothing(name, fields[name]):
            raise unsupported(vendor, name)
    chat = decode_request(_CHAT, body)
    dropped.extend(_unread_message_fields(fields["messages"]))
    return chat, sorted(dropped)


def decode(body: bytes) -> Chat:
    """The request, whatever else it may contain."""
    return decode_request(_CHAT, body)


def says_nothing(name: str, value: Raw) -> bool:
    """The field is there and means what its absence means."""
    if bytes(value) == b"null":
        return True
    return name in DEFAULTS and bool(tree_of(value) == DEFAULTS[name])


def parts(message: Message) -> list[Part]:
    """The content as parts, whichever of its forms it has."""
    if isinstance(message.content, str):
        return [Part(type="text", text=message.content)] if message.content else []
    return message.content or []


def text_of(part: Part, at: str, vendor: str) -> str:
    """The text of a part where only text can be: system, assistant and most tool messages."""
    match part.type:
        case "text":
            return part.text or ""
        case "refusal":
            return part.refusal or ""
    raise unsupported(vendor, f"{at}.type", f"{vendor} takes only text here, not '{printable(part.type, 40)}'")


def text(message: Message, index: int, vendor: str) -> str:
    """The whole content as one text. What a model said is joined as it was said, other parts are lines."""
    if isinstance(message.content, str):
        return message.content
    found = [text_of(part, f"messages[{index}].content[{i}]", vendor) for i, part in enumerate(message.content or [])]
    return ("" if message.role == "assistant" else "\n").join(found)


def unheard(chat: Chat) -> list[str]:
    """Hints that most vendors have no place for: they make an answer cheaper or sharper, not another one."""
    found = set()
    for part in (part for message in chat.messages if isinstance(message.content, list) for part in message.content):
        if given(part.cache_control):
            found.add("cache_control")
        if isinstance(part.image_url, ImageUrl) and part.image_url.detail not in (None, "auto"):
            found.add("messages[].content[].image_url.detail")
        if part.file is not None and part.file.filename:
            found.add("messages[].content[].file.filename")
    if any(given(tool.cache_control) for tool in chat.tools or []):
        found.add("cache_control")
    return sorted(found)


def in_call_order(messages: list[Message]) -> list[tuple[int, Message]]:
    """The messages with their places; results of parallel calls in the order of the calls, for vendors who know calls by it."""
    places = list(enumerate(messages))
    for start, message in enumerate(messages):
        if message.tool_calls and len(message.tool_calls) > 1:
            order = {call.id: number for number, call in enumerate(message.tool_calls)}
            end = start + 1
            while end < len(messages) and messages[end].role == "tool":
                end += 1
            places[start + 1 : end] = sorted(
                places[start + 1 : end], key=lambda place: order.get(place[1].tool_call_id or "", len(order))
            )
    return places


def functions(chat: Chat, vendor: str) -> list[FunctionTool]:
    """The tools, all of which must be functions."""
    found = []
    for index, tool in enumerate(chat.tools or []):
        if tool.type != "function" or tool.function is None:
            raise unsupported(vendor, f"tools[{index}].type", "only tools of type 'function' can be translated")
        found.append(tool.function)
    return found


def calls(message: Message, index: int, vendor: str) -> list[tuple[ToolCall, Function, Raw]]:
    """The tool calls of an assistant message with their arguments as a JSON object."""
    if message.function_call is not None:
        raise unsupported(vendor, f"messages[{index}].function_call", "it is deprecated; use tool_calls")
    found = []
    for number, call in enumerate(message.tool_calls or []):
        at = f"messages[{index}].tool_calls[{number}]"
        if call.function is None:
            raise unsupported(vendor, f"{at}.type", "only calls of type 'function' can be translated")
        found.append((call, call.function, arguments(call.function, f"{at}.function.arguments")))
    return found


def arguments(function: Function, at: str) -> Raw:
    """Arguments as the JSON object that vendors want. No arguments at all is what some models mean by `{}`."""
    if not function.arguments.strip():
        return Raw(b"{}")
    raw = function.arguments.encode()
    try:
        _FIELDS.decode(raw)
    except UNREADABLE:
        raise invalid(at, "must be the text of a JSON object; repair or remove this tool call") from None
    return Raw(raw)


class Choice(Struct, frozen=True):
    """What `tool_choice` asks for, in whichever form: auto, none, required, or `named`."""

    mode: str
    name: str = ""


def tool_choice(chat: Chat, vendor: str) -> Choice | None:
    """None when the caller left it to the default."""
    match chat.tool_choice:
        case None:
            return None
        case "auto" | "none" | "required" as mode:
            return Choice(mode)
        case NamedTool(type="function", function=Named(name=name)):
            return Choice("named", name)
    raise unsupported(vendor, "tool_choice", f"{vendor} knows auto, none, required and a named function")


def unnumbered(block: Raw) -> Raw:
    """A block of thinking without the `index` that it had in a stream; see `Chunks`."""
    if b'"index"' not in bytes(block):
        return block
    fields = _FIELDS.decode(block)
    return block if fields.pop("index", None) is None else Raw(msgspec.json.encode(fields))


OPENING = "Hello."  # What a user has said where a conversation may not begin with the assistant.
UNNAMED_PDF = "document.pdf"  # What stands for the name of a file that its caller did not name.

DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)


def image_url(part: Part) -> str:
    if isinstance(part.image_url, ImageUrl):
        return part.image_url.url
    return part.image_url or ""


def data_url(url: str, at: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a data URL; None of a web address. Raises GatewayError of anything else."""
    if url[:5].lower() != "data:":
        if url[:8].lower() == "https://" or url[:7].lower() == "http://":
            return None
        raise invalid(at, "must be a data: URL with base64 content, or a web address")
    found = DATA_URL.match(url[:512])
    if found is None or not found["type"]:
        raise invalid(at, "must be of the form data:<media type>;base64,<data>")
    return found["type"].lower(), url[found.end() :]


def _unread_message_fields(messages: Raw) -> list[str]:
    """Message fields of other vendors: they annotate the history and have no place elsewhere."""
    found = []
    for index, message in enumerate(_MESSAGES.decode(messages)):
        for name in message.keys() - MESSAGE_FIELDS:
            if bytes(message[name]) != b"null":
                found.append(f"messages[{index}].{printable(name, 40)}")
    return found
