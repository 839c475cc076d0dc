"""A generateContent request as a canonical chat. https://ai.google.dev/api/generate-content

What only Google can do is refused by name.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.callers.gemini_shapes import (
    ANY,
    BODY,
    GOOGLES,
    OBJECT,
    TEXT,
    Blob,
    Body,
    Calling,
    Content,
    Declaration,
    FileData,
    FunctionCall,
    FunctionResponse,
    Generation,
    Part,
    Thinking,
    Tool,
    ToolConfig,
)
from llmproxy.provider_workers.callers.gemini_spelling import json_schema, respelled
from llmproxy.provider_workers.canonical_answers import compact
from llmproxy.provider_workers.gemini_requests import BUDGETS, LEVELS, MIME_TYPES
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_request, given, invalid, refused
from llmproxy.provider_workers.wire import ENCODER

STORE_HOST = "generativelanguage.googleapis.com"  # Whose files only Google can read.
SIGNED, REDACTED = b"thinking:", b"redacted:"
AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}

METADATA = ("safety_settings", "labels", "store", "service_tier")
"""They do not change what is said, or speak of filters that only Google has."""

MODES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none", "MODE_UNSPECIFIED": "auto"}


def read_body(body: bytes) -> Body:
    """Nearly everybody writes camelCase; the other spelling is tried when that cannot be read."""
    try:
        return BODY.decode(body)
    except msgspec.ValidationError:
        pass
    except UNREADABLE:
        return decode_request(BODY, body)  # Which says what is wrong.
    return decode_request(BODY, ENCODER.encode(respelled(decode_request(ANY, body))))


def translate(body: Body, *, stream: bool) -> tuple[dict[str, Any], list[str]]:
    """(the canonical chat, what was dropped)."""
    if body.cached_content:
        raise refused("cachedContent", "what Google has cached cannot be read elsewhere; send it in 'contents'")
    config = body.generation_config or Generation()
    dropped = [camel_name(name) for name in METADATA if is_said(getattr(body, name))]
    chat: dict[str, Any] = {"model": body.model or "", "messages": messages(body, dropped)}
    if stream:
        chat["stream"] = True
    chat.update(options(config, dropped))
    declared = declarations(body.tools or [], dropped)
    if declared:
        chat.update(calling(body.tool_config or ToolConfig(), declared, dropped))
    elif body.tool_config is not None and given(body.tool_config.retrieval_config):
        raise refused("toolConfig.retrievalConfig", "only Google's own tools read it")
    return chat, dropped


def is_said(value: Any) -> bool:
    return given(value) and bytes(value) != b"[]" if isinstance(value, Raw) else value is not None


def camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# -- options


def options(config: Generation, dropped: list[str]) -> dict[str, Any]:
    if any(modality.upper() != "TEXT" for modality in config.response_modalities or []):
        raise refused("generationConfig.responseModalities", "only TEXT can be translated")
    if config.media_resolution is not None:
        dropped.append("generationConfig.mediaResolution")
    said = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": None if config.top_k is None else int(config.top_k),
        "max_completion_tokens": config.max_output_tokens,
        "stop": config.stop_sequences or None,
        "n": config.candidate_count if config.candidate_count != 1 else None,
        "seed": config.seed,
        "presence_penalty": config.presence_penalty,
        "frequency_penalty": config.frequency_penalty,
        "logprobs": config.response_logprobs or None,
        "top_logprobs": config.logprobs if config.response_logprobs else None,
        "response_format": answer_format(config),
        "reasoning_effort": effort(config.thinking_config or Thinking()),
    }
    return {name: value for name, value in said.items() if value is not None}


def answer_format(config: Generation) -> dict[str, Any] | None:
    at = "generationConfig.responseSchema"
    schema: Any = None
    if given(config.response_json_schema):
        schema = config.response_json_schema
    elif given(config.response_schema):
        schema = json_schema(respelled(tree_of(config.response_schema)), at)
    match config.response_mime_type or ("application/json" if schema is not None else "text/plain"):
        case "text/plain":
            return None
        case "application/json" if schema is None:
            return {"type": "json_object"}
        case "application/json":
            return {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    raise refused("generationConfig.responseMimeType", "only text/plain and application/json can be translated")


def effort(thinking: Thinking) -> str | None:
    """A level as it is; a budget as the smallest effort that has as much."""
    if thinking.thinking_level is not None:
        level = thinking.thinking_level.lower()
        if level == "thinking_level_unspecified":
            return None
        if level not in LEVELS:
            raise invalid("generationConfig.thinkingConfig.thinkingLevel", "must be MINIMAL, LOW, MEDIUM or HIGH")
        return level
    budget = thinking.thinking_budget
    if budget is None or budget < 0:  # -1: as much as the model thinks right.
        return None
    return "none" if budget == 0 else next((name for name in ("low", "medium") if budget <= BUDGETS[name]), "high")


# -- tools


def declarations(tools: list[Tool], dropped: list[str]) -> list[dict[str, Any]]:
    found = []
    for index, tool in enumerate(tools):
        for name in GOOGLES:
            if given(getattr(tool, name)):
                raise refused(
                    f"tools[{index}].{camel_name(name)}", "only Google runs it; declare a function of your own"
                )
        for number, one in enumerate(tool.function_declarations or []):
            found.append(declaration(one, f"tools[{index}].functionDeclarations[{number}]", dropped))
    return found


def declaration(one: Declaration, at: str, dropped: list[str]) -> dict[str, Any]:
    for name in ("response", "response_json_schema", "behavior"):
        if is_said(getattr(one, name)):
            dropped.append(f"{at}.{camel_name(name)}")  # Hints about the result, which elsewhere is what it is.
    function: dict[str, Any] = {"name": one.name}
    if one.description is not None:
        function["description"] = one.description
    if given(one.parameters_json_schema):
        function["parameters"] = one.parameters_json_schema
    elif given(one.parameters):
        function["parameters"] = json_schema(tree_of(one.parameters), f"{at}.parameters")
    return {"type": "function", "function": function}


def calling(config: ToolConfig, declared: list[dict[str, Any]], dropped: list[str]) -> dict[str, Any]:
    """`tools` and `tool_choice`. Where several functions are allowed, only those are offered."""
    if given(config.retrieval_config):
        raise refused("toolConfig.retrievalConfig", "only Google's own tools read it")
    found = config.function_calling_config or Calling()
    at = "toolConfig.functionCallingConfig"
    mode = (found.mode or "AUTO").upper()
    if mode not in MODES:
        raise invalid(f"{at}.mode", "must be AUTO, ANY, NONE or VALIDATED")
    if mode == "VALIDATED":
        dropped.append(f"{at}.mode")  # AUTO that keeps to the schema: others keep to it as well as they can.
    if found.stream_function_call_arguments:
        dropped.append(f"{at}.streamFunctionCallArguments")
    allowed = found.allowed_function_names or []
    names = {one["function"]["name"] for one in declared}
    if unknown := [name for name in allowed if name not in names]:
        raise invalid(f"{at}.allowedFunctionNames", f"names {len(unknown)} functions that are not declared")
    declared = allow(declared, found)
    if mode == "ANY" and len(allowed) == 1:
        return {"tools": declared, "tool_choice": {"type": "function", "function": {"name": allowed[0]}}}
    return {"tools": declared, **({"tool_choice": MODES[mode]} if found.mode else {})}


def allow(declared: list[dict[str, Any]], config: Calling) -> list[dict[str, Any]]:
    """Those that may be called, where some are named and one must be."""
    allowed = config.allowed_function_names
    if not allowed or (config.mode or "AUTO").upper() not in ("ANY", "VALIDATED"):
        return declared
    return [one for one in declared if one["function"]["name"] in allowed]


# -- messages


def messages(body: Body, dropped: list[str]) -> list[dict[str, Any]]:
    found = []
    if system := system_text(body.system_instruction):
        found.append({"role": "system", "content": system})
    calls = CallIds()
    for index, content in enumerate(contents_of(body)):
        at = parts_at(body, index)
        parts = parts_of(content)
        for number, part in enumerate(parts):
            check(part, f"{at}[{number}]", dropped)
        match content.role:
            case "model":
                found += model_message(parts, at, calls)
            case None | "" | "user" | "function":
                found += user_messages(parts, at, calls)
            case _:
                raise invalid(f"{at.removesuffix('.parts')}.role", "must be user or model")
    if not any(message["role"] != "system" for message in found):
        raise invalid("contents", "must not be empty")
    return found


def contents_of(body: Body) -> list[Content]:
    return body.contents if isinstance(body.contents, list) else [body.contents]


def parts_at(body: Body, index: int) -> str:
    """Where the parts of a content are; one content alone may stand there without a list."""
    return f"contents[{index}].parts" if isinstance(body.contents, list) else "contents.parts"


def parts_of(content: Content) -> list[Part]:
    return content.parts if isinstance(content.parts, list) else [content.parts] if content.parts else []


def system_text(content: Content | str | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = parts_of(content)
    if any(part.text is None for part in parts):
        raise refused("systemInstruction.parts", "a system instruction is text")
    return "\n".join(part.text or "" for part in parts)


def check(part: Part, at: str, dropped: list[str]) -> None:
    rare = (
        part.executable_code,
        part.code_execution_result,
        part.tool_call,
        part.tool_response,
        part.video_metadata,
        part.media_resolution,
        part.part_metadata,
    )
    if rare.count(ABSENT) == len(rare):  # Nearly always; the rest of this function is slow.
        return
    for name in ("executable_code", "code_execution_result", "tool_call", "tool_response", "video_metadata"):
        if given(getattr(part, name)):
            raise refused(f"{at}.{camel_name(name)}", "only Google's models have it")
    for name in ("media_resolution", "part_metadata"):
        if given(getattr(part, name)):
            dropped.append(f"{at}.{camel_name(name)}")


class CallIds:
    """Google's calls may come without an id and are answered by name; everybody else goes by the id."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []  # (id, name) of calls that have no result yet.

    def call(self, call: FunctionCall) -> str:
        id = call.id or f"call_{self._count}"
        self._count += 1
        self._open.append((id, call.name))
        return id

    def result(self, response: FunctionResponse, at: str) -> str:
        for index, (id, name) in enumerate(self._open):
            if response.id == id or (not response.id and name == response.name):
                del self._open[index]
                return id
        if response.id:
            return response.id
        raise invalid(f"{at}.functionResponse.name", "must be the name of a function call earlier in 'contents'")


