"""The canonical chat: OpenAI's chat completions request read into structs, answers and chunks written from values."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises of bytes that are not JSON, not text, not of the shape expected, or endlessly nested."""

# --- Requests ---------------------------------------------------------------------------------------------------------


ABSENT = Raw(b"")  # msgspec has no optional Raw; `given` tells it, and null, from a value.


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
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)

T = TypeVar("T")


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


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes, at: str = "") -> T:
    """What a caller sent, or what of it stands `at` a field. Raises GatewayError naming what is missing or of the wrong type."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        what, path = (found["what"], found["path"]) if found else ("is not valid", "")
        param = f"{at}.{path or ''}".strip(".").replace("[...]", "[]").replace(".[", "[")
        if what.startswith("Object missing required field"):
            name = what.partition("`")[2].rstrip("`")
            param = f"{param}.{name}" if param else name
            raise GatewayError("missing_required_parameter", f"'{param}' is required", param=param) from None
        if what.startswith("Object contains unknown field"):
            name = printable(what.partition("`")[2].rstrip("`"), 40)
            param = f"{param}.{name}" if param else name
            raise GatewayError("unsupported_parameter", f"'{param}' is not known here", param=param) from None
        raise GatewayError("invalid_type", f"'{param or 'body'}': {printable(what)}", param=param) from None
    except RecursionError:
        raise GatewayError("too_deep", "the body is nested too deeply") from None
    except UNREADABLE:
        raise GatewayError("invalid_json", "the body is not valid JSON") from None


def says_nothing(name: str, value: Raw) -> bool:
    """The field is there and means what its absence means."""
    if bytes(value) == b"null":
        return True
    return name in DEFAULTS and bool(msgspec.json.decode(value) == DEFAULTS[name])


def unsupported(vendor: str, param: str, why: str = "") -> GatewayError:
    return refused(param, why or f"{vendor} has no equivalent; leave it out or use another model")


def refused(param: str, why: str) -> GatewayError:
    return GatewayError("unsupported_parameter", f"'{param}' is not supported with this model: {why}", param=param)


def invalid(param: str, why: str) -> GatewayError:
    return GatewayError("invalid_value", f"'{param}' {why}", param=param)


def given(raw: Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


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


def compact(arguments: Raw) -> str:
    """A vendor's arguments object as the text that `arguments` is here; numbers keep their spelling."""
    return msgspec.json.format(bytes(arguments), indent=-1).decode()


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


# --- Answers ----------------------------------------------------------------------------------------------------------


