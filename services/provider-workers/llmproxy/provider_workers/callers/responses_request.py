"""A request of the Responses API as a canonical chat. https://platform.openai.com/docs/api-reference/responses/create

The gateway keeps no conversation: what lives at the vendor there (`previous_response_id`, `store`, `conversation`) is
refused by name here. Hosted tools too: nobody would run them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.carried import Carried, unpack
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_request, given, invalid, printable, unsupported
from llmproxy.provider_workers.responses_answers import EMPTY_OBJECT, unreadable
from llmproxy.provider_workers.wire import ENCODER

VENDOR = "a chat endpoint"  # Whatever vendor's it is.


class InputAudio(Struct, frozen=True):
    data: str
    format: str


class Part(Struct, frozen=True, kw_only=True):
    """One part of a message, of a tool's output or of reasoning; which field is set depends on `type`."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: InputAudio | None = None
    prompt_cache_breakpoint: Raw = ABSENT


class Item(Struct, frozen=True, kw_only=True):
    """One item of the input."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None


class Tool(Struct, frozen=True, kw_only=True):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class ToolRef(Struct, frozen=True, kw_only=True):
    type: str = ""
    name: str = ""


class ToolChoice(Struct, frozen=True, kw_only=True):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[ToolRef] | None = None


class Format(Struct, frozen=True, kw_only=True):
    type: str
    name: str = ""
    description: str | None = None
    schema: Raw = ABSENT
    strict: bool | None = None


class Text(Struct, frozen=True, kw_only=True):
    format: Format | None = None
    verbosity: str | None = None


class Thinking(Struct, frozen=True, kw_only=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    context: str | None = None


class Request(Struct, frozen=True, kw_only=True):
    model: str
    input: str | list[Raw] | None = None
    instructions: str | None = None
    tools: list[Raw] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Thinking | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Raw = ABSENT
    service_tier: str | None = None


REQUEST = msgspec.json.Decoder(Request)
ITEM = msgspec.json.Decoder(Item)
TOOL = msgspec.json.Decoder(Tool)

READS = frozenset(Request.__struct_encode_fields__) | {"stream"}

NO_STATE = "the gateway keeps no conversation state"
REFUSED: Mapping[str, tuple[object, str]] = {
    "previous_response_id": (None, f"{NO_STATE}; send the whole conversation in 'input'"),
    "conversation": (None, f"{NO_STATE}; send the whole conversation in 'input'"),
    "store": (False, f"{NO_STATE}; send 'store': false, which is what leaving it out means here"),
    "background": (False, "the gateway answers at once and keeps nothing to ask for later; send 'background': false"),
    "prompt": (None, "prompt templates are kept by OpenAI; send their text in 'instructions' and 'input'"),
    "truncation": ("disabled", "nothing is left out of a conversation here; shorten 'input' yourself"),
    "context_management": (None, f"{NO_STATE}; shorten 'input' yourself"),
}
"""Field -> what it says when it says nothing, and what to do instead."""

DROPPED: Mapping[str, object] = {
    "client_metadata": {},
    "moderation": None,
    "stream_options": {"include_obfuscation": False},  # Nothing is padded here.
}
"""Fields that do not change what the answer says, and what each says when it says nothing."""

FORWARDED = ("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier")
"""Texts that a chat request calls the same. `metadata` is said back and is nobody else's business."""

