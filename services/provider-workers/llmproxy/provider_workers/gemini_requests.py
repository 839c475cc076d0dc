"""A canonical chat as Gemini's generateContent request. https://ai.google.dev/api/generate-content

Signatures of thoughts must come back with the part they came with: they travel in `extra_content.google.thought_signature`,
the place that Google's own OpenAI layer gives them. https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.canonical import (
    Chat,
    Function,
    Message,
    Part,
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
from llmproxy.provider_workers.canonical_answers import OUR_CALL_IDS
from llmproxy.provider_workers.gemini_answers import VENDOR
from llmproxy.provider_workers.reading import UNREADABLE, decode_request, given, invalid, printable, unsupported
from llmproxy.provider_workers.wire import ENCODER

READS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "n",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "logprobs",
        "top_logprobs",
        "modalities",
    }
)
# Gemini 2 thinks by a number of tokens, as Google's own OpenAI layer translates the efforts; later ones by level.
BY_BUDGET = re.compile(r"gemini-[12](?:\D|$)")
ALWAYS_THINKS = re.compile(r"gemini-2\.5-pro")
BUDGET_MIN = 128  # The least that those can be asked for.
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
LEVELS = {
    "none": "minimal",  # Thinking cannot be turned off there.
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
LOW_AT_LEAST = re.compile(r"gemini-[3-9][\d.]*-pro")  # These refuse `minimal`.
NO_SIGNATURE = "skip_thought_signature_validator"  # What the reference gives for calls that another model made.

MIME_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
}


class GoogleExtra(Struct, frozen=True):
    thought_signature: str = ""


class Extra(Struct, frozen=True):
    google: GoogleExtra = GoogleExtra()


class Thinking(Struct, frozen=True):
    type: str = "enabled"
    budget_tokens: int | None = None


THINKING = msgspec.json.Decoder(Thinking)
EXTRA = msgspec.json.Decoder(Extra)
OBJECT = msgspec.json.Decoder(dict[str, Raw])


def request_of(body: bytes, model: str) -> tuple[bytes, tuple[str, ...]]:
    """(generateContent's body, the fields that were dropped). Raises GatewayError naming what cannot be expressed."""
    chat, dropped = read(body, vendor=VENDOR, reads=READS)
    dropped += unheard(chat)
    made = translate(chat, model, dropped)
    return ENCODER.encode(made), tuple(dropped)


def translate(chat: Chat, model: str, dropped: list[str]) -> dict[str, Any]:
    system, contents = conversation(chat, model, dropped)
    request: dict[str, Any] = {"contents": contents}
    if system:
        request["systemInstruction"] = {"parts": system}
    if chat.tools:
        request["tools"] = [{"functionDeclarations": declarations(chat)}]
        if (config := calling_config(chat)) is not None:
            request["toolConfig"] = {"functionCallingConfig": config}
    if config := generation_config(chat, model):
        request["generationConfig"] = config
    return request


def generation_config(chat: Chat, model: str) -> dict[str, Any]:
    said = {
        "temperature": chat.temperature,
        "topP": chat.top_p,
        "topK": chat.top_k,
        "maxOutputTokens": chat.output_tokens_max,
        "stopSequences": chat.stops or None,
        "candidateCount": chat.n if chat.n != 1 else None,
        "seed": chat.seed,
        "presencePenalty": chat.presence_penalty,
        "frequencyPenalty": chat.frequency_penalty,
        "responseLogprobs": chat.logprobs or None,
        "logprobs": chat.top_logprobs if chat.logprobs else None,
        "responseModalities": modalities(chat),
    }
    found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    found.update(answer_format(chat))
    if given(chat.thinking):
        found["thinkingConfig"] = budgeted(decode_request(THINKING, chat.thinking, "thinking"), model)
    elif chat.reasoning_effort is not None:
        found["thinkingConfig"] = thinking_config(chat.reasoning_effort, model)
    return found


def modalities(chat: Chat) -> list[str] | None:
    wanted = chat.modalities or ["text"]
    if not set(wanted) <= {"text", "image"}:
        raise unsupported(VENDOR, "modalities", f"{VENDOR} answers in text and images here")
    return [modality.upper() for modality in wanted] if "image" in wanted else None


def answer_format(chat: Chat) -> dict[str, Any]:
    form = chat.response_format
    if form is None or form.type == "text":
        return {}
    if form.type == "json_object":
        return {"responseMimeType": "application/json"}
    if form.type == "json_schema" and form.json_schema is not None and form.json_schema.schema is not None:
        return {"responseMimeType": "application/json", "responseJsonSchema": form.json_schema.schema}
    raise unsupported(VENDOR, "response_format.type")


def thinking_config(effort: str, model: str) -> dict[str, Any]:
    if effort not in BUDGETS:
        raise invalid("reasoning_effort", f"must be one of {', '.join(BUDGETS)}")
    amount = (
        {"thinkingBudget": budget(effort, model)}
        if BY_BUDGET.search(model)
        else {"thinkingLevel": level(effort, model)}
    )
    return amount if effort == "none" else {"includeThoughts": True, **amount}


def budget(effort: str, model: str) -> int:
    return max(BUDGETS[effort], BUDGET_MIN) if ALWAYS_THINKS.search(model) else BUDGETS[effort]


def level(effort: str, model: str) -> str:
    found = LEVELS[effort]
    return "low" if found == "minimal" and LOW_AT_LEAST.search(model) else found


def budgeted(thinking: Thinking, model: str) -> dict[str, Any]:
    """Anthropic's way of asking, by a number of tokens."""
    match thinking.type:
        case "disabled":
            return thinking_config("none", model)
        case "enabled" if thinking.budget_tokens is not None:
            return {"includeThoughts": True, "thinkingBudget": thinking.budget_tokens}
        case "enabled" | "adaptive":
            return {"includeThoughts": True}
    raise invalid("thinking.type", "must be enabled, adaptive or disabled")


def declarations(chat: Chat) -> list[dict[str, Any]]:
    found = []
    for function in functions(chat, VENDOR):
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        if given(function.parameters):
            made["parametersJsonSchema"] = function.parameters
        found.append(made)
    return found


def calling_config(chat: Chat) -> dict[str, Any] | None:
    if chat.parallel_tool_calls is False:
        raise unsupported(VENDOR, "parallel_tool_calls", f"{VENDOR} cannot be kept from calling tools in parallel")
    choice = tool_choice(chat, VENDOR)
    # VALIDATED is AUTO that keeps to the schema, which is what `strict` asks for; ANY always does.
    auto = "VALIDATED" if any(function.strict for function in functions(chat, VENDOR)) else "AUTO"
    match choice.mode if choice is not None else "":
        case "":
            return {"mode": auto} if auto != "AUTO" else None
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case "named":
            assert choice is not None
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": auto}


def conversation(chat: Chat, model: str, dropped: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system parts, contents). Consecutive messages of one side are one content."""
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # Tool call id -> function name: a result must name its function here.
    for index, message in in_call_order(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                if said := text(message, index, VENDOR):
                    system.append({"text": said})
                continue
            case "user":
                role, found = "user", user_parts(message, index)
            case "tool":
                role, found = "user", function_response(message, index, names, model)
            case "assistant":
                role, found = "model", model_parts(message, index, model, names, dropped)
            case _:
                raise unsupported(VENDOR, f"messages[{index}].role")
        if not found:
            continue  # An empty content is refused.
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"].extend(found)
        else:
            contents.append({"role": role, "parts": found})
    if not contents:
        raise invalid(
            "messages", f"must hold a user message that is not empty: {VENDOR} answers no system prompt alone"
        )
    return system, contents


def user_parts(message: Message, index: int) -> list[dict[str, Any]]:
    found = (user_part(part, f"messages[{index}].content[{i}]") for i, part in enumerate(parts(message)))
    return [part for part in found if part]


def user_part(part: Part, at: str) -> dict[str, Any]:
    match part.type:
        case "text":
            return {"text": part.text} if part.text else {}
        case "image_url":
            return media(image_url(part), f"{at}.image_url.url")
        case "input_audio" if part.input_audio is not None:
            return {"inlineData": {"mimeType": f"audio/{part.input_audio.format}", "data": part.input_audio.data}}
        case "file" if part.file is not None and part.file.file_data is not None:
            return media(part.file.file_data, f"{at}.file.file_data")
    raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")


def media(url: str, at: str) -> dict[str, Any]:
    found = data_url(url, at)
    if found is not None:
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    mime_type = MIME_TYPES.get(urlsplit(url).path.rpartition(".")[2].lower())
    return {"fileData": {"mimeType": mime_type, "fileUri": url} if mime_type else {"fileUri": url}}


def model_parts(
    message: Message, index: int, model: str, names: dict[str, str], dropped: list[str]
) -> list[dict[str, Any]]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    for name in ("reasoning_content", "thinking_blocks"):
        if getattr(message, name):
            dropped.append(f"messages[{index}].{name}")  # Thoughts are not sent back; only their signatures are.
    found: list[dict[str, Any]] = []
    said = text(message, index, VENDOR) or message.refusal
    if said:
        part: dict[str, Any] = {"text": said}
        if signature := signature_of(message.extra_content, f"messages[{index}].extra_content"):
            part["thoughtSignature"] = signature
        found.append(part)
    for number, (call, function, arguments) in enumerate(calls(message, index, VENDOR)):
        names[call.id] = function.name
        at = f"messages[{index}].tool_calls[{number}].extra_content"
        signature = signature_of(call.extra_content, at)
        # Of parallel calls only the first is signed; without one the later models refuse the history.
        if not signature and number == 0 and not BY_BUDGET.search(model):
            signature = NO_SIGNATURE
        found.append(function_call(call.id, function, arguments, signature))
    return found


def function_call(id: str, function: Function, arguments: Raw, signature: str) -> dict[str, Any]:
    call: dict[str, Any] = {"name": function.name, "args": arguments}
    if id and not id.startswith(OUR_CALL_IDS):  # Not one of Gemini's own.
        call["id"] = id
    return {"functionCall": call, "thoughtSignature": signature} if signature else {"functionCall": call}


def signature_of(extra: Raw, at: str) -> str:
    if not given(extra):
        return ""
    try:
        return EXTRA.decode(extra).google.thought_signature
    except UNREADABLE:
        raise invalid(at, "must be as it was received") from None


def function_response(message: Message, index: int, names: dict[str, str], model: str) -> list[dict[str, Any]]:
    """The result of one call. Later models take pictures inside it; earlier ones see those that stand beside it."""
    id = message.tool_call_id or ""
    name = names.get(id) or message.name
    if not name:
        raise invalid(f"messages[{index}].tool_call_id", "must be the id of a tool call earlier in 'messages'")
    said, seen = result_parts(message, index)
    response: dict[str, Any] = {"name": name, "response": {"error": said} if message.is_error else result_of(said)}
    if id and not id.startswith(OUR_CALL_IDS):
        response["id"] = id
    if seen and not BY_BUDGET.search(model):
        response["parts"] = seen
        seen = []
    return [{"functionResponse": response}, *seen]


def result_parts(message: Message, index: int) -> tuple[str, list[dict[str, Any]]]:
    """(text, everything else) of a tool's result."""
    if isinstance(message.content, str):
        return message.content, []
    said, seen = [], []
    for number, part in enumerate(message.content or []):
        if part.type == "text":
            said.append(part.text or "")
        else:
            seen.append(user_part(part, f"messages[{index}].content[{number}]"))
    return "\n".join(said), seen


def result_of(said: str) -> Any:
    """A result that is a JSON object as it is; anything else as the value of one."""
    try:
        OBJECT.decode(said)
    except UNREADABLE:
        return {"result": said}
    return Raw(said.encode())
