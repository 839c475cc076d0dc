"""Gemini API, generateContent. https://ai.google.dev/api/generate-content

Signatures of thoughts must come back with the part they came with: they travel in `extra_content.google.thought_signature`,
the place that Google's own OpenAI layer gives them. https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.adapters.base import Answer, Capability, Credential, HttpRequest, Origin, Target, Wire
from llmproxy.provider_workers.canonical import (
    ENCODER,
    OUR_CALL_IDS,
    UNREADABLE,
    Chat,
    ChoiceOut,
    Chunks,
    Delta,
    Function,
    FunctionOut,
    Message,
    MessageOut,
    Part,
    ToolCallOut,
    broken,
    call_id,
    calls,
    compact,
    completion,
    data_url,
    decode_vendor,
    failed,
    finish_of,
    functions,
    given,
    image_url,
    invalid,
    parts,
    printable,
    read,
    text,
    tokens,
    tool_choice,
    unsupported,
)
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.vendor_errors import vendor_error

VENDOR = "Gemini"

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
    }
)

FINISH_REASONS: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}

HEADERS = (("content-type", "application/json"),)
VERSION = re.compile(r"/v\d+[a-z0-9]*$")

# Gemini 2 thinks by a number of tokens, as Google's own OpenAI layer translates the efforts; later ones by level.
BY_BUDGET = re.compile(r"gemini-[12](?:\D|$)")
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


class WireFunctionCall(Struct, frozen=True, rename="camel"):
    name: str
    args: Raw = Raw(b"{}")
    id: str = ""


class WirePart(Struct, frozen=True, rename="camel"):
    text: str = ""
    thought: bool = False
    thought_signature: str = ""
    function_call: WireFunctionCall | None = None


class WireContent(Struct, frozen=True, rename="camel"):
    parts: list[WirePart] | None = None


class WireCandidate(Struct, frozen=True, rename="camel"):
    content: WireContent | None = None
    finish_reason: str | None = None
    index: int = 0


class WireUsage(Struct, frozen=True, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None


class PromptFeedback(Struct, frozen=True, rename="camel"):
    block_reason: str | None = None


class Violation(Struct, frozen=True, rename="camel"):
    quota_id: str = ""


class ErrorDetail(Struct, frozen=True, rename="camel"):
    reason: str = ""
    retry_delay: str = ""
    violations: list[Violation] = []


class WireError(Struct, frozen=True, rename="camel"):
    code: int = 500
    message: str = ""
    status: str = ""
    details: list[ErrorDetail] = []


class ErrorBody(Struct, frozen=True):
    error: WireError = WireError()


class Reply(Struct, frozen=True, rename="camel"):
    candidates: list[WireCandidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: WireUsage | None = None
    error: WireError | None = None


class GoogleExtra(Struct, frozen=True):
    thought_signature: str = ""


class Extra(Struct, frozen=True):
    google: GoogleExtra = GoogleExtra()


REPLY = msgspec.json.Decoder(Reply)
ERROR = msgspec.json.Decoder(ErrorBody)
ERRORS = msgspec.json.Decoder(list[ErrorBody])
EXTRA = msgspec.json.Decoder(Extra)
OBJECT = msgspec.json.Decoder(dict[str, Raw])


class Google:
    name = "google"
    default_url = "https://generativelanguage.googleapis.com"
    credential: Credential = "x-goog-api-key"
    capabilities = frozenset(Capability) - {Capability.LOGPROBS}
    natives: Mapping[Api, Wire] = {}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        return HttpRequest(
            method="POST",
            url=model_url(target.url or self.default_url, target.model, target.stream),
            headers=HEADERS,
            body=ENCODER.encode(translate(chat, target.model, dropped)),
            dropped=tuple(dropped),
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(error_of(reply.error.code, {}, reply.error))
        choices = choices_of(reply, request)
        if not choices:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without candidates"))
        finish: Finish = choices[0].finish_reason  # type: ignore[assignment]
        return completion(request, choices, usage_of(reply.usage_metadata), finish)

    def events(self, request: Origin) -> "Stream":
        return Stream(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        try:
            # A streamed call without `alt=sse` is answered by an array, its error too.
            error = ERRORS.decode(body)[0].error if body.lstrip()[:1] == b"[" else ERROR.decode(body).error
        except (*UNREADABLE, IndexError):
            error = WireError()
        return error_of(status, headers, error)


@lru_cache(maxsize=1024)
def model_url(base: str, model: str, stream: bool) -> str:
    """The model's name is the caller's word: quoted, so that it stays one step of the path."""
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not VERSION.search(path):
        path += "/v1beta"
    kind, _, name = model.rpartition("/")
    collection = kind if kind in ("models", "tunedModels") else "models"
    method = "streamGenerateContent" if stream else "generateContent"
    path += f"/{collection}/{quote(name if kind == collection else model, safe='')}:{method}"
    query = "&".join(filter(None, (at.query, "alt=sse" if stream else "")))
    return urlunsplit((at.scheme, at.netloc, path, query, ""))


# --- Requests ---------------------------------------------------------------------------------------------------------


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
    }
    found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    found.update(answer_format(chat))
    if chat.reasoning_effort is not None:
        found["thinkingConfig"] = thinking_config(chat.reasoning_effort, model)
    return found


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
    amount = {"thinkingBudget": BUDGETS[effort]} if BY_BUDGET.search(model) else {"thinkingLevel": LEVELS[effort]}
    return amount if effort == "none" else {"includeThoughts": True, **amount}


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
    for index, message in enumerate(chat.messages):
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
                role, found = "user", [function_response(message, index, names)]
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


def function_response(message: Message, index: int, names: dict[str, str]) -> dict[str, Any]:
    id = message.tool_call_id or ""
    name = names.get(id) or message.name
    if not name:
        raise invalid(f"messages[{index}].tool_call_id", "must be the id of a tool call earlier in 'messages'")
    said = text(message, index, VENDOR)
    response: dict[str, Any] = {"name": name, "response": {"error": said} if message.is_error else result_of(said)}
    if id and not id.startswith(OUR_CALL_IDS):
        response["id"] = id
    return {"functionResponse": response}


def result_of(said: str) -> Any:
    """A result that is a JSON object as it is; anything else as the value of one."""
    try:
        OBJECT.decode(said)
    except UNREADABLE:
        return {"result": said}
    return Raw(said.encode())


# --- Answers ----------------------------------------------------------------------------------------------------------


def choices_of(reply: Reply, origin: Origin) -> list[ChoiceOut]:
    ids = CallIds(origin)
    if not reply.candidates:
        if reply.prompt_feedback is None or reply.prompt_feedback.block_reason is None:
            return []
        return [ChoiceOut(message=MessageOut(), finish_reason="content_filter")]
    return [choice_of(candidate, ids) for candidate in reply.candidates]


def choice_of(candidate: WireCandidate, ids: "CallIds") -> ChoiceOut:
    said, thought, called, extra = [], [], [], None
    for part in (candidate.content.parts if candidate.content else None) or []:
        if part.function_call is not None:
            called.append(call_of(part.function_call, part.thought_signature, ids))
        elif part.thought:
            thought.append(part.text)
        else:
            said.append(part.text)
            extra = extra_content(part.thought_signature) or extra
    message = MessageOut(
        content="".join(said) if said or not called else None,
        reasoning_content="".join(thought) if thought else UNSET,
        tool_calls=called or UNSET,
        extra_content=extra or UNSET,
    )
    finish = finish_of_candidate(candidate.finish_reason or "", bool(called))
    return ChoiceOut(index=candidate.index, message=message, finish_reason=finish)


def finish_of_candidate(reason: str, has_called: bool) -> Finish:
    """Gemini says STOP when it calls a tool, too."""
    finish = finish_of(FINISH_REASONS, reason)
    return "tool_calls" if has_called and finish == "stop" else finish


class CallIds:
    """Ids for tool calls: Gemini's own where it gives one, else the request's with a number."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._count = 0

    def of(self, call: WireFunctionCall) -> str:
        self._count += 1
        return call.id or call_id(self._origin, self._count - 1)