class TokenOut(Struct, frozen=True, kw_only=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["TokenOut"] | UnsetType = UNSET


def token_out(token: str, logprob: float, top: list[tuple[str, float]] | None = None) -> TokenOut:
    """One token's log probability; `top` are the alternatives, which every token of an answer has, if only none."""
    others = UNSET if top is None else [token_out(*other) for other in top]
    return TokenOut(token=token, logprob=logprob, bytes=list(token.encode()), top_logprobs=others)


def logprobs_out(tokens: list[TokenOut]) -> Raw | None:
    return Raw(ENCODER.encode({"content": tokens, "refusal": None})) if tokens else None


class FunctionOut(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCallOut(Struct, frozen=True, kw_only=True):
    """A call in an answer (no `index`) or in a delta (`index`; id, type and name only in its first)."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: FunctionOut
    extra_content: Raw | UnsetType = UNSET


class MessageOut(Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    annotations: list[Raw] | UnsetType = UNSET
    images: list[Raw] | UnsetType = UNSET  # OpenRouter's place for pictures that a model made.
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET
    extra_content: Raw | UnsetType = UNSET


class ChoiceOut(Struct, frozen=True, kw_only=True):
    index: int = 0
    message: MessageOut
    logprobs: Raw | None = None
    finish_reason: str


class Delta(Struct, frozen=True, kw_only=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    annotations: list[Raw] | UnsetType = UNSET
    images: list[Raw] | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET
    extra_content: Raw | UnsetType = UNSET


class PromptDetails(Struct, frozen=True, kw_only=True):
    cached_tokens: int = 0
    cache_write_tokens: int | UnsetType = UNSET
    audio_tokens: int | UnsetType = UNSET


class CompletionDetails(Struct, frozen=True, kw_only=True):
    reasoning_tokens: int = 0
    audio_tokens: int | UnsetType = UNSET


class UsageOut(Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def called(name: str, arguments: Raw, id: str, index: int | None = None, extra: Raw | UnsetType = UNSET) -> ToolCallOut:
    """A whole call, of an answer or (with its index) of one chunk, from a vendor whose arguments are an object."""
    return ToolCallOut(
        index=UNSET if index is None else index,
        id=id,
        type="function",
        function=FunctionOut(name=name, arguments=compact(arguments)),
        extra_content=extra,
    )


class Completion(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceOut]
    usage: UsageOut
    system_fingerprint: str | UnsetType = UNSET


class DeltaChoice(Struct, frozen=True, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: Raw | None = None
    finish_reason: str | None = None


class Chunk(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[DeltaChoice]
    usage: UsageOut | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET


ENCODER = msgspec.json.Encoder()

TOKENS_MAX = 1_000_000_000  # No answer has more; a vendor that says so is wrong.
OUR_CALL_IDS = "call_"
CALL_ID_CHARS = 24  # Of the request's id: the random end of a UUIDv7.

NOTHING = Delta()


def tokens(count: int | None) -> int:
    """A vendor's count, made harmless: it becomes money."""
    return min(max(count or 0, 0), TOKENS_MAX)


def usage_out(usage: Usage) -> UsageOut:
    return UsageOut(
        prompt_tokens=usage.input,
        completion_tokens=usage.output,
        total_tokens=usage.input + usage.output,
        prompt_tokens_details=PromptDetails(
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write or UNSET,
            audio_tokens=usage.audio_input or UNSET,
        ),
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=usage.reasoning, audio_tokens=usage.audio_output or UNSET
        ),
    )


def completion(origin: Origin, choices: list[ChoiceOut], usage: Usage, finish: Finish, fingerprint: str = "") -> Answer:
    answer = Completion(
        id=completion_id(origin),
        created=origin.created,
        model=origin.model,
        choices=choices,
        usage=usage_out(usage),
        system_fingerprint=fingerprint or UNSET,
    )
    return Answer(json=ENCODER.encode(answer), usage=usage, finish=finish)


def completion_id(origin: Origin) -> str:
    return f"chatcmpl-{origin.id}"


def call_id(origin: Origin, number: int) -> str:
    """An id for a tool call of a vendor that gives none. OpenAI takes at most 40 characters when it comes back."""
    return f"{OUR_CALL_IDS}{origin.id.replace('-', '')[-CALL_ID_CHARS:]}_{number}"


def failed(error: GatewayError) -> Answer:
    return Answer(json=b"", finish="error", failure=error)


class Chunks:
    """Writes the chunks of one answer, and counts the characters that they deliver."""

    __slots__ = (
        "_after",
        "_before",
        "_created",
        "_fingerprint",
        "_id",
        "_include_usage",
        "_model",
        "_started",
        "text_chars",
    )

    def __init__(self, origin: Origin, fingerprint: str = "") -> None:
        self._id = completion_id(origin)
        self._model = origin.model
        self._created = origin.created
        self._include_usage = origin.include_usage
        self._fingerprint: str | UnsetType = fingerprint or UNSET
        self._started: set[int] = set()
        self.text_chars = 0
        # Nearly all chunks differ in their text alone. What follows it in a chunk is ours, so the last NUL is the sample's.
        self._before, _, self._after = self.delta(Delta(content="\0")).rpartition(b'"\\u0000"')

    def start(self, index: int = 0) -> list[bytes]:
        """The chunk that opens a choice with its role; nothing when it is open already."""
        if index in self._started:
            return []
        self._started.add(index)
        return [self.delta(Delta(role="assistant", content=""), index)]

    def delta(self, delta: Delta, index: int = 0, logprobs: Raw | None = None) -> bytes:
        choice = DeltaChoice(index=index, delta=delta, logprobs=logprobs)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def text(self, text: str, index: int = 0, logprobs: Raw | None = None) -> bytes:
        self.text_chars += len(text)
        if index == 0 and logprobs is None:
            return self._before + ENCODER.encode(text) + self._after
        return self.delta(Delta(content=text), index, logprobs)

    def likely_text(self, text: str, logprobs: Raw | None) -> bytes:
        """Text with its probabilities."""
        self.text_chars += len(text)
        choice = DeltaChoice(delta=Delta(content=text), logprobs=logprobs)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def refusal(self, text: str, index: int = 0) -> bytes:
        self.text_chars += len(text)
        return self.delta(Delta(refusal=text), index)

    def reasoning(self, text: str, index: int = 0) -> bytes:
        self.text_chars += len(text)
        return self.delta(Delta(reasoning_content=text), index)

    def call(self, call: ToolCallOut, index: int = 0) -> bytes:
        self.text_chars += len(call.function.arguments) + len(call.function.name or "")
        return self.delta(Delta(tool_calls=[call]), index)

    def arguments(self, number: int, text: str, index: int = 0) -> bytes:
        """A piece of what the call of this number is given."""
        return self.call(ToolCallOut(index=number, function=FunctionOut(arguments=text)), index)

    def end(self, finish: Finish, index: int = 0) -> bytes:
        choice = DeltaChoice(index=index, delta=NOTHING, finish_reason=finish)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def total(self, usage: Usage) -> list[bytes]:
        """The usage chunk, when it was asked for."""
        return [self._chunk([], usage_out(usage))] if self._include_usage else []

    def _chunk(self, choices: list[DeltaChoice], usage: UsageOut | UnsetType | None) -> bytes:
        chunk = Chunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage,
            system_fingerprint=self._fingerprint,
        )
        return ENCODER.encode(chunk)


