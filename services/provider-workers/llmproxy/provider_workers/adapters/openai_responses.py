"""OpenAI's Responses API as a vendor's way to chat: for models that are served by nothing else, and for xAI, which
prefers it. https://platform.openai.com/docs/api-reference/responses

Nothing is stored there unless the caller says so. Reasoning comes back encrypted and must return before the item that it
led to: it travels in `extra_content.openai.reasoning` of the message or of the call. Only the organisation that it was
made for can read it. Summaries are passed on where a vendor gives them, and not asked for: OpenAI refuses that to
organisations that it has not verified.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.adapters.base import Answer, Capability, Credential, HttpRequest, Origin, Target, Wire
from llmproxy.provider_workers.answer_pieces import Logprob
from llmproxy.provider_workers.canonical import (
    Chat,
    Message,
    Part,
    calls,
    functions,
    image_url,
    parts,
    read,
    text,
    tool_choice,
)
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    Delta,
    FunctionOut,
    MessageOut,
    ToolCallOut,
    completion,
)
from llmproxy.provider_workers.compatible_answers import WireError, one_line
from llmproxy.provider_workers.compatible_requests import FIELDS
from llmproxy.provider_workers.natives.passing import VENDOR, api_url
from llmproxy.provider_workers.natives.responses import (
    Incomplete,
    Kind,
    Passed,
    Reply,
    Responses,
    WireUsage,
    check,
    error_event,
    error_of,
    finish_of,
    usage_of,
)
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_vendor, given, invalid, printable, unsupported
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import ENCODER, JSON_HEADERS, failed
from llmproxy.provider_workers.written import renamed, retold

FORWARDED = frozenset(
    {
        "metadata",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that both APIs call the same and that are nobody else's business."""

READS = FORWARDED | {
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "verbosity",
}

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
# Models that do not reason refuse to be asked for it; new ones all do.
NO_THOUGHTS = re.compile(r"(?:^|[/:])(?:gpt-[34]|chatgpt|gpt-5[\d.]*-chat)|non-reasoning")
NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
PARAGRAPH = "\n\n"  # Between the parts of a summary.


class OpenAIExtra(Struct, frozen=True):
    reasoning: list[Raw] = []


class Extra(Struct, frozen=True):
    """Of a message or a call; other vendors have their own names beside ours."""

    openai: OpenAIExtra | None = None


class OutputPart(Struct, frozen=True):
    type: str = ""
    text: str = ""
    refusal: str = ""
    logprobs: list[Logprob] | None = None


class OutputItem(Struct, frozen=True):
    type: str = ""
    content: list[OutputPart] | None = None
    summary: list[OutputPart] | None = None
    encrypted_content: str | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class Response(Struct, frozen=True):
    status: str | None = None
    output: list[Raw] | None = None
    incomplete_details: Incomplete | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


class Event(Struct, frozen=True):
    """An event of the middle of a stream; which field is set depends on `type`."""

    type: str = ""
    delta: str | None = None
    output_index: int = 0
    summary_index: int = 0
    item: Raw = ABSENT
    arguments: str = ""
    logprobs: list[Logprob] | None = None


class ErrorBody(Struct, frozen=True):
    """`error` is an object at OpenAI and a text at xAI, with its code beside it; vLLM puts all of it on top."""

    error: WireError | str | None = None
    message: str | None = None
    param: str | None = None
    code: str | int | None = None


IN_A_CHAT = {
    "input": "messages",
    "max_output_tokens": "max_completion_tokens",
    "reasoning": "reasoning_effort",
    "reasoning.effort": "reasoning_effort",
    "text.format": "response_format",
    "text.verbosity": "verbosity",
}
"""What a chat calls fields of this API."""

EXTRA = msgspec.json.Decoder(Extra)
ITEM = msgspec.json.Decoder(OutputItem)
RESPONSE = msgspec.json.Decoder(Response)
EVENT = msgspec.json.Decoder(Event)
TERMINAL = msgspec.json.Decoder(Passed)
ERROR = msgspec.json.Decoder(ErrorBody)