def call_of(call: WireFunctionCall, signature: str, ids: CallIds, index: int | None = None) -> ToolCallOut:
    return ToolCallOut(
        index=UNSET if index is None else index,
        id=ids.of(call),
        type="function",
        function=FunctionOut(name=call.name, arguments=compact(call.args)),
        extra_content=extra_content(signature) or UNSET,
    )


def extra_content(signature: str) -> Raw | None:
    return Raw(ENCODER.encode({"google": {"thought_signature": signature}})) if signature else None


def usage_of(wire: WireUsage | None) -> Usage:
    """Thoughts are outside `candidatesTokenCount`, cached content is inside `promptTokenCount`."""
    if wire is None:
        return Usage()
    thoughts = tokens(wire.thoughts_token_count)
    return Usage(
        input=tokens(wire.prompt_token_count) + tokens(wire.tool_use_prompt_token_count),
        output=tokens(wire.candidates_token_count) + thoughts,
        cache_read=tokens(wire.cached_content_token_count),
        reasoning=thoughts,
    )


def error_of(status: int, headers: Mapping[str, str], error: WireError) -> GatewayError:
    reasons = " ".join(detail.reason for detail in error.details)
    quotas = " ".join(violation.quota_id for detail in error.details for violation in detail.violations)
    delay = next((detail.retry_delay for detail in error.details if detail.retry_delay), "")
    return vendor_error(
        VENDOR,
        status,
        headers,
        # The words of a 429 speak of quota and billing even when a minute's rate is meant; its quota's id tells.
        message="" if status == 429 else error.message,
        code=f"{error.status} {reasons} {quotas}".strip(),
        retry_after_ms=milliseconds(delay),
    )


