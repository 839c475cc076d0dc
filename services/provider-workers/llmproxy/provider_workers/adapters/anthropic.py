"""Anthropic Messages API. https://docs.anthropic.com/en/api/messages

Signed thinking must come back exactly as it was sent: it leaves as `reasoning_content` for readers and, whole, in
`thinking_blocks`, and is restored from there.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
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
from llmproxy.provider_workers.anthropic_answers import (
    BLOCK,
    HEADERS,
    VENDOR,
    answer_of,
    error_answer,
    messages_url,
    stream_of,
)
from llmproxy.provider_workers.canonical import (
    OPENING,
    UNNAMED_PDF,
    Chat,
    Message,
    Part,
    calls,
    data_url,
    image_url,
    parts,
    read,
    text_of,
    tool_choice,
    unheard,
    unnumbered,
)
from llmproxy.provider_workers.claude import JSON_ONLY, MAX_TOKENS, reasoning
from llmproxy.provider_workers.grammars import fitted
from llmproxy.provider_workers.natives.count_tokens import CountTokens
from llmproxy.provider_workers.natives.messages import Messages
from llmproxy.provider_workers.reading import UNREADABLE, given, invalid, printable, unsupported
from llmproxy.provider_workers.wire import ENCODER, post

READS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "user",
    }
)


NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
CALL_ID = re.compile(r"[^a-zA-Z0-9_-]")  # Ids of other vendors in a history may hold characters that are refused here.


class Anthropic:
    name = "anthropic"
    default_url = "https://api.anthropic.com"
    credential: Credential = "x-api-key"
    capabilities = frozenset(Capability) - {Capability.CHOICES, Capability.LOGPROBS}
    natives: Mapping[Api, Wire] = {"messages": Messages(default_url), "count_tokens": CountTokens(default_url)}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        return post(messages_url(target.url or self.default_url), translate(chat, target, dropped), dropped, HEADERS)

    def response(self, body: bytes, request: Origin) -> Answer:
        return answer_of(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return stream_of(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_answer(status, headers, body)


# -- requests


def translate(chat: Chat, target: Target, dropped: list[str]) -> dict[str, Any]:
    """The vendor's request. Adds to `dropped` what has no place and does not change the answer."""
    system, turns = conversation(chat, dropped)
    dropped += [hint for hint in unheard(chat) if hint.endswith("detail")]
    goes_on = turns[-1]["role"] == "assistant"
    effort = reasoning(chat, target.model, VENDOR, dropped, is_forced=goes_on or is_forced(chat))
    if chat.response_format is not None:
        system, effort = answer_format(chat, system, effort, dropped)
    request: dict[str, Any] = {"model": target.model, "max_tokens": chat.output_tokens_max or MAX_TOKENS}
    request.update(effort)
    if system:
        request["system"] = system
    request["messages"] = turns
    if chat.tools:
        request["tools"] = tools(chat, dropped)
        if (choice := choice_of(chat)) is not None:
            request["tool_choice"] = choice
    elif called := tools_called(chat):
        # Calls in a history are refused without their tools, and to offer none means that none may be called.
        request["tools"] = [{"name": name, "input_schema": NO_PARAMETERS} for name in called]
        request["tool_choice"] = {"type": "none"}
    request.update(sampling(chat))
    if chat.user:
        request["metadata"] = {"user_id": chat.user}
    if target.stream:
        request["stream"] = True
    return request


def sampling(chat: Chat) -> dict[str, Any]:
    """The range of temperature is 0 to 1 here. Recent models refuse the field, so the default is not sent."""
    found: dict[str, Any] = {}
    if chat.temperature is not None and chat.temperature != 1:
        if not 0 <= chat.temperature <= 1:
            raise unsupported(VENDOR, "temperature", f"{VENDOR} takes 0 to 1")
        found["temperature"] = chat.temperature
    if chat.top_p is not None and chat.top_p != 1:
        found["top_p"] = chat.top_p
    if chat.top_k is not None:
        found["top_k"] = chat.top_k
    if chat.stops:
        if not all(stop.strip() for stop in chat.stops):
            raise unsupported(VENDOR, "stop", f"{VENDOR} takes no stop sequence that is only white space")
        found["stop_sequences"] = chat.stops
    return found


def is_forced(chat: Chat) -> bool:
    """The model has no choice but to call a tool."""
    return bool(chat.tools) and chat.tool_choice not in (None, "auto", "none")


