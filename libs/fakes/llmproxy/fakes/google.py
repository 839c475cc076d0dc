"""A fake Gemini API, and Vertex AI that serves the same models under other paths. https://ai.google.dev/api/generate-content"""

import json
import re
from itertools import zip_longest
from typing import Any, Literal

from msgspec import Struct

from llmproxy.fakes.conversation import (
    KEY,
    Asked,
    Behaviour,
    Media,
    Recorded,
    Refused,
    Script,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    is_base64,
    joined,
    media_of,
    named,
)
from llmproxy.fakes.openai.plain import vector
from llmproxy.fakes.shapes import Misfit, fit, words
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, check_model, sse

MODEL_PATH = re.compile(r"/v1(?:alpha|beta)?/models/(?P<model>[^/:]+):(?P<method>[a-zA-Z]+)")
VERTEX_PATH = re.compile(
    r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/(?P<publisher>google|anthropic)/models/(?P<model>[^/:]+):(?P<method>[a-zA-Z]+)"
)
SIGNATURE = "c2lnbmF0dXJl"
SKIP_SIGNATURE = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
SIGNED_MODELS = re.compile(r"gemini-3")  # They want a signature on the first call of every step.
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
STOPS_MAX = 5
CHOICES_MAX = 8

# -- requests


class Blob(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    mime_type: str
    data: str
    display_name: str | None = None


class FileData(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class FunctionCall(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class ResultPart(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Of a function response: a picture that the function made."""

    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str
    response: dict[str, Any]
    id: str | None = None
    will_continue: bool | None = None
    scheduling: str | None = None
    parts: list[ResultPart] | None = None


class Part(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: dict[str, Any] | None = None
    code_execution_result: dict[str, Any] | None = None
    video_metadata: dict[str, Any] | None = None
    media_resolution: dict[str, Any] | None = None


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    parts: list[Part] = []
    role: str | None = None


class Declaration(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str
    description: str | None = None
    behavior: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None


class OneTool(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    function_declarations: list[Declaration] | None = None
    google_search: dict[str, Any] | None = None
    google_search_retrieval: dict[str, Any] | None = None
    code_execution: dict[str, Any] | None = None
    url_context: dict[str, Any] | None = None


class Calling(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: bool | None = None


class ToolConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    function_calling_config: Calling | None = None
    retrieval_config: dict[str, Any] | None = None


class ThinkingConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "minimal", "low", "medium", "high"] | None = None


class GenerationConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    audio_timestamp: bool | None = None
    candidate_count: int | None = None
    enable_affective_dialog: bool | None = None
    frequency_penalty: float | None = None
    image_config: dict[str, Any] | None = None
    logprobs: int | None = None
    max_output_tokens: int | None = None
    media_resolution: str | None = None
    presence_penalty: float | None = None
    response_json_schema: Any = None
    response_logprobs: bool | None = None
    response_mime_type: str | None = None
    response_modalities: list[str] | None = None
    response_schema: dict[str, Any] | None = None
    routing_config: dict[str, Any] | None = None
    seed: int | None = None
    speech_config: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    thinking_config: ThinkingConfig | None = None
    top_k: float | None = None
    top_p: float | None = None


class Safety(Struct, frozen=True, forbid_unknown_fields=True):
    category: str
    threshold: str
    method: str | None = None


class Request(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    contents: list[Content] = []
    system_instruction: Content | None = None
    tools: list[OneTool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    safety_settings: list[Safety] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    model: str | None = None
    service_tier: str | None = None
    store: bool | None = None


def read(recorded: Recorded, kind: type[Any], behaviour: Behaviour) -> Any:
    """Names in snake_case are taken too, as the protocol buffers' JSON does."""
    try:
        return fit(camel(recorded.json), kind, ignore_unknown=not behaviour.strict_fields)
    except Misfit as misfit:
        where = camel_path(misfit.path)
        if misfit.unknown:
            raise Refused(
                f"Invalid JSON payload received. Unknown name \"{misfit.unknown}\" at '{where}': Cannot find field."
            ) from None
        raise Refused(f"Invalid value at '{where}': {misfit.what}") from None


OPAQUE = frozenset(
    {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}
)


def camel(value: Any) -> Any:
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {camel_name(name): one for name, one in value.items()}
    return {name: one if name in OPAQUE else camel(one) for name, one in named.items()}


def camel_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def camel_path(path: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), path)


def check(request: Request, model: str) -> None:
    if not request.contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified\n")
    config = request.generation_config or GenerationConfig()
    if config.temperature is not None and not 0 <= config.temperature <= 2:
        raise Refused(
            "* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0]."
        )
    if not 1 <= (config.candidate_count or 1) <= CHOICES_MAX:
        raise Refused(
            f"* GenerateContentRequest.generation_config.candidate_count: must be in the range [1, {CHOICES_MAX}]"
        )
    if len(config.stop_sequences or []) > STOPS_MAX:
        raise Refused(f"* GenerateContentRequest.generation_config.stop_sequences: at most {STOPS_MAX} stop sequences")
    if config.response_schema is not None and config.response_json_schema is not None:
        raise Refused("response_schema and response_json_schema are mutually exclusive")
    needs_json = config.response_schema is not None or config.response_json_schema is not None
    if needs_json and config.response_mime_type not in ("application/json", "text/x.enum"):
        raise Refused("response_schema is only supported with response_mime_type application/json")
    if config.logprobs and not config.response_logprobs:
        raise Refused("logprobs can only be set when response_logprobs is true")
    thinking = config.thinking_config
    if thinking is not None and thinking.thinking_budget is not None and thinking.thinking_level is not None:
        raise Refused("You can only set only one of thinking budget and thinking level.")
    check_tools(request)
    check_contents(request.contents, model)


def check_tools(request: Request) -> None:
    names = [one.name for tool in request.tools or [] for one in tool.function_declarations or []]
    for index, name in enumerate(names):
        if not TOOL_NAME.fullmatch(name):
            raise Refused(
                f"* GenerateContentRequest.tools[0].function_declarations[{index}].name: Invalid function name."
            )
    if len(set(names)) != len(names):
        raise Refused("Duplicate function declaration found")
    for tool in request.tools or []:
        for one in tool.function_declarations or []:
            if one.parameters is not None and one.parameters_json_schema is not None:
                raise Refused("parameters and parameters_json_schema are mutually exclusive")
            check_schema(one.parameters, "parameters")
    if request.generation_config is not None:
        check_schema(request.generation_config.response_schema, "generation_config.response_schema")
    calling = (request.tool_config or ToolConfig()).function_calling_config or Calling()
    if calling.allowed_function_names and calling.mode not in ("ANY", "VALIDATED"):
        raise Refused("allowed_function_names should only be set when the function calling mode is ANY.")
    if strange := sorted(set(calling.allowed_function_names or []) - set(names)):
        raise Refused(f"function_calling_config.allowed_function_names: {strange[0]} is not declared")


SCHEMA_FIELDS = words(
    "type format title description nullable enum items maxItems minItems properties required minProperties maxProperties "
    "minimum maximum minLength maxLength pattern example anyOf propertyOrdering default additionalProperties"
)


def check_schema(schema: Any, at: str) -> None:
    """The API's own subset of OpenAPI, which is what `parameters` and `responseSchema` hold."""
    if not isinstance(schema, dict):
        return
    if unknown := sorted(schema.keys() - SCHEMA_FIELDS):
        raise Refused(f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at '{at}': Cannot find field.")
    if isinstance(schema.get("type"), list):
        raise Refused(f"Invalid value at '{at}.type': Proto field is not repeating, cannot start list.")
    for name, one in (schema.get("properties") or {}).items():
        check_schema(one, f"{at}.properties[{name}]")
    check_schema(schema.get("items"), f"{at}.items")


def check_contents(contents: list[Content], model: str) -> None:
    called: list[str] = []
    for index, content in enumerate(contents):
        at = f"* GenerateContentRequest.contents[{index}]"
        if not content.parts:
            raise Refused(f"{at}.parts: contents.parts must not be empty.")
        if content.role not in ("user", "model", None) and not (content.role == "function" and index):
            raise Refused("Please use a valid role: user, model.")
        for number, part in enumerate(content.parts):
            check_part(part, f"{at}.parts[{number}]")
        answered = [part.function_response.name for part in content.parts if part.function_response is not None]
        if len(answered) != len(called) and (answered or called):
            raise Refused(
                "Please ensure that the number of function response parts is equal to the number of function call parts of "
                "the function call turn."
            )
        if sorted(answered) != sorted(called):
            raise Refused(f"{at}: function response names do not match the names of the function calls.")
        calls = [part for part in content.parts if part.function_call is not None]
        if calls and not index:
            raise Refused(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
            )
        if calls and content.role != "model":
            raise Refused("Please ensure that function calls are in a turn of the role model.")
        if calls and SIGNED_MODELS.search(model) and in_current_turn(contents, index):
            check_signature(calls[0], index)
        called = [part.function_call.name for part in calls if part.function_call is not None]
    if called:
        raise Refused("Please ensure that function call turn is followed by a function response turn.")


def in_current_turn(contents: list[Content], index: int) -> bool:
    """Whether no user has spoken since: only then signatures are validated."""
    return not any(
        content.role == "user" and any(part.text is not None for part in content.parts)
        for content in contents[index + 1 :]
    )


def check_signature(part: Part, index: int) -> None:
    if part.thought_signature is None:
        assert part.function_call is not None
        raise Refused(
            f"Function call is missing a thought_signature in functionCall parts. Function call "
            f"`default_api:{part.function_call.name}`, position {index + 1}."
        )
    if part.thought_signature not in SKIP_SIGNATURE and not is_base64(part.thought_signature):
        raise Refused("Thought signature is not valid")


def check_part(part: Part, at: str) -> None:
    data = (
        part.text,
        part.inline_data,
        part.file_data,
        part.function_call,
        part.function_response,
        part.executable_code,
        part.code_execution_result,
    )
    held = sum(one is not None for one in data)
    if held > 1:
        raise Refused(f"Invalid value at '{at}.data' (oneof), oneof field 'data' is already set.")
    if not held and part.thought_signature is None:
        raise Refused(f"{at}.data: required oneof field 'data' must have one initialized field")


def turns_of(request: Request) -> tuple[Turn, ...]:
    """Ids are optional: without them a response belongs to the call at the same place."""
    found = [Turn("system", text_in(request.system_instruction))] if request.system_instruction else []
    waiting: list[str] = []
    for index, content in enumerate(request.contents):
        calls: list[ToolUse] = []
        results: list[ToolResult] = []
        for number, part in enumerate(content.parts):
            if part.function_call is not None:
                one = part.function_call
                calls.append(ToolUse(one.id or f"{index}.{number}", one.name, one.args or {}))
            if part.function_response is not None:
                answer = part.function_response
                text = said(answer.response)
                results.append(
                    ToolResult(answer.id or waiting[len(results)], answer.name, text, "error" in answer.response)
                )
        waiting = [call.id for call in calls]
        side: Literal["assistant", "user"] = "assistant" if content.role == "model" else "user"
        found.append(Turn(side, text_in(content), tuple(calls), tuple(results), tuple(media_in(content))))
    return named(joined(found))


def said(response: dict[str, Any]) -> str:
    """Clients put a text under one of these names, or the whole result as it is."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name in ("result", "output", "content", "error"):
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return json.dumps(response, separators=(",", ":"))


def text_in(content: Content) -> str:
    """A stream's pieces come back as parts, so what the model said is put together without spaces."""
    between = "" if content.role == "model" else " "
    return between.join(part.text for part in content.parts if part.text is not None and not part.thought)


def media_in(content: Content) -> list[Media]:
    found = [media_of(part.inline_data.mime_type, part.inline_data.data) for part in content.parts if part.inline_data]
    found += [Media("url", url=part.file_data.file_uri) for part in content.parts if part.file_data]
    for part in content.parts:
        for one in (part.function_response.parts or []) if part.function_response else []:
            if one.inline_data is not None:
                found.append(media_of(one.inline_data.mime_type, one.inline_data.data))
    return found


# -- answers


class Generate:
    stream_type = "text/event-stream"
    keep_alive = b""

    def __init__(self, model: str, *, stream: bool, needs_role: bool = False) -> None:
        self._model, self._stream, self._needs_role = model, stream, needs_role

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        if self._stream and "alt=sse" not in recorded.query:
            raise Refused("this fake streams only with alt=sse")
        request: Request = read(recorded, Request, behaviour)
        name = self._model
        check_model(
            name,
            behaviour,
            f"models/{name} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.",
        )
        if self._needs_role and any(content.role is None for content in request.contents):
            raise Refused("Please use a valid role: user, model.")
        check(request, name)
        config = request.generation_config or GenerationConfig()
        calling = (request.tool_config or ToolConfig()).function_calling_config or Calling()
        modes = {"ANY": "required", "NONE": "none"}
        return Asked(
            model=name,
            stream=self._stream,
            turns=turns_of(request),
            tools=tuple(
                Tool(one.name, one.parameters_json_schema or one.parameters or {})
                for tool in request.tools or []
                for one in tool.function_declarations or []
            ),
            tool_choice=calling.allowed_function_names[0]
            if calling.allowed_function_names
            else modes.get(calling.mode, "auto"),
            json_schema=config.response_json_schema or config.response_schema,
            json_mode=config.response_mime_type == "application/json",
            reasoning=bool(config.thinking_config and config.thinking_config.include_thoughts),
            choices=config.candidate_count or 1,
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        thoughts: list[dict[str, Any]] = [{"text": script.reasoning, "thought": True}] if script.reasoning else []
        said = [
            thoughts + [{"text": "".join(pieces)} for pieces in script.of(index).texts] + calls(script)
            for index in range(script.choices)
        ]
        return as_json(reply(script, said, script.finish or "STOP"))

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        """Whole answers, a piece each; calls come whole."""
        parts = [self._parts(script.of(index)) for index in range(script.choices)]
        found = [reply(script, [[part] if part else [] for part in each]) for each in zip_longest(*parts)]
        found.append(reply(script, [[{"text": ""}]] * script.choices, script.finish or "STOP"))
        return [sse(one, newline="\r\n") for one in found]

    def _parts(self, script: Script) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{"text": script.reasoning, "thought": True}] if script.reasoning else []
        return [*found, *({"text": piece} for pieces in script.texts for piece in pieces), *calls(script)]

    def end(self, script: Script, asked: Asked) -> bytes:
        return b""

    def error_event(self, message: str) -> bytes:
        return sse(google_error(Refused(message, 503)), newline="\r\n")


def calls(script: Script) -> list[dict[str, Any]]:
    """Only the first of parallel calls is signed; ids are not sent."""
    found: list[dict[str, Any]] = [{"functionCall": {"name": one.name, "args": one.arguments}} for one in script.calls]
    if found:
        found[0]["thoughtSignature"] = SIGNATURE
    return found


def reply(script: Script, parts: list[list[dict[str, Any]]], finish: str | None = None) -> dict[str, Any]:
    """`parts`: of each candidate."""
    ended = {"finishReason": finish} if finish else {}
    return {
        "candidates": [
            {"content": {"parts": said, "role": "model"}, **ended, "index": index} for index, said in enumerate(parts)
        ],
        "usageMetadata": {
            "promptTokenCount": script.input_tokens,
            "cachedContentTokenCount": script.cached_tokens,
            "candidatesTokenCount": script.output_tokens - script.reasoning_tokens,
            "thoughtsTokenCount": script.reasoning_tokens,
            "totalTokenCount": script.input_tokens + script.output_tokens,
        },
        "modelVersion": script.model,
        "responseId": "fake",
    }


class CountRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    contents: list[Content] = []
    generate_content_request: dict[str, Any] | None = None


class CountTokens(Whole):
    def __init__(self, model: str) -> None:
        self._model = model

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, CountRequest, behaviour)
        return Asked(self._model, inputs=tuple(text_in(one) for one in request.contents))

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json({"totalTokens": sum(len(text.split()) for text in asked.inputs) or script.input_tokens})


class EmbedRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    content: Content
    model: str | None = None
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    requests: list[EmbedRequest]


class Embed(Whole):
    def __init__(self, model: str, *, batch: bool) -> None:
        self._model, self._batch = model, batch

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        if self._batch:
            requests = read(recorded, BatchRequest, behaviour).requests
        else:
            requests = [read(recorded, EmbedRequest, behaviour)]
        check_model(self._model, behaviour, f"models/{self._model} is not found for API version v1beta.")
        for one in requests:
            if self._batch and one.model != f"models/{self._model}":
                raise Refused(f"* BatchEmbedContentsRequest.requests.model: must be models/{self._model}")
        sizes = tuple(one.output_dimensionality or 8 for one in requests)
        return Asked(self._model, inputs=tuple(text_in(one.content) for one in requests), extra={"sizes": sizes})

    def answer(self, script: Script, asked: Asked) -> Body:
        made = [{"values": vector(text, size)} for text, size in zip(asked.inputs, asked.extra["sizes"], strict=True)]
        return as_json({"embeddings": made} if self._batch else {"embedding": made[0]})


class Models(Whole):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return Asked(inputs=behaviour.models or ("gemini-3-pro",))

    def answer(self, script: Script, asked: Asked) -> Body:
        methods = ["generateContent", "countTokens"]
        return as_json(
            {"models": [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in asked.inputs]}
        )


STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def google_error(refused: Refused) -> dict[str, Any]:
    status = STATUSES.get(refused.status, "INTERNAL")
    return {"error": {"code": refused.status, "message": refused.message, "status": status}}


class Google:
    name = "google"
    key = KEY
    base = ""
    overloaded = 503
    call_id = "{:08d}"

    def operation(self, method: str, path: str) -> Operation | None:
        if method == "GET" and path in ("/v1beta/models", "/v1/models"):
            return Models()
        found = MODEL_PATH.fullmatch(path)
        return generation(found["model"], found["method"]) if found and method == "POST" else None

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return recorded.headers.get("x-goog-api-key") == key

    def error(self, refused: Refused) -> dict[str, Any]:
        return google_error(refused)


def generation(model: str, method: str, *, needs_role: bool = False) -> Operation | None:
    match method:
        case "generateContent" | "streamGenerateContent":
            return Generate(model, stream=method.startswith("stream"), needs_role=needs_role)
        case "countTokens":
            return CountTokens(model)
        case "embedContent" | "batchEmbedContents":
            return Embed(model, batch=method.startswith("batch"))
    return None


GOOGLE = Google()