class OpenAIResponses:
    name = "openai-responses"
    default_url = "https://api.openai.com/v1"
    credential: Credential = "bearer"
    capabilities = frozenset(Capability) - {Capability.CHOICES}
    natives: Mapping[Api, Wire] = {"responses": Responses(default_url)}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        return HttpRequest(
            method="POST",
            url=api_url(target.url or self.default_url, Responses.path),
            headers=JSON_HEADERS,
            body=ENCODER.encode(translate(chat, FIELDS.decode(body), target, dropped)),
            dropped=tuple(dropped),
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(RESPONSE, body, VENDOR)
            check(reply.status, reply.error, has_output=reply.output is not None)
            items = [(raw, decode_vendor(ITEM, bytes(raw), VENDOR)) for raw in reply.output or ()]
        except GatewayError as error:
            return failed(error)
        kinds = [Kind(item.type) for _, item in items]
        finish = finish_of(Reply(status=reply.status, output=kinds, incomplete_details=reply.incomplete_details))
        choice = ChoiceOut(message=message_of(items), logprobs=logprobs_of(items), finish_reason=finish)
        return completion(request, [choice], usage_of(reply.usage), finish)

    def events(self, request: Origin) -> VendorStream[tuple[bytes, bytes]]:
        return VendorStream(VENDOR, EventStream(), Reading(request))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        try:
            said = ERROR.decode(body)
        except UNREADABLE:
            said = ErrorBody()
        inner = said.error
        if not isinstance(inner, WireError):
            inner = WireError(message=inner or said.message, param=said.param, code=said.code)
        code = f"{inner.code or ''} {inner.type or ''}".strip()
        return vendor_error(VENDOR, status, headers, message=inner.message or "", code=code, param=inner.param or "")

    def named(self, error: GatewayError) -> GatewayError:
        """An error about a request that was a chat. Which message became which item is not looked up again."""
        return retold(error, lambda path: renamed(IN_A_CHAT, path if path[:6] != "input[" else "input"))


# -- requests


def translate(chat: Chat, fields: Mapping[str, Raw], target: Target, dropped: list[str]) -> dict[str, Any]:
    """The vendor's request. Adds to `dropped` what has no place and does not change the answer."""
    request: dict[str, Any] = {"model": target.model, "input": conversation(chat, dropped)}
    request.update({name: fields[name] for name in sorted(FORWARDED & fields.keys()) if given(fields[name])})
    request.setdefault("store", False)  # The API's own default is to keep it.
    if chat.output_tokens_max is not None:
        request["max_output_tokens"] = chat.output_tokens_max
    for name in ("temperature", "top_p", "parallel_tool_calls"):
        if (value := getattr(chat, name)) is not None:
            request[name] = value
    if chat.tools:
        request["tools"] = tools(chat)
    if (choice := tool_choice(chat, VENDOR)) is not None:
        request["tool_choice"] = {"type": "function", "name": choice.name} if choice.name else choice.mode
    if said := answer_text(chat, fields.get("verbosity", ABSENT)):
        request["text"] = said
    include = []
    if chat.reasoning_effort is not None:
        request["reasoning"] = {"effort": chat.reasoning_effort}
    if chat.reasoning_effort is not None or not NO_THOUGHTS.search(target.model):
        include.append(ENCRYPTED)
    if chat.logprobs or chat.top_logprobs:
        include.append(LOGPROBS)
        request["top_logprobs"] = chat.top_logprobs or 0
    if include:
        request["include"] = include
    if target.stream:
        request["stream"] = True
    return request


def tools(chat: Chat) -> list[dict[str, Any]]:
    """`strict` is on by default here, and off in a chat."""
    return [
        {
            "type": "function",
            "name": function.name,
            **({} if function.description is None else {"description": function.description}),
            "parameters": function.parameters if given(function.parameters) else NO_PARAMETERS,
            "strict": bool(function.strict),
        }
        for function in functions(chat, VENDOR)
    ]


def answer_text(chat: Chat, verbosity: Raw) -> dict[str, Any]:
    found: dict[str, Any] = {"verbosity": verbosity} if given(verbosity) else {}
    form = chat.response_format
    match form.type if form is not None else "text":
        case "text":
            return found
        case "json_object":
            return {**found, "format": {"type": "json_object"}}
        case "json_schema" if form is not None and form.json_schema is not None:
            wanted = form.json_schema
            schema: dict[str, Any] = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema or {}}
            if wanted.description is not None:
                schema["description"] = wanted.description
            if wanted.strict is not None:
                schema["strict"] = wanted.strict
            return {**found, "format": schema}
    raise unsupported(VENDOR, "response_format.type")


def conversation(chat: Chat, dropped: list[str]) -> list[Any]:
    items: list[Any] = []
    for index, message in enumerate(chat.messages):
        at = f"messages[{index}]"
        if message.name is not None and message.role != "tool":
            dropped.append(f"{at}.name")
        match message.role:
            case "system" | "developer" | "user" as role:
                items.append({"role": role, "content": content(message, f"{at}.content")})
            case "assistant":
                items.extend(turn(message, index, dropped))
            case "tool":
                if message.is_error:
                    dropped.append(f"{at}.is_error")  # That it failed, its text says.
                items.append(tool_output(message, at))
            case _:
                raise unsupported(VENDOR, f"{at}.role")
    return items