def answer_format(
    chat: Chat, system: list[dict[str, Any]], effort: dict[str, Any], dropped: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """`response_format` added to the system prompt or to `output_config`."""
    form = chat.response_format
    assert form is not None
    match form.type:
        case "text":
            return system, effort
        case "json_object":
            return [*system, {"type": "text", "text": JSON_ONLY}], effort
        case "json_schema" if form.json_schema is not None and form.json_schema.schema is not None:
            at = "response_format.json_schema.schema"
            schema = fitted(Raw(ENCODER.encode(form.json_schema.schema)), at, dropped)
            if schema is None:
                raise unsupported(VENDOR, at, f"{VENDOR} wants every field of an object named")
            wanted = {"type": "json_schema", "schema": schema}
            config = {**effort.get("output_config", {}), "format": wanted}
            return system, {**effort, "output_config": config}
    raise unsupported(VENDOR, "response_format.type")


def tools(chat: Chat, dropped: list[str]) -> list[dict[str, Any]]:
    found = []
    for index, tool in enumerate(chat.tools or []):
        function = tool.function
        if tool.type != "function" or function is None:
            raise unsupported(VENDOR, f"tools[{index}].type", "only tools of type 'function' can be translated")
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        parameters = made["input_schema"] = function.parameters if given(function.parameters) else NO_PARAMETERS
        if function.strict:
            made.update(strictly(parameters, f"tools[{index}].function", dropped))
        if given(tool.cache_control):
            made["cache_control"] = tool.cache_control
        found.append(made)
    return found


def strictly(parameters: Raw, at: str, dropped: list[str]) -> dict[str, Any]:
    schema = fitted(parameters, f"{at}.parameters", dropped)
    if schema is None:
        dropped.append(f"{at}.strict")  # An object of any fields cannot be kept to.
        return {}
    return {"input_schema": schema, "strict": True}


def tools_called(chat: Chat) -> list[str]:
    """The names of the functions that the history calls, each once."""
    called = (call.function for message in chat.messages for call in message.tool_calls or [])
    return list(dict.fromkeys(function.name for function in called if function is not None))


def choice_of(chat: Chat) -> dict[str, Any] | None:
    choice = tool_choice(chat, VENDOR)
    one_at_a_time = {"disable_parallel_tool_use": True} if chat.parallel_tool_calls is False else {}
    match choice.mode if choice is not None else "":
        case "":
            return {"type": "auto", **one_at_a_time} if one_at_a_time else None
        case "none":
            return {"type": "none"}
        case "required":
            return {"type": "any", **one_at_a_time}
        case "named":
            assert choice is not None
            return {"type": "tool", "name": choice.name, **one_at_a_time}
    return {"type": "auto", **one_at_a_time}


def conversation(chat: Chat, dropped: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, alternating turns). Consecutive messages of one side are one turn here."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                system.extend(texts(message, index))
                continue
            case "user":
                role, blocks = "user", user_blocks(message, index)
            case "tool":
                role, blocks = "user", [tool_result(message, index)]
            case "assistant":
                role, blocks = "assistant", assistant_blocks(message, index, dropped)
            case _:
                raise unsupported(VENDOR, f"messages[{index}].role")
        if not blocks:
            continue  # An empty message says nothing, and an empty block is refused.
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[-1]["role"] == "assistant":
        trim(turns[-1]["content"])
    if not turns:
        raise invalid(
            "messages", f"must hold a user message that is not empty: {VENDOR} answers no system prompt alone"
        )
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
    return system, turns


def trim(blocks: list[Any]) -> None:
    """The API refuses white space at the end of an answer that it is to go on with."""
    if isinstance(blocks[-1], dict) and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def texts(message: Message, index: int) -> list[dict[str, Any]]:
    at = f"messages[{index}].content"
    return [
        block
        for i, part in enumerate(parts(message))
        if (block := text_block(part, text_of(part, f"{at}[{i}]", VENDOR)))
    ]


def text_block(part: Part, text: str) -> dict[str, Any]:
    """Empty for blank text, which the API refuses as a block."""
    if not text.strip():
        return {}
    return {"type": "text", "text": text, **cache(part)}


def cache(part: Part) -> dict[str, Any]:
    return {"cache_control": part.cache_control} if given(part.cache_control) else {}


def user_blocks(message: Message, index: int) -> list[dict[str, Any]]:
    found = (user_block(part, f"messages[{index}].content[{i}]") for i, part in enumerate(parts(message)))
    return [block for block in found if block]


def user_block(part: Part, at: str) -> dict[str, Any]:
    match part.type:
        case "text":
            return text_block(part, part.text or "")
        case "image_url":
            return {"type": "image", "source": source(image_url(part), f"{at}.image_url.url"), **cache(part)}
        case "file" if part.file is not None and part.file.file_data is not None:
            found = source(part.file.file_data, f"{at}.file.file_data")
            if found.get("media_type") != "application/pdf":
                raise unsupported(VENDOR, f"{at}.file", f"{VENDOR} takes PDF files")
            named = {"title": part.file.filename} if part.file.filename not in (None, "", UNNAMED_PDF) else {}
            return {"type": "document", "source": found, **named, **cache(part)}
    raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")


def source(url: str, at: str) -> dict[str, Any]:
    found = data_url(url, at)
    if found is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": found[0], "data": found[1]}


def tool_result(message: Message, index: int) -> dict[str, Any]:
    if not message.tool_call_id:
        raise GatewayError(
            "missing_required_parameter",
            f"'messages[{index}].tool_call_id' is required",
            param=f"messages[{index}].tool_call_id",
        )
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": CALL_ID.sub("_", message.tool_call_id)}
    content = message.content if isinstance(message.content, str) else user_blocks(message, index)
    if content:
        result["content"] = content
    if message.is_error:
        result["is_error"] = True
    return result


def assistant_blocks(message: Message, index: int, dropped: list[str]) -> list[dict[str, Any]]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    blocks: list[Any] = []
    for number, raw in enumerate(message.thinking_blocks or []):
        check_thinking(raw, f"messages[{index}].thinking_blocks[{number}]")
        blocks.append(unnumbered(raw))  # Else untouched: the signature covers it.
    if message.reasoning_content and not message.thinking_blocks:
        dropped.append(f"messages[{index}].reasoning_content")  # Unsigned, so it would be refused.
    blocks.extend(texts(message, index))
    if message.refusal:
        blocks.append({"type": "text", "text": message.refusal})
    for call, function, arguments in calls(message, index, VENDOR):
        blocks.append({"type": "tool_use", "id": CALL_ID.sub("_", call.id), "name": function.name, "input": arguments})
    return blocks


def check_thinking(raw: Raw, at: str) -> None:
    try:
        kind = BLOCK.decode(raw).type
    except UNREADABLE:
        kind = ""
    if kind not in ("thinking", "redacted_thinking"):
        raise invalid(at, "must be a block of type thinking or redacted_thinking, as it was received")