def model_message(parts: list[Part], at: str, calls: CallIds) -> list[dict[str, Any]]:
    thoughts = Thoughts()
    said: list[str] = []
    blocks: list[dict[str, Any]] = []
    called: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for number, part in enumerate(parts):
        if part.function_call is not None:
            called.append(tool_call(part.function_call, part.thought_signature, calls))
        elif part.thought:
            blocks += thoughts.take(part)
        elif part.text is not None:
            said.append(part.text)
            if part.thought_signature:
                message["extra_content"] = extra_content(part.thought_signature)
        elif part.thought_signature:
            message["extra_content"] = extra_content(part.thought_signature)
        else:
            raise refused(f"{at}[{number}]", "a model's turn is text, thoughts and function calls")
    if text := "".join(said):
        message["content"] = text
    if thoughts.text:
        message["reasoning_content"] = thoughts.text
    if blocks:
        message["thinking_blocks"] = blocks
    if called:
        message["tool_calls"] = called
    return [message] if len(message) > 2 or text else []


class Thoughts:
    """Thoughts of a turn. Where another vendor has signed them, the signature came as that of a thought, after its text."""

    def __init__(self) -> None:
        self.text = ""
        self._unsigned = ""

    def take(self, part: Part) -> Iterator[dict[str, Any]]:
        """The block that the part completes, if any."""
        self.text += part.text or ""
        self._unsigned += part.text or ""
        kind, signature = unsealed(part.thought_signature or "")
        if kind == SIGNED:
            yield {"type": "thinking", "thinking": self._unsigned, "signature": signature}
            self._unsigned = ""
        elif kind == REDACTED:
            yield {"type": "redacted_thinking", "data": signature}


