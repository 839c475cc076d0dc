"""A canonical chat as a request of Converse. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.bedrock_answers import JSON_TOOL, VENDOR
from llmproxy.provider_workers.canonical import (
    OPENING,
    Chat,
    Message,
    Part,
    calls,
    data_url,
    functions,
    image_url,
    parts,
    text_of,
    tool_choice,
    unheard,
)
from llmproxy.provider_workers.claude import JSON_ONLY, reasoning
from llmproxy.provider_workers.grammars import fitted
from llmproxy.provider_workers.reading import UNREADABLE, given, invalid, printable, unsupported
from llmproxy.provider_workers.wire import ENCODER

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
    }
)

CLAUDE = re.compile(r"claude-[\w.:-]+")
# Families by what they take beside the common fields.
TOP_K = re.compile(r"claude|mistral|mixtral|pixtral|qwen|gemma")
NOVA = re.compile(r"amazon\.nova-")
NOVA_THINKS = re.compile(r"amazon\.nova-2")
EFFORT = re.compile(r"gpt-oss|deepseek[.-]v3|qwen3|kimi|glm")  # They take the field of OpenAI's name.
NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# Models that keep to a JSON schema by themselves; others are made to call a tool that takes it.
# https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
NATIVE_SCHEMA = re.compile(
    r"claude-(?:opus|sonnet|haiku|[a-z]+)-(?:4-[5-9]|[5-9])|gpt-oss|qwen3|deepseek[.-]v3|gemma-3|mistral-large-3|ministral-3"
    r"|nemotron|minimax|kimi|glm"
)
JSON_TOOL_SAYS = "Gives the final answer to the user. Always answer by calling this tool."

CALL_ID = re.compile(r"[^a-zA-Z0-9_-]")
CALL_ID_CHARS_MAX = 64
IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
AUDIO_FORMATS = frozenset({"mp3", "wav", "opus", "aac", "flac", "ogg", "m4a", "webm"})
NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9()\[\]-]+")  # Of a document; white space may not be doubled.
NAME_CHARS_MAX = 200

NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
AUTO_ALONE = {"type": "auto", "disable_parallel_tool_use": True}  # Claude's own words.
IMAGES_BY_ADDRESS = "Bedrock takes images as data: URLs, or in S3 as s3:// addresses"


class Thought(Struct, frozen=True):
    """A thinking block of a history, in Anthropic's form."""

    type: str
    thinking: str = ""
    signature: str = ""
    data: str = ""


class CacheControl(Struct, frozen=True):
    ttl: str = ""


THOUGHT = msgspec.json.Decoder(Thought)
CACHE_CONTROL = msgspec.json.Decoder(CacheControl)


def translate(chat: Chat, model: str, dropped: list[str]) -> dict[str, Any]:
    """The vendor's request. Adds to `dropped` what has no place and does not change the answer."""
    system, turns = conversation(chat, dropped)
    dropped += [hint for hint in unheard(chat) if hint.endswith("detail")]
    config = inference(chat, model)
    wanted, native = json_schema(chat, model, dropped)
    tool_config, more = tools(chat, model, wanted, dropped)
    goes_on = turns[-1]["role"] == "assistant"
    is_forced = goes_on or bool({"any", "tool"} & tool_config.get("toolChoice", {}).keys())
    thought = thinking(chat, model, dropped, is_forced=is_forced)
    if (most := thought.pop("max_tokens", None)) is not None:
        config["maxTokens"] = most
    more = {**more, **thought, **top_k(chat, model)}
    request: dict[str, Any] = {"messages": turns}
    if chat.response_format is not None and chat.response_format.type == "json_object":
        system.append({"text": JSON_ONLY})
    if system:
        request["system"] = system
    if config:
        request["inferenceConfig"] = config
    if tool_config:
        request["toolConfig"] = tool_config
    if native:
        request["outputConfig"] = native
    if more:
        request["additionalModelRequestFields"] = more
    return request