LOGPROBS = "message.output_text.logprobs"
INCLUDES = frozenset(
    {
        LOGPROBS,
        "reasoning.encrypted_content",  # Always given where there is something to carry.
        # Of hosted tools, and of stored items: there are none.
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)

ROLES = frozenset({"user", "assistant", "system", "developer"})
ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def unread(fields: dict[str, Raw]) -> list[str]:
    """The fields that are dropped. Raises GatewayError naming the first one that cannot be expressed."""
    dropped = []
    for name in fields.keys() - READS:
        raw = fields[name]
        if not given(raw):
            continue
        if name in DROPPED:
            if tree_of(raw) != DROPPED[name]:
                dropped.append(name)
            continue
        nothing, why = REFUSED.get(name, (None, ""))
        if nothing is None or tree_of(raw) != nothing:
            raise unsupported(VENDOR, printable(name, 100), why)
    return sorted(dropped)


def canonical(request: Request, dropped: list[str], *, stream: bool) -> bytes:
    chat: dict[str, Any] = {"model": request.model, "messages": messages(request, dropped)}
    if stream:
        chat["stream"] = True
    if request.max_output_tokens is not None:
        chat["max_completion_tokens"] = request.max_output_tokens
    for name in ("temperature", "top_p", *FORWARDED):
        if (value := getattr(request, name)) is not None:
            chat[name] = value
    if given(request.prompt_cache_options):
        chat["prompt_cache_options"] = request.prompt_cache_options
    chat.update(tools(request))
    chat.update(answer_format(request.text or Text()))
    chat.update(thinking(request.reasoning or Thinking()))
    chat.update(likelihoods(request))
    if request.max_tool_calls is not None:
        dropped.append("max_tool_calls")  # Of hosted tools, and there are none.
    return ENCODER.encode(chat)


def likelihoods(request: Request) -> dict[str, Any]:
    asked = request.include or []
    for index, name in enumerate(asked):
        if name not in INCLUDES:
            raise unsupported(VENDOR, f"include[{index}]", f"there is no '{printable(name, 60)}' here")
    if request.top_logprobs:
        return {"logprobs": True, "top_logprobs": request.top_logprobs}
    return {"logprobs": True} if LOGPROBS in asked else {}


def thinking(asked: Thinking) -> dict[str, Any]:
    """Summaries are not asked for: whatever a model shows of its thinking is passed on."""
    if asked.mode not in (None, "standard"):
        raise unsupported(VENDOR, "reasoning.mode")
    if asked.context not in (None, "auto"):
        raise unsupported(VENDOR, "reasoning.context")
    return {} if asked.effort is None else {"reasoning_effort": asked.effort}


def answer_format(text: Text) -> dict[str, Any]:
    found: dict[str, Any] = {} if text.verbosity is None else {"verbosity": text.verbosity}
    form = text.format
    match form.type if form is not None else "text":
        case "text":
            return found
        case "json_object":
            return {**found, "response_format": {"type": "json_object"}}
        case "json_schema" if form is not None:
            schema: dict[str, Any] = {"name": form.name, "schema": form.schema if given(form.schema) else EMPTY_OBJECT}
            if form.description is not None:
                schema["description"] = form.description
            if form.strict is not None:
                schema["strict"] = form.strict
            return {**found, "response_format": {"type": "json_schema", "json_schema": schema}}
    raise unsupported(VENDOR, "text.format.type")


def tools(request: Request) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls`. A choice among some of the tools leaves the others out."""
    made = [tool(raw, f"tools[{index}]") for index, raw in enumerate(request.tools or [])]
    found: dict[str, Any] = {}
    choice = request.tool_choice
    match choice:
        case None:
            pass
        case "auto" | "none" | "required":
            found["tool_choice"] = choice
        case ToolChoice(type="function", name=str(name)):
            found["tool_choice"] = {"type": "function", "function": {"name": name}}
        case ToolChoice(type="allowed_tools", mode="auto" | "required" as mode, tools=list(allowed)):
            found["tool_choice"] = mode
            made = allow(made, allowed)
        case ToolChoice(type=kind):
            raise unsupported(VENDOR, "tool_choice", f"no tool of type '{printable(kind, 40)}' can be chosen here")
        case _:
            raise invalid("tool_choice", "must be auto, none, required, or an object that names a function")
    if made:
        found["tools"] = made
    if request.parallel_tool_calls is not None and made:
        found["parallel_tool_calls"] = request.parallel_tool_calls
    return found


def allow(made: list[dict[str, Any]], allowed: list[ToolRef]) -> list[dict[str, Any]]:
    names = {one["function"]["name"] for one in made}
    for index, ref in enumerate(allowed):
        if ref.type != "function" or ref.name not in names:
            raise invalid(f"tool_choice.tools[{index}]", "must be the type and name of a function in 'tools'")
    chosen = {ref.name for ref in allowed}
    return [one for one in made if one["function"]["name"] in chosen]


def tool(raw: Raw, at: str) -> dict[str, Any]:
    try:
        asked = TOOL.decode(raw)
    except UNREADABLE:
        asked = Tool(type=kind_of(raw))
    if asked.type != "function":
        kind = printable(asked.type, 40)
        raise unsupported(
            VENDOR, f"{at}.type", f"a tool of type '{kind}' is run by OpenAI; give a tool of type 'function' instead"
        )
    if not asked.name:
        raise GatewayError("missing_required_parameter", f"'{at}.name' is required", param=f"{at}.name")
    function: dict[str, Any] = {"name": asked.name}
    if asked.description is not None:
        function["description"] = asked.description
    if given(asked.parameters):
        function["parameters"] = asked.parameters
    if asked.strict is not None:
        function["strict"] = asked.strict
    return {"type": "function", "function": function}


def kind_of(raw: Raw) -> str:
    """The `type` of an object that is otherwise not what was expected."""
    try:
        found = tree_of(raw)
    except UNREADABLE:
        return ""
    kind = found.get("type") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else ""


def messages(request: Request, dropped: list[str]) -> list[dict[str, Any]]:
    conversation = Conversation(dropped)
    if request.instructions:
        conversation.messages.append({"role": "system", "content": request.instructions})
    match request.input:
        case None:
            raise GatewayError("missing_required_parameter", "'input' is required", param="input")
        case str(text):
            conversation.messages.append({"role": "user", "content": text})
        case list(items):
            for index, raw in enumerate(items):
                at = f"input[{index}]"
                conversation.add(item(raw, at), at)
    return conversation.messages


def item(raw: Raw, at: str) -> Item:
    try:
        found = ITEM.decode(raw)
    except UNREADABLE:
        kind = kind_of(raw) or "message"
        if kind in ITEMS:
            raise _misshapen(raw, at) from None
        found = Item(type=kind)
    if found.type == "item_reference":
        raise unsupported(VENDOR, at, f"{NO_STATE}; send the item itself instead of a reference to it")
    if found.type not in ITEMS:
        raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no item of type '{printable(found.type, 40)}'")
    return found


def _misshapen(raw: Raw, at: str) -> GatewayError:
    """The error of an item that is not of its shape, with its place in the input."""
    try:
        decode_request(ITEM, bytes(raw))
    except GatewayError as error:
        param = f"{at}.{error.param}" if error.param else at
        return GatewayError(error.code, error.message.replace(f"'{error.param or 'body'}'", f"'{param}'"), param=param)
    return invalid(at, "is not an item")


class Conversation:
    """Items put together to messages: reasoning, text and calls of one turn of the model are one message there."""

    __slots__ = ("_calls", "_dropped", "_turn", "messages")

    def __init__(self, dropped: list[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None  # The assistant's message that the next item may belong to.
        self._calls: dict[str, Raw] = {}  # What reasoning items carry for the calls that follow them.
        self._dropped = dropped

    def add(self, item: Item, at: str) -> None:
        match item.type:
            case "reasoning":
                self._reasoning(item, at)
            case "function_call":
                self._call(item, at)
            case "function_call_output":
                self._output(item, at)
            case _ if item.role == "assistant":
                self._assistant(item, at)
            case _ if item.role in ROLES:
                self._close({"role": item.role, "content": self._content(item.content, f"{at}.content")})
            case _:
                raise invalid(f"{at}.role", f"must be one of {', '.join(sorted(ROLES))}")

    def _reasoning(self, item: Item, at: str) -> None:
        carried = self._carried(item, at)
        self._calls.update(carried.calls)
        whole = item.content if isinstance(item.content, list) else []
        thought = "".join(one.text for one in whole) or "\n\n".join(one.text for one in item.summary or [])
        turn = self._turn
        if turn is not None and (thought or carried.thinking_blocks) and "content" in turn and "tool_calls" not in turn:
            turn = None  # The model has thought again after it spoke.
        if not (thought or carried.thinking_blocks or given(carried.message)):
            return
        turn = turn if turn is not None else self._open()
        if thought:
            turn["reasoning_content"] = turn.get("reasoning_content", "") + thought
        if carried.thinking_blocks:
            turn.setdefault("thinking_blocks", []).extend(carried.thinking_blocks)
        if given(carried.message):
            turn["extra_content"] = carried.message

    def _carried(self, item: Item, at: str) -> Carried:
        if not item.encrypted_content:
            return Carried()
        try:
            found = unpack(item.encrypted_content)
        except ValueError:
            raise unreadable(f"{at}.encrypted_content") from None
        if found is None:  # Another endpoint's, and readable there alone.
            self._dropped.append(f"{at}.encrypted_content")
            return Carried()
        return found

    def _assistant(self, item: Item, at: str) -> None:
        content = item.content
        turn = self._turn
        if turn is None or ("content" in turn and "tool_calls" not in turn):
            turn = self._open()
        if isinstance(content, str):
            said, refusal = [{"type": "text", "text": content}], ""
        else:
            said, refusal = self._said(content or [], f"{at}.content")
        if refusal:
            turn["refusal"] = turn.get("refusal", "") + refusal
        if said or "content" not in turn:
            joined = [*parts_of(turn.get("content")), *said]
            turn["content"] = joined[0]["text"] if len(joined) == 1 else joined or None

    def _said(self, parts: list[Part], at: str) -> tuple[list[dict[str, Any]], str]:
        """(text parts, refusal)."""
        texts, refusal = [], ""
        for index, part in enumerate(parts):
            match part.type:
                case "output_text" | "input_text":
                    texts.append({"type": "text", "text": part.text})
                case "refusal":
                    refusal += part.refusal
                case _:
                    raise invalid(f"{at}[{index}].type", "must be output_text or refusal in an assistant's message")
        return texts, refusal

    def _call(self, item: Item, at: str) -> None:
        for name in ("call_id", "name"):
            if not getattr(item, name):
                raise GatewayError("missing_required_parameter", f"'{at}.{name}' is required", param=f"{at}.{name}")
        if item.namespace:
            raise unsupported(VENDOR, f"{at}.namespace")
        call: dict[str, Any] = {
            "id": item.call_id,
            "type": "function",
            "function": {"name": item.name, "arguments": item.arguments or ""},
        }
        if (extra := self._calls.get(item.call_id or "")) is not None:
            call["extra_content"] = extra
        turn = self._turn if self._turn is not None else self._open()
        turn.setdefault("tool_calls", []).append(call)

    def _output(self, item: Item, at: str) -> None:
        if not item.call_id:
            raise GatewayError("missing_required_parameter", f"'{at}.call_id' is required", param=f"{at}.call_id")
        content = self._content(item.output, f"{at}.output")
        self._close({"role": "tool", "tool_call_id": item.call_id, "content": content})

    def _content(self, content: str | list[Part] | None, at: str) -> str | list[dict[str, Any]]:
        if not isinstance(content, list):
            return content or ""
        made = []
        for index, one in enumerate(content):
            made.append(part(one, f"{at}[{index}]"))
            if given(one.prompt_cache_breakpoint):
                self._dropped.append(f"{at}[{index}].prompt_cache_breakpoint")
        return made

    def _open(self) -> dict[str, Any]:
        turn = self._turn = {"role": "assistant"}
        self.messages.append(turn)
        return turn

    def _close(self, message: dict[str, Any]) -> None:
        self._turn = None
        self.messages.append(message)


def parts_of(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def part(one: Part, at: str) -> dict[str, Any]:
    """A part of a user's message or of a tool's output."""
    match one.type:
        case "input_text" | "output_text":
            return {"type": "text", "text": one.text}
        case "input_image" if one.image_url is not None:
            image = {"url": one.image_url}
            return {"type": "image_url", "image_url": {**image, "detail": one.detail} if one.detail else image}
        case "input_image" if one.file_id is not None:
            raise unsupported(VENDOR, f"{at}.file_id", "the file lies at OpenAI; send the image in 'image_url'")
        case "input_image":
            raise GatewayError("missing_required_parameter", f"'{at}.image_url' is required", param=f"{at}.image_url")
        case "input_file":
            return {"type": "file", "file": file(one, at)}
        case "input_audio" if one.input_audio is not None:
            return {"type": "input_audio", "input_audio": msgspec.to_builtins(one.input_audio)}
    raise invalid(f"{at}.type", "must be input_text, input_image or input_file")


def file(one: Part, at: str) -> dict[str, str]:
    if one.file_url is not None:
        raise unsupported(VENDOR, f"{at}.file_url", "the gateway fetches no files; send it in 'file_data'")
    found = {"file_data": one.file_data, "file_id": one.file_id, "filename": one.filename}
    made = {name: value for name, value in found.items() if value is not None}
    if one.file_data is None and one.file_id is None:
        raise GatewayError("missing_required_parameter", f"'{at}.file_data' is required", param=f"{at}.file_data")
    return made