def sealed(kind: bytes, signature: str) -> str:
    """Another vendor's signature in Google's place for one, which must be base64 and comes back in either alphabet."""
    return urlsafe_b64encode(kind + signature.encode()).decode()


def unsealed(signature: str) -> tuple[bytes, str]:
    """(kind, signature); nothing of what is not ours."""
    try:
        opened = urlsafe_b64decode(signature.replace("+", "-").replace("/", "_"))
        for kind in (SIGNED, REDACTED):
            if opened.startswith(kind):
                return kind, opened[len(kind) :].decode()
    except (binascii.Error, ValueError):
        pass
    return b"", ""


def tool_call(call: FunctionCall, signature: str | None, calls: CallIds) -> dict[str, Any]:
    arguments = compact(call.args) if given(call.args) else "{}"
    function = {"name": call.name, "arguments": arguments}
    made: dict[str, Any] = {"id": calls.call(call), "type": "function", "function": function}
    return {**made, "extra_content": extra_content(signature)} if signature else made


def extra_content(signature: str) -> dict[str, Any]:
    return {"google": {"thought_signature": signature}}


def user_messages(parts: list[Part], at: str, calls: CallIds) -> list[dict[str, Any]]:
    """Results first: they answer the turn before, whatever stands beside them."""
    results, content = [], []
    for number, part in enumerate(parts):
        here = f"{at}[{number}]"
        if part.function_response is not None:
            results.append(tool_message(part.function_response, here, calls))
        elif part.text is not None:
            if part.text:
                content.append({"type": "text", "text": part.text})
        elif part.inline_data is not None:
            content.append(inline(part.inline_data))
        elif part.file_data is not None:
            content.append(linked(part.file_data, f"{here}.fileData"))
        elif part.function_call is not None:
            raise invalid(f"{here}.functionCall", "belongs to a content of role model")
        else:
            raise invalid(here, "must have one of text, inlineData, fileData and functionResponse")
    if not content:
        return results
    plain = content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content
    return [*results, {"role": "user", "content": plain}]