def content(message: Message, at: str) -> str | list[dict[str, Any]]:
    if not isinstance(message.content, list):
        return message.content or ""
    return [part_of(part, f"{at}[{index}]") for index, part in enumerate(message.content)]


def part_of(part: Part, at: str) -> dict[str, Any]:
    match part.type:
        case "text":
            return {"type": "input_text", "text": part.text or ""}
        case "image_url":
            detail = getattr(part.image_url, "detail", None)
            return {"type": "input_image", "image_url": image_url(part), "detail": detail or "auto"}
        case "file" if part.file is not None:
            found = {name: getattr(part.file, name) for name in ("filename", "file_data", "file_id")}
            return {"type": "input_file", **{name: value for name, value in found.items() if value is not None}}
    raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")


def tool_output(message: Message, at: str) -> dict[str, Any]:
    if not message.tool_call_id:
        param = f"{at}.tool_call_id"
        raise GatewayError("missing_required_parameter", f"'{param}' is required", param=param)
    output = content(message, f"{at}.content")
    return {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def turn(message: Message, index: int, dropped: list[str]) -> list[Any]:
    """What the model said in one turn: what it thought, its words, its calls."""
    at = f"messages[{index}]"
    if given(message.audio):
        raise unsupported(VENDOR, f"{at}.audio")
    thought = reasoning(message.extra_content, f"{at}.extra_content")
    items: list[Any] = [*thought]
    refusal = message.refusal or "".join(part.refusal or "" for part in parts(message) if part.type == "refusal")
    said = text(_without_refusals(message), index, VENDOR)
    if refusal:
        spoken = [{"type": "output_text", "text": said, "annotations": []}] if said else []
        refused = {"type": "refusal", "refusal": refusal}
        whole = {"type": "message", "id": f"msg_{index}", "role": "assistant", "status": "completed"}
        items.append({**whole, "content": [*spoken, refused]})
    elif said:
        items.append({"role": "assistant", "content": said})
    for number, (call, function, _) in enumerate(calls(message, index, VENDOR)):
        before = reasoning(call.extra_content, f"{at}.tool_calls[{number}].extra_content")
        thought += before
        items.extend(before)
        items.append(
            {
                "type": "function_call",
                "call_id": call.id,
                "name": function.name,
                "arguments": function.arguments or "{}",
            }
        )
    if not thought:  # Nobody but its own vendor can read it.
        for name in ("reasoning_content", "thinking_blocks"):
            if getattr(message, name):
                dropped.append(f"{at}.{name}")
    return items


def _without_refusals(message: Message) -> Message:
    if not isinstance(message.content, list):
        return message
    return msgspec.structs.replace(message, content=[part for part in message.content if part.type != "refusal"])


def reasoning(extra: Raw, at: str) -> list[Raw]:
    if not given(extra):
        return []
    try:
        found = EXTRA.decode(extra).openai
        kinds = {ITEM.decode(raw).type for raw in found.reasoning} if found is not None else set()
    except UNREADABLE:
        found, kinds = None, {""}
    if kinds - {"reasoning"}:
        raise invalid(at, "must come back as it was received")
    return found.reasoning if found is not None else []


# -- answers


def message_of(items: list[tuple[Raw, OutputItem]]) -> MessageOut:
    said, refusal, thought = [], [], []
    called: list[ToolCallOut] = []
    led: list[Raw] = []  # Reasoning that the next call came from.
    kept: list[Raw] = []  # Reasoning that belongs to the message.
    for raw, item in items:
        match item.type:
            case "reasoning":
                thought.append(thought_of(item))
                if item.encrypted_content:
                    led.append(raw)
            case "message":
                kept, led = kept + led, []
                for part in item.content or ():
                    said.append(part.text)
                    refusal.append(part.refusal)
            case "function_call":
                function = FunctionOut(name=item.name, arguments=item.arguments)
                called.append(
                    ToolCallOut(id=item.call_id, type="function", function=function, extra_content=extra_of(led))
                )
                led = []
    words = "".join(said)
    return MessageOut(
        content=words if words or not (called or any(refusal)) else None,
        refusal="".join(refusal) or None,
        reasoning_content="".join(thought) or UNSET,
        tool_calls=called or UNSET,
        extra_content=extra_of(kept + led),
    )


def thought_of(item: OutputItem) -> str:
    """A summary; servers of open models give the whole text."""
    return PARAGRAPH.join(part.text for part in item.summary or ()) or "".join(part.text for part in item.content or ())


def extra_of(led: list[Raw]) -> Any:
    return Raw(ENCODER.encode(Extra(OpenAIExtra(led)))) if led else UNSET


def logprobs_of(items: list[tuple[Raw, OutputItem]]) -> Raw | None:
    parts = [part for _, item in items if item.type == "message" for part in item.content or ()]
    return logprobs([one for part in parts for one in part.logprobs or ()])


def logprobs(found: list[Logprob]) -> Raw | None:
    told = [msgspec.structs.replace(one, top_logprobs=one.top_logprobs or []) for one in found]
    return Raw(ENCODER.encode({"content": told, "refusal": None})) if found else None


class Reading:
    """Typed events in; `response.completed` or `response.incomplete` ends them."""

    __slots__ = ("_calls", "_chunks", "_kept", "_led", "_thought", "complete", "finish_reason", "usage")

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        # Output index -> the call's number, and the characters of its arguments.
        self._calls: dict[int, list[int]] = {}
        self._led: list[Raw] = []  # Reasoning that the next item came from.
        self._kept: list[Raw] = []  # Reasoning that belongs to the message, told at once: two lists cannot be added up.
        self._thought = ""  # Which of the two ways to show reasoning the vendor has.
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        data = event[1]
        if data == b"[DONE]":
            return
        said = decode_vendor(EVENT, data, VENDOR)
        match said.type:
            case "response.output_text.delta" if said.delta:
                out.append(self._text(said.delta, said.logprobs))
            case "response.function_call_arguments.delta" if said.delta and said.output_index in self._calls:
                out.append(self._arguments(said.output_index, said.delta))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" if said.delta:
                self._think(said.type, said.delta, out)
            case "response.reasoning_summary_part.added" if said.summary_index and self._thought:
                self._think("response.reasoning_summary_text.delta", PARAGRAPH, out)
            case "response.refusal.delta" if said.delta:
                out.append(self._chunks.refusal(said.delta))
            case "response.output_item.added":
                self._open(said, out)
            case "response.output_item.done":
                self._close(said, out)
            case "response.created":
                out.extend(self._chunks.start())
            case "response.completed" | "response.incomplete" | "response.failed" | "error" | "":
                self._end(data, out)

    def end(self, out: list[bytes]) -> None:
        """Nothing but its last event makes an answer whole."""

    def _text(self, text: str, likely: list[Logprob] | None) -> bytes:
        return self._chunks.text(text) if not likely else self._chunks.likely_text(text, logprobs(likely))

    def _think(self, way: str, text: str, out: list[bytes]) -> None:
        self._thought = self._thought or way
        if way == self._thought:
            out.append(self._chunks.reasoning(text))

    def _arguments(self, output_index: int, text: str) -> bytes:
        call = self._calls[output_index]
        call[1] += len(text)
        return self._chunks.arguments(call[0], text)

    def _open(self, event: Event, out: list[bytes]) -> None:
        item = decode_vendor(ITEM, bytes(event.item), VENDOR)
        if item.type == "message":
            self._kept, self._led = self._kept + self._led, []
        if item.type == "function_call":
            number = len(self._calls)
            self._calls[event.output_index] = [number, 0]
            function = FunctionOut(name=item.name)
            call = ToolCallOut(
                index=number, id=item.call_id, type="function", function=function, extra_content=self._take_led()
            )
            out.append(self._chunks.call(call))

    def _close(self, event: Event, out: list[bytes]) -> None:
        item = decode_vendor(ITEM, bytes(event.item), VENDOR)
        if item.type == "reasoning" and item.encrypted_content:
            self._led.append(Raw(one_line(bytes(event.item))))
        if item.type == "function_call" and item.arguments:
            if event.output_index not in self._calls:
                self._open(event, out)
            if not self._calls[event.output_index][1]:  # Some servers give the arguments whole.
                out.append(self._arguments(event.output_index, item.arguments))

    def _take_led(self) -> Any:
        led, self._led = self._led, []
        return extra_of(led)

    def _end(self, data: bytes, out: list[bytes]) -> None:
        event = decode_vendor(TERMINAL, data, VENDOR)
        if event.response is not None:
            self.usage = usage_of(event.response.usage)
        if event.type == "response.failed":
            raise error_of(event.response.error if event.response else None)
        if event.type in ("error", ""):
            raise error_event(event)
        if kept := self._kept + self._led:
            out.append(self._chunks.delta(Delta(extra_content=extra_of(kept))))
        reply = event.response or Reply()
        if self._calls and reply.status != "incomplete":
            reply = msgspec.structs.replace(reply, output=[Kind("function_call")])
        self.finish_reason = finish_of(reply)
        out.append(self._chunks.end(self.finish_reason))
        out.extend(self._chunks.total(self.usage))
        self.complete = True