def claude(model: str) -> str:
    """Claude's own name in a model's id (`us.anthropic.claude-…-v1:0`); "" of another model."""
    found = CLAUDE.search(model)
    return found[0] if found else ""


def inference(chat: Chat, model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if chat.output_tokens_max is not None:
        found["maxTokens"] = chat.output_tokens_max
    if chat.temperature is not None:
        if not 0 <= chat.temperature <= 1:
            raise unsupported(VENDOR, "temperature", f"{VENDOR} takes 0 to 1")
        if chat.temperature != 1 or not claude(model):  # Claude's default; its recent models refuse the field.
            found["temperature"] = chat.temperature
    if chat.top_p is not None and (chat.top_p != 1 or not claude(model)):
        found["topP"] = chat.top_p
    if chat.stops:
        found["stopSequences"] = chat.stops
    return found


def top_k(chat: Chat, model: str) -> dict[str, Any]:
    if chat.top_k is None:
        return {}
    if NOVA.search(model):
        return {"inferenceConfig": {"topK": chat.top_k}}
    if TOP_K.search(model):
        return {"top_k": chat.top_k}
    raise unsupported(VENDOR, "top_k")


def thinking(chat: Chat, model: str, dropped: list[str], *, is_forced: bool) -> dict[str, Any]:
    """`reasoning_effort` in the words of the model's own vendor, and `max_tokens` where thinking needs room in it."""
    if name := claude(model):
        return reasoning(chat, name, VENDOR, dropped, is_forced=is_forced)
    if given(chat.thinking):
        return {"thinking": chat.thinking}
    effort = chat.reasoning_effort
    if effort is None:
        return {}
    if NOVA_THINKS.search(model):
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        if effort not in NOVA_EFFORTS:
            raise invalid("reasoning_effort", f"must be one of none, {', '.join(NOVA_EFFORTS)}")
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": NOVA_EFFORTS[effort]}}
    if EFFORT.search(model):
        return {"reasoning_effort": effort}
    if effort == "none":
        return {}
    raise unsupported(VENDOR, "reasoning_effort")


def json_schema(chat: Chat, model: str, dropped: list[str]) -> tuple[Raw | None, dict[str, Any]]:
    """(the schema that a forced tool has to carry, the native `outputConfig`): one of them, or none."""
    form = chat.response_format
    if form is None or form.type in ("text", "json_object"):
        return None, {}
    if form.type != "json_schema" or form.json_schema is None or form.json_schema.schema is None:
        raise unsupported(VENDOR, "response_format.type")
    asked = Raw(ENCODER.encode(form.json_schema.schema))
    if not NATIVE_SCHEMA.search(model):
        return asked, {}
    at = "response_format.json_schema.schema"
    schema = fitted(asked, at, dropped)
    if schema is None:
        raise unsupported(VENDOR, at, f"{VENDOR} wants every field of an object named")
    definition: dict[str, Any] = {"schema": bytes(schema).decode()}
    if form.json_schema.name:
        definition["name"] = form.json_schema.name
    if form.json_schema.description:
        definition["description"] = form.json_schema.description
    return None, {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}


def tools(chat: Chat, model: str, wanted: Raw | None, dropped: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(`toolConfig`, what Claude wants to know besides). `wanted` is the schema of an answer that has to be a tool call."""
    choice = tool_choice(chat, VENDOR)
    mode = choice.mode if choice is not None else ""
    if mode == "none" and not has_tool_history(chat):
        offered: list[dict[str, Any]] = []
    else:
        offered = specifications(chat, model, dropped)
        if mode == "none" and offered:
            raise unsupported(VENDOR, "tool_choice", f"{VENDOR} cannot be kept from calling the tools of a history")
    if not offered and has_tool_history(chat):
        raise unsupported(VENDOR, "tools", f"{VENDOR} takes a history of tool calls only with the tools; declare them")
    if wanted is not None and mode != "named":
        answer = {"name": JSON_TOOL, "description": JSON_TOOL_SAYS, "inputSchema": {"json": wanted}}
        forced = {"any": {}} if offered else {"tool": {"name": JSON_TOOL}}
        return {"tools": [*offered, {"toolSpec": answer}], "toolChoice": forced}, {}
    if not offered:
        return {}, {}
    config: dict[str, Any] = {"tools": offered}
    match mode:
        case "required":
            config["toolChoice"] = {"any": {}}
        case "named":
            assert choice is not None
            config["toolChoice"] = {"tool": {"name": choice.name}}
        case "auto":
            config["toolChoice"] = {"auto": {}}
    if chat.parallel_tool_calls is False:
        if not claude(model) or mode not in ("", "auto"):
            raise unsupported(VENDOR, "parallel_tool_calls", "this model cannot be kept from calling tools in parallel")
        return config, {"tool_choice": AUTO_ALONE}
    return config, {}


def has_tool_history(chat: Chat) -> bool:
    """Blocks of tools in the history must have a `toolConfig` beside them."""
    return any(message.tool_calls or message.role == "tool" for message in chat.messages)


def specifications(chat: Chat, model: str, dropped: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for index, (tool, function) in enumerate(zip(chat.tools or [], functions(chat, VENDOR), strict=True)):
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        parameters = function.parameters if given(function.parameters) else NO_PARAMETERS
        made["inputSchema"] = {"json": parameters}
        if function.strict:
            at = f"tools[{index}].function"
            kept = fitted(parameters, f"{at}.parameters", dropped) if NATIVE_SCHEMA.search(model) else None
            if kept is None:
                dropped.append(f"{at}.strict")
            else:
                made.update({"inputSchema": {"json": kept}, "strict": True})
        found.append({"toolSpec": made})
        found.extend(cache_point(tool.cache_control))
    return found


def cache_point(control: Raw) -> list[dict[str, Any]]:
    """Anthropic marks the block that ends what is cached; here the mark is a block of its own after it."""
    if not given(control):
        return []
    try:
        ttl = CACHE_CONTROL.decode(control).ttl
    except UNREADABLE:
        ttl = ""
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}]


def conversation(chat: Chat, dropped: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, alternating turns). Consecutive messages of one side are one turn here."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    names = Names()
    for index, message in enumerate(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                system.extend(texts(message, index))
                continue
            case "user":
                role, blocks = "user", user_blocks(message, index, names)
            case "tool":
                role, blocks = "user", [tool_result(message, index, names)]
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
    if not turns:
        raise invalid(
            "messages", f"must hold a user message that is not empty: {VENDOR} answers no system prompt alone"
        )
    if turns[-1]["role"] == "assistant" and "text" in (last := turns[-1]["content"][-1]):
        last["text"] = last["text"].rstrip()  # White space at the end of what is to be gone on with is refused.
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"text": OPENING}]})
    return system, turns


def texts(message: Message, index: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for i, part in enumerate(parts(message)):
        found.extend(text_blocks(part, text_of(part, f"messages[{index}].content[{i}]", VENDOR)))
    return found


def text_blocks(part: Part, text: str) -> Iterator[dict[str, Any]]:
    """None for blank text, which the API refuses as a block."""
    if text.strip():
        yield {"text": text}
        yield from cache_point(part.cache_control)


class Names:
    """Documents must have names, each its own, within one request."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, filename: str | None) -> str:
        stem = (filename or "document").rpartition(".")[0] or filename or "document"
        name = plain = NOT_IN_A_NAME.sub("-", stem).strip("-")[: NAME_CHARS_MAX - 8] or "document"
        number = 1
        while name in self._given:
            number += 1
            name = f"{plain}-{number}"
        self._given.add(name)
        return name


def user_blocks(message: Message, index: int, names: Names) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for i, part in enumerate(parts(message)):
        found.extend(user_block(part, f"messages[{index}].content[{i}]", names))
    return found


def user_block(part: Part, at: str, names: Names) -> Iterator[dict[str, Any]]:
    match part.type:
        case "text":
            yield from text_blocks(part, part.text or "")
            return
        case "image_url":
            yield {"image": image(image_url(part), f"{at}.image_url.url")}
        case "file" if part.file is not None and part.file.file_data is not None:
            yield {"document": document(part.file.file_data, part.file.filename, f"{at}.file.file_data", names)}
        case "input_audio" if part.input_audio is not None and part.input_audio.format in AUDIO_FORMATS:
            yield {"audio": {"format": part.input_audio.format, "source": {"bytes": part.input_audio.data}}}
        case _:
            raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")
    yield from cache_point(part.cache_control)


def image(url: str, at: str) -> dict[str, Any]:
    if url.startswith("s3://"):
        ending = url.rpartition(".")[2].lower()
        form = IMAGE_FORMATS.get(f"image/{ending}")
        source: dict[str, Any] = {"s3Location": {"uri": url}}
    else:
        found = data_url(url, at)
        if found is None:
            raise unsupported(VENDOR, at, IMAGES_BY_ADDRESS)
        form, source = IMAGE_FORMATS.get(found[0]), {"bytes": found[1]}
    if form is None:
        raise unsupported(VENDOR, at, f"{VENDOR} takes images of the types png, jpeg, gif and webp")
    return {"format": form, "source": source}


def document(url: str, filename: str | None, at: str, names: Names) -> dict[str, Any]:
    found = data_url(url, at)
    ending = (filename or "").rpartition(".")[2].lower()
    form = DOCUMENT_FORMATS.get(found[0]) if found is not None else None
    if form is None and ending in DOCUMENT_FORMATS.values():
        form = ending
    if found is None or form is None:
        raise unsupported(VENDOR, at, f"{VENDOR} takes data: URLs of {', '.join(DOCUMENT_FORMATS.values())}")
    return {"format": form, "name": names.of(filename), "source": {"bytes": found[1]}}


def tool_result(message: Message, index: int, names: Names) -> dict[str, Any]:
    at = f"messages[{index}].tool_call_id"
    if not message.tool_call_id:
        raise GatewayError("missing_required_parameter", f"'{at}' is required", param=at)
    content = [block for block in user_blocks(message, index, names) if "cachePoint" not in block]
    result: dict[str, Any] = {"toolUseId": tool_use_id(message.tool_call_id), "content": content}
    if message.is_error:
        result["status"] = "error"
    return {"toolResult": result}


def tool_use_id(id: str) -> str:
    """Ids of other vendors in a history may be longer than is taken here, or hold other characters."""
    clean = CALL_ID.sub("_", id)
    if len(clean) <= CALL_ID_CHARS_MAX:
        return clean
    return clean[: CALL_ID_CHARS_MAX - 17] + "_" + hashlib.sha256(id.encode()).hexdigest()[:16]


def assistant_blocks(message: Message, index: int, dropped: list[str]) -> list[dict[str, Any]]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    blocks: list[dict[str, Any]] = []
    for number, raw in enumerate(message.thinking_blocks or []):
        blocks.append({"reasoningContent": thought(raw, f"messages[{index}].thinking_blocks[{number}]")})
    if message.reasoning_content and not message.thinking_blocks:
        dropped.append(f"messages[{index}].reasoning_content")  # Unsigned, so it would be refused.
    blocks.extend(texts(message, index))
    if message.refusal:
        blocks.append({"text": message.refusal})
    for call, function, arguments in calls(message, index, VENDOR):
        use = {"toolUseId": tool_use_id(call.id), "name": function.name, "input": arguments}
        blocks.append({"toolUse": use})
    return blocks


def thought(raw: Raw, at: str) -> dict[str, Any]:
    """A thinking block in Converse's form; text and signature stay as they are, because one covers the other."""
    try:
        block = THOUGHT.decode(raw)
    except UNREADABLE:
        block = Thought("")
    match block.type:
        case "thinking":
            signed = {"signature": block.signature} if block.signature else {}
            return {"reasoningText": {"text": block.thinking, **signed}}
        case "redacted_thinking":
            return {"redactedContent": block.data}
    raise invalid(at, "must be a block of type thinking or redacted_thinking, as it was received")
