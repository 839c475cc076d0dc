"""Ollama's own chat API. https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion

Native rather than Ollama's OpenAI layer, because only here thinking, JSON schemas and all options have a place.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.adapters.base import (
    Answer,
    Capability,
    Credential,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    Wire,
)
from llmproxy.provider_workers.canonical import (
    Chat,
    Message,
    calls,
    data_url,
    functions,
    image_url,
    in_call_order,
    parts,
    read,
    text,
    tool_choice,
    unheard,
)
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    Delta,
    MessageOut,
    ToolCallOut,
    call_id,
    called,
    completion,
    finish_or_calls,
    logprobs_out,
    token_out,
)
from llmproxy.provider_workers.natives.embeddings import OllamaEmbeddings
from llmproxy.provider_workers.reading import (
    decode_error,
    decode_request,
    decode_vendor,
    given,
    invalid,
    printable,
    tokens,
    unsupported,
)
from llmproxy.provider_workers.sse import JsonLines
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import failed, post

VENDOR = "Ollama"

READS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "thinking",
        "logprobs",
        "top_logprobs",
    }
)

FINISH_REASONS: dict[str, Finish] = {"stop": "stop", "length": "length"}

# Most models can only think or not, and refuse a level; these have levels.
WITH_LEVELS = "gpt-oss"
THINK: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


class WireFunction(Struct, frozen=True):
    name: str
    arguments: Raw = Raw(b"{}")


class WireCall(Struct, frozen=True):
    function: WireFunction
    id: str = ""


class WireMessage(Struct, frozen=True):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[WireCall] | None = None


class WireToken(Struct, frozen=True):
    token: str = ""
    logprob: float = 0.0


class WireLogprob(Struct, frozen=True):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[WireToken] | None = None


class Thinking(Struct, frozen=True):
    """Anthropic's."""

    type: str = "enabled"
    budget_tokens: int | None = None


class Reply(Struct, frozen=True):
    """A whole answer, or one line of a stream."""

    message: WireMessage | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[WireLogprob] | None = None
    error: str | None = None


class ErrorBody(Struct, frozen=True):
    error: str = ""


REPLY = msgspec.json.Decoder(Reply)
ERROR = msgspec.json.Decoder(ErrorBody)
THINKING = msgspec.json.Decoder(Thinking)


class Ollama:
    name = "ollama"
    default_url = "http://localhost:11434"
    credential: Credential = "bearer"  # Only Ollama's cloud wants one; without a key none is sent.
    capabilities = frozenset(Capability) - {
        Capability.TOOL_CHOICE,
        Capability.IMAGE_URLS,
        Capability.CACHE_USAGE,
        Capability.CHOICES,
    }
    natives: Mapping[Api, Wire] = {"embeddings": OllamaEmbeddings(default_url)}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        dropped += unheard(chat)
        return post(chat_url(target.url or self.default_url), translate(chat, target, dropped), dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(vendor_error(VENDOR, 500, {}, message=reply.error))
        if reply.message is None:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without a message"))
        said = reply.message
        calling = [call_of(call, call_id(request, i)) for i, call in enumerate(said.tool_calls or [])]
        message = MessageOut(
            content=said.content or (None if calling else ""),
            reasoning_content=said.thinking or UNSET,
            tool_calls=calling or UNSET,
        )
        finish = finish_or_calls(FINISH_REASONS, reply.done_reason or "", bool(calling))
        choice = ChoiceOut(message=message, logprobs=logprobs_of(reply), finish_reason=finish)
        return completion(request, [choice], usage_of(reply), finish)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, JsonLines(), Chunked(request))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return vendor_error(VENDOR, status, headers, message=decode_error(ERROR, body, ErrorBody()).error)


@lru_cache(maxsize=256)
def chat_url(base: str) -> str:
    """Whether the base names the native API, the OpenAI layer or neither, the native one is called."""
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not path.endswith("/api/chat"):
        path = path.removesuffix("/v1").removesuffix("/api") + "/api/chat"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))


# -- requests


def translate(chat: Chat, target: Target, dropped: list[str]) -> dict[str, Any]:
    request: dict[str, Any] = {"model": target.model, "messages": conversation(chat, dropped), "stream": target.stream}
    if tools := tools_of(chat, dropped):
        request["tools"] = tools
    if (form := answer_format(chat)) is not None:
        request["format"] = form
    if options := options_of(chat):
        request["options"] = options
    if chat.logprobs:
        request["logprobs"] = True
        if chat.top_logprobs is not None:
            request["top_logprobs"] = chat.top_logprobs
    if (effort := effort_of(chat, dropped)) is not None:
        if effort not in THINK:
            raise invalid("reasoning_effort", f"must be one of {', '.join(THINK)}")
        level = THINK[effort]
        request["think"] = level if WITH_LEVELS in target.model else level is not False
    return request


def effort_of(chat: Chat, dropped: list[str]) -> str | None:
    """Anthropic's `thinking` can be turned on and off here; how much it thinks is the model's own affair."""
    if not given(chat.thinking):
        return chat.reasoning_effort
    thinking = decode_request(THINKING, chat.thinking, "thinking")
    if thinking.budget_tokens is not None:
        dropped.append("thinking.budget_tokens")
    return "none" if thinking.type == "disabled" else chat.reasoning_effort or "medium"