def inline(blob: Blob) -> dict[str, Any]:
    kind, _, form = blob.mime_type.lower().partition(";")[0].strip().partition("/")
    url = f"data:{kind}/{form};base64,{blob.data.replace('-', '+').replace('_', '/')}"
    match kind:
        case "image":
            return {"type": "image_url", "image_url": {"url": url}}
        case "audio":
            data = url.partition(",")[2]
            return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO_FORMATS.get(form, form)}}
    return {"type": "file", "file": {"filename": blob.display_name or f"file.{form}", "file_data": url}}


def linked(file: FileData, at: str) -> dict[str, Any]:
    address = urlsplit(file.file_uri)
    if address.scheme not in ("http", "https") or address.hostname == STORE_HOST:
        raise refused(f"{at}.fileUri", "it is in Google's store, which nobody else can read; send inlineData")
    kind = file.mime_type or MIME_TYPES.get(address.path.rpartition(".")[2].lower(), "image/*")
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": file.file_uri}}
    return {"type": "file", "file": {"filename": file.display_name or "file", "file_data": file.file_uri}}


def tool_message(response: FunctionResponse, at: str, calls: CallIds) -> dict[str, Any]:
    if response.will_continue:
        raise refused(f"{at}.functionResponse.willContinue", "a result is whole elsewhere")
    text, is_error = result_of(response.response, at)
    message: dict[str, Any] = {"role": "tool", "tool_call_id": calls.result(response, at), "content": text}
    if response.parts:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        for number, part in enumerate(response.parts):
            if part.inline_data is not None:
                content.append(inline(part.inline_data))
            elif part.file_data is not None:
                content.append(linked(part.file_data, f"{at}.functionResponse.parts[{number}].fileData"))
        message["content"] = content
    return {**message, "is_error": True} if is_error else message


def result_of(response: Raw, at: str) -> tuple[str, bool]:
    """(text, whether it is an error). Google's keys for a plain text are opened; other results are their JSON."""
    if not given(response):
        return "", False
    fields = decode_request(OBJECT, bytes(response), f"{at}.functionResponse.response")
    if len(fields) == 1:
        for name in ("result", "output", "error"):
            if bytes(fields.get(name, b""))[:1] == b'"':
                return TEXT.decode(fields[name]), name == "error"
    return compact(response), False