def milliseconds(duration: str) -> int:
    """A protobuf duration such as `34.5s`."""
    try:
        return int(float(duration.removesuffix("s")) * 1000)
    except (ValueError, OverflowError):
        return 0


class Stream:
    """Each event is a whole GenerateContentResponse with the parts that are new; nothing but a finish reason ends it."""

    __slots__ = ("_called", "_chunks", "_ids", "_open", "_parser", "complete", "failure", "finish_reason", "usage")

    def __init__(self, origin: Origin) -> None:
        self._parser = EventStream()
        self._chunks = Chunks(origin)
        self._ids = CallIds(origin)
        self._called: dict[int, int] = {}  # Candidate -> tool calls so far.
        self._open: set[int] = set()
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.failure: GatewayError | None = None

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def feed(self, data: bytes) -> list[bytes]:
        out: list[bytes] = []
        if self.failure is None:
            try:
                for _, event in self._parser.feed(data):
                    self._take(event, out)
            except GatewayError as error:
                self.failure = error
        return out

    def finish(self) -> list[bytes]:
        out: list[bytes] = []
        if self.failure is not None or self.complete:
            return out
        try:
            for _, event in self._parser.finish():
                self._take(event, out)
        except GatewayError:
            self.failure = broken(VENDOR)  # The rest was half an event.
            return out
        if self.failure is None:
            if self.finish_reason and not self._open:
                out.extend(self._chunks.total(self.usage))
                self.complete = True
            else:
                self.failure = broken(VENDOR)
        return out

    def _take(self, data: bytes, out: list[bytes]) -> None:
        if self.failure is not None:
            return
        reply = decode_vendor(REPLY, data, VENDOR)
        if reply.error is not None:
            self.failure = error_of(reply.error.code, {}, reply.error)
            return
        if reply.usage_metadata is not None:
            self.usage = usage_of(reply.usage_metadata)
        for candidate in reply.candidates or []:
            self._candidate(candidate, out)
        if reply.prompt_feedback is not None and reply.prompt_feedback.block_reason and not self.finish_reason:
            out.extend(self._chunks.start())
            self._end("content_filter", 0, out)

    def _candidate(self, candidate: WireCandidate, out: list[bytes]) -> None:
        index = candidate.index
        out.extend(self._chunks.start(index))
        self._open.add(index)
        for part in (candidate.content.parts if candidate.content else None) or []:
            if part.function_call is not None:
                number = self._called.get(index, 0)
                self._called[index] = number + 1
                call = call_of(part.function_call, part.thought_signature, self._ids, number)
                out.append(self._chunks.call(call, index))
            elif part.thought:
                if part.text:
                    out.append(self._chunks.reasoning(part.text, index))
            else:
                if part.text:
                    out.append(self._chunks.text(part.text, index))
                if extra := extra_content(part.thought_signature):
                    out.append(self._chunks.delta(Delta(extra_content=extra), index))
        if candidate.finish_reason is not None:
            self._end(finish_of_candidate(candidate.finish_reason, index in self._called), index, out)

    def _end(self, finish: Finish, index: int, out: list[bytes]) -> None:
        self._open.discard(index)
        self.finish_reason = self.finish_reason or finish
        out.append(self._chunks.end(finish, index))