def options_of(chat: Chat) -> dict[str, Any]:
    said = {
        "num_predict": chat.output_tokens_max,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "seed": chat.seed,
        "presence_penalty": chat.presence_penalty,
        "frequency_penalty": chat.frequency_penalty,
        "stop": chat.stops or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def answer_format(chat: Chat) -> Any:
    form = chat.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return "json"
    if form.type == "json_schema" and form.json_schema is not None and form.json_schema.schema is not None:
        return form.json_schema.schema
    raise unsupported(VENDOR, "response_format.type")


def tools_of(chat: Chat, dropped: list[str]) -> list[dict[str, Any]]:
    """The model decides whether to call one; only `none` can be had, by offering none."""
    choice = tool_choice(chat, VENDOR)
    if choice is not None and choice.mode == "none":
        return []
    if choice is not None and choice.mode != "auto":
        raise unsupported(VENDOR, "tool_choice", f"{VENDOR} cannot be made to call a tool")
    found = []
    for function in functions(chat, VENDOR):
        if function.strict and "tools[].function.strict" not in dropped:
            dropped.append("tools[].function.strict")
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        made["parameters"] = function.parameters if given(function.parameters) else {"type": "object", "properties": {}}
        found.append({"type": "function", "function": made})
    return found


def conversation(chat: Chat, dropped: list[str]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}  # Tool call id -> function name: a result names its function here.
    found = []
    for index, message in in_call_order(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                found.append({"role": "system", "content": text(message, index, VENDOR)})
            case "user":
                found.append(user_message(message, index))
            case "assistant":
                found.append(assistant_message(message, index, names, dropped))
            case "tool":
                found.append(tool_message(message, index, names, dropped))
            case _:
                raise unsupported(VENDOR, f"messages[{index}].role")
    if not found:
        raise invalid("messages", "must not be empty")
    return found


def user_message(message: Message, index: int) -> dict[str, Any]:
    said, images = words_and_images(message, index)
    made: dict[str, Any] = {"role": "user", "content": said}
    return {**made, "images": images} if images else made


def words_and_images(message: Message, index: int) -> tuple[str, list[str]]:
    said, images = [], []
    for number, part in enumerate(parts(message)):
        at = f"messages[{index}].content[{number}]"
        match part.type:
            case "text":
                said.append(part.text or "")
            case "image_url":
                found = data_url(image_url(part), f"{at}.image_url.url")
                if found is None:
                    raise unsupported(VENDOR, f"{at}.image_url.url", f"{VENDOR} fetches no images; send a data: URL")
                images.append(found[1])
            case _:
                kind = printable(part.type, 40)
                raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{kind}'")
    return "\n".join(said), images


def assistant_message(message: Message, index: int, names: dict[str, str], dropped: list[str]) -> dict[str, Any]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    if message.thinking_blocks:
        dropped.append(f"messages[{index}].thinking_blocks")  # Another vendor's signatures.
    made: dict[str, Any] = {"role": "assistant", "content": text(message, index, VENDOR) or message.refusal or ""}
    if message.reasoning_content:
        made["thinking"] = message.reasoning_content
    called = []
    for call, function, arguments in calls(message, index, VENDOR):
        names[call.id] = function.name
        called.append({"function": {"name": function.name, "arguments": arguments}})
    return {**made, "tool_calls": called} if called else made


def tool_message(message: Message, index: int, names: dict[str, str], dropped: list[str]) -> dict[str, Any]:
    name = names.get(message.tool_call_id or "") or message.name
    if not name:
        raise invalid(f"messages[{index}].tool_call_id", "must be the id of a tool call earlier in 'messages'")
    if message.is_error:
        dropped.append(f"messages[{index}].is_error")  # That it failed, its text says.
    said, images = words_and_images(message, index)
    made: dict[str, Any] = {"role": "tool", "content": said, "tool_name": name}
    return {**made, "images": images} if images else made


# -- answers


def call_of(call: WireCall, id: str, index: int | None = None) -> ToolCallOut:
    return called(call.function.name, call.function.arguments, call.id or id, index)


def logprobs_of(reply: Reply) -> Raw | None:
    return logprobs_out(
        [
            token_out(one.token, one.logprob, [(other.token, other.logprob) for other in one.top_logprobs or []])
            for one in reply.logprobs or []
        ]
    )


def usage_of(reply: Reply) -> Usage:
    """`prompt_eval_count` may be absent when the whole prompt was cached."""
    return Usage(input=tokens(reply.prompt_eval_count), output=tokens(reply.eval_count))


class Chunked:
    """A stream as canonical chunks. One JSON object per line; the last has `done`."""

    __slots__ = ("_called", "_chunks", "_origin", "complete", "finish_reason", "usage")

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        self._origin = origin
        self._called = 0
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def end(self, out: list[bytes]) -> None:
        """A stream without its `done` is not whole."""

    def take(self, line: bytes, out: list[bytes]) -> None:
        reply = decode_vendor(REPLY, line, VENDOR)
        if reply.error is not None:
            raise vendor_error(VENDOR, 500, {}, message=reply.error)
        out.extend(self._chunks.start())
        if reply.message is not None:
            self._message(reply.message, logprobs_of(reply), out)
        if reply.done:
            self.usage = usage_of(reply)
            self.finish_reason = finish_or_calls(FINISH_REASONS, reply.done_reason or "", self._called > 0)
            out.append(self._chunks.end(self.finish_reason))
            out.extend(self._chunks.total(self.usage))
            self.complete = True

    def _message(self, message: WireMessage, logprobs: Raw | None, out: list[bytes]) -> None:
        if message.thinking:
            out.append(self._chunks.reasoning(message.thinking))
        if message.content:
            out.append(self._chunks.text(message.content, 0, logprobs))
        elif logprobs is not None:
            out.append(self._chunks.delta(Delta(), 0, logprobs))
        for call in message.tool_calls or []:
            out.append(self._chunks.call(call_of(call, call_id(self._origin, self._called), self._called)))
            self._called += 1