JSON_HEADERS = (("content-type", "application/json"),)


def post(
    url: str, request: Mapping[str, Any], dropped: list[str], headers: tuple[tuple[str, str], ...] = JSON_HEADERS
) -> HttpRequest:
    return HttpRequest(method="POST", url=url, headers=headers, body=ENCODER.encode(request), dropped=tuple(dropped))


# --- What vendors send ------------------------------------------------------------------------------------------------

MESSAGE_CHARS_MAX = 500  # Of a vendor's error message; longer ones quote the request.

_SPACES = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|AIza|hf)[-_]?[A-Za-z0-9*_-]{12,}|\borg[-_][A-Za-z0-9]{4,}|Bearer\s+\S+", re.ASCII
)


def printable(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """Vendor text that is safe to show: one line, bounded, and without anything that looks like a credential."""
    shown = _KEYS.sub("***", _SPACES.sub(" ", text[: chars_max * 2])).strip()
    return shown if len(shown) <= chars_max else shown[: chars_max - 1] + "…"


def decode_vendor(decoder: msgspec.json.Decoder[T], data: bytes, vendor: str) -> T:
    """Raises GatewayError when the vendor's JSON is not what its reference says.

    What is passed on unread must be UTF-8 too, which the decoder does not check.
    """
    try:
        if not data.isascii():
            data.decode()
        return decoder.decode(data)
    except UNREADABLE:
        raise GatewayError("provider_bad_answer", f"{vendor} sent an answer that cannot be read") from None


def broken(vendor: str) -> GatewayError:
    return GatewayError("provider_stream_broken", f"{vendor} ended the stream before the answer was complete")


def decode_error(decoder: msgspec.json.Decoder[T], body: bytes, otherwise: T) -> T:
    """A vendor's error body; `otherwise` of one that is not what its reference says, because the status alone says enough."""
    try:
        return decoder.decode(body)
    except UNREADABLE:
        return otherwise


def finish_of(table: Mapping[str, Finish], reason: str) -> Finish:
    """A reason that is not in the vendor's table yet means that the model ended somehow: `stop` loses nothing."""
    return table.get(reason, "stop")


def finish_or_calls(table: Mapping[str, Finish], reason: str, has_called: bool) -> Finish:
    """For vendors that say that the model stopped when it calls a tool, too."""
    finish = finish_of(table, reason)
    return "tool_calls" if has_called and finish == "stop" else finish


# --- Private ----------------------------------------------------------------------------------------------------------


def _unread_message_fields(messages: Raw) -> list[str]:
    """Message fields of other vendors: they annotate the history and have no place elsewhere."""
    found = []
    for index, message in enumerate(_MESSAGES.decode(messages)):
        for name in message.keys() - MESSAGE_FIELDS:
            if bytes(message[name]) != b"null":
                found.append(f"messages[{index}].{printable(name, 40)}")
    return found
